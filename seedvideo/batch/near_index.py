"""Finds the clips that may be near duplicates of one, without a look at all of them.

Every mean of grey levels, with or without signs, differs between two clips by no more than the mean
of the differences. So clips are kept in boxes by four signed means of their first exposures, and
near duplicates lie in boxes nearby. What is found there must also be close in the means of sixteen
regions, and reach what the other shows at most and at least in every cell. Each of these is implied
by `likeness.near_distance`: no pair that it accepts is missed.

Clips are grouped by octaves of their length, ``[2^n, 2^(n+1))`` seconds, in which exposures have
one step and a number of them is sure to be there. A clip that may have partners in the next octave
is in both. Memory is about 1 KiB a clip; the signatures stay in the journal.
"""

import math
from array import array
from functools import cache
from itertools import product
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from seedvideo.batch.likeness import (
    CELL_SHARE,
    GREY_CELLS,
    MOVED_SHARE,
    Signature,
    exposures_in,
    longest_partner_s,
    shortest_partner_s,
    step_of,
)

_GREY: Final = GREY_CELLS**2
_REGIONS: Final = 4
"""Rows and columns of regions."""

_BOX: Final = 3.0
"""Side of a box as a multiple of the allowed distance."""

_SLACK_LEVELS: Final = 1e-3
"""Room for rounding; far more than sums of some thousand bytes lose as floats."""

_FIRST_ROWS: Final = 64
_GROWTH: Final = 1.25

_Box: TypeAlias = tuple[str, int, tuple[int, ...]]
_Floats: TypeAlias = npt.NDArray[np.float32]

# Of the sixteen regions: all, left against right, above against below, and both.
_LEFT: Final = np.repeat([[1.0, 1.0, -1.0, -1.0]], _REGIONS, axis=0)
_SIGNS: Final = np.stack([_LEFT**2, _LEFT, _LEFT.T, _LEFT * _LEFT.T]).reshape(4, -1) / _LEFT.size


class NearIndex:
    """Clips to be found again.

    Args:
        levels: largest distance of near duplicates.
    """

    def __init__(self, levels: float) -> None:
        self._levels = levels
        self._boxes: dict[_Box, array[int]] = {}
        self._count = 0
        self._places = np.zeros(_FIRST_ROWS, np.int64)
        self._durations_s = np.zeros(_FIRST_ROWS)
        self._regions = np.zeros((_FIRST_ROWS, _REGIONS**2), np.float32)
        self._high = np.zeros((_FIRST_ROWS, _GREY), np.uint8)
        self._low = np.zeros((_FIRST_ROWS, _GREY), np.uint8)

    def add(self, place: int, asked: str, signature: Signature) -> None:
        """Keep a clip.

        Args:
            place: names it.
            asked: only clips with the same one are found.
            signature: of its pictures.
        """
        grey = signature.values[:, :_GREY]
        high, low = grey.max(axis=0), grey.min(axis=0)
        for octave in _octaves(signature.duration_s):
            if self._count == len(self._places):
                self._grow()
            row, self._count = self._count, self._count + 1
            self._places[row], self._durations_s[row] = place, signature.duration_s
            self._high[row], self._low[row] = high, low
            self._regions[row] = regions = _regions(signature, octave)
            box = tuple(math.floor(mean / self._side) for mean in _SIGNS @ regions)
            self._boxes.setdefault((asked, octave, box), array("q")).append(row)

    def candidates(self, asked: str, signature: Signature) -> list[int]:
        """Places of all kept clips that may be near duplicates of one, in ascending order."""
        found: set[int] = set()
        for octave in _octaves(signature.duration_s):
            # The mean over the exposures that are sure to be there is larger than that over all
            # exposures that are compared by no more than the ratio of their numbers.
            compared = len(signature.at(_step_s(octave)))
            reach = self._levels * compared / _sure(octave) + _SLACK_LEVELS
            regions = _regions(signature, octave)
            rows = self._rows_near(asked, octave, _SIGNS @ regions, reach)
            found.update(self._places[self._kept(rows, signature, regions, reach)].tolist())
        return sorted(found)

    @property
    def _side(self) -> float:
        return _BOX * self._levels

    def _rows_near(
        self, asked: str, octave: int, means: npt.NDArray[np.float64], reach: float
    ) -> npt.NDArray[np.int64]:
        """Rows in all boxes that a near duplicate may be in."""
        ranges = [
            range(
                math.floor((mean - reach) / self._side), math.floor((mean + reach) / self._side) + 1
            )
            for mean in means.tolist()
        ]
        boxes = (self._boxes.get((asked, octave, box)) for box in product(*ranges))
        found = [np.frombuffer(rows, np.int64) for rows in boxes if rows]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def _kept(
        self, rows: npt.NDArray[np.int64], signature: Signature, regions: _Floats, reach: float
    ) -> npt.NDArray[np.int64]:
        """The rows that pass what every near duplicate passes."""
        long_s = signature.duration_s
        shortest_s, longest_s = shortest_partner_s(long_s), longest_partner_s(long_s)
        lengths_s = self._durations_s[rows]
        rows = rows[(lengths_s >= shortest_s - 1e-6) & (lengths_s <= longest_s + 1e-6)]
        rows = rows[np.abs(self._regions[rows] - regions).mean(axis=1) <= reach]
        if not len(rows):
            return rows
        # What this clip shows in exposures that are sure to be compared.
        step_s = _step_s(_octaves(long_s)[-1])
        shown = signature.at(step_s)[: exposures_in(shortest_s - 2e-6, step_s), :_GREY]
        highest, lowest = shown.max(axis=0).astype(np.float32), shown.min(axis=0).astype(np.float32)
        high, low = self._high[rows].astype(np.float32), self._low[rows].astype(np.float32)
        allowed = CELL_SHARE * self._levels + MOVED_SHARE * (high - low) + _SLACK_LEVELS
        beyond = np.maximum(highest - high, low - lowest)
        kept: npt.NDArray[np.int64] = rows[(beyond <= allowed).all(axis=1)]
        return kept

    def _grow(self) -> None:
        more = math.ceil(self._count * _GROWTH) - self._count
        for name in ("_places", "_durations_s", "_regions", "_high", "_low"):
            old = getattr(self, name)
            added = np.zeros((more, *old.shape[1:]), old.dtype)
            setattr(self, name, np.concatenate([old, added]))


def _octave(duration_s: float) -> int:
    """From 0 for lengths of 1 s; all that are shorter have one of their own."""
    return max(-1, math.frexp(duration_s)[1] - 1)


def _octaves(duration_s: float) -> range:
    """That of a length, and the next one if it may have partners there."""
    return range(_octave(duration_s), _octave(longest_partner_s(duration_s) + 1e-6) + 1)


@cache
def _step_s(octave: int) -> float:
    """Of exposures in an octave."""
    return step_of(2.0**octave)


@cache
def _sure(octave: int) -> int:
    """Exposures that all clips that are kept for an octave have."""
    return (
        exposures_in(shortest_partner_s(2.0**octave) - 2e-6, _step_s(octave)) if octave >= 0 else 1
    )


def _regions(signature: Signature, octave: int) -> _Floats:
    """Means of the regions over the exposures that are sure to be there."""
    grey = signature.at(_step_s(octave))[: _sure(octave), :_GREY]
    side = GREY_CELLS // _REGIONS
    cells = grey.sum(axis=0, dtype=np.uint32).reshape(_REGIONS, side, _REGIONS, side)
    sums = cells.sum(axis=(1, 3)).reshape(-1)
    means: _Floats = (sums / (len(grey) * side**2)).astype(np.float32)
    return means
