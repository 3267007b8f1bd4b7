"""Temporal grounding metrics: IoU of spans, matching of several spans, average precision.

A span is ``(start_s, end_s)``, half-open, in float seconds of the video. Published scripts differ
on reversed spans, whose end is before their start: TimeLens scores them 0, TimeChat and lmms-eval
swap the ends. ``reversed_spans`` chooses.

For R@1 and mIoU the first span of a prediction counts. If an event happens several times, the
occurrence that overlaps best counts (as in QVHighlights). A question without a prediction has an
IoU of 0 and stays in the mean: dropping it would reward silence.

Average precision is that of Lei, Berg and Bansal, "QVHighlights: detecting moments and highlights
in videos via natural language queries", NeurIPS 2021. A query may have several moments and a
prediction several spans, best first. Each span takes the free moment that it overlaps best; if none
reaches the threshold, it is a false positive. Precision is interpolated: at each recall, the best
one from there on. All queries have the same weight.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

Span: TypeAlias = tuple[float, float]
"""``(start_s, end_s)``."""

ReversedSpanRule: TypeAlias = Literal["nothing", "swap"]
"""Score of a predicted span that ends before it starts: 0, or that of the swapped span."""

ThresholdRule: TypeAlias = Literal[">=", ">"]
"""Whether a score equal to the threshold passes: yes in TimeLens and lmms-eval, no in Time-R1."""

_SAME: Final = 1e-9
"""Tolerance of equal scores: seconds are decimals, and binary rounding must not decide."""


def passes_threshold(value: float, threshold: float, *, rule: ThresholdRule = ">=") -> bool:
    """Return whether a score passes a threshold."""
    return value >= threshold - _SAME if rule == ">=" else value > threshold + _SAME


def iou(predicted: Span, truth: Span, *, reversed_spans: ReversedSpanRule = "nothing") -> float:
    """Return the intersection over union of two spans, from 0 to 1.

    The IoU of a span without length is always 0, even with itself.

    Args:
        predicted: span of a model.
        truth: annotated span; a reversed one has an IoU of 0 with every span.
        reversed_spans: how a reversed prediction is scored.

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
    predicted: Sequence[Span],
    truth: Sequence[Span],
    *,
    reversed_spans: ReversedSpanRule = "nothing",
) -> float:
    """Return the mean IoU of two sets of spans after one-to-one matching, from 0 to 1.

    The matching maximises the sum of the IoUs. The sum is divided by the larger count, so a
    redundant span costs as much as a missing one. Two empty sets score 1.
    """
    if not predicted and not truth:
        return 1.0
    table = [
        [iou(one, other, reversed_spans=reversed_spans) for other in truth] for one in predicted
    ]
    return best_matching(table) / max(len(predicted), len(truth))


def best_matching(scores: Sequence[Sequence[float]]) -> float:
    """Return the maximum sum of a one-to-one matching in a table of scores, none below 0.

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
    # Row 0 and column 0 stand for "none": real ones count from 1. Costs are negated scores.
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
"""IoU from 0.5 to 0.95 in steps of 0.05, as in QVHighlights."""

MAX_SPANS: Final = 10
"""Maximum number of spans per query, as in QVHighlights; further ones are ignored."""


def average_precision(
    predicted: Sequence[Span],
    truth: Sequence[Span],
    *,
    threshold: float,
    rule: ThresholdRule = ">=",
    max_spans: int = MAX_SPANS,
    reversed_spans: ReversedSpanRule = "nothing",
) -> float:
    """Return the average precision of one query at one threshold, from 0 to 1.

    Args:
        predicted: spans, best first; see `sort_by_score`.
        truth: the query's moments.
        threshold: minimum IoU of a span with its moment.
        rule: whether the threshold itself passes.
        max_spans: maximum number of spans; further ones are ignored.
        reversed_spans: how a reversed prediction is scored.

    Raises:
        ValueError: if the query has no moment.
    """
    if not truth:
        raise ValueError("a query without a moment has no average precision")
    free = set(range(len(truth)))
    hits = 0
    at_hits: list[tuple[int, float]] = []
    for count, span in enumerate(predicted[:max_spans], start=1):
        overlaps = {n: iou(span, truth[n], reversed_spans=reversed_spans) for n in sorted(free)}
        best = max(overlaps, key=overlaps.__getitem__, default=None)
        if best is not None and passes_threshold(overlaps[best], threshold, rule=rule):
            free.discard(best)
            hits += 1
            at_hits.append((hits, hits / count))
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
    rule: ThresholdRule = ">=",
    max_spans: int = MAX_SPANS,
    reversed_spans: ReversedSpanRule = "nothing",
) -> float:
    """Return one query's average precision, averaged over thresholds.

    Its mean over queries is mAP. The arguments are those of `average_precision`.
    """
    each = [
        average_precision(
            predicted,
            truth,
            threshold=threshold,
            rule=rule,
            max_spans=max_spans,
            reversed_spans=reversed_spans,
        )
        for threshold in thresholds
    ]
    return math.fsum(each) / len(each)


def sort_by_score(spans: Sequence[Span], scores: Sequence[float | None]) -> list[Span]:
    """Sort spans by score, highest first; equal ones, and those without score, keep their order.

    Raises:
        ValueError: if only some have a score, or the two differ in length.
    """
    known = [score for score in scores if score is not None]
    if len(scores) != len(spans) or len(known) not in (0, len(spans)):
        raise ValueError("every span needs a score, or none has one")
    if not known:
        return list(spans)
    order = sorted(range(len(spans)), key=lambda i: -known[i])
    return [spans[i] for i in order]


def first_or_none(spans: Sequence[Span]) -> Span | None:
    """Return the first span, or None if there is none.

    The first one counts for R@1, as in TimeLens; VideoChat-R1 takes the last.
    """
    return spans[0] if spans else None


def best_iou(
    predicted: Span | None, truth: Sequence[Span], *, reversed_spans: ReversedSpanRule = "nothing"
) -> float:
    """Return the IoU of one span with the occurrence that it overlaps best; 0 without a span.

    Raises:
        ValueError: if there is no occurrence: an absent event has no IoU.
    """
    if not truth:
        raise ValueError("an event that never happens has no IoU")
    if predicted is None:
        return 0.0
    return max(iou(predicted, span, reversed_spans=reversed_spans) for span in truth)
