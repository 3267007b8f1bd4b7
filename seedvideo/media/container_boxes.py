"""Container headers that PyAV does not expose: MP4 and HEIF boxes, and Matroska elements.

FFmpeg reads these fields, but PyAV 18 does not expose them: the clean aperture of MP4 and
QuickTime tracks (ISO/IEC 14496-12, section 12.1.4) and of HEIF items (ISO/IEC 23008-12), and the
PixelCrop elements of Matroska (RFC 9559, section 5.1.4.1.28). Boxes are those of ISO/IEC 14496-12,
section 4.2.

Reads only headers, at given offsets, a few bytes each and a bounded number of them, so a hostile
file costs at most a tenth of a second. A malformed file yields `None`.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Final

_MAX_READS: Final = 50_000
"""Maximum reads per file: far above what real files need, and a tenth of a second."""

_TRACK_HEADER_BYTES: Final = 96
"""Length of the longer of the two versions of a track header."""


@dataclass
class HeaderFile:
    """An open file that is read at given offsets, a bounded number of times.

    Args:
        descriptor: open file.
        size_bytes: size of the file.
    """

    descriptor: int
    size_bytes: int
    reads: int = 0

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes at an offset; none after the maximum number of reads."""
        self.reads += 1
        if not 0 <= offset < self.size_bytes or self.reads > _MAX_READS:
            return b""
        return os.pread(self.descriptor, count, offset)


@dataclass(frozen=True)
class Box:
    """One box: its type, and offsets in the file.

    Args:
        kind: type of the box, four bytes; empty for the complete file.
        offset: start of the box.
        first: start of its content.
        end: end of its content.
    """

    kind: bytes
    offset: int
    first: int
    end: int

    def skip_bytes(self, count: int) -> "Box":
        """Return the same box without the first bytes of its content."""
        return Box(self.kind, self.offset, self.first + count, self.end)


@dataclass(frozen=True)
class TrackHeader:
    """Fields of a track header (ISO/IEC 14496-12, section 8.3.2).

    Args:
        number: number of the track.
        duration: duration in ticks of the movie; 0 if it is unknown.
        sides_px: display width and height of the track.
    """

    number: int
    duration: int
    sides_px: tuple[Fraction, Fraction]


def file_box(size_bytes: int) -> Box:
    """Return the complete file as the parent of its outermost boxes."""
    return Box(b"", 0, 0, size_bytes)


def iter_boxes(file: HeaderFile, parent: Box) -> Iterator[Box]:
    """Yield the child boxes of a box, up to the first malformed one."""
    offset = parent.first
    while True:
        head = file.read(offset, 16)
        if len(head) < 8 or offset + 8 > parent.end:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        first = offset + 8
        if size == 1:
            if len(head) < 16:
                return
            size, first = struct.unpack(">Q", head[8:])[0], offset + 16
        end = parent.end if size == 0 else offset + size
        if end < first or end > parent.end:
            return
        yield Box(kind, offset, first, end)
        offset = end


def find_child(file: HeaderFile, parent: Box, kind: bytes) -> Box | None:
    """Return the first child box of a type, or None."""
    return next((box for box in iter_boxes(file, parent) if box.kind == kind), None)


def read_track_header(file: HeaderFile, track: Box) -> TrackHeader | None:
    """Read the header of a track; return None if it is missing or truncated."""
    header = find_child(file, track, b"tkhd")
    if header is None:
        return None
    data = file.read(header.first, min(header.end - header.first, _TRACK_HEADER_BYTES))
    # Version, flags, two times, number, four bytes, duration, 52 bytes, width and height.
    layout = ">4x16xI4xQ52x2I" if data[:1] == b"\x01" else ">4x8xI4xI52x2I"
    if len(data) < struct.calcsize(layout):
        return None
    number, duration, *sides = struct.unpack_from(layout, data)
    width_px, height_px = (Fraction(side, 1 << 16) for side in sides)
    unknown = (1 << 64) - 1 if data[:1] == b"\x01" else (1 << 32) - 1
    return TrackHeader(number, 0 if duration == unknown else duration, (width_px, height_px))


_SAME_ASPECT: Final = Fraction(1, 1000)
"""Maximum relative difference of an aspect ratio from the one that FFmpeg derives."""

