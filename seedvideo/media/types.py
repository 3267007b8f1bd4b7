"""Value types of a video file, and the interface of its decoders.

Media info, frame targets, decoded frames and decode reports are what readers pass on. A `Decoder`
takes `FrameRequest`s and `ThumbnailSpan`s, which identify frames by frame index: their position
among the presented frames of the stream.

Times are exact seconds from the video stream's own start; sizes are pixels. ``width_px`` and
``height_px`` are those of the displayed picture: upright, with square pixels.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self

from seedvideo.config import Limits
from seedvideo.errors import DecodeError, MediaError
from seedvideo.utils.timecode import seconds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SKIPPABLE_CODECS: Final = ("h264", "hevc")
"""Codecs in which non-reference pictures may be skipped."""

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
class MediaWarning:
    """Warning about a file that is still usable.

    Args:
        code: stable code, ``media.what``.
        message: one line without a full stop.
    """

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """Facts of one video stream, from its header, its packets and its first picture.

    Args:
        path: name of the file, as given.
        size_bytes: size of the file.
        container: name of the demuxer, such as ``mov,mp4,m4a,3gp,3g2,mj2``.
        codec: name of the codec, such as ``h264``.
        pix_fmt: pixel format of the decoder, such as ``yuv420p``; empty if it is unknown.
        width_px: width of the displayed picture.
        height_px: height of the displayed picture.
        coded_width_px: width of the stored picture, cropped as stream and container state.
        coded_height_px: height of the stored picture, cropped as stream and container state.
        rotation_deg: 0, 90, 180 or 270 degrees, clockwise, that make the stored picture upright.
        flipped: whether the stored picture is mirrored left to right before it is rotated.
        sample_aspect: width over height of a stored pixel.
        duration: seconds from the stream's start to the end of its last presented frame.
        start: first time of the stream in seconds, subtracted from every reported time.
        fps_avg: average frame rate; None for a single frame.
        is_vfr: whether the spacing of the frames changes by more than the container's rounding.
        is_image: whether this is a still image; its duration is nominal.
        transfer: name of the transfer characteristic, such as ``bt709``; empty if it is not stated.
        warnings: warnings about the file.
    """

    path: str
    size_bytes: int
    container: str
    codec: str
    pix_fmt: str
    width_px: int
    height_px: int
    coded_width_px: int
    coded_height_px: int
    rotation_deg: int
    flipped: bool
    sample_aspect: Fraction
    duration: Fraction
    start: Fraction
    fps_avg: Fraction | None
    is_vfr: bool
    is_image: bool
    transfer: str
    warnings: tuple[MediaWarning, ...] = ()

    def with_warnings(self, added: Iterable[MediaWarning]) -> Self:
        """Return a copy with warnings of further codes."""
        known = {warning.code for warning in self.warnings}
        new = {warning.code: warning for warning in added if warning.code not in known}
        return replace(self, warnings=(*self.warnings, *new.values()))

    def to_json(self) -> dict[str, Any]:
        """Return the fields that results carry, times as float seconds."""
        return {
            "duration_s": seconds(self.duration),
            "start_s": seconds(self.start),
            "width_px": self.width_px,
            "height_px": self.height_px,
            "fps_avg": None if self.fps_avg is None else seconds(self.fps_avg),
            "is_vfr": self.is_vfr,
            "rotation_deg": self.rotation_deg,
            "codec": self.codec,
            "pix_fmt": self.pix_fmt,
            "warnings": [{"code": w.code, "message": w.message} for w in self.warnings],
        }


@dataclass(frozen=True)
class Target:
    """A requested picture: the one presented at ``pts``, upright and with square pixels.

    Raises:
        ValueError: if a side is not at least one pixel.
    """

    pts: Fraction
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        if self.width_px < 1 or self.height_px < 1:
            size = f"{self.width_px}x{self.height_px}"
            raise ValueError(f"target size is {size}, expected at least 1x1")


@dataclass(frozen=True, repr=False, eq=False)
class Frame:
    """A decoded picture and its exact presentation time.

    ``pixels`` is ``(H, W, 3)``, RGB, 8 bits a channel.
    """

    pts: Fraction
    pixels: "npt.NDArray[np.uint8]"

    def __repr__(self) -> str:
        return f"Frame(pts={self.pts!s}, pixels={self.pixels.shape} {self.pixels.dtype})"


@dataclass(frozen=True, repr=False, eq=False)
class ThumbnailBatch:
    """Thumbnails in stored orientation and pixel aspect.

    ``planes`` is ``(N, H * 3 // 2, W)``, 8-bit I420: ``H`` rows of luma above the chroma, which has
    half of both sides.

    Args:
        frame_indices: frame index of each thumbnail, rising.
        planes: pixels of the thumbnails.
    """

    frame_indices: tuple[int, ...]
    planes: "npt.NDArray[np.uint8]"

    def __repr__(self) -> str:
        count = len(self.frame_indices)
        return f"ThumbnailBatch({count} frames, {self.planes.shape} {self.planes.dtype})"


@dataclass(frozen=True, repr=False, eq=False)
class PacketIndex:
    """Sizes and storage order of the packets that hold the frames, sorted by time.

    Args:
        sizes_bytes: size of each frame's packet, without padding.
        positions: position of each frame's packet in the storage order of the stream.
    """

    sizes_bytes: "array[int]"
    positions: "array[int]"

    def __repr__(self) -> str:
        return f"PacketIndex({len(self.sizes_bytes)} frames)"


@dataclass(frozen=True)
class DecodeReport:
    """Report of one pass over a file.

    Args:
        decoded_frames: number of decoded pictures, requested or not.
        damaged_packets: number of undecodable packets.
        warnings: warnings of the pass that the probe did not give.
    """

    decoded_frames: int = 0
    damaged_packets: int = 0
    warnings: tuple[MediaWarning, ...] = ()


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
class PacketRange:
    """Packets ``[first, end)`` of a stream, by their positions in storage order.

    Raises:
        ValueError: if the range is empty.
    """

    first: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.end:
            raise ValueError(f"packet range [{self.first}, {self.end}) is empty")


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


def not_copyable_error(display_name: str, reason: str) -> MediaError:
    """Return the error for packets that cannot be copied to a file of their own."""
    return MediaError(
        "media.not_copyable",
        f"{display_name}: cannot be cut without encoding: {reason}",
        hint="encode the clips: seedvideo split VIDEO -o ROWS --clips DIR --cut exact",
    )
