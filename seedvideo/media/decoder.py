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
"""End of a range that extends to the end of the file, in packets and in frames."""

Strategy = Literal["auto", "sequential", "seek"]
"""How to reach frames: at the least cost, in one pass without seeks, or by seeks where possible."""

_MIN_PACKETS_FOR_FRACTION: Final = 100
"""Minimum packets for which the fraction of damaged ones is meaningful; empirical."""

FrameKinds = Literal["keys", "references", "all"]
"""Frames of a span that become thumbnails: keyframes, reference frames, or all frames.

Not every stream marks reference frames; without marks ``references`` selects all."""


FRAME_KINDS: Final[tuple[FrameKinds, ...]] = ("keys", "references", "all")
"""From the fewest frames to the most."""


@dataclass(frozen=True)
class ThumbnailSpan:
    """Frame indices ``[first, end)`` to decode as thumbnails, and the kinds of frames among them.

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
    """A thumbnail in stored orientation: frame index, and planes of luma and halved chroma.

    ``planes`` holds 8-bit I420: ``width * height`` bytes of luma, then a quarter of that twice.
    """

    frame_index: int
    planes: bytes


@dataclass(frozen=True)
class ThumbnailSpec:
    """Size of thumbnails in pixels, both sides even, and the minimum time between two of them.

    ``interval`` is in seconds and applies to ``references`` only; keyframes are always included.

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
    """A requested frame: frame index and output size."""

    frame_index: int
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Picture:
    """A decoded frame: its actual frame index, and rows of RGB bytes."""

    frame_index: int
    rgb: bytes


@dataclass
class DecodeStats:
    """Statistics of a pass so far."""

    decoded_frames: int = 0
    damaged_packets: int = 0
    patched_frames: int = 0
    """Frames that the decoder marks as damaged: it concealed parts of them."""
    lost_frames: int = 0
    """Requested frames that were lost; a neighbour replaced them."""
    planned_packets: int = 0
    """Minimum number of packets that the complete pass decodes."""
    errors_in_a_row: int = 0
    warnings: tuple[MediaWarning, ...] = ()

    def warn(self, warning: MediaWarning) -> None:
        """Add a warning unless one of the same code is present."""
        if all(warning.code != each.code for each in self.warnings):
            self.warnings += (warning,)

    def reset_damage(self, before: "DecodeStats") -> None:
        """Restore the damage counts from before a step that is repeated."""
        self.damaged_packets = before.damaged_packets
        self.patched_frames = before.patched_frames
        self.errors_in_a_row = before.errors_in_a_row


def is_too_damaged(damaged_packets: int, planned_packets: int, limits: Limits) -> bool:
    """Return whether so many packets are damaged that the pass is given up.

    The fraction is of all packets of the pass, not of those read so far: damage is often local.
    """
    return (
        planned_packets >= _MIN_PACKETS_FOR_FRACTION
        and damaged_packets > limits.max_error_fraction * planned_packets
    )


def too_damaged_error(display_name: str, damaged_packets: int, planned_packets: int) -> MediaError:
    """Return the error for a file with too many damaged packets."""
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
        """Yield one picture for each request, in order.

        Args:
            wanted: requests with rising frame indices.
            strategy: how to reach the frames; does not change their pixels.
            heartbeat: callback that is called often; may raise to stop the pass.
            stats: statistics that the pass updates.

        Raises:
            MediaError: if the file is too damaged, or nothing can be decoded.
            DecodeError: if memory is exhausted.
        """
        ...


def out_of_memory_error(display_name: str) -> DecodeError:
    """Return the error for a decoder that ran out of memory."""
    return DecodeError(
        "decode.out_of_memory",
        f"{display_name}: decoding needs more memory than allowed",
        hint="scale the video down, or raise the limit: ulimit -v, or Limits from Python",
    )
