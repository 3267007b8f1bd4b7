"""AVIF and HEIC files: pictures, image sequences, masks and appended files.

They share the boxes of MP4 (ISO/IEC 23008-12). FFmpeg makes a stream of every picture and of every
track, including transparency masks, and reads on where another file has been appended. Runs in the
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
"""Major brands of files that hold pictures, or sequences of them."""

_MAX_BOX_BYTES: Final = 1 << 62
"""Size from which a box cannot lie in any file."""


def is_heif(container: InputContainer) -> bool:
    """Return whether the major brand of a file is of pictures, or sequences of them."""
    return container.metadata.get("major_brand") in _BRANDS


def colour_streams(streams: Sequence[VideoStream], *, display_name: str) -> list[VideoStream]:
    """Return the streams that are pictures to be shown: transparency masks are left out.

    Raises:
        MediaError: if the streams are tiles of one picture, or there are none.
    """
    if any(stream.disposition & Disposition.dependent for stream in streams):
        # Phones store photos so. Each tile is a stream, and would pass for the whole picture.
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
    # The first picture of a sequence is stored once more, for programs that show one only.
    alike = [each for each in others if not _is_mask(each) and each.frames >= stream.frames]
    count = sum((each.width, each.height) == size_px for each in alike)
    if count:
        message = f"more pictures of this size ({count}) in the file are not read"
        found.append(MediaWarning("media.other_pictures", message))
    return found


def check_boxes(descriptor: int, size_bytes: int, *, display_name: str) -> list[MediaWarning]:
    """Look for a video that a phone added to a photo.

    Returns:
        A warning if there is one, in a box of its own.

    Raises:
        MediaError: if another file has been appended, which confuses FFmpeg.
    """
    # Of a file that is cut off, the last box goes on behind its end.
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
