"""A whole batch where no process may make a socket: the kernel kills one that tries."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.batch.command import ROOT, export
from tests.synthetic_clips import paint
from tests.tiers import by_tier, slow

_SOCKET_CALL = {"x86_64": 41, "aarch64": 198}
_SCRIPT = """
import ctypes, sys
class Step(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte),
                ("value", ctypes.c_uint32)]
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.POINTER(Step))]
# Load the number of the system call; if it is socket(2), kill the process; else allow it. Holds for
# every process that is started from here. A pair of local ends, socketpair(2), is another call.
steps = (Step * 4)(Step(0x20, 0, 0, 0), Step(0x15, 0, 1, int(sys.argv[1])),
                   Step(0x06, 0, 0, 0x80000000), Step(0x06, 0, 0, 0x7FFF0000))
c = ctypes.CDLL(None)
if c.prctl(38, 1, 0, 0, 0) or c.prctl(22, 2, ctypes.byref(Program(4, steps))):
    sys.exit(99)
if sys.argv[2] == "try":
    import socket
    socket.socket()
from seedvideo.cli import main
sys.exit(main(sys.argv[2:]))
"""


def without_network(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    call = _SOCKET_CALL.get(platform.machine())
    if call is None:
        pytest.skip(f"the number of socket(2) on {platform.machine()} is not known here")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(call), *map(str, words)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )
    if done.returncode == 99:
        pytest.skip("this kernel lets no process wall itself in")
    return done


def test_the_network_is_blocked() -> None:
    assert without_network("try").returncode == -31  # SIGSYS.


@slow
def test_n01_a_batch_needs_no_network(tmp_path: Path) -> None:
    paint(tmp_path / "clips" / "red.mp4", ["red"])
    paint(tmp_path / "clips" / "blue.mp4", ["blue"])
    out = tmp_path / "out"
    done = without_network("batch", "run", tmp_path / "clips", "-o", out, "--max-frames", "2")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for form in ("parquet", "html", "csv", "jsonl")[: by_tier(4, quick=1)]:
        words: list[str | Path] = ["-f", form, "-o", tmp_path / f"walled.{form}"]
        assert without_network("batch", "export", out, *words).returncode == 0
    rows = [json.loads(line) for line in export(out, "jsonl", tmp_path / "a.jsonl").splitlines()]
    assert [row["state"] for row in rows] == ["done", "done"]
    assert {row["model"]["name"] for row in rows} == {"nano"}
