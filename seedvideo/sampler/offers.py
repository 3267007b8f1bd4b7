"""What segments and peaks may get above the coverage grid: every option with its cost and worth.

A segment may have some of its coverage frames made larger, all of them and more added, or others
added beside them; a peak may have one frame of any size, or none. Costs are tokens above the
coverage grid. Knows no budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.demand import Demand
from seedvideo.sampler.spots import Spot
from seedvideo.sampler.utility import Looks, read, worth

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

COUNTS: Final = 4096
"""Counts of frames that are offered one by one, shared among the segments."""

LEAST_COUNTS: Final = 32
"""Counts that every segment is offered one by one, however many segments there are."""


@dataclass(frozen=True)
class Level:
    """A size that this video's frames may have.

    Args:
        cap_tokens: the level's name: its cap of visual tokens.
        tokens: visual tokens that a frame of this video really has under it.
    """

    cap_tokens: int
    tokens: int


@dataclass(frozen=True)
class Lot:
    """What is shared out to one segment, and what it asks for.

    Args:
        demand: its needs.
        level: size of its coverage frames.
        coverage: coverage frames that lie in it, 0 or more.
        room: most frames that it may have, coverage included and those at spots left out.
        text_tokens: text and marks of one frame in it.
        spots: its peaks.
        liftable: most coverage frames that may be made larger; all of them if None.

    Raises:
        ValueError: if it has less room than coverage.
    """

    demand: Demand
    level: Level
    coverage: int
    room: int
    text_tokens: int
    spots: tuple[Spot, ...] = ()
    liftable: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.coverage <= self.room:
            raise ValueError(f"{self.coverage} coverage frames in a segment of {self.room} frames")


@dataclass(frozen=True, eq=False)
class Offers:
    """The options of one segment or spot; all arrays are ``(options,)``."""

    level: Ints
    lifted: Ints
    added: Ints
    costs: Ints
    worths: Floats

    def level_of(self, option: int, levels: Sequence[Level]) -> Level | None:
        """Size of the frame that an option gives a spot."""
        place = int(self.level[option])
        return None if place < 0 else levels[place]


def ladder(most: int, *, fine: int) -> Ints:
    """Counts that are offered: every one to ``fine``, from there in steps of a ``fine``-th.

    Returns:
        Strictly increasing from 1 to ``most``; empty where ``most`` is 0.
    """
    counts = list(range(1, min(most, fine) + 1))
    while counts and counts[-1] < most:
        counts.append(min(most, counts[-1] + counts[-1] // fine))
    return np.asarray(counts, np.int64)


def spot_offers(spot: Spot, lot: Lot, levels: Sequence[Level]) -> Offers:
    """Nothing, and a frame of each size; where the grid shows the spot, a larger frame of it.

    A blank picture is offered at the lowest size only.
    """
    tokens = np.asarray([level.tokens for level in levels], np.int64)
    places = np.arange(len(tokens), dtype=np.int64)
    if lot.demand.is_blank:
        places = places[-1:]
    shown = 0
    costs = tokens + lot.text_tokens
    if spot.is_covered:
        shown = lot.level.tokens
        places = places[tokens[places] > shown]
        costs = tokens - shown
    legible = read(np.append(shown, tokens[places]), detail_tokens=spot.detail_tokens)
    none = np.zeros(len(places) + 1, np.int64)
    return Offers(
        level=np.append(-1, places),
        lifted=none,
        added=none if spot.is_covered else np.append(0, np.ones(len(places), np.int64)),
        costs=np.append(0, costs[places]),
        worths=spot.worth_s * legible,
    )


def segment_offers(
    lot: Lot,
    levels: Sequence[Level],
    *,
    fine: int,
    event_worth_s: float,
) -> Offers:
    """Nothing, and at each level: some frames lifted, all lifted and some added, some added."""
    coverage, base, most = lot.level, lot.coverage, lot.room - lot.coverage
    tokens = np.asarray([level.tokens for level in levels], np.int64)
    higher = np.flatnonzero(tokens > coverage.tokens)
    beside = ladder(most, fine=fine)
    liftable = base if lot.liftable is None else min(lot.liftable, base)
    some, more = ladder(min(liftable, max(0, base - 1)), fine=fine), np.append(0, beside)
    if liftable < base:
        more = more[:0]
    if liftable == 0:
        higher = higher[:0]
    lifts = np.concatenate((some, np.full(len(more), base)))
    added = np.concatenate((np.zeros(len(some), np.int64), more))
    # The first option is nothing at all; its level is any.
    level = np.concatenate(
        (
            np.zeros(1, np.int64),
            np.repeat(higher, len(lifts)),
            np.repeat(np.arange(len(tokens)), len(beside)),
        )
    )
    lifted = np.concatenate(
        ([0], np.tile(lifts, len(higher)), np.zeros(len(tokens) * len(beside), np.int64))
    )
    added = np.concatenate(([0], np.tile(added, len(higher)), np.tile(beside, len(tokens))))
    chosen = tokens[level]
    costs = lifted * (chosen - coverage.tokens) + added * (chosen + lot.text_tokens)
    kept = base - lifted
    # Of the two sizes in the segment the larger is fine, the smaller coarse.
    is_finer = chosen >= coverage.tokens
    worths = worth(
        lot.demand,
        Looks(
            fine=np.where(is_finer, lifted + added, kept),
            fine_tokens=np.where(is_finer, chosen, coverage.tokens),
            coarse=np.where(is_finer, kept, added),
            coarse_tokens=np.where(is_finer, coverage.tokens, chosen),
        ),
        event_worth_s=event_worth_s,
    )
    return Offers(
        level=level, lifted=lifted, added=added, costs=np.asarray(costs, np.int64), worths=worths
    )
