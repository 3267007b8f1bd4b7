"""Points in boxes: an index that proposes all stored points near given ones, many at a time.

Points are kept by the box of a grid that holds them, under one 64-bit key each, in sorted runs. All
neighbours of a box have keys at fixed differences. Two boxes may share a key, which only proposes
more points: callers compare what is proposed.

Separate from `seedvideo.curation.near`, which holds the rule for which points are proposed.
"""

from itertools import product
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

DIMENSIONS: Final = 4
"""Coordinates of a point."""

_MULTIPLIERS: Final = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93],
    np.uint64,
)
_GROUP_MULTIPLIER: Final = np.uint64(0xA0761D6478BD642F)
_MAX_PAIRS: Final = 1 << 20
"""Maximum number of pairs that are proposed in one step; bounds the memory."""

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float32]


class BoxIndex:
    """Points of several groups.

    Args:
        side: side of a box; points farther apart than this in any coordinate need not be proposed.
    """

    def __init__(self, side: float) -> None:
        self._side = side
        steps = np.array(list(product((-1, 0, 1), repeat=DIMENSIONS)), np.int64).astype(np.uint64)
        self._offsets = (steps * _MULTIPLIERS).sum(axis=1, dtype=np.uint64)
        self._runs: list[tuple[npt.NDArray[np.uint64], Ints]] = []

    def add(self, rows: Ints, groups: Ints, points: Floats) -> None:
        """Add points.

        Args:
            rows: number of each, ``(count,)``.
            groups: group of each, ``(count,)``.
            points: coordinates, ``(count, 4)``.
        """
        run = self._sort(self._keys(groups, points), rows)
        # Runs that double in size are merged as often as the logarithm of the number of points.
        while self._runs and len(self._runs[-1][0]) <= 2 * len(run[0]):
            keys, numbers = self._runs.pop()
            run = self._sort(np.concatenate([keys, run[0]]), np.concatenate([numbers, run[1]]))
        self._runs.append(run)

    def pairs(self, groups: Ints, points: Floats) -> list[tuple[Ints, Ints]]:
        """Return all pairs of a given point and a stored one that may be near.

        Args:
            groups: group of each given point, ``(count,)``.
            points: their coordinates, ``(count, 4)``.

        Returns:
            Positions of given points and rows of stored ones, in parts of bounded size.
        """
        keys = (self._keys(groups, points)[:, None] + self._offsets).reshape(-1)
        given = np.repeat(np.arange(len(points)), len(self._offsets))
        parts: list[tuple[Ints, Ints]] = []
        for stored, rows in self._runs:
            first = np.searchsorted(stored, keys, "left")
            counts = np.searchsorted(stored, keys, "right") - first
            found = np.flatnonzero(counts)
            totals = np.cumsum(counts[found])
            start = 0
            while start < len(found):
                before = totals[start - 1] if start else 0
                end = max(start + 1, int(np.searchsorted(totals, before + _MAX_PAIRS, "right")))
                part = found[start:end]
                parts.append(
                    (np.repeat(given[part], counts[part]), rows[_ranges(first[part], counts[part])])
                )
                start = end
        return parts

    def _keys(self, groups: Ints, points: Floats) -> npt.NDArray[np.uint64]:
        boxes = np.floor(points.astype(np.float64) / self._side).astype(np.int64).astype(np.uint64)
        keys: npt.NDArray[np.uint64] = (boxes * _MULTIPLIERS).sum(axis=1, dtype=np.uint64)
        return keys + groups.astype(np.uint64) * _GROUP_MULTIPLIER

    @staticmethod
    def _sort(keys: npt.NDArray[np.uint64], rows: Ints) -> tuple[npt.NDArray[np.uint64], Ints]:
        order = np.argsort(keys, kind="stable")
        return keys[order], rows[order]


def _ranges(first: Ints, counts: Ints) -> Ints:
    """Return the numbers of all ranges ``[first, first + count)``, one after another."""
    ends = np.cumsum(counts)
    numbers: Ints = np.arange(ends[-1]) + np.repeat(first - (ends - counts), counts)
    return numbers
