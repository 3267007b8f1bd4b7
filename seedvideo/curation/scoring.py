"""Scores of captions: how well frames of a video fit them, by a model of the user.

A scorer is an object with a method ``score(frames, text)``, which returns one number for each
frame, and optionally ``embed(frames)``, which returns one embedding for each.
``transformers:FOLDER`` is shipped; other packages add scorers as entry points of the group
``seedvideo.caption_scorers``: a function that takes the text after the colon and returns a scorer
(docs/guides/extend.md).

Separate from `seedvideo.curation.curate`, which opens no video.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from seedvideo import api
from seedvideo.config import SamplingConfig
from seedvideo.curation.semantic import Vector, normalize
from seedvideo.curation.table import TableRow
from seedvideo.errors import ConfigError, InputError, SeedVideoError, suggestion
from seedvideo.plugins import Plugin, find_plugin, list_plugins
from seedvideo.utils.addresses import is_address
from seedvideo.utils.timecode import parse_timecode
from seedvideo.utils.values import is_empty, to_text

SHIPPED: Final = "transformers"
"""Name of the shipped scorer."""

Frames = Sequence[npt.NDArray[np.uint8]]


class Scorer(Protocol):
    """Compares pictures with a text."""

    def score(self, frames: Frames, text: str) -> Sequence[float]:
        """Return one number for each RGB picture ``(height_px, width_px, 3)``."""


class _PluginScorer:
    """Scorer of another package; its errors and results are checked."""

    def __init__(self, plugin: Plugin, scorer: Any) -> None:
        self._plugin = plugin
        self._scorer = scorer
        if not callable(getattr(scorer, "score", None)):
            raise plugin.error("returned an object without a method score")
        if callable(getattr(scorer, "embed", None)):
            self.embed = self._embed

    def score(self, frames: Frames, text: str) -> Sequence[float]:
        found = self._plugin.call(self._scorer.score, frames, text)
        scores = [self._plugin.call(float, each) for each in self._plugin.call(list, found)]
        if len(scores) != len(frames) or not all(map(math.isfinite, scores)):
            raise self._plugin.error(
                f"returned {len(scores)} scores, expected {len(frames)} finite numbers"
            )
        return scores

    def _embed(self, frames: Frames) -> Vector:
        found: Vector = np.asarray(self._plugin.call(self._scorer.embed, frames), np.float32)
        if found.ndim != 2 or len(found) != len(frames):
            raise self._plugin.error(
                f"returned embeddings of shape {found.shape}, expected ({len(frames)}, size)"
            )
        return found


def load_scorer(name: str) -> Scorer:
    """Load a scorer.

    Args:
        name: ``transformers:FOLDER``, or name of a plugin, with ``:REST`` if it takes any.

    Raises:
        ConfigError: ``config.invalid`` if it does not exist; ``config.plugin_invalid``.
        ModelError: if a checkpoint cannot be loaded.
        InputError: ``input.not_found`` if the folder does not exist.
    """
    kind, _, rest = name.partition(":")
    if kind == SHIPPED:
        folder = Path(rest)
        if not rest or not folder.is_dir():
            raise InputError(
                "input.not_found",
                f"--scorer {name}: no such folder",
                hint="name the folder of a CLIP or SigLIP checkpoint: --scorer transformers:FOLDER",
            )
        from seedvideo.model.image_text import ImageTextModel

        return ImageTextModel(folder)
    plugin = find_plugin("caption_scorer", kind)
    if plugin is None:
        known = [SHIPPED, *(each.name for each in list_plugins("caption_scorer"))]
        raise ConfigError(
            "config.invalid",
            f"--scorer is {name!r}, expected one of {', '.join(known)} with its argument after a"
            " colon",
            hint=suggestion(kind, known) or "docs/guides/extend.md shows how to add one",
        )
    return _PluginScorer(plugin, plugin.call(plugin.load(), rest))


class CaptionScorer:
    """Scores the rows of a table.

    Args:
        scorer: compares pictures with a text.
        column: column of the mean over frames; that of the maximum is ``COLUMN_max``.
        max_frames: maximum number of frames of a clip.
        embeds: whether to make embeddings of clips too: the mean over frames.
        on_failure: called with each row that cannot be scored, and the reason.

    Raises:
        ConfigError: ``config.invalid`` if the scorer makes no embeddings and they are needed.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        column: str,
        max_frames: int,
        embeds: bool = False,
        on_failure: Callable[[TableRow, SeedVideoError], None] = lambda row, error: None,
    ) -> None:
        self.columns: tuple[str, ...] = (column, f"{column}_max")
        self.failures = 0
        self._scorer = scorer
        self._sampling = SamplingConfig(max_frames=max_frames)
        self._on_failure = on_failure
        self._embed = getattr(scorer, "embed", None) if embeds else None
        if embeds and self._embed is None:
            raise ConfigError(
                "config.invalid",
                "--drop-semantic needs embeddings, which this scorer does not make",
                hint="name their column or file with --embeddings",
            )

    def score(self, row: TableRow) -> tuple[tuple[float | None, ...], Vector | None]:
        """Return mean and maximum of the scores of a row's frames, and its embedding.

        Values are None where the row has no caption, and where its video cannot be used.
        """
        caption = row.get("caption")
        if is_empty(caption) and self._embed is None:
            return (None, None), None
        try:
            frames = self._frames(row)
        except SeedVideoError as error:
            self.failures += 1
            self._on_failure(row, error)
            return (None, None), None
        scores: tuple[float | None, ...] = (None, None)
        if not is_empty(caption):
            found = self._scorer.score(frames, to_text(caption))
            scores = (math.fsum(found) / len(found), max(found))
        embedding = None if self._embed is None else normalize(self._embed(frames).mean(axis=0))
        return scores, embedding

    def _frames(self, row: TableRow) -> Frames:
        try:
            start_s, end_s = (parse_timecode(each) if each else None for each in row.window)
        except ValueError as error:
            raise InputError("input.type", f"{row.where}: {error}") from error
        sampling = replace(self._sampling, start_s=start_s, end_s=end_s)
        path = row.path if is_address(row.path) else str(row.file.path.parent / row.path)
        with api.open(path) as clip:
            plan = api.plan(clip, sampling=sampling)
            return [frame.pixels for _, frame in clip.frames(plan)]
