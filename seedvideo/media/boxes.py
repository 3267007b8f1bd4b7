"""The boxes of MP4, QuickTime and HEIF files (ISO/IEC 14496-12, section 4.2).

Reads only headers, at given places and a bounded number of them, so that a hostile file costs no
more than a tenth of a second. Knows nothing of FFmpeg, and decodes nothing.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

_MOST_READS: Final = 50_000
"""Places of a file that are read: far above what real files need, and a tenth of a second."""

_TRACK_HEADER_BYTES: Final = 96
"""Length of the longer of the two versions of a track header."""


@dataclass
class HeaderFile:
    """An open file that is read at given places, a bounded number of them.

    Args:
        descriptor: the open file.
        size_bytes: size of the file.
    """

    descriptor: int
    size_bytes: int
    reads: int = 0

    def read(self, place: int, count: int) -> bytes:
        """Return so many bytes, fewer at the end of the file; none once there were too many."""
        self.reads += 1
        if not 0 <= place < self.size_bytes or self.reads > _MOST_READS:
            return b""
        return os.pread(self.descriptor, count, place)


@dataclass(frozen=True)
class Box:
    """One box: its type, and offsets in the file.

    Args:
        kind: four bytes; empty for all of a file.
        place: where the box begins.
        first: where its content begins.
        end: where its content ends.
    """

    kind: bytes
    place: int
    first: int
    end: int

    def behind(self, count: int) -> "Box":
        """Return the same box without the first bytes of its content."""
        return Box(self.kind, self.place, self.first + count, self.end)


@dataclass(frozen=True)
class TrackHeader:
    """What the header of a track states (ISO/IEC 14496-12, section 8.3.2).

    Args:
        number: of the track.
        duration: in ticks of the movie; 0 if it is not known.
        sides_px: width and height at which the track is shown.
    """

    number: int
    duration: int
    sides_px: tuple[Fraction, Fraction]


def whole(size_bytes: int) -> Box:
    """Return all of a file as the parent of its outermost boxes."""
    return Box(b"", 0, 0, size_bytes)


def boxes(file: HeaderFile, parent: Box) -> Iterator[Box]:
    """Yield the child boxes of a box, as far as they make sense."""
    place = parent.first
    while True:
        head = file.read(place, 16)
        if len(head) < 8 or place + 8 > parent.end:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        first = place + 8
        if size == 1:
            if len(head) < 16:
                return
            size, first = struct.unpack(">Q", head[8:])[0], place + 16
        end = parent.end if size == 0 else place + size
        if end < first or end > parent.end:
            return
        yield Box(kind, place, first, end)
        place = end


def child(file: HeaderFile, parent: Box, kind: bytes) -> Box | None:
    """Return the first child box of a type; None if there is none."""
    return next((box for box in boxes(file, parent) if box.kind == kind), None)


def read_track_header(file: HeaderFile, track: Box) -> TrackHeader | None:
    """Read the header of a track; None if it has none, or a part of one."""
    header = child(file, track, b"tkhd")
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
