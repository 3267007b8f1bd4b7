"""Resizing: from a native frame to an upright RGB picture or an I420 thumbnail.

A picture is cropped and scaled as soon as it is decoded, converted to RGB, and only then rotated,
so that no full-size RGB copy ever exists. Runs in the decode process only.
"""

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from seedvideo.media.colours import Conversion, choose_conversion, convert_to_rgb
from seedvideo.media.cropping import Crop, Cropper
from seedvideo.media.types import MediaWarning

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_COMMON_FORMAT: Final = "yuv420p"
_FULL_CHROMA: Final = "yuv444p"
"""Format in which pictures of the common format are scaled before conversion to RGB.

Scaling to RGB in one step reads chroma at half its width; scaling first, with chroma upsampled to
the size of luma, takes half the time and is closer to scaling the full RGB picture. It is not used
for full-range levels: swscale then loses some of the darkest ones.
"""

_UNIT: Final = 1 << 16
"""1.0 in the fixed-point numbers of a display matrix."""


@dataclass(frozen=True)
class Orientation:
    """Transformation of a stored picture: mirror left to right, then rotate clockwise."""

    rotation_deg: int = 0
    flipped: bool = False

    @property
    def swaps_axes(self) -> bool:
        """Whether width and height are swapped."""
        return self.rotation_deg in (90, 270)


def read_orientation(frame: VideoFrame) -> Orientation:
    """Read the orientation from a frame's display matrix; upright without one."""
    try:
        # PyAV declares this as a dictionary of motion vectors; it is a container of all side data.
        every = cast(SideDataContainer, frame.side_data)
    except ValueError:
        # PyAV 18 fails on newer kinds of side data, such as EXIF.
        return read_rotation(frame)
    matrix = next((data for data in every if data.type == Type.DISPLAYMATRIX), None)
    if matrix is None:
        return Orientation()
    # ISO/IEC 14496-12, section 8.3.2: x' = a x + c y, y' = b x + d y; y points down. In native byte
    # order, as FFmpeg keeps it.
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        if a >= 0:
            return Orientation(0) if d >= 0 else Orientation(180, flipped=True)
        return Orientation(0, flipped=True) if d >= 0 else Orientation(180)
    if b >= 0:
        return Orientation(90) if c < 0 else Orientation(270, flipped=True)
    return Orientation(270) if c >= 0 else Orientation(90, flipped=True)


def read_rotation(frame: VideoFrame) -> Orientation:
    """Read the rotation angle only; mirroring is not detected.

    For pictures decoded from PNG data: PyAV 18 frees their named side data, such as colour
    profiles, twice, and the process crashes later.
    """
    return Orientation(round(-frame.rotation / 90) % 4 * 90)  # PyAV counts counterclockwise.


def read_photo_orientation(descriptor: int) -> Orientation:
    """Read the orientation from the EXIF header of a still image."""
    try:
        with _photo(descriptor) as photo:
            tag = photo.getexif().get(_EXIF_ORIENTATION)
    except _PHOTO_ERRORS:
        return Orientation()  # A header that only Pillow rejects: displayed as stored.
    return _BY_EXIF.get(tag, Orientation()) if isinstance(tag, int) else Orientation()


def read_photo_size(descriptor: int) -> tuple[int, int]:
    """Read width and height from the header of a still image; zeros if Pillow rejects it."""
    try:
        with _photo(descriptor) as photo:
            return photo.size
    except _PHOTO_ERRORS:
        return 0, 0


@contextmanager
def _photo(descriptor: int) -> Iterator["ImageFile"]:
    from PIL import Image

    # Only headers are read here, and our own limits bound the size.
    Image.MAX_IMAGE_PIXELS = None
    os.lseek(descriptor, 0, os.SEEK_SET)
    with (
        os.fdopen(descriptor, "rb", closefd=False) as file,
        Image.open(file, formats=("JPEG", "PNG", "WEBP", "BMP")) as photo,
    ):
        yield photo


def has_transparency(frame: VideoFrame) -> bool:
    """Return whether any part of a frame is transparent, from a small copy of it."""
    if not any(component.is_alpha for component in frame.format.components):
        return False
    width_px, height_px = min(frame.width, 256), min(frame.height, 256)
    small = VideoReformatter().reformat(frame, width_px, height_px, "rgba", threads=1)
    plane = small.planes[0]
    data, row = bytes(plane), plane.line_size
    return any(min(data[y * row + 3 : y * row + 4 * width_px : 4]) < 255 for y in range(height_px))


