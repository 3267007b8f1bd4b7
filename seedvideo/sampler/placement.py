"""Frame placement: which frames of a segment carry out its allocation, and the reason for each.

Coverage frames stay where they are, and peaks get their allocated frame. Further frames go to the
start of the shot. The others divide the rest of the segment evenly by a density that is half
uniform and half novelty (inverse transform sampling), so no gap exceeds twice an even one.

In calm segments `snap_to_keyframes` then moves frames to nearby keyframes if that saves decoding.
Two close frames of calm content are nearly the same, but a keyframe needs one decoded picture and
the frame before it a complete group of pictures. A frame moves by at most a quarter of the distance
to its nearer neighbour, so no gap changes by more than half. It also moves by at most a quarter of
the time in which the picture changes, and only within its segment, so never across a cut or event.
Frames that the analysis chose, and the first and last frame of a plan, stay.

Every placed frame is a frame of the video. Times are exact seconds; floats only steer searches.
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

from seedvideo.sampler.allocation import Level, SegmentAllocation
from seedvideo.sampler.request import DecodeCosts, Request
from seedvideo.sampler.types import DecodeEstimate, FrameRole
from seedvideo.sampler.utility import PeakCandidate, SegmentDemand, StillPicture

Floats = npt.NDArray[np.float64]

UNIFORM_FLOOR: Final = 0.5
"""Uniform fraction of the density, whatever the novelty: bounds every gap to twice an even one."""

_MIN_FRAMES_FOR_SHOT_START: Final = 3
"""Minimum number of extra frames in a segment for one to go to the first frame of its shot.

