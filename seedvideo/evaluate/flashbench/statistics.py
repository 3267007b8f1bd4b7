"""How sure a share or a difference is, from few videos with several questions each.

Questions of one video are not independent, so whole videos are drawn in the bootstrap. The same
draws serve both sides of a difference: it is paired by video. Everything is seeded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Final

import numpy as np

DRAWS: Final = 4000
_SEED: Final = 20_261_123


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval.

    Args:
        value: as measured.
        low: lower end.
        high: upper end.
        videos: how many it rests on.
        units: questions in them.
    """

    value: float
    low: float
    high: float
    videos: int
    units: int


def share(successes: Sequence[Sequence[bool]]) -> Estimate:
    """Share of successes, with the interval of a bootstrap over videos.

    Args:
        successes: for each video, whether each of its questions succeeded; no video is empty.

    Raises:
        ValueError: if there is nothing.
    """
    return difference(successes, [[False] * len(video) for video in successes])


def difference(ours: Sequence[Sequence[bool]], theirs: Sequence[Sequence[bool]]) -> Estimate:
    """Difference of two shares over the same questions, paired by video.

    Raises:
        ValueError: if there is nothing, or the two do not match.
    """
    counts = np.array([len(video) for video in ours])
    if not counts.size or counts.min() < 1 or [len(video) for video in theirs] != list(counts):
        raise ValueError("both sides need the same questions, at least one in every video")
    gains = np.array([sum(a) - sum(b) for a, b in zip(ours, theirs, strict=True)])
    chance = np.random.default_rng(_SEED)
    drawn = chance.integers(0, counts.size, (DRAWS, counts.size))
    means = gains[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(
        value=float(gains.sum() / counts.sum()),
        low=float(low),
        high=float(high),
        videos=int(counts.size),
        units=int(counts.sum()),
    )


def mcnemar(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Exact two-sided p of McNemar's test: are the questions on which two differ one-sided?"""
    wins = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    losses = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    total = wins + losses
    tail: float = sum(comb(total, k) for k in range(min(wins, losses) + 1)) / 2**total
    return min(1.0, 2 * tail)
