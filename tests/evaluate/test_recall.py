import pytest

from seedvideo.evaluate.metrics.temporal import best_iou, first_or_none


def test_the_occurrence_that_overlaps_best_counts() -> None:
    assert best_iou((4, 8), [(0, 4), (4, 12), (5, 8)]) == 0.75
    assert best_iou(None, [(0, 4)]) == 0
    assert best_iou((8, 4), [(4, 8)]) == 0
    assert best_iou((8, 4), [(4, 8)], reversed_spans="swap") == 1


def test_an_absent_event_has_no_iou() -> None:
    with pytest.raises(ValueError, match="never happens"):
        best_iou((0, 1), [])


def test_the_first_span_of_an_answer_counts() -> None:
    assert first_or_none([(0.0, 1.0), (2.0, 3.0)]) == (0, 1)
    assert first_or_none([]) is None
