"""What a real terminal is sent: our own line control, and nothing that a file name brought."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.synthetic_clips import paint
from tests.tiers import quick_first

COLOUR_MODEL = """
import sys
from seedvideo import api
from seedvideo.cli import main
from tests.synthetic_clips import ColourModel

api.load = lambda name, options=None: ColourModel()
sys.exit(main(sys.argv[1:]))
"""


INTERRUPTED = """
import sys
from seedvideo.cli import main
from seedvideo.cli.console import Console

update = Console.update_progress

def interrupt(console, fraction):
    update(console, fraction)
    if fraction > 0.5:
        raise KeyboardInterrupt

Console.update_progress = interrupt
sys.exit(main(sys.argv[1:]))
"""


def in_terminal(
    *words: str | Path, program: str = COLOUR_MODEL, cwd: Path | None = None
) -> tuple[int, str]:
    """Run a command whose stdout and stderr are one terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        cwd=cwd,
        env={
            **os.environ,
            "COLUMNS": "80",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # how Linux reports that the other end has closed
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


def test_a_status_line_never_wraps(tmp_path: Path) -> None:
    # Each character takes two cells: 79 cells are 39 of them and a space.
    video = paint(tmp_path / "red.mp4", ["red"]).rename(tmp_path / f"{'狗' * 70}.mp4")
    code, received = in_terminal("caption", video.name, cwd=tmp_path)
    assert code == 0
    assert f"\r\x1b[2K{'狗' * 39} \r" in received


def test_a_hostile_name_stays_inert(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2J\x1b]0;owned\x07.mp4"
    paint(tmp_path / "made.mp4", ["black"]).rename(path)
    code, received = in_terminal("caption", path, tmp_path / "\x1b[31mnone.mp4")
    assert code == 1
    assert "not sure" in received
    assert "\x1b" not in received.replace("\r\x1b[2K", "")
    assert "\x07" not in received


@pytest.mark.parametrize("command", quick_first(["caption", "plan", "frames", "shots"]))
def test_the_analysed_fraction_is_shown_and_erased(tmp_path: Path, command: str) -> None:
    video = paint(tmp_path / "video.mp4", ["red", "blue", "green"], shot_s=4)
    words = ("-o", tmp_path / "out") if command == "frames" else ()
    code, received = in_terminal(command, video, "--analysis", "full", *words)
    assert code == 0
    # The line is cut where the terminal ends, and with it the long name.
    name = str(video)[:20]
    percentages = [
        int(found) for found in re.findall(rf"\x1b\[2Kanalysing, (\d+)%: {name}", received)
    ]
    assert len(percentages) > 3
    assert percentages == sorted(set(percentages))
    # The last status is the bare name again: more work follows.
    statuses = re.findall(r"\x1b\[2K([^\r\n\x1b]+)(?=\r)", received)
    assert statuses[-1].startswith(name)
    shown = [line.rsplit("\r\x1b[2K", 1)[-1] for line in received.split("\n")]
    assert "analysing" not in "\n".join(shown)


def test_ctrl_c_while_analysing_takes_the_status_away(tmp_path: Path) -> None:
    video = paint(tmp_path / "video.mp4", ["red", "blue"], shot_s=4)
    code, received = in_terminal("plan", video, program=INTERRUPTED)
    assert code == 130
    assert "analysing, " in received
    assert received.split("\n")[-2].rsplit("\r\x1b[2K", 1)[-1] == "interrupted"
