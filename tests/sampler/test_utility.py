"""The utility model: closed forms, monotony, and the location of the best size."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.sampler.utility import (
    EVENT_VALUE_S,
    MOMENT_S,
    FrameCounts,
    Peak,
    SegmentDemand,
    coverage_fraction,
    expected_utility,
    legible_fraction,
    peak_probability,
)
from tests.sampler.demands import LEVELS, TICK, demand, flash, segments
from tests.tiers import examples

many = examples(1000)
lengths = st.floats(0.1, 1000)
lasting = st.floats(0.02, 1000)
TOKENS = np.array([level.tokens for level in LEVELS])


def test_coverage_is_what_a_grid_of_random_phase_meets() -> None:
    # Against the definition, drawn: durations d exponential, a grid of step 1/f meets min(1, f d).
    durations = np.random.default_rng(5).exponential(0.4, size=200_000)
    for count in (1, 5, 20, 100):
        rate = count / 10
        drawn = np.minimum(1.0, rate * durations).mean()
        assert coverage_fraction(count, length_s=10, lasting_s=0.4) == pytest.approx(
            drawn, abs=0.004
        )


@given(st.integers(0, 10_000), lengths, lasting)
@many
def test_coverage_grows_and_flattens(count: int, length_s: float, lasting_s: float) -> None:
    few, more, most = coverage_fraction(
        np.array([count, count + 1, count + 2]), length_s=length_s, lasting_s=lasting_s
    )
    assert 0 <= few <= more <= most <= 1
    assert most - more <= more - few + 1e-12
    assert coverage_fraction(0, length_s=length_s, lasting_s=lasting_s) == 0


def test_coverage_at_both_ends() -> None:
    # Few frames: each meets what lasts; many: everything.
    assert coverage_fraction(3, length_s=1000, lasting_s=0.4) == pytest.approx(
        3 * 0.4 / 1000, rel=1e-3
    )
    assert coverage_fraction(10_000, length_s=10, lasting_s=0.4) == pytest.approx(1, abs=2e-3)


def test_read_is_63_percent_at_the_need() -> None:
    assert legible_fraction(150, detail_tokens=150) == pytest.approx(1 - 1 / math.e)
    assert legible_fraction(0, detail_tokens=150) == 0


@given(segments(first=30, after=900), st.integers(0, 500), st.integers(0, 500), st.data())
@many
def test_more_or_larger_frames_never_lower_the_utility(
    need: SegmentDemand, fine: int, coarse: int, data: st.DataObject
) -> None:
    sharp = data.draw(st.integers(1, 2000))
    blurred = data.draw(st.integers(1, sharp))
    frames = FrameCounts(fine=fine, fine_tokens=sharp, coarse=coarse, coarse_tokens=blurred)
    least = float(expected_utility(need, frames)) * (1 - 1e-12)
    assert least >= 0
    assert expected_utility(need, replace(frames, fine=fine + 1)) >= least
    assert expected_utility(need, replace(frames, coarse=coarse + 1)) >= least
    assert expected_utility(need, replace(frames, fine_tokens=sharp + 1)) >= least
    # One upscaled frame has no less utility than the two as they were.
    if coarse:
        assert expected_utility(need, replace(frames, fine=fine + 1, coarse=coarse - 1)) >= least


def test_utility_of_an_event_at_an_unknown_time() -> None:
    calm = demand(0, 60)
    eventful = replace(calm, events_per_s=1 / 60)
    # So many frames that everything is met, so large that everything is read.
    frames = FrameCounts(fine=10**6, fine_tokens=10**6)
    gain = float(expected_utility(eventful, frames)) - float(expected_utility(calm, frames))
    assert gain == pytest.approx(EVENT_VALUE_S, rel=1e-3)
    # An event with a peak is not somewhere: it is that peak's matter.
    located = replace(eventful, peaks=(flash(10),))
    assert expected_utility(located, frames) == expected_utility(calm, frames)


def test_one_frame_in_each_rest_shows_all_of_it() -> None:
    calm = replace(demand(0, 60), rest_fraction=1.0, rests=3.0)
    frames = FrameCounts(fine=np.arange(6), fine_tokens=10**6)
    values = expected_utility(calm, frames)
    assert values == pytest.approx(60 * np.array([0, 1 / 3, 2 / 3, 1, 1, 1]))
    # Where half of the picture moves, the other half needs as many frames as before.
    half = replace(calm, rest_fraction=0.5)
    moving = expected_utility(calm.without_rest(), frames)
    assert expected_utility(half, frames) == pytest.approx((values + moving) / 2)
    # A soft picture is legible at a fraction of the size.
    soft = replace(calm, texture=0.1)
    frames = FrameCounts(fine=3, fine_tokens=40)
    sharp = expected_utility(calm, replace(frames, fine_tokens=400))
    assert expected_utility(soft, frames) == pytest.approx(sharp)


def test_doubtful_peaks_count_less() -> None:
    peaks = tuple(Peak(time * TICK, strength) for time, strength in enumerate((15.0, 45.0, 30.0)))
    need = demand(0, 10, events_per_s=0.3, peaks=peaks)
    assert [peak_probability(need, peak) for peak in peaks] == pytest.approx([0.5, 0.9, 0.8])
    # Fewer events than peaks: all chances shrink.
    rare = replace(need, events_per_s=0.1)
    assert [peak_probability(rare, peak) for peak in peaks] == pytest.approx([1 / 6, 0.3, 0.8 / 3])
    assert peak_probability(replace(need, events_per_s=0.0), peaks[1]) == 0


def best_level(need: SegmentDemand, tokens_per_s: float) -> int:
    """Place of the best level on the line of equal cost, where counts may be broken numbers."""
    counts = tokens_per_s * need.length_s / (TOKENS + 8)
    return int(np.argmax(expected_utility(need, FrameCounts(fine=counts, fine_tokens=TOKENS))))


@given(
    # Content shorter than a moment has little utility compared with moments, whose need decides.
    st.lists(st.floats(MOMENT_S, 300), min_size=2, max_size=2).map(sorted),
    st.floats(20, 2000),
    st.floats(5, 2000),
)
@many
def test_what_lasts_longer_gets_fewer_and_larger_frames(
    changes: list[float], detail: float, tokens_per_s: float
) -> None:
    fast, slow = (demand(0, 1000, change_s=each, detail_tokens=detail) for each in changes)
    # Levels are counted from the best one down.
    assert best_level(slow, tokens_per_s) <= best_level(fast, tokens_per_s)


@given(
    st.lists(st.floats(20, 2000), min_size=2, max_size=2).map(sorted),
    st.floats(0.05, 300),
    st.floats(5, 2000),
)
@many
def test_finer_detail_gets_larger_frames(
    details: list[float], change_s: float, tokens_per_s: float
) -> None:
    plain, fine = (demand(0, 1000, change_s=change_s, detail_tokens=each) for each in details)
    assert best_level(fine, tokens_per_s) <= best_level(plain, tokens_per_s)


def test_the_best_level_of_every_speed() -> None:
    # 68 tokens a second are 81,920 over 20 minutes; 150 or 500 tokens show 63 % of the detail.
    for detail_tokens, levels in ((150, [256, 256, 384, 384]), (500, [384, 384, 512, 640])):
        found = [
            LEVELS[
                best_level(demand(0, 1200, change_s=change_s, detail_tokens=detail_tokens), 68)
            ].cap_tokens
            for change_s in (0.1, 2, 10, 60)
        ]
        assert found == levels
    # A quarter of the tokens: time comes first.
    assert LEVELS[best_level(demand(0, 1200, change_s=2), 17)].cap_tokens == 128


@given(lengths, lasting, st.floats(0.5, 50))
@many
def test_at_the_best_size_elasticities_match(
    length_s: float, lasting_s: float, rate: float
) -> None:
    # Inside the range of sizes the best one has f P'/P = (t + 8) Q'/Q (both measured).
    tokens = np.geomspace(1, 1e5, 4001)
    counts = rate * length_s * 100 / (tokens + 8)
    seen_share = coverage_fraction(counts, length_s=length_s, lasting_s=lasting_s)
    value = seen_share * legible_fraction(tokens, detail_tokens=150)
    best = int(np.argmax(value))
    if 0 < best < len(tokens) - 1:
        around = [best - 1, best + 1]
        by_count = np.diff(np.log(seen_share[around])) / np.diff(np.log(counts[around]))
        legible = legible_fraction(tokens[around], detail_tokens=150)
        by_size = np.diff(np.log(legible)) / np.diff(np.log(tokens[around] + 8))
        assert by_count[0] == pytest.approx(by_size[0], abs=0.02)


def test_a_demand_checks_itself() -> None:
    good = demand(0, 10)
    for wrong in (
        {"base": 0.0},
        {"event_s": math.inf},
        {"detail_tokens": -1.0},
        {"change_s": 0.0},
        {"events_per_s": -0.1},
        {"end": good.start},
        {"peaks": (flash(10),)},
        {"peaks": (flash(3), flash(2))},
        {"density": ((good.end, 1.0),)},
        {"density": ((good.start, -1.0),)},
        {"density": ((good.start, 1.0), (good.start, 1.0))},
        {"rest_fraction": 1.5},
        {"rests": 0.5},
        {"texture": 0.0},
    ):
        with pytest.raises(ValueError, match=r"expected|runs|place|order|starts|weighs"):
            replace(good, **wrong)
    with pytest.raises(ValueError, match="strength"):
        Peak(good.start, 0.0)
    with pytest.raises(ValueError, match="ends at"):
        Peak(good.end, 1.0, good.end)


def test_arguments_are_broadcast() -> None:
    need = demand(0, 10)
    counts = np.arange(5)
    values = expected_utility(need, FrameCounts(fine=counts, fine_tokens=594))
    assert values.shape == (5,)
    assert all(low < high for low, high in pairwise(values))
