"""Overlap in time, worked out by hand, with the edges on which published scripts differ."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.evaluate.metrics.temporal import best_matching, iou, matched_iou, passes_threshold

TABLES = st.integers(1, 4).flatmap(
    lambda wide: st.lists(
        st.lists(st.integers(0, 9).map(float), min_size=wide, max_size=wide), min_size=1, max_size=4
    )
)
SECONDS = st.integers(0, 20).map(float)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        ((0, 10), (0, 10), 1),
        ((0, 10), (5, 15), 5 / 15),
        ((2, 4), (0, 8), 2 / 8),
        ((0, 5), (5, 10), 0),  # half-open: they meet, and share nothing
        ((0, 1), (9, 10), 0),  # apart: the hull of both is not their union
        ((3, 3), (0, 10), 0),  # without length
        ((3, 3), (3, 3), 0),  # 0 / 0 in other scripts
        ((3, 5), (4, 4), 0),
        ((5, 0), (0, 5), 0),  # reversed
        ((0, 5), (5, 0), 0),  # a truth that runs backward can't be met
    ],
)
def test_iou_by_hand(
    predicted: tuple[float, float], truth: tuple[float, float], expected: float
) -> None:
    assert iou(predicted, truth) == pytest.approx(expected)


def test_a_reversed_prediction_is_swapped_only_if_asked() -> None:
    assert iou((8, 2), (2, 8)) == 0
    assert iou((8, 2), (2, 8), reversed_spans="swap") == 1
    assert iou((2, 8), (8, 2), reversed_spans="swap") == 0  # the truth stays as it is


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_times_must_be_finite(odd: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        iou((0, odd), (0, 1))


def test_a_score_on_the_threshold() -> None:
    assert passes_threshold(0.5, 0.5)
    assert not passes_threshold(0.5, 0.5, rule=">")
    # (.7 - .4) / (.7 - .1) is .49999999999999994 in binary, one half in the decimals as written.
    half = iou((0.4, 0.7), (0.1, 0.7))
    assert half != 0.5
    assert passes_threshold(half, 0.5)
    assert not passes_threshold(half, 0.5, rule=">")


def test_several_spans_by_hand() -> None:
    # The best pairing crosses the order: 0-4 with 0-4 and 10-14 with 12-14 (2 / 4).
    assert matched_iou([(10, 14), (0, 4)], [(0, 4), (12, 14)]) == pytest.approx((1 + 0.5) / 2)
    # One too many costs as much as one too few.
    assert matched_iou([(0, 4), (6, 8)], [(0, 4)]) == 0.5
    assert matched_iou([(0, 4)], [(0, 4), (6, 8)]) == 0.5
    # The same span twice meets one truth once.
    assert matched_iou([(0, 4), (0, 4)], [(0, 4), (6, 8)]) == 0.5
    # Taking the best pair first (.8 for 0-10 with 0-8) would leave 0-8's own partner alone.
    assert matched_iou([(0, 10), (0, 5)], [(0, 8), (0, 5)]) == pytest.approx((0.8 + 1) / 2)


def test_nothing_against_something() -> None:
    assert matched_iou([], []) == 1
    assert matched_iou([], [(0, 1)]) == 0
    assert matched_iou([(0, 1)], []) == 0


@given(TABLES)
def test_the_matching_is_the_best_of_all(table: list[list[float]]) -> None:
    rows = table if len(table) <= len(table[0]) else [list(r) for r in zip(*table, strict=True)]
    tried = [
        sum(row[place] for row, place in zip(rows, order, strict=False))
        for order in permutations(range(len(rows[0])), len(rows))
    ]
    assert best_matching(table) == max(tried)


@given(st.tuples(SECONDS, SECONDS), st.tuples(SECONDS, SECONDS))
def test_iou_is_a_fraction_and_symmetric(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    assert 0 <= iou(one, other) <= 1
    assert iou(one, other) == iou(other, one)
