"""Decoder interface: the requests that a decoder takes, its results, and its statistics.

Frames are identified by frame index: their position among the presented frames of the stream.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, Protocol

from seedvideo.config import Limits
from seedvideo.errors import DecodeError, MediaError
from seedvideo.media.types import MediaWarning

UNBOUNDED: Final = 1 << 62
"""Stands for the end of the file, in packets and in frames."""

Strategy = Literal["auto", "sequential", "seek"]
"""How to reach frames: as costs least, in one pass without a seek, or by a seek at each chance."""

_MIN_PACKETS_FOR_SHARE: Final = 100
"""Packets from which the share of damaged ones says something."""

FrameKinds = Literal["keys", "references", "all"]
"""Which pictures of a span are looked at: those that need no other, those that others need, all.

Not every stream says which pictures others need; then ``references`` gives all."""


FRAME_KINDS: Final[tuple[FrameKinds, ...]] = ("keys", "references", "all")
"""From the shallowest to the deepest."""


@dataclass(frozen=True)
class ThumbnailSpan:
    """Frames ``[first, end)``, by rank, that are looked at in small, and how closely.

    Raises:
        ValueError: if the span is empty.
    """

    first: int
    end: int
    frame_kinds: FrameKinds

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.end:
            raise ValueError(f"thumbnail span [{self.first}, {self.end}) is empty")


@dataclass(frozen=True)
class Thumbnail:
    """A small frame as it is stored: the true rank, and planes of luma and halved chroma.

    ``planes`` holds 8-bit I420: ``width * height`` bytes of luma, then a quarter of that twice.
    """

    frame_index: int
    planes: bytes


@dataclass(frozen=True)
class ThumbnailSpec:
    """Size of small frames in pixels of the stored picture, both even; and their least spacing.

    ``interval`` is in seconds and holds at depth ``references`` only; keyframes are always given.

    Raises:
        ValueError: if a side is odd or not above 0, or the spacing is below 0.
    """

    width_px: int
    height_px: int
    interval: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        if min(self.width_px, self.height_px) < 2 or self.width_px % 2 or self.height_px % 2:
            size = f"{self.width_px}x{self.height_px}"
            raise ValueError(f"thumbnail size is {size}, expected even sides of at least 2")
        if self.interval < 0:
            raise ValueError(f"thumbnail interval is {self.interval} s, expected 0 or more")


@dataclass(frozen=True)
class FrameRequest:
    """A frame that is asked for, and its size."""

    frame_index: int
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Picture:
    """A frame that was decoded: the true rank, and rows of RGB bytes."""

    frame_index: int
    rgb: bytes


@dataclass
class DecodeStats:
    """What a pass has met so far."""

    decoded_frames: int = 0
    damaged_packets: int = 0
    patched_frames: int = 0
    """Frames that the decoder marks as damaged: parts of them are made up."""
    lost_frames: int = 0
    """Wanted frames that never came; a neighbour was given instead."""
    planned_packets: int = 0
    """What the whole pass has to decode, at least."""
    errors_in_a_row: int = 0
    warnings: tuple[MediaWarning, ...] = ()

    def warn(self, warning: MediaWarning) -> None:
        """Add a warning, the first of its kind."""
        if all(warning.code != each.code for each in self.warnings):
            self.warnings += (warning,)

    def reset_damage(self, before: "DecodeStats") -> None:
        """Count damage as it was before something that is done again."""
        self.damaged_packets = before.damaged_packets
        self.patched_frames = before.patched_frames
        self.errors_in_a_row = before.errors_in_a_row


def is_too_damaged(damaged_packets: int, planned_packets: int, limits: Limits) -> bool:
    """Return whether so much of what a whole pass has to decode is damaged that it is given up.

    It is a share of what the pass has to read, not of what it has read so far: damage often lies in
    one place.
    """
    return (
        planned_packets >= _MIN_PACKETS_FOR_SHARE
        and damaged_packets > limits.max_error_share * planned_packets
    )


def too_damaged_error(display_name: str, damaged_packets: int, planned_packets: int) -> MediaError:
    """Return the error for a file that is given up."""
    counts = f"{damaged_packets} of {planned_packets} so far"
    return MediaError(
        "media.corrupt",
        f"{display_name}: too many damaged packets: {counts}",
        hint="copy it again, or repair it",
    )


class Decoder(Protocol):
    """Decoder of one opened file."""

    def pictures(
        self,
        wanted: Sequence[FrameRequest],
        *,
        strategy: Strategy,
        heartbeat: Callable[[], None],
        stats: DecodeStats,
    ) -> Iterator[Picture]:
        """Yield one picture for each wanted one, in the order asked.

        Args:
            wanted: by rising rank.
            strategy: how to reach the frames; never changes what they look like.
            heartbeat: called often; may raise to stop the pass.
            stats: counts as the pass goes on.

        Raises:
            MediaError: if the file is too damaged, or nothing can be decoded.
            DecodeError: if memory does not suffice.
        """
        ...


def out_of_memory_error(display_name: str) -> DecodeError:
    """Make the error for a decoder that met a memory limit."""
    return DecodeError(
        "decode.out_of_memory",
        f"{display_name}: decoding needs more memory than allowed",
        hint="scale the video down, or raise the limit: ulimit -v, or Limits from Python",
    )
