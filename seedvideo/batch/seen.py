"""A set of what was met, by hashes of 64 bits: 16 to 32 bytes of memory each, however long it is.

Two different ones of a million are taken for one with a chance of 1 in 36 million. Python's own
hash has a secret key that changes with every process, so nobody can write rows that collide.
"""

from array import array
from collections.abc import Hashable
from typing import Final

_START_SLOTS: Final = 1 << 12
_EMPTY: Final = 0


class Seen:
    """Texts, or tuples with texts, in an open-addressed table that is at most half full."""

    def __init__(self) -> None:
        self._slots = array("q", bytes(8 * _START_SLOTS))
        self._count = 0

    def add(self, met: Hashable) -> bool:
        """Returns whether this is met for the first time."""
        value = hash(met) or 1
        place = self._place(self._slots, value)
        if self._slots[place] == value:
            return False
        self._slots[place] = value
        self._count += 1
        if 2 * self._count > len(self._slots):
            self._grow()
        return True

    def __contains__(self, met: Hashable) -> bool:
        value = hash(met) or 1
        return self._slots[self._place(self._slots, value)] == value

    @staticmethod
    def _place(slots: "array[int]", value: int) -> int:
        """Where the value is, or the empty place where it belongs."""
        mask = len(slots) - 1
        place = value & mask
        while (there := slots[place]) != value and there != _EMPTY:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        larger = array("q", bytes(16 * len(self._slots)))
        for value in self._slots:
            if value != _EMPTY:
                larger[self._place(larger, value)] = value
        self._slots = larger
