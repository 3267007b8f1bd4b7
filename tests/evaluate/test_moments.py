"""Average precision of moments, worked out by hand."""

import pytest

from seedvideo.evaluate.metrics.temporal import (
    THRESHOLDS,
    average_precision,
    moment_ap,
    sort_by_score,
)

TRUTH = [(0.0, 10.0), (20.0, 30.0)]


def test_thresholds_are_those_of_the_benchmark() -> None:
    assert (len(THRESHOLDS), THRESHOLDS[0], THRESHOLDS[-1]) == (10, 0.5, 0.95)


def test_precision_at_each_hit_by_hand() -> None:
    # Hit, miss, hit: precision 1 at recall 1/2 and 2/3 at recall 1: (1 + 2/3) / 2.
    predicted = [(0.0, 10.0), (50.0, 60.0), (20.0, 30.0)]
    assert average_precision(predicted, TRUTH, threshold=0.5) == pytest.approx((1 + 2 / 3) / 2)


def test_precision_is_interpolated() -> None:
    # Miss, hit, hit: 1/2 and 2/3. What is reached later counts for the first step too.
    predicted = [(50.0, 60.0), (0.0, 10.0), (20.0, 30.0)]
    assert average_precision(predicted, TRUTH, threshold=0.5) == pytest.approx(2 / 3)


def test_a_moment_is_met_once() -> None:
    predicted = [(0.0, 10.0), (0.0, 10.0)]
    assert average_precision(predicted, TRUTH, threshold=0.5) == 0.5


def test_a_span_takes_the_next_best_moment_that_is_free() -> None:
    # Both overlap 0-10 best; the second one (0-12) still passes_threshold with 2-12 (10 / 12).
    truth = [(0.0, 10.0), (2.0, 12.0)]
    assert average_precision([(0, 10), (0, 12)], truth, threshold=0.8) == 1


def test_the_threshold_itself_passes_unless_more_is_asked() -> None:
    assert average_precision([(0, 5)], [(0, 10)], threshold=0.5) == 1
    assert average_precision([(0, 5)], [(0, 10)], threshold=0.5, rule=">") == 0


def test_averaged_over_thresholds() -> None:
    # IoU .72 passes_threshold .50, .55, .60, .65 and .70: five of ten.
    assert moment_ap([(0, 7.2)], [(0, 10)]) == pytest.approx(0.5)


def test_nothing_predicted_is_no_error() -> None:
    assert moment_ap([], TRUTH) == 0


def test_only_the_first_ten_count() -> None:
    predicted = [(50.0, 60.0)] * 10 + [(0.0, 10.0)]
    assert moment_ap(predicted, [(0, 10)]) == 0
    assert average_precision(predicted, [(0, 10)], threshold=0.5, max_spans=11) == pytest.approx(
        1 / 11
    )


def test_a_query_needs_a_moment() -> None:
    with pytest.raises(ValueError, match="moment"):
        moment_ap([(0, 1)], [])


def test_order_by_score() -> None:
    spans = [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    assert sort_by_score(spans, [0.1, 0.9, 0.9]) == [spans[1], spans[2], spans[0]]
    assert sort_by_score(spans, [None, None, None]) == spans
    with pytest.raises(ValueError, match="score"):
        sort_by_score(spans, [0.1, None, 0.2])
    with pytest.raises(ValueError, match="score"):
        sort_by_score(spans, [0.1])
