"""Still-image structure: where the picture ends, whether it is complete, and what follows it.

Demuxers for still images read one picture, whatever else the file holds: they do not detect a
truncated file, an animation, or the video behind a phone's photo. So the file's own structure is
read here: segments of JPEG, chunks of PNG and WebP, blocks of GIF. No pixel is decoded. Everything
is read at given offsets, from an open descriptor.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from seedvideo.errors import MediaError
from seedvideo.media.types import MediaWarning

_FIRST_READ_BYTES, _NEXT_READ_BYTES = 1 << 12, 1 << 20
"""Bytes of the first read of a search, and of the following ones."""

_MAX_TAIL_BYTES: Final = 1 << 28
"""Bytes searched after a photo for a video or more pictures: phones add some 10 MB."""

_MAX_STARTS: Final = 64
"""Maximum byte sequences after a photo that are checked as starts of another picture."""

_MAX_CHUNKS: Final = 10_000
"""Maximum chunks of a PNG file before its first picture data."""

_PNG_MARK: Final = b"\x89PNG\r\n\x1a\n"
_VIDEO_START: Final = re.compile(rb"\x00\x00\x00[\x08-\x80]ftyp")
_JPEG_START: Final = re.compile(rb"\xff\xd8\xff[^\x00\xff]")
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker of a JPEG file that is neither a restart marker nor part of entropy-coded data."""

_NOT_PADDING: Final = re.compile(rb"[^\x00\xff]|\xff(?=\xd8)")
_SOI, _EOI, _TEM, _APP2 = 0xD8, 0xD9, 0x01, 0xE2
_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of the segments that state the size (ITU-T T.81, table B.1)."""

_MULTI_PICTURE: Final = b"MPF\x00"
"""Mark of a JPEG file that holds several pictures of one shot (CIPA DC-007)."""


@dataclass(frozen=True)
class StillLayout:
    """Structure of a still-image file.

    Args:
        is_cut: whether the file ends before its picture does.
        is_sequence: whether pictures of the same format and size follow directly, as in a raw
            stream of Motion JPEG.
        warnings: warnings about unread data after the picture.
    """

    is_cut: bool = False
    is_sequence: bool = False
    warnings: tuple[MediaWarning, ...] = ()


@dataclass(frozen=True)
class _File:
    """An open file that is read at given offsets."""

    descriptor: int
    size_bytes: int
    heartbeat: Callable[[], None]

    def at(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes."""
        return os.pread(self.descriptor, count, offset)

    def find(self, pattern: re.Pattern[bytes], start: int, stop: int) -> int | None:
        """Return the offset of the first match of a pattern of at most 8 bytes, or None."""
        offset, most = start, _FIRST_READ_BYTES
        while offset < stop:
            self.heartbeat()
            data = self.at(offset, min(most, stop - offset))
            most = _NEXT_READ_BYTES
            if match := pattern.search(data):
                return offset + match.start()
            if len(data) < 8:
                return None
            offset += len(data) if offset + len(data) >= stop else len(data) - 7
        return None


def is_moving_png(descriptor: int) -> bool:
    """Return whether a PNG file is animated: ``acTL`` precedes the first picture data."""
    offset = len(_PNG_MARK)
    for _ in range(_MAX_CHUNKS):
        head = os.pread(descriptor, 8, offset)
        if head[4:] == b"acTL":
            return True
        if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
            break
        offset += 12 + int.from_bytes(head[:4], "big")
    return False


def inspect_still(
    descriptor: int, *, kind: str, size_bytes: int, display_name: str, heartbeat: Callable[[], None]
) -> StillLayout:
    """Read the structure of a still picture's file.

    Args:
        descriptor: open file.
        kind: ``jpeg``, ``png``, ``apng``, ``webp`` or ``bmp``.
        size_bytes: size of the file.
        display_name: name of the file in messages.
        heartbeat: callback that is called often; may raise to stop.

    Raises:
        MediaError: if it is an animation that can be read neither as a video nor as a still image.
    """
    file = _File(descriptor, size_bytes, heartbeat)
    if kind == "jpeg":
        return _inspect_jpeg(file)
    if kind == "apng":
        return StillLayout(is_cut=_png_end(file) is None)
    end = {"png": _still_png_end, "webp": _webp_end, "bmp": _bmp_end}[kind](file, display_name)
    if end is None:
        return StillLayout(is_cut=True)
    starts = {"png": rb"\x89PNG\r\n\x1a\n", "webp": rb"RIFF....WEBP", "bmp": rb"BM.{8}"}[kind]
    if re.compile(starts, re.DOTALL).match(file.at(end, 16)):
        return StillLayout(is_sequence=True)
    return StillLayout(warnings=_motion_photo_warnings(file, end))


def is_gif_truncated(descriptor: int, last_packet: int) -> bool:
    """Return whether a GIF file ends inside its last picture.

    Args:
        descriptor: the open file.
        last_packet: offset of the packet that holds the last picture.
    """
    offset = last_packet
    if head := re.match(rb"GIF8[79]a.{4}(.)", os.pread(descriptor, 13, offset), re.DOTALL):
        offset += 13 + _palette_bytes(head[1][0])
    while introducer := os.pread(descriptor, 10, offset):
        if introducer[0] == 0x2C:
            if len(introducer) < 10:
                return True
            # The local palette and the minimum code size precede the data.
            offset = _blocks_end(descriptor, offset + 11 + _palette_bytes(introducer[9]))
            return offset < 0
        if introducer[0] != 0x21:
            return False  # The trailer, or data that only the decoder can check.
        offset = _blocks_end(descriptor, offset + 2)
        if offset < 0:
            return True
    return True


