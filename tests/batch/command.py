"""``seedvideo batch run`` as a process of its own, with the hands of the tests."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_SCRIPT = """
import signal, sys
from functools import partial
import seedvideo.model
from seedvideo import cli
from seedvideo.batch import runner
from seedvideo.cli.batch_run import run
from tests.batch.hands import HANDS, load

# Under a shell that runs the tests in its background, Ctrl-C starts out ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
runner.Runner = partial(runner.Runner, hands=HANDS)
seedvideo.model.prices = load
cli.app.command("run-job")(run)
sys.exit(cli.main(["run-job", *sys.argv[1:]]))
"""

ROOT = Path(__file__).parents[2]


def start(*words: str | Path, **options: Any) -> "subprocess.Popen[str]":
    """Start it; what it says can be read."""
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **{"stdin": subprocess.DEVNULL, **options},
    )


def finish(*words: str | Path, **options: Any) -> tuple[int, str, str]:
    """Run it to its end: exit code, stdout, stderr."""
    with start(*words, **options) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def events(err: str) -> list[dict[str, Any]]:
    """The events that it told, of lines that are whole."""
    return [json.loads(line) for line in err.splitlines() if line.endswith("}")]


if __name__ == "__main__":
    exec(_SCRIPT)  # noqa: S102  # as `start` runs it
