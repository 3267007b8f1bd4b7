"""The multiple-choice knapsack against an exact oracle, and what its walk promises."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seedvideo.sampler.knapsack import (
    MAX_EXACT_ITEMS,
    Hulls,
    Item,
    build_hulls,
    pareto_front,
    solve,
    upper_hull,
    walk_greedily,
)
from tests.tiers import examples

many = examples(1000)
TIGHT = 1 + 1e-9


def item(*options: tuple[int, float]) -> Item:
    costs, values = zip(*options, strict=True)
    return Item(costs=np.array(costs, np.int64), values=np.array(values, np.float64))


values = st.just(0.0) | st.floats(1e-6, 100)
options = st.lists(st.tuples(st.integers(1, 40), values), max_size=7)
# The first option is free, so that every budget has a choice.
items = options.map(lambda some: item((0, 0.0), *some))
problems = st.lists(items, min_size=1, max_size=6)
budgets = st.integers(0, 150)


def oracle(hulls: Hulls, budget: int) -> float:
    """The optimum, by a table over every budget: no hulls, no bounds, no short cuts."""
    best = [0.0] * (budget + 1)
    for each in hulls.items:
        pairs = list(zip(each.costs.tolist(), each.values.tolist(), strict=True))
        best = [
            max(best[left - cost] + value for cost, value in pairs if cost <= left)
            for left in range(budget + 1)
        ]
    return best[budget]


def costs(hulls: Hulls, chosen: tuple[int, ...]) -> list[int]:
    return [int(each.costs[option]) for each, option in zip(hulls.items, chosen, strict=True)]


@given(problems, budgets)
@many
def test_the_best_choice_of_few_items(some: list[Item], budget: int) -> None:
    hulls = build_hulls(some)
    solution = solve(hulls, budget)
    best = oracle(hulls, budget)
    assert solution.is_exact
    assert solution.cost == hulls.cost(solution.options) <= budget
    assert solution.value == hulls.value(solution.options)
    assert math.isclose(solution.value, best, rel_tol=1e-9, abs_tol=1e-9)
    assert best <= solution.bound * TIGHT


@given(problems, budgets)
@many
def test_the_walk_certifies_itself(some: list[Item], budget: int) -> None:
    hulls = build_hulls(some)
    walked = walk_greedily(hulls, budget)
    value = hulls.value(walked.options)
    best = oracle(hulls, budget)
    assert hulls.cost(walked.options) <= budget
    assert value <= best * TIGHT
    assert best <= walked.bound * TIGHT
    assert walked.bound - value <= walked.blocked_gain * TIGHT + 1e-9


@given(st.lists(items, min_size=MAX_EXACT_ITEMS + 1, max_size=40), st.integers(0, 600))
@examples(100)
def test_many_items_stay_within_the_certificate(some: list[Item], budget: int) -> None:
    hulls = build_hulls(some)
    solution = solve(hulls, budget)
    walked = walk_greedily(hulls, budget)
    assert solution.cost <= budget
    assert hulls.value(walked.options) <= solution.value * TIGHT
    best = oracle(hulls, budget)
    assert solution.value <= best * TIGHT
    assert best <= solution.bound * TIGHT
    assert best - solution.value <= walked.blocked_gain * TIGHT + 1e-9


@given(problems, budgets)
@many
def test_the_refill_leaves_nothing_that_fits(some: list[Item], budget: int) -> None:
    hulls = build_hulls(some)
    solution = solve(hulls, budget)
    left = budget - solution.cost
    for each, option in zip(hulls.items, solution.options, strict=True):
        fits = each.costs <= each.costs[option] + left
        assert each.values[fits].max() <= each.values[option] * TIGHT


@given(items)
@many
def test_slopes_of_a_hull_fall(each: Item) -> None:
    kept = pareto_front(each)
    corners = upper_hull(each, kept)
    assert {corners[0], corners[-1]} == {kept[0], kept[-1]}
    points = [(float(each.costs[corner]), float(each.values[corner])) for corner in corners]
    corner_costs, corner_values = map(list, zip(*points, strict=True))
    slopes = [(v2 - v1) / (c2 - c1) for (c1, v1), (c2, v2) in pairwise(points)]
    assert all(later <= earlier for earlier, later in pairwise(slopes))
    # No option lies above the hull.
    for cost, value in zip(each.costs, each.values, strict=True):
        over = float(np.interp(cost, corner_costs, corner_values))
        assert value <= over * TIGHT + 1e-9


@given(items, st.integers(2, 5), budgets)
@many
def test_equal_items_differ_by_one_step(each: Item, count: int, budget: int) -> None:
    hulls = build_hulls([each] * count)
    chosen = walk_greedily(hulls, budget).options
    corners = upper_hull(each, pareto_front(each)).tolist()
    places = [corners.index(option) for option in chosen]
    assert max(places) - min(places) <= 1
    # Ties go to the lower index.
    assert places == sorted(places, reverse=True)


@given(problems, budgets, budgets)
@many
def test_a_larger_budget_takes_nothing_away(some: list[Item], one: int, other: int) -> None:
    hulls = build_hulls(some)
    less, more = sorted((one, other))
    before, after = (costs(hulls, walk_greedily(hulls, budget).options) for budget in (less, more))
    assert all(low <= high for low, high in zip(before, after, strict=True))
    assert solve(hulls, less).value <= solve(hulls, more).value * TIGHT


@given(problems, budgets, st.integers(0, 5), st.floats(1, 100))
@many
def test_more_weight_never_lowers_the_cost_of_an_item(
    some: list[Item], budget: int, i: int, factor: float
) -> None:
    i %= len(some)
    heavier = list(some)
    heavier[i] = replace(some[i], values=some[i].values * factor)
    before, after = (
        costs(hulls, walk_greedily(hulls, budget).options)
        for hulls in (build_hulls(some), build_hulls(heavier))
    )
    # Rounding may part slopes that were equal, or join them: such ties prove nothing.
    slopes = build_hulls(heavier).slopes
    if len(slopes) < 2 or np.min(-np.diff(slopes) / slopes[:-1]) > 1e-9:
        assert after[i] >= before[i]


@given(problems, budgets, st.integers(-30, 30))
@many
def test_the_scale_of_values_changes_nothing(some: list[Item], budget: int, power: int) -> None:
    # Powers of two: scaled without rounding.
    scaled = [replace(each, values=each.values * 2.0**power) for each in some]
    assert solve(build_hulls(scaled), budget).options == solve(build_hulls(some), budget).options


@given(problems, budgets, st.randoms(use_true_random=False))
@many
def test_the_order_of_items_changes_nothing(some: list[Item], budget: int, dice: object) -> None:
    order = list(range(len(some)))
    dice.shuffle(order)  # type: ignore[attr-defined]
    here, there = build_hulls(some), build_hulls([some[i] for i in order])
    one, other = solve(here, budget), solve(there, budget)
    assert math.isclose(one.value, other.value, rel_tol=1e-12)
    assert math.isclose(one.bound, other.bound, rel_tol=1e-12)
    walked, mixed = walk_greedily(here, budget).options, walk_greedily(there, budget).options
    slopes = here.slopes
    if len(set(slopes.tolist())) == len(slopes):
        assert tuple(walked[i] for i in order) == mixed


@given(
    st.lists(st.integers(1, 60), min_size=2, max_size=6),
    st.integers(1, 30),
    st.integers(1, 300),
)
@many
def test_log_utility_fills_like_water(weights: list[int], threshold: int, budget: int) -> None:
    # sum w log(1 + c / t) within a budget: c = max(0, w / slope - t), with one slope for all.
    steps = np.arange(budget + 2)
    some = [Item(steps, weight * np.log1p(steps / threshold)) for weight in weights]
    hulls = build_hulls(some)
    walked = walk_greedily(hulls, budget)
    assert walked.slope > 0
    for weight, cost in zip(weights, costs(hulls, walked.options), strict=True):
        assert abs(cost - max(0.0, weight / walked.slope - threshold)) <= 1 + 1e-6


@given(items, st.lists(items, max_size=4), budgets)
@many
def test_halves_of_an_item_get_what_the_complete_item_got(
    whole: Item, others: list[Item], budget: int
) -> None:
    half = Item(whole.costs, whole.values)
    doubled = Item(2 * whole.costs, 2 * whole.values)
    one, two = build_hulls([doubled, *others]), build_hulls([half, half, *others])
    together = costs(one, walk_greedily(one, budget).options)[0]
    apart = sum(costs(two, walk_greedily(two, budget).options)[:2])
    corners = doubled.costs[upper_hull(doubled, pareto_front(doubled))]
    assert abs(together - apart) <= max(np.diff(corners), default=0)


@example([item((0, 0.0))], 0)
@given(problems, st.integers(-50, -1))
def test_a_budget_too_small(some: list[Item], budget: int) -> None:
    if budget < 0:
        with pytest.raises(ValueError, match="the cheapest options cost 0"):
            solve(build_hulls(some), budget)


def test_what_many_items_leave_open() -> None:
    # With one item more than is solved exactly, the kink stays hidden from the walk.
    kinked = item((0, 0.0), (1, 1.0), (100, 300.0))
    some = [kinked] * (MAX_EXACT_ITEMS + 1)
    solution = solve(build_hulls(some), 150)
    assert not solution.is_exact
    assert solution.value < solution.bound
    assert solve(build_hulls(some[1:]), 150).is_exact
