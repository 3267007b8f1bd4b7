"""Filling a budget with frames of one level, counted by what they really cost, text included.

Knows nothing of why frames were wanted: a policy gives a function from a number of frames to their
positions. Units: ``_tokens`` are tokens in the sequence.

Even spacing: which of many frames to take so that they lie evenly.

Works on positions and times only; knows no tokens and no policy. Positions count presented frames
from 0. Every result is strictly increasing and holds the first and the last frame where it holds
two or more.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

from seedvideo.errors import PlanError
from seedvideo.sampler.geometry import time_text
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import Request, assemble

T = TypeVar("T")


def spread(count: int, wanted: int) -> list[int]:
    """``wanted`` of ``count`` positions, evenly: ``round(linspace(0, count - 1, wanted))``.

    The operations are those of numpy's ``linspace`` and ``round`` (halves to even), in their order,
    so that the positions equal the official code's.

    Args:
        count: positions there are.
        wanted: positions to take, from 1 to ``count``.
    """
    if not 1 <= wanted <= count:
        raise ValueError(f"{wanted} of {count} positions cannot be taken")
    if wanted == 1:
        return [0]
    step = (count - 1) / (wanted - 1)
    return [*(round(index * step) for index in range(wanted - 1)), count - 1]


def thin(items: Sequence[T], wanted: int) -> list[T]:
    """At most ``wanted`` of the items, evenly by position."""
    return [items[index] for index in spread(len(items), min(wanted, len(items)))]


def spread_in_time(times: Sequence[Fraction], wanted: int) -> list[int]:
    """Positions of the frames nearest to ``wanted`` moments that lie evenly in time.

    A frame that stands for a long while is nearest to several moments and is taken once, so fewer
    positions may come back. Of two equally near frames the earlier one is taken.

    Args:
        times: strictly increasing, at least one.
        wanted: moments, from 1 to ``len(times)``; the first and last are those of the first and
            last frame.
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
        # Floats only steer the search: what is taken is a position, whose time stays exact.
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
    pick: Callable[[int], Sequence[int]],
    wanted: int,
    why: str,
) -> Plan:
    """The best level at which all wanted frames fit, else as many as fit at the lowest.

    Args:
        request: what was asked.
        policy: name of the policy.
        pick: positions for a number of frames; may give fewer than asked, never more, and gives one
            for one.
        wanted: frames before any budget.
        why: reason of the frames, without the level.

    Raises:
        PlanError: ``plan.over_budget`` if not even one frame fits.
    """
    request = replace(request, text_tokens=remembered(request.text_tokens))
    budget = request.budget_tokens
    count = min(wanted, request.max_frames)
    positions = pick(count)
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
        # In proportion first, so that few rounds are needed; then one by one.
        count = max(1, min(count - 1, count * budget // total))
        positions = pick(count)
    # The step above may have left room: a shorter list can have cheaper texts.
    while count < min(wanted, request.max_frames):
        more = pick(count + 1)
        if cost(more) > budget:
            break
        count, positions = count + 1, more
    if count < wanted:
        why = f"{why}, thinned"
    return assemble(request, policy=policy, positions=positions, level_tokens=level, why=why)


def fill_evenly(request: Request, *, policy: str, wanted: int, why: str) -> Plan:
    """`fill` with frames spaced evenly in time.

    A frame that stands for a long while (a screen recording at rest) is taken once. Where that
    would leave fewer than the geometry's `min_frames`, frames are spread by position instead.
    """

    def pick(count: int) -> list[int]:
        return even_positions(request, count)

    return fill(request, policy=policy, pick=pick, wanted=wanted, why=why)


def even_positions(request: Request, count: int) -> list[int]:
    """Positions of frames spaced evenly in time: at most ``count``, at least one."""
    positions = spread_in_time(request.times, count)
    least = min(count, request.geometry.min_frames)
    return positions if len(positions) >= least else spread(len(request.times), least)


def remembered(price: Callable[[str], int]) -> Callable[[str], int]:
    """The same prices, each asked once: a tokenizer may be slow."""
    prices: dict[str, int] = {}

    def ask(text: str) -> int:
        if text not in prices:
            prices[text] = price(text)
        return prices[text]

    return ask


def _text_cost(request: Request, positions: Sequence[int]) -> int:
    return sum(request.text_tokens(time_text(request.times[position])) for position in positions)


def _over_budget(request: Request, *, level: int, tokens: int, total: int) -> PlanError:
    given = level > request.geometry.levels_tokens[-1]
    return PlanError(
        "plan.over_budget",
        f"one frame at level {level} costs {total:,} tokens"
        f" ({tokens:,} visual, {total - tokens:,} text), the budget is {request.budget_tokens:,}",
        hint=f"give a budget of at least {total:,} tokens" + (" or a lower level" if given else ""),
    )
