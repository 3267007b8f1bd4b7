"""Intervals and tests against numbers worked out by hand."""

import math

import pytest

from seedvideo.evaluate.metrics.statistics import combined, difference, mcnemar, share, wilson


def test_mcnemar_by_hand() -> None:
    # Three wins, no loss: 2 * (1/2)^3. Equal answers change nothing.
    yes, no = True, False
    assert mcnemar([yes, yes, yes, no, yes], [no, no, no, no, yes]) == 0.25
    # Five wins, one loss: 2 * (1 + 6) / 2^6.
    assert mcnemar([yes] * 5 + [no], [no] * 5 + [yes]) == pytest.approx(14 / 64)
    assert mcnemar([yes, no], [yes, no]) == 1
    assert mcnemar([yes, no], [no, yes]) == 1  # never above 1
    with pytest.raises(ValueError, match=r"shorter|longer"):
        mcnemar([True], [])


def test_whole_videos_are_drawn() -> None:
    # Ten questions of one video are one look at the world: the interval of two videos spans both.
    found = share([[1.0] * 10, [0.0] * 10])
    assert (found.value, found.low, found.high) == (0.5, 0, 1)
    assert (found.videos, found.units) == (2, 20)


def test_videos_with_more_questions_weigh_more() -> None:
    assert share([[1.0] * 3, [0.0]]).value == 0.75


def test_a_table_made_twice_is_the_same() -> None:
    values = [[float(n % 3 == 0), 0.5] for n in range(40)]
    assert share(values) == share(values)


def test_the_interval_narrows_as_the_square_root() -> None:
    few, many = (share([[float(n % 2)] for n in range(count)]) for count in (100, 1600))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(4, rel=0.2)
    assert few.high - few.low == pytest.approx(2 * 1.96 * 0.5 / 10, rel=0.1)


def test_a_difference_is_paired() -> None:
    # Ours is right wherever theirs is, and once more in each video: no doubt is left.
    theirs = [[float(n % 2), 0.0] for n in range(30)]
    ours = [[one, 1.0] for one, _ in theirs]
    found = difference(ours, theirs)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_value_of_two_means() -> None:
    found = combined([[[1.0], [0.0]], [[1.0], [1.0]]], lambda one, other: one * other)
    assert found.value == 0.5


def test_what_can_not_be_estimated() -> None:
    with pytest.raises(ValueError, match="video"):
        share([])
    with pytest.raises(ValueError, match="video"):
        share([[]])
    with pytest.raises(ValueError, match="same questions"):
        difference([[1.0]], [[1.0, 0.0]])


def test_wilson_by_hand() -> None:
    # z = 1.96: none of 10 gives z2 / (10 + z2) = 3.8415 / 13.8415.
    low, high = wilson(0, 10)
    assert low == 0
    assert high == pytest.approx(0.2775, abs=1e-4)
    low, high = wilson(5, 10)
    assert (low + high) / 2 == pytest.approx(0.5)
    half = 1.96 * math.sqrt(0.25 / 10 + 3.8415 / 400) / (1 + 0.38415)
    assert (high - low) / 2 == pytest.approx(half, abs=1e-4)
    assert wilson(10, 10)[1] == pytest.approx(1)
    for bad in ((1, 0), (2, 1)):
        with pytest.raises(ValueError, match="share"):
            wilson(*bad)
