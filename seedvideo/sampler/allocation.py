"""The allocation: how many frames of which size each segment gets, over an even coverage grid.

The coverage frames are charged first and stay. What is left is shared out among the options of
segments and peaks (`seedvideo.sampler.allocation`): a multiple-choice knapsack
(`seedvideo.sampler.knapsack`) over what they are worth (`seedvideo.sampler.utility`). Knows counts
and sizes, no times and no file. ``_tokens`` are tokens in the sequence; costs are those above the
coverage grid.

What segments and peaks may get above the coverage grid: every option with its cost and worth.

A segment may have some of its coverage frames made larger, all of them and more added, or others
added beside them; a peak may have one frame of any size, or none. Costs are tokens above the
coverage grid. Knows no budget.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler import knapsack
from seedvideo.sampler.utility import EVENT_WORTH_S, Demand, Looks, Spot, read, worth

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


_BISECTIONS: Final = 14
"""Rounds in which the worth that a frame must have is found, where frames are scarce."""


@dataclass(frozen=True)
class Grant:
    """What one segment gets above its coverage frames.

    Args:
        level: size of the frames below.
        lifted: coverage frames that get this size instead of their own.
        added: frames beside the coverage frames.
        at_spots: size of the frame at each of the segment's spots, None where it gets none.
        tokens: what all of these cost.
        worth: what all frames of the segment are worth, in seconds of ordinary content.
    """

    level: Level
    lifted: int
    added: int
    tokens: int
    worth: float
    at_spots: tuple[Level | None, ...] = ()


@dataclass(frozen=True)
class Allocation:
    """A grant for each segment.

    Args:
        grants: in the order of the segments.
        tokens: what they cost together, above the coverage frames.
        worth: what all frames are worth together.
        bound: no grants within the budget are worth more.
        is_exact: whether these are known to be the best.
    """

    grants: tuple[Grant, ...]
    tokens: int
    worth: float
    bound: float
    is_exact: bool


def coverage_share(rho: float, busy_share: float) -> float:
    """Share of the budget that goes to the coverage grid.

    Where much of the time counts as busy, the estimate tells little about what matters: from 30 %
    on the share rises from ``rho`` to 1, at which the plan is the even one.

    Args:
        rho: share where the estimate is selective, 0 to 1.
        busy_share: share of the time that counts as busy, 0 to 1.
    """
    flood = min(1.0, max(0.0, (busy_share - 0.3) / 0.7))
    return 1.0 if flood == 1 else rho + (1 - rho) * flood


def allocate(
    lots: Sequence[Lot],
    *,
    levels: Sequence[Level],
    budget_tokens: int,
    max_added: int,
    event_worth_s: float = EVENT_WORTH_S,
) -> Allocation:
    """Share a budget out to segments, once. See `Sharing`, which can do so again and again."""
    sharing = Sharing(lots, levels=levels, event_worth_s=event_worth_s)
    return sharing.of(budget_tokens, max_added=max_added)


class Sharing:
    """What segments may get, worked out once for any budget.

    Args:
        lots: the segments, at least one.
        levels: sizes that frames may have.
        event_worth_s: worth of an event that is seen and read.
    """

    def __init__(
        self,
        lots: Sequence[Lot],
        *,
        levels: Sequence[Level],
        event_worth_s: float = EVENT_WORTH_S,
    ) -> None:
        fine = max(LEAST_COUNTS, COUNTS // len(lots))
        self._lots = tuple(lots)
        self._levels = tuple(levels)
        # Those of the segments first, then those of all spots.
        self._offers = [
            segment_offers(lot, levels, fine=fine, event_worth_s=event_worth_s) for lot in lots
        ]
        self._offers += [spot_offers(spot, lot, levels) for lot in lots for spot in lot.spots]
        self._hulls = self._prepared(frame_worth=0.0)

    def of(self, budget_tokens: int, *, max_added: int) -> Allocation:
        """Share out a budget.

        Args:
            budget_tokens: what may be spent above the coverage frames, 0 or more.
            max_added: most frames that may be added, 0 or more.

        Returns:
            Grants that never cost more than the budget. Their worth is at most `Allocation.bound`,
            and the bound is tight up to one step of one segment.

        Raises:
            ValueError: if the budget or the number of frames is below 0.
        """
        if budget_tokens < 0 or max_added < 0:
            raise ValueError(f"nothing can be had for {budget_tokens} tokens, {max_added} frames")
        solution = knapsack.solve(self._hulls, budget_tokens)
        if self._added(solution) > max_added:
            solution = self._within_frames(budget_tokens, max_added)
        grants = self._grants(solution.options)
        total = fsum(grant.worth for grant in grants)
        return Allocation(
            grants=grants,
            tokens=solution.cost,
            worth=total,
            bound=max(solution.bound, total),
            is_exact=solution.is_exact,
        )

    def _grants(self, options: Sequence[int]) -> tuple[Grant, ...]:
        """The chosen options in words of segments."""
        pairs = list(zip(self._offers, options, strict=True))
        at_spots = iter(pairs[len(self._lots) :])
        grants = []
        for lot, (offer, option) in zip(self._lots, pairs[: len(self._lots)], strict=True):
            own = [next(at_spots) for _ in lot.spots]
            both = [(offer, option), *own]
            grants.append(
                Grant(
                    level=self._levels[int(offer.level[option])],
                    lifted=int(offer.lifted[option]),
                    added=int(offer.added[option]),
                    tokens=sum(int(each.costs[place]) for each, place in both),
                    worth=fsum(float(each.worths[place]) for each, place in both),
                    at_spots=tuple(each.level_of(place, self._levels) for each, place in own),
                )
            )
        return tuple(grants)

    def _prepared(self, *, frame_worth: float) -> knapsack.Hulls:
        """The options where every added frame must first repay ``frame_worth``."""
        return knapsack.prepare(
            [
                knapsack.Item(costs=offer.costs, values=offer.worths - frame_worth * offer.added)
                for offer in self._offers
            ]
        )

    def _added(self, solution: knapsack.Solution) -> int:
        pairs = zip(self._offers, solution.options, strict=True)
        return sum(int(offer.added[option]) for offer, option in pairs)

    def _within_frames(self, budget: int, max_added: int) -> knapsack.Solution:
        """The best options found with at most ``max_added`` frames added.

        The limit becomes a price in worth (a Lagrange multiplier), found by bisection; the price
        times the limit is added back to the bound, which holds for any price.
        """
        # Above the worth of everything that a segment can get, no frame repays its price.
        low, high = 0.0, 1.0 + max(float(np.ptp(offer.worths)) for offer in self._offers)
        best = knapsack.solve(self._prepared(frame_worth=high), budget)
        bound = best.bound + high * max_added
        for _ in range(_BISECTIONS):
            price = (low + high) / 2
            solution = knapsack.solve(self._prepared(frame_worth=price), budget)
            bound = min(bound, solution.bound + price * max_added)
            if self._added(solution) > max_added:
                low = price
            else:
                high, best = price, solution
        options = self._topped_up(best.options, budget, max_added)
        pairs = list(zip(self._offers, options, strict=True))
        return knapsack.Solution(
            options=options,
            cost=sum(int(offer.costs[option]) for offer, option in pairs),
            value=fsum(float(offer.worths[option]) for offer, option in pairs),
            bound=bound,
            is_exact=False,
        )

    def _topped_up(self, options: Sequence[int], budget: int, max_added: int) -> tuple[int, ...]:
        """Better options, one at a time, while tokens and frames last.

        One price for all frames is too blunt where segments are alike: at a little less all of them
        want one more frame.
        """
        sizes = [len(offer.costs) for offer in self._offers]
        owners = np.repeat(np.arange(len(sizes)), sizes)
        places = np.concatenate([np.arange(size) for size in sizes])
        costs = np.concatenate([offer.costs for offer in self._offers])
        added = np.concatenate([offer.added for offer in self._offers])
        worths = np.concatenate([offer.worths for offer in self._offers])
        chosen = np.concatenate(([0], np.cumsum(sizes)[:-1])) + np.asarray(options)
        while True:
            tokens_left = budget - int(costs[chosen].sum())
            frames_left = max_added - int(added[chosen].sum())
            extra = costs - costs[chosen][owners]
            gain = worths - worths[chosen][owners]
            fits = (extra <= tokens_left) & (added - added[chosen][owners] <= frames_left)
            better = np.flatnonzero(fits & (gain > 0))
            if not len(better):
                return tuple(places[chosen].tolist())
            take = int(better[np.argmax(gain[better] / np.maximum(1, extra[better]))])
            chosen[owners[take]] = take


def even_worth(
    lots: Sequence[Lot],
    positions: Sequence[Sequence[int]],
    *,
    level: Level,
    event_worth_s: float = EVENT_WORTH_S,
) -> float:
    """Worth of a plan of one size, from the positions of its frames in each segment."""
    values = []
    for lot, inside in zip(lots, positions, strict=True):
        looks = Looks(fine=len(inside), fine_tokens=level.tokens)
        values.append(float(worth(lot.demand, looks, event_worth_s=event_worth_s)))
        for spot in lot.spots:
            place = bisect_left(inside, spot.shown.start)
            if place < len(inside) and inside[place] in spot.shown:
                legible = read(level.tokens, detail_tokens=spot.detail_tokens)
                values.append(spot.worth_s * float(legible))
    return fsum(values)