_MAX_ASPECT_DENOMINATOR: Final = 10_000

_MAX_TABLES: Final = 4
"""Maximum tables of item properties: one per version and width of numbers."""

_SAMPLE_ENTRY_BYTES: Final = 86
"""Header of a video sample entry; its child boxes follow (ISO/IEC 14496-12, section 12.1.3)."""


@dataclass(frozen=True)
class StatedWindow:
    """The part of the stored picture to display, as the container states it.

    Args:
        left_px: left edge of the window, from the left edge of the stored picture.
        top_px: top edge of the window, from the top edge of the stored picture.
        right_px: right edge of the window, from the left edge of the stored picture.
        bottom_px: bottom edge of the window, from the top edge of the stored picture.
        width_px: stated width of the stored picture.
        height_px: stated height of the stored picture.
        display: width and height in the MP4 track header; None if it states none, or if the pixel
            aspect ratio is stated elsewhere.
    """

    left_px: Fraction
    top_px: Fraction
    right_px: Fraction
    bottom_px: Fraction
    width_px: int
    height_px: int
    display: tuple[Fraction, Fraction] | None = None

    def __str__(self) -> str:
        sides = (self.right_px - self.left_px, self.bottom_px - self.top_px)
        numbers = [f"{float(n):g}" for n in (*sides, self.left_px, self.top_px)]
        return "the stated window of {}x{} px at ({}, {})".format(*numbers)

    def correct_aspect(self, aspect: Fraction) -> Fraction:
        """Return the width of a stored pixel over its height.

        If an MP4 file states no aspect ratio, FFmpeg divides the display size of the track by the
        size of the complete stored picture. It is the size of the window (ISO/IEC 14496-12, section
        8.3.2), unless it is that of the stored picture itself.

        Args:
            aspect: aspect ratio that FFmpeg derives.
        """
        if self.display is None or list(self.display) == [self.width_px, self.height_px]:
            return aspect
        wide, high = self.display[0] / self.display[1], Fraction(self.width_px, self.height_px)
        if abs(aspect * high / wide - 1) > _SAME_ASPECT:
            return aspect
        window = (self.right_px - self.left_px) / (self.bottom_px - self.top_px)
        return (wide / window).limit_denominator(_MAX_ASPECT_DENOMINATOR) or aspect

    @property
    def covers_picture(self) -> bool:
        """Whether the window covers the complete picture."""
        edges = [self.left_px, self.top_px, self.right_px, self.bottom_px]
        return edges == [0, 0, self.width_px, self.height_px]


@dataclass(frozen=True)
class _Element:
    """An EBML element: its identifier, and start and end of its content."""

    kind: int
    first: int
    end: int


def read_mp4_window(descriptor: int, size_bytes: int, track: int) -> StatedWindow | None:
    """Read the clean aperture of an MP4 or QuickTime track.

    Args:
        descriptor: open file.
        size_bytes: size of the file.
        track: number of the track in its header.

    Returns:
        The window; None if the track states none or is not found.
    """
    file = HeaderFile(descriptor, size_bytes)
    movie = find_child(file, file_box(size_bytes), b"moov")
    if movie is None:
        return None
    for box in iter_boxes(file, movie):
        header = read_track_header(file, box) if box.kind == b"trak" else None
        if header is not None and header.number == track:
            return _track_window(file, box, header.sides_px if all(header.sides_px) else None)
    return None


def _track_window(
    file: HeaderFile, track: Box, display: tuple[Fraction, Fraction] | None
) -> StatedWindow | None:
    table: Box | None = track
    for name in (b"mdia", b"minf", b"stbl", b"stsd"):
        table = None if table is None else find_child(file, table, name)
    if table is None:
        return None
    # After the version, the flags and the number of entries. If a track has several kinds of
    # sample, the aperture and the size of the first one count.
    entry = next(iter_boxes(file, table.skip_bytes(8)), None)
    if entry is None or entry.first + _SAMPLE_ENTRY_BYTES - 8 > entry.end:
        return None
    sides = file.read(entry.first + 24, 4)
    if len(sides) < 4:
        return None
    width_px, height_px = struct.unpack(">2H", sides)
    inside = entry.skip_bytes(_SAMPLE_ENTRY_BYTES - 8)
    aperture = find_child(file, inside, b"clap")
    if aperture is None:
        return None
    if find_child(file, inside, b"pasp") is not None:
        display = None
    return _aperture_window(file, aperture, width_px, height_px, display)


