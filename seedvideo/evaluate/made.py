"""Benchmarks of items that make their own videos: each file when it is first asked about.

The files lie in a folder named after what makes them, so that a changed generator never meets the
videos of an old one.
"""

import hashlib
import secrets
from itertools import product
from pathlib import Path
from typing import Final

import av

import seedvideo.evaluate.synthetic as synthetic_room
from seedvideo.evaluate.items import Item
from seedvideo.evaluate.synthetic.case import FAMILIES, TEST_SEEDS, Case, make_case, write_video

SYNTHETIC_SEEDS: Final = range(TEST_SEEDS, TEST_SEEDS + 50)
"""Seeds of the benchmark, each with a video a family: some 800 questions, enough to tell a
difference of 4 points."""


class Synthetic:
    """The synthetic benchmark in a folder.

    Args:
        folder: in which a folder for the videos is made.
        seeds: of the cases.

    Attributes:
        generator: names what makes the videos.
        items: all questions, one video of each family after the other.
    """

    def __init__(self, folder: Path, *, seeds: range = SYNTHETIC_SEEDS) -> None:
        cases = [make_case(seed, family) for seed, family in product(seeds, FAMILIES)]
        self.generator = generator_of(Path(synthetic_room.__file__).parent)
        self.items: tuple[Item, ...] = tuple(item for case in cases for item in case.items)
        self._folder = folder / f"synthetic-{self.generator}"
        self._cases: dict[str, Case] = {case.video: case for case in cases}

    def path_of(self, item: Item) -> Path:
        """The item's video, made now if it is not there."""
        path = self._folder / item.video
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Under another name until it is whole: a stopped run leaves no half video behind.
            part = path.with_name(f".{path.stem}-{secrets.token_hex(4)}.part")
            try:
                write_video(self._cases[item.video], part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return path


def generator_of(room: Path) -> str:
    """Names what makes videos: the source in a folder, and the encoder's version."""
    digest = hashlib.sha256(av.__version__.encode())
    for path in sorted(room.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
