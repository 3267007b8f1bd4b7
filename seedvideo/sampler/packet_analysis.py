"""What packet sizes say: where something happens, and where they cannot tell.

Nothing is decoded. Sizes are compared with those of the same kind of packet nearby: keyframes with
keyframes, and of the others those that are stored alike, at the same place of their groups. A
brief event in a calm picture costs bytes that stand out; where sizes vary by more than such an
event costs (grain, motion, a rate control at work), they leave doubt and pictures must be seen.

Arrays are by rank. Knows no container, no tokens and no plan.

Which frames the fast analysis looks at, decided from packet sizes alone.

Ranks are places among the presented frames. Knows no file, no tokens and no plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.media.decoder import LookSpan

Sizes = npt.NDArray[np.float64]

BUMP: Final = 1.5
"""Score from which a packet stands out."""

_EVENT_BYTES: Final = 0.17
"""Least that a small event costs, over the root of the picture's pixels: print of 12 px in 1080
lines was measured at 246 bytes at CRF 36, and a third as large in 360 lines at about 80."""

_EVENT_OF_KEY: Final = 0.005
"""The same as a share of a keyframe, in streams of better quality."""

_SPREAD_BYTES: Final = 20.0
"""Least spread: headers vary by some bytes."""

_WINDOW_S: Final = 6.0
_HOP_S: Final = 2.0
_GROUPS: Final = 3
"""Groups of pictures on either side with which one is compared."""

_ENOUGH: Final = 24
"""Packets of a kind in a window from which its quantiles mean something."""


@dataclass(frozen=True, eq=False)
class PacketView:
    """What the sizes tell.

    Args:
        scores: by rank, how far a size stands out among its kind; 0 or more.
        is_doubtful: by rank, whether an event could hide among the sizes around.
        rate: by rank, bytes a second of the packets around that are no keyframes, over the size of
            a keyframe: how often the picture is made anew. Not a number without keyframes.
        says_something: whether any size was compared with others at all.
    """

    scores: Sizes
    is_doubtful: npt.NDArray[np.bool_]
    rate: Sizes
    says_something: bool


def view_packets(
    times_s: npt.NDArray[np.float64],
    sizes_bytes: Sequence[int],
    places: Sequence[int],
    keyframes: Sequence[int],
    *,
    pixels: int,
) -> PacketView:
    """Compares every packet with its kind nearby.

    Args:
        times_s: of the frames, rising.
        sizes_bytes: of their packets, without padding.
        places: of their packets in the file.
        keyframes: ranks of the keyframes, rising.
        pixels: of a picture.
    """
    sizes = np.asarray(sizes_bytes, np.float64)
    kinds = _kinds(np.asarray(places), np.asarray(keyframes, np.int64))
    count = len(sizes)
    scores, doubt = np.zeros(count), np.ones(count, np.bool_)
    key_bytes = float(np.median(sizes[kinds == 0])) if (kinds == 0).any() else float(sizes.mean())
    event_bytes = max(_EVENT_BYTES * pixels**0.5, _EVENT_OF_KEY * key_bytes)
    mostly_keys = (kinds == 0).mean() > 0.5
    surplus = sizes - _by_phase(sizes, kinds)
    worst = np.zeros(count)
    for kind in range(4):
        ranks = np.flatnonzero(kinds == kind)
        if len(ranks) < _ENOUGH or (kind == 0 and not mostly_keys):
            continue
        spread = _score_kind(times_s[ranks], sizes[ranks], surplus[ranks], scores, ranks)
        worst[ranks] = spread
    known = worst > 0
    if known.any():
        # A packet without a score of its own (a keyframe) is as doubtful as the ones beside it.
        nearest = np.maximum.accumulate(np.where(known, np.arange(count), 0))
        doubt = BUMP * worst[nearest] > event_bytes
        doubt[: int(np.argmax(known))] = doubt[int(np.argmax(known))]
    return PacketView(
        scores=scores,
        is_doubtful=doubt,
        rate=_rate(times_s, np.where(kinds == 0, 0.0, sizes), key_bytes),
        says_something=bool(known.any()),
    )


def _kinds(places: npt.NDArray[np.int64], keyframes: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    """0 for a keyframe, 1 for a picture stored in order; 2 and 3 for one stored after a later one.

    Of these, others lean on the former, which are stored before an earlier one.
    """
    kinds = np.ones(len(places), np.int8)
    if len(places) > 1:
        first_later = np.minimum.accumulate(places[::-1])[::-1]
        last_earlier = np.maximum.accumulate(places)
        is_between = np.append(first_later[1:] < places[:-1], False)
        is_leaned_on = np.insert(last_earlier[:-1] > places[1:], 0, False)
        kinds[is_between] = 3
        kinds[is_between & is_leaned_on] = 2
    kinds[keyframes] = 0
    return kinds


def _by_phase(sizes: Sizes, kinds: npt.NDArray[np.int8]) -> Sizes:
    """What is usual for each packet: the median of the same place in the groups of pictures nearby.

    A group begins at a keyframe, and what follows one is larger for a while. Not a number where
    fewer than `_GROUPS` groups nearby have a packet of the same kind at that place.
    """
    usual = np.full(len(sizes), np.nan)
    starts = np.flatnonzero(kinds == 0)
    if len(starts) <= _GROUPS or len(starts) * 2 > len(sizes):
        return usual
    bounds = np.append(starts, len(sizes))
    for place, first in enumerate(starts.tolist()):
        length = int(bounds[place + 1]) - first
        near = range(max(0, place - _GROUPS), min(len(starts), place + _GROUPS + 1))
        rows = np.full((len(near), length), np.nan)
        for row, other in zip(rows, near, strict=True):
            if other == place:
                continue
            begin = int(bounds[other])
            both = min(length, int(bounds[other + 1]) - begin)
            same = kinds[begin : begin + both] == kinds[first : first + both]
            row[:both][same] = sizes[begin : begin + both][same]
        enough = (~np.isnan(rows)).sum(axis=0) >= _GROUPS
        if enough.any():
            middle = np.nanmedian(rows[:, enough], axis=0)
            usual[first : first + length][enough] = middle
    return usual


def _score_kind(
    times_s: npt.NDArray[np.float64],
    sizes: Sizes,
    surplus: Sizes,
    scores: Sizes,
    ranks: npt.NDArray[np.int64],
) -> Sizes:
    """Writes the scores of one kind of packet, and returns the spread around each.

    Compared is the surplus over what the place in the group of pictures makes usual, or the size
    where groups are no guide.
    """
    known = ~np.isnan(surplus)
    values = np.where(known, surplus, sizes - np.median(sizes))
    spreads = np.empty(len(sizes))
    place = 0
    while place < len(sizes):
        time_s = times_s[place]
        end = int(np.searchsorted(times_s, time_s + _HOP_S, side="left"))
        end = max(end, place + 1)
        low, high = np.searchsorted(
            times_s, [time_s + _HOP_S / 2 - _WINDOW_S, time_s + _HOP_S / 2 + _WINDOW_S]
        )
        if high - low < _ENOUGH:
            low = max(0, min(int(low), place - _ENOUGH // 2))
            high = min(len(sizes), max(int(high), int(low) + _ENOUGH))
        window = slice(int(low), int(high))
        middle, upper = np.quantile(values[window], [0.5, 0.95])
        spread = max(upper - middle, 0.15 * float(np.median(sizes[window])), _SPREAD_BYTES)
        spreads[place:end] = spread
        scores[ranks[place:end]] = np.maximum(values[place:end] - upper, 0.0) / spread
        place = end
    return spreads


def _rate(times_s: npt.NDArray[np.float64], sizes: Sizes, key_bytes: float) -> Sizes:
    """Keyframes' worth of bytes a second, over two seconds around each rank."""
    if len(sizes) < 2 or not key_bytes:
        return np.full(len(sizes), np.nan)
    total = np.concatenate([[0.0], np.cumsum(sizes)])
    low = np.searchsorted(times_s, times_s - 1.0)
    high = np.searchsorted(times_s, times_s + 1.0)
    step_s = (times_s[-1] - times_s[0]) / (len(sizes) - 1)
    rate: Sizes = (total[high] - total[low]) / ((high - low) * step_s) / key_bytes
    return rate


