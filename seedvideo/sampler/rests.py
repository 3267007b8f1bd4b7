"""Measurement of rest and texture: where few or small frames show everything there is to see.

A block of the picture rests while it does not change for `MIN_REST_S` or longer. One frame shows
all of a rest, however long it lasts. Texture is the contrast of the busiest blocks: a soft picture
has no small print.

Thumbnails arrive as `seedvideo.sampler.block_features`: the mean of each block, then
its contrast, in grey levels. Between two thumbnails without a change the picture counts as
unchanged, as in `seedvideo.sampler.freezes`.

Separate from `seedvideo.sampler.analysis`, which would exceed 500 lines with it.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.utility import MOMENT_S, SegmentDemand

Floats = npt.NDArray[np.float32]

MIN_REST_S: Final = MOMENT_S
"""Minimum length of a rest."""

_MAX_REST_LEVELS: Final = 2.5
"""Maximum change of a block since its rest began. Encoding a still picture again at a keyframe
changes its blocks by 0.1 to 1.6 levels at usual qualities."""

_MAX_REST_CONTRAST_FRACTION: Final = 0.1
"""Additional change of a block as a fraction of its contrast, as in a frozen stretch."""

_BUSIEST: Final = 0.95
"""Quantile of the blocks by contrast that measures texture."""
_PRINT_LEVELS: Final = 6.0
"""Contrast of blocks of a thumbnail that may hold small print."""
_MIN_TEXTURE: Final = 0.05
"""Minimum texture: that of one colour."""


class RestDetector:
    """Streaming measurement of rest and texture.

    Args:
        blocks: number of blocks of a thumbnail.
    """

    def __init__(self, blocks: int) -> None:
        self._times_s: list[float] = []
        self._texture: list[float] = []
        self._begins: Counter[int] = Counter()
        self._ends: Counter[int] = Counter()
        self._starts = np.zeros(blocks, np.int64)
        self._reference: Floats = np.zeros(2 * blocks, np.float32)
        self._is_new = True

    def update(self, time_s: float, features: Floats) -> None:
        """Add the ``(2 * blocks,)`` block features of one thumbnail, in order of time."""
        step = len(self._times_s)
        contrasts = features[len(self._starts) :]
        texture = float(np.quantile(contrasts, _BUSIEST)) / _PRINT_LEVELS
        self._texture.append(min(1.0, max(_MIN_TEXTURE, texture)))
        self._times_s.append(time_s)
        if self._is_new:
            self._reference, self._is_new = features.copy(), False
            return
        changes = np.abs(features - self._reference).reshape(2, -1)
        limits = _MAX_REST_LEVELS + _MAX_REST_CONTRAST_FRACTION * self._reference.reshape(2, -1)[1]
        has_changed = (changes > limits).any(axis=0)
        if has_changed.any():
            self._close(has_changed, step - 1)
            self._starts[has_changed] = step
            both = np.concatenate((has_changed, has_changed))
            self._reference[both] = features[both]

    def skip_unknown(self) -> None:
        """End all rests at the last thumbnail: the time after it was not inspected."""
        if self._times_s:
            self._close(np.ones(len(self._starts), bool), len(self._times_s) - 1)
            self._starts[:] = len(self._times_s)
        self._is_new = True

    def measure(self, demands: Sequence[SegmentDemand]) -> tuple[SegmentDemand, ...]:
        """Return the demands of a video with its rest and texture. Call it once, at the end."""
        if not self._times_s or not demands:
            return tuple(demands)
        self._times_s.append(max(self._times_s[-1], float(demands[-1].end)))
        self._close(np.ones(len(self._starts), bool), len(self._texture))
        times_s = np.asarray(self._times_s)
        steps = len(self._texture)
        begins = np.asarray([self._begins[step] for step in range(steps)], np.float64)
        ends = np.asarray([self._ends[step] for step in range(steps)], np.float64)
        blocks = len(self._starts)
        begins /= blocks
        resting = np.maximum(0.0, np.cumsum(begins - ends / blocks))
        sums = np.concatenate(([0.0], np.cumsum(resting * np.diff(times_s))))
        counts = np.concatenate(([0.0], np.cumsum(begins)))
        measured = []
        for demand in demands:
            start_s, end_s = float(demand.start), float(demand.end)
            area_s = float(np.interp(end_s, times_s, sums) - np.interp(start_s, times_s, sums))
            first = max(0, bisect_right(self._times_s, start_s, hi=steps) - 1)
            stop = max(first + 1, bisect_left(self._times_s, end_s, hi=steps))
            fraction = min(1.0, area_s / demand.length_s)
            met = float(resting[first] + counts[stop] - counts[first + 1])
            measured.append(
                replace(
                    demand,
                    rest_fraction=fraction,
                    rests=max(1.0, met / fraction) if fraction > 0 else 1.0,
                    texture=max(self._texture[first:stop]),
                )
            )
        return tuple(measured)

    def _close(self, has_ended: npt.NDArray[np.bool_], last: int) -> None:
        """Record the rests of blocks that end at a step, if they were long enough."""
        for start in self._starts[has_ended].tolist():
            if self._times_s[last] - self._times_s[start] >= MIN_REST_S:
                self._begins[start] += 1
                self._ends[last] += 1
