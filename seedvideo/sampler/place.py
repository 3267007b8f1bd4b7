"""Placement: which frames of a segment carry out what it was granted, and why each of them.

Coverage frames stay where they are, and peaks get what they were granted. Other frames go to the
start of the shot, then where they divide the rest evenly by a measure that is half flat and half
novelty (the inverse of its running sum), so that no gap grows beyond twice an even one. Every frame
is one of the video's own. Knows no budget. Times are exact seconds, floats only where they steer a
search.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.allocate import Grant
from seedvideo.sampler.demand import Demand, Still
from seedvideo.sampler.offers import Level
from seedvideo.sampler.parts import Role
from seedvideo.sampler.spots import Spot

Floats = npt.NDArray[np.float64]

FLOOR: Final = 0.5
"""Share of the measure that is flat, whatever the novelty: bounds every gap."""

_SHOT_START_FROM: Final = 3
"""Added frames of a segment from which one goes to the first frame of its shot.

A shot with fewer is told better by frames from within.
"""


@dataclass(frozen=True)
class Place:
    """One chosen frame.

    Args:
        position: which of the video's frames.
        level: its size.
        why: why it was taken, in a few words, without the size.
        role: what it is for.
        is_coverage: whether it is a frame of the coverage grid.
        moved_from: where it was before it was moved to a keyframe, if it was.
    """

    position: int
    level: Level
    why: str
    role: Role
    is_coverage: bool
    moved_from: int | None = None


class Measure:
    """How much each moment of a segment counts when frames are spread over it.

    Its mean over the segment is 1 and it is nowhere below `FLOOR`; without novelty it is flat.
    """

    def __init__(self, demand: Demand) -> None:
        steps = demand.density or ((demand.start, 1.0),)
        edges = [float(time) for time, _ in steps] + [float(demand.end)]
        lengths = np.diff(edges)
        weights = np.asarray([weight for _, weight in steps], np.float64)
        # Divided by the largest first, so that no weight is too large or too small to be squared.
        weights = weights / weights.max() if weights.max() > 0 else np.ones_like(weights)
        mean = float(lengths @ weights) / demand.length_s
        masses = lengths * (FLOOR + (1 - FLOOR) * weights / mean)
        self._edges: Floats = np.asarray(edges, np.float64)
        self._sums: Floats = np.concatenate(([0.0], np.cumsum(masses)))

    @property
    def total(self) -> float:
        """Measure of the whole segment: its length."""
        return float(self._sums[-1])

    def until(self, time_s: float) -> float:
        """Measure from the segment's start to a moment."""
        return float(np.interp(time_s, self._edges, self._sums))

    def moment_s(self, measure: float) -> float:
        """Where the measure from the segment's start reaches a value."""
        return float(np.interp(measure, self._sums, self._edges))


def place(
    demand: Demand,
    grant: Grant,
    *,
    times: Sequence[Fraction],
    span: range,
    coverage: Sequence[int],
    coverage_level: Level,
    spots: Sequence[Spot] = (),
) -> tuple[Place, ...]:
    """Choose the frames of one segment.

    Args:
        demand: the segment's needs.
        grant: what it was granted.
        times: times of all frames of the video, strictly increasing.
        span: positions of the frames that lie in the segment.
        coverage: positions of the coverage frames that lie in the segment, increasing.
        coverage_level: their size.
        spots: the segment's peaks, as the grant counts them.

    Returns:
        In order of time; all coverage frames are among them, and those of the spots that got one.
        At most ``grant.added`` more: where a shot's first frame is there already, none is added.
    """
    room = _Room(times, span, coverage, coverage_level, grant.level)
    measure = Measure(demand)
    for spot, level in zip(spots, grant.at_spots, strict=True):
        if level is not None:
            room.take(spot.position, level, spot.told(), role="event")
    if demand.still is None:
        lifted = _evenly(coverage, grant.lifted, measure=measure, times=times)
    else:
        lifted = middle_of_core(coverage, demand.still, times)[: grant.lifted]
    for position in lifted:
        room.take(position, grant.level, "coverage, enlarged", role="coverage")
    spread = grant.added
    if spread and demand.still is not None and demand.still.core is not None:
        core = demand.still.core
        middle = room.nearest_free(float(core.start + core.end) / 2)
        room.take(middle, grant.level, "one frame of a frozen picture", role="spread")
        spread -= 1
    if spread >= _SHOT_START_FROM and demand.starts_shot:
        room.take(span.start, grant.level, "first frame of a shot", role="shot")
        spread -= 1
    for moment_s in _moments(room, measure, spread):
        room.take(room.nearest_free(moment_s), grant.level, "spread", role="spread")
    return room.places()


def middle_of_core(positions: Sequence[int], still: Still, times: Sequence[Fraction]) -> list[int]:
    """Return the position nearest to the middle of the core of a still picture, if one lies in it.

    Args:
        positions: increasing.
        still: the picture.
        times: times of all frames of the video.
    """
    core = still.core
    if core is None:
        return []
    middle = (core.start + core.end) / 2
    inside = [each for each in positions if core.start <= times[each] < core.end]
    return sorted(inside, key=lambda each: abs(times[each] - middle))[:1]


