"""ROUGE-L: how much of a caption's wording stands in a reference in the same order.

Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, by the longest common
subsequence of tokens. Scores are shares from 0 to 1.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from seedvideo.evaluate.tokens import Tokens, tokenize, tokenize_pairs

BETA: Final = 1.2
"""How much more recall counts than precision in COCO caption evaluation; 1 is the plain F1."""

Maxima: TypeAlias = Literal["apart", "together"]
"""With several references: COCO takes the best precision and the best recall apart, even of two
different references; others take the one reference with the best F."""


def rouge_l(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    beta: float = BETA,
    maxima: Maxima = "apart",
) -> float:
    """Mean ROUGE-L of captions; see `rouge_l_scores`."""
    scores = rouge_l_scores(candidates, references, beta=beta, maxima=maxima)
    return math.fsum(scores) / len(scores)


def rouge_l_scores(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    beta: float = BETA,
    maxima: Maxima = "apart",
) -> tuple[float, ...]:
    """ROUGE-L of each caption.

    Args:
        candidates: one caption an item.
        references: for each item, in the same order, one or more captions by people.
        beta: weight of recall.
        maxima: how several references count.

    Raises:
        ValueError: if there is no item, the two differ in length or an item has no reference.
    """
    found = []
    for own, item in tokenize_pairs(candidates, references):
        pairs = [_shares(own, reference) for reference in item]
        if maxima == "apart":
            pairs = [(max(p for p, _ in pairs), max(r for _, r in pairs))]
        found.append(max(_f(precision, recall, beta=beta) for precision, recall in pairs))
    return tuple(found)


def similarity(candidate: str, reference: str) -> float:
    """ROUGE-L F1 of two captions, the same both ways: needs no corpus, so it can weigh pairs."""
    return _f(*_shares(tokenize(candidate), tokenize(reference)), beta=1.0)


def _shares(candidate: Tokens, reference: Tokens) -> tuple[float, float]:
    """Precision and recall: the common subsequence over either length."""
    if not candidate or not reference:
        return 0.0, 0.0
    common = _longest_common(candidate, reference)
    return common / len(candidate), common / len(reference)


def _longest_common(one: Tokens, other: Tokens) -> int:
    before = [0] * (len(other) + 1)
    for token in one:
        now = [0]
        for place, theirs in enumerate(other):
            longer = before[place] + 1 if token == theirs else max(before[place + 1], now[place])
            now.append(longer)
        before = now
    return before[-1]


def _f(precision: float, recall: float, *, beta: float) -> float:
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
