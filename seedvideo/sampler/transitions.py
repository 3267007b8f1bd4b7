"""Changes of shots: cuts that are confirmed, and gradual transitions (dissolves and fades).

`seedvideo.sampler.shots.ShotDetector` compares neighbouring thumbnails, so it misses dissolves and
takes flashes and changes of the light for cuts. Here thumbnails up to three seconds apart are
compared, as small grids of block means.

A **gradual transition** is a window whose ends show different pictures, ``A`` and ``B``, and whose
inner thumbnails are mixtures ``a * A + b * B + c``: ``a`` falls from 1 to 0 and ``b`` rises from 0
to 1, in small steps. In a dissolve both change together, in a fade one after the other. A moving
camera also ends at another picture, but what it shows on the way is not a mixture, and it mostly
moves before and after the window too.

A **cut is dropped** if the light changes there, but the structure of the picture before it is there
again within a moment: a flash, or a lamp that is switched on.

The plan's segments use the unconfirmed cuts, whose order of magnitude matters more there than
their meaning; shots, dense captions and clips use the changes of this module.

Frames are identified by their index in presentation order; times are float seconds.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.block_features import Floats

SHOTS_VERSION: Final = 3
"""Version of the shots; raise it whenever the same video would have others. In version 1 they were
the unconfirmed cuts; in version 2, cuts less than 15 frames after another were missed."""

_GRID: Final = (16, 9)
"""Columns and rows of the grids that are compared: a slow camera moves little in them."""

_INTERVAL_S: Final = 0.075
"""Minimum time between two thumbnails: more of them change nothing."""

_MAX_STEP_S: Final = 0.3
"""Maximum time between two thumbnails of a window."""

_HALVES_S: Final = (0.24, 0.4, 0.64, 1.0, 1.5)
"""Halves of the windows: transitions of a quarter of a second to three seconds fit into one."""

_MIN_WINDOW: Final = 4
"""Minimum thumbnails of a window: both ends and two mixtures."""

_SIDE: Final = 0.5
"""Time before and after a window in which other motion is measured, as a fraction of its half."""

_MIN_PICTURE_LEVELS: Final = 3.0
"""Minimum deviation of a grid, in grey levels, that is a picture and not blank."""

_MAX_DARK_LEVELS: Final = 24.0
"""Maximum grey level of a dark cell. A cell that stays dark, as beside a wide picture, does not
count."""

_MIN_PICTURE_FRACTION: Final = 0.25
"""Minimum fraction of the cells that are part of a picture."""

_MAX_LIKENESS: Final = 0.5
"""Maximum correlation of the pictures at both ends. Made transitions reach 0.42; zooms by 1.9 begin
at 0.51."""

_MAX_DOUBT: Final = 0.2
"""Maximum sum of two fractions: the variance of an inner thumbnail that is not a mixture, and the
change beside the window in relation to that inside. In made films transitions have up to 0.18, and
camera motion from 0.23."""

_FLOOR_LEVELS2: Final = 16.0
"""Variance of a grid, in squared grey levels, below which noise dominates."""

_MAX_STEP: Final = 0.7
"""Maximum change of a weight between two thumbnails; at a cut it is 1."""

_MAX_REVERSAL: Final = 0.2
"""Maximum change of a weight in the wrong direction."""

_MOSTLY, _PARTLY = 0.8, 0.4
"""Weights of a picture between which its transition is fast; motion alone changes higher ones."""

_SAME_LIKENESS: Final = 0.9
"""Minimum correlation of two thumbnails of one picture in another light."""

_LIGHT_LEVELS: Final = 8.0
"""Minimum change of the mean grey level that is a change of the light."""

_AROUND_CUT_S: Final = 0.7
"""Time before and after a cut in which the same picture is looked for."""

_NEAR_S: Final = 0.3
"""Time around a gradual transition in which a cut belongs to it."""

_REACH_S: Final = (1 + _SIDE) * max(_HALVES_S)
"""Time around the centre of a window that is compared."""

_KEPT_S: Final = 2 * _REACH_S + _AROUND_CUT_S
"""Time for which thumbnails are kept."""


@dataclass(frozen=True)
class FrameChange:
    """A change of shots by frame index.

    Args:
        frame: first frame of the new shot.
        first: first frame that mixes both shots; ``frame`` for a cut.
        end: index after the last such frame; ``frame`` for a cut.
    """

    frame: int
    first: int
    end: int


@dataclass(frozen=True)
class ShotChange:
    """A change of shots in exact seconds.

    Args:
        time: time of the first frame of the new shot.
        start: time of the first frame that mixes both shots; ``time`` for a cut.
        end: time of the first frame that shows only the new shot; ``time`` for a cut.
    """

    time: Fraction
    start: Fraction
    end: Fraction


@dataclass(frozen=True, eq=False)
class _Thumbnail:
    """One thumbnail, or a part of its cells.

    Args:
        frame_index: index of the frame.
        time_s: time of the frame.
        levels: grey levels of the cells.
        grid: the same without their mean.
        deviation: deviation of the cells in grey levels.
    """

    frame_index: int
    time_s: float
    levels: Floats
    grid: Floats
    deviation: float

    @classmethod
    def of(cls, frame_index: int, time_s: float, levels: Floats) -> Self:
        """Return the thumbnail with these grey levels."""
        grid = levels - levels.mean(dtype=np.float32)
        return cls(frame_index, time_s, levels, grid, float(grid.std()))

    def part(self, cells: npt.NDArray[np.bool_]) -> "_Thumbnail":
        """Return some of its cells."""
        return _Thumbnail.of(self.frame_index, self.time_s, self.levels[cells])


@dataclass(frozen=True)
class _Gradual:
    """One gradual transition.

    Args:
        start_s: time of its first frame.
        middle_s: time at which half of it is over.
        end_s: time after its last frame.
        doubt: see `_MAX_DOUBT`.
    """

    start_s: float
    middle_s: float
    end_s: float
    doubt: float


class TransitionDetector:
    """Streaming detector; `finish` returns the changes.

    Args:
        grid: rows and columns of the blocks of a thumbnail.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        self._rows, self._columns = grid
        self._kept: deque[_Thumbnail] = deque()
        self._next_s = float("-inf")
        """Time from which a thumbnail is the centre of windows."""
        self._gradual: list[_Gradual] = []
        self._waiting: deque[int] = deque()
        """Cuts that are not confirmed yet."""
        self._cuts: list[tuple[int, float]] = []
        self._known_cuts = 0

    def update(
        self, frame_index: int, time_s: float, features: Floats, cuts: Sequence[int]
    ) -> None:
        """Add one thumbnail.

        Args:
            frame_index: index of the frame.
            time_s: time of the frame.
            features: `seedvideo.sampler.block_features.block_features` of it.
            cuts: all cuts so far; they come shortly after their frames.
        """
        self._waiting.extend(cuts[self._known_cuts :])
        self._known_cuts = len(cuts)
        if self._kept and time_s - self._kept[-1].time_s < _INTERVAL_S:
            return
        self._kept.append(self._thumbnail(frame_index, time_s, features))
        self._confirm(until_s=time_s - _AROUND_CUT_S)
        self._scan(until_s=time_s - _REACH_S)
        while self._kept[0].time_s < time_s - _KEPT_S:
            self._kept.popleft()

    def skip_unknown(self, cuts: Sequence[int]) -> None:
        """Forget the thumbnails before time that was not inspected.

        Args:
            cuts: all cuts so far.
        """
        self._flush(cuts)
        self._kept.clear()

    def finish(
        self, cuts: Sequence[int], times_s: npt.NDArray[np.float64]
    ) -> tuple[FrameChange, ...]:
        """Return all changes in order.

        Args:
            cuts: all cuts.
            times_s: times of all frames.
        """
        self._flush(cuts)
        changes = []
        for each in self._gradual:
            places = np.searchsorted(times_s, [each.start_s, each.middle_s, each.end_s])
            first, frame, end = np.minimum(places, len(times_s) - 1).tolist()
            changes.append(FrameChange(frame, first, end))
        for frame_index, time_s in self._cuts:
            if not any(
                each.start_s - _NEAR_S <= time_s <= each.end_s + _NEAR_S for each in self._gradual
            ):
                changes.append(FrameChange(frame_index, frame_index, frame_index))
        return tuple(sorted(changes, key=lambda change: change.frame))

    def _flush(self, cuts: Sequence[int]) -> None:
        """Confirm the waiting cuts and scan to the end of the known time."""
        self._waiting.extend(cuts[self._known_cuts :])
        self._known_cuts = len(cuts)
        self._confirm(until_s=float("inf"))
        self._scan(until_s=float("inf"))

    def _thumbnail(self, frame_index: int, time_s: float, features: Floats) -> _Thumbnail:
        import cv2  # Heavy; only needed for decoded pictures.

        blocks = self._rows * self._columns
        means = features[:blocks].reshape(self._rows, self._columns)
        size = (min(_GRID[0], self._columns), min(_GRID[1], self._rows))
        levels = cv2.resize(means, size, interpolation=cv2.INTER_AREA).reshape(-1)
        return _Thumbnail.of(frame_index, time_s, levels.astype(np.float32, copy=False))

    def _confirm(self, *, until_s: float) -> None:
        """Keep the waiting cuts before a time that are not changes of the light."""
        while self._waiting and self._kept:
            cut = self._waiting[0]
            indices = [each.frame_index for each in self._kept]
            place = bisect_left(indices, cut)
            if place == len(indices):
                if until_s < float("inf"):
                    return
                place -= 1
            time_s = self._kept[place].time_s
            if time_s > until_s:
                return
            self._waiting.popleft()
            around = [each for each in self._kept if abs(each.time_s - time_s) <= _AROUND_CUT_S]
            before = [each for each in around if each.frame_index < cut]
            after = [each for each in around if each.frame_index >= cut]
            if not _is_same_picture(before, after):
                self._cuts.append((cut, time_s))
        if until_s == float("inf"):
            self._waiting.clear()

    def _scan(self, *, until_s: float) -> None:
        """Look for transitions in the windows around each thumbnail up to a time."""
        kept = list(self._kept)
        times = [each.time_s for each in kept]
        for centre in range(bisect_left(times, self._next_s), bisect_right(times, until_s)):
            self._next_s = times[centre] + _EPSILON_S
            for half_s in _HALVES_S:
                low, high = _bounds(times, times[centre], half_s)
                if low < 0 or high == len(kept):
                    break
                outer_low, outer_high = _bounds(times, times[centre], (1 + _SIDE) * half_s)
                sides = kept[max(outer_low, 0)], kept[min(outer_high, len(kept) - 1)]
                found = _find_transition(kept[low : high + 1], sides)
                if found is not None:
                    self._add(found)

    def _add(self, found: _Gradual) -> None:
        """Add a transition, or extend the last one, which several windows show."""
        last = self._gradual[-1] if self._gradual else None
        if last is None or found.start_s > last.end_s:
            self._gradual.append(found)
            return
        self._gradual[-1] = _Gradual(
            start_s=min(last.start_s, found.start_s),
            middle_s=min(last, found, key=lambda each: each.doubt).middle_s,
            end_s=max(last.end_s, found.end_s),
            doubt=min(last.doubt, found.doubt),
        )


