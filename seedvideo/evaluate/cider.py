"""CIDEr-D: how much a caption says that the references of the same picture say, and few others.

Vedantam, Zitnick and Parikh, "CIDEr: consensus-based image description evaluation", CVPR 2015,
section 5 for the D variant. Agrees with the scorer that COCO caption evaluation uses. The scale is
0 to 10; good COCO models reach about 1.2, which papers print as 120.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from seedvideo.evaluate.tokens import Tokens, ngrams, tokenize_pairs

MAX_ORDER: Final = 4
"""Longest n-gram that counts."""

SIGMA_TOKENS: Final = 6.0
"""Width of the penalty for a difference in length."""

SCALE: Final = 10.0
"""Factor of the published score."""


@dataclass(frozen=True)
class _Vector:
    """The n-grams of one caption, weighted: term frequency times inverse document frequency.

    Attributes:
        weights: for each order, the weight of each n-gram.
        norms: for each order, the Euclidean length of the weights.
        bigrams: the caption's length, counted in bigrams as the reference implementation does.
    """

    weights: tuple[dict[Tokens, float], ...]
    norms: tuple[float, ...]
    bigrams: int


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Mean CIDEr-D of captions; see :func:`cider_d_scores`."""
    scores = cider_d_scores(candidates, references)
    return math.fsum(scores) / len(scores)


def cider_d_scores(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, ...]:
    """CIDEr-D of each caption.

    An n-gram weighs its count times ``log(items / items whose references have it)``, so document
    frequencies come from these references alone: scores of different sets do not compare, and a
    corpus of one item scores 0. For each order, a candidate and a reference compare by cosine, the
    candidate's weights clipped to the reference's, times a Gaussian of their difference in length.
    The score is the mean over orders and references, times 10.

    Args:
        candidates: one caption an item.
        references: for each item, in the same order, one or more captions by people.

    Raises:
        ValueError: if there is no item, the two differ in length or an item has no reference.
    """
    pairs = tokenize_pairs(candidates, references)
    counted = [(_count(own), [_count(reference) for reference in item]) for own, item in pairs]
    document_frequency: Counter[Tokens] = Counter()
    for _, item_counts in counted:
        document_frequency.update({gram for counts in item_counts for gram in counts})

    log_items = math.log(len(pairs))
    rarity = {gram: log_items - math.log(items) for gram, items in document_frequency.items()}

    def vector(counts: Counter[Tokens]) -> _Vector:
        weights: tuple[dict[Tokens, float], ...] = tuple({} for _ in range(MAX_ORDER))
        for gram, count in counts.items():
            # What no reference says is as rare as what one item's references say.
            weights[len(gram) - 1][gram] = count * rarity.get(gram, log_items)
        return _Vector(
            weights=weights,
            norms=tuple(math.sqrt(sum(w * w for w in order.values())) for order in weights),
            bigrams=sum(count for gram, count in counts.items() if len(gram) == 2),
        )

    scores = []
    for own_counts, item_counts in counted:
        own = vector(own_counts)
        similarities = [_similarity(own, vector(counts)) for counts in item_counts]
        scores.append(SCALE * math.fsum(similarities) / len(similarities))
    return tuple(scores)


def _count(tokens: Tokens) -> Counter[Tokens]:
    counts: Counter[Tokens] = Counter()
    for order in range(1, MAX_ORDER + 1):
        counts.update(ngrams(tokens, order))
    return counts


def _similarity(candidate: _Vector, reference: _Vector) -> float:
    total = 0.0
    for own, own_norm, theirs, their_norm in zip(
        candidate.weights, candidate.norms, reference.weights, reference.norms, strict=True
    ):
        if own_norm > 0 and their_norm > 0:
            dot = sum(
                min(w, theirs[gram]) * theirs[gram] for gram, w in own.items() if gram in theirs
            )
            total += dot / (own_norm * their_norm)
    difference = candidate.bigrams - reference.bigrams
    return total / MAX_ORDER * math.exp(-(difference**2) / (2 * SIGMA_TOKENS**2))