_BEFORE_S, _AFTER_S = 0.6, 2.5
"""What is looked at around a packet that stands out."""

_GAP_S: Final = 1.5
"""Shorter gaps between stretches are looked at as well."""

_KEY_EVERY_S: Final = 6.0
"""Time between two keyframes that are looked at where nothing seems to happen."""

_KEY_CHANGE: Final = 0.03
_KEY_CHANGE_BYTES: Final = 150


def deep_ranks(times_s: npt.NDArray[np.float64], view: PacketView) -> npt.NDArray[np.bool_]:
    """Tells for every frame whether packets call for a closer look around it."""
    deep = view.is_doubtful.copy()
    for rank in np.flatnonzero(view.scores >= BUMP).tolist():
        low, high = np.searchsorted(times_s, [times_s[rank] - _BEFORE_S, times_s[rank] + _AFTER_S])
        deep[int(low) : int(high)] = True
    shallow = _stretches(~deep)
    for first, end in shallow:
        if first and end < len(deep) and times_s[end] - times_s[first] < _GAP_S:
            deep[first:end] = True
    return deep


def changed_keyframes(
    times_s: npt.NDArray[np.float64],
    sizes_bytes: Sequence[int],
    keyframes: Sequence[int],
    *,
    grid_only: bool = False,
) -> list[int]:
    """Keyframes at which something may have changed: set off the grid, or of another size.

    Encoders put a keyframe where a shot begins, so one that comes early tells of a cut; and what is
    new may hide in a keyframe that comes on time, and then its size differs from the last one's.

    Args:
        times_s: of the frames.
        sizes_bytes: of their packets.
        keyframes: ranks, rising.
        grid_only: leave sizes aside.
    """
    ranks = np.asarray(keyframes, np.int64)
    if len(ranks) < 3:
        return []
    gaps = np.diff(ranks)
    usual = int(np.quantile(gaps, 0.9))
    if usual <= 1:
        return []
    changed = []
    for place in range(1, len(ranks)):
        early = gaps[place - 1] < 0.95 * usual - 1
        before, size = sizes_bytes[int(ranks[place - 1])], sizes_bytes[int(ranks[place])]
        differs = abs(size - before) > max(_KEY_CHANGE_BYTES, _KEY_CHANGE * before)
        if early or (differs and not grid_only):
            changed.append(int(ranks[place]))
    return changed


