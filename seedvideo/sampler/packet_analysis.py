"""Packet-size analysis: where something happens, and where packet sizes are inconclusive.

Nothing is decoded. Each size is compared with packets of the same kind nearby: keyframes with
keyframes, and other frames with those of the same storage order and the same position in their
group of pictures. Only packets of a like level count, because a crowd nearby says nothing about a
calm picture. A brief event in a calm picture costs bytes that stand out. If sizes vary by more than
that (grain, motion, rate control), they are inconclusive, and the analysis decodes thumbnails there
(`seedvideo.sampler.inspection`).

Arrays are by frame index in presentation order.

Separate from `seedvideo.sampler.analysis`, which would exceed 500 lines with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Sizes = npt.NDArray[np.float64]

OUTLIER_SCORE: Final = 1.5
"""Minimum score of a packet that stands out."""

_MIN_EVENT_BYTES_PER_SIDE: Final = 0.17
"""Minimum bytes of a small event, per square root of the pixels of the picture. Measured with 12 px
print: 246 bytes in 1080p at CRF 36, and about 80 bytes in 360p for a third of that size.
"""

_MIN_EVENT_KEYFRAME_FRACTION: Final = 0.005
"""Minimum size of a small event as a fraction of a keyframe, for streams of higher quality."""

_MIN_SPREAD_BYTES: Final = 20.0
"""Minimum spread of sizes: headers vary by some bytes."""

_WINDOW_S: Final = 6.0
"""Half of the window in which sizes of a kind are compared."""
_HOP_S: Final = 0.5
"""Step of that window."""
_LEVEL_S: Final = 0.5
"""Half of the time whose median size is the level of a packet: longer than a brief event."""
_LIKE_OCTAVES: Final = 1.0
"""Maximum distance of the levels of packets that are compared: a factor of two."""
_MAX_TABLE: Final = 1 << 20
"""Maximum values of windows that are compared at once."""
_NEIGHBOR_GOPS: Final = 3
"""Groups of pictures on either side with which one is compared."""

_MIN_SAMPLES: Final = 24
"""Minimum packets of a kind in a window for meaningful quantiles."""


@dataclass(frozen=True, eq=False)
class PacketSizeAnalysis:
    """Result of the packet-size analysis.

    Args:
        scores: per frame, how far its size stands out among its kind; 0 or more.
        is_doubtful: per frame, whether an event could hide among the sizes around it.
        rate: per frame, bytes per second of the non-keyframe packets around it, divided by the size
            of a keyframe: how often the picture is renewed. NaN without keyframes.
        is_unreferenced: per frame, whether no other frame refers to it, as far as the storage order
            shows.
        is_informative: whether any size could be compared with others.
    """

    scores: Sizes
    is_doubtful: npt.NDArray[np.bool_]
    rate: Sizes
    is_unreferenced: npt.NDArray[np.bool_]
    is_informative: bool


def analyze_packet_sizes(
    times_s: npt.NDArray[np.float64],
    sizes_bytes: Sequence[int],
    packet_positions: Sequence[int],
    keyframes: Sequence[int],
    *,
    pixels: int,
) -> PacketSizeAnalysis:
    """Compare every packet with nearby packets of its kind.

    Args:
        times_s: times of the frames, rising.
        sizes_bytes: sizes of their packets, without padding.
        packet_positions: storage order of their packets in the file.
        keyframes: indices of the keyframes, rising.
        pixels: pixels of a picture.
    """
    sizes = np.asarray(sizes_bytes, np.float64)
    kinds = _kinds(np.asarray(packet_positions), np.asarray(keyframes, np.int64))
    count = len(sizes)
    scores, doubt = np.zeros(count), np.ones(count, np.bool_)
    key_bytes = float(np.median(sizes[kinds == 0])) if (kinds == 0).any() else float(sizes.mean())
    event_bytes = max(
        _MIN_EVENT_BYTES_PER_SIDE * pixels**0.5, _MIN_EVENT_KEYFRAME_FRACTION * key_bytes
    )
    mostly_keys = (kinds == 0).mean() > 0.5
    octaves = np.log2(1.0 + _levels(times_s, sizes, kinds))
    surplus = sizes - _typical_sizes(sizes, kinds, octaves)
    worst = np.zeros(count)
    for kind in range(4):
        frame_indices = np.flatnonzero(kinds == kind)
        if len(frame_indices) < _MIN_SAMPLES or (kind == 0 and not mostly_keys):
            continue
        scores[frame_indices], worst[frame_indices] = _score_kind(
            times_s[frame_indices],
            sizes[frame_indices],
            surplus[frame_indices],
            octaves[frame_indices],
        )
    known = worst > 0
    if known.any():
        # A packet without a score of its own (a keyframe) is as doubtful as its neighbours.
        nearest = np.maximum.accumulate(np.where(known, np.arange(count), 0))
        doubt = OUTLIER_SCORE * worst[nearest] > event_bytes
        doubt[: int(np.argmax(known))] = doubt[int(np.argmax(known))]
    return PacketSizeAnalysis(
        scores=scores,
        is_doubtful=doubt,
        rate=_rate(times_s, np.where(kinds == 0, 0.0, sizes), key_bytes),
        is_unreferenced=kinds == 3,
        is_informative=bool(known.any()),
    )


def _kinds(
    packet_positions: npt.NDArray[np.int64], keyframes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int8]:
    """Classify frames: 0 for keyframes, 1 for frames stored in order, 2 and 3 for reordered ones.

    Reordered frames of kind 2 are references of others, which are stored before an earlier frame.
    """
    kinds = np.ones(len(packet_positions), np.int8)
    if len(packet_positions) > 1:
        first_later = np.minimum.accumulate(packet_positions[::-1])[::-1]
        last_earlier = np.maximum.accumulate(packet_positions)
        is_between = np.append(first_later[1:] < packet_positions[:-1], False)
        is_referenced = np.insert(last_earlier[:-1] > packet_positions[1:], 0, False)
        kinds[is_between] = 3
        kinds[is_between & is_referenced] = 2
    kinds[keyframes] = 0
    return kinds


def _levels(times_s: npt.NDArray[np.float64], sizes: Sizes, kinds: npt.NDArray[np.int8]) -> Sizes:
    """Return the median size of the packets of the same kind within `_LEVEL_S`, for each packet."""
    levels = np.empty(len(sizes))
    for kind in range(4):
        of_kind = np.flatnonzero(kinds == kind)
        if len(of_kind):
            own_s = times_s[of_kind]
            low = np.searchsorted(own_s, own_s - _LEVEL_S)
            high = np.searchsorted(own_s, own_s + _LEVEL_S, side="right")
            levels[of_kind] = _window_quantiles(sizes[of_kind], low, high, (0.5,))[:, 0]
    return levels


def _window_quantiles(
    values: Sizes,
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
    quantiles: Sequence[float],
    *,
    octaves: tuple[Sizes, Sizes] | None = None,
) -> Sizes:
    """Return quantiles of the windows ``[low, high)``, as one row for each window.

    Args:
        values: values in order.
        low: first value of each window.
        high: index after the last value of each window, above ``low``.
        quantiles: fractions from 0 to 1.
        octaves: level of each value, and level of each window. Only values of a like level count,
            or all if fewer than `_MIN_SAMPLES` are alike.
    """
    result = np.empty((len(low), len(quantiles)))
    widest = int((high - low).max(initial=1))
    step = max(1, _MAX_TABLE // widest)
    for first in range(0, len(low), step):
        part = slice(first, first + step)
        columns = low[part, None] + np.arange(int((high[part] - low[part]).max()))
        counts = columns < high[part, None]
        columns = np.minimum(columns, len(values) - 1)
        if octaves is not None:
            like = np.abs(octaves[0][columns] - octaves[1][part, None]) <= _LIKE_OCTAVES
            like &= counts
            counts = np.where(like.sum(axis=1, keepdims=True) >= _MIN_SAMPLES, like, counts)
        table = np.where(counts, values[columns], np.inf)
        table.sort(axis=1)
        most = counts.sum(axis=1) - 1
        rows = np.arange(len(table))
        for i, quantile in enumerate(quantiles):
            at = quantile * most
            below = at.astype(np.int64)
            above = np.minimum(below + 1, most)
            fraction = at - below
            result[part, i] = (1 - fraction) * table[rows, below] + fraction * table[rows, above]
    return result


def _typical_sizes(sizes: Sizes, kinds: npt.NDArray[np.int8], octaves: Sizes) -> Sizes:
    """Return the median size at the same position of nearby groups of pictures, for each packet.

    A group begins at a keyframe, and the packets after it are larger for a while. NaN if fewer than
    `_NEIGHBOR_GOPS` groups nearby have a packet of the same kind and a like level at that position.
    """
    typical = np.full(len(sizes), np.nan)
    starts = np.flatnonzero(kinds == 0)
    if len(starts) <= _NEIGHBOR_GOPS or len(starts) * 2 > len(sizes):
        return typical
    bounds = np.append(starts, len(sizes))
    for i, first in enumerate(starts.tolist()):
        length = int(bounds[i + 1]) - first
        near = range(max(0, i - _NEIGHBOR_GOPS), min(len(starts), i + _NEIGHBOR_GOPS + 1))
        rows = np.full((len(near), length), np.inf)
        for row, other in zip(rows, near, strict=True):
            if other == i:
                continue
            begin = int(bounds[other])
            both = min(length, int(bounds[other + 1]) - begin)
            here, there = slice(first, first + both), slice(begin, begin + both)
            same = kinds[there] == kinds[here]
            same &= np.abs(octaves[there] - octaves[here]) <= _LIKE_OCTAVES
            row[:both] = np.where(same, sizes[there], np.inf)
        rows.sort(axis=0)
        counts = np.isfinite(rows).sum(axis=0)
        enough = counts >= _NEIGHBOR_GOPS
        columns, middle = np.flatnonzero(enough), counts[enough]
        typical[first : first + length][enough] = (
            rows[(middle - 1) // 2, columns] + rows[middle // 2, columns]
        ) / 2
    return typical


def _score_kind(
    times_s: npt.NDArray[np.float64], sizes: Sizes, surplus: Sizes, octaves: Sizes
) -> tuple[Sizes, Sizes]:
    """Return the scores of the packets of one kind, and the spread around each.

    The score compares the surplus over the typical size at that position of a group of pictures, or
    over the level where too few groups are alike, or the size itself without groups.
    """
    is_missing = np.isnan(surplus)
    usual = np.full(len(sizes), np.median(sizes)) if is_missing.all() else np.exp2(octaves)
    values = np.where(is_missing, sizes - usual, surplus)
    hops = np.floor((times_s - times_s[0]) / _HOP_S).astype(np.int64)
    firsts = np.flatnonzero(np.diff(hops, prepend=-1))
    middle_s = times_s[0] + (hops[firsts] + 0.5) * _HOP_S
    low, high = (np.searchsorted(times_s, middle_s + side * _WINDOW_S) for side in (-1, 1))
    is_short = high - low < _MIN_SAMPLES
    low = np.where(is_short, np.clip(firsts - _MIN_SAMPLES // 2, 0, low), low)
    high = np.where(is_short, np.minimum(len(sizes), np.maximum(high, low + _MIN_SAMPLES)), high)
    like = (octaves, octaves[firsts])
    middle, upper = _window_quantiles(values, low, high, (0.5, 0.95), octaves=like).T
    typical = _window_quantiles(sizes, low, high, (0.5,), octaves=like)[:, 0]
    spread = np.maximum(np.maximum(upper - middle, 0.15 * typical), _MIN_SPREAD_BYTES)
    hop = np.cumsum(np.diff(hops, prepend=-1) > 0) - 1
    return np.maximum(values - upper[hop], 0.0) / spread[hop], spread[hop]


def _rate(times_s: npt.NDArray[np.float64], sizes: Sizes, key_bytes: float) -> Sizes:
    """Return the bytes per second in units of keyframes, over two seconds around each frame."""
    if len(sizes) < 2 or not key_bytes:
        return np.full(len(sizes), np.nan)
    total = np.concatenate([[0.0], np.cumsum(sizes)])
    low = np.searchsorted(times_s, times_s - 1.0)
    high = np.searchsorted(times_s, times_s + 1.0)
    step_s = (times_s[-1] - times_s[0]) / (len(sizes) - 1)
    rate: Sizes = (total[high] - total[low]) / ((high - low) * step_s) / key_bytes
    return rate
