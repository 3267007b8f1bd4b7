"""Caption metrics as in COCO caption evaluation: BLEU, CIDEr-D and ROUGE-L, and their tokenizer.

BLEU: Papineni et al., "BLEU: a method for automatic evaluation of machine translation", ACL 2002;
over a corpus, without smoothing. Scores are fractions from 0 to 1; papers print them times 100.

CIDEr-D: Vedantam, Zitnick and Parikh, "CIDEr: consensus-based image description evaluation", CVPR
2015, section 5 for the D variant. It agrees with the scorer of COCO caption evaluation. The scale
is 0 to 10; good COCO models reach about 1.2, which papers print as 120.

ROUGE-L: Lin, "ROUGE: a package for automatic evaluation of summaries", 2004; by the longest common
subsequence of tokens. Scores are fractions from 0 to 1.

The tokenizer is close to the Penn Treebank tokens of COCO caption evaluation, without its Java
program:

1. Lower case; a typographic apostrophe counts as ``'``.
2. A token is a run of letters, digits and combining marks. Hyphens between two runs bind them
   (``tri-colored``), and so do ``.``, ``,`` and ``:`` between digits (``3.5``, ``10:30``,
   ``3.5-inch``). Letters with marks are composed first (NFC).
3. The second part of a contraction is a token of its own: ``dog's`` is ``dog`` and ``'s``,
   ``don't`` is ``do`` and ``n't``. Written with a space, as in Flickr8k, it gives the same tokens.
4. Everything else (punctuation, quotes, brackets, symbols) is dropped.

Where COCO's tokens differ (37 of 17,505 captions of ActivityNet): it keeps the symbols ``#``,
``&``, ``%`` and ``$``, joins ``black/white``, ``o'clock``, ``'90s``, ``u.s.a.``, ``a.m.`` and
``mr.``, splits ``cannot`` and ``gonna``, and writes ``-lrb-`` for a bracket.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from seedvideo.tasks.question_answering import compose_with_shape

Tokens = tuple[str, ...]
"""The words of one caption, in order."""

_TOKEN: Final = re.compile(
    r"""
      \d+(?:[.,:]\d+)+(?:-[^\W_]+)*  # 3.5, 1,000, 10:30, 3.5-inch
    | n't\b
    | '(?:s|m|d|re|ve|ll)\b
    | [^\W_]+?(?=n't\b)         # the verb before n't
    | [^\W_]+(?:-[^\W_]+)*
    """,
    re.VERBOSE,
)


def tokenize(text: str) -> Tokens:
    """Split a caption into its tokens by the rules above; a text without letters has none."""
    composed, shape = compose_with_shape(text.lower().replace("\u2019", "'"))
    return tuple(composed[match.start() : match.end()] for match in _TOKEN.finditer(shape))


def ngrams(tokens: Tokens, order: int) -> list[Tokens]:
    """Return all runs of ``order`` tokens, in order, with repeats."""
    return [tokens[i : i + order] for i in range(len(tokens) - order + 1)]


def tokenize_pairs(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> list[tuple[Tokens, list[Tokens]]]:
    """Tokenize captions, each with the references of the same item.

    Args:
        candidates: one caption per item.
        references: one or more human captions per item, in the same order.

    Returns:
        For each item the tokens of the caption and of each reference.

    Raises:
        ValueError: if there is no item, the two differ in length or an item has no reference.
        TypeError: if an item's references are one string instead of a list of strings.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates but references for {len(references)} items")
    if not candidates:
        raise ValueError("no candidates to score")
    for i, item in enumerate(references):
        if isinstance(item, str):
            raise TypeError(f"references of item {i} are one string, expected a list of strings")
        if not item:
            raise ValueError(f"item {i} has no references")
    return [
        (tokenize(candidate), [tokenize(reference) for reference in item])
        for candidate, item in zip(candidates, references, strict=True)
    ]


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
    """Return the mean CIDEr-D of captions; see :func:`cider_d_scores`."""
    scores = cider_d_scores(candidates, references)
    return math.fsum(scores) / len(scores)


def cider_d_scores(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, ...]:
    """Return the CIDEr-D of each caption.

    An n-gram weighs its count times ``log(items / items whose references have it)``, so document
    frequencies come from these references alone: scores of different sets do not compare, and a
    corpus of one item scores 0. For each order, a candidate and a reference compare by cosine, the
    candidate's weights clipped to the reference's, times a Gaussian of their difference in length.
    The score is the mean over orders and references, times 10.

    Args:
        candidates: one caption per item.
        references: one or more human captions per item, in the same order.

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
            # An n-gram of no reference is as rare as an n-gram of one item's references.
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


BETA: Final = 1.2
"""Weight of recall over precision in COCO caption evaluation; 1 gives F1."""

MultiReference: TypeAlias = Literal["apart", "together"]
"""With several references: ``apart`` takes the best precision and the best recall, even of two
different references, as COCO does; ``together`` takes the one reference with the best F."""


def rouge_l_scores(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    beta: float = BETA,
    multi_reference: MultiReference = "apart",
) -> tuple[float, ...]:
    """Return the ROUGE-L of each caption.

    Args:
        candidates: one caption per item.
        references: one or more human captions per item, in the same order.
        beta: weight of recall over precision.
        multi_reference: how several references count.

    Raises:
        ValueError: if there is no item, the two differ in length or an item has no reference.
    """
    found = []
    for own, item in tokenize_pairs(candidates, references):
        pairs = [_precision_recall(own, reference) for reference in item]
        if multi_reference == "apart":
            pairs = [(max(p for p, _ in pairs), max(r for _, r in pairs))]
        found.append(max(_f(precision, recall, beta=beta) for precision, recall in pairs))
    return tuple(found)


def rouge_l_similarity(candidate: str, reference: str) -> float:
    """Return the ROUGE-L F1 of two captions. It is symmetric and needs no corpus."""
    return _f(*_precision_recall(tokenize(candidate), tokenize(reference)), beta=1.0)


def _precision_recall(candidate: Tokens, reference: Tokens) -> tuple[float, float]:
    """Return precision and recall: the common subsequence over either length."""
    if not candidate or not reference:
        return 0.0, 0.0
    common = _longest_common(candidate, reference)
    return common / len(candidate), common / len(reference)


def _longest_common(one: Tokens, other: Tokens) -> int:
    before = [0] * (len(other) + 1)
    for token in one:
        now = [0]
        for i, theirs in enumerate(other):
            now.append(before[i] + 1 if token == theirs else max(before[i + 1], now[i]))
        before = now
    return before[-1]


def _f(precision: float, recall: float, *, beta: float) -> float:
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


@dataclass(frozen=True)
class Bleu:
    """BLEU-1 to BLEU-4 of one corpus, each from 0 to 1."""

    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Bleu:
    """Score captions against references, over the whole corpus.

    For each order, the n-grams that are also in a reference (each counted at most as often as in
    the reference that has it most) are divided by all n-grams, summed over the corpus. BLEU-n is
    the geometric mean of the first n fractions, times a penalty. The penalty is ``exp(1 - r / c)``
    if the candidates' length c is below r, the sum of the reference lengths closest to each
    candidate's (of two, the shorter).

    Args:
        candidates: one caption per item.
        references: one or more human captions per item, in the same order.

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