def fast_spans(
    times_s: npt.NDArray[np.float64],
    deep: npt.NDArray[np.bool_],
    keyframes: Sequence[int],
    changed: Sequence[int],
    *,
    every_s: float,
) -> list[LookSpan]:
    """Spans of looks: closely where packets call for it, and at keyframes elsewhere.

    Args:
        times_s: of the frames.
        deep: for every frame, whether to look closely.
        keyframes: ranks, rising.
        changed: keyframes that are looked at with the one before each.
        every_s: least time between two looks where every frame is a keyframe.
    """
    stretches = _stretches(deep)
    count = len(deep)
    if 2 * len(keyframes) > count:
        keys = [rank for rank in keyframes if deep[rank]]
        return _keys([*_thin(times_s, keys, every_s), *_thin(times_s, keyframes, _KEY_EVERY_S)])
    wanted = set(_thin(times_s, keyframes, _KEY_EVERY_S))
    places = {rank: place for place, rank in enumerate(keyframes)}
    for rank in changed:
        wanted |= {rank, keyframes[places[rank] - 1]}
    spans = [LookSpan(first, end, "references") for first, end in stretches]
    spans += _keys([rank for rank in wanted if not deep[rank]])
    return sorted(spans, key=lambda span: span.first) or [LookSpan(0, 1, "all")]


def _keys(ranks: Sequence[int]) -> list[LookSpan]:
    return [LookSpan(rank, rank + 1, "keys") for rank in sorted(set(ranks))]


def _thin(times_s: npt.NDArray[np.float64], ranks: Sequence[int], every_s: float) -> list[int]:
    kept: list[int] = []
    for rank in ranks:
        if not kept or times_s[rank] - times_s[kept[-1]] >= every_s:
            kept.append(rank)
    return kept


def _stretches(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where a mask is true: ``[first, end)`` each."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
