"""Novelty and motion signals of a video, computed from its thumbnails in constant memory.

Thumbnails of `thumbnail_size` are divided into blocks of 8x8 pixels. Novelty measures how far the
change of one block stands out from the recent past of that block: the signed change of its mean or
contrast since the previous thumbnail, without the change that the light causes in all blocks,
divided by the robust deviation of the block in a local window. The novelty of a thumbnail is the
maximum over its blocks.

A small brief event changes one block; a pan or a crowd is the usual state of many blocks. A moving
object changes a block before and afterwards too, and an appearing one only once. So the deviation
is at least a third of the neighbouring changes. Motion is the speed of block means over one second,
in grey levels (0 to 255) per second: grain changes pixels, but not means.

Times are float seconds; frames are identified by their exact index in presentation order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.media.types import MediaInfo

Floats = npt.NDArray[np.float32]

_NORMAL_P90: Final = 1.645
"""Standard deviations within which 90% of normal noise lies."""

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


BLOCK_PX: Final = 8
"""Side of a block in pixels."""
THUMBNAIL_PX: Final = 256 * 144
"""Approximate pixels of a thumbnail: 12 px print in 1080p still changes a block by some levels."""

EVENT_THRESHOLD: Final = 8.0
"""Minimum novelty of an event, in robust deviations."""

_MIN_DEVIATION_LEVELS: Final = 0.3
"""Minimum deviation of a block, in grey levels: smaller ones are rounding."""

_LONG_S, _SHORT_S = 30.0, 1.5
"""Half of the window for the usual state of a block, and half of the one for the present burst."""

_MAX_WINDOW_ROWS: Final = 256
"""Maximum thumbnails in a long window; more are subsampled."""

_WINDOW_INTERVAL_S: Final = 5.0
"""Time between two evaluations of a long window."""

_MAX_GAP_S: Final = 0.6
"""Maximum time to the previous thumbnail: later, all blocks may have drifted."""

_NEIGHBOR_S: Final = 0.18
"""Time around a thumbnail in which changes are neighbours: an event of 0.2 s is still within it."""

_SHARPENING_S: Final = 0.05
"""Time in which encoders sharpen new content: changes within it belong to the same event."""

_NEIGHBOR_WEIGHT: Final = 1 / 3
"""Fraction of the neighbouring changes that counts as deviation of a block."""

_RETURN_FRACTION: Final = 0.3
"""Fraction of a change up to which a block counts as restored."""

_KEYFRAME_WINDOW: Final = 64
"""Maximum number of keyframes with which one is compared."""

_EVENT_MERGE_S: Final = 0.25
"""Time within which new content belongs to one event."""

_CHUNK_S: Final = 1.0
"""Time that is normalised at once."""

_MOTION_LAG_S: Final = 1.0
"""Time over which motion is measured."""
_MAX_EVENT_S: Final = 10.0
"""Maximum time to search for the end of an event; empirical."""


@dataclass(frozen=True, eq=False)
class Signals:
    """Signals of the analysis at each step.

    Args:
        frame_indices: index of each step among the presented frames, rising.
        times_s: time of each step in seconds, float64.
        novelty: novelty in robust deviations.
        motion: speed of the picture in grey levels per second.
        detail: spatial energy: mean strength of luma edges in grey levels; 0 without a thumbnail.
    """

    frame_indices: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]
    novelty: Floats
    motion: Floats
    detail: Floats

    def __len__(self) -> int:
        return len(self.frame_indices)


@dataclass(frozen=True)
class NoveltyEvent:
    """New content in part of the picture.

    Args:
        frame_index: first thumbnail that shows it.
        strength: novelty of that thumbnail.
        end_index: first thumbnail without it, if the end was observed.
        area_fraction: fraction of the picture area that it covers; 1 for a flash.
        last_index: last thumbnail that shows it, if the end was observed.
    """

    frame_index: int
    strength: float
    end_index: int | None
    area_fraction: float
    last_index: int | None = None


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


class NoveltyTracker:
    """Streaming computation of signals and events; holds about a minute of block features.

    Pass thumbnails to `update` in order of time. `update`, and finally `finish`, return the
    completed rows ``(frame_index, time_s, novelty, motion)`` as float64; `events` grows at the same
    time.

    Args:
        size_px: width and height of the thumbnails.
    """

    def __init__(self, size_px: tuple[int, int]) -> None:
        width_px, height_px = size_px
        self._grid = (height_px // BLOCK_PX, width_px // BLOCK_PX)
        self.events: list[NoveltyEvent] = []
        self._frame_indices: list[int] = []
        self._times: list[float] = []
        self._isolated: list[bool] = []
        blocks = 2 * self._grid[0] * self._grid[1]
        self._features, self._changes = SlidingBuffer(blocks), SlidingBuffer(blocks)
        self._done = 0
        self.moved_levels = 0.0
        """Mean change of the block means of the last thumbnail, in grey levels."""
        self._last_event_s: float | None = None
        self._ends: dict[int, int] = {}
        self._long_deviation: tuple[float, Floats] | None = None

    def update(
        self, frame_index: int, time_s: float, features: Floats, *, is_keyframe: bool
    ) -> Iterator[npt.NDArray[np.float64]]:
        """Add the `block_features` of one thumbnail.

        Args:
            frame_index: index of the frame.
            time_s: time of the frame.
            features: features of its blocks.
            is_keyframe: whether it is a keyframe: encoding the picture again changes it a little.
        """
        before = self._features.all[len(self._times) - 1] if self._times else features
        is_far = bool(self._times) and time_s - self._times[-1] > _MAX_GAP_S
        self._frame_indices.append(frame_index)
        self._times.append(time_s)
        self._isolated.append(is_keyframe or is_far)
        means = len(features) // 2
        self.moved_levels = float(np.abs(features[:means] - before[:means]).mean())
        self._features.append(features[None])
        while self._done < len(self._times) and (
            time_s - self._times[self._done] >= _LONG_S + _CHUNK_S
        ):
            yield self._finish_chunk()
            self._drop_old()

    def finish(self) -> Iterator[npt.NDArray[np.float64]]:
        """Complete the remaining rows."""
        while self._done < len(self._times):
            yield self._finish_chunk()

    def _finish_chunk(self) -> npt.NDArray[np.float64]:
        self._compare()
        times = np.asarray(self._times)
        first = self._done
        end = int(np.searchsorted(times, times[first] + _CHUNK_S, side="left"))
        end = max(end, first + 1)
        scores = self._scores(times, first, end)
        novelty = scores.max(axis=1)
        self._record_events(times, scores, first, end)
        self._done = end
        frame_indices = np.asarray(self._frame_indices[first:end], np.float64)
        motion = self._motion(times, first, end)
        return np.stack([frame_indices, times[first:end], novelty, motion], axis=1)

    def _compare(self) -> None:
        """Compare the new thumbnails with their predecessors."""
        first, end = len(self._changes), len(self._features)
        if first < end:
            features = self._features.all[max(first - 1, 0) : end]
            before = features[:-1] if first else np.concatenate([features[:1], features[:-1]])
            after = features[1:] if first else features
            self._changes.append(remove_global_brightness(after - before, before))

    def _scores(self, times: npt.NDArray[np.float64], first: int, end: int) -> Floats:
        """Return the robust deviations of each block in thumbnails ``[first, end)``."""
        middle_s = (times[first] + times[end - 1]) / 2
        if self._long_deviation is None or middle_s - self._long_deviation[0] >= _WINDOW_INTERVAL_S:
            far = self._window(times, middle_s, _LONG_S, least=32)
            self._long_deviation = (middle_s, upper_deviation(far))
        near = self._window(times, middle_s, _SHORT_S + _CHUNK_S / 2, least=16)
        changes = self._changes.all[first:end]
        now, present = median_mad(near)
        sigma = np.maximum(np.maximum(self._long_deviation[1], present), _MIN_DEVIATION_LEVELS)
        scores: Floats = np.abs(changes - now) / sigma
        isolated = [i for i in range(first, end) if self._isolated[i]]
        if isolated:
            sizes = np.abs(changes[np.asarray(isolated) - first])
            least = np.maximum(sigma, medians(sizes)[:, None] * np.float32(SIGMA))
            scores[np.asarray(isolated) - first] = sizes / np.maximum(
                least, self._keyframe_deviation()
            )
        for i in range(first, end):
            if scores[i - first].max() >= EVENT_THRESHOLD:
                around = self._neighbor_change(times, i) * _NEIGHBOR_WEIGHT
                least = np.abs(self._changes.all[i]) / np.maximum(around, 1e-6)
                scores[i - first] = np.minimum(scores[i - first], least)
        return scores

    def _keyframe_deviation(self) -> Floats | float:
        """Return the deviation of each block among the isolated thumbnails, such as keyframes."""
        isolated = [i for i, is_one in enumerate(self._isolated) if is_one and i]
        if len(isolated) < 3:
            return 0.0
        deviation: Floats = medians(
            np.abs(self._changes.all[isolated[-_KEYFRAME_WINDOW:]]).T
        ) * np.float32(SIGMA)
        return deviation

    def _neighbor_change(self, times: npt.NDArray[np.float64], i: int) -> Floats:
        """Return the largest change of each block and its neighbours around a thumbnail."""
        import cv2

        a, b = np.searchsorted(times, [times[i] - _NEIGHBOR_S, times[i] + _NEIGHBOR_S])
        change = self._changes.all[i]
        before = self._features.all[i - 1] if i else self._features.all[i]
        gone = _RETURN_FRACTION * np.abs(change)
        largest = np.zeros_like(change)
        for other in range(max(int(a), 1), int(b)):
            if abs(times[other] - times[i]) < _SHARPENING_S:
                continue
            size = np.abs(self._changes.all[other])
            if other > i:
                # A restored block shows that something disappeared, not that it moves.
                size[np.abs(self._features.all[other] - before) < gone] = 0.0
            largest = np.maximum(largest, size)
        grids = largest.reshape(2, *self._grid)
        neighbors = np.ones((3, 3), np.uint8)
        flat: Floats = np.concatenate([cv2.dilate(grid, neighbors).reshape(-1) for grid in grids])
        return flat

    def _window(
        self, times: npt.NDArray[np.float64], middle_s: float, half_s: float, *, least: int
    ) -> Floats:
        """Return the changes around a moment: ``least`` to `_MAX_WINDOW_ROWS` of them."""
        a, b = np.searchsorted(times, [middle_s - half_s, middle_s + half_s])
        if b - a < least:
            nearest = int(np.searchsorted(times, middle_s))
            a = max(0, min(int(a), nearest - least // 2))
            b = min(len(times), max(int(b), int(a) + least))
        step = max(1, math.ceil((int(b) - int(a)) / _MAX_WINDOW_ROWS))
        return self._changes.all[int(a) : int(b) : step]

    def _record_events(
        self, times: npt.NDArray[np.float64], scores: Floats, first: int, end: int
    ) -> None:
        for i in range(first, end):
            row = scores[i - first]
            block = int(row.argmax())
            frame_index = self._frame_indices[i]
            if row[block] < EVENT_THRESHOLD or self._ends.pop(frame_index, None) == block:
                continue  # The end of an event is not another event.
            area_fraction = float((row > max(EVENT_THRESHOLD, row[block] / 4)).mean())
            if self._last_event_s is not None and times[i] - self._last_event_s < _EVENT_MERGE_S:
                # Encoders sharpen new content over a few frames.
                last = self.events[-1]
                strength = max(last.strength, float(row[block]))
                self.events[-1] = replace(
                    last, strength=strength, area_fraction=max(last.area_fraction, area_fraction)
                )
                continue
            change = float(self._changes.all[i][block])
            end_at = self._find_end(times, i, block, change)
            if end_at is not None:
                self._ends[self._frame_indices[end_at]] = block
            end_index = None if end_at is None else self._frame_indices[end_at]
            last_index = None if end_at is None else self._frame_indices[end_at - 1]
            self.events.append(
                NoveltyEvent(frame_index, float(row[block]), end_index, area_fraction, last_index)
            )
            self._last_event_s = float(times[i])

    def _find_end(
        self, times: npt.NDArray[np.float64], i: int, block: int, change: float
    ) -> int | None:
        """Find the thumbnail at which the change of a block is reverted."""
        before = float(self._features.all[i][block]) - change
        last = int(np.searchsorted(times, times[i] + _MAX_EVENT_S, side="right"))
        for later in range(i + 1, last):
            if abs(float(self._features.all[later][block]) - before) < _RETURN_FRACTION * abs(
                change
            ):
                return later
        return None

    def _motion(
        self, times: npt.NDArray[np.float64], first: int, end: int
    ) -> npt.NDArray[np.float64]:
        """Return the speed of the picture over about one second, in grey levels per second."""
        ago = np.searchsorted(times, times[first:end] - _MOTION_LAG_S + 1e-6, side="right") - 1
        ago = np.maximum(ago, 0)
        means = self._grid[0] * self._grid[1]
        moved = np.abs(
            self._features.all[first:end, :means] - self._features.all[ago, :means]
        ).mean(axis=1)
        speed: npt.NDArray[np.float64] = moved / np.maximum(times[first:end] - times[ago], 0.25)
        return speed

    def _drop_old(self) -> None:
        """Drop data that no window needs any more, in larger batches."""
        horizon_s = self._times[self._done] - _LONG_S - 2 * _CHUNK_S if self._times else 0.0
        old = int(np.searchsorted(np.asarray(self._times), horizon_s))
        if old < 64:
            return
        for values in (self._frame_indices, self._times, self._isolated):
            del values[:old]
        for rows in (self._features, self._changes):
            rows.drop(old)
        self._done -= old
