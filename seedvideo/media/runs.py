"""Which packets are decoded for wanted frames: runs that begin at a keyframe.

Nothing is read or decoded here. Frames are named by rank, packets by number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from seedvideo.media.decoder import Depth, LookSpan, Strategy
from seedvideo.media.index import Index

NO_END: Final = 1 << 62
"""End of a run that lasts as long as the file does."""

_WORTH_A_JUMP: Final = 4
"""Packets that must be saved before draining, flushing and starting anew costs less."""

_DEPTHS: Final[tuple[Depth, ...]] = ("keys", "references", "all")


@dataclass(frozen=True)
class Run:
    """Packets ``[first, end)`` to decode in one go; the first one is a keyframe.

    ``depth`` says which pictures among them the decoder may leave out.
    """

    first: int
    end: int
    depth: Depth = "all"


def plan_runs(index: Index, wanted: Sequence[int], *, strategy: Strategy) -> list[Run]:
    """Plans which packets are decoded for the wanted ranks.

    Args:
        index: of the stream.
        wanted: ranks, rising.
        strategy: ``sequential`` gives one run from the first keyframe on.
    """
    if index.by_count:
        return [Run(index.keys[0], NO_END)]
    gap = 0 if strategy == "seek" else _WORTH_A_JUMP
    spans = sorted({(index.entry(rank), index.packet_of[rank] + 2) for rank in wanted})
    runs: list[Run] = []
    for first, end in spans:
        # One packet more than wanted: an interlaced picture may be stored as two packets.
        end = min(end, len(index.packet_times))
        if runs and (strategy == "sequential" or first <= runs[-1].end + gap):
            runs[-1] = Run(runs[-1].first, max(runs[-1].end, end))
        else:
            runs.append(Run(index.keys[0] if strategy == "sequential" else first, end))
    return runs


def plan_looks(index: Index, spans: Sequence[LookSpan], *, sequential: bool = False) -> list[Run]:
    """Plans which packets are decoded to look at spans of frames.

    Args:
        index: of the stream.
        spans: by rising ranks, not overlapping.
        sequential: whether everything shall be one run, as deep as the deepest span.
    """
    deepest = max((span.depth for span in spans), key=_DEPTHS.index)
    if index.by_count:
        return [Run(index.keys[0], NO_END)]  # Counting works only if no picture is left out.
    if sequential:
        return [Run(index.keys[0], len(index.packet_times), deepest)]
    runs: list[Run] = []
    for span in spans:
        for run in _runs_of(index, span):
            if runs and run.first <= runs[-1].end:
                before = runs[-1]
                depth = max(before.depth, run.depth, key=_DEPTHS.index)
                runs[-1] = Run(before.first, max(before.end, run.end), depth)
            else:
                runs.append(run)
    return runs


def _runs_of(index: Index, span: LookSpan) -> list[Run]:
    if span.depth == "keys":
        ranks = ((index.rank_of[key], key) for key in index.keys)
        # A keyframe next to another is not joined to it: each is decoded alone.
        return [Run(key, key + 1, "keys") for rank, key in ranks if span.first <= rank < span.end]
    first = index.entry(span.first)
    # One packet more than wanted: an interlaced picture may be stored as two packets.
    end = max(index.packet_of[span.first : span.end]) + 2
    return [Run(first, min(end, len(index.packet_times)), span.depth)]