With fewer frames, those from within represent a shot better.
"""


@dataclass(frozen=True)
class PlacedFrame:
    """One placed frame.

    Args:
        position: position of the frame among the frames of the request.
        level: its size.
        reason: reason for taking it, in a few words, without the size.
        role: its role.
        is_coverage: whether it belongs to the coverage grid.
        moved_from: position before it was moved to a keyframe; None if it was not moved.
    """

    position: int
    level: Level
    reason: str
    role: FrameRole
    is_coverage: bool
    moved_from: int | None = None


class NoveltyDensity:
    """Density by which frames are spread over a segment.

    Its mean over the segment is 1 and its minimum is `UNIFORM_FLOOR`. Without novelty it is
    uniform.
    """

    def __init__(self, demand: SegmentDemand) -> None:
        steps = demand.density or ((demand.start, 1.0),)
        edges = [float(time) for time, _ in steps] + [float(demand.end)]
        lengths = np.diff(edges)
        weights = np.asarray([weight for _, weight in steps], np.float64)
        # Normalise by the largest weight first, so that products neither overflow nor underflow.
        weights = weights / weights.max() if weights.max() > 0 else np.ones_like(weights)
        mean = float(lengths @ weights) / demand.length_s
        masses = lengths * (UNIFORM_FLOOR + (1 - UNIFORM_FLOOR) * weights / mean)
        self._edges: Floats = np.asarray(edges, np.float64)
        self._sums: Floats = np.concatenate(([0.0], np.cumsum(masses)))

    @property
    def total(self) -> float:
        """Return the integral over the complete segment: its length in seconds."""
        return float(self._sums[-1])

    def until(self, time_s: float) -> float:
        """Return the integral from the start of the segment to a time."""
        return float(np.interp(time_s, self._edges, self._sums))

    def moment_s(self, density: float) -> float:
        """Return the time at which the integral from the start of the segment reaches a value."""
        return float(np.interp(density, self._sums, self._edges))


def place_frames(
    demand: SegmentDemand,
    allocation: SegmentAllocation,
    *,
    times: Sequence[Fraction],
    span: range,
    coverage: Sequence[int],
    coverage_level: Level,
    candidates: Sequence[PeakCandidate] = (),
) -> tuple[PlacedFrame, ...]:
    """Place the frames of one segment.

    Args:
        demand: demand of the segment.
        allocation: allocation of the segment.
        times: times of all frames of the video, strictly increasing.
        span: positions of the frames that lie in the segment.
        coverage: positions of the coverage frames that lie in the segment, increasing.
        coverage_level: size of the coverage frames.
        candidates: peaks of the segment, one per entry of ``allocation.at_peaks``.

    Returns:
        Frames in order of time: all coverage frames, a frame for each peak that got one, and at
            most
        ``allocation.extra`` more. If the first frame of a shot is already taken, none is added for
        it.
    """
    frames = _SegmentFrames(times, span, coverage, coverage_level, allocation.level)
    density = NoveltyDensity(demand)
    for candidate, level in zip(candidates, allocation.at_peaks, strict=True):
        if level is not None:
            frames.add(candidate.position, level, candidate.describe(), role="event")
    if demand.still is None:
        upscaled = _select_evenly(coverage, allocation.upscaled, density=density, times=times)
    else:
        upscaled = middle_of_core(coverage, demand.still, times)[: allocation.upscaled]
    for position in upscaled:
        frames.add(position, allocation.level, "coverage, enlarged", role="coverage")
    spread = allocation.extra
    if spread and demand.still is not None and demand.still.core is not None:
        core = demand.still.core
        middle = frames.nearest_free(float(core.start + core.end) / 2)
        frames.add(middle, allocation.level, "one frame of a frozen picture", role="spread")
        spread -= 1
    if spread >= _MIN_FRAMES_FOR_SHOT_START and demand.starts_shot:
        frames.add(span.start, allocation.level, "first frame of a shot", role="shot")
        spread -= 1
    for moment_s in _target_times(frames, density, spread):
        frames.add(frames.nearest_free(moment_s), allocation.level, "spread", role="spread")
    return frames.placed()


def middle_of_core(
    positions: Sequence[int], still: StillPicture, times: Sequence[Fraction]
) -> list[int]:
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


class _SegmentFrames:
    """Frames of one segment, and those of them that are taken."""

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
            position: PlacedFrame(
                position, coverage_level, "coverage", "coverage", is_coverage=True
            )
            for position in coverage
        }

    def add(self, position: int, level: Level, reason: str, *, role: FrameRole) -> None:
        """Take a frame, or enlarge it if it is already taken."""
        known = self._taken.get(position)
        if known is None:
            self._taken[position] = PlacedFrame(position, level, reason, role, is_coverage=False)
        elif known.level.tokens < level.tokens:
            self._taken[position] = replace(known, level=level, reason=reason, role=role)

    def is_taken(self, position: int) -> bool:
        return position in self._taken

    def nearest_free(self, moment_s: float) -> int:
        """Return the untaken frame nearest to a time; of two, the earlier one."""
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
        """Return the times of the frames of this size or finer: others are spread between them."""
        return [
            float(self.times[position])
            for position, taken in sorted(self._taken.items())
            if taken.level.tokens >= self.level.tokens
        ]

    def coverage_s(self) -> list[float]:
        return [float(self.times[position]) for position in self.coverage]

    def placed(self) -> tuple[PlacedFrame, ...]:
        return tuple(frame for _, frame in sorted(self._taken.items()))


def _select_evenly(
    positions: Sequence[int], count: int, *, density: NoveltyDensity, times: Sequence[Fraction]
) -> list[int]:
    """Select ``count`` of some positions, spread evenly by the density."""
    if count == len(positions):
        return list(positions)
    sums = [density.until(float(times[position])) for position in positions]
    chosen: list[int] = []
    low = 0
    for index in range(count):
        target = (index + 0.5) / count * density.total
        # Leave enough positions for the remaining ones.
        high = len(positions) - (count - index) + 1
        nearest = min(range(low, high), key=lambda each: abs(sums[each] - target))
        chosen.append(positions[nearest])
        low = nearest + 1
    return chosen


def _target_times(frames: _SegmentFrames, density: NoveltyDensity, count: int) -> list[float]:
    """Return ``count`` times that divide the density evenly between the fixed frames."""
    if count == 0:
        return []
    gaps = frames.coverage_s()
    fixed = frames.fixed_s()
    if not (frames.is_finer and count < len(gaps)):
        return _split_intervals(fixed, density, count)
    # Few large frames among many small ones: place each in the middle between two small ones.
    moments = []
    used: set[int] = set()
    for moment_s in _split_intervals(fixed, density, count):
        gap = bisect_right(gaps, moment_s)
        if 0 < gap < len(gaps) and gap not in used:
            used.add(gap)
            moment_s = (gaps[gap - 1] + gaps[gap]) / 2
        moments.append(moment_s)
    return moments


def _split_intervals(fixed_s: Sequence[float], density: NoveltyDensity, count: int) -> list[float]:
    """Return times that split the intervals between fixed ones, the largest interval first.

    A part next to an end of the segment without a frame counts half, because it continues in the
    next segment. No part exceeds the total density divided by ``count``.
    """
    sums = sorted({density.until(time_s) for time_s in fixed_s})
    edges = [0.0, *sums, density.total]
    gaps = [
        (low, high - low, (index == 0) + (index == len(sums)))
        for index, (low, high) in enumerate(pairwise(edges))
    ]
    points = [0] * len(gaps)

    def interval(index: int) -> float:
        _, mass, ends = gaps[index]
        parts = points[index] + 1 - ends / 2
        return mass / parts if parts else np.inf

    queue = [(-interval(index), index) for index in range(len(gaps))]
    heapq.heapify(queue)
    for _ in range(count):
        _, index = queue[0]
        points[index] += 1
        heapq.heapreplace(queue, (-interval(index), index))
    moments = []
    for index, (low, _, ends) in enumerate(gaps):
        # In a gap that begins at an open end, the first point lies half a part in.
        lead = 0.5 if index == 0 and ends else 1.0
        moments += [
            density.moment_s(low + interval(index) * (lead + step)) for step in range(points[index])
        ]
    return moments


PlacedFrames = tuple[tuple[PlacedFrame, ...], ...]
"""Frames of each segment, in order of time."""

MAX_SHIFT_FRACTION: Final = Fraction(1, 4)
"""Maximum shift of a frame, as a fraction of the local spacing.

