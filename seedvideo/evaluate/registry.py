"""Registry of benchmarks: those with published files, and those that generate their videos.

A published benchmark needs the user's annotations and videos. A generated one makes each video in a
folder when the first item about it is evaluated. The folder is named after the version of the
generator, so that a changed generator never finds the videos of an old one.
"""

import math
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

from seedvideo.errors import ConfigError, suggestion
from seedvideo.evaluate.annotations import annotation_error
from seedvideo.evaluate.datasets import ADAPTERS
from seedvideo.evaluate.runner import PathResolver, folder_resolver
from seedvideo.evaluate.scoring import MEASURES, Scoring
from seedvideo.evaluate.synthetic.dataset import (
    FAMILIES,
    TEST_SEEDS,
    Case,
    make_case,
    name_generator,
    write_video,
)
from seedvideo.evaluate.types import Item, Prediction, Scorer
from seedvideo.plugins import Plugin, find_plugin, list_plugins


@dataclass(frozen=True)
class Benchmark:
    """A benchmark whose items are loaded.

    Args:
        name: name on the command line.
        items: all items.
        resolve_path: finds or generates the video of an item.
        headline: names of the measures that are printed bold.
        generator: version of the generator of the videos; empty for published videos.
    """

    name: str
    items: tuple[Item, ...]
    resolve_path: PathResolver
    headline: tuple[str, ...]
    generator: str = ""


GENERATED: Final[Mapping[str, str]] = {
    "synthetic": "answer questions and find moments in generated videos of moving shapes",
    "flashbench": "score sampling plans on generated videos with brief events; needs no model",
}
"""Benchmarks that generate their videos, each with its description."""


def describe_benchmarks() -> list[tuple[str, str]]:
    """Return every benchmark's name and description."""
    adapters = [(adapter.name, adapter.about) for adapter in ADAPTERS.values()]
    return [*adapters, *GENERATED.items()]


def load_scorers(names: Sequence[str]) -> tuple[Scoring, tuple[str, ...]]:
    """Load scorers of other packages.

    Args:
        names: their names.

    Returns:
        The scoring with these scorers, and a line about each.

    Raises:
        ConfigError: ``config.invalid`` if a scorer does not exist; ``config.plugin_invalid`` if it
            is unusable, also when it scores an item.
    """
    scorers: dict[str, Scorer] = {}
    notes = []
    for name in dict.fromkeys(names):
        plugin = find_plugin("scorer", name)
        if plugin is None:
            known = [each.name for each in list_plugins("scorer")]
            raise ConfigError(
                "config.invalid",
                f"scorer is {name!r}, expected one of {', '.join(known)}"
                if known
                else f"scorer is {name!r}, but no installed package adds a scorer",
                hint=suggestion(name, known) or "docs/guides/extend.md shows how to add one",
            )
        if any(name == measure.name for task in MEASURES.values() for measure in task):
            raise plugin.error("has the name of a shipped measure")
        scorers[name] = partial(_score, plugin, plugin.load())
        notes.append(f"{name}: mean of the scorer of {plugin.origin}.")
    return Scoring(scorers), tuple(notes)


def _score(plugin: Plugin, scorer: Scorer, item: Item, prediction: Prediction, /) -> float | None:
    """Call the scorer of another package, and check what it returns."""
    value = plugin.call(scorer, item, prediction)
    score = None if value is None else plugin.call(float, value)
    if score is not None and not math.isfinite(score):
        raise plugin.error(f"returned {score}, expected a finite number or None")
    return score


def load_published(name: str, annotations: Sequence[Path], videos: Path) -> Benchmark:
    """Load a benchmark from its published files.

    Args:
        name: a name in `ADAPTERS`.
        annotations: its files, the main one first.
        videos: the folder of its videos.

    Raises:
        InputError: if a file is missing or is not in the published form, or if two items have the
            same id.
    """
    adapter = ADAPTERS[name]
    first, *more = annotations
    items = adapter.items(first, *more)
    for one, count in Counter(item.id for item in items).items():
        if count > 1:
            raise annotation_error(first, f"{count} items have the id {one!r}")
    return Benchmark(name, tuple(items), folder_resolver(videos), tuple(adapter.headline))


def load_synthetic(folder: Path) -> Benchmark:
    """Load the synthetic benchmark.

    Args:
        folder: folder of its generated videos.
    """
    source = SyntheticBenchmark(folder)
    headline = ("accuracy", "R@1 IoU 0.5", "mIoU", "false positives")
    return Benchmark("synthetic", source.items, source.resolve_path, headline, source.generator)


SYNTHETIC_SEEDS: Final = range(TEST_SEEDS, TEST_SEEDS + 50)
"""Seeds of the benchmark, each with one video per family: about 800 questions, enough to detect a
difference of 4 points."""


class SyntheticBenchmark:
    """The synthetic benchmark in a folder.

    Args:
        folder: folder in which a subfolder for the videos is made.
        seeds: seeds of the cases.

    Attributes:
        generator: version of the generator of the videos.
        items: all questions, one video of each family after the other.
    """

    def __init__(self, folder: Path, *, seeds: range = SYNTHETIC_SEEDS) -> None:
        cases = [make_case(seed, family) for seed, family in product(seeds, FAMILIES)]
        self.generator = name_generator()
        self.items: tuple[Item, ...] = tuple(item for case in cases for item in case.items)
        self._folder = folder / f"synthetic-{self.generator}"
        self._cases: dict[str, Case] = {case.video: case for case in cases}

    def resolve_path(self, item: Item) -> Path:
        """Return the item's video, generated now if it does not exist."""
        path = self._folder / item.video
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Under another name until it is complete: a stopped run leaves no truncated video.
            part = path.with_name(f".{path.stem}-{secrets.token_hex(4)}.part")
            try:
                write_video(self._cases[item.video], part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return path
