"""Files whose container crops the picture, made from others byte by byte.

No muxer at hand writes these fields, so boxes and elements are put into files that ffmpeg wrote.
"""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

_PARENTS: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"iprp")
_SAMPLES: Final = (b"avc1", b"hvc1", b"hev1", b"av01")

Edit = Callable[[bytes], bytes]


def box(kind: bytes, body: bytes) -> bytes:
    """Return a box of an MP4 file."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def aperture(
    width: tuple[int, int], height: tuple[int, int], right: tuple[int, int], down: tuple[int, int]
) -> bytes:
    """Return a clean aperture box: its size, and how far its centre lies from the picture's."""
    return box(b"clap", struct.pack(">8i", *width, *height, *right, *down))


def aperture_of(sides: tuple[int, int, int, int], width_px: int = 96, height_px: int = 64) -> bytes:
    """Return the clean aperture that cuts so many pixels: left, top, right, bottom."""
    left, top, right, bottom = sides
    return aperture(
        (width_px - left - right, 1),
        (height_px - top - bottom, 1),
        (left - right, 2),
        (top - bottom, 2),
    )


def edit_mp4(source: Path, path: Path, edits: Mapping[bytes, Edit]) -> Path:
    """Write a copy of an MP4 file with some boxes' contents changed.

    Args:
        source: the file, its ``moov`` behind its ``mdat``.
        path: of the result.
        edits: what becomes of the content of boxes, by type. A sample entry's is what follows its
            fixed part.
    """
    path.write_bytes(_edited(source.read_bytes(), edits))
    return path


def _edited(data: bytes, edits: Mapping[bytes, Edit]) -> bytes:
    parts, place = [], 0
    while place + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + size]
        skip = {b"stsd": 8, b"meta": 4}.get(kind, 78 if kind in _SAMPLES else 0)
        if kind in (*_PARENTS, *_SAMPLES, b"stsd", b"meta"):
            body = body[:skip] + _edited(body[skip:], edits)
        if kind in edits:
            body = body[:skip] + edits[kind](body[skip:])
        parts.append(box(kind, body))
        place += size
    return b"".join(parts)


def crop_mp4(source: Path, path: Path, sides: tuple[int, int, int, int]) -> Path:
    """Write a copy of an MP4 file of 96x64 px with a clean aperture."""
    clap = aperture_of(sides)
    return edit_mp4(source, path, dict.fromkeys(_SAMPLES, lambda body: body + clap))


def turned(matrix: tuple[int, int, int, int], display: tuple[int, int] | None = None) -> Edit:
    """Return the change of a track header to a display matrix, and to a size."""

    def edit(body: bytes) -> bytes:
        a, b, c, d = (number << 16 for number in matrix)
        numbers = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        size = body[76:84]
        if display is not None:
            size = struct.pack(">2I", *(side << 16 for side in display))
        return body[:40] + numbers + size

    return edit


