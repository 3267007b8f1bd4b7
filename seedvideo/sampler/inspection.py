"""Choice of the frames that the analysis decodes, within a bound on the pictures to decode.

`fast` decodes keyframes everywhere, and every reference frame where packet sizes are inconclusive
or stand out. `auto` does the same as long as that costs no more than `Inspector.max_pictures`: at
most about what evenly spread frames cost to decode. Beyond that, it selects

1. keyframes at longer intervals, and those that an encoder inserted at a cut;
2. groups of pictures in which a packet stands out, each only up to shortly after that packet: first
   those in calm pictures, and those with the best ratio of the score to the pictures to decode;
3. groups of pictures whose packet sizes are inconclusive, spread evenly over the video.

What remains is unknown (`Inspection.unknown`). The order is that of multiples of the golden ratio,
which never falls into step with something that recurs; halving intervals does, and then misses
every calm half of an alternating video.

Pictures are counted, never seconds, so the same file is inspected in the same way everywhere. Only
references count where decoders skip other frames, and a keyframe counts as `_KEYFRAME_PICTURES`.

Separate from `seedvideo.sampler.analysis`, which would exceed 500 lines with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.media.types import SKIPPABLE_CODECS, MediaInfo, PacketIndex, ThumbnailSpan
from seedvideo.sampler.packet_analysis import OUTLIER_SCORE, PacketSizeAnalysis
from seedvideo.sampler.request import compute_decode_costs

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_BEFORE_OUTLIER_S, _AFTER_OUTLIER_S = 0.6, 2.5
"""Time to inspect before and after a packet that stands out."""

_MIN_GAP_S: Final = 1.5
"""Minimum gap between inspected runs; shorter gaps are inspected too."""

_KEYFRAME_INTERVAL_S: Final = 6.0
"""Time between two inspected keyframes where nothing seems to happen."""

_MIN_KEYFRAME_CHANGE: Final = 0.03
"""Minimum relative change of size between keyframes that may mean new content; empirical."""
_MIN_KEYFRAME_CHANGE_BYTES: Final = 150
"""Minimum absolute change of size between keyframes that may mean new content; empirical."""

EVEN_FRAMES: Final = 640
"""Number of evenly spread frames whose decoding bounds that of `auto`."""

_EVEN_FRACTION: Final = 0.3
"""Fraction of that decoding which long videos may cost; see docs/images/analysis-recall.svg."""

_FLOOR_PICTURES: Final = 20_000.0
"""Pictures of 720p that may be decoded anyway: about those of ten minutes."""
_EXCESS_PICTURES: Final = 3_000.0
"""Pictures of 720p by which the evenly spread frames may be exceeded."""
_FLOOR_PX: Final = 1280 * 720
"""Pixels of these pictures. Smaller ones count as much: their thumbnails cost as much."""

_KEYFRAME_PICTURES: Final = 7.0
"""Pictures as which a keyframe counts: decoding it alone costs about as much."""

_KEYFRAME_FRACTION: Final = 0.1
"""Fraction of the bound for keyframes outside of inspected groups."""
_DETAIL_FRACTION: Final = 0.1
"""Fraction of the bound for measurements of detail."""
_AFTER_STRONGEST_S: Final = 0.7
"""Time to inspect after a packet that stands out, within the bound: an event of 0.4 s is over."""
_MIN_CALM_S: Final = 0.5
"""Minimum time between inconclusive packets that packet sizes show to be calm."""
_MIN_UNKNOWN_S: Final = 0.2
"""Minimum length of unknown time: an event is longer."""
_BORDER_S: Final = 1.5
"""Time before and after a packet in which paces are compared."""
_HINT_SCORE: Final = 0.5
"""Score from which a packet ranks higher than others: a third of `OUTLIER_SCORE`."""
_HINT_FRACTION: Final = 0.6
"""Fraction of the bound for packets that only rank higher; the rest is spread evenly."""
_CLEAR_SCORE: Final = 4.0
"""Score from which a packet is as likely as can be to hold an event; below, it is the square."""
_UNIT_S: Final = 4.0
"""Minimum time that is inspected together; shorter groups of pictures are joined."""

_GOLDEN_RATIO: Final = (5**0.5 - 1) / 2


@dataclass(frozen=True, eq=False)
class Inspection:
    """Frames to decode as thumbnails.

    Args:
        spans: spans to decode, in order.
        unknown: per frame, whether it is neither decoded nor proven unchanged by packet sizes.
        max_details: maximum number of keyframes in which detail may be measured.
    """

    spans: list[ThumbnailSpan]
    unknown: Mask
    max_details: int


class Inspector:
    """Choice of frames for one video.

    Args:
        times_s: times of the frames, rising.
        index: sizes and storage order of their packets.
        keyframes: indices of the keyframes, rising.
        info: codec and size of the pictures.
        packets: analysis of the packet sizes.
        every_s: minimum time between two thumbnails if every frame is a keyframe.
        detail_interval_s: time between two measurements of detail.
    """

    def __init__(
        self,
        times_s: Floats,
        index: PacketIndex,
        keyframes: Sequence[int],
        info: MediaInfo,
        packets: PacketSizeAnalysis,
        *,
        every_s: float,
        detail_interval_s: float,
    ) -> None:
        self._times_s = times_s
        self._sizes_bytes = index.sizes_bytes
        self._keyframes = keyframes
        self._info = info
        self._packets = packets
        self._every_s = every_s
        self._detail_interval_s = detail_interval_s
        self.doubtful = frames_to_inspect(times_s, packets)
        """Per frame, whether packet sizes call for decoding it."""
        # Packets of one kind may be inconclusive between conclusive ones of another.
        self._inconclusive = packets.is_doubtful.copy()
        for first, end in true_runs(~packets.is_doubtful):
            if first and end < len(times_s) and times_s[end] - times_s[first] < _MIN_CALM_S:
                self._inconclusive[first:end] = True
        self._changed = changed_keyframes(times_s, index.sizes_bytes, keyframes)
        self._decode_costs = compute_decode_costs(index.positions, keyframes)
        skips = info.codec in SKIPPABLE_CODECS
        weights = np.ones(len(times_s))
        if skips:
            weights[packets.is_unreferenced] = 0.0
        weights[np.asarray(keyframes, np.int64)] = _KEYFRAME_PICTURES
        self._weights = np.ones(int(self._decode_costs.packets.max()) + 1)
        self._weights[self._decode_costs.packets] = weights

    def everything(self) -> Inspection:
        """Return all frames that packet sizes call for."""
        spans = self._spans(self.doubtful, self._wanted_keyframes(self.doubtful))
        return Inspection(spans, np.zeros(len(self._times_s), np.bool_), len(self._times_s))

    def within_bound(self) -> Inspection:
        """Return the frames that packet sizes call for, as far as the bound allows."""
        bound = self.max_pictures()
        whole = self.everything()
        cost = self.pictures(whole.spans)
        details = self._details()
        if cost + details <= bound:
            return Inspection(whole.spans, whole.unknown, int((bound - cost) / _KEYFRAME_PICTURES))
        details = min(details, _DETAIL_FRACTION * bound)
        chosen = _Choice(self._weights, bound - details)
        keys = self._few_keyframes(_KEYFRAME_FRACTION * bound)
        for key in keys:
            chosen.take(*self._packet_range(key, key + 1))
        inspected = self._select(chosen)
        spans = self._spans(inspected, [key for key in keys if not inspected[key]])
        unknown = self._in_question() & ~inspected
        unknown[keys] = False
        for first, end in true_runs(unknown):
            if self._times_s[end - 1] - self._times_s[first] < _MIN_UNKNOWN_S:
                unknown[first:end] = False
        most = max(1, int((bound - self.pictures(spans)) / _KEYFRAME_PICTURES))
        return Inspection(spans, unknown, most)

    def max_pictures(self) -> float:
        """Return the bound on the pictures to decode, of the size of this video."""
        pixels = self._info.coded_width_px * self._info.coded_height_px
        scale = max(1.0, pixels / _FLOOR_PX)
        even = self.even_pictures()
        longest = max(
            float(self._weights[slice(*self._packet_range(*unit))].sum()) for unit in self._units()
        )
        most = max(_EVEN_FRACTION * even, _FLOOR_PICTURES / scale, longest)
        return min(most, even + _EXCESS_PICTURES / scale)

    def even_pictures(self) -> float:
        """Return the pictures to decode for evenly spread frames."""
        count = len(self._times_s)
        frames = np.unique(np.linspace(0, count - 1, min(EVEN_FRAMES, count)).round())
        chosen = np.zeros(len(self._weights), np.bool_)
        for frame in frames.astype(np.int64).tolist():
            first, after = self._decode_costs.span(frame)
            chosen[first:after] = True
        needed = self._weights.copy()
        packets = self._decode_costs.packets[frames.astype(np.int64)]
        needed[packets] = np.maximum(needed[packets], 1.0)
        return float(needed[chosen].sum())

    def pictures(self, spans: Sequence[ThumbnailSpan]) -> float:
        """Return the pictures to decode for spans."""
        chosen = np.zeros(len(self._weights), np.bool_)
        for span in spans:
            chosen[slice(*self._packet_range(span.first, span.end))] = True
        return float(self._weights[chosen].sum())

    def _packet_range(self, first: int, end: int) -> tuple[int, int]:
        """Return the packets ``[first, after)`` to decode for frames ``[first, end)``."""
        costs = self._decode_costs
        return int(costs.first_packets[first:end].min()), int(costs.packets[first:end].max()) + 1

    def _details(self) -> float:
        keys = _subsample(self._times_s, self._keyframes or (0,), self._detail_interval_s)
        return _KEYFRAME_PICTURES * len(keys)

    @property
    def _is_intra(self) -> bool:
        """Whether most frames are keyframes, which are then decoded one by one."""
        return 2 * len(self._keyframes) > len(self._times_s)

    def _wanted_keyframes(self, inspected: Mask) -> list[int]:
        """Return the keyframes to decode outside of inspected frames."""
        wanted = set(_subsample(self._times_s, self._keyframes, _KEYFRAME_INTERVAL_S))
        if not self._is_intra:
            before = dict(zip(self._keyframes[1:], self._keyframes, strict=False))
            for frame_index in self._changed:
                wanted |= {frame_index, before[frame_index]}
            wanted = {frame_index for frame_index in wanted if not inspected[frame_index]}
        return sorted(wanted)

    def _few_keyframes(self, most: float) -> list[int]:
        """Return keyframes that cost at most so many pictures: half at intervals, half at cuts."""
        count = int(most / _KEYFRAME_PICTURES)
        duration_s = float(self._times_s[-1] - self._times_s[0])
        interval_s = max(_KEYFRAME_INTERVAL_S, duration_s / max(1, count // 2 - 1))
        wanted = set(_subsample(self._times_s, self._keyframes, interval_s))
        if self._is_intra:
            return sorted(wanted)
        before = dict(zip(self._keyframes[1:], self._keyframes, strict=False))
        early = set(
            changed_keyframes(self._times_s, self._sizes_bytes, self._keyframes, grid_only=True)
        )
        calm = [each for each in self._changed if each in early or not self.doubtful[each]]
        for i in golden_order(len(calm)):
            pair = {calm[i], before[calm[i]]}
            if len(wanted | pair) > count:
                break
            wanted |= pair
        return sorted(wanted)

    def _select(self, chosen: "_Choice") -> Mask:
        """Return the frames of the groups of pictures to decode, within what is left of a bound."""
        inspected = np.zeros(len(self._times_s), np.bool_)
        self._select_outliers(chosen, inspected)
        for first, end in self._units():
            if self.doubtful[first:end].any():
                self._add(chosen, inspected, first, end)
        return inspected

    def _select_outliers(self, chosen: "_Choice", inspected: Mask) -> None:
        """Inspect packets that stand out, in order of their gain per picture.

        First those of calm pictures. Packets whose sizes are inconclusive still rank the others.
        """
        times_s, scores = self._times_s, self._packets.scores
        hints = np.flatnonzero(scores >= _HINT_SCORE)
        is_clear = (scores[hints] >= OUTLIER_SCORE) & ~self._inconclusive[hints]
        bounds = self._group_bounds()
        groups = np.searchsorted(bounds, hints, side="right") - 1
        firsts = bounds[groups]
        if self._is_intra:
            firsts = np.searchsorted(times_s, times_s[hints] - _BEFORE_OUTLIER_S)
        ends = np.searchsorted(times_s, times_s[hints] + _AFTER_STRONGEST_S)
        ranks = np.where(is_clear, 0, 1) + 2 * self._at_border(hints)
        gains = np.minimum(scores[hints], _CLEAR_SCORE) ** 2

        ranges = [
            self._packet_range(first, end)
            for first, end in zip(firsts.tolist(), ends.tolist(), strict=True)
        ]
        packets_first, packets_after = np.asarray(ranges, np.int64).reshape(-1, 2).T
        borders = np.flatnonzero(np.diff(groups, prepend=-1, append=-1))
        done = np.zeros(len(hints), np.bool_)

        def best(low: int, high: int) -> tuple[int, float, int, int, int]:
            """Return the best of the hints ``[low, high)`` of a group that are not done."""
            left = low + np.flatnonzero(~done[low:high])
            costs = chosen.costs(packets_first[left], packets_after[left])
            ratios = -gains[left] / np.maximum(costs, 1.0)
            i = int(left[np.lexsort((left, ratios, ranks[left]))[0]])
            return int(ranks[i]), float(ratios[left == i][0]), i, low, high

        waiting = [best(low, high) for low, high in pairwise(borders.tolist())]
        heapify(waiting)
        reserve = (1 - _HINT_FRACTION) * chosen.left
        while waiting:
            rank, _, i, low, high = heappop(waiting)
            if rank and chosen.left < reserve:
                break
            done[i] = True
            self._add(chosen, inspected, int(firsts[i]), int(ends[i]))
            if not done[low:high].all():  # Others of the group now cost less.
                heappush(waiting, best(low, high))

    def _at_border(self, frame_indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return for frames whether another pace begins there (0 or 1).

        The first packets of a crowd stand out of the calm before it, without being an event.
        """
        rate, times_s = self._packets.rate, self._times_s
        last = len(times_s) - 1
        before, after = (
            rate[np.clip(np.searchsorted(times_s, times_s[frame_indices] + side), 0, last)]
            for side in (-_BORDER_S, _BORDER_S)
        )
        doubts = np.concatenate([[0], np.cumsum(self._inconclusive)])
        low, high = (
            np.searchsorted(times_s, times_s[frame_indices] + side)
            for side in (-_BORDER_S, _BORDER_S)
        )
        jumps = np.maximum(before, after) > 2 * np.minimum(before, after)
        return (jumps & (doubts[high] > doubts[low])).astype(np.int64)

    def _add(self, chosen: "_Choice", inspected: Mask, first: int, end: int) -> None:
        """Inspect frames ``[first, end)`` if that is affordable."""
        if inspected[first:end].all():
            return
        if self._is_intra:
            keys = _subsample(self._times_s, range(first, end), self._every_s)
            if chosen.spend(_KEYFRAME_PICTURES * len(keys)):
                inspected[first:end] = True
            return
        if chosen.take(*self._packet_range(first, end)):
            inspected[first:end] = True

    def _group_bounds(self) -> npt.NDArray[np.int64]:
        """Return the first frame of each group of pictures, and the number of frames."""
        return np.unique(np.asarray([0, *self._keyframes, len(self._times_s)], np.int64))

    def _units(self) -> list[tuple[int, int]]:
        """Return runs ``[first, end)`` of complete groups of pictures, in golden order."""
        starts, times_s = [0], self._times_s
        for bound in self._group_bounds()[1:-1].tolist():
            if times_s[bound] - times_s[starts[-1]] >= _UNIT_S:
                starts.append(bound)
        ends = [*starts[1:], len(times_s)]
        return [(starts[i], ends[i]) for i in golden_order(len(starts))]

    def _in_question(self) -> Mask:
        """Return the frames in which something may hide: those that must not count as calm."""
        times_s, mask = self._times_s, self._inconclusive.copy()
        for frame_index in np.flatnonzero(self._packets.scores >= OUTLIER_SCORE).tolist():
            around_s = times_s[frame_index] + np.asarray([-_BEFORE_OUTLIER_S, _AFTER_STRONGEST_S])
            low, high = np.searchsorted(times_s, around_s)
            mask[int(low) : int(high)] = True
        return mask

    def _spans(self, inspected: Mask, keys: Sequence[int]) -> list[ThumbnailSpan]:
        """Return the spans to decode: runs of inspected frames, and keyframes elsewhere."""
        if self._is_intra:
            inside = [key for key in self._keyframes if inspected[key]]
            return _keyframe_spans([*_subsample(self._times_s, inside, self._every_s), *keys])
        spans = [ThumbnailSpan(first, end, "references") for first, end in true_runs(inspected)]
        spans += _keyframe_spans(keys)
        return sorted(spans, key=lambda span: span.first) or [ThumbnailSpan(0, 1, "all")]


