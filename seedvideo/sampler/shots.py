"""Segments: where one shot ends and the next begins, and where a shot changes its pace.

Cuts are found by PySceneDetect's adaptive detector on the colour frames of the pass that made the
signals: with its own settings where every frame is seen. Between cuts a segment ends where the time
in which the picture changes becomes another for longer than a moment. Knows frames by rank, and no
file and no tokens.

Flashes: pictures that fill everything for a moment, after which it is as it was before.

Novelty (`seedvideo.sampler.novelty`) is of parts of the picture: it leaves aside what all blocks do
alike, and a cut is no event. So a picture that comes between two like ones, for two seconds or
less, is found here, from the jumps of all blocks together. Knows no file, no tokens and no plan.
Times are float seconds; exact ones belong to the ranks.

Make shots fit for captions: long enough, each with a frame in it, and not too many.

Knows only spans and frame times, in exact seconds; not how the shots were found or what they cost.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.freezes import Freeze
from seedvideo.sampler.novelty import Event, Floats
from seedvideo.utils.timecode import Span

if TYPE_CHECKING:
    from scenedetect import AdaptiveDetector

MIN_SHOT_FRAMES: Final = 15
"""Frames before which PySceneDetect takes no second cut: its own default."""

_MOVED_LEVELS: Final = 2.0
"""Mean change of blocks below which nobody would see a cut."""

_LOOKS_BESIDE: Final = 3
"""Looks before and after one that moved that are compared with it."""

MIN_PACE_S: Final = 3.0
"""Least time for which another pace makes a segment of its own."""

_PACES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Bounds between paces: times in which the picture changes."""

_RATIO: Final = 2.0
"""By how much a cut exceeds the changes beside it where not every frame is seen."""


class CutFinder:
    """Finds cuts in looks as they come: ranks of the first look of each new shot.

    Args:
        sees_all: whether every frame is a look. Else motion makes changes larger, and those of the
            nearest looks alone are compared, less strictly, and only where the picture moves.
    """

    def __init__(self, *, sees_all: bool) -> None:
        self.cuts: list[int] = []
        self._sees_all = sees_all
        self._detector: AdaptiveDetector | None = None
        self._waiting: deque[tuple[int, npt.NDArray[np.uint8]]] = deque(maxlen=_LOOKS_BESIDE)
        self._left = 0

    def see(self, rank: int, planes: npt.NDArray[np.uint8], *, moved_levels: float) -> None:
        """Takes one look.

        Args:
            rank: of the frame.
            planes: ``(H * 3 // 2, W)`` of I420.
            moved_levels: mean change of its blocks since the look before.
        """
        if self._sees_all:
            self._judge(rank, planes)
            return
        self._waiting.append((rank, planes))
        if moved_levels >= _MOVED_LEVELS:
            self._left = _LOOKS_BESIDE
        elif not self._left:
            self._detector = None  # What comes next is compared with its neighbours, not with this.
            return
        else:
            self._left -= 1
        while self._waiting:
            self._judge(*self._waiting.popleft())

    def _judge(self, rank: int, planes: npt.NDArray[np.uint8]) -> None:
        # Heavy (OpenCV), and only those who look at pictures need them.
        import cv2
        from scenedetect import AdaptiveDetector, FrameTimecode

        if self._detector is None and self._sees_all:
            self._detector = AdaptiveDetector(min_scene_len=MIN_SHOT_FRAMES)
        elif self._detector is None:
            self._detector = AdaptiveDetector(_RATIO, min_scene_len=0, window_width=1)
        # Frames count by rank, as PySceneDetect's do; the rate is for times, which nobody asks.
        timecode = FrameTimecode(rank, fps=30.0)
        bgr = cv2.cvtColor(planes if self._sees_all else _halved(planes), cv2.COLOR_YUV2BGR_I420)
        for cut in self._detector.process_frame(timecode, bgr):
            if cut.frame_num - (self.cuts[-1] if self.cuts else 0) >= MIN_SHOT_FRAMES:
                self.cuts.append(cut.frame_num)


