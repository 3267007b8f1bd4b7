"""BLEU over a corpus, as COCO caption evaluation computes it.

Papineni et al., "BLEU: a method for automatic evaluation of machine translation", ACL 2002; without
smoothing. Scores are shares from 0 to 1; papers print them times 100.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from seedvideo.evaluate.tokens import Tokens, ngrams, tokenize_pairs

MAX_ORDER: Final = 4
"""Longest n-gram that counts."""


@dataclass(frozen=True)
class Bleu:
    """BLEU-1 to BLEU-4 of one corpus, each a share from 0 to 1."""

    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Bleu:
    """Score captions against references, over the whole corpus.

    For each order, the n-grams that are also in a reference (each counted at most as often as in
    the reference that has it most) are divided by all n-grams, summed over the corpus. BLEU-n is
    the geometric mean of the first n shares times ``exp(1 - r / c)`` if the candidates' length c
    is below r, the sum of the reference lengths closest to each candidate's (of two, the shorter).

    Args:
        candidates: one caption an item.
        references: for each item, in the same order, one or more captions by people.

    Raises:
        ValueError: if there is no item, the two differ in length or an item has no reference.
    """
    matched = [0] * MAX_ORDER
    possible = [0] * MAX_ORDER
    length = closest_length = 0
    for candidate, item in tokenize_pairs(candidates, references):
        length += len(candidate)
        closest_length += min((abs(len(r) - len(candidate)), len(r)) for r in item)[1]
        for i in range(MAX_ORDER):
            matched[i] += _matches(candidate, item, order=i + 1)
            possible[i] += max(0, len(candidate) - i)

    penalty = 1.0 if length >= closest_length else math.exp(1 - closest_length / max(length, 1))
    scores = []
    for order in range(1, MAX_ORDER + 1):
        if min(matched[:order]) == 0:
            scores.append(0.0)
            continue
        logs = (math.log(m / p) for m, p in zip(matched[:order], possible[:order], strict=True))
        scores.append(penalty * math.exp(sum(logs) / order))
    return Bleu(*scores)


def _matches(candidate: Tokens, item: list[Tokens], *, order: int) -> int:
    most: Counter[Tokens] = Counter()
    for reference in item:
        most |= Counter(ngrams(reference, order))
    return (Counter(ngrams(candidate, order)) & most).total()
