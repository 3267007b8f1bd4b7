"""Stretches of time and how much two of them have in common.

A span is ``(start_s, end_s)``, half-open, in float seconds of the video. Published scripts differ
on spans that run backward: TimeLens gives them nothing, TimeChat and lmms-eval swap the ends; a
switch says which. Knows nothing of items or models.

Mean average precision of moments, as the QVHighlights benchmark counts it.

Lei, Berg and Bansal, "QVHighlights: detecting moments and highlights in videos via natural language
queries", NeurIPS 2021. A query may have several moments and a model names several spans, best
first. Each span takes the free moment that it overlaps best; without one that passes the threshold
it is a false alarm. Precision is interpolated: at each recall, the best that is reached from there
on. Every query counts alike. An average precision is a share from 0 to 1.

Grounding by one span: recall at IoU thresholds, mean IoU, and what is found that never happens.

R@1 counts the questions whose first span overlaps the truth enough. Where an event happens several
times, the occurrence that overlaps best counts (as in QVHighlights). A question without a
prediction is an IoU of 0, never left out: leaving out shrinks the denominator and rewards silence.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

Span: TypeAlias = tuple[float, float]
"""``(start_s, end_s)``."""

Reversed: TypeAlias = Literal["nothing", "swap"]
"""What a predicted span whose end comes before its start is worth."""

Rule: TypeAlias = Literal[">=", ">"]
"""Whether a score that equals a threshold passes: TimeLens and lmms-eval say yes, Time-R1 no."""

_SAME: Final = 1e-9
"""Scores so close are equal: seconds are decimals, and binary rounding must not decide."""


def passes(value: float, threshold: float, *, rule: Rule = ">=") -> bool:
    """Whether a score passes a threshold."""
    return value >= threshold - _SAME if rule == ">=" else value > threshold + _SAME


def iou(predicted: Span, truth: Span, *, reversed_spans: Reversed = "nothing") -> float:
    """Time in both spans over time in either, from 0 to 1.

    A span without length has nothing in common with any, itself included.

    Args:
        predicted: what a model said.
        truth: what people said; one that runs backward can't be met.
        reversed_spans: what a prediction that runs backward is worth.

    Raises:
        ValueError: if a time is not finite.
    """
    if not all(map(math.isfinite, (*predicted, *truth))):
        raise ValueError(f"spans {predicted} and {truth} must have finite times")
    if reversed_spans == "swap":
        predicted = min(predicted), max(predicted)
    lengths_s = predicted[1] - predicted[0], truth[1] - truth[0]
    common_s = min(predicted[1], truth[1]) - max(predicted[0], truth[0])
    if min(*lengths_s, common_s) <= 0:
        return 0.0
    return common_s / (sum(lengths_s) - common_s)


def matched_iou(
    predicted: Sequence[Span], truth: Sequence[Span], *, reversed_spans: Reversed = "nothing"
) -> float:
    """How well several spans meet several others, from 0 to 1.

    Spans are paired one to one so that the sum of the IoUs is greatest; it is divided by the larger
    count, so a span too many costs as much as one too few. Nothing against nothing is 1.
    """
    if not predicted and not truth:
        return 1.0
    table = [
        [iou(one, other, reversed_spans=reversed_spans) for other in truth] for one in predicted
    ]
    return best_matching(table) / max(len(predicted), len(truth))


def best_matching(scores: Sequence[Sequence[float]]) -> float:
    """The greatest sum of a one-to-one choice from a table of scores, none below 0.

    The Hungarian method by shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987).

    Args:
        scores: ``(rows, columns)``; every row has the same length.
    """
    rows = [list(row) for row in scores]
    if not rows or not rows[0]:
        return 0.0
    if len(rows) > len(rows[0]):
        rows = [list(column) for column in zip(*rows, strict=True)]
    high, wide = len(rows), len(rows[0])
    # Row 0 and column 0 stand for "none": real ones count from 1. Costs are scores turned around.
    of_row, of_column = [0.0] * (high + 1), [0.0] * (wide + 1)
    row_at = [0] * (wide + 1)
    for row in range(1, high + 1):
        row_at[0] = row
        column = 0
        slack, came_from = [math.inf] * (wide + 1), [0] * (wide + 1)
        used = [False] * (wide + 1)
        while row_at[column]:
            used[column] = True
            current, step, following = row_at[column], math.inf, 0
            for other in range(1, wide + 1):
                if used[other]:
                    continue
                cost = -rows[current - 1][other - 1] - of_row[current] - of_column[other]
                if cost < slack[other]:
                    slack[other], came_from[other] = cost, column
                if slack[other] < step:
                    step, following = slack[other], other
            for other in range(wide + 1):
                if used[other]:
                    of_row[row_at[other]] += step
                    of_column[other] -= step
                else:
                    slack[other] -= step
            column = following
        while column:
            row_at[column] = row_at[came_from[column]]
            column = came_from[column]
    return math.fsum(rows[row_at[c] - 1][c - 1] for c in range(1, wide + 1) if row_at[c])


THRESHOLDS: Final = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU from .5 to .95 in steps of .05."""

MOST_SPANS: Final = 10
"""Spans of a query that count; those after them are left out."""


def average_precision(
    predicted: Sequence[Span],
    truth: Sequence[Span],
    *,
    threshold: float,
    rule: Rule = ">=",
    most: int = MOST_SPANS,
    reversed_spans: Reversed = "nothing",
) -> float:
    """Average precision of one query at one threshold.

    Args:
        predicted: spans, best first; `best_first` puts scored ones into that order.
        truth: the query's moments.
        threshold: IoU from which on a span meets a moment.
        rule: whether the threshold itself passes.
        most: spans that count.
        reversed_spans: what a span that runs backward is worth.

    Raises:
        ValueError: if the query has no moment.
    """
    if not truth:
        raise ValueError("a query without a moment has no average precision")
    free = set(range(len(truth)))
    hits = 0
    at_hits: list[tuple[int, float]] = []
    for place, span in enumerate(predicted[:most], start=1):
        overlaps = {n: iou(span, truth[n], reversed_spans=reversed_spans) for n in sorted(free)}
        best = max(overlaps, key=overlaps.__getitem__, default=None)
        if best is not None and passes(overlaps[best], threshold, rule=rule):
            free.discard(best)
            hits += 1
            at_hits.append((hits, hits / place))
    # Each hit adds one step of recall; its precision is the best of it and of those after it.
    total = best_later = 0.0
    for _, precision in reversed(at_hits):
        best_later = max(best_later, precision)
        total += best_later
    return total / len(truth)


def moment_ap(
    predicted: Sequence[Span],
    truth: Sequence[Span],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    rule: Rule = ">=",
    most: int = MOST_SPANS,
    reversed_spans: Reversed = "nothing",
) -> float:
    """Average precision of one query, averaged over thresholds; mAP is its mean over queries."""
    each = [
        average_precision(
            predicted,
            truth,
            threshold=threshold,
            rule=rule,
            most=most,
            reversed_spans=reversed_spans,
        )
        for threshold in thresholds
    ]
    return math.fsum(each) / len(each)


def best_first(spans: Sequence[Span], scores: Sequence[float | None]) -> list[Span]:
    """Spans in falling order of score; equal ones, and those without one, stay in their order.

    Raises:
        ValueError: if only some have a score, or the two differ in length.
    """
    known = [score for score in scores if score is not None]
    if len(scores) != len(spans) or len(known) not in (0, len(spans)):
        raise ValueError("every span needs a score, or none has one")
    if not known:
        return list(spans)
    order = sorted(range(len(spans)), key=lambda place: -known[place])
    return [spans[place] for place in order]


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
