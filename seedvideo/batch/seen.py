"""A set of texts by their hashes: 16 to 32 bytes of memory a text, however long it is.

Two different texts of a million are taken for one with a chance of 1 in 36 million.
"""

import hashlib
from array import array
from typing import Final

_START_SLOTS: Final = 1 << 12
_EMPTY: Final = 0


class Seen:
    """Texts that were met, in an open-addressed table that is at most half full."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _START_SLOTS))
        self._count = 0

    def add(self, *text: str) -> bool:
        """Returns whether this text, or these together, are met for the first time."""
        joined = "\0".join(f"{len(part)}:{part}" for part in text)
        digest = hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = int.from_bytes(digest, "big") or 1
        place = self._place(self._slots, value)
        if self._slots[place] == value:
            return False
        self._slots[place] = value
        self._count += 1
        if 2 * self._count > len(self._slots):
            self._grow()
        return True

    @staticmethod
    def _place(slots: "array[int]", value: int) -> int:
        mask = len(slots) - 1
        place = value & mask
        while slots[place] not in (_EMPTY, value):
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        larger = array("Q", bytes(16 * len(self._slots)))
        for value in self._slots:
            if value != _EMPTY:
                larger[self._place(larger, value)] = value
        self._slots = larger
