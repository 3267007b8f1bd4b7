"""How sure a mean or a difference is, from few videos with several questions each.

Questions of one video are not independent, so whole videos are drawn in the bootstrap. The same
draws serve both sides of a difference: it is paired by video. Everything is seeded, so that a table
made twice is the same. Knows nothing of what the numbers measure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

DRAWS: Final = 4000
_SEED: Final = 20_261_123
_INDICES_AT_ONCE: Final = 2**22
"""Bounds the memory of a bootstrap over thousands of videos."""

_NORMAL_95: Final = 1.959963984540054
"""Standard deviations on either side of the mean that hold 95 % of a normal distribution."""

ByVideo: TypeAlias = Sequence[Sequence[float]]
"""For each video, one number a question; truth values count as 0 and 1."""

Means: TypeAlias = npt.NDArray[np.float64]
"""``(draws,)``."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval.

    Args:
        value: as measured.
        low: lower end.
        high: upper end.
        videos: how many it rests on. With one, both ends are the value: nothing is known of others.
        units: questions in them.
    """

    value: float
    low: float
    high: float
    videos: int
    units: int


def share(values: ByVideo) -> Estimate:
    """Mean over all questions (of truth values: their share), with a bootstrap over videos.

    Args:
        values: no video is empty.

    Raises:
        ValueError: if there is nothing.
    """
    return combined([values], lambda mean: mean)


def difference(ours: ByVideo, theirs: ByVideo) -> Estimate:
    """Difference of two means over the same questions, paired by video.

    Raises:
        ValueError: if there is nothing, or the two do not match.
    """
    return combined([ours, theirs], lambda one, other: one - other)


def combined(columns: Sequence[ByVideo], combine: Callable[..., Any]) -> Estimate:
    """What is computed from several means over the same questions, such as an F1.

    Args:
        columns: one or more measures of the same questions of the same videos.
        combine: from one mean a column, each a number or ``(draws,)`` numbers, to the value.

    Raises:
        ValueError: if there is nothing, or the columns do not match.
    """
    counts = np.array([len(video) for video in columns[0]])
    if not counts.size or counts.min() < 1:
        raise ValueError("every video needs at least one question")
    if any([len(video) for video in column] != list(counts) for column in columns):
        raise ValueError("all sides need the same questions")
    sums = [np.array([float(sum(video)) for video in column]) for column in columns]
    means: Means = combine(*_drawn_means(sums, counts))
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(
        value=float(combine(*(each.sum() / counts.sum() for each in sums))),
        low=float(low),
        high=float(high),
        videos=int(counts.size),
        units=int(counts.sum()),
    )


def _drawn_means(sums: Sequence[npt.NDArray[Any]], counts: npt.NDArray[Any]) -> list[Means]:
    """Each column's mean over the questions of each draw of videos."""
    chance = np.random.default_rng(_SEED)
    at_once = max(1, _INDICES_AT_ONCE // counts.size)
    means = np.empty((len(sums), DRAWS))
    for start in range(0, DRAWS, at_once):
        stop = min(start + at_once, DRAWS)
        drawn = chance.integers(0, counts.size, (stop - start, counts.size))
        sizes = counts[drawn].sum(axis=1)
        for row, each in zip(means, sums, strict=True):
            row[start:stop] = each[drawn].sum(axis=1) / sizes
    return list(means)


def mcnemar(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Exact two-sided p of McNemar's test: are the questions on which two differ one-sided?

    It takes questions as independent; where a video has several, `difference` is the safer judge.

    Raises:
        ValueError: if the two differ in length.
    """
    wins = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    losses = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    total = wins + losses
    tail: float = sum(comb(total, k) for k in range(min(wins, losses) + 1)) / 2**total
    return min(1.0, 2 * tail)


def wilson(successes: int, total: int) -> tuple[float, float]:
    """95 % interval of a share of independent questions; sound where all or none succeed.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Raises:
        ValueError: if there is no question, or more successes than questions.
    """
    if not 0 <= successes <= total or total == 0:
        raise ValueError(f"{successes} of {total} is no share")
    shared, z2 = successes / total, _NORMAL_95**2
    centre = (shared + z2 / (2 * total)) / (1 + z2 / total)
    half = _NORMAL_95 * sqrt(shared * (1 - shared) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    return max(0.0, centre - half), min(1.0, centre + half)
