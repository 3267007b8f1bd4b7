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
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.media.info import MediaInfo

Floats = npt.NDArray[np.float32]

BLOCK_PX: Final = 8
LOOK_PX: Final = 256 * 144
"""Pixels of a look, about: print of 12 px in 1080 lines changes a block by several levels."""

PEAK: Final = 8.0
"""Novelty, in robust deviations, from which something counts as new."""

_FLOOR_LEVELS: Final = 0.3
"""Least deviation of a block: below it lies rounding."""

_LONG_S, _SHORT_S = 30.0, 1.5
"""Half of the windows of a block's past and future: its usual state, and the present burst."""

_ROWS: Final = 400
"""Looks that a long window is thinned to."""

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
_NINE_OF_TEN: Final = 1.645
"""Standard deviations within which nine of ten values of normal noise lie."""

_SIGMA: Final = 1.4826
"""Standard deviations in a median absolute deviation of normal noise."""


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
        share: share of the picture that it takes.
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


def block_means(pictures: npt.NDArray[np.uint8]) -> Floats:
    """Means of the blocks of luma ``(N, H, W)``, as ``(N, H / 8 * W / 8)``."""
    count, height_px, width_px = pictures.shape
    rows = pictures.reshape(count, height_px // BLOCK_PX, BLOCK_PX, width_px)
    sums = rows.sum(axis=2, dtype=np.uint16)
    sums = sums.reshape(count, -1, BLOCK_PX).sum(axis=2, dtype=np.uint16)
    means: Floats = sums.astype(np.float32) / np.float32(BLOCK_PX**2)
    return means


def block_states(pictures: npt.NDArray[np.uint8]) -> Floats:
    """What is compared from look to look, of luma ``(N, H, W)``: ``(N, 2 * H / 8 * W / 8)``.

    The mean of each block, then the mean distance of its pixels from it: print on a plate as bright
    as what it covers changes the latter alone.
    """
    means = block_means(pictures)
    count, height_px, width_px = pictures.shape
    grid = (count, height_px // BLOCK_PX, 1, width_px // BLOCK_PX, 1)
    blocks = pictures.reshape(count, grid[1], BLOCK_PX, grid[3], BLOCK_PX)
    middle = np.rint(means).astype(np.int16).reshape(grid)
    distances = np.abs(blocks - middle).reshape(count, grid[1], BLOCK_PX, width_px)
    sums = distances.sum(axis=2, dtype=np.int32).reshape(count, -1, BLOCK_PX).sum(axis=2)
    return np.concatenate([means, sums.astype(np.float32) / np.float32(BLOCK_PX**2)], axis=1)


def edge_strength(picture: npt.NDArray[np.uint8]) -> float:
    """Mean strength of the edges of one luma picture, in levels."""
    signed = picture.astype(np.int16)
    across = np.abs(np.diff(signed, axis=1)).mean()
    down = np.abs(np.diff(signed, axis=0)).mean()
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
        self._states: list[Floats] = []
        self._changes: list[Floats] = []
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
        before = self._states[-1] if self._states else states
        is_far = bool(self._times) and time_s - self._times[-1] > _FAR_S
        change = states - before
        self._changes.append(_without_light(change, before))
        self._ranks.append(rank)
        self._times.append(time_s)
        self._apart.append(is_key or is_far)
        self.moved_levels = float(np.abs(change[: len(change) // 2]).mean())
        self._states.append(states)
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
        times = np.asarray(self._times)
        first = self._done
        end = int(np.searchsorted(times, times[first] + _PART_S, side="left"))
        end = max(end, first + 1)
        scores = self._scores(times, first, end)
        novelty = scores.max(axis=1)
        self._note_events(times, scores, first, end)
        self._done = end
        motion = [self._motion(times, place) for place in range(first, end)]
        return np.stack(
            [np.asarray(self._ranks[first:end], np.float64), times[first:end], novelty, motion],
            axis=1,
        )

    def _scores(self, times: npt.NDArray[np.float64], first: int, end: int) -> Floats:
        """Robust deviations of each block at looks ``[first, end)``."""
        middle_s = (times[first] + times[end - 1]) / 2
        if self._usual is None or middle_s - self._usual[0] >= _USUAL_EVERY_S:
            far = self._window(times, middle_s, _LONG_S, least=32)
            self._usual = (middle_s, _usual(far))
        near = self._window(times, middle_s, _SHORT_S + _PART_S / 2, least=16)
        changes = np.stack(self._changes[first:end])
        now, present = _robust(near)
        sigma = np.maximum(np.maximum(self._usual[1], present), _FLOOR_LEVELS)
        scores: Floats = np.abs(changes - now) / sigma
        apart = [place for place, is_apart in enumerate(self._apart) if is_apart and place]
        pops = [np.abs(self._changes[place]) for place in apart]
        pop = np.median(np.stack(pops[-_POPS:]), axis=0) * _SIGMA if len(pops) > 2 else 0.0
        for place in range(first, end):
            if self._apart[place]:
                change = changes[place - first]
                spread = np.median(np.abs(change)) * _SIGMA
                least = np.maximum(np.maximum(sigma, pop), spread)
                scores[place - first] = np.abs(change) / least
        for place in range(first, end):
            if scores[place - first].max() >= PEAK:
                around = self._change_around(times, place) * _AROUND
                least = np.abs(self._changes[place]) / np.maximum(around, 1e-6)
                scores[place - first] = np.minimum(scores[place - first], least)
        return scores

    def _change_around(self, times: npt.NDArray[np.float64], place: int) -> Floats:
        """Largest change of each block and its neighbours just before and just after a look."""
        a, b = np.searchsorted(times, [times[place] - _AROUND_S, times[place] + _AROUND_S])
        change = self._changes[place]
        before = self._states[place - 1] if place else self._states[place]
        most_flat = np.zeros_like(change)
        for other in range(max(int(a), 1), int(b)):
            if abs(times[other] - times[place]) < _SHARPENING_S:
                continue
            size = np.abs(self._changes[other])
            if other > place:
                # A block that is as it was before shows that something went, not that it moves.
                size[np.abs(self._states[other] - before) < _GONE * np.abs(change)] = 0.0
            most_flat = np.maximum(most_flat, size)
        most = most_flat.reshape(2, *self._grid)
        wide = np.pad(most, ((0, 0), (1, 1), (1, 1)))
        rows = np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
        both = np.maximum(np.maximum(rows[:, :, :-2], rows[:, :, 1:-1]), rows[:, :, 2:])
        flat: Floats = both.reshape(-1)
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
        step = max(1, (int(b) - int(a)) // _ROWS)
        return np.stack(self._changes[int(a) : int(b) : step])

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
            change = float(self._changes[place][block])
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
        before = float(self._states[place][block]) - change
        last = int(np.searchsorted(times, times[place] + _MAX_EVENT_S, side="right"))
        for later in range(place + 1, last):
            if abs(float(self._states[later][block]) - before) < _GONE * abs(change):
                return later
        return None

    def _motion(self, times: npt.NDArray[np.float64], place: int) -> float:
        """Levels a second by which the picture has moved on since about a second before."""
        ago = int(np.searchsorted(times, times[place] - _LAG_S + 1e-6, side="right")) - 1
        ago = max(ago, 0)
        elapsed_s = float(times[place] - times[ago])
        if not elapsed_s:
            return 0.0
        moved = np.abs(self._states[place] - self._states[ago])
        blocks = len(moved) // 2
        return float(moved[:blocks].mean()) / max(elapsed_s, 0.25)

    def _forget(self) -> None:
        """Drops what no window reaches any more, now and then."""
        horizon_s = self._times[self._done] - _LONG_S - 2 * _PART_S if self._times else 0.0
        old = int(np.searchsorted(np.asarray(self._times), horizon_s))
        if old < 64:
            return
        for rows in (self._ranks, self._times, self._apart, self._states, self._changes):
            del rows[:old]
        self._done -= old


def _without_light(change: Floats, before: Floats) -> Floats:
    """What is left of a frame's changes without those of the light: a shift, or a gain, of all.

    Whichever explains more of the means is taken away.
    """
    blocks = len(change) // 2
    means = change[:blocks]
    shift = np.median(means)
    gain = np.median(means / np.maximum(before[:blocks], 8.0))
    shifted, scaled = means - shift, means - gain * before[:blocks]
    if np.median(np.abs(scaled)) < np.median(np.abs(shifted)):
        left = change - gain * before
    else:
        left = np.concatenate([shifted, change[blocks:] - np.median(change[blocks:])])
    result: Floats = left.astype(np.float32)
    return result


def _usual(rows: Floats) -> Floats:
    """Deviation of each column that nine of ten rows keep to, as normal noise would.

    What happens to a block every second is usual for it, though its median change is none.
    """
    distances = np.abs(rows - np.median(rows, axis=0))
    place = int(0.9 * len(rows))
    most: Floats = np.partition(distances, place, axis=0)[place] / np.float32(_NINE_OF_TEN)
    return most


def _robust(rows: Floats) -> tuple[Floats, Floats]:
    """Median and robust deviation of each column."""
    middle = np.median(rows, axis=0)
    deviation = np.median(np.abs(rows - middle), axis=0) * _SIGMA
    return middle.astype(np.float32), deviation.astype(np.float32)
