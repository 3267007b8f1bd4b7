"""Value types of a video file: media info, frame targets, decoded frames and decode reports.

Times are exact seconds from the video stream's own start; sizes are pixels. ``width_px`` and
``height_px`` are those of the displayed picture: upright, with square pixels.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

from seedvideo.utils.timecode import seconds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


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
