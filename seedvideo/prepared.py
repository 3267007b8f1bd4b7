"""A video made ready for a model: all that must be decoded is decoded, no model has run yet.

The seam between the two halves of every task. The first half opens, plans and decodes, and needs of
a model only its `Prices`; the second needs a model, and no file. They may run in two processes:
what is here holds nothing that is open. Times are exact seconds, ``_s`` float seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from seedvideo.records import MediaRecord, PlanRecord
from seedvideo.utils.timecode import Span

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""One frame: ``(height_px, width_px, 3)``, RGB."""

Shown: TypeAlias = list[tuple[Fraction, Pixels]]
"""Decoded frames with their true times, in order."""


@dataclass(frozen=True)
class View:
    """What a model is shown of a video.

    Args:
        frames: with their times, in order.
        window: the part of the video that they stand for.
        duration: of the whole video.
        bounds: moments that part the window among the frames, one more than there are frames: frame
            ``i`` stands for ``[bounds[i], bounds[i + 1])`` (`seedvideo.sampler.boundaries`).
    """

    frames: Shown
    window: Span
    duration: Fraction
    bounds: tuple[Fraction, ...]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One video, ready to be shown.

    Args:
        source: the path as it was given.
        media: the facts of the file, with what decoding met.
        plan: totals of the plan of the first view.
        views: the whole first, then one a shot where shots are to be told apart.
        spent_s: wall seconds by stage; ``total`` is of them all.
    """

    source: str
    media: MediaRecord
    plan: PlanRecord
    views: tuple[View, ...]
    spent_s: Mapping[str, float]

    def timing_s(self, *, model_s: float) -> dict[str, float]:
        """Wall seconds by stage with those of the model; what lies between is nobody's."""
        stages = dict(self.spent_s)
        total_s = stages.pop("total")
        stages["model"] = round(stages.get("model", 0.0) + model_s, 4)
        return {**stages, "total": round(total_s + model_s, 4)}
