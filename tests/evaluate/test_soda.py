"""Matching in order, worked out by hand and against every choice."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.evaluate.metrics.captioning import rouge_l_similarity
from seedvideo.evaluate.metrics.dense_captioning import (
    PrecisionRecall,
    Story,
    best_ordered_matching,
    mean_f1,
    score_per_annotator,
    select_best,
)


def soda(predicted: Story, references: list[Story], **options: Any) -> PrecisionRecall:
    return select_best(score_per_annotator(predicted, references, **options))


TABLES = st.integers(1, 4).flatmap(
    lambda wide: st.lists(
        st.lists(st.integers(0, 9).map(float), min_size=wide, max_size=wide), min_size=1, max_size=4
    )
)


def test_times_alone_by_hand() -> None:
    predicted = Story(((0, 10), (12, 20)))
    truth = Story(((0, 10), (10, 20), (20, 30)))
    # 1 + 8 / 10 over two predicted and three true events.
    found = soda(predicted, [truth])
    assert found.precision == pytest.approx(1.8 / 2)
    assert found.recall == pytest.approx(1.8 / 3)
    assert found.f1 == pytest.approx(2 * 0.9 * 0.6 / 1.5)


def test_pairs_do_not_cross() -> None:
    # By overlap alone both could pair (0.5 + 1); in order of start the pairs would cross.
    predicted = Story(((0, 20), (1, 3)))
    truth = Story(((0.5, 2.5), (1, 20)))
    table = [[2 / 20, 19 / 20], [1.5 / 2.5, 2 / 19]]
    assert soda(predicted, [truth]).precision == pytest.approx(max(19 / 20, 2 / 20 + 2 / 19) / 2)
    assert best_ordered_matching(table) == pytest.approx(19 / 20)


def test_the_order_of_telling_does_not_matter() -> None:
    truth = Story(((0, 10), (10, 20)), ("a dog", "a cat"))
    backward = Story(((10, 20), (0, 10)), ("a cat", "a dog"))
    assert soda(backward, [truth], similarity=rouge_l_similarity).f1 == 1


def test_captions_by_hand() -> None:
    truth = Story(((0, 10),), ("a dog runs fast",))
    predicted = Story(((0, 8),), ("a dog",))
    assert soda(predicted, [truth], similarity=rouge_l_similarity).f1 == pytest.approx(0.8 * 2 / 3)
    wrong = Story(((0, 8),), ("birds",))
    assert soda(wrong, [truth], similarity=rouge_l_similarity).f1 == 0


def test_silence_scores_zero_and_counts() -> None:
    truth = Story(((0, 10),))
    silent = soda(Story(()), [truth])
    assert (silent.precision, silent.recall, silent.f1) == (0, 0, 0)
    assert mean_f1([silent, soda(truth, [truth])]) == 0.5
    with pytest.raises(ValueError, match="no scores"):
        mean_f1([])


def test_the_annotator_that_is_met_best() -> None:
    predicted = Story(((0, 10), (10, 20)))
    found = soda(predicted, [Story(((0, 20),)), Story(((0, 10), (10, 20)))])
    assert found.f1 == 1


def test_each_annotator_separately_then_the_mean() -> None:
    predicted = Story(((0, 10), (10, 20)))
    annotators = [Story(((0, 20),)), Story(()), Story(((0, 10), (10, 20)))]
    # .5 over two and one is F1 1 / 3; who saw nothing is left out.
    each = score_per_annotator(predicted, annotators)
    assert [one.f1 for one in each] == pytest.approx([1 / 3, 1])
    assert mean_f1(each) == pytest.approx(2 / 3)
    # The official script without -mr puts the events of all into one list: .5, 1 and 1 cannot all
    # be paired in order, so 2 over two and three.
    together = soda(predicted, [Story(((0, 20), (0, 10), (10, 20)))])
    assert together.precision == 1
    assert together.recall == pytest.approx(2 / 3)
    assert [one.f1 for one in score_per_annotator(Story(()), annotators)] == [0, 0]


def test_what_can_not_be_scored() -> None:
    with pytest.raises(ValueError, match="event"):
        soda(Story(((0, 1),)), [Story(())])
    with pytest.raises(ValueError, match="captions"):
        Story(((0, 1),), ("one", "two"))


@given(TABLES)
def test_the_best_of_all_choices_in_order(table: list[list[float]]) -> None:
    high, wide = len(table), len(table[0])
    tried = [
        sum(table[r][c] for r, c in zip(rows, columns, strict=True))
        for size in range(min(high, wide) + 1)
        for rows in combinations(range(high), size)
        for columns in combinations(range(wide), size)
    ]
    assert best_ordered_matching(table) == max(tried)
