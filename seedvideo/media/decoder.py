"""The seam at which decoders are exchanged: what one is asked and what it answers.

Frames are named by rank: their place among the presented frames
of the stream. Knows nothing of times or files.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from seedvideo.media.info import MediaWarning

Strategy = Literal["auto", "sequential", "seek"]
"""How to reach frames: as costs least, in one pass without a seek, or by a seek at each chance."""


@dataclass(frozen=True)
class Wanted:
    """A frame that is asked for, and its size."""

    rank: int
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Picture:
    """A frame that was decoded: the true rank, and rows of RGB bytes."""

    rank: int
    rgb: bytes


@dataclass
class Tally:
    """What a pass has met so far."""

    decoded_frames: int = 0
    damaged_packets: int = 0
    patched_frames: int = 0
    """Frames that the decoder marks as damaged: parts of them are made up."""
    lost_frames: int = 0
    """Wanted frames that never came; a neighbour was given instead."""
    planned_packets: int = 0
    errors_in_a_row: int = 0
    warnings: tuple[MediaWarning, ...] = ()


class Decoder(Protocol):
    """Decodes frames of one opened file."""

    def pictures(
        self,
        wanted: Sequence[Wanted],
        *,
        strategy: Strategy,
        alive: Callable[[], None],
        tally: Tally,
    ) -> Iterator[Picture]:
        """Yields one picture for each wanted one, in the order asked.

        Args:
            wanted: by rising rank.
            strategy: how to reach the frames; never changes what they look like.
            alive: called often; may raise to stop the pass.
            tally: counts as the pass goes on.

        Raises:
            MediaError: if the file is too damaged, or nothing can be decoded.
            DecodeError: if memory does not suffice.
        """
        ...
