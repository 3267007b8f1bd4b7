"""Novelty, motion and activity of a video, computed from its thumbnails in constant memory.

Novelty measures how far the change of one block of a thumbnail (`block_features`) stands out from
what is usual for that block: the signed change of its mean or contrast since the previous
thumbnail, without the change that the light causes in all blocks, divided by the robust deviation
of the block. The novelty of a thumbnail is the maximum over its blocks.

What is usual depends on the kind of activity: a crowd next to a calm scene must not hide a small
sign in the calm. So a thumbnail is compared with those around it of like activity. Activity is the
number of blocks that change, as a logarithm, and its median over a second. Where it jumps for good,
a border lies between two kinds of activity; the change of the blocks that begin or stop moving
there is not an event.

A small brief event changes one block; a pan or a crowd is the usual state of many blocks. A moving
object changes a block before and afterwards too, and an appearing one only once. So the deviation
is at least a third of the neighbouring changes. Motion is the speed of block means over one second,
in grey levels (0 to 255) per second: grain changes pixels, but not means.

Times are float seconds; frames are identified by their exact index in presentation order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.block_features import (
    BLOCK_PX,
    SIGMA,
    Floats,
    SlidingBuffer,
    median_mad,
    medians,
    remove_global_brightness,
    upper_deviation,
)
from seedvideo.sampler.events import EVENT_THRESHOLD, EventRecorder, NoveltyEvent

_MIN_DEVIATION_LEVELS: Final = 0.3
"""Minimum deviation of a block, in grey levels: smaller ones are rounding."""

_MIN_KEYFRAME_LEVELS: Final = 0.5
"""Minimum deviation of a block in a keyframe: encoding a still picture again changes its blocks."""

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

_CHUNK_S: Final = 1.0
"""Time that is normalised at once."""

_MOTION_LAG_S: Final = 1.0
"""Time over which motion is measured."""

_ACTIVE_LEVELS: Final = 3.0
"""Minimum change of an active block, in grey levels."""

_ACTIVITY_OFFSET: Final = 8
"""Number added to the active blocks before the logarithm: 0 and 3 of them are alike."""

_ACTIVITY_HALF_S: Final = 0.5
"""Half of the window of the median of activity: a brief event is not an activity."""

CALM_OCTAVES: Final = math.log2(_ACTIVITY_OFFSET)
"""Activity without a changing block."""

LIKE_OCTAVES: Final = 1.5
"""Maximum difference of like activities, in octaves."""

_BORDER_OCTAVES: Final = 2.0
"""Minimum jump of the activity at a border, in octaves."""

_BORDER_S: Final = 2.5
"""Time before and after a border in which the activity stays the same."""

_BORDER_NEAR_S: Final = 0.15
"""Time around a border in which blocks that begin or stop moving are not events."""

_SHARP: Final = 3
"""Thumbnails before and after a border that locate it."""

_MOVING_FRACTION: Final = 0.15
"""Minimum fraction of the thumbnails in which a moving block is active."""


@dataclass(frozen=True, eq=False)
class Signals:
    """Signals of the analysis at each step.

    Args:
        frame_indices: index of each step among the presented frames, rising.
        times_s: time of each step in seconds, float64.
        novelty: novelty in robust deviations.
        motion: speed of the picture in grey levels per second.
        detail: spatial energy: mean strength of luma edges in grey levels; 0 without a thumbnail.
        activity: logarithm to base 2 of the number of changing blocks plus 8; 3 in calm content.
    """

    frame_indices: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]
    novelty: Floats
    motion: Floats
    detail: Floats
    activity: Floats

    def __len__(self) -> int:
        return len(self.frame_indices)


@dataclass(frozen=True, eq=False)
class _Border:
    """One border: its first thumbnail, its time, and the blocks that begin or stop moving."""

    frame_index: int
    time_s: float
    moving: npt.NDArray[np.bool_]


class NoveltyTracker:
    """Streaming computation of signals and events; holds about a minute of block features.

    Pass thumbnails to `update` in order of time. `update`, and finally `finish`, return the
    completed rows ``(frame_index, time_s, novelty, motion, activity)`` as float64; `events` and
    `borders` grow at the same time.

    Args:
        size_px: width and height of the thumbnails.
    """

    def __init__(self, size_px: tuple[int, int]) -> None:
        width_px, height_px = size_px
        self._grid = (height_px // BLOCK_PX, width_px // BLOCK_PX)
        self.moved_levels = 0.0
        """Mean change of the block means of the last thumbnail, in grey levels."""
        self._frame_indices: list[int] = []
        self._times: list[float] = []
        self._isolated: list[bool] = []
        self._far: list[bool] = []
        self._active: list[float] = []
        self._activity: list[float] = []
        self._jumps: list[float] = []
        self._borders: list[_Border] = []
        self._is_last = False
        features = 2 * self._grid[0] * self._grid[1]
        self._features, self._changes = SlidingBuffer(features), SlidingBuffer(features)
        self._done = 0
        self._recorder = EventRecorder(self._grid)
        self._long_deviation: tuple[float, float, Floats] | None = None

    @property
    def events(self) -> list[NoveltyEvent]:
        """Return the events so far, in order of time."""
        return self._recorder.events

    @property
    def borders(self) -> list[int]:
        """Return the first thumbnail of each kind of activity after the first, so far."""
        return [border.frame_index for border in self._borders]

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
        self._far.append(is_far)
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
        self._is_last = True
        while self._done < len(self._times):
            yield self._finish_chunk()

    def _finish_chunk(self) -> npt.NDArray[np.float64]:
        self._compare()
        times = np.asarray(self._times)
        self._measure_activity(times)
        self._find_borders(times)
        first = self._done
        end = int(np.searchsorted(times, times[first] + _CHUNK_S, side="left"))
        activity = np.asarray(self._activity)
        unlike = np.flatnonzero(np.abs(activity[first:end] - activity[first]) > LIKE_OCTAVES)
        end = max(first + int(unlike[0]) if len(unlike) else end, first + 1)
        scores = self._scores(times, activity, first, end)
        self._remove_borders(times, scores, first, end)
        novelty = scores.max(axis=1)
        for i in range(first, end):
            self._recorder.record(
                i,
                scores[i - first],
                frame_indices=self._frame_indices,
                times=times,
                features=self._features.all,
                changes=self._changes.all,
            )
        self._done = end
        frame_indices = np.asarray(self._frame_indices[first:end], np.float64)
        motion = self._motion(times, first, end)
        return np.stack(
            [frame_indices, times[first:end], novelty, motion, activity[first:end]], axis=1
        )

    def _compare(self) -> None:
        """Compare the new thumbnails with their predecessors."""
        first, end = len(self._changes), len(self._features)
        if first < end:
            features = self._features.all[max(first - 1, 0) : end]
            before = features[:-1] if first else np.concatenate([features[:1], features[:-1]])
            after = features[1:] if first else features
            changes = remove_global_brightness(after - before, before)
            self._changes.append(changes)
            active = (np.abs(changes) > _ACTIVE_LEVELS).sum(axis=1)
            self._active += np.log2(active + _ACTIVITY_OFFSET).tolist()

    # --- activity

    def _measure_activity(self, times: npt.NDArray[np.float64]) -> None:
        """Take the median of the activity around each thumbnail whose surroundings are known.

        A keyframe changes the picture by encoding it again, so it does not count among others. A
        thumbnail without any nearby counts as calm.
        """
        counts, isolated, far = (
            np.asarray(each) for each in (self._active, self._isolated, self._far)
        )
        first = len(self._activity)
        low = np.searchsorted(times, times[first:] - _ACTIVITY_HALF_S)
        high = np.searchsorted(times, times[first:] + _ACTIVITY_HALF_S, side="right")
        for i, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True), start=first):
            if not self._is_last and times[-1] - times[i] < _ACTIVITY_HALF_S:
                break
            usable = ~isolated[a:b] if not isolated[a:b].all() else ~far[a:b]
            near = counts[a:b][usable]
            self._activity.append(float(np.median(near)) if len(near) else CALM_OCTAVES)

    def _find_borders(self, times: npt.NDArray[np.float64]) -> None:
        """Find the thumbnails at which the activity jumps and then stays."""
        activity = np.asarray(self._activity)
        known = times[: len(activity)]
        for i in range(len(self._jumps), len(activity)):
            if not self._is_last and known[-1] - known[i] < _BORDER_S:
                break
            a, b = np.searchsorted(known, [known[i] - _BORDER_S, known[i] + _BORDER_S])
            has_both = a < i < b - 1 and known[i - 1] - known[a] > _BORDER_S / 2
            self._jumps.append(
                float(np.median(activity[i:b]) - np.median(activity[a:i])) if has_both else 0.0
            )
        jumps = np.abs(self._jumps)
        last_s = self._borders[-1].time_s if self._borders else -math.inf
        candidates = np.flatnonzero(jumps >= _BORDER_OCTAVES)
        for i in candidates[known[candidates] > last_s + _BORDER_S / 2].tolist():
            a, b = np.searchsorted(known, [known[i] - _BORDER_S / 2, known[i] + _BORDER_S / 2])
            if b > len(jumps) and not self._is_last:
                break
            if i != int(a) + int(jumps[a:b].argmax()) or known[i] <= last_s + _BORDER_S / 2:
                continue
            last_s = float(known[i])
            sharp = self._sharpen_border(known, i)
            self._borders.append(
                _Border(
                    self._frame_indices[sharp],
                    float(known[sharp]),
                    self._moving_blocks(known, sharp, begins=self._jumps[i] > 0),
                )
            )

    def _sharpen_border(self, times: npt.NDArray[np.float64], i: int) -> int:
        """Return the thumbnail near a border at which the number of active blocks jumps most.

        Medians of the activity differ as much for a second around it.
        """
        counts = np.asarray(self._active[: len(times)])
        a, b = np.searchsorted(times, [times[i] - _BORDER_S / 2, times[i] + _BORDER_S / 2])
        jumps = [
            abs(float(counts[k : k + _SHARP].mean() - counts[k - _SHARP : k].mean()))
            for k in range(max(int(a), _SHARP), min(int(b), len(times) - _SHARP))
        ]
        return max(int(a), _SHARP) + int(np.argmax(jumps)) if jumps else i

    def _moving_blocks(
        self, times: npt.NDArray[np.float64], i: int, *, begins: bool
    ) -> npt.NDArray[np.bool_]:
        """Return the blocks that move on the busier side of a border, and those next to them."""
        import cv2  # Heavy; only needed for decoded pictures.

        a, b = np.searchsorted(times, [times[i] - _BORDER_S, times[i] + _BORDER_S])
        side = slice(i + 1, int(b)) if begins else slice(int(a), i)
        changes = self._changes.all[side]
        if not len(changes):  # The other side of the border was not inspected.
            return np.zeros(changes.shape[1], np.bool_)
        active = (np.abs(changes) > _ACTIVE_LEVELS).mean(axis=0)
        grids = (active >= _MOVING_FRACTION).reshape(2, *self._grid).any(axis=0)
        around = cv2.dilate(grids.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        return np.tile(around.reshape(-1), 2)

    def _remove_borders(
        self, times: npt.NDArray[np.float64], scores: Floats, first: int, end: int
    ) -> None:
        """Set the scores of blocks that begin or stop moving to 0 around each border."""
        for border in reversed(self._borders):
            if border.time_s < times[first] - _BORDER_NEAR_S:
                break
            near = np.abs(times[first:end] - border.time_s) <= _BORDER_NEAR_S
            scores[np.ix_(near, border.moving)] = 0.0

    # --- novelty

    def _scores(
        self,
        times: npt.NDArray[np.float64],
        activity: npt.NDArray[np.float64],
        first: int,
        end: int,
    ) -> Floats:
        """Return the robust deviations of each block in thumbnails ``[first, end)``."""
        middle_s = float(times[first] + times[end - 1]) / 2
        level = float(activity[first])
        known = self._long_deviation
        if (
            known is None
            or middle_s - known[0] >= _WINDOW_INTERVAL_S
            or abs(level - known[1]) > LIKE_OCTAVES / 2
        ):
            far = self._window(times, activity, middle_s, level, half_s=_LONG_S, least=32)
            known = self._long_deviation = (middle_s, level, upper_deviation(far))
        near = self._window(
            times, activity, middle_s, level, half_s=_SHORT_S + _CHUNK_S / 2, least=16
        )
        changes = self._changes.all[first:end]
        now, present = median_mad(near)
        sigma = np.maximum(np.maximum(known[2], present), _MIN_DEVIATION_LEVELS)
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

    def _keyframe_deviation(self) -> Floats | np.float32:
        """Return the deviation of each block among the isolated thumbnails, such as keyframes."""
        isolated = [i for i, is_one in enumerate(self._isolated) if is_one and i]
        if len(isolated) < 3:
            return np.float32(_MIN_KEYFRAME_LEVELS)
        deviation: Floats = medians(
            np.abs(self._changes.all[isolated[-_KEYFRAME_WINDOW:]]).T
        ) * np.float32(SIGMA)
        return np.maximum(deviation, np.float32(_MIN_KEYFRAME_LEVELS))

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
        self,
        times: npt.NDArray[np.float64],
        activity: npt.NDArray[np.float64],
        middle_s: float,
        level: float,
        *,
        half_s: float,
        least: int,
    ) -> Floats:
        """Return the changes of like activity around a moment.

        There are ``least`` to `_MAX_WINDOW_ROWS` of them, the nearest ones if the window has too
        few, and unlike ones only if there are no others.
        """
        known = times[: len(activity)]
        like = np.flatnonzero(np.abs(activity - level) <= LIKE_OCTAVES)
        if len(like) < least:
            like = np.arange(len(known))
        a, b = np.searchsorted(known[like], [middle_s - half_s, middle_s + half_s])
        if b - a < least:
            nearest = int(np.searchsorted(known[like], middle_s))
            a = max(0, min(int(a), nearest - least // 2))
            b = min(len(like), max(int(b), int(a) + least))
        step = max(1, math.ceil((int(b) - int(a)) / _MAX_WINDOW_ROWS))
        return self._changes.all[like[int(a) : int(b) : step]]

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
        del self._frame_indices[:old], self._isolated[:old], self._far[:old]
        for values in (self._times, self._active, self._activity, self._jumps):
            del values[:old]
        for rows in (self._features, self._changes):
            rows.drop(old)
        self._done -= old
