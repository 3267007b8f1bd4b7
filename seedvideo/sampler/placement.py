"""Frame placement: which frames of a segment carry out its allocation, and the reason for each.

Coverage frames and those of found events stay where they are. Further frames go to the start of the
shot. The others divide the rest of the segment evenly by a density that is half
uniform and half novelty (inverse transform sampling), so no gap exceeds twice an even one.

Every placed frame is a frame of the video. Times are exact seconds; floats only steer searches.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.allocation import Level, SegmentAllocation
from seedvideo.sampler.types import FrameRole
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
    own: Mapping[int, Level] | None = None,
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
        own: sizes of the frames that were bought for events, by position.
        candidates: peaks of the segment, one per entry of ``allocation.at_peaks``.

    Returns:
        Frames in order of time: all coverage frames, those of events, and at most
        ``allocation.extra`` more. If the first frame of a shot is already taken, none is added for
        it.
    """
    frames = _SegmentFrames(times, span, coverage, coverage_level, allocation.level)
    density = NoveltyDensity(demand)
    for each in own_frames(candidates, own or {}):
        frames.add(each.position, each.level, each.reason, role=each.role)
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


def own_frames(
    candidates: Sequence[PeakCandidate], own: Mapping[int, Level]
) -> tuple[PlacedFrame, ...]:
    """Return the frames of a segment that were bought for events.

    Args:
        candidates: peaks of the segment.
        own: sizes of these frames, by position.
    """
    reasons = {each.position: each.describe() for each in candidates}
    return tuple(
        PlacedFrame(position, level, reasons[position], "event", is_coverage=False)
        for position, level in sorted(own.items())
    )


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
        elif known.level.tokens < level.tokens or (role == "event" and known.role != "event"):
            level = max(known.level, level, key=lambda each: each.tokens)
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
