"""Frames of calm spans, moved to a keyframe near by where that saves decoding.

Where nothing happens it matters little which of two near frames is shown; but a keyframe is one
picture to decode, and the frame before it a whole group. A frame may move by a quarter of the way
to its nearer neighbour, so that no gap grows or shrinks by more than half; by a quarter of the time
in which the picture changes, so that it shows what it was taken for; and only within its segment,
so over no cut and no event. Frames that the analysis chose stay, and so do the ends of a plan.
Knows no sizes; times are exact seconds.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

from seedvideo.sampler.costs import DecodeCosts
from seedvideo.sampler.demand import Demand
from seedvideo.sampler.parts import Decoding, Role
from seedvideo.sampler.place import Place
from seedvideo.sampler.request import Request
from seedvideo.sampler.stamps import time_text

Places = tuple[tuple[Place, ...], ...]
"""The frames of each segment, in order of time."""

TOLERANCE: Final = Fraction(1, 4)
"""Share of the local spacing by which a frame may move. Two neighbours that both move away widen
their gap by half; no gap was wider than the coverage grid's, so none gets wider than 1.5 of those.
"""

LEAST_SAVED: Final = 4
"""Packets that each move must save: to drain a decoder and start anew costs about as much."""

_MAY_MOVE: Final[tuple[Role, ...]] = ("coverage", "spread")


@dataclass(frozen=True)
class _Way:
    """The cheapest choice for all frames up to one.

    Args:
        cost: packets, and `LEAST_SAVED` for each move.
        shift: how far frames have moved in all, in seconds.
        reached: place behind the last packet that is decoded.
        chosen: position of the last frame.
        before: the choice for the frames before it.
    """

    cost: int
    shift: Fraction
    reached: int
    chosen: int
    before: "_Way | None"

    def positions(self) -> list[int]:
        """Of all frames, in order of time."""
        way: _Way | None = self
        found = []
        while way is not None:
            found.append(way.chosen)
            way = way.before
        return found[::-1]


def to_keyframes(
    request: Request, places: Places, *, demands: Sequence[Demand], spans: Sequence[range]
) -> Places:
    """Move frames of calm segments to keyframes where that saves decoding.

    Args:
        request: what was asked. Where it knows no costs, nothing is moved.
        places: the frames of each segment, in order of time; at least one in all.
        demands: the segments.
        spans: positions of the frames that lie in each.

    Returns:
        The same frames in the same order, some of them moved; none has a dearer text.
    """
    costs, times = request.costs, request.times
    if costs is None:
        return places
    options = list(_options(request, places, demands, spans, costs))
    stays = [each[0] for each in options]
    moved = _cheapest(options, times, costs).positions()
    # Where pictures are stored in another order than shown, the walk may count some twice.
    moves = sum(before != after for before, after in zip(stays, moved, strict=True))
    if costs.of(moved) + LEAST_SAVED * moves > costs.of(stays):
        moved = stays
    target = dict(zip(stays, moved, strict=True))
    return tuple(tuple(_moved(each, target[each.position]) for each in inside) for inside in places)


def decoding_of(costs: DecodeCosts, places: Places) -> Decoding:
    """What frames cost to decode, and what moving some of them saved."""
    every = [each for inside in places for each in inside]
    pictures = costs.of(each.position for each in every)
    unmoved = [each.position if each.moved_from is None else each.moved_from for each in every]
    return Decoding(
        pictures=pictures,
        video_pictures=costs.video_frames,
        moved_frames=sum(each.moved_from is not None for each in every),
        saved_pictures=costs.of(unmoved) - pictures,
    )


def _moved(place: Place, position: int) -> Place:
    if position == place.position:
        return place
    return replace(place, position=position, moved_from=place.position)


def _options(
    request: Request,
    places: Places,
    demands: Sequence[Demand],
    spans: Sequence[range],
    costs: DecodeCosts,
) -> Iterator[tuple[int, ...]]:
    """For each frame where it may go: where it is, and the nearest keyframes in reach."""
    times = request.times
    keys = costs.keyframes.tolist()

    def text_tokens(position: int) -> int:
        return request.text_tokens(time_text(times[position]))

    frames = [
        (each, demand, span)
        for inside, demand, span in zip(places, demands, spans, strict=True)
        for each in inside
    ]
    for (each, demand, span), reach in zip(frames, _reaches(places, demands, times), strict=True):
        here, now = each.position, times[each.position]
        at = bisect_left(keys, here)
        may_move = demand.is_calm and each.role in _MAY_MOVE
        near = [
            key
            for key in keys[max(0, at - 1) : at + 1]
            if may_move
            and key != here
            and key in span
            and _shows_the_same(demand, here=times[here], there=times[key])
            and abs(times[key] - now) <= reach
            and text_tokens(key) <= text_tokens(here)
        ]
        yield (here, *near)


def _shows_the_same(demand: Demand, *, here: Fraction, there: Fraction) -> bool:
    """Whether a frame of a frozen picture stays one where it is moved."""
    if demand.still is None or demand.still.core is None:
        return True
    core = demand.still.core
    return not core.start <= here < core.end or core.start <= there < core.end


def _reaches(
    places: Places, demands: Sequence[Demand], times: Sequence[Fraction]
) -> list[Fraction]:
    """How far each frame may move in seconds, whatever its neighbours do; 0 for the ends."""
    every = [each for inside in places for each in inside]
    moments = [times[each.position] for each in every]
    # Both ways to a neighbour count, so that two frames never meet; the ends stay.
    rooms = [Fraction(0), *(later - earlier for earlier, later in pairwise(moments)), Fraction(0)]
    pictures = [
        Fraction(demand.picture_s)
        for inside, demand in zip(places, demands, strict=True)
        for _ in inside
    ]
    return [
        TOLERANCE * min(before, after, picture)
        for (before, after), picture in zip(pairwise(rooms), pictures, strict=True)
    ]


def _cheapest(
    options: Sequence[tuple[int, ...]], times: Sequence[Fraction], costs: DecodeCosts
) -> _Way:
    """One position for each frame, so that least is decoded; of equal choices the nearest."""
    ways: list[_Way | None] = [None]
    for choices in options:
        ways = [
            min(
                (_next(way, choices[0], choice, times, costs) for way in ways),
                key=lambda way: (way.cost, way.shift),
            )
            for choice in choices
        ]
    return min((way for way in ways if way is not None), key=lambda way: (way.cost, way.shift))


def _next(
    way: _Way | None, here: int, choice: int, times: Sequence[Fraction], costs: DecodeCosts
) -> _Way:
    first, after = costs.span(choice)
    cost, shift, reached = (
        (0, Fraction(0), 0) if way is None else (way.cost, way.shift, way.reached)
    )
    return _Way(
        cost=cost + max(0, after - max(first, reached)) + LEAST_SAVED * (choice != here),
        shift=shift + abs(times[choice] - times[here]),
        reached=max(reached, after),
        chosen=choice,
        before=way,
    )
