"""Which packets are decoded for wanted frames: runs that begin at a keyframe.

A run is decoded by itself, with nothing known of the one before, so what it gives does not depend
on where, when or after what it is decoded: any number of processes may share a file's runs. Nothing
is read or decoded here. Frames are named by rank, packets by number.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from seedvideo.media.decoder import DEPTHS, NO_END, Depth, LookSpan, Strategy
from seedvideo.media.index import Index

_MOST_TWICE: Final = 16
"""Packets that may be decoded twice so that two runs stay apart.

Where groups of pictures are open, the pictures shown before a keyframe are stored behind it, and
need both it and the group before. They are few: as many as an encoder reorders.
"""

_LOOKS_APART: Final = 250
"""Packets from which a run of looks ends at the next keyframe: some seconds of video."""


@dataclass(frozen=True)
class Run:
    """Packets ``[first, end)`` to decode in one go; the first one is a keyframe.

    ``depth`` says which pictures among them the decoder may leave out. Of frames from rank
    ``until`` on none is looked at: the next run gives them. ``asked`` counts the frames, or spans,
    that were asked for and are first met in this run.
    """

    first: int
    end: int
    depth: Depth = "all"
    until: int = NO_END
    asked: int = 1


def plan_runs(index: Index, wanted: Sequence[int], *, strategy: Strategy, spare: int) -> list[Run]:
    """Plans which packets are decoded for the wanted ranks.

    Args:
        index: of the stream.
        wanted: ranks, rising.
        strategy: ``sequential`` gives one run from the first keyframe on.
        spare: packets to decode behind a picture where the index does not know of fields. Where it
            does, half a picture at the end could keep a decoder from giving the one before.
    """
    if index.by_count:
        return [Run(index.keys[0], NO_END, asked=len(wanted))]
    runs: list[Run] = []
    for rank in wanted:
        packet = index.packet_of[rank]
        end = index.end_of(packet)
        if not index.has_fields:
            end = min(end + spare, len(index.packet_times))
        first = index.keys[0] if strategy == "sequential" else index.entry(rank)
        _add(runs, Run(first, end))
    return runs


def cut_spans(index: Index, spans: Sequence[LookSpan]) -> list[LookSpan]:
    """Cuts long spans of looks at keyframes, so that their runs can be shared.

    Args:
        index: of the stream.
        spans: by rising ranks, not overlapping.

    Returns:
        The parts; without spans that want keyframes where there is none.
    """
    if index.by_count:
        return list(spans)
    keyframes = index.keyframes
    cut: list[LookSpan] = []
    for span in spans:
        first = span.first
        place = bisect_left(keyframes, first)
        if span.depth == "keys" and (place == len(keyframes) or keyframes[place] >= span.end):
            continue
        while span.depth != "keys":
            place = bisect_left(keyframes, first + _LOOKS_APART)
            if place == len(keyframes) or keyframes[place] >= span.end:
                break
            cut.append(replace(span, first=first, end=keyframes[place]))
            first = keyframes[place]
        cut.append(replace(span, first=first))
    return cut


def plan_looks(index: Index, spans: Sequence[LookSpan]) -> list[Run]:
    """Plans which packets are decoded to look at spans of frames.

    Args:
        index: of the stream.
        spans: by rising ranks, not overlapping.
    """
    if not spans:
        return []
    if index.by_count:  # Counting works only if no picture is left out.
        return [Run(index.keys[0], NO_END, asked=len(spans))]
    keys = sorted((index.rank_of[key], key) for key in index.keys)
    runs: list[Run] = []
    for span in spans:
        for run in _runs_of(index, keys, span):
            _add(runs, run)
    starts = [index.rank_of[run.first] for run in runs[1:]]
    return [
        replace(run, until=start if start >= 0 else NO_END)
        for run, start in zip(runs, [*starts, NO_END], strict=True)
    ]


def _add(runs: list[Run], run: Run) -> None:
    """Joins a run to the last one where that spares more than a few packets."""
    before = runs[-1] if runs else None
    if before is None or before.end <= run.first:
        runs.append(run)
        return
    twice = before.end - run.first
    if before.first < run.first and twice <= _MOST_TWICE and 8 * twice <= run.first - before.first:
        runs.append(run)
        return
    depth = max(before.depth, run.depth, key=DEPTHS.index)
    end = max(before.end, run.end)
    first = min(before.first, run.first)  # A time that is wrong can lead back.
    runs[-1] = Run(first, end, depth, asked=before.asked + run.asked)


def _next_key(index: Index, packet: int) -> int:
    """Returns the number of the first keyframe behind a packet."""
    place = bisect_left(index.keys, packet + 1)
    return index.keys[place] if place < len(index.keys) else len(index.packet_times)


def _runs_of(index: Index, keys: list[tuple[int, int]], span: LookSpan) -> list[Run]:
    if span.depth == "keys":
        first, end = (bisect_left(keys, (rank, -1)) for rank in (span.first, span.end))
        # A keyframe next to another is not joined to it: each is decoded alone.
        return [
            Run(key, index.end_of(key), "keys", asked=int(place == 0))
            for place, (_, key) in enumerate(keys[first:end])
        ]
    last = max(index.packet_of[span.first : span.end])
    # One packet more than wanted: a picture may be stored as two without the index knowing.
    end = index.end_of(last) if index.has_fields else last + 2
    end = min(end, _next_key(index, last))
    return [Run(index.entry(span.first), end, span.depth)]
