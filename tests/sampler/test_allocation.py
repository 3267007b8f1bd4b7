"""Sharing a budget out to segments: limits, known answers, and what may not matter."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.sampler.allocation import (
    Allocation,
    Allocator,
    Level,
    SegmentInput,
    count_steps,
    coverage_share,
    uniform_utility,
)
from seedvideo.sampler.utility import PeakCandidate, find_peak_candidates
from tests.sampler.demands import LEVELS, demand, flash
from tests.sampler.demands import segments as segment_demands
from tests.sampler.videos import even_times
from tests.tiers import examples

many = examples(1000)
LOWEST = LEVELS[-1]
TIGHT = 1 + 1e-9


@st.composite
def segment_inputs(draw: st.DrawFn) -> SegmentInput:
    frames = draw(st.integers(1, 120))
    coverage = sorted(draw(st.sets(st.integers(0, frames - 1), max_size=6)))
    need = draw(segment_demands(first=0, after=frames))
    own = draw(st.dictionaries(st.integers(0, frames - 1), st.sampled_from(LEVELS), max_size=4))
    candidates = find_peak_candidates(
        need,
        times=even_times(frames),
        span=range(frames),
        coverage=dict.fromkeys(coverage, LOWEST.tokens),
        own={position: level.tokens for position, level in own.items()},
        event_value_s=30.0,
    )
    return SegmentInput(
        need,
        level=LOWEST,
        coverage=len(coverage),
        max_frames=max(len(coverage), frames - len(own.keys() - set(coverage))),
        text_tokens=draw(st.integers(0, 12)),
        candidates=candidates,
    )


some_segments = st.lists(segment_inputs(), min_size=1, max_size=5)
budgets = st.integers(0, 20_000)


def allocate(some: Sequence[SegmentInput], budget: int, *, most: int = 10**6) -> Allocation:
    return Allocator(some, levels=LEVELS).solve(budget, max_extra=most)


def count_extra(made: Allocation) -> int:
    """Frames in addition to the fixed ones."""
    return sum(allocated.extra for allocated in made.segments)


@given(some_segments, budgets, st.integers(0, 60))
@examples(400)
def test_every_allocation_keeps_to_its_limits(
    some: list[SegmentInput], budget: int, most: int
) -> None:
    made = allocate(some, budget, most=most)
    assert made.tokens == sum(allocated.tokens for allocated in made.segments) <= budget
    assert count_extra(made) <= most
    assert made.utility <= made.bound * TIGHT
    for segment, allocated in zip(some, made.segments, strict=True):
        assert allocated.level in LEVELS
        assert 0 <= allocated.upscaled <= segment.coverage
        assert 0 <= allocated.extra <= segment.max_frames - segment.coverage
        tokens = allocated.upscaled * (allocated.level.tokens - LOWEST.tokens)
        tokens += allocated.extra * (allocated.level.tokens + segment.text_tokens)
        for candidate, level in zip(segment.candidates, allocated.at_peaks, strict=True):
            if level is not None:
                assert level.tokens > candidate.shown_tokens > 0
                tokens += level.tokens - candidate.shown_tokens
        assert allocated.tokens == tokens


@given(some_segments, budgets, budgets)
@examples(300)
def test_more_budget_never_lowers_the_utility(
    some: list[SegmentInput], one: int, other: int
) -> None:
    allocator = Allocator(some, levels=LEVELS)
    less, more = (allocator.solve(budget, max_extra=10**6) for budget in sorted((one, other)))
    assert less.is_exact and more.is_exact
    assert less.utility <= more.utility * TIGHT


@given(some_segments, budgets, st.sampled_from(LEVELS))
@examples(300)
def test_no_uniform_plan_over_the_grid_has_more_utility(
    some: list[SegmentInput], budget: int, level: Level
) -> None:
    # As many frames as the grid has or more in every segment, all of one size, none at a peak.
    made = allocate([replace(segment, candidates=()) for segment in some], budget)
    for extra in (0, 1, 3):
        counts = [min(segment.max_frames, segment.coverage + extra) for segment in some]
        cost = sum(
            segment.coverage * (level.tokens - LOWEST.tokens)
            + (count - segment.coverage) * (level.tokens + segment.text_tokens)
            for segment, count in zip(some, counts, strict=True)
        )
        if cost <= budget:
            without = [replace(segment, candidates=()) for segment in some]
            value = uniform_utility(without, [range(count) for count in counts], level=level)
            assert value <= made.bound * TIGHT
            assert not made.is_exact or value <= made.utility * TIGHT


@given(some_segments, budgets, st.randoms(use_true_random=False))
@examples(300)
def test_the_order_of_segments_changes_nothing(
    some: list[SegmentInput], budget: int, dice: object
) -> None:
    order = list(range(len(some)))
    dice.shuffle(order)  # type: ignore[attr-defined]
    one, other = allocate(some, budget), allocate([some[i] for i in order], budget)
    assert math.isclose(one.utility, other.utility, rel_tol=1e-9)
    assert math.isclose(one.bound, other.bound, rel_tol=1e-9)


def test_segments_that_differ_get_the_same_in_any_order() -> None:
    some = [
        SegmentInput(demand(0, 60, change_s=1.0 + i, detail_tokens=90 + 31 * i), LOWEST, 8, 300, 8)
        for i in range(9)
    ]
    one, other = allocate(some, 30_000), allocate(some[::-1], 30_000)
    assert one.segments == other.segments[::-1]


@given(budgets, st.integers(1, 8))
@examples(300)
def test_what_is_calm_scales_with_its_base(budget: int, power: int) -> None:
    calm = [SegmentInput(demand(0, 10, change_s=1.0 + i), LOWEST, 2, 60, 8) for i in range(3)]
    heavy = [replace(segment, demand=replace(segment.demand, base=2.0**power)) for segment in calm]
    given_, scaled = allocate(calm, budget).segments, allocate(heavy, budget).segments
    assert [replace(allocated, utility=0.0) for allocated in given_] == [
        replace(allocated, utility=0.0) for allocated in scaled
    ]


def test_one_static_slide_gets_one_large_frame_besides_the_grid() -> None:
    slide = SegmentInput(demand(0, 60, change_s=3600, detail_tokens=400), LOWEST, 15, 300, 8)
    allocated = allocate([slide], 700).segments[0]
    assert allocated.level.cap_tokens == 640
    assert allocated.upscaled + allocated.extra == 1


def test_fast_content_gets_many_small_frames() -> None:
    fast = SegmentInput(demand(0, 60, change_s=0.3, detail_tokens=80), LOWEST, 5, 300, 8)
    allocated = allocate([fast], 1000).segments[0]
    assert allocated.level.cap_tokens <= 160
    assert allocated.extra == 1000 // (allocated.level.tokens + 8)


def candidates_at(
    seconds: Sequence[int], *, shown_tokens: int = 0, own_tokens: int = 0
) -> tuple[PeakCandidate, ...]:
    return tuple(
        PeakCandidate(
            flash(at),
            visible=range(at * 30, at * 30 + 12),
            position=at * 30 + 6,
            shown_tokens=shown_tokens,
            own_tokens=own_tokens,
            utility_s=25.0,
            detail_s=25.0,
            detail_tokens=400,
        )
        for at in seconds
    )


def test_the_frames_of_brief_small_events_are_enlarged() -> None:
    calm = demand(0, 1200, change_s=2)
    shown = candidates_at((100, 300, 700), shown_tokens=120, own_tokens=120)
    segment = SegmentInput(calm, LOWEST, 300, 6000, 8, candidates=shown)
    allocated = allocate([segment], 3 * 474).segments[0]
    assert [level and level.cap_tokens for level in allocated.at_peaks] == [640, 640, 640]
    assert (allocated.upscaled, allocated.extra, allocated.tokens) == (0, 0, 3 * 474)
    # An event without a frame was left out before: it gets none here.
    hidden = replace(segment, candidates=candidates_at((100, 300, 700)))
    assert allocate([hidden], 3 * 602).segments[0].at_peaks == (None, None, None)


def test_events_count_with_the_even_plan_where_it_shows_them() -> None:
    segment = SegmentInput(demand(0, 20), LOWEST, 2, 600, 8, candidates=candidates_at((10,)))
    blind, lucky = (
        uniform_utility([segment], [[0, 312]], level=LOWEST),
        uniform_utility([segment], [[0, 311]], level=LOWEST),
    )
    assert lucky - blind == pytest.approx(25 * (1 - math.exp(-120 / 400)))
    # A frame of its own counts wherever the others are, and the larger of the two counts.
    own = replace(segment, candidates=candidates_at((10,), shown_tokens=252, own_tokens=252))
    for positions in ([0, 312], [0, 311]):
        value = uniform_utility([own], [positions], level=LOWEST)
        assert value - blind == pytest.approx(25 * (1 - math.exp(-252 / 400)))


def test_a_segment_without_coverage_is_not_forgotten() -> None:
    short = [SegmentInput(demand(i, i + 1), LOWEST, 0, 5, 8) for i in range(20)]
    made = allocate(short, 20 * 128)
    assert [allocated.extra for allocated in made.segments] == [1] * 20


def test_scarce_frames_are_made_large() -> None:
    some = [SegmentInput(demand(i * 10, i * 10 + 10), LOWEST, 1, 50, 8) for i in range(10)]
    free, scarce = allocate(some, 12_000), allocate(some, 12_000, most=8)
    assert count_extra(free) > 8 == count_extra(scarce)
    assert scarce.utility > 0.8 * free.utility
    sizes = [max(allocated.level.tokens for allocated in made.segments) for made in (free, scarce)]
    assert sizes[0] <= sizes[1]
    assert scarce.utility <= free.bound
    assert not scarce.is_exact


@pytest.mark.parametrize(
    ("rho", "busy", "expected"),
    [(0.5, 0.0, 0.5), (0.5, 0.3, 0.5), (0.5, 0.65, 0.75), (0.5, 1.0, 1.0), (0, 0, 0), (1, 0, 1)],
)
def test_coverage_grows_with_what_is_busy(rho: float, busy: float, expected: float) -> None:
    assert coverage_share(rho, busy) == pytest.approx(expected)


@given(st.integers(0, 20_000), st.integers(1, 500))
def test_the_ladder_of_counts(most: int, fine: int) -> None:
    counts = count_steps(most, fine=fine)
    assert len(counts) == 0 if most == 0 else (counts[0], counts[-1]) == (1, most)
    assert (np.diff(counts) > 0).all()
    assert (np.diff(counts) <= np.maximum(1, counts[:-1] // fine)).all()
    assert counts[:fine].tolist() == list(range(1, min(most, fine) + 1))


def test_what_cannot_be_shared_out() -> None:
    need = demand(0, 10)
    with pytest.raises(ValueError, match="4 coverage frames in a segment of 3"):
        SegmentInput(need, LOWEST, coverage=4, max_frames=3, text_tokens=8)
    for budget, most in ((-1, 5), (5, -1)):
        with pytest.raises(ValueError, match="expected 0 or above"):
            allocate([SegmentInput(need, LOWEST, 0, 3, 8)], budget, most=most)


def test_an_hour_of_short_shots_is_allocated_well_under_a_second() -> None:
    dice = np.random.default_rng(3)
    starts = np.sort(dice.choice(np.arange(1, 108_000), size=719, replace=False)).tolist()
    bounds = [0, *starts, 108_000]
    some = [
        SegmentInput(
            demand(
                Fraction(first, 30),
                Fraction(after, 30),
                change_s=float(dice.uniform(0.2, 60)),
                detail_tokens=float(dice.uniform(50, 500)),
            ),
            level=LOWEST,
            coverage=(after * 320) // 108_000 - (first * 320) // 108_000,
            max_frames=max(1, (after - first) // 6) + 1,
            text_tokens=9,
        )
        for first, after in itertools.pairwise(bounds)
    ]
    made = allocate(some, 40_960)
    assert made.utility > 0.999 * made.bound
