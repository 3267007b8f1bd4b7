"""The command as a process of its own, its jobs with the hands of the tests."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_SCRIPT = """
import importlib, os, resource, signal, sys
from functools import partial
import seedvideo.model
from seedvideo import cli
from seedvideo.batch import fingerprint, outage, part_runner, ray_engine, scheduler

doubles = importlib.import_module(os.environ.get("TEST_DOUBLES", "tests.batch.stage_doubles"))

# Under a shell that runs the tests in its background, Ctrl-C starts out ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
scheduler.Runner = partial(scheduler.Runner, entrypoints=doubles.ENTRYPOINTS)
scheduler.STOP_GRACE_S = float(os.environ.get("TEST_GRACE_S", scheduler.STOP_GRACE_S))
part_runner.PartRunner = partial(part_runner.PartRunner, entrypoints=doubles.ENTRYPOINTS)
ray_engine.run_on_cluster = partial(ray_engine.run_on_cluster, entrypoints=doubles.ENTRYPOINTS)
outage.WAITS_S = (0.01,) * 3
seedvideo.model.load_costs = doubles.load
fingerprint.SAMPLER_VERSION = os.environ.get("TEST_SAMPLER") or fingerprint.SAMPLER_VERSION
if size := os.environ.get("TEST_FILE_BYTES"):
    # The soft limit only: the hands lift it in their own processes.
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), most))
sys.exit(cli.main(sys.argv[1:]))
"""

ROOT = Path(__file__).parents[2]


def start(
    *words: str | Path,
    file_bytes: int | None = None,
    grace_s: float | None = None,
    doubles: str = "tests.batch.stage_doubles",
    sampler_version: str = "",
    command: str = "run",
    **options: Any,
) -> "subprocess.Popen[str]":
    """Start ``batch run`` or another command; its output can be read.

    Args:
        words: of the command.
        file_bytes: size that no file of the supervisor's may outgrow.
        grace_s: time that the model has to finish its clip once the job shall stop.
        command: name of the command.
        doubles: module with the entry points of the job and the token costs of its model.
        sampler_version: version of the sampler that its results are stored with.
        options: of the process.
    """
    variables = {"PYTHONPATH": str(ROOT), "TEST_FILE_BYTES": str(file_bytes or "")}
    variables |= {"TEST_DOUBLES": doubles, "TEST_SAMPLER": sampler_version}
    if grace_s is not None:
        variables["TEST_GRACE_S"] = str(grace_s)
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, "batch", command, *map(str, words)],
        text=True,
        env={**os.environ, **variables},
        **{
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **options,
        },
    )


def finish(*words: str | Path, timeout_s: float = 120, **options: Any) -> tuple[int, str, str]:
    """Run it to its end: exit code, stdout, stderr."""
    with start(*words, **options) as process:
        out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


def events(err: str) -> list[dict[str, Any]]:
    """Parse the events of all complete lines."""
    return [json.loads(line) for line in err.splitlines() if line.endswith("}")]


def below(pid: int) -> list[int]:
    """Return the descendants of a process."""
    found = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in listed.read_text().split()]
    return [each for child in found for each in (child, *below(child))]


def have_exited(pids: list[int]) -> bool:
    """Return whether all exit within some seconds; an unreaped process counts as exited."""
    for _ in range(200):
        states = []
        for pid in pids:
            try:
                states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
            except FileNotFoundError:
                continue
        if set(states) <= {"Z", "X"}:
            return True
        time.sleep(0.05)
    return False


def export(folder: Path, form: str, output: Path) -> bytes:
    """Export a job without timings, by the command as it is shipped; the bytes of a file."""
    words = ["batch", "export", str(folder), "-f", form, "-o", str(output), "--no-timings", "-q"]
    subprocess.run([sys.executable, "-m", "seedvideo", *words], check=True, cwd=ROOT, timeout=300)
    return output.read_bytes() if output.is_file() else b""


if __name__ == "__main__":
    exec(_SCRIPT)  # noqa: S102  # as `start` runs it