class _Room:
    """The frames of one segment, and which of them are taken."""

    def __init__(
        self,
        times: Sequence[Fraction],
        positions: range,
        coverage: Sequence[int],
        coverage_level: Level,
        level: Level,
    ) -> None:
        self.times = times
        self.positions = positions
        self.coverage = list(coverage)
        self.level = level
        self.is_finer = level.tokens > coverage_level.tokens
        self._taken = {
            position: Place(position, coverage_level, "coverage", "coverage", is_coverage=True)
            for position in coverage
        }

    def take(self, position: int, level: Level, why: str, *, role: Role) -> None:
        """Take a frame, or enlarge it where it is taken already."""
        known = self._taken.get(position)
        if known is None:
            self._taken[position] = Place(position, level, why, role, is_coverage=False)
        elif known.level.tokens < level.tokens:
            self._taken[position] = replace(known, level=level, why=why, role=role)

    def is_taken(self, position: int) -> bool:
        return position in self._taken

    def nearest_free(self, moment_s: float) -> int:
        """The frame nearest to a moment that is not taken; the earlier one of two."""
        start, stop = self.positions.start, self.positions.stop
        after = bisect_left(self.times, moment_s, lo=start, hi=stop, key=float)
        before = after - 1
        while before >= start and self.is_taken(before):
            before -= 1
        while after < stop and self.is_taken(after):
            after += 1
        if before < start:
            return after
        if after >= stop:
            return before
        to_before = moment_s - float(self.times[before])
        return before if to_before <= float(self.times[after]) - moment_s else after

    def fixed_s(self) -> list[float]:
        """Times of the frames between which others are spread: those of their own size or finer."""
        return [
            float(self.times[position])
            for position, taken in sorted(self._taken.items())
            if taken.level.tokens >= self.level.tokens
        ]

    def coverage_s(self) -> list[float]:
        return [float(self.times[position]) for position in self.coverage]

    def places(self) -> tuple[Place, ...]:
        return tuple(place for _, place in sorted(self._taken.items()))


def _evenly(
    positions: Sequence[int], count: int, *, measure: Measure, times: Sequence[Fraction]
) -> list[int]:
    """``count`` of some positions, spread evenly by the measure."""
    if count == len(positions):
        return list(positions)
    sums = [measure.until(float(times[position])) for position in positions]
    chosen: list[int] = []
    low = 0
    for index in range(count):
        target = (index + 0.5) / count * measure.total
        # Enough must be left for those that follow.
        high = len(positions) - (count - index) + 1
        nearest = min(range(low, high), key=lambda each: abs(sums[each] - target))
        chosen.append(positions[nearest])
        low = nearest + 1
    return chosen


def _moments(room: _Room, measure: Measure, count: int) -> list[float]:
    """``count`` moments that part the measure evenly between the frames that are fixed."""
    if count == 0:
        return []
    gaps = room.coverage_s()
    fixed = room.fixed_s()
    if not (room.is_finer and count < len(gaps)):
        return _parted(fixed, measure, count)
    # Few large frames among many small ones: each goes to the middle between two of the small.
    moments = []
    used: set[int] = set()
    for moment_s in _parted(fixed, measure, count):
        gap = bisect_right(gaps, moment_s)
        if 0 < gap < len(gaps) and gap not in used:
            used.add(gap)
            moment_s = (gaps[gap - 1] + gaps[gap]) / 2
        moments.append(moment_s)
    return moments


def _parted(fixed_s: Sequence[float], measure: Measure, count: int) -> list[float]:
    """Moments that part the gaps between fixed ones, the largest gap first.

    A part next to an end of the segment without a frame counts half: the next segment's frames
    share it. No part exceeds the total measure divided by ``count``.
    """
    sums = sorted({measure.until(time_s) for time_s in fixed_s})
    edges = [0.0, *sums, measure.total]
    gaps = [
        (low, high - low, (index == 0) + (index == len(sums)))
        for index, (low, high) in enumerate(pairwise(edges))
    ]
    points = [0] * len(gaps)

    def part(index: int) -> float:
        _, mass, ends = gaps[index]
        parts = points[index] + 1 - ends / 2
        return mass / parts if parts else np.inf

    queue = [(-part(index), index) for index in range(len(gaps))]
    heapq.heapify(queue)
    for _ in range(count):
        _, index = queue[0]
        points[index] += 1
        heapq.heapreplace(queue, (-part(index), index))
    moments = []
    for index, (low, _, ends) in enumerate(gaps):
        # The first point lies half a part in where the gap begins at an open end.
        lead = 0.5 if index == 0 and ends else 1.0
        moments += [
            measure.moment_s(low + part(index) * (lead + step)) for step in range(points[index])
        ]
    return moments
