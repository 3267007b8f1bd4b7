"""Stretches of time and how much two of them have in common.

A span is ``(start_s, end_s)``, half-open, in float seconds of the video. Published scripts differ
on spans that run backward: TimeLens gives them nothing, TimeChat and lmms-eval swap the ends; a
switch says which. Knows nothing of items or models.
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
