"""Rows of numbers that come at the end and go at the beginning, side by side in memory.

What lies in a window is then a view and no copy. Knows nothing of what the numbers mean.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_LEAST_ROOM: Final = 256


class Rows:
    """A table ``(len, width)`` of float32."""

    def __init__(self, width: int) -> None:
        self._table = np.empty((_LEAST_ROOM, width), np.float32)
        self._first = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._first

    @property
    def all(self) -> Floats:
        """The table, as a view of memory that the next `append` or `drop` may write over."""
        return self._table[self._first : self._end]

    def append(self, rows: Floats) -> None:
        """Adds rows ``(N, width)`` at the end."""
        if self._end + len(rows) > len(self._table):
            self._make_room(len(rows))
        self._table[self._end : self._end + len(rows)] = rows
        self._end += len(rows)

    def drop(self, count: int) -> None:
        """Takes rows away at the beginning."""
        self._first += min(count, len(self))

    def _make_room(self, more: int) -> None:
        held = self._table[self._first : self._end]
        if 2 * (len(held) + more) > len(self._table):
            table = np.empty((2 * (len(held) + more), held.shape[1]), np.float32)
        else:
            table = self._table
        table[: len(held)] = held
        self._table, self._first, self._end = table, 0, len(held)
