"""Grounding by one span: recall at IoU thresholds, mean IoU, and what is found that never happens.

R@1 counts the questions whose first span overlaps the truth enough. Where an event happens several
times, the occurrence that overlaps best counts (as in QVHighlights). A question without a
prediction is an IoU of 0, never left out: leaving out shrinks the denominator and rewards silence.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from seedvideo.evaluate.spans import Reversed, Rule, Span, iou, passes

Which: TypeAlias = Literal["first", "last"]
"""Which of several spans in an answer counts: TimeLens takes the first, VideoChat-R1 the last."""


def one_of(spans: Sequence[Span], *, which: Which = "first") -> Span | None:
    """The span of an answer that counts, or None if it names none."""
    if not spans:
        return None
    return spans[0] if which == "first" else spans[-1]


def best_iou(
    predicted: Span | None, truth: Sequence[Span], *, reversed_spans: Reversed = "nothing"
) -> float:
    """IoU of one span with the occurrence that it overlaps best; 0 without a prediction.

    Raises:
        ValueError: if there is no truth: an absent event has no IoU, see `false_positive_rate`.
    """
    if not truth:
        raise ValueError("an event that never happens has no IoU")
    if predicted is None:
        return 0.0
    return max(iou(predicted, span, reversed_spans=reversed_spans) for span in truth)


def recall_at(ious: Sequence[float], threshold: float, *, rule: Rule = ">=") -> float:
    """Share of questions whose IoU passes a threshold.

    Raises:
        ValueError: if there is no question.
    """
    _some(ious)
    return sum(passes(value, threshold, rule=rule) for value in ious) / len(ious)


def mean_iou(ious: Sequence[float]) -> float:
    """Mean IoU of all questions (mIoU).

    Raises:
        ValueError: if there is no question.
    """
    _some(ious)
    return math.fsum(ious) / len(ious)


def false_positive_rate(found: Sequence[bool]) -> float:
    """Share of absent events of which a model says that they happen.

    Args:
        found: for each event that never happens, whether a span was named.

    Raises:
        ValueError: if there is no such event.
    """
    _some(found)
    return sum(found) / len(found)


def _some(values: Sequence[float]) -> None:
    if not values:
        raise ValueError("there is no question to score")
