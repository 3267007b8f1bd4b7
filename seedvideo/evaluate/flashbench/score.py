"""Scoring a choice of frames against the truth: no model, no pictures.

A sampler's choice is a list of times and sizes. An event is hit if a frame lies in its span; it is
legible if such a frame has at least the tokens at which it can be read. What counts is the unit
that a question asks about: one event, or the whole of a group. Times are exact seconds.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Final

from seedvideo.evaluate.flashbench.truth import Event, Item, TaskId

ALL_OF_GROUP: Final[frozenset[TaskId]] = frozenset({"T4"})
"""Tasks in which a group counts only when all of it is seen."""
COUNTED: Final[frozenset[TaskId]] = frozenset({"T5"})
"""Tasks in which the events of a group must be counted right."""


@dataclass(frozen=True)
class Shown:
    """One frame that a model would see.

    Args:
        pts: its time.
        tokens: its visual tokens.
        text_tokens: tokens of its time text and marks.
    """

    pts: Fraction
    tokens: int
    text_tokens: int


@dataclass(frozen=True)
class Unit:
    """One thing that is asked about, and what a choice of frames made of it.

    Args:
        duration_s: how long it, or the shortest event of it, stays.
        hit: whether it was seen at all, or counted right.
        legible: whether it could be read too; the same as ``hit`` where nothing is to be read.
        cap_height_px: smallest print in it, or None.
    """

    duration_s: float
    hit: bool
    legible: bool
    cap_height_px: int | None


@dataclass(frozen=True)
class Score:
    """What one choice of frames kept of one item.

    Args:
        units: in order of time.
        frames: how many were shown.
        tokens: what they cost, text included.
        longest_gap_s: longest stretch without a frame, the ends of the video included.
        mean_distance_s: mean time from the middle of an event to the nearest frame.
    """

    units: tuple[Unit, ...]
    frames: int
    tokens: int
    longest_gap_s: float
    mean_distance_s: float | None


def score(item: Item, shown: Sequence[Shown], needs: Mapping[Event, int | None]) -> Score:
    """Score a choice of frames.

    Args:
        item: the truth.
        shown: the chosen frames, in order of time; none if the budget holds none.
        needs: fewest visual tokens at which an event can be read; None if it never can. Events
            with nothing to read need not be named.

    Raises:
        ValueError: if the frames are out of order.
        KeyError: if an event with print has no entry in ``needs``.
    """
    times = [frame.pts for frame in shown]
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise ValueError("frames must be in order of time")
    units = []
    by_group = sorted(item.events, key=lambda event: event.group)
    joint = item.task in ALL_OF_GROUP or item.task in COUNTED
    parts = (
        [list(events) for _, events in groupby(by_group, key=lambda event: event.group)]
        if joint
        else [[event] for event in item.events]
    )
    for events in parts:
        inside = [shown[bisect_left(times, e.start) : bisect_left(times, e.end)] for e in events]
        hit = counted(events, shown) == len(events) if item.task in COUNTED else all(inside)
        legible = hit and all(
            event.cap_height_px is None or _readable(frames, needs[event])
            for event, frames in zip(events, inside, strict=True)
        )
        heights = [e.cap_height_px for e in events if e.cap_height_px is not None]
        units.append(
            Unit(
                float(min(event.duration for event in events)),
                hit,
                legible,
                min(heights, default=None),
            )
        )
    return Score(
        units=tuple(units),
        frames=len(shown),
        tokens=sum(frame.tokens + frame.text_tokens for frame in shown),
        longest_gap_s=longest_gap(times, Fraction(item.knobs.duration_s)),
        mean_distance_s=_mean_distance(item.events, times),
    )


def counted(blinks: Sequence[Event], shown: Sequence[Shown]) -> int:
    """How many blinks a viewer of these frames counts: bright frames with a dark one between."""
    begin = min(event.start for event in blinks)
    end = max(event.end for event in blinks)
    times = [frame.pts for frame in shown]
    among = times[bisect_left(times, begin) : bisect_left(times, end)]
    bright = [any(event.start <= time < event.end for event in blinks) for time in among]
    return sum(is_bright for is_bright, _ in groupby(bright))


def longest_gap(times: Sequence[Fraction], duration: Fraction) -> float:
    """Longest stretch without a frame, from the start to the end of the video."""
    bounds = [Fraction(0), *times, duration]
    return float(max(later - earlier for earlier, later in pairwise(bounds)))


def _readable(frames: Sequence[Shown], need: int | None) -> bool:
    return need is not None and any(frame.tokens >= need for frame in frames)


def _mean_distance(events: Sequence[Event], times: Sequence[Fraction]) -> float | None:
    if not events or not times:
        return None
    total = Fraction(0)
    for event in events:
        centre = (event.start + event.end) / 2
        place = bisect_left(times, centre)
        total += min(abs(time - centre) for time in times[max(0, place - 1) : place + 1])
    return float(total / len(events))
