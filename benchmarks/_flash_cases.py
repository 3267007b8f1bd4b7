"""What `flashbench.py` runs: the cases, their order, and what made their videos.

Run as a script it does nothing.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import av
import PIL

import seedvideo.evaluate.flashbench as flashbench
from seedvideo.evaluate.flashbench.quick import Case, budgets, cases

__all__ = ["Case", "budgets", "cases", "generator_hash", "in_order"]

_NO_PART = {"score", "legibility", "oracle", "cases", "quick", "table", "__init__"}
"""Files that change no video."""


def generator_hash() -> str:
    """Names what made the videos: the generator's source, and the versions below it."""
    digest = hashlib.sha256(f"{av.__version__} {PIL.__version__}".encode())
    for path in sorted(Path(flashbench.__file__).parent.glob("*.py")):
        if path.stem not in _NO_PART:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def in_order(chosen: Sequence[Case], first_seed: int, most: int | None) -> list[tuple[Case, int]]:
    """Cases with their seeds, one seed after another: videos of one seed share backdrops."""
    pairs = [
        (case, first_seed + number)
        for case in chosen
        for number in range(case.seeds if most is None else min(most, case.seeds))
    ]
    return sorted(pairs, key=lambda pair: pair[1])
