"""Which part of the stored picture is shown, and how large: what container and stream say together.

Runs in the decoding process only.
"""

from dataclasses import dataclass
from fractions import Fraction

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from seedvideo.errors import MediaError
from seedvideo.media.container import Origin
from seedvideo.media.crop import Crop, crop_to
from seedvideo.media.info import MediaWarning
from seedvideo.media.stated import (
    StatedWindow,
    read_heif_window,
    read_matroska_window,
    read_mp4_window,
)


@dataclass(frozen=True)
class ShownPart:
    """The part of the stored picture that is shown.

    Args:
        width_px: of that part, in stored pixels.
        height_px: of that part, in stored pixels.
        aspect: width over height of a stored pixel.
        crop: how the decoder's pictures are cut to it, ``None`` if they are shown as they are.
        warnings: what a person should know.
    """

    width_px: int
    height_px: int
    aspect: Fraction
    crop: Crop | None
    warnings: tuple[MediaWarning, ...] = ()


def shown_part(
    stream: VideoStream, first: VideoFrame | None, origin: Origin, *, is_item: bool
) -> ShownPart:
    """Find out which part of the pictures is shown.

    Args:
        stream: the chosen one, whose first picture has been decoded.
        first: that picture, if there is one.
        origin: the open file.
        is_item: whether the stream is a still picture of a HEIF file and not a track.

    Raises:
        MediaError: if the size of the pictures is unknown.
    """
    context = stream.codec_context
    width_px = context.width or (first.width if first else 0)
    height_px = context.height or (first.height if first else 0)
    if not width_px or not height_px:
        raise MediaError("media.unreadable", f"{origin.shown}: the size of its pictures is unknown")
    aspect = stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(1)
    aspect = aspect if aspect > 0 else Fraction(1)
    window = _stated_window(stream, origin, is_item=is_item)
    if window is None or window.is_whole:
        return ShownPart(width_px, height_px, aspect, None)
    crop = crop_to(window, width_px, height_px)
    if crop is None:
        message = (
            f"{window} does not lie inside pictures of {width_px}x{height_px} px; all is shown"
        )
        warning = MediaWarning("media.crop_ignored", message)
        return ShownPart(width_px, height_px, aspect, None, (warning,))
    return ShownPart(crop.shown_width_px, crop.shown_height_px, window.mend_aspect(aspect), crop)


def _stated_window(stream: VideoStream, origin: Origin, *, is_item: bool) -> StatedWindow | None:
    container = stream.container
    if not isinstance(container, InputContainer):
        return None
    kinds = container.format.name.split(",")
    if "matroska" in kinds:
        place = [each.index for each in container.streams.video].index(stream.index)
        return read_matroska_window(origin.descriptor, origin.size_bytes, place)
    if "mp4" not in kinds:
        return None
    if is_item:
        return read_heif_window(origin.descriptor, origin.size_bytes)
    return read_mp4_window(origin.descriptor, origin.size_bytes, stream.id)
