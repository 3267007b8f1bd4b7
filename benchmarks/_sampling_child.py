"""One measurement in a process of its own, in the environment of its loader.

    PYTHON _sampling_child.py JOB TRUTH

JOB is a `Job` in JSON; TRUTH is the file of painted frames to check against, or ``-``. The last
line of the output is a JSON object. Needs no package but the loader's own, and numpy to check.
"""

import json
import re
import resource
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

from _sampling_job import Got, Job
from _sampling_loaders import LOADERS

PACKAGES = (
    "seedvideo",
    "av",
    "decord",
    "torchcodec",
    "opencv-python-headless",
    "qwen-vl-utils",
    "transformers",
    "scenedetect-headless",
    "torch",
    "torchvision",
    "numpy",
)


def main() -> None:
    """Measure, check and print."""
    if sys.argv[1] == "installed":
        print(json.dumps({"python": sys.version.split()[0], **_installed()}))
        return
    asked = json.loads(sys.argv[1])
    job = Job(**{**asked, "numbers": tuple(asked["numbers"])})
    work = LOADERS[job.way][1](job)
    idle_bytes = resident_bytes()
    processor_s, started = _processor_s(), perf_counter()
    got = work()
    wall_s, cpu_s = perf_counter() - started, _processor_s() - processor_s
    result = {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "idle_bytes": idle_bytes,
        "result_bytes": got.size_bytes,
        "pixels": got.pixels,
        "given": len(got.times_s),
        "facts": got.facts,
    }
    if sys.argv[2] != "-":
        result |= _checked(job, got, Path(sys.argv[2]))
    if job.way.startswith("seedvideo"):
        import_module("av")  # decoded in a process that is gone; its libraries are the same
    result["libraries"] = _libraries()
    print(json.dumps(result))


def resident_bytes() -> int:
    """Memory of this process, its part of what it shares with others counted."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def _installed() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    try:
        found["seedvideo"] = import_module("seedvideo").__version__
    except ModuleNotFoundError:
        found.pop("seedvideo", None)
    return found


def _checked(job: Job, got: Got, truth: Path) -> dict[str, object]:
    """How many frames are the ones asked for, by the time told and by what is to be seen."""
    from _sampling_truth import count_right

    numbers: Sequence[int] = [round(time_s * job.fps) for time_s in got.times_s]
    result: dict[str, object] = {}
    if job.numbers:
        pairs = zip(numbers, job.numbers, strict=False)
        result["right_times"] = sum(told == asked for told, asked in pairs)
        numbers = job.numbers
    if len(got.pictures) == len(numbers) and len(numbers):
        result["right_pictures"] = count_right(got.pictures, numbers, truth)
    if job.width_px:
        size = (job.height_px, job.width_px, 3)
        result["right_sizes"] = sum(picture.shape == size for picture in got.pictures)
    return result


def _processor_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _libraries() -> list[str]:
    """Versions of every libavcodec in this process."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    return sorted(set(re.findall(r"/libavcodec[^/\s]*?\.so\.([\d.]+)", maps)))


if __name__ == "__main__":
    main()
