"""Runs loaders by turns, each measurement in a process of its own, and gathers what they say.

Times and memory are taken in different rounds, because watching memory costs time. Linux only:
memory is read from ``/proc``.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from time import monotonic, sleep
from typing import IO, Any, Final

from _sampling_job import Job
from _sampling_loaders import LOADERS

CHILD: Final = Path(__file__).with_name("_sampling_child.py")
WATCH_EVERY_S: Final = 0.02


@dataclass(frozen=True)
class Environment:
    """A Python and what is installed in it.

    Args:
        python: its interpreter.
        installed: versions of packages by name.
        libraries: folder with FFmpeg's shared libraries for torchcodec, if it needs one.
    """

    python: Path
    installed: dict[str, str]
    libraries: Path | None = None

    def variables(self) -> dict[str, str]:
        """Environment variables of its processes."""
        found = _variables(self.python)
        if self.libraries is not None:
            old = found.get("LD_LIBRARY_PATH")
            paths = [str(self.libraries), *([old] if old else [])]
            found["LD_LIBRARY_PATH"] = os.pathsep.join(paths)
        return found


@dataclass
class Row:
    """What was measured of one loader on one job.

    Args:
        way: name of the loader.
        walls_s: by round.
        cpus_s: by round.
        last: what the last round said.
        peak_bytes: of all its processes together.
        failed: why there is nothing.
    """

    way: str
    walls_s: list[float] = field(default_factory=list)
    cpus_s: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    peak_bytes: int = 0
    failed: str = ""

    @property
    def wall_s(self) -> float:
        """Median of the rounds."""
        return median(self.walls_s)

    @property
    def cpu_s(self) -> float:
        """Median of the rounds."""
        return median(self.cpus_s)

    def ratio_to(self, other: "Row") -> float:
        """Median over the rounds of this one's time over the other's in the same round."""
        pairs = zip(self.walls_s, other.walls_s, strict=True)
        return median(own / its for own, its in pairs)


class Failed(Exception):
    """A loader gave no result; the message says why in a line."""


def environment(python: Path, folder: Path) -> Environment:
    """Ask a Python what is installed in it, and see that torchcodec finds FFmpeg there.

    torchcodec brings no FFmpeg. It gets the one inside the wheel of PyAV, under the names that it
    looks for, so that both decode with the same libraries.
    """
    found = Environment(python, _json([str(python), str(CHILD), "installed"], _variables(python)))
    if "torchcodec" not in found.installed or "av" not in found.installed:
        return found
    where = "import av, pathlib; print(pathlib.Path(av.__file__).parents[1] / 'av.libs')"
    done = subprocess.run(
        [str(python), "-c", where],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=_variables(python),
    )
    links = folder / "ffmpeg"
    links.mkdir(exist_ok=True)
    for library in Path(done.stdout.strip()).iterdir():
        named = re.match(r"(lib(?:av|sw)\w+)-[0-9a-f]+\.so\.(\d+)", library.name)
        for name in (library.name, *([f"{named[1]}.so.{named[2]}"] if named else [])):
            if not (links / name).is_symlink():
                (links / name).symlink_to(library)
    return replace(found, libraries=links)


def measure(
    jobs: Sequence[Job],
    environments: Sequence[Environment],
    *,
    truth: Path,
    rounds: int,
    limit_s: float,
) -> list[Row]:
    """Run every job by turns, then once more each under the eyes of the watch of memory.

    Args:
        jobs: of one file.
        environments: where to look for a loader's package, in this order.
        truth: the file's painted frames.
        rounds: of timing. The order turns from round to round.
        limit_s: for one measurement; a loader that needs longer has no result.

    Returns:
        A row for each job whose loader is installed somewhere.
    """
    homes = {job.way: _home(job.way, environments) for job in jobs}
    kept = [job for job in jobs if homes[job.way] is not None]
    rows = {job.way: Row(job.way) for job in kept}
    _warm(Path(kept[0].path))
    for turn in range(rounds + 1):
        is_watched = turn == rounds
        start = turn % len(kept)
        for job in (*kept[start:], *kept[:start]):
            row, home = rows[job.way], homes[job.way]
            if row.failed or home is None:
                continue
            # Checked once, outside the clock; never while memory is watched.
            is_checked = turn == rounds - 1
            try:
                result, peak_bytes = run(
                    job,
                    home,
                    truth=truth if is_checked else None,
                    limit_s=limit_s,
                    is_watched=is_watched,
                )
            except Failed as error:
                row.failed = str(error)
                continue
            if is_watched:
                row.peak_bytes = peak_bytes
            else:
                row.walls_s.append(result["wall_s"])
                row.cpus_s.append(result["cpu_s"])
                row.last = result
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return list(rows.values())


def run(
    job: Job, home: Environment, *, truth: Path | None, limit_s: float, is_watched: bool
) -> tuple[dict[str, Any], int]:
    """Run one job in a fresh process.

    Returns:
        What it said, and the most memory that it and its children had; 0 if not watched.

    Raises:
        Failed: if it ended with an error or was too slow.
    """
    words = [str(home.python), str(CHILD), json.dumps(asdict(job)), str(truth or "-")]
    peak_bytes = 0
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            words, stdout=output, stderr=errors, env=home.variables(), start_new_session=True
        )
        end = monotonic() + limit_s
        try:
            if is_watched:
                while process.poll() is None and monotonic() < end:
                    peak_bytes = max(peak_bytes, _tree_bytes(process.pid))
                    sleep(WATCH_EVERY_S)
            code = process.wait(timeout=max(end - monotonic(), 0.001))
        except subprocess.TimeoutExpired as error:
            raise Failed(f"no result within {limit_s:g} s") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code:
            raise Failed(_reason(errors, code))
        output.seek(0)
        result: dict[str, Any] = json.loads(output.read().splitlines()[-1])
    return result, peak_bytes


def _variables(python: Path) -> dict[str, str]:
    """Those of this process; the folders that it imports from are no other Python's concern."""
    found = dict(os.environ)
    if python != Path(sys.executable):
        found.pop("PYTHONPATH", None)
    return found


def _home(way: str, environments: Sequence[Environment]) -> Environment | None:
    package = LOADERS[way][0]
    return next((each for each in environments if package in each.installed), None)


def _json(words: list[str], variables: dict[str, str]) -> dict[str, str]:
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=variables)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _reason(errors: IO[str], code: int) -> str:
    errors.seek(0)
    lines = errors.read().splitlines()
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    told = (named or lines or [""])[-1]
    told = re.sub(r"\[[\d:]+\] \S+:\d+: ", "", told)  # decord's clock and line of its source
    return (told or f"ended with {code}")[:160]


def _warm(path: Path) -> None:
    """Read a file, so that no loader pays for the disk."""
    with path.open("rb") as file:
        while file.read(1 << 22):
            pass


def _tree_bytes(root: int) -> int:
    """Memory of a process and all below it, each page shared among them counted once."""
    total, waiting = 0, [root]
    while waiting:
        process = Path("/proc") / str(waiting.pop())
        try:
            rollup = (process / "smaps_rollup").read_text(encoding="ascii")
            for thread in (process / "task").iterdir():
                below = (thread / "children").read_text(encoding="ascii")
                waiting += map(int, below.split())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while it was read
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        total += 1024 * int(found[1]) if found else 0
    return total