def _halved(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """I420 planes of half the width and height, or the same if they cannot be halved.

    Cuts of a quarter of the pixels are as plain and cost a third.
    """
    import cv2

    height_px, width_px = planes.shape[0] * 2 // 3, planes.shape[1]
    if height_px % 4 or width_px % 4:
        return planes
    half, quarter = (width_px // 2, height_px // 2), (width_px // 4, height_px // 4)
    light = cv2.resize(planes[:height_px], half, interpolation=cv2.INTER_AREA)
    colours = planes[height_px:].reshape(2, height_px // 2, width_px // 2)
    small = [cv2.resize(colour, quarter, interpolation=cv2.INTER_AREA) for colour in colours]
    flat = np.concatenate([plane.reshape(-1) for plane in (light, *small)])
    return flat.reshape(height_px // 2 * 3 // 2, width_px // 2)


@dataclass(frozen=True)
class Piece:
    """Frames ``[first, end)`` of one pace, by rank.

    Args:
        first: rank.
        end: rank, exclusive.
        change_s: time in which the picture changes.
        freeze: the stretch of one picture that it is, if it is one.
    """

    first: int
    end: int
    change_s: float
    freeze: Freeze | None = None


def split_by_pace(
    times_s: npt.NDArray[np.float64],
    step_ranks: npt.NDArray[np.int64],
    change_s: npt.NDArray[np.float64],
    cuts: Sequence[int],
) -> list[Piece]:
    """Splits a video at cuts, and shots where their pace changes for good.

    Args:
        times_s: of all frames.
        step_ranks: ranks at which the pace is known, rising; at least one.
        change_s: time in which the picture changes there.
        cuts: ranks of the first frames of shots, rising, above 0.
    """
    pieces: list[Piece] = []
    bounds = [0, *cuts, len(times_s)]
    for first, end in pairwise(bounds):
        low = int(np.searchsorted(step_ranks, first, side="left"))
        high = int(np.searchsorted(step_ranks, end, side="left"))
        if high <= low:
            low = min(max(low - 1, 0), len(step_ranks) - 1)
            high = low + 1
        pieces += _split_shot(times_s, step_ranks[low:high], change_s[low:high], first, end)
    return pieces


def cut_out_freezes(
    pieces: Sequence[Piece],
    freezes: Sequence[Freeze],
    cuts: Sequence[int],
    step_ranks: npt.NDArray[np.int64],
    change_s: npt.NDArray[np.float64],
) -> list[Piece]:
    """Make each blank or frozen stretch a piece of its own, whatever the pace around it.

    A cut inside a stretch, from one colour to another, divides it.

    Args:
        pieces: of the whole video, in order.
        freezes: in order, not overlapping.
        cuts: ranks of the first frames of shots, rising.
        step_ranks: as `split_by_pace` takes them.
        change_s: likewise.
    """
    freezes = [part for freeze in freezes for part in _divided(freeze, cuts)]
    kept: list[Piece] = []
    ends = [freeze.end for freeze in freezes]
    for piece in pieces:
        first = piece.first
        for freeze in freezes[bisect_right(ends, first) :]:
            if freeze.first >= piece.end:
                break
            if freeze.first > first:
                kept.append(replace(piece, first=first, end=freeze.first))
            first = min(freeze.end, piece.end)
        if first < piece.end:
            kept.append(replace(piece, first=first))
    for freeze in freezes:
        low, high = np.searchsorted(step_ranks, [freeze.first, freeze.end])
        low = min(int(low), len(change_s) - 1)
        usual = float(np.median(change_s[low : max(int(high), low + 1)]))
        kept.append(Piece(freeze.first, freeze.end, usual, freeze))
    return sorted(kept, key=lambda piece: piece.first)


def _divided(freeze: Freeze, cuts: Sequence[int]) -> list[Freeze]:
    """Divide a stretch at the cuts inside its core."""
    low, high = bisect_right(cuts, freeze.core_first), bisect_left(cuts, freeze.core_end)
    inner = cuts[low:high]
    firsts, ends = [freeze.first, *inner], [*inner, freeze.end]
    core_firsts, core_ends = [freeze.core_first, *inner], [*inner, freeze.core_end]
    bounds = zip(firsts, ends, core_firsts, core_ends, strict=True)
    return [Freeze(*each, is_blank=freeze.is_blank) for each in bounds]


def _split_shot(
    times_s: npt.NDArray[np.float64],
    ranks: npt.NDArray[np.int64],
    change_s: npt.NDArray[np.float64],
    first: int,
    end: int,
) -> list[Piece]:
    paces = np.searchsorted(_PACES_S, _calm(times_s[ranks], change_s))
    starts = [0, *(np.flatnonzero(np.diff(paces)) + 1).tolist()]
    bounds = [first, *(int(ranks[start]) for start in starts[1:]), end]
    runs = [(bounds[place], bounds[place + 1], starts[place]) for place in range(len(starts))]
    merged: list[tuple[int, int, int]] = []
    end_s = float(times_s[-1])
    for run in runs:
        stop_s = float(times_s[run[1]]) if run[1] < len(times_s) else end_s
        is_short = stop_s - float(times_s[run[0]]) < MIN_PACE_S
        is_like = bool(merged) and paces[merged[-1][2]] == paces[run[2]]
        if merged and (is_short or is_like):
            merged[-1] = (merged[-1][0], run[1], merged[-1][2])
        else:
            merged.append(run)
    pieces = []
    for low, high, _ in merged:
        inside = change_s[np.searchsorted(ranks, low) : np.searchsorted(ranks, high)]
        usual = float(np.median(inside)) if len(inside) else float(change_s[0])
        pieces.append(Piece(low, high, usual))
    return pieces


def _calm(
    times_s: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Medians over `MIN_PACE_S` around each step, so that a moment makes no segment."""
    low = np.searchsorted(times_s, times_s - MIN_PACE_S / 2)
    high = np.searchsorted(times_s, times_s + MIN_PACE_S / 2, side="right")
    return np.asarray([np.median(values[a:b]) for a, b in zip(low, high, strict=True)], np.float64)


_JUMP_LEVELS: Final = 8.0
"""Least mean change of all blocks that makes another picture."""

_JUMP: Final = 4.0
"""By how much a jump exceeds the changes between the looks before it."""

_BEFORE: Final = 8
"""Looks before a jump with which it is compared."""

_BACK: Final = 0.3
"""Share of a jump up to which the picture counts as it was before."""

_BACK_S: Final = 2.0
"""Longest time after which a picture that comes back makes what was between a flash."""

_FAR_S: Final = 0.6
"""Time from which the look before is no neighbour: nobody knows when the picture changed."""

_FLOOR_LEVELS: Final = 0.3
"""Least usual change: below it lies rounding."""


@dataclass(frozen=True, eq=False)
class _Jump:
    """One jump: the first look after it, its time, its size, and the means just before."""

    rank: int
    time_s: float
    levels: float
    strength: float
    before: Floats


class FlashFinder:
    """Finds flashes in looks as they come; `events` grows as they do."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._last: Floats | None = None
        self._last_s = float("-inf")
        self._moved: deque[float] = deque(maxlen=_BEFORE)
        self._open: _Jump | None = None

    def see(self, rank: int, time_s: float, means: Floats) -> None:
        """Takes one look.

        Args:
            rank: of the frame.
            time_s: of the frame.
            means: of its blocks.
        """
        before, self._last = self._last, means
        elapsed_s, self._last_s = time_s - self._last_s, time_s
        if before is None or elapsed_s > _FAR_S:
            self._open = None
            self._moved.clear()
            return
        moved = float(np.abs(means - before).mean())
        usual = max(float(np.median(self._moved)) if self._moved else 0.0, _FLOOR_LEVELS)
        self._moved.append(moved)
        jumps = moved > max(_JUMP_LEVELS, _JUMP * usual)
        started = self._open
        if started is not None and time_s - started.time_s <= _BACK_S:
            if float(np.abs(means - started.before).mean()) < _BACK * started.levels:
                self.events.append(Event(started.rank, started.strength, rank, 1.0))
                self._open = None
            return
        self._open = _Jump(rank, time_s, moved, moved / usual, before) if jumps else None


def with_flashes(events: list[Event], flashes: list[Event]) -> list[Event]:
    """Events and flashes in order, without what was new only because a flash came and went.

    Args:
        events: what is new in parts of the picture, in order.
        flashes: those found, with their ends, in order.
    """
    kept = [
        event
        for event in events
        if not any(flash.rank <= event.rank <= (flash.end_rank or 0) for flash in flashes)
    ]
    return sorted([*kept, *flashes], key=lambda event: event.rank)


def join_shots(
    shots: Sequence[Span], times: Sequence[Fraction], *, shortest: Fraction, most: int
) -> list[Span]:
    """Join shots that are too short, hold no frame, or are too many.

    The shortest goes first, to the shorter of its neighbours, so that what remains is even.

    Args:
        shots: spans that follow one another without gaps; at least one.
        times: presentation times of the video's frames, increasing.
        shortest: a shot below this length is joined to a neighbour.
        most: most spans to keep; at least 1.

    Returns:
        At least one span; together they cover what ``shots`` cover.
    """
    spans = list(shots)
    lengths_s = [_length_s(span, times) for span in spans]
    while len(spans) > 1:
        index = lengths_s.index(min(lengths_s))
        if lengths_s[index] >= shortest and len(spans) <= most:
            break
        last = len(spans) - 1
        into_next = index == 0 or (index < last and lengths_s[index + 1] < lengths_s[index - 1])
        first = index if into_next else index - 1
        joined = Span(spans[first].start, spans[first + 1].end)
        spans[first : first + 2] = [joined]
        lengths_s[first : first + 2] = [_length_s(joined, times)]
    return spans


def inside(times: Sequence[Fraction], span: Span) -> range:
    """Indices of the times that lie in the span."""
    return range(bisect_left(times, span.start), bisect_left(times, span.end))


def _length_s(span: Span, times: Sequence[Fraction]) -> float:
    """Length of a span, 0 for one without a frame. A float: it only ranks, and a film has many."""
    return float(span.end - span.start) if inside(times, span) else 0.0
