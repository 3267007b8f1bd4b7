"""Which frames carry out a grant: on the grid, at peaks, and evenly by the measure."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.sampler.allocation import Grant, Level
from seedvideo.sampler.placement import FLOOR, Measure, Place, place
from seedvideo.sampler.utility import Demand, Peak, find_spots
from tests.sampler.demands import LEVELS, TICK, demand, flash, segments
from tests.sampler.videos import even_times
from tests.tiers import examples

HIGH, LOW = LEVELS[0], LEVELS[-1]
many = examples(1000)


def placed(
    need: Demand,
    *,
    added: int = 0,
    lifted: int = 0,
    level: Level = HIGH,
    coverage: tuple[int, ...] = (),
    peaks: Level | None = None,
    times: tuple[Fraction, ...] | None = None,
) -> tuple[Place, ...]:
    times = times or even_times(int(need.end * 30))
    span = range(sum(time < need.start for time in times), sum(time < need.end for time in times))
    spots = find_spots(
        need,
        times=times,
        span=span,
        coverage=coverage,
        room=len(span) - len(coverage) - added,
        event_worth_s=30.0,
    )
    at_spots = tuple(peaks for _ in spots)
    return place(
        need,
        Grant(level, lifted=lifted, added=added, tokens=0, worth=0.0, at_spots=at_spots),
        times=times,
        span=span,
        coverage=coverage,
        coverage_level=LOW,
        spots=spots,
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
        "lifted": draw(st.integers(0, len(coverage))),
        "added": draw(st.integers(0, len(span) - len(coverage))),
        "level": draw(st.sampled_from(LEVELS)),
        "peaks": draw(st.none() | st.sampled_from(LEVELS)),
    }


@given(orders())
@many
def test_what_every_placement_promises(order: dict[str, object]) -> None:
    made = placed(**order)  # type: ignore[arg-type]
    need, times, coverage = order["need"], order["times"], order["coverage"]
    assert isinstance(need, Demand) and isinstance(times, tuple) and isinstance(coverage, tuple)
    positions = [each.position for each in made]
    assert all(low < high for low, high in pairwise(positions))
    assert all(need.start <= times[position] < need.end for position in positions)
    assert set(coverage) <= set(positions)
    assert {each.position for each in made if each.is_coverage} == set(coverage)
    assert {each.level for each in made} <= {LOW, order["level"], order["peaks"]}
    assert all(each.why for each in made)
    assert placed(**order) == made  # type: ignore[arg-type]


@given(orders())
@many
def test_without_peaks_every_frame_is_used(order: dict[str, object]) -> None:
    need = order["need"]
    assert isinstance(need, Demand)
    calm = demand(need.start, need.end, density=need.density, starts_shot=need.starts_shot)
    coverage, added = order["coverage"], order["added"]
    made = placed(**(order | {"need": calm, "peaks": None}))  # type: ignore[arg-type]
    is_start_taken = need.starts_shot and added >= 3  # type: ignore[operator]
    missing = len(coverage) + added - len(made)  # type: ignore[operator, arg-type]
    # Where the shot's first frame is on the grid already, it serves as both.
    assert missing == 0 or (missing == 1 and is_start_taken)


@given(segments(first=0, after=900), st.integers(1, 60))
@many
def test_no_gap_exceeds_the_floor_of_the_measure(need: Demand, count: int) -> None:
    calm = demand(need.start, need.end, density=need.density)
    made = placed(calm, added=count)
    assert len(made) == count
    measure = Measure(calm)
    assert measure.total == pytest.approx(calm.length_s)
    times = [0.0, *(each.position / 30 for each in made), calm.length_s]
    longest = max(later - earlier for earlier, later in pairwise(times))
    # Every frame moves to its nearest one that is free.
    assert longest <= measure.total / (count * FLOOR) + 3 / 30


@given(st.integers(1, 90), st.integers(30, 3000))
@many
def test_flat_content_is_spread_evenly(count: int, frames: int) -> None:
    count = min(count, frames // 3)
    made = placed(demand(0, frames * TICK), added=count)
    gaps = [later.position - earlier.position for earlier, later in pairwise(made)]
    assert not gaps or max(gaps) - min(gaps) <= 2
    # Half a gap at either end: the next segment's first frame shares it.
    even = frames / count
    assert abs(made[0].position - even / 2) <= 1.5
    assert abs(frames - made[-1].position - even / 2) <= 1.5


def test_novelty_draws_frames() -> None:
    need = demand(0, 30, density=((Fraction(0), 1.0), (Fraction(20), 10.0)))
    made = placed(need, added=20)
    late = sum(each.position >= 600 for each in made)
    # Half of the measure is flat, and of the novelty 100 of 120 parts lie in the last third.
    assert late == round(20 * (0.5 / 3 + 0.5 * 100 / 120))


def test_only_the_shape_of_novelty_counts() -> None:
    steps = ((Fraction(0), 1.0), (Fraction(20), 10.0))
    tiny, huge = (
        demand(0, 30, density=tuple((time, weight * scale) for time, weight in steps))
        for scale in (1e-300, 1e300)
    )
    assert placed(tiny, added=9) == placed(huge, added=9)


def test_peaks_are_shown_at_their_own_size() -> None:
    peaks = (Peak(Fraction(5), 8.0), Peak(Fraction(11), 40.0))
    need = demand(0, 30, events_per_s=0.1, peaks=peaks)
    made = placed(need, added=3, level=LOW, peaks=HIGH)
    assert [each.position for each in made if each.level == HIGH] == [150, 330]
    assert made[2].why == "something new, 40x the usual change"
    assert len(made) == 5


def test_a_peak_is_shown_in_the_middle_of_its_time() -> None:
    need = demand(0, 30, events_per_s=0.1, peaks=(flash(10),))
    made = placed(need, peaks=HIGH)
    assert [each.position for each in made] == [306]
    assert made[0].why == "something new for 0.40 s, 30x the usual change"


def test_a_grid_frame_within_an_event_is_made_larger_instead() -> None:
    need = demand(0, 30, events_per_s=0.1, peaks=(flash(10),))
    made = placed(need, peaks=HIGH, coverage=(0, 310, 600))
    assert [(each.position, each.level) for each in made] == [(0, LOW), (310, HIGH), (600, LOW)]


@given(segments(first=0, after=200), st.sets(st.integers(0, 199), max_size=8), st.integers(0, 20))
@many
def test_spots_are_frames_that_show_their_peaks(
    need: Demand, coverage: set[int], room: int
) -> None:
    times, grid = even_times(200), sorted(coverage)
    spots = find_spots(
        need, times=times, span=range(200), coverage=grid, room=room, event_worth_s=30.0
    )
    positions = [spot.position for spot in spots]
    assert positions == sorted(set(positions))
    assert sum(not spot.is_covered for spot in spots) <= room
    if need.events_per_s == 0:
        assert not spots
    for spot in spots:
        assert spot.peak in need.peaks
        assert spot.position in spot.shown
        assert times[spot.shown.start] == spot.peak.time
        assert spot.is_covered == (spot.position in coverage)
        assert spot.is_covered == (not coverage.isdisjoint(spot.shown))
        assert 0 < spot.worth_s < 30
    if room >= len(need.peaks) and need.events_per_s and need.peaks:
        strongest = max(need.peaks, key=lambda peak: peak.strength)
        assert any(spot.peak.strength == strongest.strength for spot in spots)


def test_few_large_frames_lie_between_the_small_ones() -> None:
    made = placed(demand(0, 20), added=2, coverage=tuple(range(0, 600, 60)))
    large = [each.position for each in made if each.level == HIGH]
    assert len(large) == 2
    assert all(position % 60 == 30 for position in large)
    assert abs(large[0] - 150) <= 30 and abs(large[1] - 450) <= 30


def test_enlarged_grid_frames_are_spread() -> None:
    made = placed(demand(0, 20), lifted=2, coverage=tuple(range(0, 600, 60)))
    large = [each.position for each in made if each.level == HIGH]
    assert large in ([120, 420], [120, 480], [180, 420], [180, 480])
    assert {each.why for each in made} == {"coverage", "coverage, enlarged"}


def test_a_shot_with_enough_frames_shows_its_first() -> None:
    need = demand(10, 20, starts_shot=True)
    assert placed(need, added=2)[0].position > 300
    made = placed(need, added=3)
    assert (made[0].position, made[0].why) == (300, "first frame of a shot")


def test_added_frames_fill_the_widest_gaps() -> None:
    # All of one size: the grid's frames count too.
    made = placed(demand(0, 20), lifted=3, added=2, coverage=(0, 300, 420))
    assert [each.position for each in made] == [0, 150, 300, 420, 540]
