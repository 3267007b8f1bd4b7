"""Cases of `flashbench.py`: their order, and the version of the generator of their videos.

Does nothing as a script.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import av
import PIL

from seedvideo.evaluate.flashbench.quick import Case, budgets, cases
from seedvideo.evaluate.flashbench.spec import GENERATOR_VERSION

__all__ = ["Case", "budgets", "cases", "generator_hash", "in_order"]

_DECLARED_WITH: Final = ("18.1.0", "13.0.0")
"""PyAV and Pillow with which `GENERATOR_VERSION` was declared."""


def generator_hash() -> str:
    """Name the generator of the videos: its declared version, and the versions of PyAV and Pillow.

    Other versions may encode or draw other pixels, so they get another name.
    """
    versions = (av.__version__, PIL.__version__)
    if versions == _DECLARED_WITH:
        return GENERATOR_VERSION
    return hashlib.sha256(" ".join((GENERATOR_VERSION, *versions)).encode()).hexdigest()[:16]


def in_order(
    chosen: Sequence[Case], first_seed: int, max_videos: int | None
) -> list[tuple[Case, int]]:
    """Return cases with seeds, sorted by seed, as videos of one seed share backdrops."""
    pairs = [
        (case, first_seed + number)
        for case in chosen
        for number in range(case.seeds if max_videos is None else min(max_videos, case.seeds))
    ]
    return sorted(pairs, key=lambda pair: pair[1])
