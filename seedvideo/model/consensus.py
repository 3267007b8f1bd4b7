"""Which of several answers says most of what the others say too.

The likeliest answer of a beam search is often an odd one out; the one that agrees with the rest is
wrong less often. This is minimum Bayes risk decoding (Kumar and Byrne 2004, NAACL) with the beams
as the sample: an answer's worth is its mean likeness to all answers, each counted by how likely it
is. Likeness is the F1 of common runs of one to four tokens.

Works on token ids; knows nothing of text or models.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from seedvideo.model.generate import Written

MAX_ORDER: Final = 4
"""Longest run of tokens that is compared."""

TEMPERATURE: Final = 1.0
"""How evenly the answers count: high for all alike, low for the likeliest alone."""


def most_agreed(answers: Sequence[Written], *, temperature: float = TEMPERATURE) -> Written:
    """The answer with the highest mean likeness to all; of equal ones, the first.

    Args:
        answers: one or more.
        temperature: divides the ranks before they become weights.

    Raises:
        ValueError: if there is no answer.
    """
    if not answers:
        raise ValueError("there are no answers to choose from")
    best_rank = max(answer.rank for answer in answers)
    weights = [math.exp((answer.rank - best_rank) / temperature) for answer in answers]
    counts = [_runs(answer.ids) for answer in answers]
    worth = [
        math.fsum(
            weight * _likeness(own, other) for weight, other in zip(weights, counts, strict=True)
        )
        for own in counts
    ]
    return answers[worth.index(max(worth))]


def _runs(ids: Sequence[int]) -> list[Counter[tuple[int, ...]]]:
    """How often each run of tokens occurs, by its length."""
    return [
        Counter(tuple(ids[at : at + order]) for at in range(len(ids) - order + 1))
        for order in range(1, MAX_ORDER + 1)
    ]


def _likeness(one: list[Counter[tuple[int, ...]]], other: list[Counter[tuple[int, ...]]]) -> float:
    """Mean over the lengths of twice what is common over what there is; 0 to 1."""
    total = 0.0
    for mine, theirs in zip(one, other, strict=True):
        size = mine.total() + theirs.total()
        if size:
            total += 2 * (mine & theirs).total() / size
    return total / MAX_ORDER
