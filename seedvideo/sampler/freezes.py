"""Detection of blank and frozen stretches in the thumbnails of the analysis.

A blank picture has no detail: one colour, or a soft gradient, all over. A frozen stretch shows one
picture for a while, so one frame of it shows everything. FFmpeg's ``blackdetect`` and
``freezedetect`` detect the same from full-size frames.

Thumbnails arrive as `seedvideo.sampler.block_features`: the mean of each block, then
its contrast (mean distance of its pixels from that mean), in grey levels. The analysis skips frames
whose packets are too small to change anything; there the picture counts as unchanged until the next
thumbnail. Elsewhere the frames between two thumbnails are unknown: they belong to the adjacent
stretch, but not to its core. Longer time that was not inspected belongs to no stretch
(`FreezeDetector.skip_unknown`).
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

MIN_FREEZE_S: Final = 2.0
"""Minimum length of a frozen stretch: `seedvideo.sampler.utility.MOMENT_S`."""

MIN_BLANK_S: Final = 0.2
"""Minimum length of a blank stretch: the analysis treats shorter ones as flashes."""

_MAX_BLANK_LEVELS: Final = 4.0
"""Maximum contrast of a blank block, and maximum difference of its mean to the next block's."""

_MAX_STILL_BLANK_LEVELS: Final = 6.0
"""The same limit after a blank picture: grain must not end the stretch."""

_MAX_FROZEN_LEVELS: Final = 3.0
"""Maximum change of a block since the stretch began. Encoding a still picture again at a keyframe
changes its blocks by 0.1 to 1.6 levels at usual qualities.
"""

_MAX_FROZEN_CONTRAST_FRACTION: Final = 0.1
"""Additional change of a block as a fraction of its contrast: live encoders sharpen edges over the
seconds after a cut.
"""

_MIN_SKIP_S: Final = 0.6
"""Minimum time between two thumbnails that means that the analysis skipped unchanged frames."""


@dataclass(frozen=True)
class Freeze:
    """Frames ``[first, end)`` of one picture, by frame index.

    Args:
        first: first frame.
        end: index after the last frame.
        core_first: first frame that certainly shows the picture.
        core_end: index after the last frame that certainly shows it.
        is_blank: whether the picture is blank; its colour may then change within the stretch.
    """

    first: int
    end: int
    core_first: int
    core_end: int
    is_blank: bool


class FreezeDetector:
    """Streaming detector of blank and frozen stretches.

    Args:
        grid: rows and columns of blocks of a thumbnail.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        self._grid = grid
        self._found: list[Freeze] = []
        self._open: Freeze | None = None
        self._start_s = 0.0
        self._last_s = 0.0
        self._reference: Floats = np.zeros(0, np.float32)
        self._is_after_unknown = False

    def update(self, frame_index: int, time_s: float, features: Floats) -> None:
        """Add the ``(2 * blocks,)`` block features of one thumbnail, in order of time."""
        was_blank = self._open is not None and self._open.is_blank
        is_blank = self._is_blank(
            features, _MAX_STILL_BLANK_LEVELS if was_blank else _MAX_BLANK_LEVELS
        )
        first = frame_index
        if self._open is None:
            # Frames before the first thumbnail cannot be distinguished from it.
            first = frame_index if self._is_after_unknown else 0
        elif is_blank == self._open.is_blank and (is_blank or self._is_same(features)):
            self._open = replace(self._open, end=frame_index + 1, core_end=frame_index + 1)
            self._last_s = time_s
            return
        else:
            first = self._close(frame_index, time_s)
        self._open = Freeze(first, frame_index + 1, frame_index, frame_index + 1, is_blank)
        self._start_s = self._last_s = time_s
        self._reference = features.copy()

    def skip_unknown(self) -> None:
        """End the open stretch at its last thumbnail: the time after it was not inspected."""
        if self._open is not None:
            self._close(self._open.core_end, self._last_s)
        self._open, self._is_after_unknown = None, True

    def finish(self, frames: int, end_s: float) -> tuple[Freeze, ...]:
        """Return the stretches of a video of ``frames`` frames that ends at ``end_s``."""
        self._close(frames, max(end_s, self._last_s + _MIN_SKIP_S))
        self._open = None
        return tuple(self._found)

    def _close(self, frame_index: int, time_s: float) -> int:
        """End the open stretch before a frame; return the first frame of the next one."""
        freeze = self._open
        if freeze is None:
            return frame_index
        first_unknown = freeze.core_end
        if time_s - self._last_s >= _MIN_SKIP_S:
            freeze = replace(freeze, core_end=frame_index)
        least_s = MIN_BLANK_S if freeze.is_blank else MIN_FREEZE_S
        if time_s - self._start_s < least_s:
            return first_unknown if freeze.core_end == first_unknown else frame_index
        self._found.append(replace(freeze, end=frame_index))
        return frame_index

    def _is_same(self, features: Floats) -> bool:
        changes = np.abs(features - self._reference).reshape(2, -1)
        contrasts = self._reference[changes.shape[1] :]
        return bool(
            (changes <= _MAX_FROZEN_LEVELS + _MAX_FROZEN_CONTRAST_FRACTION * contrasts).all()
        )

    def _is_blank(self, features: Floats, max_levels: float) -> bool:
        means, contrasts = features.reshape(2, *self._grid)
        if float(contrasts.max()) > max_levels:
            return False
        steps = (np.abs(np.diff(means, axis=axis)) for axis in (0, 1))
        return all(float(step.max(initial=0.0)) <= max_levels for step in steps)
