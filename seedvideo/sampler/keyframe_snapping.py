"""Moves of frames to nearby keyframes where that saves decoding, in calm segments only.

Two close frames of calm content are nearly the same, but a keyframe needs one decoded picture and
the frame before it a complete group of pictures. A frame moves by at most a quarter of the distance
to its nearer neighbour, so no gap changes by more than half. It also moves by at most a quarter of
the time in which the picture changes, and only within its segment, so never across a cut or event.
Frames that the analysis chose, and the first and last frame of a plan, stay.

Times are exact seconds.

Separate from `seedvideo.sampler.placement`, which would exceed 500 lines with it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

from seedvideo.sampler.placement import PlacedFrame
from seedvideo.sampler.request import DecodeCosts, Request
from seedvideo.sampler.types import DecodeEstimate, FrameRole
from seedvideo.sampler.utility import SegmentDemand

PlacedFrames = tuple[tuple[PlacedFrame, ...], ...]
"""Frames of each segment, in order of time."""

MAX_SHIFT_FRACTION: Final = Fraction(1, 4)
"""Maximum shift of a frame, as a fraction of the local spacing.

Two neighbours that move apart widen their gap by half. No gap was wider than one of the coverage
grid, so none exceeds 1.5 of those.
"""

MIN_PACKETS_SAVED: Final = 4
"""Minimum packets saved per move: about the cost of draining and restarting a decoder."""

_MOVABLE_ROLES: Final[tuple[FrameRole, ...]] = ("coverage", "spread")


@dataclass(frozen=True)
class _PathState:
    """Cheapest choice for all frames up to one, as a state of the dynamic programming.

    Args:
        cost: packets, plus `MIN_PACKETS_SAVED` for each move.
        shift: total shift of the frames in seconds.
        reached: index after the last decoded packet.
        chosen: position of the last frame.
        before: choice for the frames before it.
    """

    cost: int
    shift: Fraction
    reached: int
    chosen: int
    before: "_PathState | None"

    def positions(self) -> list[int]:
        """Return the positions of all frames, in order of time."""
        path: _PathState | None = self
        found = []
        while path is not None:
            found.append(path.chosen)
            path = path.before
        return found[::-1]


def snap_to_keyframes(
    request: Request,
    placed: PlacedFrames,
    *,
    demands: Sequence[SegmentDemand],
    spans: Sequence[range],
) -> PlacedFrames:
    """Move frames of calm segments to keyframes if that saves decoding.

    Args:
        request: the request. Without decode costs, nothing is moved.
        placed: frames of each segment, in order of time; at least one in total.
        demands: demands of the segments.
        spans: positions of the frames that lie in each.

    Returns:
        The same frames in the same order, some of them moved. No timestamp text costs more tokens.
    """
    costs, times = request.costs, request.times
    if costs is None:
        return placed
    options = list(_options(request, placed, demands, spans, costs))
    stays = [each[0] for each in options]
    moved = _shortest_path(options, times, costs).positions()
    # If pictures are stored out of presentation order, the search may count some twice.
    moves = sum(before != after for before, after in zip(stays, moved, strict=True))
    if costs.cost(moved) + MIN_PACKETS_SAVED * moves > costs.cost(stays):
        moved = stays
    target = dict(zip(stays, moved, strict=True))
    return tuple(tuple(_move(each, target[each.position]) for each in inside) for inside in placed)


def estimate_decoding(costs: DecodeCosts, placed: PlacedFrames) -> DecodeEstimate:
    """Estimate the decoding cost of placed frames, and the saving by moved ones."""
    every = [each for inside in placed for each in inside]
    pictures = costs.cost(each.position for each in every)
    unmoved = [each.position if each.moved_from is None else each.moved_from for each in every]
    return DecodeEstimate(
        pictures=pictures,
        video_pictures=costs.video_frames,
        moved_frames=sum(each.moved_from is not None for each in every),
        saved_pictures=costs.cost(unmoved) - pictures,
    )


def _move(frame: PlacedFrame, position: int) -> PlacedFrame:
    if position == frame.position:
        return frame
    return replace(frame, position=position, moved_from=frame.position)


def _options(
    request: Request,
    placed: PlacedFrames,
    demands: Sequence[SegmentDemand],
    spans: Sequence[range],
    costs: DecodeCosts,
) -> Iterator[tuple[int, ...]]:
    """Yield for each frame its possible positions: its own, and the nearest keyframes in reach."""
    times = request.times
    keys = costs.keyframes.tolist()

    def text_tokens(position: int) -> int:
        return request.text_tokens(times[position])

    frames = [
        (each, demand, span)
        for inside, demand, span in zip(placed, demands, spans, strict=True)
        for each in inside
    ]
    for (each, demand, span), reach in zip(
        frames, _max_shifts(placed, demands, times), strict=True
    ):
        here, now = each.position, times[each.position]
        at = bisect_left(keys, here)
        may_move = demand.is_calm and each.role in _MOVABLE_ROLES
        near = [
            key
            for key in keys[max(0, at - 1) : at + 1]
            if may_move
            and key != here
            and key in span
            and _stays_in_core(demand, here=times[here], there=times[key])
            and abs(times[key] - now) <= reach
            and text_tokens(key) <= text_tokens(here)
        ]
        yield (here, *near)


def _stays_in_core(demand: SegmentDemand, *, here: Fraction, there: Fraction) -> bool:
    """Return whether a frame of a frozen picture still shows that picture after a move."""
    if demand.still is None or demand.still.core is None:
        return True
    core = demand.still.core
    return not core.start <= here < core.end or core.start <= there < core.end


def _max_shifts(
    placed: PlacedFrames, demands: Sequence[SegmentDemand], times: Sequence[Fraction]
) -> list[Fraction]:
    """Return the maximum shift of each frame in seconds; 0 for the first and the last frame."""
    every = [each for inside in placed for each in inside]
    moments = [times[each.position] for each in every]
    # Both neighbours limit the shift, so two frames never meet; the ends stay.
    rooms = [Fraction(0), *(later - earlier for earlier, later in pairwise(moments)), Fraction(0)]
    pictures = [
        Fraction(demand.picture_s)
        for inside, demand in zip(placed, demands, strict=True)
        for _ in inside
    ]
    return [
        MAX_SHIFT_FRACTION * min(before, after, picture)
        for (before, after), picture in zip(pairwise(rooms), pictures, strict=True)
    ]


def _shortest_path(
    options: Sequence[tuple[int, ...]], times: Sequence[Fraction], costs: DecodeCosts
) -> _PathState:
    """Choose one position per frame to decode the fewest packets; break ties by total shift."""
    paths: list[_PathState | None] = [None]
    for choices in options:
        paths = [
            min(
                (_extend(path, choices[0], choice, times, costs) for path in paths),
                key=lambda path: (path.cost, path.shift),
            )
            for choice in choices
        ]
    return min(
        (path for path in paths if path is not None), key=lambda path: (path.cost, path.shift)
    )


def _extend(
    path: _PathState | None, here: int, choice: int, times: Sequence[Fraction], costs: DecodeCosts
) -> _PathState:
    first, after = costs.span(choice)
    cost, shift, reached = (
        (0, Fraction(0), 0) if path is None else (path.cost, path.shift, path.reached)
    )
    return _PathState(
        cost=cost + max(0, after - max(first, reached)) + MIN_PACKETS_SAVED * (choice != here),
        shift=shift + abs(times[choice] - times[here]),
        reached=max(reached, after),
        chosen=choice,
        before=path,
    )
