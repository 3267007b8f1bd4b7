"""Draws that depend on the id of a clip alone, whatever the order and number of rows.

Separate from `seedvideo.curation.balance`, whose rules use draws and define none.
"""

from hashlib import blake2b
from typing import Final

_RANGE: Final = 2.0**64


def draw(seed: int, salt: str, item_id: str) -> float:
    """Return a number in ``[0, 1)``, uniform over ids.

    Args:
        seed: seed of the run.
        salt: what the draw is for; draws with different salts are independent.
        item_id: id of the clip.

    >>> draw(0, "cap", "a.mp4") == draw(0, "cap", "a.mp4") != draw(1, "cap", "a.mp4")
    True
    """
    text = f"{seed}\0{salt}\0{item_id}".encode("utf-8", "surrogatepass")
    # The lowest bits are lost, so that the number is below 1 as a float.
    return (int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 11 << 11) / _RANGE