class _Choice:
    """Packets that have been chosen for decoding, and pictures that may still be decoded."""

    def __init__(self, weights: Floats, left: float) -> None:
        self._chosen = np.zeros(len(weights), np.bool_)
        self._weights = weights
        self.left = left
        """Pictures that may still be decoded."""

    def take(self, first: int, after: int) -> bool:
        """Choose packets ``[first, after)`` if that is affordable, and return whether it is."""
        if not self.spend(self.cost(first, after)):
            return False
        self._chosen[first:after] = True
        return True

    def cost(self, first: int, after: int) -> float:
        """Return the pictures that choosing packets ``[first, after)`` adds."""
        part = slice(first, after)
        return float(self._weights[part][~self._chosen[part]].sum())

    def costs(
        self, firsts: npt.NDArray[np.int64], afters: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Return the same for many ranges of nearby packets."""
        low, high = int(firsts.min()), int(afters.max())
        added = np.where(self._chosen[low:high], 0.0, self._weights[low:high])
        sums = np.concatenate([[0.0], np.cumsum(added)])
        return np.asarray(sums[afters - low] - sums[firsts - low])

    def spend(self, pictures: float) -> bool:
        """Decode more pictures if that is affordable, and return whether it is."""
        if pictures > self.left:
            return False
        self.left -= pictures
        return True


def golden_order(count: int) -> list[int]:
    """Return the numbers below ``count`` so that each first part of them is spread evenly."""
    fractions = np.arange(count) * _GOLDEN_RATIO % 1.0
    return [int(i) for i in np.argsort(fractions, kind="stable")]


def frames_to_inspect(
    times_s: npt.NDArray[np.float64], packets: PacketSizeAnalysis
) -> npt.NDArray[np.bool_]:
    """Return for every frame whether packet sizes call for decoding thumbnails around it."""
    inspected = packets.is_doubtful.copy()
    for frame_index in np.flatnonzero(packets.scores >= OUTLIER_SCORE).tolist():
        low, high = np.searchsorted(
            times_s,
            [times_s[frame_index] - _BEFORE_OUTLIER_S, times_s[frame_index] + _AFTER_OUTLIER_S],
        )
        inspected[int(low) : int(high)] = True
    shallow = true_runs(~inspected)
    for first, end in shallow:
        if first and end < len(inspected) and times_s[end] - times_s[first] < _MIN_GAP_S:
            inspected[first:end] = True
    return inspected


def changed_keyframes(
    times_s: npt.NDArray[np.float64],
    sizes_bytes: Sequence[int],
    keyframes: Sequence[int],
    *,
    grid_only: bool = False,
) -> list[int]:
    """Return keyframes of unusual timing or size, at which something may have changed.

    Encoders insert a keyframe at the start of a shot, so an early one indicates a cut. New content
    may also hide in a keyframe at the usual interval; its size then differs from the previous one.

    Args:
        times_s: times of the frames.
        sizes_bytes: sizes of their packets.
        keyframes: indices of the keyframes, rising.
        grid_only: ignore sizes.
    """
    frame_indices = np.asarray(keyframes, np.int64)
    if len(frame_indices) < 3:
        return []
    gaps = np.diff(frame_indices)
    typical = int(np.quantile(gaps, 0.9))
    if typical <= 1:
        return []
    changed = []
    for i in range(1, len(frame_indices)):
        early = gaps[i - 1] < 0.95 * typical - 1
        before, size = sizes_bytes[int(frame_indices[i - 1])], sizes_bytes[int(frame_indices[i])]
        differs = abs(size - before) > max(
            _MIN_KEYFRAME_CHANGE_BYTES, _MIN_KEYFRAME_CHANGE * before
        )
        if early or (differs and not grid_only):
            changed.append(int(frame_indices[i]))
    return changed


def _keyframe_spans(frame_indices: Sequence[int]) -> list[ThumbnailSpan]:
    return [
        ThumbnailSpan(frame_index, frame_index + 1, "keys")
        for frame_index in sorted(set(frame_indices))
    ]


def _subsample(
    times_s: npt.NDArray[np.float64], frame_indices: Sequence[int], every_s: float
) -> list[int]:
    kept: list[int] = []
    for frame_index in frame_indices:
        if not kept or times_s[frame_index] - times_s[kept[-1]] >= every_s:
            kept.append(frame_index)
    return kept


def true_runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the runs ``[first, end)`` in which a mask is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
