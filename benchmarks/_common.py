"""Functions that the benchmarks share: clips, tables, timing, and a description of the machine.

Does nothing as a script. Imports nothing heavy at the top, as some benchmarks measure memory or
start-up time.
"""

import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

from seedvideo import __version__


def best_s(work: Callable[[], object], *, times: int = 3) -> float:
    """Return the wall seconds of the fastest of several calls, the one that was disturbed least."""
    spent = []
    for _ in range(times):
        started = perf_counter()
        work()
        spent.append(perf_counter() - started)
    return min(spent)


def wall_s(arguments: Sequence[str], *, times: int = 3) -> float:
    """Return the wall seconds of the fastest of several runs of a command; raise if it fails."""
    return best_s(lambda: subprocess.run(arguments, check=True, capture_output=True), times=times)


def in_child(script: str, *arguments: object) -> dict[str, float]:
    """Run a script again in a fresh process; the last line of its output is a JSON object.

    A fresh process has a peak memory of its own. Linux counts the memory of the parent process as
    part of it, so the caller must be light.
    """
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def peak_mib(*, of_children: bool = False) -> float:
    """Return the peak resident memory of this process, or the maximum of its finished children."""
    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(who).ru_maxrss * unit / 2**20


def processor_s() -> float:
    """Return the processor seconds of this process and of its decode processes, which it ends."""
    from seedvideo.utils import fork_server

    fork_server.end_servers()  # Processes count once they have exited.
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def make_clip(
    path: Path,
    *,
    seconds: float = 10,
    width_px: int = 1280,
    height_px: int = 720,
    fps: int = 30,
    keyframe_every: int = 60,
) -> Path:
    """Write an H.264 clip with B-frames in which everything moves."""
    import av
    import numpy as np

    y, x = np.mgrid[0:height_px, 0 : width_px + 256]
    # Each frame is a window that moves over one wide picture.
    wide = np.stack([x + y, 2 * x + 40 * np.sin(y / 23), 255 - x + 3 * y], axis=-1) % 256
    wide = wide.astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        stream.options = {"preset": "veryfast", "g": str(keyframe_every), "bf": "2"}
        for number in range(round(seconds * fps)):
            left = 4 * number % 256
            window = np.ascontiguousarray(wide[:, left : left + width_px])
            frame = av.VideoFrame.from_ndarray(window, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a title and a table: the first column left-aligned, the others right-aligned."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    print(f"\n{title}\n")
    for line in lines:
        first, *others = zip(line, widths, strict=True)
        cells = [f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]
        print(f"  {'  '.join(cells)}".rstrip())


def print_machine(*packages: str) -> None:
    """Print the versions of these packages, and the machine."""
    found = [f"seedvideo {__version__}", f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} absent")
    print(f"\n  versions  {', '.join(found)}")
    print(
        f"  machine   {machine()}, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}\n"
    )


def machine() -> str:
    """Describe the machine in one line: system, processor, usable cores."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return (
        f"{platform.system()} {platform.machine()}, {_processor()},"
        f" {usable} of {os.cpu_count()} cores usable"
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else "unknown processor"
