"""One measurement in a process of its own, in the environment of its loader.

    PYTHON _sampling_child.py JOB TRUTH NOTICES ANSWERS

JOB is a `Job` in JSON; TRUTH is the file of painted frames to check against, or ``-``. The process
writes a byte to the descriptor NOTICES before and after the work, and waits for a byte from ANSWERS
each time: so memory is measured during the work, without imports and check. The last line of the
output is a JSON object. Only the package of the loader is needed, and numpy for the check.
"""

import json
import os
import re
import resource
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

from _sampling_job import Job, LoaderResult
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
    expected = json.loads(sys.argv[1])
    job = Job(**expected)
    notices, answers = int(sys.argv[3]), int(sys.argv[4])
    work = LOADERS[job.way].prepare(job)
    _notify(notices, answers)
    processor_s, started = _processor_s(), perf_counter()
    loaded = work()
    wall_s, cpu_s = perf_counter() - started, _processor_s() - processor_s
    _notify(notices, answers)
    result = {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "result_bytes": loaded.size_bytes,
        "pixels": loaded.pixels,
        "given": len(loaded.times_s),
        "facts": loaded.facts,
    }
    if sys.argv[2] != "-":
        result |= _checked(job, loaded, Path(sys.argv[2]))
    if job.way.startswith("seedvideo"):
        import_module("av")  # the decode process has exited; its libraries are the same
    result["libraries"] = _libraries(LOADERS[job.way].ffmpeg)
    print(json.dumps(result))


def _notify(notices: int, answers: int) -> None:
    os.write(notices, b".")
    os.read(answers, 1)


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


def _checked(job: Job, loaded: LoaderResult, truth: Path) -> dict[str, object]:
    """Count the frames that are those requested, by the reported time and by their content."""
    from _sampling_truth import count_cuts, count_right

    numbers: Sequence[int] = [round(time_s * job.fps) for time_s in loaded.times_s]
    result: dict[str, object] = {}
    if job.numbers:
        pairs = zip(numbers, job.numbers, strict=False)
        result["right_times"] = sum(reported == expected for reported, expected in pairs)
        numbers = job.numbers
    if len(loaded.pictures) == len(numbers) and len(numbers):
        result["right_pictures"] = count_right(loaded.pictures, numbers, truth)
    if job.cuts:
        result["right_times"] = count_cuts(numbers, job.cuts)
    if job.width_px:
        size = (job.height_px, job.width_px, 3)
        result["right_sizes"] = sum(picture.shape == size for picture in loaded.pictures)
    return result


def _processor_s() -> float:
    ours = sys.modules.get("seedvideo.utils.fork_server")
    if ours is not None:
        ours.end_servers()  # Processes count once they have exited.
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _libraries(wheel: str) -> list[str]:
    """Return the versions of libavcodec in this process that belong to a wheel."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    found = re.findall(r"/([^/\s]+)/libavcodec[^/\s]*?\.so\.([\d.]+)", maps)
    return sorted({number for folder, number in found if folder.startswith(wheel)})


if __name__ == "__main__":
    main()
