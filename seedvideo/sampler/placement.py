"""Placement: which frames of a segment carry out what it was granted, and why each of them.

Coverage frames stay where they are, and peaks get what they were granted. Other frames go to the
start of the shot, then where they divide the rest evenly by a measure that is half flat and half
novelty (the inverse of its running sum), so that no gap grows beyond twice an even one. Every frame
is one of the video's own. Knows no budget. Times are exact seconds, floats only where they steer a
search.

Frames of calm spans, moved to a keyframe near by where that saves decoding.

Where nothing happens it matters little which of two near frames is shown; but a keyframe is one
picture to decode, and the frame before it a whole group. A frame may move by a quarter of the way
to its nearer neighbour, so that no gap grows or shrinks by more than half; by a quarter of the time
in which the picture changes, so that it shows what it was taken for; and only within its segment,
so over no cut and no event. Frames that the analysis chose stay, and so do the ends of a plan.
Knows no sizes; times are exact seconds.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.allocation import Grant, Level
from seedvideo.sampler.geometry import time_text
from seedvideo.sampler.request import DecodeCosts, Request
from seedvideo.sampler.types import Decoding, Role
from seedvideo.sampler.utility import Demand, Spot, Still

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


Places = tuple[tuple[Place, ...], ...]
"""The frames of each segment, in order of time."""

TOLERANCE: Final = Fraction(1, 4)
"""Share of the local spacing by which a frame may move. Two neighbours that both move away widen
their gap by half; no gap was wider than the coverage grid's, so none gets wider than 1.5 of those.
"""

LEAST_SAVED: Final = 4
"""Packets that each move must save: to drain a decoder and start anew costs about as much."""

_MAY_MOVE: Final[tuple[Role, ...]] = ("coverage", "spread")


@dataclass(frozen=True)
class _Way:
    """The cheapest choice for all frames up to one.

    Args:
        cost: packets, and `LEAST_SAVED` for each move.
        shift: how far frames have moved in all, in seconds.
        reached: place behind the last packet that is decoded.
        chosen: position of the last frame.
        before: the choice for the frames before it.
    """

    cost: int
    shift: Fraction
    reached: int
    chosen: int
    before: "_Way | None"

    def positions(self) -> list[int]:
        """Of all frames, in order of time."""
        way: _Way | None = self
        found = []
        while way is not None:
            found.append(way.chosen)
            way = way.before
        return found[::-1]


def to_keyframes(
    request: Request, places: Places, *, demands: Sequence[Demand], spans: Sequence[range]
) -> Places:
    """Move frames of calm segments to keyframes where that saves decoding.

    Args:
        request: what was asked. Where it knows no costs, nothing is moved.
        places: the frames of each segment, in order of time; at least one in all.
        demands: the segments.
        spans: positions of the frames that lie in each.

    Returns:
        The same frames in the same order, some of them moved; none has a dearer text.
    """
    costs, times = request.costs, request.times
    if costs is None:
        return places
    options = list(_options(request, places, demands, spans, costs))
    stays = [each[0] for each in options]
    moved = _cheapest(options, times, costs).positions()
    # Where pictures are stored in another order than shown, the walk may count some twice.
    moves = sum(before != after for before, after in zip(stays, moved, strict=True))
    if costs.of(moved) + LEAST_SAVED * moves > costs.of(stays):
        moved = stays
    target = dict(zip(stays, moved, strict=True))
    return tuple(tuple(_moved(each, target[each.position]) for each in inside) for inside in places)


def decoding_of(costs: DecodeCosts, places: Places) -> Decoding:
    """What frames cost to decode, and what moving some of them saved."""
    every = [each for inside in places for each in inside]
    pictures = costs.of(each.position for each in every)
    unmoved = [each.position if each.moved_from is None else each.moved_from for each in every]
    return Decoding(
        pictures=pictures,
        video_pictures=costs.video_frames,
        moved_frames=sum(each.moved_from is not None for each in every),
        saved_pictures=costs.of(unmoved) - pictures,
    )


def _moved(place: Place, position: int) -> Place:
    if position == place.position:
        return place
    return replace(place, position=position, moved_from=place.position)


def _options(
    request: Request,
    places: Places,
    demands: Sequence[Demand],
    spans: Sequence[range],
    costs: DecodeCosts,
) -> Iterator[tuple[int, ...]]:
    """For each frame where it may go: where it is, and the nearest keyframes in reach."""
    times = request.times
    keys = costs.keyframes.tolist()

    def text_tokens(position: int) -> int:
        return request.text_tokens(time_text(times[position]))

    frames = [
        (each, demand, span)
        for inside, demand, span in zip(places, demands, spans, strict=True)
        for each in inside
    ]
    for (each, demand, span), reach in zip(frames, _reaches(places, demands, times), strict=True):
        here, now = each.position, times[each.position]
        at = bisect_left(keys, here)
        may_move = demand.is_calm and each.role in _MAY_MOVE
        near = [
            key
            for key in keys[max(0, at - 1) : at + 1]
            if may_move
            and key != here
            and key in span
            and _shows_the_same(demand, here=times[here], there=times[key])
            and abs(times[key] - now) <= reach
            and text_tokens(key) <= text_tokens(here)
        ]
        yield (here, *near)


def _shows_the_same(demand: Demand, *, here: Fraction, there: Fraction) -> bool:
    """Whether a frame of a frozen picture stays one where it is moved."""
    if demand.still is None or demand.still.core is None:
        return True
    core = demand.still.core
    return not core.start <= here < core.end or core.start <= there < core.end


def _reaches(
    places: Places, demands: Sequence[Demand], times: Sequence[Fraction]
) -> list[Fraction]:
    """How far each frame may move in seconds, whatever its neighbours do; 0 for the ends."""
    every = [each for inside in places for each in inside]
    moments = [times[each.position] for each in every]
    # Both ways to a neighbour count, so that two frames never meet; the ends stay.
    rooms = [Fraction(0), *(later - earlier for earlier, later in pairwise(moments)), Fraction(0)]
    pictures = [
        Fraction(demand.picture_s)
        for inside, demand in zip(places, demands, strict=True)
        for _ in inside
    ]
    return [
        TOLERANCE * min(before, after, picture)
        for (before, after), picture in zip(pairwise(rooms), pictures, strict=True)
    ]


def _cheapest(
    options: Sequence[tuple[int, ...]], times: Sequence[Fraction], costs: DecodeCosts
) -> _Way:
    """One position for each frame, so that least is decoded; of equal choices the nearest."""
    ways: list[_Way | None] = [None]
    for choices in options:
        ways = [
            min(
                (_next(way, choices[0], choice, times, costs) for way in ways),
                key=lambda way: (way.cost, way.shift),
            )
            for choice in choices
        ]
    return min((way for way in ways if way is not None), key=lambda way: (way.cost, way.shift))


def _next(
    way: _Way | None, here: int, choice: int, times: Sequence[Fraction], costs: DecodeCosts
) -> _Way:
    first, after = costs.span(choice)
    cost, shift, reached = (
        (0, Fraction(0), 0) if way is None else (way.cost, way.shift, way.reached)
    )
    return _Way(
        cost=cost + max(0, after - max(first, reached)) + LEAST_SAVED * (choice != here),
        shift=shift + abs(times[choice] - times[here]),
        reached=max(reached, after),
        chosen=choice,
        before=way,
    )
