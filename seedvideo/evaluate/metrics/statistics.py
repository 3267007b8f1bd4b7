"""Cluster bootstrap over videos, and McNemar's test.

Questions of one video are not independent, so the bootstrap draws complete videos. The same draws
serve both sides of a difference: it is paired by video. Everything is seeded, so the same values
give the same table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

DRAWS: Final = 4000
_SEED: Final = 20_261_123
_INDICES_AT_ONCE: Final = 2**22
"""Maximum number of indices in memory, for a bootstrap over thousands of videos."""

ValuesByVideo: TypeAlias = Sequence[Sequence[float]]
"""For each video, one number per question; truth values count as 0 and 1."""

Draws: TypeAlias = npt.NDArray[np.float64]
"""``(draws,)``."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval.

    Args:
        value: the measured value.
        low: lower end of the interval.
        high: upper end of the interval.
        videos: number of videos. With one, both ends equal the value.
        units: number of questions.
    """

    value: float
    low: float
    high: float
    videos: int
    units: int


def cluster_bootstrap_mean(values: ValuesByVideo) -> Estimate:
    """Estimate the mean over all questions, with a bootstrap over videos.

    Args:
        values: numbers by video; every video needs one.

    Raises:
        ValueError: if there is no video, or a video without a question.
    """
    return bootstrap_statistic([values], lambda mean: mean)


def bootstrap_difference(ours: ValuesByVideo, theirs: ValuesByVideo) -> Estimate:
    """Estimate the difference of two means over the same questions, paired by video.

    Raises:
        ValueError: if there is no video, or the two sides have different questions.
    """
    return bootstrap_statistic([ours, theirs], lambda one, other: one - other)


def bootstrap_statistic(columns: Sequence[ValuesByVideo], combine: Callable[..., Any]) -> Estimate:
    """Estimate a statistic of several means over the same questions, such as an F1.

    Args:
        columns: one or more measures of the same questions of the same videos.
        combine: from one mean per column, each a number or ``(draws,)`` numbers, to the value.

    Raises:
        ValueError: if there is no video, or the columns have different questions.
    """
    counts = np.array([len(video) for video in columns[0]])
    if not counts.size or counts.min() < 1:
        raise ValueError("every video needs at least one question")
    if any([len(video) for video in column] != list(counts) for column in columns):
        raise ValueError("all sides need the same questions")
    sums = [np.array([float(sum(video)) for video in column]) for column in columns]
    means: Draws = combine(*_drawn_means(sums, counts))
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(
        value=float(combine(*(each.sum() / counts.sum() for each in sums))),
        low=float(low),
        high=float(high),
        videos=int(counts.size),
        units=int(counts.sum()),
    )


def _drawn_means(sums: Sequence[npt.NDArray[Any]], counts: npt.NDArray[Any]) -> list[Draws]:
    """Return each column's mean over the questions of each draw of videos."""
    rng = np.random.default_rng(_SEED)
    at_once = max(1, _INDICES_AT_ONCE // counts.size)
    means = np.empty((len(sums), DRAWS))
    for start in range(0, DRAWS, at_once):
        stop = min(start + at_once, DRAWS)
        drawn = rng.integers(0, counts.size, (stop - start, counts.size))
        sizes = counts[drawn].sum(axis=1)
        for row, each in zip(means, sums, strict=True):
            row[start:stop] = each[drawn].sum(axis=1) / sizes
    return list(means)


def mcnemar(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Return the exact two-sided p of McNemar's test on questions that only one side answers.

    The test takes questions as independent; if videos have several, prefer `bootstrap_difference`.

    Raises:
        ValueError: if the two sides differ in length.
    """
    wins = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    losses = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    total = wins + losses
    tail: float = sum(comb(total, k) for k in range(min(wins, losses) + 1)) / 2**total
    return min(1.0, 2 * tail)
