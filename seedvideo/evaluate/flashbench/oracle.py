"""The ceiling: a sampler that knows the truth, under the same budget.

It buys answers where they are cheapest: again and again the frame that answers most questions for
its tokens. What is left of the budget is spread evenly at the lowest level. A greedy choice, so the
ceiling is a strong one but not a proven one. Times are exact seconds.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise

from seedvideo.evaluate.flashbench.score import ALL_OF_GROUP, COUNTED, Shown
from seedvideo.evaluate.flashbench.truth import Event, Item


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
