"""Runs loaders by turns, each measurement in a process of its own, and collects their results.

Knows nothing of tables and of goals. Linux only: memory is read from ``/proc``.
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
from time import monotonic
from typing import IO, Any, Final

from _sampling_job import Job
from _sampling_loaders import LOADERS
from _sampling_memory import processes, watch

CHILD: Final = Path(__file__).with_name("_sampling_child.py")
CORES: Final = len(os.sched_getaffinity(0))


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
        rounds: results of each round.
        failed: why there is nothing.
    """

    way: str
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failed: str = ""

    @property
    def checked(self) -> dict[str, Any]:
        """The round in which the frames were compared with what was painted."""
        return self.rounds[0]

    @property
    def right(self) -> int | None:
        """The least of the counts of frames right in one way; none if they were not checked."""
        names = ("right_times", "right_pictures", "right_sizes")
        return min((self.checked[name] for name in names if name in self.checked), default=None)

    @property
    def wall_s(self) -> float:
        """Median of the rounds."""
        return self._middle("wall_s")

    @property
    def cpu_s(self) -> float:
        """Median of the rounds, of all its processes."""
        return self._middle("cpu_s")

    @property
    def peak_bytes(self) -> int:
        """Most of all rounds, of all its processes together."""
        return max(each["peak_bytes"] for each in self.rounds)

    @property
    def beyond_bytes(self) -> int:
        """Most of what the peak leaves beyond the result."""
        return max(each["peak_bytes"] - each["result_bytes"] for each in self.rounds)

    @property
    def over_bytes(self) -> int:
        """The same without what was there before the work began: Python and what it imported."""
        return max(
            each["peak_bytes"] - each["result_bytes"] - each["idle_bytes"] for each in self.rounds
        )

    def fact_s(self, name: str) -> float:
        """Median over the rounds of a part that the loader timed itself."""
        return median(each["facts"][name] for each in self.rounds)

    def ratio_to(self, other: "Row") -> float:
        """Median over the rounds of this one's time over the other's in the same round."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return median(own["wall_s"] / its["wall_s"] for own, its in pairs)

    def _middle(self, name: str) -> float:
        return median(each[name] for each in self.rounds)


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
    table_s: float,
    limit_s: float,
) -> list[Row]:
    """Run every job once a round.

    Args:
        jobs: of one file.
        environments: environments in which a loader's package is searched, in this order.
        truth: the file's painted frames.
        rounds: at most. The order turns from round to round.
        table_s: no further round begins once this has gone by.
        limit_s: for one measurement; a loader that needs longer has no result.

    Returns:
        A row for each job whose loader is installed somewhere.
    """
    homes = {job.way: _home(job.way, environments) for job in jobs}
    kept = [job for job in jobs if homes[job.way] is not None]
    rows = {job.way: Row(job.way) for job in kept}
    began_s = monotonic()
    for turn in range(rounds):
        if turn and monotonic() - began_s > table_s:
            break
        start = turn % len(kept)
        for job in (*kept[start:], *kept[:start]):
            row, home = rows[job.way], homes[job.way]
            if row.failed or home is None:
                continue
            try:
                # One check is enough: what is given is the same each time.
                row.rounds.append(run(job, home, truth=None if turn else truth, limit_s=limit_s))
            except Failed as error:
                row.failed = str(error)
            print("x" if row.failed else ".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return list(rows.values())


def run(job: Job, home: Environment, *, truth: Path | None, limit_s: float) -> dict[str, Any]:
    """Run one job in a fresh process.

    Returns:
        Its result, and ``idle_bytes`` and ``peak_bytes``: its memory before, and at most.

    Raises:
        Failed: if it ended with an error or was too slow.
    """
    # Each time: what another loader held may have driven the file out of memory.
    _warm(Path(job.path))
    notices, send = os.pipe()
    hear, answers = os.pipe()
    arguments = (truth or "-", send, hear)
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [str(home.python), str(CHILD), json.dumps(asdict(job)), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=home.variables(),
            pass_fds=(send, hear),
        )
        os.close(send)
        os.close(hear)
        end_s = monotonic() + limit_s
        try:
            idle_bytes, peak_bytes = watch(process.pid, notices, answers, end_s=end_s)
            code = process.wait(timeout=max(end_s - monotonic(), 1))
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise Failed(f"no result within {limit_s:g} s") from error
        finally:
            _end(process)
            os.close(notices)
            os.close(answers)
        if code:
            raise Failed(_reason(errors, code))
        output.seek(0)
        result: dict[str, Any] = json.loads(output.read().splitlines()[-1])
    return {**result, "idle_bytes": idle_bytes, "peak_bytes": peak_bytes}


def _variables(python: Path) -> dict[str, str]:
    """Those of this process, and as many threads as there are cores for all that asks OpenMP.

    The folders that this Python imports from are no other Python's concern.
    """
    found = {**os.environ, "OMP_NUM_THREADS": str(CORES)}
    if python != Path(sys.executable):
        found.pop("PYTHONPATH", None)
    return found


def _home(way: str, environments: Sequence[Environment]) -> Environment | None:
    package = LOADERS[way].package
    return next((each for each in environments if package in each.installed), None)


def _json(words: list[str], variables: dict[str, str]) -> dict[str, str]:
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=variables)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all below it, if it still runs: some of these lead groups of their own."""
    if process.poll() is not None:
        return
    for each in processes(process.pid):
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended by itself
    process.wait()


def _reason(errors: IO[str], code: int) -> str:
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    errors.seek(0)
    lines = errors.read().splitlines()
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    message = (named or lines or [""])[-1]
    message = re.sub(r"\[[\d:]+\] \S+:\d+: ", "", message)  # decord's clock and line of its source
    return (message or f"ended with {code}")[:160]


def _warm(path: Path) -> None:
    """Read a file, so that no loader pays for the disk."""
    with path.open("rb") as file:
        while file.read(1 << 22):
            pass
