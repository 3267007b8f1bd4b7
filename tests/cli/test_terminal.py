"""What a real terminal is sent: our own line control, and nothing that a file name brought."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.painted import paint

COLOUR_MODEL = """
import sys
from seedvideo import pipeline
from seedvideo.cli import main
from tests.painted import ColourModel

pipeline.load = lambda name: ColourModel()
sys.exit(main(sys.argv[1:]))
"""


def in_terminal(*words: str | Path) -> tuple[int, str]:
    """Run a command whose stdout and stderr are one terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", COLOUR_MODEL, *words],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # how Linux says that the other end has closed
            break
        if not data:
            break
        received += data
    os.close(ours)
    return process.wait(timeout=30), received.decode().replace("\r\n", "\n")


def test_status_lines_come_and_go(tmp_path: Path) -> None:
    one = paint(tmp_path / "one.mp4", ["red"])
    two = paint(tmp_path / "two.mp4", ["blue"])
    code, received = in_terminal("caption", one, two)
    assert code == 0
    assert "\r\x1b[2Kloading nano" in received
    assert "\r\x1b[2K[2/2] " in received
    shown = [line.rsplit("\r\x1b[2K", 1)[-1] for line in received.split("\n")]
    assert shown == [
        f"{one}  (1.0 s)",
        "  0.0 - 1.0 s  Red.",
        "",
        f"{two}  (1.0 s)",
        "  0.0 - 1.0 s  Blue.",
        "",
    ]


def test_a_hostile_name_stays_inert(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2J\x1b]0;owned\x07.mp4"
    paint(tmp_path / "made.mp4", ["black"]).rename(path)
    code, received = in_terminal("caption", path, tmp_path / "\x1b[31mnone.mp4")
    assert code == 1
    assert "not sure" in received
    assert "\x1b" not in received.replace("\r\x1b[2K", "")
    assert "\x07" not in received