# Pillow reports unreadable pictures as OSError.
_PHOTO_ERRORS: Final = (OSError, SyntaxError, ValueError, struct.error)
_EXIF_ORIENTATION: Final = 0x0112
_BY_EXIF: Final = {
    2: Orientation(0, flipped=True),
    3: Orientation(180),
    4: Orientation(180, flipped=True),
    5: Orientation(270, flipped=True),
    6: Orientation(90),
    7: Orientation(90, flipped=True),
    8: Orientation(270),
}
"""Orientation by EXIF's number (CIPA DC-008, section 4.6.5)."""


def _ignore(warning: MediaWarning) -> None:
    """Drop a warning."""


class Resizer:
    """Scaler of the visible area to RGB; keeps FFmpeg's scaler between frames of one size.

    Args:
        orientation: transformation to upright.
        crop: crop to apply before that; None for none.
        warn: called with a warning, once for each frame that it applies to.
    """

    def __init__(
        self,
        orientation: Orientation,
        crop: Crop | None = None,
        warn: Callable[[MediaWarning], None] = _ignore,
    ) -> None:
        self._orientation = orientation
        self._cropper = Cropper(crop)
        self._warn = warn
        self._reformatter = VideoReformatter()
        self._painter = VideoReformatter()

    def shrink(self, frame: VideoFrame, width_px: int, height_px: int) -> bytes:
        """Return the picture, cropped but not rotated, as 8-bit planes of luma and halved chroma.

        Every sample is the mean of its area, which averages grain away.
        """
        conversion = self._conversion(frame)
        small = self._reformatter.reformat(
            self._cropper.crop(frame, conversion.matrix),
            width_px,
            height_px,
            "yuv420p",
            src_colorspace=conversion.matrix,
            dst_colorspace=conversion.matrix,
            interpolation=Interpolation.AREA,
            threads=1,
        )
        parts: list[bytes | memoryview] = []
        for plane in small.planes:
            data, row, used = memoryview(plane), plane.line_size, plane.width
            if row == used:
                parts.append(data[: row * plane.height])
            else:
                parts += [data[y * row : y * row + used] for y in range(plane.height)]
        return b"".join(parts)

    def resize(self, frame: VideoFrame, width_px: int, height_px: int) -> bytes:
        """Return the picture as rows of RGB bytes, ``height_px * width_px * 3`` in all.

        Args:
            frame: decoded frame, in the colour space that it states.
            width_px: width of the upright result.
            height_px: height of the upright result.
        """
        swaps = self._orientation.swaps_axes
        stored_width_px, stored_height_px = (
            (height_px, width_px) if swaps else (width_px, height_px)
        )
        conversion = self._conversion(frame)
        cut = self._cropper.crop(frame, conversion.matrix)
        if conversion.rows is None:
            packed = self._convert(cut, stored_width_px, stored_height_px, conversion.matrix)
        else:
            packed = convert_to_rgb(
                cut, stored_width_px, stored_height_px, conversion.rows, self._painter
            )
        if self._orientation == Orientation():
            return packed
        return _rotate(packed, stored_width_px, stored_height_px, self._orientation)

    def _conversion(self, frame: VideoFrame) -> Conversion:
        conversion = choose_conversion(frame)
        if conversion.warning is not None:
            self._warn(conversion.warning)
        return conversion

    def _convert(
        self, frame: VideoFrame, width_px: int, height_px: int, matrix: Colorspace | None
    ) -> bytes:
        scaled = frame
        if (
            frame.format.name == _COMMON_FORMAT
            and frame.color_range != ColorRange.JPEG
            and (frame.width, frame.height) != (width_px, height_px)
        ):
            scaled = self._reformatter.reformat(
                frame,
                width_px,
                height_px,
                _FULL_CHROMA,
                src_colorspace=matrix,
                dst_colorspace=matrix,
                interpolation=Interpolation.BICUBIC,
                threads=1,
            )
        small = self._painter.reformat(
            scaled,
            width_px,
            height_px,
            "rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )
        plane = small.planes[0]
        data, row, used = memoryview(plane), plane.line_size, 3 * width_px
        if row == used:
            return bytes(data[: row * height_px])
        return b"".join(data[y * row : y * row + used] for y in range(height_px))


def _rotate(packed: bytes, width_px: int, height_px: int, orientation: Orientation) -> bytes:
    import numpy as np  # Only rotated videos need it here, and it slows the start of the process.

    pixels = np.frombuffer(packed, np.uint8).reshape(height_px, width_px, 3)
    if orientation.flipped:
        pixels = pixels[:, ::-1]
    return np.rot90(pixels, -orientation.rotation_deg // 90).tobytes()
