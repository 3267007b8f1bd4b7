"""Read the examples of README.md and docs/: fenced blocks, commands, tables, and their clip."""

import re
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
        runs.append((command, output))
    return runs


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