def read_heif_window(descriptor: int, size_bytes: int) -> StatedWindow | None:
    """Read the clean aperture of the primary item of a HEIF file, such as AVIF.

    Args:
        descriptor: open file.
        size_bytes: size of the file.

    Returns:
        The window; None if the item states none.
    """
    file = HeaderFile(descriptor, size_bytes)
    meta = find_child(file, file_box(size_bytes), b"meta")
    if meta is None:
        return None
    meta = meta.skip_bytes(4)  # The version and the flags.
    primary, properties = find_child(file, meta, b"pitm"), find_child(file, meta, b"iprp")
    if primary is None or properties is None:
        return None
    data = file.read(primary.first, 8)
    item = int.from_bytes(data[4:8] if data[:1] > b"\x00" else data[4:6])
    container = find_child(file, properties, b"ipco")
    if container is None:
        return None
    every = list(iter_boxes(file, container))
    own = [every[i - 1] for i in _properties_of(file, properties, item) if 0 < i <= len(every)]
    aperture = next((box for box in own if box.kind == b"clap"), None)
    extent = next((box for box in own if box.kind == b"ispe"), None)
    if aperture is None or extent is None:
        return None
    sides = file.read(extent.first + 4, 8)
    if len(sides) < 8:
        return None
    width_px, height_px = struct.unpack(">2I", sides)
    return _aperture_window(file, aperture, width_px, height_px, None)


def _properties_of(file: HeaderFile, properties: Box, item: int) -> list[int]:
    """Return the numbers of an item's properties, counted from 1 (ISO/IEC 23008-12, 9.3)."""
    found: list[int] = []
    tables = (box for box in iter_boxes(file, properties) if box.kind == b"ipma")
    for box in islice(tables, _MAX_TABLES):
        data = file.read(box.first, min(box.end - box.first, 1 << 20))
        id_bytes = 4 if data[:1] > b"\x00" else 2
        index_bytes = 2 if data[3:4] and data[3] & 1 else 1
        offset = 8
        while offset < len(data):
            number = int.from_bytes(data[offset : offset + id_bytes])
            offset += id_bytes
            count = int.from_bytes(data[offset : offset + 1])
            offset += 1
            if number == item:
                # The highest bit only marks the property as essential.
                mask = (1 << (8 * index_bytes - 1)) - 1
                for k in range(count):
                    at = offset + k * index_bytes
                    found.append(int.from_bytes(data[at : at + index_bytes]) & mask)
            offset += count * index_bytes
    return found


def _aperture_window(
    file: HeaderFile,
    aperture: Box,
    width_px: int,
    height_px: int,
    display: tuple[Fraction, Fraction] | None,
) -> StatedWindow | None:
    data = file.read(aperture.first, min(32, aperture.end - aperture.first))
    if len(data) < 32:
        return None
    numbers = struct.unpack(">iiiiiiii", data)
    if 0 in numbers[1::2]:
        return None
    ratios = zip(numbers[::2], numbers[1::2], strict=True)
    wide, high, right_of, below = (Fraction(over, under) for over, under in ratios)
    # The centre of the aperture is stated as a distance from the centre of the picture.
    left_px = Fraction(width_px, 2) + right_of - wide / 2
    top_px = Fraction(height_px, 2) + below - high / 2
    return StatedWindow(
        left_px, top_px, left_px + wide, top_px + high, width_px, height_px, display
    )


_SEGMENT: Final = 0x18538067
_SEEK_HEAD: Final = 0x114D9B74
_SEEK: Final = 0x4DBB
_SEEK_ID: Final = 0x53AB
_SEEK_POSITION: Final = 0x53AC
_CLUSTER: Final = 0x1F43B675
_TRACKS: Final = 0x1654AE6B
_TRACK: Final = 0xAE
_TRACK_TYPE: Final = 0x83
_CODEC: Final = 0x86
_VIDEO: Final = 0xE0
_PIXEL_WIDTH: Final = 0xB0
_PIXEL_HEIGHT: Final = 0xBA
_CROP_BOTTOM: Final = 0x54AA
_CROP_TOP: Final = 0x54BB
_CROP_LEFT: Final = 0x54CC
_CROP_RIGHT: Final = 0x54DD
_VIDEO_TYPE: Final = 1


