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
    Level,
    Lot,
    Sharing,
    allocate,
    coverage_share,
    even_worth,
    ladder,
)
from seedvideo.sampler.utility import Spot, find_spots
from tests.sampler.demands import LEVELS, demand, flash, segments
from tests.sampler.videos import even_times
from tests.tiers import examples

many = examples(1000)
LOWEST = LEVELS[-1]
TIGHT = 1 + 1e-9


@st.composite
def lots(draw: st.DrawFn) -> Lot:
    frames = draw(st.integers(1, 120))
    coverage = sorted(draw(st.sets(st.integers(0, frames - 1), max_size=6)))
    need = draw(segments(first=0, after=frames))
    spots = find_spots(
        need,
        times=even_times(frames),
        span=range(frames),
        coverage=coverage,
        room=frames - len(coverage),
        event_worth_s=30.0,
    )
    return Lot(
        need,
        level=LOWEST,
        coverage=len(coverage),
        room=frames - sum(not spot.is_covered for spot in spots),
        text_tokens=draw(st.integers(0, 12)),
        spots=spots,
    )


some_lots = st.lists(lots(), min_size=1, max_size=5)
budgets = st.integers(0, 20_000)


def share(some: Sequence[Lot], budget: int, *, most: int = 10**6) -> Allocation:
    return allocate(some, levels=LEVELS, budget_tokens=budget, max_added=most)


def added(some: Sequence[Lot], made: Allocation) -> int:
    """Frames beside those of the grid."""
    count = 0
    for lot, grant in zip(some, made.grants, strict=True):
        count += grant.added
        for spot, level in zip(lot.spots, grant.at_spots, strict=True):
            count += level is not None and not spot.is_covered
    return count


@given(some_lots, budgets, st.integers(0, 60))
@examples(1000)
def test_every_grant_keeps_to_its_limits(some: list[Lot], budget: int, most: int) -> None:
    made = share(some, budget, most=most)
    assert made.tokens == sum(grant.tokens for grant in made.grants) <= budget
    assert added(some, made) <= most
    assert made.worth <= made.bound * TIGHT
    for lot, grant in zip(some, made.grants, strict=True):
        assert grant.level in LEVELS
        assert 0 <= grant.lifted <= lot.coverage
        assert 0 <= grant.added <= lot.room - lot.coverage
        tokens = grant.lifted * (grant.level.tokens - LOWEST.tokens)
        tokens += grant.added * (grant.level.tokens + lot.text_tokens)
        for spot, level in zip(lot.spots, grant.at_spots, strict=True):
            if level is not None and spot.is_covered:
                assert level.tokens > LOWEST.tokens
                tokens += level.tokens - LOWEST.tokens
            elif level is not None:
                tokens += level.tokens + lot.text_tokens
        assert grant.tokens == tokens


@given(some_lots, budgets, budgets)
@examples(300)
def test_more_budget_is_worth_no_less(some: list[Lot], one: int, other: int) -> None:
    sharing = Sharing(some, levels=LEVELS)
    less, more = (sharing.of(budget, max_added=10**6) for budget in sorted((one, other)))
    assert less.is_exact and more.is_exact
    assert less.worth <= more.worth * TIGHT


@given(some_lots, budgets, st.sampled_from(LEVELS))
@examples(300)
def test_no_even_plan_over_the_grid_is_worth_more(
    some: list[Lot], budget: int, level: Level
) -> None:
    # As many frames as the grid has or more in every segment, all of one size, none at a peak.
    made = share([replace(lot, spots=()) for lot in some], budget)
    for extra in (0, 1, 3):
        counts = [min(lot.room, lot.coverage + extra) for lot in some]
        cost = sum(
            lot.coverage * (level.tokens - LOWEST.tokens)
            + (count - lot.coverage) * (level.tokens + lot.text_tokens)
            for lot, count in zip(some, counts, strict=True)
        )
        if cost <= budget:
            without = [replace(lot, spots=()) for lot in some]
            value = even_worth(without, [range(count) for count in counts], level=level)
            assert value <= made.bound * TIGHT
            assert not made.is_exact or value <= made.worth * TIGHT


@given(some_lots, budgets, st.randoms(use_true_random=False))
@examples(300)
def test_the_order_of_segments_changes_nothing(some: list[Lot], budget: int, dice: object) -> None:
    order = list(range(len(some)))
    dice.shuffle(order)  # type: ignore[attr-defined]
    one, other = share(some, budget), share([some[place] for place in order], budget)
    assert math.isclose(one.worth, other.worth, rel_tol=1e-9)
    assert math.isclose(one.bound, other.bound, rel_tol=1e-9)


def test_segments_that_differ_get_the_same_in_any_order() -> None:
    some = [
        Lot(demand(0, 60, change_s=1.0 + place, detail_tokens=90 + 31 * place), LOWEST, 8, 300, 8)
        for place in range(9)
    ]
    one, other = share(some, 30_000), share(some[::-1], 30_000)
    assert one.grants == other.grants[::-1]


@given(budgets, st.integers(1, 8))
@examples(300)
def test_what_is_calm_scales_with_its_base(budget: int, power: int) -> None:
    calm = [Lot(demand(0, 10, change_s=1.0 + place), LOWEST, 2, 60, 8) for place in range(3)]
    heavy = [replace(lot, demand=replace(lot.demand, base=2.0**power)) for lot in calm]
    given_, scaled = share(calm, budget).grants, share(heavy, budget).grants
    assert [replace(grant, worth=0.0) for grant in given_] == [
        replace(grant, worth=0.0) for grant in scaled
    ]


