"""Block features of thumbnails, and their robust statistics.

Thumbnails of `thumbnail_size` are divided into blocks of 8x8 pixels. Each block has two features:
its mean, and its contrast (the mean distance of its pixels from that mean). Notation: ``B`` is the
number of features of a thumbnail, twice its blocks.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.media.types import MediaInfo

Floats = npt.NDArray[np.float32]

BLOCK_PX: Final = 8
"""Side of a block in pixels."""
THUMBNAIL_PX: Final = 256 * 144
"""Approximate pixels of a thumbnail: 12 px print in 1080p still changes a block by some levels."""


def thumbnail_size(info: MediaInfo) -> tuple[int, int]:
    """Return width and height of thumbnails: whole blocks of about the stored aspect ratio."""
    width_px, height_px = info.coded_width_px, info.coded_height_px
    scale = min(1.0, (THUMBNAIL_PX / (width_px * height_px)) ** 0.5)
    step = 2 * BLOCK_PX

    def round_up(side_px: int) -> int:
        steps: int = round(side_px * scale / step)
        return max(1, steps) * step

    return round_up(width_px), round_up(height_px)


def luma(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the luma ``(N, H, W)`` of I420 thumbnails ``(N, H * 3 // 2, W)``."""
    return planes[:, : planes.shape[1] * 2 // 3]


def block_features(pictures: npt.NDArray[np.uint8]) -> Floats:
    """Return the features to compare, of luma ``(N, H, W)``: ``(N, 2 * H / 8 * W / 8)``.

    These are the mean of each block, then its contrast: the mean distance of its pixels from that
    mean. Print on a background of the same brightness changes only the contrast.
    """
    import cv2  # Heavy; only needed for decoded pictures.

    count, height_px, width_px = pictures.shape
    tall = pictures.reshape(count * height_px, width_px)
    # One tall picture: a single call is far cheaper than one per thumbnail. Sums of 64 bytes are
    # exact in float32.
    small = (width_px // BLOCK_PX, count * height_px // BLOCK_PX)
    means = cv2.resize(tall.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    middle = np.rint(means).astype(np.uint8)
    spread = cv2.resize(middle, (width_px, len(tall)), interpolation=cv2.INTER_NEAREST)
    distances = cv2.absdiff(tall, spread).astype(np.float32)
    contrasts = cv2.resize(distances, small, interpolation=cv2.INTER_AREA)
    both: Floats = np.concatenate(
        [means.reshape(count, -1), contrasts.reshape(count, -1)], axis=1, dtype=np.float32
    )
    return both


def edge_strength(picture: npt.NDArray[np.uint8]) -> float:
    """Return the mean strength of the edges of one luma picture, in grey levels."""
    import cv2

    across = cv2.absdiff(picture[:, 1:], picture[:, :-1]).mean()
    down = cv2.absdiff(picture[1:], picture[:-1]).mean()
    return float(across + down) / 2


_NORMAL_P90: Final = 1.645
"""Standard deviations within which 90% of normal noise lies."""

_EDGE_INTERVAL_S: Final = 0.5
"""Time between two measurements of edge strength."""


_EDGE_CHANGE_LEVELS: Final = 12.0
"""Change of the picture since the last measurement, in grey levels, that makes it too old: the next
thumbnail may be far away."""


class EdgeTracker:
    """Edge strength at each thumbnail, measured at intervals and where the picture changes."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._measured_s = float("-inf")
        self._moved_levels = 0.0

    def update(self, time_s: float, picture: npt.NDArray[np.uint8], *, moved_levels: float) -> None:
        """Add a thumbnail: measure it if the last measurement is too old, else repeat that.

        Args:
            time_s: time of the frame.
            picture: the thumbnail.
            moved_levels: mean change of its blocks since the previous thumbnail, in grey levels.
        """
        self._moved_levels += moved_levels
        is_old = time_s - self._measured_s >= _EDGE_INTERVAL_S
        if is_old or self._moved_levels >= _EDGE_CHANGE_LEVELS:
            self.values.append(edge_strength(picture))
            self._measured_s, self._moved_levels = time_s, 0.0
        else:
            self.values.append(self.values[-1])


SIGMA: Final = 1.4826
"""Standard deviations per median absolute deviation of normal noise."""


def remove_global_brightness(changes: Floats, before: Floats) -> Floats:
    """Remove the global change of brightness, a shift or a gain, from changes ``(N, B)``.

    Of shift and gain, remove the one that explains more of the changes of the means.
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


def upper_deviation(rows: Floats) -> Floats:
    """Return the deviation of each column that 90% of the rows stay within, scaled to normal noise.

    A block that changes every second has a high usual deviation, although its median change is 0.
    """
    columns = np.ascontiguousarray(rows.T)
    distances = np.abs(columns - medians(columns)[:, None])
    i = int(0.9 * len(rows))
    distances.partition(i, axis=1)
    most: Floats = distances[:, i] / np.float32(_NORMAL_P90)
    return most


def median_mad(rows: Floats) -> tuple[Floats, Floats]:
    """Return the median and the robust deviation of each column."""
    columns = np.ascontiguousarray(rows.T)
    middle = medians(columns)
    return middle, medians(np.abs(columns - middle[:, None])) * np.float32(SIGMA)


def medians(rows: Floats) -> Floats:
    """Return the median of each row; several times faster than numpy's, which also handles NaN.

    Copy the rows, because partitioning is fastest in contiguous memory.
    """
    count = rows.shape[1]
    half = count // 2
    ordered = np.array(rows, order="C")
    ordered.partition(half, axis=1)
    middle: Floats = ordered[:, half]
    if not count % 2:
        middle = (middle + ordered[:, :half].max(axis=1)) / np.float32(2)
    return middle


_MIN_ROWS: Final = 256
"""Initial capacity of a `SlidingBuffer`, in rows."""


class SlidingBuffer:
    """Table ``(len, width)`` of float32 that grows at the end and shrinks at the beginning.

    Rows are contiguous in memory, so any window of them is a view and not a copy.
    """

    def __init__(self, width: int) -> None:
        self._table = np.empty((_MIN_ROWS, width), np.float32)
        self._first = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._first

    @property
    def all(self) -> Floats:
        """Return the table as a view of memory that the next `append` or `drop` may overwrite."""
        return self._table[self._first : self._end]

    def append(self, rows: Floats) -> None:
        """Append rows ``(N, width)`` at the end."""
        if self._end + len(rows) > len(self._table):
            self._grow(len(rows))
        self._table[self._end : self._end + len(rows)] = rows
        self._end += len(rows)

    def drop(self, count: int) -> None:
        """Drop rows at the beginning."""
        self._first += min(count, len(self))

    def _grow(self, more: int) -> None:
        held = self._table[self._first : self._end]
        if 2 * (len(held) + more) > len(self._table):
            table = np.empty((2 * (len(held) + more), held.shape[1]), np.float32)
        else:
            table = self._table
        table[: len(held)] = held
        self._table, self._first, self._end = table, 0, len(held)
