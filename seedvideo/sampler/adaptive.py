"""Adaptive sampling policy: a uniform coverage grid, and extra frames where they have most utility.

    coverage   spend a fraction of the budget as `uniform` would
    allocate   give the rest to the segments in which it has most utility
    place      choose the frames of each segment
    refine     count the real token costs and allocate what they leave over
    snap       move frames of calm segments to nearby keyframes if that saves decoding

A coverage of 1, requested or because the complete video is busy, yields the uniform plan itself. So
does a video without prominent events, if uneven spacing would gain next to nothing.

Times are exact seconds; ``_tokens`` are tokens in the sequence.

Separate from `seedvideo.sampler.policies`, the registry, which would exceed 500 lines with it.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Final

from seedvideo.config import PRESET_FPS
from seedvideo.errors import PlanError
from seedvideo.sampler.adaptive_plan import build_adaptive_plan
from seedvideo.sampler.allocation import (
    Allocation,
    Allocator,
    Level,
    SegmentAllocation,
    SegmentInput,
    coverage_share,
    uniform_utility,
)
from seedvideo.sampler.geometry import TOKEN_AREA_PX, Geometry
from seedvideo.sampler.placement import (
    PlacedFrame,
    estimate_decoding,
    middle_of_core,
    place_frames,
    snap_to_keyframes,
)
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import AnalysisResult, Request, target_frame_count
from seedvideo.sampler.types import AllocationReport
from seedvideo.sampler.uniform import fill_uniformly, uniform_indices
from seedvideo.sampler.utility import (
    EVENT_VALUE_S,
    FrameCounts,
    SegmentDemand,
    clip_demands,
    expected_utility,
    find_peak_candidates,
)

UNIFORM_MARGIN: Final = 0.05
"""Minimum relative gain of an uneven plan over the best uniform one, if no event stands out."""

MIN_EVENT_VALUE_IN_GAPS: Final = 2.0
"""Minimum value of an event, in coverage gaps: of few frames, each covers much content."""

_MAX_FPS: Final = max(PRESET_FPS.values())
"""Maximum frames per second of a segment without ``max_fps``: the highest published rate."""

_FRAMES_PER_SCENE_CHANGE: Final = 2.0
"""Maximum frames per change of the picture: further ones would show the same content."""

_MAX_ROUNDS: Final = 4
"""Maximum rounds of allocating what the real token costs leave over."""


@dataclass(frozen=True)
class _UniformCandidate:
    """Best plan of one rate and one size."""

    positions: tuple[int, ...]
    level: Level
    utility: float


@dataclass(frozen=True)
class _Candidate:
    """Placed frames with their real token cost and their allocation."""

    placed: tuple[tuple[PlacedFrame, ...], ...]
    tokens: int
    allocation: Allocation


def adaptive(request: Request) -> Plan:
    """Choose frames and sizes that follow the content, over a uniform grid.

    Raises:
        PlanError: ``plan.over_budget`` if not even one frame fits, or the frames that ``min_fps``
            requires do not; ``plan.invalid`` without an analysis.
    """
    analysis = request.analysis
    if analysis is None:
        raise PlanError("plan.invalid", "policy adaptive needs an analysis of the video, got None")
    return _Planner(replace(request, text_tokens=cache(request.text_tokens)), analysis).plan()


class _Planner:
    """Steps of one plan."""

    def __init__(self, request: Request, analysis: AnalysisResult) -> None:
        self.request = request
        self.analysis = analysis
        self.coverage_share = coverage_share(request.coverage, analysis.busy_fraction)
        self.levels = _levels(request)
        times = request.times
        self.demands = tuple(
            _rescale_to_model_tokens(request.geometry, demand)
            for demand in clip_demands(analysis.demands, request.window.start, request.window.end)
        )
        if not self.demands:
            raise PlanError(
                "plan.invalid",
                f"the analysis of {request.source} does not cover the planned window",
            )
        # Frames before the first segment belong to it, so that every frame lies in a segment.
        bounds = [0, *(bisect_left(times, each.start) for each in self.demands[1:]), len(times)]
        self.spans = [range(low, high) for low, high in pairwise(bounds)]
        self.text_costs = self._max_text_cost()

    def plan(self) -> Plan:
        """Build the plan."""
        request = self.request
        coverage = self._coverage()
        level = next(each for each in self.levels if each.tokens == coverage.frames[0].tokens)
        grid = self._positions(coverage)
        self.event_value_s = max(
            EVENT_VALUE_S, MIN_EVENT_VALUE_IN_GAPS * float(request.window.duration) / len(grid)
        )
        segments = [
            self._segment_input(demand, span, inside, level, text)
            for demand, span, inside, text in zip(
                self.demands, self.spans, self._split(grid), self.text_costs, strict=True
            )
        ]
        candidate = self._refine(segments, grid)
        uniform = None
        if self.request.coverage != 1:
            uniform = self._best_uniform(segments, least=len(grid))
        if uniform is None and self.coverage_share == 1:
            uniform = _UniformCandidate(
                tuple(grid), level, self._uniform_utility(segments, grid, level)
            )
        is_even = uniform is not None and (
            self.coverage_share == 1 or self._prefer_uniform(candidate.allocation, uniform)
        )
        if uniform is not None and is_even:
            candidate = self._uniform_candidate(uniform, candidate.allocation)
        placed = candidate.placed
        # Requested uniform frames, or a requested rate, are kept exactly.
        if self.coverage_share < 1 and request.sampling.min_fps is None:
            placed = snap_to_keyframes(request, placed, demands=self.demands, spans=self.spans)
        decision = AllocationReport(
            analysis=self.analysis.method,
            notes=self.analysis.notes,
            busy_share=round(self.analysis.busy_fraction, 6),
            inspected_share=round(self.analysis.inspected_fraction, 6),
            coverage_share=round(self.coverage_share, 6),
            coverage_frames=len(grid),
            coverage_level_tokens=level.cap_tokens,
            is_even=is_even,
            worth_s=candidate.allocation.utility,
            bound_s=candidate.allocation.bound,
            even_worth_s=0.0 if uniform is None else uniform.utility,
            is_exact=candidate.allocation.is_exact,
            decoding=None if request.costs is None else estimate_decoding(request.costs, placed),
        )
        return build_adaptive_plan(request, self.demands, placed, level, decision)

    # --- coverage

    def _coverage(self) -> Plan:
        """Return the coverage grid: a uniform plan of its fraction of the budget.

        The grid is never denser than the best uniform plan of the complete budget. If large frames
        have more utility than many, it leaves budget for them.
        """
        request = self.request
        wanted, why = target_frame_count(request)
        duration_s = float(request.window.duration)
        if request.sampling.max_fps is not None:
            wanted = min(wanted, max(1, math.floor(duration_s * request.sampling.max_fps)))
        if request.coverage != 1:
            fewest = min(wanted, request.geometry.min_frames)
            wanted = max(fewest, min(wanted, self._best_uniform_count()))
        needed = 0
        if request.sampling.min_fps is not None:
            needed = min(len(request.times), math.ceil(duration_s * request.sampling.min_fps))
            wanted = max(wanted, needed)
        least = max(needed, min(wanted, request.geometry.min_frames))
        lowest = self.levels[-1].tokens
        reserve = least * (lowest + max(self.text_costs))
        budget = min(
            request.budget_tokens, max(int(self.coverage_share * request.budget_tokens), reserve)
        )
        frames = min(
            request.max_frames, max(int(self.coverage_share * request.max_frames), least, 1)
        )
        part = replace(request, budget_tokens=budget, max_frames=frames)
        coverage = fill_uniformly(part, policy="adaptive", wanted=wanted, why=why)
        if needed and len(coverage.frames) < len(uniform_indices(request, needed)):
            raise PlanError(
                "plan.over_budget",
                f"min_fps {request.sampling.min_fps:g} needs {needed:,} frames of at least"
                f" {lowest:,} tokens; the budget of {request.budget_tokens:,} tokens and"
                f" {request.max_frames:,} frames fits {len(coverage.frames):,}",
                hint="lower min_fps or raise the budget",
            )
        return coverage

    def _best_uniform_count(self) -> int:
        """Return the frame count of the uniform plan that shows most of the ordinary content."""
        request = self.request
        most = self._max_uniform_frames()
        # The grid covers what the analysis may have missed, in a frozen stretch too.
        ordinary = [replace(demand, still=None) for demand in self.demands]
        best = (-1.0, 1)
        for level in self.levels:
            count = min(most, request.budget_tokens // (level.tokens + max(self.text_costs)))
            inside = self._split(uniform_indices(request, count)) if count else []
            value = math.fsum(
                float(
                    expected_utility(
                        need, FrameCounts(fine=len(some), fine_tokens=level.tokens), event_value_s=0
                    )
                )
                for need, some in zip(ordinary, inside, strict=False)
            )
            best = max(best, (value, count))
        return max(1, best[1])

    def _max_uniform_frames(self) -> int:
        """Return the maximum number of frames of a uniform plan."""
        pairs = zip(self.spans, self.demands, strict=True)
        return min(
            self.request.max_frames, sum(self._max_frames(span, need, 0) for span, need in pairs)
        )

    def _positions(self, plan: Plan) -> list[int]:
        return [bisect_left(self.request.times, frame.pts) for frame in plan.frames]

    def _split(self, positions: Sequence[int]) -> list[list[int]]:
        """Group positions by segment."""
        edges = [bisect_left(positions, span.start) for span in self.spans] + [len(positions)]
        return [list(positions[low:high]) for low, high in pairwise(edges)]

    def _max_text_cost(self) -> list[int]:
        """Return the text tokens of one frame in each segment: the larger value of its ends."""
        request = self.request
        last = len(request.times) - 1
        tokens = []
        for span in self.spans:
            ends = (min(span.start, last), max(span.start, span.stop - 1))
            times = (request.times[min(position, last)] for position in ends)
            tokens.append(max(request.text_tokens(time) for time in times))
        return tokens

    def _max_frames(self, span: range, demand: SegmentDemand, coverage: int) -> int:
        """Return the maximum frames of a segment, at the requested rate or that of its motion."""
        request = self.request
        asked_fps = request.sampling.rate_fps
        bound_fps = (
            max(_MAX_FPS, asked_fps)
            if request.sampling.max_fps is None
            else request.sampling.max_fps
        )
        most_fps = min(max(asked_fps, _FRAMES_PER_SCENE_CHANGE / demand.picture_s), bound_fps)
        most_fps = max(most_fps, request.sampling.min_fps or 0.0)
        return min(len(span), max(coverage, 1, math.ceil(demand.length_s * most_fps)))

    def _segment_input(
        self,
        demand: SegmentDemand,
        span: range,
        coverage: Sequence[int],
        level: Level,
        text_tokens: int,
    ) -> SegmentInput:
        """Describe a segment for the allocation.

        A still picture gets one legible frame and small repeats.
        """
        times = self.request.times
        max_frames = self._max_frames(span, demand, len(coverage))
        max_upscaled = None
        if demand.still is not None:
            level = self.levels[-1]
            max_upscaled = (
                0 if demand.is_blank else len(middle_of_core(coverage, demand.still, times))
            )
            least = len(coverage)
            if not demand.is_blank and not max_upscaled and demand.still.core is not None:
                least += 1
            # An event in it may still add a frame.
            max_frames = min(max_frames, least + len(demand.peaks))
        candidates = find_peak_candidates(
            demand,
            times=times,
            span=span,
            coverage=coverage,
            event_value_s=self.event_value_s,
        )
        added = sum(not each.is_covered for each in candidates)
        return SegmentInput(
            demand,
            level=level,
            coverage=len(coverage),
            max_frames=max(len(coverage), max_frames - added),
            text_tokens=text_tokens,
            candidates=candidates,
            max_upscaled=max_upscaled,
        )

    # --- allocation and placement

    def _refine(self, segments: Sequence[SegmentInput], grid: Sequence[int]) -> _Candidate:
        """Allocate and place until the real token costs leave nothing to allocate."""
        request = self.request
        allocator = Allocator(segments, levels=self.levels, event_value_s=self.event_value_s)
        visual_tokens = sum(segment.coverage * segment.level.tokens for segment in segments)
        text_tokens = sum(self._text_cost(position) for position in grid)
        available_tokens = request.budget_tokens - visual_tokens - text_tokens
        best: _Candidate | None = None
        rounds = 0
        while True:
            allocation = allocator.solve(available_tokens, max_extra=request.max_frames - len(grid))
            candidate = self._place(segments, allocation, grid)
            left = request.budget_tokens - candidate.tokens
            rounds += 1
            if left >= 0 and (best is None or candidate.tokens > best.tokens):
                best = candidate
            elif best is not None:
                return best
            if best is not None and (left < self.levels[-1].tokens or rounds >= _MAX_ROUNDS):
                return best
            # Text costs were estimated, and a frame that serves twice is charged once.
            available_tokens = max(0, available_tokens + left)

    def _place(
        self, segments: Sequence[SegmentInput], allocation: Allocation, grid: Sequence[int]
    ) -> _Candidate:
        placed = tuple(
            place_frames(
                segment.demand,
                allocated,
                times=self.request.times,
                span=span,
                coverage=inside,
                coverage_level=segment.level,
                candidates=segment.candidates,
            )
            for segment, allocated, span, inside in zip(
                segments, allocation.segments, self.spans, self._split(grid), strict=True
            )
        )
        tokens = sum(
            each.level.tokens + self._text_cost(each.position) for some in placed for each in some
        )
        return _Candidate(placed=placed, tokens=tokens, allocation=allocation)

    def _text_cost(self, position: int) -> int:
        return self.request.text_tokens(self.request.times[position])

    # --- the uniform plan

    def _best_uniform(
        self, segments: Sequence[SegmentInput], *, least: int
    ) -> _UniformCandidate | None:
        """Return the uniform plan of most utility that has at least as many frames as the grid."""
        request = self.request
        most = max(self._max_uniform_frames(), least)
        max_text_tokens = max(segment.text_tokens for segment in segments)
        best = None
        for level in self.levels:
            count = min(most, request.budget_tokens // (level.tokens + max_text_tokens))
            if count < least:
                continue
            positions = tuple(uniform_indices(request, count))
            text = sum(self._text_cost(position) for position in positions)
            if len(positions) * level.tokens + text > request.budget_tokens:
                continue
            utility = self._uniform_utility(segments, positions, level)
            if best is None or utility > best.utility:
                best = _UniformCandidate(positions, level, utility)
        return best

    def _uniform_utility(
        self, segments: Sequence[SegmentInput], positions: Sequence[int], level: Level
    ) -> float:
        return uniform_utility(
            segments, self._split(positions), level=level, event_value_s=self.event_value_s
        )

    def _prefer_uniform(self, allocation: Allocation, uniform: _UniformCandidate | None) -> bool:
        if uniform is None:
            return False
        # Uneven sizes always pay if some frames repeat another one.
        calm = not any(demand.events_per_s or demand.still for demand in self.demands)
        margin = 1 + UNIFORM_MARGIN if calm else 1.0
        return uniform.utility * margin >= allocation.utility

    def _uniform_candidate(self, uniform: _UniformCandidate, allocation: Allocation) -> _Candidate:
        """Turn a uniform plan into a candidate, with repeats of a still picture at the lowest size.

        A requested coverage of 1 keeps all frames at one size.
        """
        times = self.request.times
        spacing_s = float(self.request.window.duration) / len(uniform.positions)
        why = f"uniform, one every {spacing_s:.3g} s"
        placed = []
        for demand, some in zip(self.demands, self._split(uniform.positions), strict=True):
            levels = dict.fromkeys(some, uniform.level)
            if demand.still is not None and self.request.coverage != 1:
                levels = dict.fromkeys(some, self.levels[-1])
                large = [] if demand.is_blank else middle_of_core(some, demand.still, times)
                levels |= dict.fromkeys(large, uniform.level)
            placed.append(
                tuple(
                    PlacedFrame(position, level, why, "coverage", is_coverage=True)
                    for position, level in levels.items()
                )
            )
        nothing = SegmentAllocation(uniform.level, upscaled=0, extra=0, tokens=0, utility=0.0)
        tokens = sum(
            each.level.tokens + self._text_cost(each.position) for some in placed for each in some
        )
        segments = (nothing,) * len(self.demands)
        bound = max(allocation.bound, uniform.utility)
        found = Allocation(segments, 0, uniform.utility, bound, is_exact=uniform.utility == bound)
        return _Candidate(tuple(placed), tokens, found)


def _rescale_to_model_tokens(geometry: Geometry, demand: SegmentDemand) -> SegmentDemand:
    """Convert a demand to tokens of this model: legibility depends on pixels, not on tokens."""
    if geometry.token_area_px == TOKEN_AREA_PX:
        return demand
    scale = TOKEN_AREA_PX / geometry.token_area_px
    return replace(
        demand,
        detail_tokens=demand.detail_tokens * scale,
        print_tokens=demand.print_tokens * scale,
    )


def _levels(request: Request) -> tuple[Level, ...]:
    """Return the sizes of this video's frames, largest first, each under its lowest cap."""
    found: dict[int, Level] = {}
    for cap in request.levels_tokens:
        tokens = request.frame_tokens(cap)
        found[tokens] = Level(cap_tokens=cap, tokens=tokens)
    return tuple(sorted(found.values(), key=lambda level: -level.tokens))
