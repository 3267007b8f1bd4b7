"""Boxes of MP4 files, made byte by byte."""

import struct
from fractions import Fraction
from pathlib import Path

import pytest

from seedvideo.media.container_boxes import (
    HeaderFile,
    TrackHeader,
    file_box,
    find_child,
    iter_boxes,
    read_track_header,
)
from tests.cropped_files import box

SIDES = struct.pack(">2I", 640 << 16, (360 << 16) + (1 << 15))
SHORT = bytes(12) + struct.pack(">2I", 7, 0)
LONG = b"\x01" + bytes(19) + struct.pack(">2I", 7, 0)


@pytest.mark.parametrize(
    ("start", "duration", "expected"),
    [
        (SHORT, struct.pack(">I", 900), 900),
        (SHORT, b"\xff" * 4, 0),
        (LONG, struct.pack(">Q", 1 << 33), 1 << 33),
        (LONG, struct.pack(">Q", (1 << 32) - 1), (1 << 32) - 1),
        (LONG, b"\xff" * 8, 0),
    ],
)
def test_track_headers_of_both_versions(
    tmp_path: Path, start: bytes, duration: bytes, expected: int
) -> None:
    data = box(b"trak", box(b"free", b"") + box(b"tkhd", start + duration + bytes(52) + SIDES))
    path = tmp_path / "track"
    path.write_bytes(data)
    with path.open("rb") as opened:
        file = HeaderFile(opened.fileno(), len(data))
        track = find_child(file, file_box(len(data)), b"trak")
        assert track is not None
        sides_px = (Fraction(640), Fraction(721, 2))
        assert read_track_header(file, track) == TrackHeader(7, expected, sides_px)


def test_a_bounded_number_of_boxes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "boxes"
    path.write_bytes(box(b"free", b"") * 60_000)
    with path.open("rb") as opened:
        found = list(iter_boxes(HeaderFile(opened.fileno(), 480_000), file_box(480_000)))
    assert len(found) == 50_000


@pytest.mark.parametrize(
    "head",
    [
        b"\x00\x00\x00\x07free",
        b"\x00\x00\x01\x00free",
        b"\x00\x00\x00\x01free" + b"\xff" * 8,
        b"\x00\x00\x00\x01free" + struct.pack(">Q", 15),
        b"\x00\x00\x00\x01fre",
    ],
)
def test_a_box_that_makes_no_sense_ends_the_list(tmp_path: Path, head: bytes) -> None:
    data = box(b"ftyp", b"isom") + head
    path = tmp_path / "boxes"
    path.write_bytes(data)
    with path.open("rb") as opened:
        found = list(iter_boxes(HeaderFile(opened.fileno(), len(data)), file_box(len(data))))
    assert [(each.kind, each.offset, each.first, each.end) for each in found] == [
        (b"ftyp", 0, 8, 12)
    ]
