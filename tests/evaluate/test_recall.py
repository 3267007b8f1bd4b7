import pytest

from seedvideo.evaluate.metrics.temporal import (
    best_iou,
    false_positive_rate,
    mean_iou,
    one_of,
    recall_at,
)


def test_recall_and_mean_by_hand() -> None:
    ious = [1, 0.5, 0.3, 0]
    assert [recall_at(ious, threshold) for threshold in (0.3, 0.5, 0.7)] == [0.75, 0.5, 0.25]
    assert recall_at(ious, 0.5, rule=">") == 0.25
    assert mean_iou(ious) == pytest.approx(0.45)


def test_the_occurrence_that_overlaps_best_counts() -> None:
    assert best_iou((4, 8), [(0, 4), (4, 12), (5, 8)]) == 0.75
    assert best_iou(None, [(0, 4)]) == 0
    assert best_iou((8, 4), [(4, 8)]) == 0
    assert best_iou((8, 4), [(4, 8)], reversed_spans="swap") == 1


def test_an_absent_event_has_no_iou() -> None:
    with pytest.raises(ValueError, match="never happens"):
        best_iou((0, 1), [])


def test_which_span_of_an_answer_counts() -> None:
    spans = [(0.0, 1.0), (2.0, 3.0)]
    assert one_of(spans) == (0, 1)
    assert one_of(spans, which="last") == (2, 3)
    assert one_of([]) is None


def test_what_is_found_that_never_happens() -> None:
    assert false_positive_rate([True, False, False, False]) == 0.25


def test_no_question_has_no_score() -> None:
    for score in (mean_iou, false_positive_rate, lambda values: recall_at(values, 0.5)):
        with pytest.raises(ValueError, match="no question"):
            score([])
