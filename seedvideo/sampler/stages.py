"""Which frames the fast analysis looks at, decided from packet sizes alone.

Ranks are places among the presented frames. Knows no file, no tokens and no plan.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.media.decoder import LookSpan
from seedvideo.sampler.bumps import BUMP, PacketView

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
