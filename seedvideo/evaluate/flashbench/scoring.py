"""Scoring a choice of frames against the truth: no model, no pictures.

A sampler's choice is a list of times and sizes. An event is hit if a frame lies in its span; it is
legible if such a frame has at least the tokens at which it can be read. What counts is the unit
that a question asks about: one event, or the whole of a group. Times are exact seconds.

The ceiling: a sampler that knows the truth, under the same budget.

It buys answers where they are cheapest: again and again the frame that answers most questions for
its tokens. What is left of the budget is spread evenly at the lowest level. A greedy choice, so the
ceiling is a strong one but not a proven one. Times are exact seconds.

At how many tokens print of a given size can be read: the table, and the oracle that uses it.

The table holds how often an OCR program read a code in decoded frames of the benchmark's videos,
resized as a model would be given them. `benchmarks/flashbench.py --table` makes it; it stands in
for the OCR program where none is installed. Knows no times.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from itertools import groupby, pairwise
from typing import Final

from seedvideo.evaluate.flashbench.spec import Event, Item, TaskId

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


_TABLE: Final = "legibility.json"


@dataclass(frozen=True)
class Reads:
    """How often a code was read.

    Args:
        read: codes that were read exactly.
        shown: codes that were shown.
    """

    read: int
    shown: int

    @property
    def share(self) -> float:
        """Share of the codes that was read."""
        return self.read / self.shown


Key = tuple[str, int, int]
"""Contrast, cap height at 1,080 px, level in tokens."""


@cache
def load_table() -> Mapping[Key, Reads]:
    """The table that comes with the package."""
    text = files("seedvideo.evaluate.flashbench").joinpath(_TABLE).read_text(encoding="utf-8")
    return read_table(text)


def read_table(text: str) -> Mapping[Key, Reads]:
    """Read a table from its JSON form."""
    return {
        (row["contrast"], row["cap_height_px"], row["level_tokens"]): Reads(
            row["read"], row["shown"]
        )
        for row in json.loads(text)["rows"]
    }


def table_need(
    table: Mapping[Key, Reads], *, cap_height_px: int, contrast: str, levels: Sequence[int]
) -> int | None:
    """The lowest level from which on at least half of the codes of a size are read, or None.

    Raises:
        KeyError: if the table doesn't know this size and contrast.
    """
    need: int | None = None
    for level in sorted(levels, reverse=True):
        if table[contrast, cap_height_px, level].share < 0.5:
            break
        need = level
    return need


def needs_by_table(
    item: Item, *, tokens_of_level: Mapping[int, int], table: Mapping[Key, Reads] | None = None
) -> dict[Event, int | None]:
    """What every event with print needs, in visual tokens, by the table.

    Args:
        item: the truth.
        tokens_of_level: visual tokens of a frame of this video at each level.
        table: another table than the package's.
    """
    table = load_table() if table is None else table
    needs: dict[Event, int | None] = {}
    for event in item.events:
        if event.cap_height_px is not None:
            level = table_need(
                table,
                cap_height_px=event.cap_height_px,
                contrast=event.contrast,
                levels=list(tokens_of_level),
            )
            needs[event] = None if level is None else tokens_of_level[level]
    return needs


@dataclass(frozen=True)
class _Offer:
    """Frames that would be bought together, by their times, and the questions they answer."""

    frames: Mapping[Fraction, int]
    answers: frozenset[int]


def oracle(
    item: Item,
    needs: Mapping[Event, int | None],
    *,
    times: Sequence[Fraction],
    tokens: Sequence[int],
    text_tokens: int,
    budget_tokens: int,
) -> list[Shown]:
    """Choose frames by the truth.

    Args:
        item: the truth.
        needs: fewest visual tokens at which an event can be read; None if it never can.
        times: of all frames of the video.
        tokens: visual tokens of a frame at each level, in any order.
        text_tokens: what a frame's time costs.
        budget_tokens: what may be spent.
    """
    lowest = min(tokens)

    def paid(event: Event) -> int:
        need = None if event.cap_height_px is None else needs[event]
        return lowest if need is None else max(lowest, need)

    joint = item.task in ALL_OF_GROUP or item.task in COUNTED
    offers = _of_groups(item, paid, times) if joint else _of_events(item, paid, times)
    chosen: dict[Fraction, int] = {}
    open_questions = {answer for offer in offers for answer in offer.answers}
    left = budget_tokens

    def price(offer: _Offer) -> int:
        return sum(
            max(0, cost - chosen.get(time, 0)) + text_tokens * (time not in chosen)
            for time, cost in offer.frames.items()
        )

    while open_questions:
        worth = [
            (len(offer.answers & open_questions) / max(1, price(offer)), -number)
            for number, offer in enumerate(offers)
            if offer.answers & open_questions and price(offer) <= left
        ]
        if not worth:
            break
        best = offers[-max(worth)[1]]
        left -= price(best)
        chosen |= {time: max(cost, chosen.get(time, 0)) for time, cost in best.frames.items()}
        open_questions -= best.answers
    count = left // (lowest + text_tokens)
    for place in range(count):
        chosen.setdefault(times[(2 * place + 1) * len(times) // (2 * count)], lowest)
    return [Shown(time, chosen[time], text_tokens) for time in sorted(chosen)]


def _of_events(item: Item, paid: Callable[[Event], int], times: Sequence[Fraction]) -> list[_Offer]:
    """One frame each: the last of an event's frames, at any price that some event there asks."""
    offers = []
    spans = [(event.start, event.end, paid(event)) for event in item.events]
    for event in item.events:
        first, stop = bisect_left(times, event.start), bisect_left(times, event.end)
        if first == stop:
            continue
        # Some best choice of points in intervals uses only their last points.
        for time in {times[stop - 1], times[(first + stop) // 2]}:
            there = [(n, cost) for n, (a, b, cost) in enumerate(spans) if a <= time < b]
            for cost in {cost for _, cost in there}:
                answers = frozenset(number for number, asked in there if asked <= cost)
                offers.append(_Offer({time: cost}, answers))
    return sorted(offers, key=lambda offer: sorted(offer.frames.items()))


def _of_groups(item: Item, paid: Callable[[Event], int], times: Sequence[Fraction]) -> list[_Offer]:
    """All the frames that a group's question needs; for counting, dark ones between too."""
    ordered = sorted(item.events, key=lambda event: (event.group, event.start))
    offers = []
    for number, (_, found) in enumerate(groupby(ordered, key=lambda event: event.group)):
        events = list(found)
        wanted = [(event.start, event.end, paid(event)) for event in events]
        if item.task in COUNTED:
            dark = paid(events[0])
            wanted += [(before.end, after.start, dark) for before, after in pairwise(events)]
        frames = {}
        for start, end, cost in wanted:
            first, stop = bisect_left(times, start), bisect_left(times, end)
            if first < stop:
                frames[times[(first + stop) // 2]] = cost
        offers.append(_Offer(frames, frozenset([number])))
    return offers
