"""Near-duplicates among many signatures: exactly the pairs that `near_distance` accepts.

As `seedvideo.batch.similarity.NearIndex`, this proposes candidates by bounds that each follow from
the rule, so that no pair is missed; here a block of clips is searched at a time. Clips are grouped
by quarters of an octave of their duration, within which exposures have one step and a minimum
number. A clip that may have partners in the next group is in both. In a group, a candidate is close
in four signed means, then in the means of sixteen regions, and then reaches the other clip's
maximum and minimum in every cell. The bounds are explained in that module.

Memory is about 1 KiB for each clip that stays; signatures are read from a spool.

Separate from `seedvideo.curation.duplicates`, which would exceed 500 lines with it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from seedvideo.batch.similarity import (
    GREY_CELLS,
    MAX_CELL_RATIO,
    MAX_DURATION_DIFF_FRACTION,
    MIN_DURATION_TOLERANCE_S,
    MOTION_FRACTION,
    Signature,
    count_exposures,
    exposure_step_s,
    max_partner_s,
    min_partner_s,
    near_distance,
)
from seedvideo.curation.boxes import BoxIndex, Floats, Ints

_GREY: Final = GREY_CELLS**2
_REGIONS: Final = 4
_SLACK_LEVELS: Final = 1e-3
"""Tolerance for rounding, as in `NearIndex`."""

_SLACK_S: Final = 2e-6
_GROUPS_PER_OCTAVE: Final = 4
_MIN_GROUP: Final = -2 * _GROUPS_PER_OCTAVE
"""Group of all clips below a quarter of a second: one exposure is compared there."""

_MAX_GROUPS: Final = 1 << 12
_GROWTH: Final = 1.25
_MAX_CELL_PAIRS: Final = 1 << 14
"""Pairs whose cells are compared in one step."""

# Signs of the sixteen regions: all, left against right, above against below, and both.
_LEFT: Final = np.repeat([[1.0, 1.0, -1.0, -1.0]], _REGIONS, axis=0)
_SIGNS: Final = np.stack([_LEFT**2, _LEFT, _LEFT.T, _LEFT * _LEFT.T]).reshape(4, -1) / _LEFT.size


class _Entries(NamedTuple):
    """Signatures in their groups; a signature of two groups has two entries.

    Args:
        clips: number of each clip, ``(count,)``.
        groups: its group of durations and words, ``(count,)``.
        durations_s: its duration, ``(count,)``.
        reaches: greatest difference of the means of a near-duplicate, ``(count,)``.
        sides: greatest reach of any clip of its group, ``(count,)``.
        regions: means of the regions, ``(count, 16)``.
        highest: greatest level of each cell that a near-duplicate may show, ``(count, 256)``.
        lowest: least level of each cell that it may show, ``(count, 256)``.
        shown_high: maximum of each cell in the exposures that are always compared.
        shown_low: minimum of each cell there.
    """

    clips: Ints
    groups: Ints
    durations_s: npt.NDArray[np.float64]
    reaches: Floats
    sides: Floats
    regions: Floats
    highest: npt.NDArray[np.uint8]
    lowest: npt.NDArray[np.uint8]
    shown_high: npt.NDArray[np.uint8]
    shown_low: npt.NDArray[np.uint8]

    def take(self, chosen: Ints) -> "_Entries":
        """Return some of the entries."""
        return _Entries._make(each[chosen] for each in self)


class _EntryStore:
    """Entries in arrays that grow by a quarter at a time."""

    def __init__(self) -> None:
        self._arrays: _Entries | None = None
        self.count = 0

    @property
    def entries(self) -> _Entries | None:
        """All entries; None without any."""
        if self._arrays is None:
            return None
        return _Entries._make(each[: self.count] for each in self._arrays)

    def append(self, more: _Entries) -> None:
        """Append entries."""
        end = self.count + len(more.clips)
        old = self._arrays
        if old is None or end > len(old.clips):
            capacity = math.ceil(_GROWTH * end)
            grown = _Entries._make(
                np.zeros((capacity, *each.shape[1:]), each.dtype) for each in more
            )
            if old is not None:
                columns: Iterable[tuple[Any, Any]] = zip(grown, old, strict=True)
                for array, former in columns:
                    array[: self.count] = former[: self.count]
            self._arrays = old = grown
        parts: Iterable[tuple[Any, Any]] = zip(old, more, strict=True)
        for array, values in parts:
            array[self.count : end] = values
        self.count = end


class _Pairs:
    """Pairs of an entry of a block and something else, by the entry.

    Args:
        found: pairs in parts, in any order.
        count: number of entries of the block.
    """

    def __init__(self, found: Sequence[tuple[Ints, Ints]], count: int) -> None:
        none = np.empty(0, np.int64)
        one, other = (np.concatenate([none, *(pair[side] for pair in found)]) for side in (0, 1))
        order = np.argsort(one, kind="stable")
        self._one, self._other = one[order], other[order]
        self._ends = np.searchsorted(self._one, np.arange(count + 1)).tolist()

    def of(self, entries: range) -> tuple[Ints, Ints]:
        """Return the pairs of consecutive entries; there are none without a block."""
        if len(self._ends) == 1:
            return self._one, self._other
        chosen = slice(self._ends[entries.start], self._ends[entries.stop])
        return self._one[chosen], self._other[chosen]


class NearSearch:
    """Search of near-duplicates, a block of clips at a time.

    Clips have numbers in order of preference: a clip is compared with those before it.

    Args:
        levels: maximum distance of near-duplicates, in grey levels.
        get_signature: returns the signature of a clip by its number; None if it has none.
        get_words: returns a number for the question and options of a clip; only clips with the same
            one are compared.
    """

    def __init__(
        self,
        levels: float,
        get_signature: Callable[[int], Signature | None],
        get_words: Callable[[int], int],
    ) -> None:
        self._levels = levels
        self._get_signature = get_signature
        self._get_words = get_words
        self._index = BoxIndex(1.0)
        self._kept = _EntryStore()
        self._block: _Entries | None = None
        self._signatures: dict[int, Signature] = {}
        self._entries_of: dict[int, range] = {}
        self._pairs = self._inner = _Pairs((), 0)

    def begin(self, clips: Sequence[int]) -> None:
        """Search the candidates of a block of clips, given in ascending order."""
        self._signatures, self._entries_of = {}, {}
        entries: list[tuple[object, ...]] = []
        for clip in clips:
            signature = self._get_signature(clip)
            if signature is not None:
                self._signatures[clip] = signature
                start = len(entries)
                entries.extend(self._entries(clip, signature))
                self._entries_of[clip] = range(start, len(entries))
        self._block = _pack(entries) if entries else None
        self._pairs = self._inner = _Pairs((), 0)
        if self._block is None:
            return
        points = self._points(self._block)
        found: list[tuple[Ints, Ints]] = []
        kept = self._kept.entries
        if kept is not None:
            for one, other in self._find_pairs(self._block, points, self._index, kept):
                for start in range(0, len(one), _MAX_CELL_PAIRS):
                    part = slice(start, start + _MAX_CELL_PAIRS)
                    passed = self._compare_cells(self._block, one[part], kept, other[part])
                    found.append((one[part][passed], kept.clips[other[part][passed]]))
            self._pairs = _Pairs(found, len(points))
        inner = BoxIndex(1.0)
        inner.add(np.arange(len(points)), self._block.groups, points)
        found = list(self._find_pairs(self._block, points, inner, self._block))
        self._inner = _Pairs(found, len(points))

    def find(self, clip: int, stays: npt.NDArray[np.bool_]) -> tuple[int, float] | None:
        """Return the first near-duplicate of a clip of the block among earlier clips that stay.

        Args:
            clip: number of the clip.
            stays: whether each earlier clip stays.

        Returns:
            Its number and the distance in grey levels.
        """
        signature = self._signatures.get(clip)
        if signature is None or self._block is None:
            return None
        one, other = self._inner.of(self._entries_of[clip])
        kept = self._pairs.of(self._entries_of[clip])[1]
        if len(other):
            # Many clips of a block may be alike: cells are compared with those that stay only.
            staying = stays[self._block.clips[other]]
            one, other = one[staying], other[staying]
            passed = self._compare_cells(self._block, one, self._block, other)
            kept = np.concatenate([kept, self._block.clips[other[passed]]])
        for number in np.unique(kept).tolist() if len(kept) else ():
            stored = self._signatures.get(number) or self._get_signature(number)
            distance = None if stored is None else near_distance(signature, stored, self._levels)
            if distance is not None:
                return number, distance
        return None

    def keep(self, clip: int) -> None:
        """Note a clip that stays; `end` adds it."""

    def end(self, stays: npt.NDArray[np.bool_]) -> None:
        """Add the clips of the block that stay to those that later blocks are compared with."""
        if self._block is None:
            return
        chosen = np.flatnonzero(stays[self._block.clips])
        kept = self._block.take(chosen)
        rows = np.arange(self._kept.count, self._kept.count + len(chosen))
        self._index.add(rows, kept.groups, self._points(kept))
        self._kept.append(kept)

    def _points(self, entries: _Entries) -> Floats:
        """Return four signed means of each, scaled so that near-duplicates differ by 1 at most."""
        points: Floats = (entries.regions @ _SIGNS.T / entries.sides[:, None]).astype(np.float32)
        return points

    def _entries(self, clip: int, signature: Signature) -> Iterator[tuple[object, ...]]:
        """Yield the values of an `_Entries` for each group of a signature."""
        grey = signature.values[:, :_GREY]
        high, low = (each.astype(np.float64) for each in (grey.max(axis=0), grey.min(axis=0)))
        allowed = MAX_CELL_RATIO * self._levels + MOTION_FRACTION * (high - low) + _SLACK_LEVELS
        highest = np.floor(high + allowed).clip(0, 255).astype(np.uint8)
        lowest = np.ceil(low - allowed).clip(0, 255).astype(np.uint8)
        groups = _groups(signature.duration_s)
        step_s = _step_s(groups[-1])
        shortest_s = min_partner_s(signature.duration_s) - _SLACK_S
        shown = signature.subsample(step_s)[: count_exposures(shortest_s, step_s), :_GREY]
        shown_high, shown_low = shown.max(axis=0), shown.min(axis=0)
        words = self._get_words(clip) * _MAX_GROUPS
        for group in groups:
            part = signature.subsample(_step_s(group))
            # The mean over the guaranteed exposures exceeds the mean over all compared exposures at
            # most by the ratio of their numbers.
            reach = self._levels * len(part) / _common_exposures(group) + _SLACK_LEVELS
            regions = _region_means(part[: _common_exposures(group), :_GREY])
            yield (
                clip,
                words + group - _MIN_GROUP,
                signature.duration_s,
                reach,
                self._levels * _max_exposures(group) / _common_exposures(group) + 2 * _SLACK_LEVELS,
                regions,
                highest,
                lowest,
                shown_high,
                shown_low,
            )

    def _find_pairs(
        self, block: _Entries, points: Floats, index: BoxIndex, stored: _Entries
    ) -> Iterator[tuple[Ints, Ints]]:
        """Yield entries of the block and earlier stored ones that are close by their means."""
        for one, other in index.pairs(block.groups, points):
            passed = block.groups[one] == stored.groups[other]
            yield self._filter_means(block, one[passed], stored, other[passed])

    def _filter_means(
        self, block: _Entries, one: Ints, stored: _Entries, other: Ints
    ) -> tuple[Ints, Ints]:
        passed = block.clips[one] > stored.clips[other]
        one, other = one[passed], other[passed]
        difference_s = np.abs(block.durations_s[one] - stored.durations_s[other])
        longer_s = np.maximum(block.durations_s[one], stored.durations_s[other])
        allowed_s = np.maximum(MAX_DURATION_DIFF_FRACTION * longer_s, MIN_DURATION_TOLERANCE_S)
        passed = difference_s <= allowed_s + _SLACK_S
        one, other = one[passed], other[passed]
        difference = np.abs(block.regions[one] - stored.regions[other]).mean(axis=1)
        passed = difference <= block.reaches[one]
        return one[passed], other[passed]

    def _compare_cells(
        self, block: _Entries, one: Ints, stored: _Entries, other: Ints
    ) -> npt.NDArray[np.bool_]:
        # Levels are whole numbers, so bounds may be too, and these take a quarter of the time.
        is_below = block.shown_high[one] <= stored.highest[other]
        is_above = block.shown_low[one] >= stored.lowest[other]
        passed: npt.NDArray[np.bool_] = np.all(is_below & is_above, axis=1)
        return passed


def _pack(entries: Sequence[tuple[object, ...]]) -> _Entries:
    columns = list(zip(*entries, strict=True))
    types = (np.int64, np.int64, np.float64, *[np.float32] * 3, *[np.uint8] * 4)
    return _Entries._make(np.array(each, kind) for each, kind in zip(columns, types, strict=True))


def _group(duration_s: float) -> int:
    """Return the group of a duration: a quarter of an octave."""
    if duration_s <= 0:
        return _MIN_GROUP
    return max(_MIN_GROUP, math.floor(_GROUPS_PER_OCTAVE * math.log2(duration_s)))


def _groups(duration_s: float) -> range:
    """Return the group of a duration, and the next ones that may hold partners."""
    return range(_group(duration_s), _group(max_partner_s(duration_s) + _SLACK_S) + 1)


@cache
def _start_s(group: int) -> float:
    """Return the shortest duration of a group."""
    return float(2.0 ** (group / _GROUPS_PER_OCTAVE))


@cache
def _step_s(group: int) -> float:
    """Return the step of exposures in a group; powers of two start groups."""
    return exposure_step_s(_start_s(group) * (1 + 1e-9))


@cache
def _common_exposures(group: int) -> int:
    """Return the number of exposures that all clips of a group have."""
    if group == _MIN_GROUP:
        return 1
    return count_exposures(min_partner_s(_start_s(group)) - _SLACK_S, _step_s(group))


@cache
def _max_exposures(group: int) -> int:
    """Return the maximum number of exposures of a clip of a group."""
    return count_exposures(_start_s(group + 1) + _SLACK_S, _step_s(group))


def _region_means(grey: npt.NDArray[np.uint8]) -> Floats:
    side = GREY_CELLS // _REGIONS
    cells = grey.sum(axis=0, dtype=np.uint32).reshape(_REGIONS, side, _REGIONS, side)
    means: Floats = (cells.sum(axis=(1, 3)).reshape(-1) / (len(grey) * side**2)).astype(np.float32)
    return means