def element(kind: int, body: bytes) -> bytes:
    """Return an EBML element."""
    name = kind.to_bytes((kind.bit_length() + 7) // 8)
    return name + (len(body) | 1 << 56).to_bytes(8) + body


def number(kind: int, value: int) -> bytes:
    """Return an EBML element that holds a whole number."""
    return element(kind, value.to_bytes(4))


def split(data: bytes) -> list[tuple[int, bytes]]:
    """Return the EBML elements that lie one behind another: types and contents."""
    found, place = [], 0
    while place < len(data):
        id_bytes = 9 - data[place].bit_length()
        size_bytes = 9 - data[place + id_bytes].bit_length()
        first = place + id_bytes + size_bytes
        size = int.from_bytes(data[place + id_bytes : first]) & ((1 << 7 * size_bytes) - 1)
        end = len(data) if size == (1 << 7 * size_bytes) - 1 else first + size
        found.append((int.from_bytes(data[place : place + id_bytes]), data[first:end]))
        place = end
    return found


EBML, SEGMENT, SEEK_HEAD, SEEK = 0x1A45DFA3, 0x18538067, 0x114D9B74, 0x4DBB
INFO, TRACKS, TRACK, VIDEO, CLUSTER = 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0x1F43B675
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
CROP_LEFT, CROP_TOP, CROP_RIGHT, CROP_BOTTOM = 0x54CC, 0x54BB, 0x54DD, 0x54AA


def crop_matroska(
    source: Path,
    path: Path,
    sides: tuple[int, int, int, int],
    *,
    display: tuple[int, int] | None = None,
    tracks_last: bool = False,
) -> Path:
    """Write a copy of a Matroska file whose video tracks are cropped.

    Args:
        source: a file of ffmpeg's.
        path: of the result.
        sides: pixels to cut: left, top, right, bottom.
        display: the size that the track states to be shown at.
        tracks_last: put the tracks behind the pictures, at the offset in a seek head.
    """
    dropped = () if display is None else (DISPLAY_UNIT,)
    added = b"".join(
        number(kind, side)
        for kind, side in zip((CROP_LEFT, CROP_TOP, CROP_RIGHT, CROP_BOTTOM), sides, strict=True)
    )
    if display is not None:
        added += number(DISPLAY_WIDTH, display[0]) + number(DISPLAY_HEIGHT, display[1])
    parts: dict[int, bytes] = {}
    header = b""
    for kind, body in split(source.read_bytes()):
        if kind == EBML:
            header = element(kind, body)
        for inner, content in split(body) if kind == SEGMENT else ():
            if inner == TRACKS:
                content = _with_crop(content, added, dropped)
            if inner in (INFO, TRACKS, CLUSTER):
                parts[inner] = parts.get(inner, b"") + element(inner, content)
    if tracks_last:
        front = parts[INFO] + parts[CLUSTER]
        entry = element(0x53AB, TRACKS.to_bytes(4)) + number(0x53AC, 0)
        head_bytes = len(element(SEEK_HEAD, element(SEEK, entry)))
        entry = element(0x53AB, TRACKS.to_bytes(4)) + number(0x53AC, head_bytes + len(front))
        content = element(SEEK_HEAD, element(SEEK, entry)) + front + parts[TRACKS]
    else:
        content = parts[INFO] + parts[TRACKS] + parts[CLUSTER]
    path.write_bytes(header + element(SEGMENT, content))
    return path


def _with_crop(tracks: bytes, added: bytes, dropped: tuple[int, ...]) -> bytes:
    changed = b""
    for kind, track in split(tracks):
        if kind == TRACK:  # And not a checksum, which would be wrong now.
            body = b"".join(
                element(inner, _kept(content, dropped) + added if inner == VIDEO else content)
                for inner, content in split(track)
            )
            changed += element(kind, body)
    return changed


def _kept(video: bytes, dropped: tuple[int, ...]) -> bytes:
    return b"".join(element(kind, body) for kind, body in split(video) if kind not in dropped)


def crop_avif(source: Path, path: Path, sides: tuple[int, int, int, int]) -> Path:
    """Write a copy of an AVIF file of 96x64 px with a clean aperture."""
    data = source.read_bytes()
    clap = aperture_of(sides)
    count = data[data.index(b"ipma") + 14]

    def associate(body: bytes) -> bytes:
        # One item with so many properties of one byte; the new property is the fifth.
        return body[:10] + bytes([count + 1]) + body[11:] + bytes([0x80 | 5])

    def move(body: bytes) -> bytes:
        # One item in one extent of four bytes for its place and four for its size.
        place = int.from_bytes(body[-8:-4]) + len(clap) + 1
        return body[:-8] + place.to_bytes(4) + body[-4:]

    edits: dict[bytes, Edit] = {
        b"ipco": lambda body: body + clap,
        b"ipma": associate,
        b"iloc": move,
    }
    return edit_mp4(source, path, edits)
