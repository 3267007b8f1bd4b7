"""Run loaders alternately, each measurement in a process of its own, and collect the results.

Linux only: memory is read from ``/proc``.
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
    """A Python environment.

    Args:
        python: its interpreter.
        installed: versions of packages by name.
        libraries: folder with FFmpeg's shared libraries for torchcodec, if it needs one.
    """

    python: Path
    installed: dict[str, str]
    libraries: Path | None = None

    def variables(self) -> dict[str, str]:
        """Return the environment variables of its processes."""
        found = _variables(self.python)
        if self.libraries is not None:
            old = found.get("LD_LIBRARY_PATH")
            paths = [str(self.libraries), *([old] if old else [])]
            found["LD_LIBRARY_PATH"] = os.pathsep.join(paths)
        return found


@dataclass
class Row:
    """Measurements of one loader on one job.

    Args:
        way: name of the loader.
        rounds: results of each round.
        failed: reason of a failure; empty if it succeeded.
    """

    way: str
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failed: str = ""

    @property
    def checked(self) -> dict[str, Any]:
        """The round in which the frames were compared with the ground truth."""
        return self.rounds[0]

    @property
    def right(self) -> int | None:
        """Frames that are right in every respect, at most; None if they were not checked."""
        names = ("right_times", "right_pictures", "right_sizes")
        return min((self.checked[name] for name in names if name in self.checked), default=None)

    @property
    def wall_s(self) -> float:
        """Median wall seconds of the rounds."""
        return self._middle("wall_s")

    @property
    def cpu_s(self) -> float:
        """Median processor seconds of the rounds, over all its processes."""
        return self._middle("cpu_s")

    @property
    def peak_bytes(self) -> int:
        """Maximum memory of all rounds, over all its processes."""
        return max(each["peak_bytes"] for each in self.rounds)

    @property
    def beyond_bytes(self) -> int:
        """Maximum memory beyond the result."""
        return max(each["peak_bytes"] - each["result_bytes"] for each in self.rounds)

    @property
    def over_bytes(self) -> int:
        """Maximum memory beyond the result and the memory before the work: Python and imports."""
        return max(
            each["peak_bytes"] - each["result_bytes"] - each["idle_bytes"] for each in self.rounds
        )

    def fact_s(self, name: str) -> float:
        """Return the median over the rounds of a part that the loader timed itself."""
        return median(each["facts"][name] for each in self.rounds)

    def ratio_to(self, other: "Row") -> float:
        """Return the median over the rounds of this time divided by the other one."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return median(own["wall_s"] / theirs["wall_s"] for own, theirs in pairs)

    def _middle(self, name: str) -> float:
        return median(each[name] for each in self.rounds)


class LoaderFailedError(Exception):
    """A loader failed; the message gives the reason in one line."""


def environment(python: Path, folder: Path) -> Environment:
    """List the packages of a Python environment, and link FFmpeg for torchcodec.

    The wheel of torchcodec lacks FFmpeg. It gets the one inside the wheel of PyAV, under the names
    that it searches, so that both decode with the same libraries.
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
    """Run every job once per round.

    Args:
        jobs: jobs of one file.
        environments: environments in which a loader's package is searched, in this order.
        truth: path of the file's painted frames.
        rounds: maximum number of rounds. The order rotates from round to round.
        table_s: seconds after which no further round begins.
        limit_s: maximum seconds of one measurement; a slower loader has no result.

    Returns:
        A row for each job whose loader is installed in some environment.
    """
    environment_of = {job.way: _find_environment(job.way, environments) for job in jobs}
    runnable = [job for job in jobs if environment_of[job.way] is not None]
    rows = {job.way: Row(job.way) for job in runnable}
    began_s = monotonic()
    for round_index in range(rounds):
        if round_index and monotonic() - began_s > table_s:
            break
        start = round_index % len(runnable)
        for job in (*runnable[start:], *runnable[:start]):
            row, python_env = rows[job.way], environment_of[job.way]
            if row.failed or python_env is None:
                continue
            try:
                # One check is enough: the result is the same in each round.
                row.rounds.append(
                    run(job, python_env, truth=None if round_index else truth, limit_s=limit_s)
                )
            except LoaderFailedError as error:
                row.failed = str(error)
            print("x" if row.failed else ".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return list(rows.values())


def run(job: Job, python_env: Environment, *, truth: Path | None, limit_s: float) -> dict[str, Any]:
    """Run one job in a fresh process.

    Returns:
        Its result, with ``idle_bytes`` and ``peak_bytes``: its memory before the work, and at most.

    Raises:
        LoaderFailedError: if it ended with an error or was too slow.
    """
    # Each time: the memory of another loader may have displaced the file from the page cache.
    _warm(Path(job.path))
    notices, send = os.pipe()
    hear, answers = os.pipe()
    arguments = (truth or "-", send, hear)
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [str(python_env.python), str(CHILD), json.dumps(asdict(job)), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=python_env.variables(),
            pass_fds=(send, hear),
        )
        os.close(send)
        os.close(hear)
        end_s = monotonic() + limit_s
        try:
            idle_bytes, peak_bytes = watch(process.pid, notices, answers, end_s=end_s)
            code = process.wait(timeout=max(end_s - monotonic(), 1))
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise LoaderFailedError(f"no result within {limit_s:g} s") from error
        finally:
            _end(process)
            os.close(notices)
            os.close(answers)
        if code:
            raise LoaderFailedError(_reason(errors, code))
        output.seek(0)
        result: dict[str, Any] = json.loads(output.read().splitlines()[-1])
    return {**result, "idle_bytes": idle_bytes, "peak_bytes": peak_bytes}


def _variables(python: Path) -> dict[str, str]:
    """Return the variables of this process, with one OpenMP thread per core.

    Other Python environments do not get the import path of this one.
    """
    found = {**os.environ, "OMP_NUM_THREADS": str(CORES)}
    if python != Path(sys.executable):
        found.pop("PYTHONPATH", None)
    return found


def _find_environment(way: str, environments: Sequence[Environment]) -> Environment | None:
    package = LOADERS[way].package
    return next((each for each in environments if package in each.installed), None)


def _json(command: list[str], variables: dict[str, str]) -> dict[str, str]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=variables)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its descendants, which may have process groups of their own."""
    if process.poll() is not None:
        return
    for each in processes(process.pid):
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it exited by itself
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
    """Read a file into the page cache, so that no loader waits for the disk."""
    with path.open("rb") as file:
        while file.read(1 << 22):
            pass
