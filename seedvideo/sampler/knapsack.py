"""Multiple-choice knapsack: one option per item, maximum total value, total cost within a budget.

A greedy walk over the convex hulls of the items yields a choice and an upper bound for every other
choice (the optimum of the linear relaxation; Sinha and Zoltners, Operations Research 27, 1979). A
refill spends the remaining budget. For few items, dynamic programming finds the optimum.

Costs are whole numbers, values are floats on any scale. Neither a common factor of all values nor
the order of the items changes the choice, except that ties go to the lower index.

Separate from `seedvideo.sampler.allocation`: it is numbers only, and both would exceed 500 lines.
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
"""Maximum number of items for the exact search: with more, the greedy walk is practically exact."""

MAX_EXACT_WORK: Final = 60_000_000
"""Maximum number of additions in the exact search: about a fifth of a second."""


@dataclass(frozen=True, eq=False)
class Item:
    """One choice to make.

    Args:
        costs: cost of each option, ``(options,)``, 0 or more.
        values: value of each option, ``(options,)``, finite.
    """

    costs: Ints
    values: Floats


@dataclass(frozen=True)
class Solution:
    """One option for each item.

    Args:
        options: index of the chosen option of each item.
        cost: total cost.
        value: total value.
        bound: upper bound for the value of any choice within the budget.
        is_exact: whether the choice is known to be optimal.
    """

    options: tuple[int, ...]
    cost: int
    value: float
    bound: float
    is_exact: bool


@dataclass(frozen=True)
class GreedyPath:
    """Result of the greedy walk: its last state, and the bound that its last slope proves.

    Args:
        options: option of each item before the first step that did not fit. A larger budget never
            gives an item a cheaper option.
        bound: optimum of the linear relaxation.
        slope: value per unit of cost of the step that did not fit; 0 if all steps fitted.
        blocked_gain: value of that step; ``bound`` exceeds the value of the walk by less than this.
    """

    options: tuple[int, ...]
    bound: float
    slope: float
    blocked_gain: float


@dataclass(frozen=True, eq=False)
class Hulls:
    """Items without dominated options, prepared for any budget. Built by `build_hulls`.

    Args:
        items: the items as given.
        fronts: undominated options of each item, by rising cost and value.
        steps: hull steps, steepest first: ``(item, option after the step)``.
        slopes: value per unit of cost of each step.
        starts: cheapest option of each item.
    """

    items: tuple[Item, ...]
    fronts: tuple[Ints, ...]
    steps: Ints
    slopes: Floats
    starts: tuple[int, ...]

    def cost(self, options: Sequence[int]) -> int:
        """Return the total cost of one option per item."""
        pairs = zip(self.items, options, strict=True)
        return sum(int(item.costs[option]) for item, option in pairs)

    def value(self, options: Sequence[int]) -> float:
        """Return the total value of one option per item; independent of the order of the items."""
        pairs = zip(self.items, options, strict=True)
        return fsum(float(item.values[option]) for item, option in pairs)


def build_hulls(items: Sequence[Item]) -> Hulls:
    """Drop dominated options and sort the steps of the items' upper hulls by slope."""
    fronts = [pareto_front(item) for item in items]
    owners: list[int] = []
    options: list[int] = []
    slopes: list[float] = []
    for owner, (item, kept) in enumerate(zip(items, fronts, strict=True)):
        corners = upper_hull(item, kept)
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


def pareto_front(item: Item) -> Ints:
    """Return the undominated options by rising cost: each has more value than all cheaper ones."""
    order = np.lexsort((-item.values, item.costs))
    values = item.values[order]
    best = np.maximum.accumulate(values)
    is_better = np.concatenate(([True], values[1:] > best[:-1]))
    return np.asarray(order[is_better], np.int64)


def upper_hull(item: Item, kept: Ints) -> Ints:
    """Return the corners of the upper convex hull over undominated options, with falling slopes.

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
    """Find the best choice within a budget.

    Raises:
        ValueError: if even the cheapest options cost more than the budget.
    """
    path = walk_greedily(hulls, budget)
    options = refill(hulls, path.options, budget)
    is_exact = path.slope == 0
    if not is_exact:
        best = solve_exact(hulls, path, budget, incumbent=hulls.value(options))
        if best is not None:
            is_exact = True
            options = best or options
    value = hulls.value(options)
    return Solution(
        options=options,
        cost=hulls.cost(options),
        value=value,
        bound=max(path.bound, value),
        is_exact=is_exact,
    )


def walk_greedily(hulls: Hulls, budget: int) -> GreedyPath:
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
            return GreedyPath(tuple(options), bound=bound, slope=slope, blocked_gain=gain)
        options[owner] = option
        left -= cost
    return GreedyPath(tuple(options), bound=hulls.value(options), slope=0.0, blocked_gain=0.0)


def refill(hulls: Hulls, options: Sequence[int], budget: int) -> tuple[int, ...]:
    """Spend the remaining budget: repeatedly upgrade the item with the best gain per cost."""
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


def solve_exact(
    hulls: Hulls, path: GreedyPath, budget: int, *, incumbent: float
) -> tuple[int, ...] | None:
    """Find the optimum by dynamic programming over the budget, if that is affordable.

    First drop the options whose cost, at the slope of the greedy walk, rules them out of any choice
    better than ``incumbent``; few remain.

    Returns:
        Options of the optimum; empty if no choice beats ``incumbent``; None if there are too many
        items or the search would take too long.
    """
    if len(hulls.items) > MAX_EXACT_ITEMS:
        return None
    # Maximum loss against the relaxation of a choice that beats the incumbent, with rounding.
    slack = max(0.0, path.bound - incumbent) + 1e-12 * abs(path.bound)
    kept = []
    for item, options in zip(hulls.items, hulls.fronts, strict=True):
        reduced = item.values[options] - path.slope * item.costs[options]
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
        value = np.full(states, -np.inf)
        pick = np.zeros(states, np.int32)
        for i, (option, cost) in enumerate(zip(each, extra // unit, strict=True)):
            if cost >= states:
                continue
            candidate = best[: states - cost] + item.values[option]
            is_better = candidate > value[cost:]
            value[cost:][is_better] = candidate[is_better]
            pick[cost:][is_better] = i
        best = value
        picks.append(pick)
    # The cheapest of the best.
    state = int(np.argmax(best == best.max()))
    if best[state] <= incumbent:
        return ()
    chosen: list[int] = []
    for pick, each, extra in zip(reversed(picks), reversed(kept), reversed(extras), strict=True):
        i = int(pick[state])
        chosen.append(int(each[i]))
        state -= int(extra[i]) // unit
    return tuple(reversed(chosen))
