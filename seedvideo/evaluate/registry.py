"""Every benchmark by its name: those with published files, and those that make their own videos.

A benchmark of the first kind needs the user's annotations and videos; one of the second makes its
videos in a folder, each when it is first asked about.

Benchmarks of items that make their own videos: each file when it is first asked about.

The files lie in a folder named after what makes them, so that a changed generator never meets the
videos of an old one.
"""

import hashlib
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import av

import seedvideo.evaluate.synthetic as synthetic_room
from seedvideo.evaluate.annotations import not_published
from seedvideo.evaluate.datasets import ADAPTERS
from seedvideo.evaluate.runner import PathOf, in_folder
from seedvideo.evaluate.synthetic.dataset import FAMILIES, TEST_SEEDS, Case, make_case, write_video
from seedvideo.evaluate.types import Item


@dataclass(frozen=True)
class Bench:
    """A benchmark that is ready to be asked.

    Args:
        name: as on the command line.
        items: all of it.
        path_of: finds or makes the video of an item.
        headline: names of the measures that count most.
        generator: names what made the videos; empty where they were not made.
    """

    name: str
    items: tuple[Item, ...]
    path_of: PathOf
    headline: tuple[str, ...]
    generator: str = ""


MADE: Final[Mapping[str, str]] = {
    "synthetic": "questions and moments of things that come and go: makes its videos",
    "flashbench": "brief events and fine print that plans keep: makes its videos, needs no model",
}
"""Benchmarks that make their own videos, each with a line for people."""


def told() -> list[tuple[str, str]]:
    """Every benchmark's name, and a line about it."""
    return [(adapter.name, adapter.about) for adapter in ADAPTERS.values()] + list(MADE.items())


def published(name: str, annotations: Sequence[Path], videos: Path) -> Bench:
    """A benchmark with published files.

    Args:
        name: one of `ADAPTERS`.
        annotations: its files, the main one first.
        videos: the folder below which its videos lie.

    Raises:
        InputError: if a file is missing or is not in the published form, or if two items have the
            same id.
    """
    adapter = ADAPTERS[name]
    first, *more = annotations
    items = adapter.items(first, *more)
    for one, count in Counter(item.id for item in items).items():
        if count > 1:
            raise not_published(first, f"{count} items have the id {one!r}")
    return Bench(name, tuple(items), in_folder(videos), tuple(adapter.headline))


def synthetic(folder: Path) -> Bench:
    """The synthetic benchmark.

    Args:
        folder: where its videos go, and are found again.
    """
    made = Synthetic(folder)
    headline = ("accuracy", "R@1 IoU 0.5", "mIoU", "false positives")
    return Bench("synthetic", made.items, made.path_of, headline, made.generator)


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
