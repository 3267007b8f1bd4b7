"""The multiple-choice knapsack: one option of each item, the most value, the cost within a budget.

Convex hulls and a greedy walk down the slopes give a plan and, with it, a bound that no plan can
pass (the optimum of the linear relaxation; Sinha and Zoltners, Operations Research 27, 1979). A
refill spends what the walk left, and where items are few dynamic programming finds the optimum.

Knows nothing of videos: costs are whole numbers, values are floats on any scale. Scaling all values
changes no choice, and neither does the order of the items, ties aside, which go to the lower index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, gcd
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_EXACT_ITEMS: Final = 32
"""Items up to which the optimum is looked for: beyond, the greedy walk is as good as exact."""

MAX_EXACT_WORK: Final = 60_000_000
"""Most additions that the search for the optimum may take: about a fifth of a second."""


@dataclass(frozen=True, eq=False)
class Item:
    """One choice that must be made.

    Args:
        costs: ``(options,)``, 0 or more.
        values: ``(options,)``, finite.
    """

    costs: Ints
    values: Floats


@dataclass(frozen=True)
class Solution:
    """One option for each item.

    Args:
        options: the chosen option of each item, a position in its arrays.
        cost: what they cost together.
        value: what they are worth together.
        bound: no choice within the budget is worth more.
        is_exact: whether this is known to be the best choice there is.
    """

    options: tuple[int, ...]
    cost: int
    value: float
    bound: float
    is_exact: bool


@dataclass(frozen=True)
class Walk:
    """The greedy walk: where it stopped, and what its last slope proves.

    Args:
        options: the option of each item at the first step that did not fit. A larger budget never
            gives an item a cheaper one.
        bound: the optimum of the linear relaxation.
        slope: value of a unit of cost at the step that did not fit; 0 where all fitted.
        blocked_gain: value of that step; ``bound`` is less than this above the walk's value.
    """

    options: tuple[int, ...]
    bound: float
    slope: float
    blocked_gain: float


@dataclass(frozen=True, eq=False)
class Hulls:
    """Items without their hopeless options, ready for any budget. Made by `prepare`.

    Args:
        items: the items as given.
        fronts: for each item its undominated options, dearer and better from one to the next.
        steps: hull steps, steepest first: ``(item, option after the step)``.
        slopes: value of a unit of cost in each step.
        starts: each item's cheapest option.
    """

    items: tuple[Item, ...]
    fronts: tuple[Ints, ...]
    steps: Ints
    slopes: Floats
    starts: tuple[int, ...]

    def cost(self, options: Sequence[int]) -> int:
        """What one option of each item costs."""
        pairs = zip(self.items, options, strict=True)
        return sum(int(item.costs[option]) for item, option in pairs)

    def value(self, options: Sequence[int]) -> float:
        """What one option of each item is worth; the same in any order of the items."""
        pairs = zip(self.items, options, strict=True)
        return fsum(float(item.values[option]) for item, option in pairs)


def prepare(items: Sequence[Item]) -> Hulls:
    """Drop dominated options and sort the steps of the items' upper hulls by slope."""
    fronts = [front(item) for item in items]
    owners: list[int] = []
    options: list[int] = []
    slopes: list[float] = []
    for owner, (item, kept) in enumerate(zip(items, fronts, strict=True)):
        corners = hull(item, kept)
        costs, values = item.costs[corners], item.values[corners]
        owners += [owner] * (len(corners) - 1)
        options += corners[1:].tolist()
        slopes += (np.diff(values) / np.diff(costs)).tolist()
    # Stable: steps of one item stay in their order, equal slopes in the order of the items.
    order = np.argsort(-np.asarray(slopes, np.float64), kind="stable")
    steps = np.column_stack((np.asarray(owners, np.int64), np.asarray(options, np.int64)))
    return Hulls(
        items=tuple(items),
        fronts=tuple(fronts),
        steps=steps[order],
        slopes=np.asarray(slopes, np.float64)[order],
        starts=tuple(int(kept[0]) for kept in fronts),
    )


def front(item: Item) -> Ints:
    """Options that no other beats: sorted by cost, each worth more than all cheaper ones."""
    order = np.lexsort((-item.values, item.costs))
    values = item.values[order]
    best = np.maximum.accumulate(values)
    is_better = np.concatenate(([True], values[1:] > best[:-1]))
    return np.asarray(order[is_better], np.int64)


def hull(item: Item, kept: Ints) -> Ints:
    """Corners of the upper convex hull over undominated options: slopes fall from each to the next.

    Args:
        item: the item.
        kept: its undominated options, by cost.
    """
    costs, values = item.costs[kept].tolist(), item.values[kept].tolist()
    corners: list[int] = []
    for index, (cost, value) in enumerate(zip(costs, values, strict=True)):
        while len(corners) >= 2:
            before, last = corners[-2], corners[-1]
            # The last corner lies on or under the line from the one before it to this option.
            if (values[last] - values[before]) * (cost - costs[before]) > (
                value - values[before]
            ) * (costs[last] - costs[before]):
                break
            corners.pop()
        corners.append(index)
    return np.asarray(kept[corners], np.int64)


