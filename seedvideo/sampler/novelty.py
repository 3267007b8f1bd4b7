"""How much a video changes, where, and when: signals over its small frames, in constant memory.

The frames are looks of `look_size`, cut into blocks of 8x8 pixels. Novelty is what stands out of a
block's own recent past: the signed change of the block's mean, or of its contrast, since the look
before, without what the light does to all blocks alike, over the block's robust deviation in a
local window, and of all blocks the largest. A small brief event is one block's matter, and a pan or
a crowd is its blocks' usual state. What moves through blocks changes them before and after, too,
and what appears does so once: hence the deviation is at least a third of the changes just around.
Motion is how fast block means move over a second, in levels of 0..255 a second: grain moves pixels,
but not means.

Knows no file, no tokens and no plan. Times are float seconds; exact ones belong to the ranks.

Robust statistics of many blocks at once: medians, deviations, and changes without the light's.

Knows no frames and no times.

Rows of numbers that come at the end and go at the beginning, side by side in memory.

What lies in a window is then a view and no copy. Knows nothing of what the numbers mean.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.media.types import MediaInfo

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


_LEAST_ROOM: Final = 256


class Rows:
    """A table ``(len, width)`` of float32."""

    def __init__(self, width: int) -> None:
        self._table = np.empty((_LEAST_ROOM, width), np.float32)
        self._first = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._first

    @property
    def all(self) -> Floats:
        """The table, as a view of memory that the next `append` or `drop` may write over."""
        return self._table[self._first : self._end]

    def append(self, rows: Floats) -> None:
        """Adds rows ``(N, width)`` at the end."""
        if self._end + len(rows) > len(self._table):
            self._make_room(len(rows))
        self._table[self._end : self._end + len(rows)] = rows
        self._end += len(rows)

    def drop(self, count: int) -> None:
        """Takes rows away at the beginning."""
        self._first += min(count, len(self))

    def _make_room(self, more: int) -> None:
        held = self._table[self._first : self._end]
        if 2 * (len(held) + more) > len(self._table):
            table = np.empty((2 * (len(held) + more), held.shape[1]), np.float32)
        else:
            table = self._table
        table[: len(held)] = held
        self._table, self._first, self._end = table, 0, len(held)


BLOCK_PX: Final = 8
LOOK_PX: Final = 256 * 144
"""Pixels of a look, about: print of 12 px in 1080 lines changes a block by several levels."""

PEAK: Final = 8.0
"""Novelty, in robust deviations, from which something counts as new."""

_FLOOR_LEVELS: Final = 0.3
"""Least deviation of a block: below it lies rounding."""

_LONG_S, _SHORT_S = 30.0, 1.5
"""Half of the windows of a block's past and future: its usual state, and the present burst."""

_ROWS: Final = 256
"""Looks that a long window is thinned to, at most."""

_USUAL_EVERY_S: Final = 5.0
"""Time between two looks at a long window."""

_FAR_S: Final = 0.6
"""Time from which the look before is no neighbour: the picture may have drifted all over."""

_AROUND_S: Final = 0.18
"""Time before and after a look within which an event of 0.2 s is still."""

_SHARPENING_S: Final = 0.05
"""Time in which encoders sharpen what is new: changes so near are part of the same."""

_AROUND: Final = 1 / 3
"""Share of the changes just around a look that counts as its block's deviation."""

_GONE: Final = 0.3
"""Share of a change up to which a block counts as it was before."""

_POPS: Final = 64
"""Keyframes among which one is compared, at most."""

_SAME_S: Final = 0.25
"""Time within which what is new is one event."""

_PART_S: Final = 1.0
"""Time that is normalised in one go."""

_LAG_S: Final = 1.0
_MAX_EVENT_S: Final = 10.0


@dataclass(frozen=True, eq=False)
class Signals:
    """What was seen at each step.

    Args:
        ranks: place of each step among the presented frames, rising.
        times_s: its time, float64 seconds.
        novelty: how far it stands out, in robust deviations.
        motion: levels a second by which the picture moves on.
        detail: spatial energy: mean strength of luma edges, in levels; 0 where nothing was seen.
    """

    ranks: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]
    novelty: Floats
    motion: Floats
    detail: Floats

    def __len__(self) -> int:
        return len(self.ranks)


@dataclass(frozen=True)
class Event:
    """Something new in part of the picture.

    Args:
        rank: of the first look that shows it.
        strength: novelty there.
        end_rank: of the first look after it, if it was seen to go.
        share: share of the picture that it takes; 1 for a flash.
    """

    rank: int
    strength: float
    end_rank: int | None
    share: float


def look_size(info: MediaInfo) -> tuple[int, int]:
    """Width and height of a look in pixels: whole blocks of the stored picture, about its shape."""
    width_px, height_px = info.coded_width_px, info.coded_height_px
    scale = min(1.0, (LOOK_PX / (width_px * height_px)) ** 0.5)
    step = 2 * BLOCK_PX

    def whole(side_px: int) -> int:
        steps: int = round(side_px * scale / step)
        return max(1, steps) * step

    return whole(width_px), whole(height_px)


