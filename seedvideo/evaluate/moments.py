"""Mean average precision of moments, as the QVHighlights benchmark counts it.

Lei, Berg and Bansal, "QVHighlights: detecting moments and highlights in videos via natural language
queries", NeurIPS 2021. A query may have several moments and a model names several spans, best
first. Each span takes the free moment that it overlaps best; without one that passes the threshold
it is a false alarm. Precision is interpolated: at each recall, the best that is reached from there
on. Every query counts alike. An average precision is a share from 0 to 1.
"""

import math
from collections.abc import Sequence
from typing import Final

from seedvideo.evaluate.spans import Reversed, Rule, Span, iou, passes

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