_EPSILON_S: Final = 1e-6
"""Difference up to which two float times are the same."""


def _bounds(times: Sequence[float], centre_s: float, half_s: float) -> tuple[int, int]:
    """Return the last thumbnail before a window and the first one after it, by their places."""
    low = bisect_right(times, centre_s - half_s + _EPSILON_S) - 1
    return low, bisect_left(times, centre_s + half_s - _EPSILON_S)


def _find_transition(
    window: Sequence[_Thumbnail], sides: tuple[_Thumbnail, _Thumbnail]
) -> _Gradual | None:
    """Return the transition that a window shows; None if it shows none.

    Args:
        window: thumbnails of the window, rising.
        sides: one thumbnail before it and one after it.
    """
    if len(window) < _MIN_WINDOW:
        return None
    cells = _picture_cells((window[0], window[-1]))
    if cells is None:
        return None
    if not cells.all():
        window = [each.part(cells) for each in window]
        sides = sides[0].part(cells), sides[1].part(cells)
    before, after, inner = window[0], window[-1], window[1:-1]
    if min(before.deviation, after.deviation) < _MIN_PICTURE_LEVELS:
        return None
    likeness = _likeness(before, after)
    if likeness > _MAX_LIKENESS:
        return None
    unlike = [1 - _likeness(sides[0], before), 1 - _likeness(after, sides[1])]
    doubt = max(unlike) / (1 - likeness)
    if doubt > _MAX_DOUBT:
        return None
    times = [each.time_s for each in window]
    if max(b - a for a, b in pairwise(times)) > _MAX_STEP_S:
        return None
    weights, unexplained = _mixture(before.grid, after.grid, np.stack([e.grid for e in inner]))
    if doubt + unexplained > _MAX_DOUBT:
        return None
    old = np.concatenate([[1.0], weights[0], [0.0]])
    new = np.concatenate([[0.0], weights[1], [1.0]])
    falls, rises = -np.diff(old), np.diff(new)
    if max(falls.max(), rises.max()) > _MAX_STEP or min(falls.min(), rises.min()) < -_MAX_REVERSAL:
        return None
    start_s, old_half_s = _begin(times, 1 - old)
    end_s, new_half_s = _begin([-time_s for time_s in reversed(times)], 1 - new[::-1])
    return _Gradual(start_s, (old_half_s - new_half_s) / 2, -end_s, doubt + unexplained)