def test_one_static_slide_gets_one_large_frame_beside_the_grid() -> None:
    slide = Lot(demand(0, 60, change_s=3600, detail_tokens=400), LOWEST, 15, 300, 8)
    grant = share([slide], 700).grants[0]
    assert grant.level.cap_tokens == 640
    assert grant.lifted + grant.added == 1


def test_fast_content_gets_many_small_frames() -> None:
    fast = Lot(demand(0, 60, change_s=0.3, detail_tokens=80), LOWEST, 5, 300, 8)
    grant = share([fast], 1000).grants[0]
    assert grant.level.cap_tokens <= 160
    assert grant.added == 1000 // (grant.level.tokens + 8)


def spots_of(seconds: Sequence[int], *, covered: bool = False) -> tuple[Spot, ...]:
    return tuple(
        Spot(
            flash(at),
            shown=range(at * 30, at * 30 + 12),
            position=at * 30 + 6,
            is_covered=covered,
            worth_s=25.0,
            detail_tokens=400,
        )
        for at in seconds
    )


def test_brief_small_events_get_one_large_frame_each() -> None:
    calm = demand(0, 1200, change_s=2)
    lot = Lot(calm, LOWEST, 300, 6000, 8, spots=spots_of((100, 300, 700)))
    grant = share([lot], 3 * 602).grants[0]
    assert [level and level.cap_tokens for level in grant.at_spots] == [640, 640, 640]
    assert (grant.lifted, grant.added) == (0, 0)
    # Where the grid shows them already, enlarging is cheaper.
    shown = replace(lot, spots=spots_of((100, 300, 700), covered=True))
    assert share([shown], 3 * 474).grants[0].tokens == 3 * 474


def test_events_count_with_the_even_plan_where_it_shows_them() -> None:
    lot = Lot(demand(0, 20), LOWEST, 2, 600, 8, spots=spots_of((10,)))
    blind, lucky = (
        even_worth([lot], [[0, 312]], level=LOWEST),
        even_worth([lot], [[0, 311]], level=LOWEST),
    )
    assert lucky - blind == pytest.approx(25 * (1 - math.exp(-120 / 400)))


def test_a_segment_without_coverage_is_not_forgotten() -> None:
    short = [Lot(demand(place, place + 1), LOWEST, 0, 5, 8) for place in range(20)]
    made = share(short, 20 * 128)
    assert [grant.added for grant in made.grants] == [1] * 20


def test_scarce_frames_are_made_large() -> None:
    some = [Lot(demand(place * 10, place * 10 + 10), LOWEST, 1, 50, 8) for place in range(10)]
    free, scarce = share(some, 12_000), share(some, 12_000, most=8)
    assert added(some, free) > 8 == added(some, scarce)
    assert scarce.worth > 0.8 * free.worth
    sizes = [max(grant.level.tokens for grant in made.grants) for made in (free, scarce)]
    assert sizes[0] <= sizes[1]
    assert scarce.worth <= free.bound
    assert not scarce.is_exact


@pytest.mark.parametrize(
    ("rho", "busy", "expected"),
    [(0.5, 0.0, 0.5), (0.5, 0.3, 0.5), (0.5, 0.65, 0.75), (0.5, 1.0, 1.0), (0, 0, 0), (1, 0, 1)],
)
def test_coverage_grows_with_what_is_busy(rho: float, busy: float, expected: float) -> None:
    assert coverage_share(rho, busy) == pytest.approx(expected)


@given(st.integers(0, 20_000), st.integers(1, 500))
def test_the_ladder_of_counts(most: int, fine: int) -> None:
    counts = ladder(most, fine=fine)
    assert len(counts) == 0 if most == 0 else (counts[0], counts[-1]) == (1, most)
    assert (np.diff(counts) > 0).all()
    assert (np.diff(counts) <= np.maximum(1, counts[:-1] // fine)).all()
    assert counts[:fine].tolist() == list(range(1, min(most, fine) + 1))


def test_what_cannot_be_shared_out() -> None:
    need = demand(0, 10)
    with pytest.raises(ValueError, match="4 coverage frames in a segment of 3"):
        Lot(need, LOWEST, coverage=4, room=3, text_tokens=8)
    for budget, most in ((-1, 5), (5, -1)):
        with pytest.raises(ValueError, match="nothing can be had"):
            share([Lot(need, LOWEST, 0, 3, 8)], budget, most=most)


def test_an_hour_of_short_shots_is_allocated_well_under_a_second() -> None:
    dice = np.random.default_rng(3)
    starts = np.sort(dice.choice(np.arange(1, 108_000), size=719, replace=False)).tolist()
    bounds = [0, *starts, 108_000]
    some = [
        Lot(
            demand(
                Fraction(first, 30),
                Fraction(after, 30),
                change_s=float(dice.uniform(0.2, 60)),
                detail_tokens=float(dice.uniform(50, 500)),
            ),
            level=LOWEST,
            coverage=(after * 320) // 108_000 - (first * 320) // 108_000,
            room=max(1, (after - first) // 6) + 1,
            text_tokens=9,
        )
        for first, after in itertools.pairwise(bounds)
    ]
    made = share(some, 40_960)
    assert made.worth > 0.999 * made.bound
