"""Cuts the runs of a pass into shares that several processes can decode at the same time.

Shares are small, so that whoever is done early takes another, and so that what waits to be taken in
order needs little memory. Nothing is read or decoded here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from seedvideo.media.decoder import NO_END
from seedvideo.media.index import Index
from seedvideo.media.runs import Run

_PACKETS: Final = 30
"""Packets from which a share may end: far more work than a message."""

_BYTES: Final = 4 << 20
"""Bytes of results from which a share may end."""


@dataclass(frozen=True)
class Share:
    """Runs that follow one another.

    Args:
        end: what was asked for below this place is in this share or in those before.
        until: rank from which the next share gives frames.
        packets: to decode.
    """

    end: int
    until: int
    packets: int


def share_out(index: Index, runs: Sequence[Run], bytes_of: Callable[[int], int]) -> list[Share]:
    """Cuts runs into shares.

    Args:
        index: of the stream.
        runs: in order.
        bytes_of: how large the result is for each thing that was asked for, by place.
    """
    shares: list[Share] = []
    asked = packets = size_bytes = 0
    for run in runs:
        start = index.rank_of[run.first]
        # A hidden keyframe has no rank at which one share could end; a run for which nothing is
        # asked goes on with what the one before began.
        may_cut = start >= 0 and run.asked > 0
        if may_cut and (packets >= _PACKETS or size_bytes >= _BYTES):
            shares.append(Share(asked, start, packets))
            packets = size_bytes = 0
        size_bytes += sum(bytes_of(place) for place in range(asked, asked + run.asked))
        asked += run.asked
        packets += min(run.end, len(index.rank_of)) - run.first
    return [*shares, Share(asked, NO_END, packets)] if runs else []
