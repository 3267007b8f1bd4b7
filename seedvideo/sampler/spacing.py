"""Even spacing: which of many frames to take so that they lie evenly.

Works on positions and times only; knows no tokens and no policy. Positions count presented frames
from 0. Every result is strictly increasing and holds the first and the last frame where it holds
two or more.
"""

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

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
