"""Every benchmark by its name: those with published files, and those that make their own videos.

A benchmark of the first kind needs the user's annotations and videos; one of the second makes its
videos in a folder, each when it is first asked about.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seedvideo.evaluate.adapters import ADAPTERS
from seedvideo.evaluate.adapters.reading import not_published
from seedvideo.evaluate.items import Item
from seedvideo.evaluate.run import PathOf, in_folder


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
    from seedvideo.evaluate.made import Synthetic

    made = Synthetic(folder)
    headline = ("accuracy", "R@1 IoU 0.5", "mIoU", "false positives")
    return Bench("synthetic", made.items, made.path_of, headline, made.generator)