def solve(hulls: Hulls, budget: int) -> Solution:
    """The best choice that can be found within a budget.

    Raises:
        ValueError: if even the cheapest options cost more than the budget.
    """
    walked = walk(hulls, budget)
    options = refill(hulls, walked.options, budget)
    is_exact = walked.slope == 0
    if not is_exact:
        best = exact(hulls, walked, budget, known=hulls.value(options))
        if best is not None:
            is_exact = True
            options = best or options
    value = hulls.value(options)
    return Solution(
        options=options,
        cost=hulls.cost(options),
        value=value,
        bound=max(walked.bound, value),
        is_exact=is_exact,
    )


def walk(hulls: Hulls, budget: int) -> Walk:
    """Take hull steps, steepest first, until one does not fit.

    Raises:
        ValueError: if even the cheapest options cost more than the budget.
    """
    left = budget - hulls.cost(hulls.starts)
    if left < 0:
        raise ValueError(f"the cheapest options cost {budget - left}, the budget is {budget}")
    options = list(hulls.starts)
    for (owner, option), slope in zip(hulls.steps.tolist(), hulls.slopes.tolist(), strict=True):
        item = hulls.items[owner]
        cost = int(item.costs[option] - item.costs[options[owner]])
        if cost > left:
            gain = float(item.values[option] - item.values[options[owner]])
            bound = hulls.value(options) + slope * left
            return Walk(tuple(options), bound=bound, slope=slope, blocked_gain=gain)
        options[owner] = option
        left -= cost
    return Walk(tuple(options), bound=hulls.value(options), slope=0.0, blocked_gain=0.0)


def refill(hulls: Hulls, options: Sequence[int], budget: int) -> tuple[int, ...]:
    """Spend what is left: one item at a time gets the better option that repays its cost best."""
    owners = np.repeat(np.arange(len(hulls.items)), [len(kept) for kept in hulls.fronts])
    kept = np.concatenate([np.zeros(0, np.int64), *hulls.fronts])
    pairs = list(zip(hulls.items, hulls.fronts, strict=True))
    costs = np.concatenate([np.zeros(0, np.int64), *(item.costs[each] for item, each in pairs)])
    values = np.concatenate([np.zeros(0), *(item.values[each] for item, each in pairs)])
    chosen = np.asarray(options, np.int64)
    now_cost = np.array([item.costs[o] for item, o in zip(hulls.items, options, strict=True)])
    now_value = np.array([item.values[o] for item, o in zip(hulls.items, options, strict=True)])
    left = budget - hulls.cost(options)
    while len(kept):
        extra, gain = costs - now_cost[owners], values - now_value[owners]
        # What does not fit now never will: neither the rest nor any item's choice shrinks.
        open_ = (extra > 0) & (extra <= left) & (gain > 0)
        owners, kept, costs, values = owners[open_], kept[open_], costs[open_], values[open_]
        if not len(kept):
            break
        take = int(np.argmax(gain[open_] / extra[open_]))
        owner = owners[take]
        left -= int(costs[take] - now_cost[owner])
        chosen[owner], now_cost[owner], now_value[owner] = kept[take], costs[take], values[take]
    return tuple(chosen.tolist())


def exact(hulls: Hulls, walked: Walk, budget: int, *, known: float) -> tuple[int, ...] | None:
    """The best choice, by dynamic programming over the budget, where that is affordable.

    Options that cost too much against the walk's slope to be part of anything better than ``known``
    are left out first: few remain.

    Returns:
        Options of the best choice; empty where nothing beats ``known``; None where there are too
        many items or the search would take too long.
    """
    if len(hulls.items) > MAX_EXACT_ITEMS:
        return None
    # What a choice may lose against the relaxation and still beat what is known; rounding included.
    slack = max(0.0, walked.bound - known) + 1e-12 * abs(walked.bound)
    kept = []
    for item, options in zip(hulls.items, hulls.fronts, strict=True):
        reduced = item.values[options] - walked.slope * item.costs[options]
        kept.append(options[reduced >= reduced.max() - slack])
    floor = [int(item.costs[each].min()) for item, each in zip(hulls.items, kept, strict=True)]
    spare = budget - sum(floor)
    if spare < 0:
        return ()
    extras = [
        item.costs[each] - least for item, each, least in zip(hulls.items, kept, floor, strict=True)
    ]
    unit = gcd(*(int(extra) for each in extras for extra in each)) or 1
    states = spare // unit + 1
    if states * sum(map(len, kept)) > MAX_EXACT_WORK:
        return None
    best = np.zeros(states)
    picks = []
    for item, each, extra in zip(hulls.items, kept, extras, strict=True):
        worth = np.full(states, -np.inf)
        pick = np.zeros(states, np.int32)
        for place, (option, cost) in enumerate(zip(each, extra // unit, strict=True)):
            if cost >= states:
                continue
            candidate = best[: states - cost] + item.values[option]
            is_better = candidate > worth[cost:]
            worth[cost:][is_better] = candidate[is_better]
            pick[cost:][is_better] = place
        best = worth
        picks.append(pick)
    # The cheapest of the best.
    state = int(np.argmax(best == best.max()))
    if best[state] <= known:
        return ()
    chosen: list[int] = []
    for pick, each, extra in zip(reversed(picks), reversed(kept), reversed(extras), strict=True):
        place = int(pick[state])
        chosen.append(int(each[place]))
        state -= int(extra[place]) // unit
    return tuple(reversed(chosen))