def _begin(times: Sequence[float], passed: npt.NDArray[Any]) -> tuple[float, float]:
    """Return when a rise from 0 to 1 begins, and when half of it is over.

    The begin follows from the steep part: motion also changes the first values a little.
    """
    some_s, more_s, half_s = (
        float(np.interp(level, np.maximum.accumulate(passed), times))
        for level in (1 - _MOSTLY, 1 - _PARTLY, 0.5)
    )
    return max(times[0], some_s - (more_s - some_s) * (1 - _MOSTLY) / (_MOSTLY - _PARTLY)), half_s


def _mixture(old: Floats, new: Floats, grids: Floats) -> tuple[npt.NDArray[Any], float]:
    """Explain grids ``(N, B)`` as mixtures of two.

    Returns:
        The weights ``(2, N)`` of both, and the largest fraction of a variance that is left.
    """
    ends = np.stack([old, new]).astype(np.float64)
    weights = np.linalg.solve(ends @ ends.T + 1e-3 * np.eye(2), ends @ grids.T)
    left = grids - weights.T @ ends
    variances = np.maximum((grids**2).mean(axis=1), _FLOOR_LEVELS2)
    return weights, float(((left**2).mean(axis=1) / variances).max())


def _picture_cells(thumbnails: Sequence[_Thumbnail]) -> npt.NDArray[np.bool_] | None:
    """Return the cells that are not dark in all thumbnails; None if they are too few."""
    brightest = np.maximum.reduce([each.levels for each in thumbnails])
    cells: npt.NDArray[np.bool_] = brightest > _MAX_DARK_LEVELS
    return cells if cells.mean() >= _MIN_PICTURE_FRACTION else None


def _is_same_picture(before: Sequence[_Thumbnail], after: Sequence[_Thumbnail]) -> bool:
    """Return whether thumbnails around a cut show one picture in changing light."""
    cells = _picture_cells([*before, *after]) if before and after else None
    if cells is None:
        return False
    old, new = ([each.part(cells) for each in side] for side in (before, after))
    means = [float(each.levels.mean()) for each in (*old, *new)]
    if max(means) - min(means) < _LIGHT_LEVELS:
        return False
    return any(
        _likeness(one, other) >= _SAME_LIKENESS
        for one in old
        for other in new
        if min(one.deviation, other.deviation) >= _MIN_PICTURE_LEVELS
    )


def _likeness(one: _Thumbnail, other: _Thumbnail) -> float:
    """Return the correlation of two thumbnails."""
    scale = one.deviation * other.deviation * len(one.grid)
    return float(one.grid @ other.grid) / max(1e-6, scale)
