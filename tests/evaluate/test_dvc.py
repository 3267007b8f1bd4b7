"""Events found in time, worked out by hand."""

import pytest

from seedvideo.evaluate.metrics.dense_captioning import f1, score_localisation

TRUTH = [(0.0, 10.0), (10.0, 20.0), (20.0, 30.0), (30.0, 40.0)]


def test_by_hand() -> None:
    # The first is right, the second covers two thirds of 10-20 and half of nothing else, the third
    # lies outside: two of three are right, two of four are found.
    predicted = [(0.0, 10.0), (10.0, 25.0), (50.0, 60.0)]
    found = score_localisation(predicted, [TRUTH], threshold=0.5)
    assert (found.precision, found.recall) == (2 / 3, 2 / 4)
    assert found.f1 == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))


def test_there_is_no_matching_one_to_one() -> None:
    # Twice the same is twice right; one wide event may find two, here with IoU .5 each.
    assert score_localisation([(0, 10), (0, 10)], [TRUTH], threshold=0.9).precision == 1
    assert score_localisation([(0, 20)], [TRUTH], threshold=0.5).recall == 0.5


def test_the_threshold_itself_as_in_the_official_script_or_not() -> None:
    assert score_localisation([(0, 20)], [TRUTH], threshold=0.5, rule=">").recall == 0


def test_the_best_annotator_counts_for_each_apart() -> None:
    # Of the first both events are found by one of two; of the second one of one, by half of them.
    found = score_localisation(
        [(0, 10), (10, 20)], [[(0, 10), (90, 99)], [(0, 10), (10, 20), (90, 99)]], threshold=0.5
    )
    assert (found.precision, found.recall) == (1, 2 / 3)


def test_silence_scores_nothing() -> None:
    found = score_localisation([], [TRUTH], threshold=0.5)
    assert (found.precision, found.recall) == (0, 0)


def test_reversed_predictions() -> None:
    assert score_localisation([(10, 0)], [TRUTH], threshold=0.5).precision == 0
    assert (
        score_localisation([(10, 0)], [TRUTH], threshold=0.5, reversed_spans="swap").precision == 1
    )


def test_what_can_not_be_scored() -> None:
    with pytest.raises(ValueError, match="event"):
        score_localisation([(0, 1)], [[], []], threshold=0.5)
    assert f1(0, 0) == 0
