"""Frames that carry out an allocation: on the grid, at peaks, and evenly by the density."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.sampler.allocation import Level, SegmentAllocation
from seedvideo.sampler.placement import UNIFORM_FLOOR, NoveltyDensity, PlacedFrame, place_frames
from seedvideo.sampler.utility import Peak, SegmentDemand, find_peak_candidates
from tests.sampler.demands import LEVELS, TICK, demand, flash, segments
from tests.sampler.videos import even_times
from tests.tiers import examples

HIGH, LOW = LEVELS[0], LEVELS[-1]
many = examples(1000)


def placed(
    need: SegmentDemand,
    *,
    extra: int = 0,
    upscaled: int = 0,
    level: Level = HIGH,
    coverage: tuple[int, ...] = (),
    peaks: Level | None = None,
    times: tuple[Fraction, ...] | None = None,
) -> tuple[PlacedFrame, ...]:
    times = times or even_times(int(need.end * 30))
    span = range(sum(time < need.start for time in times), sum(time < need.end for time in times))
    candidates = find_peak_candidates(
        need,
        times=times,
        span=span,
        coverage=coverage,
        event_value_s=30.0,
    )
    at_peaks = tuple(peaks for _ in candidates)
    added = 0 if peaks is None else sum(not candidate.is_covered for candidate in candidates)
    extra = min(extra, len(span) - len(coverage) - added)
    return place_frames(
        need,
        SegmentAllocation(
            level, upscaled=upscaled, extra=extra, tokens=0, utility=0.0, at_peaks=at_peaks
        ),
        times=times,
        span=span,
        coverage=coverage,
        coverage_level=LOW,
        candidates=candidates,
    )


@st.composite
def orders(draw: st.DrawFn) -> dict[str, object]:
    first = draw(st.integers(0, 60))
    after = first + draw(st.integers(1, 200))
    # A variable rate: some of the frames are missing.
    kept = draw(st.sets(st.integers(first, after - 1), min_size=1, max_size=200))
    times = tuple(tick * TICK for tick in [*range(first), *sorted(kept)])
    span = range(first, first + len(kept))
    positions = st.sets(st.sampled_from(span), max_size=8)
    coverage = tuple(sorted(draw(positions)))
    return {
        "need": draw(segments(first=first, after=after)),
        "times": times,
        "coverage": coverage,
        "upscaled": draw(st.integers(0, len(coverage))),
        "extra": draw(st.integers(0, len(span) - len(coverage))),
        "level": draw(st.sampled_from(LEVELS)),
        "peaks": draw(st.none() | st.sampled_from(LEVELS)),
    }


@given(orders())
@many
def test_what_every_placement_promises(order: dict[str, object]) -> None:
    made = placed(**order)  # type: ignore[arg-type]
    need, times, coverage = order["need"], order["times"], order["coverage"]
    assert (
        isinstance(need, SegmentDemand) and isinstance(times, tuple) and isinstance(coverage, tuple)
    )
    positions = [each.position for each in made]
    assert all(low < high for low, high in pairwise(positions))
    assert all(need.start <= times[position] < need.end for position in positions)
    assert set(coverage) <= set(positions)
    assert {each.position for each in made if each.is_coverage} == set(coverage)
    assert {each.level for each in made} <= {LOW, order["level"], order["peaks"]}
    assert all(each.reason for each in made)
    assert placed(**order) == made  # type: ignore[arg-type]


@given(orders())
@many
def test_without_peaks_every_frame_is_used(order: dict[str, object]) -> None:
    need = order["need"]
    assert isinstance(need, SegmentDemand)
    calm = demand(need.start, need.end, density=need.density, starts_shot=need.starts_shot)
    coverage, extra = order["coverage"], order["extra"]
    made = placed(**(order | {"need": calm, "peaks": None}))  # type: ignore[arg-type]
    is_start_taken = need.starts_shot and extra >= 3  # type: ignore[operator]
    missing = len(coverage) + extra - len(made)  # type: ignore[operator, arg-type]
    # Where the shot's first frame is on the grid already, it serves as both.
    assert missing == 0 or (missing == 1 and is_start_taken)


@given(segments(first=0, after=900), st.integers(1, 60))
@many
def test_no_gap_exceeds_the_floor_of_the_measure(need: SegmentDemand, count: int) -> None:
    calm = demand(need.start, need.end, density=need.density)
    made = placed(calm, extra=count)
    assert len(made) == count
    density = NoveltyDensity(calm)
    assert density.total == pytest.approx(calm.length_s)
    times = [0.0, *(each.position / 30 for each in made), calm.length_s]
    longest = max(later - earlier for earlier, later in pairwise(times))
    # Every frame moves to its nearest one that is free.
    assert longest <= density.total / (count * UNIFORM_FLOOR) + 3 / 30


@given(st.integers(1, 90), st.integers(30, 3000))
@many
def test_flat_content_is_spread_evenly(count: int, frames: int) -> None:
    count = min(count, frames // 3)
    made = placed(demand(0, frames * TICK), extra=count)
    gaps = [later.position - earlier.position for earlier, later in pairwise(made)]
    assert not gaps or max(gaps) - min(gaps) <= 2
    # Half a gap at either end: the next segment's first frame shares it.
    even = frames / count
    assert abs(made[0].position - even / 2) <= 1.5
    assert abs(frames - made[-1].position - even / 2) <= 1.5


def test_novelty_draws_frames() -> None:
    need = demand(0, 30, density=((Fraction(0), 1.0), (Fraction(20), 10.0)))
    made = placed(need, extra=20)
    late = sum(each.position >= 600 for each in made)
    # Half of the measure is flat, and of the novelty 100 of 120 parts lie in the last third.
    assert late == round(20 * (0.5 / 3 + 0.5 * 100 / 120))


def test_only_the_shape_of_novelty_counts() -> None:
    steps = ((Fraction(0), 1.0), (Fraction(20), 10.0))
    tiny, huge = (
        demand(0, 30, density=tuple((time, weight * scale) for time, weight in steps))
        for scale in (1e-300, 1e300)
    )
    assert placed(tiny, extra=9) == placed(huge, extra=9)


def test_peaks_are_shown_at_their_own_size() -> None:
    peaks = (Peak(Fraction(5), 8.0), Peak(Fraction(11), 40.0))
    need = demand(0, 30, events_per_s=0.1, peaks=peaks)
    made = placed(need, extra=3, level=LOW, peaks=HIGH)
    assert [each.position for each in made if each.level == HIGH] == [150, 330]
    assert made[2].reason == "something new, 40x the usual change"
    assert len(made) == 5


def test_a_peak_is_shown_in_the_middle_of_its_time() -> None:
    need = demand(0, 30, events_per_s=0.1, peaks=(flash(10),))
    made = placed(need, peaks=HIGH)
    assert [each.position for each in made] == [306]
    assert made[0].reason == "something new for 0.40 s, 30x the usual change"


def test_a_grid_frame_within_an_event_is_made_larger_instead() -> None:
    need = demand(0, 30, events_per_s=0.1, peaks=(flash(10),))
    made = placed(need, peaks=HIGH, coverage=(0, 310, 600))
    assert [(each.position, each.level) for each in made] == [(0, LOW), (310, HIGH), (600, LOW)]


def test_a_grid_frame_after_the_certain_time_does_not_show_the_event() -> None:
    peak = flash(10, lasts="1/2", certain_s="1/5")
    need = demand(0, 30, events_per_s=0.1, peaks=(peak,))
    made = placed(need, peaks=HIGH, coverage=(0, 310, 600))
    assert [(each.position, each.level) for each in made if each.level == HIGH] == [(303, HIGH)]
    made = placed(need, peaks=HIGH, coverage=(0, 306, 600))
    assert [each.position for each in made if each.level == HIGH] == [306]


@given(segments(first=0, after=200), st.sets(st.integers(0, 199), max_size=8))
@many
def test_candidates_are_frames_that_show_their_peaks(
    need: SegmentDemand, coverage: set[int]
) -> None:
    times, grid = even_times(200), sorted(coverage)
    candidates = find_peak_candidates(
        need, times=times, span=range(200), coverage=grid, event_value_s=30.0
    )
    positions = [candidate.position for candidate in candidates]
    assert positions == sorted(set(positions))
    if need.events_per_s == 0:
        assert not candidates
    for candidate in candidates:
        assert candidate.peak in need.peaks
        assert candidate.position in candidate.visible
        assert times[candidate.visible.start] == candidate.peak.time
        assert candidate.is_covered == (candidate.position in coverage)
        assert candidate.is_covered == (not coverage.isdisjoint(candidate.visible))
        assert 0 < candidate.utility_s < 30
        last = candidate.peak.last
        assert last is None or all(times[each] <= last for each in candidate.visible)
    if need.events_per_s and need.peaks:
        strongest = max(need.peaks, key=lambda peak: peak.strength)
        assert any(candidate.peak.strength == strongest.strength for candidate in candidates)


def test_few_large_frames_lie_between_the_small_ones() -> None:
    made = placed(demand(0, 20), extra=2, coverage=tuple(range(0, 600, 60)))
    large = [each.position for each in made if each.level == HIGH]
    assert len(large) == 2
    assert all(position % 60 == 30 for position in large)
    assert abs(large[0] - 150) <= 30 and abs(large[1] - 450) <= 30


def test_enlarged_grid_frames_are_spread() -> None:
    made = placed(demand(0, 20), upscaled=2, coverage=tuple(range(0, 600, 60)))
    large = [each.position for each in made if each.level == HIGH]
    assert large in ([120, 420], [120, 480], [180, 420], [180, 480])
    assert {each.reason for each in made} == {"coverage", "coverage, enlarged"}


def test_a_shot_with_enough_frames_shows_its_first() -> None:
    need = demand(10, 20, starts_shot=True)
    assert placed(need, extra=2)[0].position > 300
    made = placed(need, extra=3)
    assert (made[0].position, made[0].reason) == (300, "first frame of a shot")


def test_added_frames_fill_the_widest_gaps() -> None:
    # All of one size: the grid's frames count too.
    made = placed(demand(0, 20), upscaled=3, extra=2, coverage=(0, 300, 420))
    assert [each.position for each in made] == [0, 150, 300, 420, 540]
