"""AVIF and HEIC files: pictures, image sequences, masks and appended files.

They have the boxes of MP4 (ISO/IEC 23008-12). FFmpeg makes a stream of every picture and every
track, including transparency masks, and also reads a file that was appended. Runs in the
decode process only.
"""

from collections.abc import Sequence
from typing import Final

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from seedvideo.errors import MediaError
from seedvideo.media.container_boxes import HeaderFile, file_box, iter_boxes
from seedvideo.media.still_images import motion_photo_warning
from seedvideo.media.types import MediaWarning

_PHOTO_BRANDS: Final = ("avif", "heic", "heix", "heim", "heis", "mif1", "mif2", "miaf")
_SEQUENCE_BRANDS: Final = ("avis", "hevc", "hevx", "hevm", "hevs", "msf1")
_BRANDS: Final = (*_PHOTO_BRANDS, *_SEQUENCE_BRANDS)
"""Major brands of files that hold pictures or image sequences."""

_MAX_BOX_BYTES: Final = 1 << 62
"""Bytes that exceed any file."""


def is_heif(container: InputContainer) -> bool:
    """Return whether the major brand of a file is one of pictures or image sequences."""
    return container.metadata.get("major_brand") in _BRANDS


def colour_streams(streams: Sequence[VideoStream], *, display_name: str) -> list[VideoStream]:
    """Return the streams without transparency masks.

    Raises:
        MediaError: if the streams are tiles of one picture, or there are none.
    """
    if any(stream.disposition & Disposition.dependent for stream in streams):
        # Phones store photos in tiles. Each tile is a stream and looks like a complete picture.
        raise MediaError(
            "media.codec_not_allowed",
            f"{display_name}: is a photo stored in tiles, which is not supported",
            hint="convert it to JPEG",
        )
    if not streams:
        raise MediaError(
            "media.corrupt",
            f"{display_name}: contains no readable picture: the file is truncated or damaged",
            hint="copy it again",
        )
    return [stream for stream in streams if not _is_mask(stream)] or list(streams)


def stream_warnings(container: InputContainer, stream: VideoStream) -> list[MediaWarning]:
    """Return warnings about streams other than the chosen one."""
    others = [each for each in container.streams.video if each is not stream]
    found: list[MediaWarning] = []
    if any(_is_mask(each) for each in others):
        found.append(MediaWarning("media.alpha", "transparency is ignored"))
    size_px = (stream.width, stream.height)
    # Sequences also store their first picture alone, for programs that show only one.
    alike = [each for each in others if not _is_mask(each) and each.frames >= stream.frames]
    count = sum((each.width, each.height) == size_px for each in alike)
    if count:
        message = f"more pictures of this size ({count}) in the file are not read"
        found.append(MediaWarning("media.other_pictures", message))
    return found


def check_boxes(descriptor: int, size_bytes: int, *, display_name: str) -> list[MediaWarning]:
    """Check the boxes for a video that a phone added to a photo, and for an appended file.

    Returns:
        A warning if a box holds a video; empty otherwise.

    Raises:
        MediaError: if another file has been appended, which confuses FFmpeg.
    """
    # In a truncated file, the last box extends beyond the end.
    for box in iter_boxes(HeaderFile(descriptor, size_bytes), file_box(_MAX_BOX_BYTES)):
        if box.kind == b"mpvd":
            return [motion_photo_warning(box.first)]
        if box.kind == b"ftyp" and box.offset > 0:
            raise MediaError(
                "media.unreadable",
                f"{display_name}: is a photo with another file appended",
                hint=f"split them: head -c {box.offset} PHOTO > photo.heic;"
                f" tail -c +{box.offset + 1} PHOTO > clip.mp4",
            )
    return []


def _is_mask(stream: VideoStream) -> bool:
    return (stream.codec_context.pix_fmt or "").startswith("gray")
