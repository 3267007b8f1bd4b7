import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.evaluate.metrics.captioning import cider_d, cider_d_scores
from tests.evaluate.corpus import CANDIDATES, REFERENCES

CAPTIONS = st.lists(st.sampled_from(["a", "dog", "runs", "on", "grass"]), max_size=8).map(" ".join)


def test_two_items_by_hand() -> None:
    # Two items, so every n-gram of one item weighs L = log 2 and "a", of both, weighs log 1 = 0.
    # Item 1 is a copy: cosine 1 for orders 1 to 3, none of order 4: 10 * 3/4 = 7.5.
    # Item 2: (dog, sits) against (cat, sits): L*L / (L*sqrt 2 * L*sqrt 2) = 1/2 for order 1; no
    # longer n-gram in common: 10 * (1/2) / 4 = 1.25.
    scores = cider_d_scores(["a dog runs", "a dog sits"], [["A dog runs."], ["A cat sits."]])
    assert scores == pytest.approx((7.5, 1.25))
    assert cider_d(["a dog runs", "a dog sits"], [["A dog runs."], ["A cat sits."]]) == (
        pytest.approx((7.5 + 1.25) / 2)
    )


def test_repeats_are_clipped_and_lengths_compared_by_hand() -> None:
    # "dog dog" weighs 2L, its reference L. Clipped: L*L / (2L*L) = 1/2 for order 1, nothing else.
    # One bigram against none: exp(-1 / (2 * 36)).
    scores = cider_d_scores(["dog dog", "cat"], [["dog"], ["cat"]])
    assert scores == pytest.approx((10 * (1 / 2) / 4 * math.exp(-1 / 72), 10 / 4))


def test_the_score_is_the_mean_over_references() -> None:
    one = cider_d_scores(["a dog runs", "x"], [["a dog runs"], ["y"]])[0]
    two = cider_d_scores(["a dog runs", "x"], [["a dog runs", "none of these"], ["y"]])[0]
    assert two == pytest.approx(one / 2)


def test_one_item_alone_scores_zero() -> None:
    # Every n-gram is in the references of all items, so nothing is rare.
    assert cider_d(["a dog runs"], [["a dog runs"]]) == 0.0


def test_agrees_with_the_reference_implementation() -> None:
    assert cider_d_scores(CANDIDATES, REFERENCES) == pytest.approx(
        (3.34744641, 2.51387486, 2.5332521, 2.41827634), abs=1e-8
    )
    assert cider_d(CANDIDATES, REFERENCES) == pytest.approx(2.7032124276016116, abs=1e-12)


@given(st.lists(st.tuples(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=3)), min_size=1))
def test_scores_stay_on_the_scale(items: list[tuple[str, list[str]]]) -> None:
    scores = cider_d_scores([own for own, _ in items], [references for _, references in items])
    assert all(0.0 <= score <= 10.0 + 1e-9 for score in scores)