def motion_photo_warning(offset: int) -> MediaWarning:
    """Return the warning about a video that begins at an offset after a photo."""
    message = (
        "the video after the photo (a motion photo) is not read; "
        f"tail -c +{offset + 1} PHOTO > clip.mp4 extracts it"
    )
    return MediaWarning("media.other_pictures", message)


def _motion_photo_warnings(file: _File, end: int) -> tuple[MediaWarning, ...]:
    offset = file.find(_VIDEO_START, end, min(file.size_bytes, end + _MAX_TAIL_BYTES))
    return () if offset is None else (motion_photo_warning(offset),)


@dataclass(frozen=True)
class _Jpeg:
    """One JPEG picture: its end offset, None if it is truncated, and the size in its header."""

    end: int | None
    size_px: tuple[int, int] | None
    is_one_of_several: bool


def _inspect_jpeg(file: _File) -> StillLayout:
    photo = _read_jpeg(file, 0, file.size_bytes)
    if photo.end is None:
        return StillLayout(is_cut=True)
    stop = min(file.size_bytes, photo.end + _MAX_TAIL_BYTES)
    follows = file.find(_NOT_PADDING, photo.end, stop)
    if follows is not None and not photo.is_one_of_several:
        second = _read_jpeg(file, follows, stop) if file.at(follows, 2) == b"\xff\xd8" else None
        if second is not None and second.size_px == photo.size_px:
            return StillLayout(is_sequence=True)
    warnings = _motion_photo_warnings(file, photo.end)
    video = file.find(_VIDEO_START, photo.end, stop)
    others = _count_pictures(file, photo, stop if video is None else video)
    if others and not warnings:
        message = f"more pictures of its size ({others}) follow the photo and are not read"
        warnings = (MediaWarning("media.other_pictures", message),)
    return StillLayout(warnings=warnings)


def _count_pictures(file: _File, photo: _Jpeg, stop: int) -> int:
    """Count the complete JPEG pictures of the same size after a photo: not previews or maps."""
    offset, count = photo.end, 0
    for _ in range(_MAX_STARTS):
        if offset is None or (start := file.find(_JPEG_START, offset, stop)) is None:
            break
        other = _read_jpeg(file, start, stop)
        count += other.end is not None and other.size_px == photo.size_px
        offset = other.end or start + 2
    return count


def _read_jpeg(file: _File, start: int, stop: int) -> _Jpeg:
    """Parse a JPEG picture segment by segment (ITU-T T.81, annex B)."""
    offset, size_px, is_one_of_several = start + 2, None, False
    while (marker := file.find(_JPEG_MARKER, offset, stop)) is not None:
        head = file.at(marker, 9)
        kind, offset = head[1], marker + 2
        if kind == _EOI:
            return _Jpeg(offset, size_px, is_one_of_several)
        if kind in (_SOI, _TEM):
            continue
        if kind in _SOF and len(head) == 9:
            size_px = (int.from_bytes(head[7:9], "big"), int.from_bytes(head[5:7], "big"))
        is_one_of_several |= kind == _APP2 and head[4:8] == _MULTI_PICTURE
        offset += max(2, int.from_bytes(head[2:4], "big"))
    return _Jpeg(None, size_px, is_one_of_several)


def _still_png_end(file: _File, display_name: str) -> int | None:
    return _png_end(
        file,
        late_animation=MediaError(
            "media.unreadable",
            f"{display_name}: is an animated PNG whose control chunk follows its first picture",
            hint="write it again with a current tool, such as ffmpeg -f apng",
        ),
    )


def _png_end(file: _File, *, late_animation: MediaError | None = None) -> int | None:
    """Return the end offset of a PNG picture; raise the error at a chunk of an animation."""
    offset = len(_PNG_MARK)
    while len(head := file.at(offset, 8)) == 8:
        file.heartbeat()
        if late_animation is not None and head[4:] in (b"acTL", b"fdAT"):
            raise late_animation
        offset += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return offset if offset <= file.size_bytes else None
    return None


def _webp_end(file: _File, display_name: str) -> int | None:
    end = 8 + int.from_bytes(file.at(4, 4), "little")
    offset = 12
    while offset < end and len(head := file.at(offset, 8)) == 8:
        file.heartbeat()
        if head[:4] in (b"ANIM", b"ANMF"):
            raise moving_webp_error(display_name)
        length = int.from_bytes(head[4:], "little")
        offset += 8 + length + length % 2
    return end if end <= file.size_bytes else None


def moving_webp_error(display_name: str) -> MediaError:
    """Return the error for an animated WebP file, which FFmpeg cannot decode."""
    return MediaError(
        "media.codec_not_allowed",
        f"{display_name}: is an animated WebP, which is not supported",
        hint="convert it to MP4 or GIF",
    )


def _bmp_end(file: _File, display_name: str) -> int | None:
    del display_name  # BMP has no animations.
    end = int.from_bytes(file.at(2, 4), "little")
    return end if end <= file.size_bytes else None


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks_end(descriptor: int, offset: int) -> int:
    """Return the end offset of a chain of data blocks; -1 if the file ends first."""
    data, at, most = b"", 0, _FIRST_READ_BYTES
    while True:
        if at >= len(data):
            offset, data, at = offset + at, os.pread(descriptor, most, offset + at), 0
            most = _NEXT_READ_BYTES
            if not data:
                return -1
        length = data[at]
        at += 1 + length
        if length == 0:
            return offset + at
