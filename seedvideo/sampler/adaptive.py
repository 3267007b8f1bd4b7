"""Adaptive sampling policy: frames of events, a uniform coverage grid, and frames of most utility.

    events     buy a frame for each found event, in an order that no budget changes
    coverage   spend a fraction of what is left as `uniform` would
    allocate   give the rest to the segments in which it has most utility
    place      choose the frames of each segment
    refine     count the real token costs and allocate what they leave over
    snap       move frames of calm segments to nearby keyframes if that saves decoding

A requested coverage of 1 yields the uniform plan itself. If the complete video is busy, or if
uneven spacing would gain next to nothing, the plan is uniform besides the frames of events.

Times are exact seconds; ``_tokens`` are tokens in the sequence.

Separate from `seedvideo.sampler.policies`, the registry, which would exceed 500 lines with it.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

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
from seedvideo.sampler.event_frames import (
    EventPurchases,
    buy_event_frames,
    order_events,
    report_events,
)
from seedvideo.sampler.keyframe_snapping import estimate_decoding, snap_to_keyframes
from seedvideo.sampler.placement import PlacedFrame, middle_of_core, own_frames, place_frames
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.plan_window import PlanWindow
from seedvideo.sampler.request import AnalysisResult, Request
from seedvideo.sampler.types import AllocationReport
from seedvideo.sampler.uniform import uniform_indices
from seedvideo.sampler.utility import (
    EVENT_VALUE_S,
    SegmentDemand,
    find_peak_candidates,
)

UNIFORM_MARGIN: Final = 0.05
"""Minimum relative gain of an uneven plan over the best uniform one, if no event stands out."""

MIN_EVENT_VALUE_IN_GAPS: Final = 2.0
"""Minimum value of an event, in coverage gaps: of few frames, each covers much content."""

_MAX_ROUNDS: Final = 4
"""Maximum rounds of allocating what the real token costs leave over."""

_MAX_HALVINGS: Final = 8
"""Maximum rounds of the search for the fewest tokens of enough utility."""
_MIN_SAVING: Final = 0.02
"""Fraction of the tokens up to which that search may miss the fewest."""


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
    last_thousand_s: float


@dataclass(frozen=True)
class _Draft:
    """Frames of a plan within a budget, and how they were found."""

    candidate: _Candidate
    grid: tuple[int, ...]
    level: Level
    uniform: _UniformCandidate | None
    is_even: bool

    @property
    def utility(self) -> float:
        return self.candidate.allocation.utility


def adaptive(request: Request) -> Plan:
    """Choose frames and sizes that follow the content, over a uniform grid.

    Raises:
        PlanError: ``plan.over_budget`` if not even one frame fits, or the frames that ``min_fps``
            requires do not; ``plan.invalid`` without an analysis.
    """
    analysis = request.analysis
    if analysis is None:
        raise PlanError("plan.invalid", "policy adaptive needs an analysis of the video, got None")
    planner = _Planner(replace(request, text_tokens=cache(request.text_tokens)), analysis)
    draft = planner.draft()
    if request.sampling.min_utility is None:
        return planner.build(draft)
    return planner.build(planner.cheapest_draft(draft), full_worth_s=draft.utility)


class _Planner:
    """Steps of one plan.

    Rest and texture count only if the plan may spend less than its budget: they say what further
    tokens would not show, and a complete budget buys more of everything anyway.
    """

    def __init__(self, request: Request, analysis: AnalysisResult) -> None:
        self.request = request
        self.analysis = analysis
        self.coverage_share = coverage_share(request.coverage, analysis.busy_fraction)
        demands = analysis.demands
        if request.sampling.min_utility is None:
            demands = tuple(demand.without_rest() for demand in demands)
        self.window = PlanWindow(request, demands)
        self.levels = self.window.levels
        self.demands = self.window.demands
        self.spans = self.window.spans
        self.events = order_events(
            self.demands,
            times=request.times,
            spans=self.spans,
            event_share=1 - request.coverage,
            max_fps=request.sampling.max_fps,
        )
        self.purchases = self._buy_event_frames()
        self.rest = self._rest(request)
        self.event_value_s = 0.0  # Set by the first draft.

    def _rest(self, request: Request) -> Request:
        """Return a request with what the frames of events leave of its budget."""
        return replace(
            request,
            budget_tokens=request.budget_tokens - self.purchases.tokens,
            max_frames=request.max_frames - len(self.purchases.frames),
        )

    def cheapest_draft(self, full: _Draft) -> _Draft:
        """Return the draft of fewest tokens with enough of the utility of the complete budget.

        The frames of events stay those that the complete budget buys.
        """
        least = self.request.sampling.min_utility or 1.0
        best = full
        low = self.purchases.tokens + self._reserved()[0]
        for _ in range(_MAX_HALVINGS):
            if best.candidate.tokens - low < _MIN_SAVING * best.candidate.tokens:
                break
            budget = (low + best.candidate.tokens) // 2
            planner = copy(self)
            planner.request = replace(self.request, budget_tokens=budget)
            planner.rest = self._rest(planner.request)
            draft = planner.draft()
            if draft.utility >= least * full.utility:
                best = draft
            else:
                low = budget
        return best

    def draft(self) -> _Draft:
        """Choose the frames."""
        request = self.request
        coverage = self.window.coverage_grid(self.rest, share=self.coverage_share)
        level = next(each for each in self.levels if each.tokens == coverage.frames[0].tokens)
        grid = [bisect_left(request.times, frame.pts) for frame in coverage.frames]
        if not self.event_value_s:
            gap_s = float(request.window.duration) / len(grid)
            self.event_value_s = max(EVENT_VALUE_S, MIN_EVENT_VALUE_IN_GAPS * gap_s)
        segments = [
            self._segment_input(demand, span, inside, level, text)
            for demand, span, inside, text in zip(
                self.demands,
                self.spans,
                self.window.split(grid),
                self.window.text_costs,
                strict=True,
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
            candidate = self._uniform_candidate(segments, uniform, candidate.allocation)
        return _Draft(candidate, tuple(grid), level, uniform, is_even)

    def build(self, draft: _Draft, *, full_worth_s: float | None = None) -> Plan:
        """Build the plan of a draft.

        Args:
            draft: the draft.
            full_worth_s: utility of the complete budget, if the draft may spend less.
        """
        request, candidate, uniform = self.request, draft.candidate, draft.uniform
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
            coverage_frames=len(draft.grid),
            coverage_level_tokens=draft.level.cap_tokens,
            event_frames=len(self.purchases.frames),
            event_tokens=self.purchases.tokens,
            events=report_events(
                self.events,
                self.purchases,
                times=request.times,
                text_tokens=request.text_tokens,
                budget_tokens=request.budget_tokens,
            ),
            is_even=draft.is_even,
            worth_s=candidate.allocation.utility,
            bound_s=candidate.allocation.bound,
            even_worth_s=0.0 if uniform is None else uniform.utility,
            is_exact=candidate.allocation.is_exact,
            decoding=None if request.costs is None else estimate_decoding(request.costs, placed),
            last_thousand_s=candidate.last_thousand_s,
            full_worth_s=full_worth_s,
        )
        return build_adaptive_plan(request, self.demands, placed, draft.level, decision)

    # --- events

    def _buy_event_frames(self) -> EventPurchases:
        """Buy the frames of found events; none if the complete budget is to be spread evenly."""
        request = self.request
        return buy_event_frames(
            self.events,
            event_share=1 - request.coverage,
            levels=self.levels,
            times=request.times,
            text_tokens=request.text_tokens,
            budget_tokens=request.budget_tokens,
            max_frames=request.max_frames,
            reserved=self._reserved(),
        )

    def _reserved(self) -> tuple[int, int]:
        """Return the tokens and frames that the coverage grid needs at least."""
        grid = uniform_indices(self.request, self.window.least)
        text_tokens = sum(self.window.text_cost(position) for position in grid)
        return len(grid) * self.levels[-1].tokens + text_tokens, len(grid)

    def _own(self, span: range) -> dict[int, Level]:
        """Return the frames of a segment that were bought for events, by position."""
        return {each: level for each, level in self.purchases.frames.items() if each in span}

    # --- segments

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
        own = self._own(span)
        max_frames = self.window.max_frames(span, demand, len(coverage))
        max_upscaled = None
        if demand.still is not None:
            level = self.levels[-1]
            max_upscaled = (
                0 if demand.is_blank else len(middle_of_core(coverage, demand.still, times))
            )
            least = len(coverage)
            if not demand.is_blank and not max_upscaled and demand.still.core is not None:
                least += 1
            max_frames = min(max_frames, least + len(own))
        candidates = find_peak_candidates(
            demand,
            times=times,
            span=span,
            coverage=dict.fromkeys(coverage, level.tokens),
            own={position: each.tokens for position, each in own.items()},
            event_value_s=self.event_value_s,
        )
        return SegmentInput(
            demand,
            level=level,
            coverage=len(coverage),
            max_frames=max(len(coverage), max_frames - len(own.keys() - set(coverage))),
            text_tokens=text_tokens,
            candidates=candidates,
            max_upscaled=max_upscaled,
        )

    # --- allocation and placement

    def _refine(self, segments: Sequence[SegmentInput], grid: Sequence[int]) -> _Candidate:
        """Allocate and place until the real token costs leave nothing to allocate."""
        request = self.request
        allocator = Allocator(segments, levels=self.levels, event_value_s=self.event_value_s)
        fixed = self._fixed_tokens(segments, grid)
        text_tokens = sum(self.window.text_cost(position) for position in fixed)
        available_tokens = request.budget_tokens - sum(fixed.values()) - text_tokens
        max_extra = request.max_frames - len(fixed)
        best: _Candidate | None = None
        rounds = 0
        while True:
            allocation = allocator.solve(available_tokens, max_extra=max_extra)
            candidate = self._place(segments, allocation, grid)
            left = request.budget_tokens - candidate.tokens
            rounds += 1
            if left >= 0 and (best is None or candidate.tokens > best.tokens):
                best = candidate
            elif best is not None:
                break
            if best is not None and (left < self.levels[-1].tokens or rounds >= _MAX_ROUNDS):
                break
            # Text costs were estimated, and a frame that serves twice is charged once.
            available_tokens = max(0, available_tokens + left)
        spent = best.allocation.tokens
        fewer = allocator.solve(max(0, spent - 1000), max_extra=max_extra)
        gain = max(0.0, best.allocation.utility - fewer.utility)
        return replace(best, last_thousand_s=gain * 1000 / min(1000, spent) if spent else 0.0)

    def _fixed_tokens(
        self, segments: Sequence[SegmentInput], grid: Sequence[int]
    ) -> Mapping[int, int]:
        """Return the visual tokens of the grid and of the frames of events, by position."""
        tokens = {position: level.tokens for position, level in self.purchases.frames.items()}
        for segment, inside in zip(segments, self.window.split(grid), strict=True):
            for position in inside:
                tokens[position] = max(segment.level.tokens, tokens.get(position, 0))
        return tokens

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
                own=self._own(span),
                candidates=segment.candidates,
            )
            for segment, allocated, span, inside in zip(
                segments, allocation.segments, self.spans, self.window.split(grid), strict=True
            )
        )
        return _Candidate(placed, self._cost(placed), allocation, last_thousand_s=0.0)

    def _cost(self, placed: Sequence[Sequence[PlacedFrame]]) -> int:
        return sum(
            each.level.tokens + self.window.text_cost(each.position)
            for inside in placed
            for each in inside
        )

    # --- the uniform plan

    def _best_uniform(
        self, segments: Sequence[SegmentInput], *, least: int, saved_tokens: int = 0
    ) -> _UniformCandidate | None:
        """Return the uniform plan of most utility with at least ``least`` frames.

        It spends what events leave, except for ``saved_tokens``.
        """
        budget_tokens = self.rest.budget_tokens - saved_tokens
        most = max(self.window.max_uniform_frames(self.rest), least)
        max_text_tokens = max(segment.text_tokens for segment in segments)
        best = None
        for level in self.levels:
            count = min(most, budget_tokens // (level.tokens + max_text_tokens))
            if count < least:
                continue
            positions = tuple(uniform_indices(self.rest, count))
            text = sum(self.window.text_cost(position) for position in positions)
            if len(positions) * level.tokens + text > budget_tokens:
                continue
            utility = self._uniform_utility(segments, positions, level)
            if best is None or utility > best.utility:
                best = _UniformCandidate(positions, level, utility)
        return best

    def _uniform_utility(
        self, segments: Sequence[SegmentInput], positions: Sequence[int], level: Level
    ) -> float:
        return uniform_utility(
            segments, self.window.split(positions), level=level, event_value_s=self.event_value_s
        )

    def _prefer_uniform(self, allocation: Allocation, uniform: _UniformCandidate | None) -> bool:
        if uniform is None:
            return False
        # Uneven sizes always pay if some frames repeat another one.
        calm = not any(demand.events_per_s or demand.still for demand in self.demands)
        margin = 1 + UNIFORM_MARGIN if calm else 1.0
        return uniform.utility * margin >= allocation.utility

    def _uniform_candidate(
        self,
        segments: Sequence[SegmentInput],
        uniform: _UniformCandidate,
        allocation: Allocation,
    ) -> _Candidate:
        """Turn a uniform plan into a candidate, with the frames of events.

        Repeats of a still picture have the lowest size. A requested coverage of 1 keeps all frames
        at one size.
        """
        times = self.request.times
        spacing_s = float(self.request.window.duration) / len(uniform.positions)
        why = f"uniform, one every {spacing_s:.3g} s"
        placed = []
        for segment, span, some in zip(
            segments, self.spans, self.window.split(uniform.positions), strict=True
        ):
            demand = segment.demand
            levels = dict.fromkeys(some, uniform.level)
            if demand.still is not None and self.request.coverage != 1:
                levels = dict.fromkeys(some, self.levels[-1])
                large = [] if demand.is_blank else middle_of_core(some, demand.still, times)
                levels |= dict.fromkeys(large, uniform.level)
            frames = {
                position: PlacedFrame(position, level, why, "coverage", is_coverage=True)
                for position, level in levels.items()
            }
            for own in own_frames(segment.candidates, self._own(span)):
                known = levels.get(own.position, own.level)
                frames[own.position] = replace(
                    own,
                    level=max(own.level, known, key=_tokens),
                    is_coverage=own.position in levels,
                )
            placed.append(tuple(each for _, each in sorted(frames.items())))
        nothing = SegmentAllocation(uniform.level, upscaled=0, extra=0, tokens=0, utility=0.0)
        bound = max(allocation.bound, uniform.utility)
        found = Allocation(
            (nothing,) * len(segments), 0, uniform.utility, bound, uniform.utility == bound
        )
        enlarged = self._enlarge_own(placed)
        fewer = self._best_uniform(segments, least=1, saved_tokens=1000)
        gain = 0.0 if fewer is None else max(0.0, uniform.utility - fewer.utility)
        return _Candidate(enlarged, self._cost(enlarged), found, last_thousand_s=gain)

    def _enlarge_own(
        self, placed: Sequence[Sequence[PlacedFrame]]
    ) -> tuple[tuple[PlacedFrame, ...], ...]:
        """Enlarge the frames of events, in their order, with what an even plan leaves over."""
        left = self.request.budget_tokens - self._cost(placed)
        frames = {each.position: each for inside in placed for each in inside}
        for event in self.events:
            known = frames.get(event.position)
            if known is None or known.role != "event" or not event.detail_tokens:
                continue
            fits = (each for each in self.levels if each.tokens - known.level.tokens <= left)
            level = max(next(fits, known.level), known.level, key=_tokens)
            left -= level.tokens - known.level.tokens
            frames[event.position] = replace(known, level=level)
        return tuple(tuple(frames[each.position] for each in inside) for inside in placed)


def _tokens(level: Level) -> int:
    return level.tokens
