"""Intervals and tests against numbers worked out by hand."""

import pytest

from seedvideo.evaluate.metrics.statistics import (
    bootstrap_difference,
    bootstrap_statistic,
    cluster_bootstrap_mean,
    mcnemar,
)


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


def test_complete_videos_are_drawn() -> None:
    # Ten questions of one video are one sample: the interval of two videos spans both.
    found = cluster_bootstrap_mean([[1.0] * 10, [0.0] * 10])
    assert (found.value, found.low, found.high) == (0.5, 0, 1)
    assert (found.videos, found.units) == (2, 20)


def test_videos_with_more_questions_weigh_more() -> None:
    assert cluster_bootstrap_mean([[1.0] * 3, [0.0]]).value == 0.75


def test_a_table_made_twice_is_the_same() -> None:
    values = [[float(n % 3 == 0), 0.5] for n in range(40)]
    assert cluster_bootstrap_mean(values) == cluster_bootstrap_mean(values)


def test_the_interval_narrows_as_the_square_root() -> None:
    few, many = (
        cluster_bootstrap_mean([[float(n % 2)] for n in range(count)]) for count in (100, 1600)
    )
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(4, rel=0.2)
    assert few.high - few.low == pytest.approx(2 * 1.96 * 0.5 / 10, rel=0.1)


def test_a_difference_is_paired() -> None:
    # Ours is right wherever theirs is, and once more in each video: no doubt is left.
    theirs = [[float(n % 2), 0.0] for n in range(30)]
    ours = [[one, 1.0] for one, _ in theirs]
    found = bootstrap_difference(ours, theirs)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_value_of_two_means() -> None:
    found = bootstrap_statistic([[[1.0], [0.0]], [[1.0], [1.0]]], lambda one, other: one * other)
    assert found.value == 0.5


def test_what_can_not_be_estimated() -> None:
    with pytest.raises(ValueError, match="video"):
        cluster_bootstrap_mean([])
    with pytest.raises(ValueError, match="video"):
        cluster_bootstrap_mean([[]])
    with pytest.raises(ValueError, match="same questions"):
        bootstrap_difference([[1.0]], [[1.0, 0.0]])
