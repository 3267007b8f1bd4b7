"""From what was found to what is asked for: findings become the demands of segments.

An event that stands out among those around it makes a segment of its own, as long as it lasts.
Where events come thick and fast none of them stands out, and the time counts as busy. Knows frames
by rank and exact time, and no tokens but what detail asks for.

How large a picture must be shown for its detail to be read, from one larger luma picture.

Detail is local contrast that grain does not reach: what a picture loses when it is scaled down and
up again, beyond `_GRAIN_LEVELS`. Soft pictures lose nothing at the lowest level; dense small print
loses most. Knows pixels and token areas, no video and no plan.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.freezes import Freeze
from seedvideo.sampler.novelty import Event, Signals
from seedvideo.sampler.shots import Piece, cut_out_freezes, split_by_pace
from seedvideo.sampler.utility import PRINT_TOKENS, Demand, Peak, Still, likely
from seedvideo.utils.timecode import Span

TOKEN_AREA_PX: Final = 28 * 28
"""Pixels that a visual token covers in the published model."""

DETAIL_PX: Final = 640 * TOKEN_AREA_PX
"""Pixels of the picture that is judged: the highest published level."""

LEAST_TOKENS: Final = 32.0
MOST_TOKENS: Final = 800.0
UNKNOWN_TOKENS: Final = 160.0
"""What is taken for a picture that nobody has seen: photographs need about this."""

_LEVELS: Final = (128, 256, 384, 512)
_GRAIN_LEVELS: Final = 12.0
_LEAST_CONTRAST: Final = 0.05
"""Mean contrast, in levels, below which a picture is plain."""

_READ: Final = 1 - math.exp(-1)


def detail_tokens(picture: npt.NDArray[np.uint8]) -> float:
    """Visual tokens a frame at which about 63 % of a picture's detail survives.

    Args:
        picture: luma ``(H, W)``, about `DETAIL_PX` pixels, or all that the video has.
    """
    import cv2  # Heavy, and only those who look at pictures need it.

    height_px, width_px = picture.shape
    full = picture.astype(np.float32)
    contrast = np.abs(full - cv2.boxFilter(full, -1, (15, 15)))
    counts = contrast > _GRAIN_LEVELS
    total = float(contrast[counts].sum())
    if total < _LEAST_CONTRAST * contrast.size:
        return LEAST_TOKENS
    needs = LEAST_TOKENS
    before = (0.0, 0.0)
    for level in _LEVELS:
        scale = math.sqrt(level * TOKEN_AREA_PX / (height_px * width_px))
        if scale >= 1:
            kept = 1.0
        else:
            size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
            small = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
            back = cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
            kept = 1 - min(1.0, float(np.abs(full - back)[counts].sum()) / total)
        if kept >= _READ:
            if before[0]:
                share = (_READ - before[1]) / (kept - before[1])
                return before[0] + share * (level - before[0])
            needs = level / -math.log(max(1 - kept, 1e-3))
            return min(max(needs, LEAST_TOKENS), MOST_TOKENS)
        before = (float(level), kept)
    return MOST_TOKENS


_SMALL_SHARE: Final = 0.05
"""Share of the picture up to which an event is small."""

_NEAR_S: Final = 5.0
_CROWD: Final = 4
"""Events within `_NEAR_S` of one from which it must stand out among them to count."""

_STANDS_OUT: Final = 2.0
_BUSY: Final = 5
"""Events within `_NEAR_S` of a moment that make it busy."""

_WIDELY_S: Final = 60.0
"""Time before and after an event in which others make it ordinary."""

_RARE_S: Final = 20.0
"""Mean time between events from which they are rare."""

_EXCEED: Final = 2.0
"""How far an event must exceed the stronger ones around where there are very many of them."""

_LEAST_CHANCE: Final = 0.2
"""Chance of being no noise below which an event counts for nothing."""

_UNSEEN_END_S: Final = 1.0
"""What an event is given whose end was not seen."""

_LONGEST_EVENT_S: Final = 5.0
_MOST_EVENTS: Final = 500
_STEP_S: Final = 1.0


@dataclass(frozen=True, eq=False)
class Findings:
    """What an analysis saw, by rank.

    Args:
        cuts: first frames of shots, rising, above 0.
        events: in order of time.
        signals: at each step.
        change_s: time in which the picture changes, at each step.
        details: ``(rank, tokens)`` where detail was measured, rising; at least one.
        freezes: blank and frozen stretches, in order, not overlapping.
    """

    cuts: list[int]
    events: list[Event]
    signals: Signals
    change_s: npt.NDArray[np.float64]
    details: list[tuple[int, float]]
    freezes: tuple[Freeze, ...] = ()


def standing_out(events: Sequence[Event], times_s: npt.NDArray[np.float64]) -> list[Event]:
    """The events that stand out among those near them."""
    moments = [float(times_s[event.rank]) for event in events]
    kept = []
    for place, event in enumerate(events):
        low = bisect_left(moments, moments[place] - _NEAR_S)
        high = bisect_right(moments, moments[place] + _NEAR_S)
        others = [events[i].strength for i in range(low, high) if i != place]
        if len(others) < _CROWD or event.strength >= _STANDS_OUT * float(np.quantile(others, 0.75)):
            kept.append(event)
    if len(kept) > _MOST_EVENTS:
        least = sorted((event.strength for event in kept), reverse=True)[_MOST_EVENTS - 1]
        kept = [event for event in kept if event.strength >= least][:_MOST_EVENTS]
    return kept


def trust(event: Event, events: Sequence[Event], times_s: npt.NDArray[np.float64]) -> float:
    """How far an event may be taken for one, by how many there are within a minute of it.

    Rare ones are trusted. The more there are, the more an event must exceed the stronger of them.

    Args:
        event: one of the events.
        events: in order of time.
        times_s: of all frames.
    """
    moment_s = float(times_s[event.rank])
    others = [
        each.strength
        for each in events
        if each is not event and abs(float(times_s[each.rank]) - moment_s) <= _WIDELY_S
    ]
    if len(others) * _RARE_S <= 2 * _WIDELY_S:
        return 1.0
    rarity = 2 * _WIDELY_S / (len(others) * _RARE_S)
    usual = _EXCEED * (1 - rarity) * float(np.quantile(others, 0.75))
    return event.strength**4 / (event.strength**4 + usual**4)


def busy_share(events: Sequence[Event], times_s: npt.NDArray[np.float64], end_s: float) -> float:
    """Share of the time in which events come so thick that none stands out."""
    moments = np.asarray([float(times_s[event.rank]) for event in events])
    if len(moments) < _BUSY:
        return 0.0
    steps = np.arange(0.0, max(end_s, _STEP_S), _STEP_S) + _STEP_S / 2
    near = np.searchsorted(moments, steps + _NEAR_S) - np.searchsorted(moments, steps - _NEAR_S)
    return float((near >= _BUSY).mean())


def make_demands(
    found: Findings, times: Sequence[Fraction], *, end: Fraction
) -> tuple[Demand, ...]:
    """The demands of segments that cover ``[0, end)``."""
    times_s = np.asarray([float(time) for time in times], np.float64)
    candidates = standing_out(found.events, times_s)
    trusts = {event.rank: trust(event, candidates, times_s) for event in candidates}
    events = [
        event
        for event in candidates
        if trusts[event.rank] * likely(event.strength) >= _LEAST_CHANCE
    ]
    spans = _event_spans(events, times_s, found.cuts)
    steps = found.signals.ranks
    pieces = split_by_pace(times_s, steps, found.change_s, found.cuts)
    pieces = cut_out_freezes(pieces, found.freezes, found.cuts, steps, found.change_s)
    shot_starts = set(found.cuts)
    demands: list[Demand] = []
    for piece in pieces:
        if piece.freeze is not None and not shot_starts.isdisjoint(
            range(piece.first, piece.freeze.core_first + 1)
        ):
            # The frames between the shots, which the analysis did not see, belong to this piece.
            shot_starts.add(piece.first)
        for first, stop, event in _parts(piece, spans):
            start_time = times[first] if first else Fraction(0)
            end_time = times[stop] if stop < len(times) else end
            detail = _detail(found.details, first, stop)
            still = _still(piece.freeze, times, first, stop, end_time)
            print_tokens = PRINT_TOKENS
            if still is not None and still.is_blank:
                detail = print_tokens = LEAST_TOKENS
            if event is None:
                demands.append(
                    Demand(
                        start=start_time,
                        end=end_time,
                        base=1.0,
                        events_per_s=0.0,
                        event_s=piece.change_s,
                        detail_tokens=detail,
                        density=_density(found, times, first, stop, start_time),
                        starts_shot=first in shot_starts,
                        print_tokens=print_tokens,
                        still=still,
                    )
                )
                continue
            length = end_time - start_time
            is_small = event.share <= _SMALL_SHARE
            seen_end = event.end_rank is not None and stop == event.end_rank
            time = times[event.rank]
            demands.append(
                Demand(
                    start=start_time,
                    end=end_time,
                    base=1.0,
                    events_per_s=trusts[event.rank] / float(length),
                    event_s=float(length),
                    detail_tokens=max(detail, print_tokens) if is_small else detail,
                    peaks=(Peak(time, event.strength, end_time if seen_end else None),),
                    starts_shot=first in shot_starts,
                    change_s=piece.change_s,
                    print_tokens=print_tokens,
                    # What is new in a frozen picture is another picture; a blank one stays blank.
                    still=still if still is not None and still.is_blank else None,
                )
            )
    return tuple(demands)


def _still(
    freeze: Freeze | None, times: Sequence[Fraction], first: int, stop: int, end_time: Fraction
) -> Still | None:
    """Return what a freeze says of the frames ``[first, stop)``, which end at ``end_time``."""
    if freeze is None:
        return None
    low, high = max(first, freeze.core_first), min(stop, freeze.core_end)
    if low >= high:
        return Still(freeze.is_blank)
    core_end = times[high] if high < stop else end_time
    return Still(freeze.is_blank, Span(times[low], core_end))


def _event_spans(
    events: Sequence[Event], times_s: npt.NDArray[np.float64], cuts: Sequence[int]
) -> list[tuple[int, int, Event]]:
    """Frames ``[first, end)`` of each event, rising, not overlapping.

    Cuts are no events, but a flash begins with one.
    """
    starts = set(cuts)
    spans: list[tuple[int, int, Event]] = []
    for event in events:
        is_flash = event.share == 1 and event.end_rank is not None
        if not is_flash and not starts.isdisjoint(range(event.rank - 1, event.rank + 2)):
            continue
        stop = event.end_rank
        if stop is None or times_s[stop] - times_s[event.rank] > _LONGEST_EVENT_S:
            stop = int(np.searchsorted(times_s, times_s[event.rank] + _UNSEEN_END_S))
        stop = max(stop, event.rank + 1)
        if spans and spans[-1][1] > event.rank:
            first, _, before = spans[-1]
            if event.strength <= before.strength or event.rank == first:
                continue
            spans[-1] = (first, event.rank, before)
        spans.append((event.rank, stop, event))
    return spans


def _parts(
    piece: Piece, spans: Sequence[tuple[int, int, Event]]
) -> list[tuple[int, int, Event | None]]:
    """Splits a piece at the events that begin in it; an event ends with the piece at the latest."""
    parts: list[tuple[int, int, Event | None]] = []
    place = piece.first
    for first, stop, event in spans:
        if not piece.first <= first < piece.end:
            continue
        if first > place:
            parts.append((place, first, None))
        stop = min(stop, piece.end)
        parts.append((first, stop, event))
        place = stop
    if place < piece.end:
        parts.append((place, piece.end, None))
    return parts


def _detail(details: Sequence[tuple[int, float]], first: int, end: int) -> float:
    """Median of what was measured inside, or what was measured nearest."""
    ranks = [rank for rank, _ in details]
    low, high = bisect_left(ranks, first), bisect_left(ranks, end)
    if high > low:
        return float(np.median([tokens for _, tokens in details[low:high]]))
    near = [place for place in (low - 1, low) if 0 <= place < len(details)]
    middle = (first + end) / 2
    return details[min(near, key=lambda place: abs(ranks[place] - middle))][1]


def _density(
    found: Findings, times: Sequence[Fraction], first: int, end: int, start: Fraction
) -> tuple[tuple[Fraction, float], ...]:
    """How fast the picture moves on, by the second, in half octaves; nothing where that is even."""
    steps = found.signals.ranks
    low, high = np.searchsorted(steps, [first, end])
    pairs: list[tuple[Fraction, float]] = []
    place = int(low)
    while place < high:
        begin_s = found.signals.times_s[place]
        stop = int(np.searchsorted(found.signals.times_s, begin_s + _STEP_S))
        stop = min(max(stop, place + 1), int(high))
        rate = 1.0 / float(np.median(found.change_s[place:stop]))
        weight = float(2.0 ** (round(2 * np.log2(rate)) / 2))
        time = times[int(steps[place])] if pairs else start
        if not pairs or pairs[-1][1] != weight:
            pairs.append((time, weight))
        place = stop
    return tuple(pairs) if len(pairs) > 1 else ()
