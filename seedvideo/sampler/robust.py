"""Robust statistics of many blocks at once: medians, deviations, and changes without the light's.

Knows no frames and no times.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_NINE_OF_TEN: Final = 1.645
"""Standard deviations within which nine of ten values of normal noise lie."""

SIGMA: Final = 1.4826
"""Standard deviations in a median absolute deviation of normal noise."""


def without_light(changes: Floats, before: Floats) -> Floats:
    """What is left of changes ``(N, B)`` without those of the light: a shift, or a gain, of all.

    Whichever explains more of the means is taken away.
    """
    blocks = changes.shape[1] // 2
    means, contrasts = changes[:, :blocks], changes[:, blocks:]
    gains = medians((means / np.maximum(before[:, :blocks], 8.0)).astype(np.float32))[:, None]
    left = np.concatenate(
        [means - medians(means)[:, None], contrasts - medians(contrasts)[:, None]], axis=1
    )
    scaled = changes - gains * before
    shifts, scales = (medians(np.abs(each[:, :blocks])) for each in (left, scaled))
    is_gain = scales < shifts
    left[is_gain] = scaled[is_gain]
    return left


def usual(rows: Floats) -> Floats:
    """Deviation of each column that nine of ten rows keep to, as normal noise would.

    What happens to a block every second is usual for it, though its median change is none.
    """
    columns = np.ascontiguousarray(rows.T)
    distances = np.abs(columns - medians(columns)[:, None])
    place = int(0.9 * len(rows))
    distances.partition(place, axis=1)
    most: Floats = distances[:, place] / np.float32(_NINE_OF_TEN)
    return most


def robust(rows: Floats) -> tuple[Floats, Floats]:
    """Median and robust deviation of each column."""
    columns = np.ascontiguousarray(rows.T)
    middle = medians(columns)
    return middle, medians(np.abs(columns - middle[:, None])) * np.float32(SIGMA)


def medians(rows: Floats) -> Floats:
    """The median of each row: several times as fast as numpy's own, which looks for what is none.

    Rows are copied, as what stands side by side in memory is put in order fastest.
    """
    count = rows.shape[1]
    half = count // 2
    ordered = np.array(rows, order="C")
    ordered.partition(half, axis=1)
    middle: Floats = ordered[:, half]
    if not count % 2:
        middle = (middle + ordered[:, :half].max(axis=1)) / np.float32(2)
    return middle
