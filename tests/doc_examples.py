"""Read the examples of README.md and docs/: fenced blocks, commands, tables, and their clip."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np

from tests.synthetic_clips import COLOURS

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
DOCS: Final = ROOT / "docs"

_FENCE: Final = re.compile(r"^```([\w-]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FPS: Final = 25


class Block(NamedTuple):
    """One fenced block."""

    language: str
    text: str


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    found = [Block(*match.groups()) for match in _FENCE.finditer(page.read_text(encoding="utf-8"))]
    return [block.text for block in found if block.language == language]


def console_runs(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block and the output of each."""
    runs = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.removeprefix("> ").partition("\n")
            command = f"{command}\n{more}"
        runs.append((command, output))
    return runs


def run_session(
    runs: Sequence[tuple[str, str | None]],
    folder: Path,
    *,
    module: str = "tests.batch.command",
    **variables: str,
) -> None:
    """Run all lines in one shell, in a folder.

    Args:
        runs: the lines and the output of each; None for any output.
        folder: folder to run in.
        module: what the command runs; unless given, its jobs have a model without weights.
        variables: further variables of the environment.

    Raises:
        AssertionError: if the shell fails, or a line prints other text than is shown. Messages may
            be left out of a page: they are progress, or the shell's report of a killed job.
    """
    with tempfile.TemporaryDirectory() as place:
        program = Path(place) / "seedvideo"
        words = f'{shlex.quote(sys.executable)} -m {module} "$@"'
        program.write_text(f"#!/bin/sh\nexec {words}\n")
        program.chmod(0o755)
        script = "".join(
            f"{{ {command}\n}} >{place}/{number}.out 2>{place}/{number}.err\n"
            for number, (command, _) in enumerate(runs)
        )
        path = f"{place}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env={**os.environ, **variables, "PATH": path, "PYTHONPATH": str(ROOT)},
            timeout=600,
            check=False,
        )
        assert done.returncode == 0
        for number, (_, shown) in enumerate(runs):
            printed, messages = (
                Path(place, f"{number}.{end}").read_text(encoding="utf-8") for end in ("out", "err")
            )
            assert "Traceback" not in messages
            assert shown is None or (printed or (messages if shown else "")) == shown


def table_after(page: Path, name: str) -> list[list[str]]:
    """Return the cells of the table after ``<!-- table: name -->``, without header and rule."""
    _, _, rest = page.read_text(encoding="utf-8").partition(f"<!-- table: {name} -->")
    lines = rest.strip().split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def documented_clip(path: Path) -> Path:
    """Write a clip of 12 s, 1280x720: five seconds of red, then seven of blue, with moving bars."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_FPS)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for colour, seconds in (("red", 5), ("blue", 7)):
            picture = np.full((720, 1280, 3), COLOURS[colour], np.uint8)
            picture[80:640, np.arange(1280) % 80 < 16] //= 2
            for number in range(seconds * _FPS):
                shown = np.roll(picture, 4 * number, axis=1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())
    return path
