"""Blank and frozen stretches of a video, found in the thumbnails of the analysis.

A blank picture holds nothing to read: one colour, or a soft gradient, all over. A frozen stretch
shows one picture for a while, so that one frame of it shows everything. FFmpeg's ``blackdetect``
and ``freezedetect`` answer the same two questions from full-size frames.

Thumbnails come as the block states of `seedvideo.sampler.novelty`: the mean of each block, then its
contrast (the mean distance of its pixels from that mean), in grey levels. Where the analysis skips
frames because their packets are too small to change anything, the picture counts as unchanged until
the next thumbnail. Elsewhere the frames between two thumbnails are not known: they belong to the
stretch beside them, but not to its core.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LEAST_FREEZE_S: Final = 2.0
"""Shortest frozen stretch: the time that a moment lasts in `seedvideo.sampler.utility`."""

LEAST_BLANK_S: Final = 0.2
"""Shortest blank stretch: shorter ones are flashes, and the analysis treats them as events."""

_BLANK_LEVELS: Final = 4.0
"""Contrast of a block, and difference of its mean to the next block's, up to which it is blank."""

_STILL_BLANK_LEVELS: Final = 6.0
"""The same for what follows a blank picture: grain must not end the stretch."""

_FROZEN_LEVELS: Final = 3.0
"""Change of a block since the stretch began up to which the picture is the same. Re-encoding a
still picture at a keyframe changes its blocks by 0.1 to 1.6 levels at usual qualities."""

_FROZEN_CONTRAST: Final = 0.1
"""What a block may change beyond that, as a share of its contrast: live encoders sharpen edges over
the seconds after a cut."""

_SKIPPED_S: Final = 0.6
"""Time between two thumbnails from which the analysis skipped frames as unchanged."""


@dataclass(frozen=True)
class Freeze:
    """Frames ``[first, end)`` of one picture, by rank.

    Args:
        first: rank of the first frame.
        end: rank after the last frame.
        core_first: rank of the first frame that certainly shows the picture.
        core_end: rank after the last frame that certainly shows it.
        is_blank: whether the picture is blank; then its colour may change meanwhile.
    """

    first: int
    end: int
    core_first: int
    core_end: int
    is_blank: bool


class FreezeFinder:
    """Finds blank and frozen stretches in thumbnails as they come, in order of time.

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

    def see(self, rank: int, time_s: float, states: Floats) -> None:
        """Take the ``(2 * blocks,)`` block states of one thumbnail."""
        was_blank = self._open is not None and self._open.is_blank
        is_blank = self._is_blank(states, _STILL_BLANK_LEVELS if was_blank else _BLANK_LEVELS)
        first = rank
        if self._open is None:
            first = 0  # Frames before the first thumbnail cannot be told from it.
        elif is_blank == self._open.is_blank and (is_blank or self._is_same(states)):
            self._open = replace(self._open, end=rank + 1, core_end=rank + 1)
            self._last_s = time_s
            return
        else:
            first = self._close(rank, time_s)
        self._open = Freeze(first, rank + 1, rank, rank + 1, is_blank)
        self._start_s = self._last_s = time_s
        self._reference = states.copy()

    def finish(self, frames: int, end_s: float) -> tuple[Freeze, ...]:
        """Return the stretches of a video of ``frames`` frames that ends at ``end_s``."""
        self._close(frames, max(end_s, self._last_s + _SKIPPED_S))
        self._open = None
        return tuple(self._found)

    def _close(self, rank: int, time_s: float) -> int:
        """End the open stretch before the frame ``rank``; return where the next one begins."""
        freeze = self._open
        if freeze is None:
            return rank
        first_unknown = freeze.core_end
        if time_s - self._last_s >= _SKIPPED_S:
            freeze = replace(freeze, core_end=rank)
        least_s = LEAST_BLANK_S if freeze.is_blank else LEAST_FREEZE_S
        if time_s - self._start_s < least_s:
            return first_unknown if freeze.core_end == first_unknown else rank
        self._found.append(replace(freeze, end=rank))
        return rank

    def _is_same(self, states: Floats) -> bool:
        changes = np.abs(states - self._reference).reshape(2, -1)
        contrasts = self._reference[changes.shape[1] :]
        return bool((changes <= _FROZEN_LEVELS + _FROZEN_CONTRAST * contrasts).all())

    def _is_blank(self, states: Floats, most_levels: float) -> bool:
        means, contrasts = states.reshape(2, *self._grid)
        if float(contrasts.max()) > most_levels:
            return False
        steps = (np.abs(np.diff(means, axis=axis)) for axis in (0, 1))
        return all(float(step.max(initial=0.0)) <= most_levels for step in steps)
