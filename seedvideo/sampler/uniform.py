"""Uniform sampling: evenly spaced frames of one level that fill a token budget.

Costs include the timestamp text. Positions count presented frames from 0. Every selection is
strictly increasing and contains the first and the last frame if it has two or more. ``_tokens`` are
tokens in the sequence.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import TypeVar

from seedvideo.errors import PlanError
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import Request, build_plan

T = TypeVar("T")


def linspace_indices(count: int, wanted: int) -> list[int]:
    """Return ``wanted`` of ``count`` indices, evenly: ``round(linspace(0, count - 1, wanted))``.

    The operations are those of numpy's ``linspace`` and ``round`` (halves to even), in their order,
    so that the indices equal those of the official code.

    Args:
        count: number of available indices.
        wanted: number of indices to take, from 1 to ``count``.

    Raises:
        ValueError: if ``wanted`` is out of range.
    """
    if not 1 <= wanted <= count:
        raise ValueError(f"wanted is {wanted}, expected 1 to {count}")
    if wanted == 1:
        return [0]
    step = (count - 1) / (wanted - 1)
    return [*(round(index * step) for index in range(wanted - 1)), count - 1]


def subsample(items: Sequence[T], wanted: int) -> list[T]:
    """Return at most ``wanted`` of the items, evenly by index."""
    return [items[index] for index in linspace_indices(len(items), min(wanted, len(items)))]


def evenly_in_time(times: Sequence[Fraction], wanted: int) -> list[int]:
    """Return the positions of the frames nearest to ``wanted`` times that are evenly spaced.

    A frame that is shown for long is nearest to several times and is taken once, so fewer positions
    may result. Of two equally near frames the earlier one is taken.

    Args:
        times: strictly increasing, at least one.
        wanted: number of times, from 1 to ``len(times)``, from the first to the last frame.
    """
    last = len(times) - 1
    if wanted == 1 or last == 0:
        return [0]
    if wanted > last:
        return list(range(last + 1))
    start, end = float(times[0]), float(times[last])
    step = (end - start) / (wanted - 1)
    positions = [0]
    for index in range(1, wanted - 1):
        moment = start + index * step
        # Floats only steer the search: the result is a position, whose time stays exact.
        after = min(bisect_left(times, moment, lo=positions[-1], key=float), last)
        before = max(after - 1, 0)
        nearer = before if moment - float(times[before]) <= float(times[after]) - moment else after
        if nearer > positions[-1]:
            positions.append(nearer)
    if positions[-1] < last:
        positions.append(last)
    return positions


def fill(
    request: Request,
    *,
    policy: str,
    select: Callable[[int], Sequence[int]],
    wanted: int,
    why: str,
) -> Plan:
    """Build the plan of the best level at which all frames fit, or of those that fit at the lowest.

    Args:
        request: the request.
        policy: name of the policy.
        select: function from a number of frames to their positions; may return fewer, but not more,
            and one for 1.
        wanted: number of frames before any budget.
        why: reason of the frames, without the level.

    Raises:
        PlanError: ``plan.over_budget`` if not even one frame fits.
    """
    request = replace(request, text_tokens=cache(request.text_tokens))
    budget = request.budget_tokens
    count = min(wanted, request.max_frames)
    positions = select(count)
    text = _text_cost(request, positions)
    levels = request.levels_tokens
    level = next(
        (each for each in levels if len(positions) * request.frame_tokens(each) + text <= budget),
        levels[-1],
    )
    tokens = request.frame_tokens(level)

    def cost(positions: Sequence[int]) -> int:
        return len(positions) * tokens + _text_cost(request, positions)

    while (total := cost(positions)) > budget:
        if len(positions) == 1:
            raise _over_budget(request, level=level, tokens=tokens, total=total)
        # Reduce in proportion first, so that few rounds are needed; then one by one.
        count = max(1, min(count - 1, count * budget // total))
        positions = select(count)
    # The step above may leave tokens over: a shorter list can have cheaper texts.
    while count < min(wanted, request.max_frames):
        more = select(count + 1)
        if cost(more) > budget:
            break
        count, positions = count + 1, more
    if count < wanted:
        why = f"{why}, thinned"
    return build_plan(request, policy=policy, positions=positions, level_tokens=level, why=why)


def fill_uniformly(request: Request, *, policy: str, wanted: int, why: str) -> Plan:
    """Build a plan as `fill` does, with frames evenly spaced in time.

    A frame that is shown for long (a screen recording at rest) is taken once. If that leaves fewer
    than the geometry's `min_frames`, frames are spaced by index instead.
    """

    def select(count: int) -> list[int]:
        return uniform_indices(request, count)

    return fill(request, policy=policy, select=select, wanted=wanted, why=why)


def uniform_indices(request: Request, count: int) -> list[int]:
    """Return the positions of evenly spaced frames: at most ``count``, at least one."""
    positions = evenly_in_time(request.times, count)
    least = min(count, request.geometry.min_frames)
    return positions if len(positions) >= least else linspace_indices(len(request.times), least)


def _text_cost(request: Request, positions: Sequence[int]) -> int:
    return sum(request.text_tokens(request.times[position]) for position in positions)


def _over_budget(request: Request, *, level: int, tokens: int, total: int) -> PlanError:
    given = level > request.geometry.levels_tokens[-1]
    return PlanError(
        "plan.over_budget",
        f"one frame at level {level} costs {total:,} tokens"
        f" ({tokens:,} visual, {total - tokens:,} text), above the budget of"
        f" {request.budget_tokens:,}",
        hint=f"raise the budget to at least {total:,} tokens"
        + (" or allow a lower level" if given else ""),
    )