Two neighbours that move apart widen their gap by half. No gap was wider than one of the coverage
grid, so none exceeds 1.5 of those.
"""

MIN_PACKETS_SAVED: Final = 4
"""Minimum packets saved per move: about the cost of draining and restarting a decoder."""

_MOVABLE_ROLES: Final[tuple[FrameRole, ...]] = ("coverage", "spread")


@dataclass(frozen=True)
class _PathState:
    """Cheapest choice for all frames up to one, as a state of the dynamic programming.

    Args:
        cost: packets, plus `MIN_PACKETS_SAVED` for each move.
        shift: total shift of the frames in seconds.
        reached: index after the last decoded packet.
        chosen: position of the last frame.
        before: choice for the frames before it.
    """

    cost: int
    shift: Fraction
    reached: int
    chosen: int
    before: "_PathState | None"

    def positions(self) -> list[int]:
        """Return the positions of all frames, in order of time."""
        path: _PathState | None = self
        found = []
        while path is not None:
            found.append(path.chosen)
            path = path.before
        return found[::-1]


def snap_to_keyframes(
    request: Request,
    placed: PlacedFrames,
    *,
    demands: Sequence[SegmentDemand],
    spans: Sequence[range],
) -> PlacedFrames:
    """Move frames of calm segments to keyframes if that saves decoding.

    Args:
        request: the request. Without decode costs, nothing is moved.
        placed: frames of each segment, in order of time; at least one in total.
        demands: demands of the segments.
        spans: positions of the frames that lie in each.

    Returns:
        The same frames in the same order, some of them moved. No timestamp text costs more tokens.
    """
    costs, times = request.costs, request.times
    if costs is None:
        return placed
    options = list(_options(request, placed, demands, spans, costs))
    stays = [each[0] for each in options]
    moved = _shortest_path(options, times, costs).positions()
    # If pictures are stored out of presentation order, the search may count some twice.
    moves = sum(before != after for before, after in zip(stays, moved, strict=True))
    if costs.cost(moved) + MIN_PACKETS_SAVED * moves > costs.cost(stays):
        moved = stays
    target = dict(zip(stays, moved, strict=True))
    return tuple(tuple(_move(each, target[each.position]) for each in inside) for inside in placed)


def estimate_decoding(costs: DecodeCosts, placed: PlacedFrames) -> DecodeEstimate:
    """Estimate the decoding cost of placed frames, and the saving by moved ones."""
    every = [each for inside in placed for each in inside]
    pictures = costs.cost(each.position for each in every)
    unmoved = [each.position if each.moved_from is None else each.moved_from for each in every]
    return DecodeEstimate(
        pictures=pictures,
        video_pictures=costs.video_frames,
        moved_frames=sum(each.moved_from is not None for each in every),
        saved_pictures=costs.cost(unmoved) - pictures,
    )


def _move(frame: PlacedFrame, position: int) -> PlacedFrame:
    if position == frame.position:
        return frame
    return replace(frame, position=position, moved_from=frame.position)


def _options(
    request: Request,
    placed: PlacedFrames,
    demands: Sequence[SegmentDemand],
    spans: Sequence[range],
    costs: DecodeCosts,
) -> Iterator[tuple[int, ...]]:
    """Yield for each frame its possible positions: its own, and the nearest keyframes in reach."""
    times = request.times
    keys = costs.keyframes.tolist()

    def text_tokens(position: int) -> int:
        return request.text_tokens(times[position])

    frames = [
        (each, demand, span)
        for inside, demand, span in zip(placed, demands, spans, strict=True)
        for each in inside
    ]
    for (each, demand, span), reach in zip(
        frames, _max_shifts(placed, demands, times), strict=True
    ):
        here, now = each.position, times[each.position]
        at = bisect_left(keys, here)
        may_move = demand.is_calm and each.role in _MOVABLE_ROLES
        near = [
            key
            for key in keys[max(0, at - 1) : at + 1]
            if may_move
            and key != here
            and key in span
            and _stays_in_core(demand, here=times[here], there=times[key])
            and abs(times[key] - now) <= reach
            and text_tokens(key) <= text_tokens(here)
        ]
        yield (here, *near)


def _stays_in_core(demand: SegmentDemand, *, here: Fraction, there: Fraction) -> bool:
    """Return whether a frame of a frozen picture still shows that picture after a move."""
    if demand.still is None or demand.still.core is None:
        return True
    core = demand.still.core
    return not core.start <= here < core.end or core.start <= there < core.end


def _max_shifts(
    placed: PlacedFrames, demands: Sequence[SegmentDemand], times: Sequence[Fraction]
) -> list[Fraction]:
    """Return the maximum shift of each frame in seconds; 0 for the first and the last frame."""
    every = [each for inside in placed for each in inside]
    moments = [times[each.position] for each in every]
    # Both neighbours limit the shift, so two frames never meet; the ends stay.
    rooms = [Fraction(0), *(later - earlier for earlier, later in pairwise(moments)), Fraction(0)]
    pictures = [
        Fraction(demand.picture_s)
        for inside, demand in zip(placed, demands, strict=True)
        for _ in inside
    ]
    return [
        MAX_SHIFT_FRACTION * min(before, after, picture)
        for (before, after), picture in zip(pairwise(rooms), pictures, strict=True)
    ]


def _shortest_path(
    options: Sequence[tuple[int, ...]], times: Sequence[Fraction], costs: DecodeCosts
) -> _PathState:
    """Choose one position per frame to decode the fewest packets; break ties by total shift."""
    paths: list[_PathState | None] = [None]
    for choices in options:
        paths = [
            min(
                (_extend(path, choices[0], choice, times, costs) for path in paths),
                key=lambda path: (path.cost, path.shift),
            )
            for choice in choices
        ]
    return min(
        (path for path in paths if path is not None), key=lambda path: (path.cost, path.shift)
    )


def _extend(
    path: _PathState | None, here: int, choice: int, times: Sequence[Fraction], costs: DecodeCosts
) -> _PathState:
    first, after = costs.span(choice)
    cost, shift, reached = (
        (0, Fraction(0), 0) if path is None else (path.cost, path.shift, path.reached)
    )
    return _PathState(
        cost=cost + max(0, after - max(first, reached)) + MIN_PACKETS_SAVED * (choice != here),
        shift=shift + abs(times[choice] - times[here]),
        reached=max(reached, after),
        chosen=choice,
        before=path,
    )
