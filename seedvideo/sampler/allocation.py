"""Budget allocation: how many frames of which size each segment gets above the fixed frames.

Fixed frames, those of the coverage grid and of found events, are charged first and stay. The
remaining budget goes to the options of segments and peaks. A segment may have some of its coverage
frames upscaled, all of them upscaled and extra frames added, or only extra frames added. The frame
that shows a peak may be enlarged. Choosing among the options is a multiple-choice knapsack
(`seedvideo.sampler.knapsack`) over their expected utility (`seedvideo.sampler.utility`).

Only counts and sizes matter here, not times. ``_tokens`` are tokens in the sequence; costs are
tokens above the fixed frames.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler import knapsack
from seedvideo.sampler.utility import (
    EVENT_VALUE_S,
    FrameCounts,
    PeakCandidate,
    SegmentDemand,
    expected_utility,
)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_OPTIONS: Final = 4096
"""Frame counts offered one by one, divided among the segments: bounds the size of the knapsack."""

MIN_OPTIONS_PER_SEGMENT: Final = 32
"""Frame counts offered one by one to every segment, regardless of the number of segments."""


@dataclass(frozen=True)
class Level:
    """A size that the frames of this video may have.

    Args:
        cap_tokens: name of the level: its cap of visual tokens.
        tokens: visual tokens that a frame of this video has under that cap.
    """

    cap_tokens: int
    tokens: int


@dataclass(frozen=True)
class SegmentInput:
    """One segment as the input of the allocation.

    Args:
        demand: demand of the segment.
        level: size of its coverage frames.
        coverage: number of coverage frames in it, 0 or more.
        max_frames: maximum number of its frames, including coverage, excluding those of events.
        text_tokens: text and marker tokens of one of its frames.
        candidates: its peaks.
        max_upscaled: maximum number of coverage frames that may be upscaled; None for all.

    Raises:
        ValueError: if ``max_frames`` is below ``coverage``.
    """

    demand: SegmentDemand
    level: Level
    coverage: int
    max_frames: int
    text_tokens: int
    candidates: tuple[PeakCandidate, ...] = ()
    max_upscaled: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.coverage <= self.max_frames:
            raise ValueError(
                f"{self.coverage} coverage frames in a segment of {self.max_frames} frames"
            )


@dataclass(frozen=True, eq=False)
class OptionTable:
    """Options of one segment or peak; all arrays are ``(options,)``."""

    level: Ints
    upscaled: Ints
    extra: Ints
    costs: Ints
    utilities: Floats

    def level_of(self, option: int, levels: Sequence[Level]) -> Level | None:
        """Return the larger size that an option gives the frame of a peak, or None."""
        i = int(self.level[option])
        return None if i < 0 else levels[i]


def count_steps(most: int, *, fine: int) -> Ints:
    """Return the frame counts to offer: each one up to ``fine``, then in steps of a ``fine``-th.

    Returns:
        Strictly increasing from 1 to ``most``; empty if ``most`` is 0.
    """
    counts = list(range(1, min(most, fine) + 1))
    while counts and counts[-1] < most:
        counts.append(min(most, counts[-1] + counts[-1] // fine))
    return np.asarray(counts, np.int64)


def peak_options(
    candidate: PeakCandidate, segment: SegmentInput, levels: Sequence[Level]
) -> OptionTable:
    """Return the options of a peak: the fixed frame that shows it as it is, or a larger size.

    A blank picture is not enlarged, and a peak that no fixed frame shows has no option.
    """
    shown = candidate.shown_tokens
    tokens = np.asarray([level.tokens for level in levels], np.int64)
    indices = np.flatnonzero(tokens > shown)
    if segment.demand.is_blank or not shown:
        indices = indices[:0]
    none = np.zeros(len(indices) + 1, np.int64)
    return OptionTable(
        level=np.append(-1, indices),
        upscaled=none,
        extra=none,
        costs=np.append(0, tokens[indices] - shown),
        utilities=candidate.value_s(np.append(shown, tokens[indices])),
    )


def segment_options(
    segment: SegmentInput,
    levels: Sequence[Level],
    *,
    fine: int,
    event_value_s: float,
) -> OptionTable:
    """Return the options of a segment: nothing, upscaled frames, or extra frames, at each level."""
    coverage, base, most = segment.level, segment.coverage, segment.max_frames - segment.coverage
    tokens = np.asarray([level.tokens for level in levels], np.int64)
    higher = np.flatnonzero(tokens > coverage.tokens)
    extras = count_steps(most, fine=fine)
    max_upscaled = base if segment.max_upscaled is None else min(segment.max_upscaled, base)
    some, more = count_steps(min(max_upscaled, max(0, base - 1)), fine=fine), np.append(0, extras)
    if max_upscaled < base:
        more = more[:0]
    if max_upscaled == 0:
        higher = higher[:0]
    lifts = np.concatenate((some, np.full(len(more), base)))
    extra = np.concatenate((np.zeros(len(some), np.int64), more))
    # The first option is empty; its level is arbitrary.
    level = np.concatenate(
        (
            np.zeros(1, np.int64),
            np.repeat(higher, len(lifts)),
            np.repeat(np.arange(len(tokens)), len(extras)),
        )
    )
    upscaled = np.concatenate(
        ([0], np.tile(lifts, len(higher)), np.zeros(len(tokens) * len(extras), np.int64))
    )
    extra = np.concatenate(([0], np.tile(extra, len(higher)), np.tile(extras, len(tokens))))
    chosen = tokens[level]
    costs = upscaled * (chosen - coverage.tokens) + extra * (chosen + segment.text_tokens)
    kept = base - upscaled
    # Of the two sizes in the segment the larger is fine, the smaller coarse.
    is_finer = chosen >= coverage.tokens
    utilities = expected_utility(
        segment.demand,
        FrameCounts(
            fine=np.where(is_finer, upscaled + extra, kept),
            fine_tokens=np.where(is_finer, chosen, coverage.tokens),
            coarse=np.where(is_finer, kept, extra),
            coarse_tokens=np.where(is_finer, coverage.tokens, chosen),
        ),
        event_value_s=event_value_s,
    )
    return OptionTable(
        level=level,
        upscaled=upscaled,
        extra=extra,
        costs=np.asarray(costs, np.int64),
        utilities=utilities,
    )


_MAX_BISECTIONS: Final = 14
"""Rounds of the search for the price of a frame; 14 narrow it to 1/16,384 of the range."""


@dataclass(frozen=True)
class SegmentAllocation:
    """Allocation of one segment above its coverage frames.

    Args:
        level: size of the upscaled and extra frames.
        upscaled: number of coverage frames that get this size instead of their own.
        extra: number of frames in addition to the coverage frames.
        tokens: total cost.
        utility: utility of all frames of the segment, in seconds of ordinary content.
        at_peaks: larger size of the frame at each of the segment's peaks; None to leave it.
    """

    level: Level
    upscaled: int
    extra: int
    tokens: int
    utility: float
    at_peaks: tuple[Level | None, ...] = ()


@dataclass(frozen=True)
class Allocation:
    """Allocation of all segments.

    Args:
        segments: one allocation per segment, in order.
        tokens: total cost above the fixed frames.
        utility: total utility of all frames.
        bound: upper bound for the utility of any allocation within the budget.
        is_exact: whether the allocation is known to be optimal.
    """

    segments: tuple[SegmentAllocation, ...]
    tokens: int
    utility: float
    bound: float
    is_exact: bool


def coverage_share(rho: float, busy_fraction: float) -> float:
    """Return the fraction of the budget for the coverage grid.

    If much of the time is busy, the estimate says little about what matters. From 30% on, the
    fraction rises from ``rho`` to 1, where the plan is the uniform one.

    Args:
        rho: fraction for a selective estimate, 0 to 1.
        busy_fraction: fraction of the time that counts as busy, 0 to 1.
    """
    excess = min(1.0, max(0.0, (busy_fraction - 0.3) / 0.7))
    return 1.0 if excess == 1 else rho + (1 - rho) * excess


class Allocator:
    """Allocator of a set of segments, prepared once for any budget.

    Args:
        segments: the segments, at least one.
        levels: sizes that frames may have.
        event_value_s: value of an event that is seen and read, in seconds of ordinary content.
    """

    def __init__(
        self,
        segments: Sequence[SegmentInput],
        *,
        levels: Sequence[Level],
        event_value_s: float = EVENT_VALUE_S,
    ) -> None:
        fine = max(MIN_OPTIONS_PER_SEGMENT, MAX_OPTIONS // len(segments))
        self._segments = tuple(segments)
        self._levels = tuple(levels)
        # Tables of the segments first, then those of all peaks.
        self._tables = [
            segment_options(segment, levels, fine=fine, event_value_s=event_value_s)
            for segment in segments
        ]
        self._tables += [
            peak_options(candidate, segment, levels)
            for segment in segments
            for candidate in segment.candidates
        ]
        self._hulls = self._build_hulls(frame_value=0.0)

    def solve(self, budget_tokens: int, *, max_extra: int) -> Allocation:
        """Allocate a budget.

        Args:
            budget_tokens: maximum tokens above the fixed frames, 0 or more.
            max_extra: maximum number of added frames, 0 or more.

        Returns:
            Allocations that never cost more than the budget. Their utility is at most
            `Allocation.bound`; the bound is tight up to one step of one segment.

        Raises:
            ValueError: if the budget or the number of frames is below 0.
        """
        if budget_tokens < 0 or max_extra < 0:
            raise ValueError(
                f"the budget is {budget_tokens} tokens and {max_extra} frames, expected 0 or above"
            )
        solution = knapsack.solve(self._hulls, budget_tokens)
        if self._count_extra(solution) > max_extra:
            solution = self._solve_with_frame_cap(budget_tokens, max_extra)
        segments = self._segment_allocations(solution.options)
        total = fsum(segment.utility for segment in segments)
        return Allocation(
            segments=segments,
            tokens=solution.cost,
            utility=total,
            bound=max(solution.bound, total),
            is_exact=solution.is_exact,
        )

    def _segment_allocations(self, options: Sequence[int]) -> tuple[SegmentAllocation, ...]:
        """Translate the chosen options into allocations of segments."""
        pairs = list(zip(self._tables, options, strict=True))
        at_peaks = iter(pairs[len(self._segments) :])
        segments = []
        for segment, (table, option) in zip(
            self._segments, pairs[: len(self._segments)], strict=True
        ):
            own = [next(at_peaks) for _ in segment.candidates]
            both = [(table, option), *own]
            segments.append(
                SegmentAllocation(
                    level=self._levels[int(table.level[option])],
                    upscaled=int(table.upscaled[option]),
                    extra=int(table.extra[option]),
                    tokens=sum(int(each.costs[i]) for each, i in both),
                    utility=fsum(float(each.utilities[i]) for each, i in both),
                    at_peaks=tuple(each.level_of(i, self._levels) for each, i in own),
                )
            )
        return tuple(segments)

    def _build_hulls(self, *, frame_value: float) -> knapsack.Hulls:
        """Build the knapsack in which every extra frame must first repay ``frame_value``."""
        return knapsack.build_hulls(
            [
                knapsack.Item(costs=table.costs, values=table.utilities - frame_value * table.extra)
                for table in self._tables
            ]
        )

    def _count_extra(self, solution: knapsack.Solution) -> int:
        pairs = zip(self._tables, solution.options, strict=True)
        return sum(int(table.extra[option]) for table, option in pairs)

    def _solve_with_frame_cap(self, budget: int, max_extra: int) -> knapsack.Solution:
        """Find the best options with at most ``max_extra`` extra frames.

        The cap becomes a price in utility (a Lagrange multiplier), found by bisection. The price
        times the cap is added back to the bound, which holds for any price.
        """
        # No frame repays a price above the utility of everything that a segment can get.
        low, high = 0.0, 1.0 + max(float(np.ptp(table.utilities)) for table in self._tables)
        best = knapsack.solve(self._build_hulls(frame_value=high), budget)
        bound = best.bound + high * max_extra
        for _ in range(_MAX_BISECTIONS):
            price = (low + high) / 2
            solution = knapsack.solve(self._build_hulls(frame_value=price), budget)
            bound = min(bound, solution.bound + price * max_extra)
            if self._count_extra(solution) > max_extra:
                low = price
            else:
                high, best = price, solution
        options = self._greedy_fill(best.options, budget, max_extra)
        pairs = list(zip(self._tables, options, strict=True))
        return knapsack.Solution(
            options=options,
            cost=sum(int(table.costs[option]) for table, option in pairs),
            value=fsum(float(table.utilities[option]) for table, option in pairs),
            bound=bound,
            is_exact=False,
        )

    def _greedy_fill(self, options: Sequence[int], budget: int, max_extra: int) -> tuple[int, ...]:
        """Upgrade options one at a time while tokens and frames last.

        A single price for all frames is too coarse if segments are alike: slightly below it, all of
        them would take one more frame.
        """
        sizes = [len(table.costs) for table in self._tables]
        owners = np.repeat(np.arange(len(sizes)), sizes)
        indices = np.concatenate([np.arange(size) for size in sizes])
        costs = np.concatenate([table.costs for table in self._tables])
        extra = np.concatenate([table.extra for table in self._tables])
        utilities = np.concatenate([table.utilities for table in self._tables])
        chosen = np.concatenate(([0], np.cumsum(sizes)[:-1])) + np.asarray(options)
        while True:
            tokens_left = budget - int(costs[chosen].sum())
            frames_left = max_extra - int(extra[chosen].sum())
            extra_cost = costs - costs[chosen][owners]
            gain = utilities - utilities[chosen][owners]
            fits = (extra_cost <= tokens_left) & (extra - extra[chosen][owners] <= frames_left)
            better = np.flatnonzero(fits & (gain > 0))
            if not len(better):
                return tuple(indices[chosen].tolist())
            take = int(better[np.argmax(gain[better] / np.maximum(1, extra_cost[better]))])
            chosen[owners[take]] = take


def uniform_utility(
    segments: Sequence[SegmentInput],
    positions: Sequence[Sequence[int]],
    *,
    level: Level,
    event_value_s: float = EVENT_VALUE_S,
) -> float:
    """Return the utility of evenly spaced frames of one size, and of the frames of events.

    Args:
        segments: the segments.
        positions: positions of the evenly spaced frames in each segment.
        level: their size.
        event_value_s: value of an event that is seen and read, in seconds of ordinary content.
    """
    values = []
    for segment, inside in zip(segments, positions, strict=True):
        counts = FrameCounts(fine=len(inside), fine_tokens=level.tokens)
        values.append(float(expected_utility(segment.demand, counts, event_value_s=event_value_s)))
        for candidate in segment.candidates:
            i = bisect_left(inside, candidate.visible.start)
            is_met = i < len(inside) and inside[i] in candidate.visible
            shown = max(candidate.own_tokens, level.tokens if is_met else 0)
            values.append(float(candidate.value_s(shown)))
    return fsum(values)