def luma(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The luma ``(N, H, W)`` of looks ``(N, H * 3 // 2, W)``."""
    return planes[:, : planes.shape[1] * 2 // 3]


def block_states(pictures: npt.NDArray[np.uint8]) -> Floats:
    """What is compared from look to look, of luma ``(N, H, W)``: ``(N, 2 * H / 8 * W / 8)``.

    The mean of each block, then the mean distance of its pixels from it: print on a plate as bright
    as what it covers changes the latter alone.
    """
    import cv2  # Heavy, and only those who look at pictures need it.

    count, height_px, width_px = pictures.shape
    tall = pictures.reshape(count * height_px, width_px)
    # One tall picture: a call for all looks costs far less than one for each. Sums of 64 bytes are
    # exact in these floats.
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
    """Mean strength of the edges of one luma picture, in levels."""
    import cv2

    across = cv2.absdiff(picture[:, 1:], picture[:, :-1]).mean()
    down = cv2.absdiff(picture[1:], picture[:-1]).mean()
    return float(across + down) / 2


class Watcher:
    """Turns looks into signals and events as they come; holds a minute of block means.

    Looks come by `see`, in order of time. What is settled comes out of `see` and, at last, of
    `finish`, as rows ``(rank, time_s, novelty, motion)`` of float64; `events` grows as they do.

    Args:
        size_px: width and height of the looks.
    """

    def __init__(self, size_px: tuple[int, int]) -> None:
        width_px, height_px = size_px
        self._grid = (height_px // BLOCK_PX, width_px // BLOCK_PX)
        self.events: list[Event] = []
        self._ranks: list[int] = []
        self._times: list[float] = []
        self._apart: list[bool] = []
        blocks = 2 * self._grid[0] * self._grid[1]
        self._states, self._changes = Rows(blocks), Rows(blocks)
        self._done = 0
        self.moved_levels = 0.0
        """Mean change of the blocks of the last look."""
        self._last_event_s: float | None = None
        self._ends: dict[int, int] = {}
        self._usual: tuple[float, Floats] | None = None

    def see(
        self, rank: int, time_s: float, states: Floats, *, is_key: bool
    ) -> Iterator[npt.NDArray[np.float64]]:
        """Takes the `block_states` of one look.

        Args:
            rank: of the frame.
            time_s: of the frame.
            states: those of its blocks.
            is_key: whether it is a keyframe: an encoder draws its picture anew, a little otherwise.
        """
        before = self._states.all[len(self._times) - 1] if self._times else states
        is_far = bool(self._times) and time_s - self._times[-1] > _FAR_S
        self._ranks.append(rank)
        self._times.append(time_s)
        self._apart.append(is_key or is_far)
        means = len(states) // 2
        self.moved_levels = float(np.abs(states[:means] - before[:means]).mean())
        self._states.append(states[None])
        while self._done < len(self._times) and (
            time_s - self._times[self._done] >= _LONG_S + _PART_S
        ):
            yield self._settle_part()
            self._forget()

    def finish(self) -> Iterator[npt.NDArray[np.float64]]:
        """Settles what is left."""
        while self._done < len(self._times):
            yield self._settle_part()

    def _settle_part(self) -> npt.NDArray[np.float64]:
        self._compare()
        times = np.asarray(self._times)
        first = self._done
        end = int(np.searchsorted(times, times[first] + _PART_S, side="left"))
        end = max(end, first + 1)
        scores = self._scores(times, first, end)
        novelty = scores.max(axis=1)
        self._note_events(times, scores, first, end)
        self._done = end
        ranks = np.asarray(self._ranks[first:end], np.float64)
        motion = self._motion(times, first, end)
        return np.stack([ranks, times[first:end], novelty, motion], axis=1)

    def _compare(self) -> None:
        """Compares the looks that came since the last time with those before them."""
        first, end = len(self._changes), len(self._states)
        if first < end:
            states = self._states.all[max(first - 1, 0) : end]
            before = states[:-1] if first else np.concatenate([states[:1], states[:-1]])
            after = states[1:] if first else states
            self._changes.append(without_light(after - before, before))

    def _scores(self, times: npt.NDArray[np.float64], first: int, end: int) -> Floats:
        """Robust deviations of each block at looks ``[first, end)``."""
        middle_s = (times[first] + times[end - 1]) / 2
        if self._usual is None or middle_s - self._usual[0] >= _USUAL_EVERY_S:
            far = self._window(times, middle_s, _LONG_S, least=32)
            self._usual = (middle_s, usual(far))
        near = self._window(times, middle_s, _SHORT_S + _PART_S / 2, least=16)
        changes = self._changes.all[first:end]
        now, present = robust(near)
        sigma = np.maximum(np.maximum(self._usual[1], present), _FLOOR_LEVELS)
        scores: Floats = np.abs(changes - now) / sigma
        apart = [place for place in range(first, end) if self._apart[place]]
        if apart:
            sizes = np.abs(changes[np.asarray(apart) - first])
            least = np.maximum(sigma, medians(sizes)[:, None] * np.float32(SIGMA))
            scores[np.asarray(apart) - first] = sizes / np.maximum(least, self._pop())
        for place in range(first, end):
            if scores[place - first].max() >= PEAK:
                around = self._change_around(times, place) * _AROUND
                least = np.abs(self._changes.all[place]) / np.maximum(around, 1e-6)
                scores[place - first] = np.minimum(scores[place - first], least)
        return scores

    def _pop(self) -> Floats | float:
        """Deviation of each block among the looks that stand apart."""
        apart = [place for place, is_apart in enumerate(self._apart) if is_apart and place]
        if len(apart) < 3:
            return 0.0
        deviation: Floats = medians(np.abs(self._changes.all[apart[-_POPS:]]).T) * np.float32(SIGMA)
        return deviation

    def _change_around(self, times: npt.NDArray[np.float64], place: int) -> Floats:
        """Largest change of each block and its neighbours just before and just after a look."""
        import cv2

        a, b = np.searchsorted(times, [times[place] - _AROUND_S, times[place] + _AROUND_S])
        change = self._changes.all[place]
        before = self._states.all[place - 1] if place else self._states.all[place]
        gone = _GONE * np.abs(change)
        most_flat = np.zeros_like(change)
        for other in range(max(int(a), 1), int(b)):
            if abs(times[other] - times[place]) < _SHARPENING_S:
                continue
            size = np.abs(self._changes.all[other])
            if other > place:
                # A block that is as it was before shows that something went, not that it moves.
                size[np.abs(self._states.all[other] - before) < gone] = 0.0
            most_flat = np.maximum(most_flat, size)
        grids = most_flat.reshape(2, *self._grid)
        beside = np.ones((3, 3), np.uint8)
        flat: Floats = np.concatenate([cv2.dilate(grid, beside).reshape(-1) for grid in grids])
        return flat

    def _window(
        self, times: npt.NDArray[np.float64], middle_s: float, half_s: float, *, least: int
    ) -> Floats:
        """The changes within a time of a moment, or the nearest ``least``, thinned to `_ROWS`."""
        a, b = np.searchsorted(times, [middle_s - half_s, middle_s + half_s])
        if b - a < least:
            nearest = int(np.searchsorted(times, middle_s))
            a = max(0, min(int(a), nearest - least // 2))
            b = min(len(times), max(int(b), int(a) + least))
        step = max(1, math.ceil((int(b) - int(a)) / _ROWS))
        return self._changes.all[int(a) : int(b) : step]

    def _note_events(
        self, times: npt.NDArray[np.float64], scores: Floats, first: int, end: int
    ) -> None:
        for place in range(first, end):
            row = scores[place - first]
            block = int(row.argmax())
            rank = self._ranks[place]
            if row[block] < PEAK or self._ends.pop(rank, None) == block:
                continue  # The end of an event is none itself.
            share = float((row > max(PEAK, row[block] / 4)).mean())
            if self._last_event_s is not None and times[place] - self._last_event_s < _SAME_S:
                # Decoders sharpen what is new over a few frames.
                last = self.events[-1]
                strength = max(last.strength, float(row[block]))
                self.events[-1] = replace(last, strength=strength, share=max(last.share, share))
                continue
            change = float(self._changes.all[place][block])
            stop = self._end_of(times, place, block, change)
            if stop is not None:
                self._ends[self._ranks[stop]] = block
            end_rank = None if stop is None else self._ranks[stop]
            self.events.append(Event(rank, float(row[block]), end_rank, share))
            self._last_event_s = float(times[place])

    def _end_of(
        self, times: npt.NDArray[np.float64], place: int, block: int, change: float
    ) -> int | None:
        """Finds the look at which a block's change is taken back."""
        before = float(self._states.all[place][block]) - change
        last = int(np.searchsorted(times, times[place] + _MAX_EVENT_S, side="right"))
        for later in range(place + 1, last):
            if abs(float(self._states.all[later][block]) - before) < _GONE * abs(change):
                return later
        return None

    def _motion(
        self, times: npt.NDArray[np.float64], first: int, end: int
    ) -> npt.NDArray[np.float64]:
        """Levels a second by which the picture has moved on since about a second before."""
        ago = np.searchsorted(times, times[first:end] - _LAG_S + 1e-6, side="right") - 1
        ago = np.maximum(ago, 0)
        means = self._grid[0] * self._grid[1]
        moved = np.abs(self._states.all[first:end, :means] - self._states.all[ago, :means]).mean(
            axis=1
        )
        speed: npt.NDArray[np.float64] = moved / np.maximum(times[first:end] - times[ago], 0.25)
        return speed

    def _forget(self) -> None:
        """Drops what no window reaches any more, now and then."""
        horizon_s = self._times[self._done] - _LONG_S - 2 * _PART_S if self._times else 0.0
        old = int(np.searchsorted(np.asarray(self._times), horizon_s))
        if old < 64:
            return
        for values in (self._ranks, self._times, self._apart):
            del values[:old]
        for rows in (self._states, self._changes):
            rows.drop(old)
        self._done -= old
