"""Check whether a loader's frames belong to the times that it reports.

Runs in any environment with numpy.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

CELL_ROWS, CELL_COLUMNS = 18, 32
NEIGHBOR_FRAMES: Final = 45
"""Frames before and after a requested one that are searched for a better match."""
CUT_TOLERANCE_FRAMES: Final = 2
"""Maximum distance of a reported cut from a true one, in frames."""
MIN_ADVANTAGE_LEVELS: Final = 0.4
"""Grey levels, in the mean over all cells, by which a better match must be closer."""


def grid(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Mean green, ``(18, 32)``, of the cells of a picture ``(H, W, 3)`` of any size."""
    height, width = picture.shape[:2]
    rows = np.linspace(0, height, CELL_ROWS + 1).round().astype(int)
    columns = np.linspace(0, width, CELL_COLUMNS + 1).round().astype(int)
    bands = np.add.reduceat(picture[..., 1], rows[:-1], axis=0, dtype=np.uint32)
    sums = np.add.reduceat(bands, columns[:-1], axis=1)
    areas: npt.NDArray[np.float64] = np.outer(np.diff(rows), np.diff(columns))
    return sums / areas


def count_right(
    pictures: Sequence[npt.NDArray[np.uint8]], numbers: Sequence[int], truth: Path
) -> int:
    """Count the pictures that match their painted frame about as well as the best one nearby."""
    painted = np.load(truth, mmap_mode="r")
    right = 0
    for picture, number in zip(pictures, numbers, strict=True):
        if not 0 <= number < len(painted):
            continue
        first = max(number - NEIGHBOR_FRAMES, 0)
        near = painted[first : number + NEIGHBOR_FRAMES + 1].astype(np.float64)
        far = np.abs(near - grid(np.asarray(picture))).mean(axis=(1, 2))
        right += bool(far[number - first] <= far.min() + MIN_ADVANTAGE_LEVELS)
    return right


def count_cuts(reported: Sequence[int], true: Sequence[int]) -> int:
    """Count the true cuts that were reported, to within `CUT_NEAR` frames."""
    return sum(
        any(abs(each - number) <= CUT_TOLERANCE_FRAMES for each in reported) for number in true
    )