def read_matroska_window(descriptor: int, size_bytes: int, track_index: int) -> StatedWindow | None:
    """Read the cropping of a Matroska or WebM track.

    Args:
        descriptor: the open file.
        size_bytes: size of the file.
        track_index: index of the track among the video tracks, from 0.

    Returns:
        The window; None if the track is not found.
    """
    file = HeaderFile(descriptor, size_bytes)
    root = _Element(0, 0, size_bytes)
    segment = next((each for each in _elements(file, root) if each.kind == _SEGMENT), None)
    tracks = None if segment is None else _find_tracks(file, segment)
    if tracks is None:
        return None
    for track in _elements(file, tracks):
        if track.kind != _TRACK:
            continue
        values = {each.kind: each for each in _elements(file, track)}
        # FFmpeg makes no stream of a track without a codec.
        if _number(file, values.get(_TRACK_TYPE)) != _VIDEO_TYPE or _CODEC not in values:
            continue
        if track_index == 0:
            return _video_window(file, values[_VIDEO]) if _VIDEO in values else None
        track_index -= 1
    return None


def _find_tracks(file: HeaderFile, segment: _Element) -> _Element | None:
    elsewhere: int | None = None
    for each in _elements(file, segment):
        if each.kind == _TRACKS:
            return each
        if each.kind == _SEEK_HEAD:
            elsewhere = _read_tracks_offset(file, each)
        if each.kind == _CLUSTER and elsewhere is not None:
            break
    if elsewhere is None:
        return None
    there = _Element(0, segment.first + elsewhere, segment.end)
    found = next(_elements(file, there), None)
    return found if found is not None and found.kind == _TRACKS else None


def _read_tracks_offset(file: HeaderFile, head: _Element) -> int | None:
    """Return the offset of the tracks in a seek head, from the start of the segment's content."""
    for seek in _elements(file, head):
        if seek.kind == _SEEK:
            values = {each.kind: each for each in _elements(file, seek)}
            if _number(file, values.get(_SEEK_ID)) == _TRACKS:
                return _number(file, values.get(_SEEK_POSITION))
    return None


def _video_window(file: HeaderFile, video: _Element) -> StatedWindow:
    values = {each.kind: _number(file, each) or 0 for each in _elements(file, video)}
    width_px, height_px = values.get(_PIXEL_WIDTH, 0), values.get(_PIXEL_HEIGHT, 0)
    return StatedWindow(
        left_px=Fraction(values.get(_CROP_LEFT, 0)),
        top_px=Fraction(values.get(_CROP_TOP, 0)),
        right_px=Fraction(width_px - values.get(_CROP_RIGHT, 0)),
        bottom_px=Fraction(height_px - values.get(_CROP_BOTTOM, 0)),
        width_px=width_px,
        height_px=height_px,
    )


def _number(file: HeaderFile, element: _Element | None) -> int | None:
    if element is None or not 0 < element.end - element.first <= 8:
        return None
    return int.from_bytes(file.read(element.first, element.end - element.first))


def _elements(file: HeaderFile, parent: _Element) -> Iterator[_Element]:
    """Yield the child elements of an EBML element, up to the first malformed one."""
    offset = parent.first
    while True:
        head = file.read(offset, 12)
        if len(head) < 2 or offset >= parent.end:
            return
        id_bytes = 9 - head[0].bit_length()
        if id_bytes > 4 or len(head) <= id_bytes:
            return
        size_bytes = 9 - head[id_bytes].bit_length()
        if size_bytes > 8 or len(head) < id_bytes + size_bytes:
            return
        bits = 7 * size_bytes
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes]) & ((1 << bits) - 1)
        first = offset + id_bytes + size_bytes
        # A live recording does not state the length of its segment or a cluster.
        end = parent.end if size == (1 << bits) - 1 else min(first + size, parent.end)
        yield _Element(int.from_bytes(head[:id_bytes]), first, end)
        offset = end
