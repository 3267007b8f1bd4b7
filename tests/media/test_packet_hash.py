"""The hash of the video packets: the same in another container, another for other pictures."""

import re
from pathlib import Path

import numpy as np
import pytest

from seedvideo.media.packet_hash import _parts
from seedvideo.media.reader import open_video
from seedvideo.media.types import Target
from tests.fixtures import FRAMES, Clips, coded_video, ffmpeg

X264 = "-c:v libx264 -pix_fmt yuv420p -preset ultrafast"

COPIES = [("plain", "mkv"), ("plain", "ts"), ("hevc", "ts"), ("av1", "mp4"), ("vp9", "mkv")]


def hash_of(path: Path, first: int = 0, end: int | None = None) -> str:
    with open_video(path) as reader:
        return reader.packets_sha256(first, end)


@pytest.mark.parametrize(("name", "suffix"), COPIES)
def test_a_copy_in_another_container_has_the_same_hash(
    clips: Clips, tmp_path: Path, name: str, suffix: str
) -> None:
    copy = tmp_path / f"copy.{suffix}"
    ffmpeg("-i", clips[name], "-c", "copy", copy)
    assert copy.read_bytes() != clips[name].read_bytes()
    expected = hash_of(clips[name])
    assert re.fullmatch("[0-9a-f]{64}", expected)
    assert hash_of(copy) == expected


def test_pictures_coded_again_have_another_hash(clips: Clips) -> None:
    names = ("plain", "no_b_frames", "hevc", "vp9", "mpeg4_avi")
    assert len({hash_of(clips[name]) for name in names}) == len(names)


def test_a_part_has_a_hash_of_its_own(clips: Clips, tmp_path: Path) -> None:
    path = clips["short_gops"]
    parts = [hash_of(path, first, end) for first, end in ((0, 40), (40, FRAMES), (0, FRAMES))]
    assert len(set(parts)) == 3
    assert parts[2] == hash_of(path)
    copy = tmp_path / "copy.mkv"
    ffmpeg("-i", path, "-c", "copy", copy)
    assert hash_of(copy, 40, FRAMES) == parts[1]


@pytest.mark.parametrize("name", ["plain", "ts", "vp9", "mjpeg_avi", "open_gop"])
def test_frames_and_hashes_of_parts_in_any_order(clips: Clips, name: str) -> None:
    with open_video(clips[name]) as reader:
        targets = [Target(reader.times[number], 96, 56) for number in (10, 50, 80)]
        expected = [frame.pixels for frame in reader.frames(targets)]
        parts = [reader.packets_sha256(first, first + 30) for first in (60, 0, 30)]
        found = [frame.pixels for frame in reader.frames(targets)]
        assert len(set(parts)) == 3
        assert [reader.packets_sha256(first, first + 30) for first in (60, 0, 30)] == parts
    assert all(map(np.array_equal, found, expected))


def test_a_part_far_into_a_file(tmp_path: Path) -> None:
    path = coded_video(tmp_path / "long.mp4", f"{X264} -g 30", frames=600)
    copy = tmp_path / "copy.mkv"
    ffmpeg("-i", path, "-c", "copy", copy)
    assert hash_of(path, 570, 600) == hash_of(copy, 570, 600)


def test_only_slices_of_a_packet_count() -> None:
    slice_, parameters = b"\x65abc", b"\x67xyz"
    boxed = b"".join(len(unit).to_bytes(4, "big") + unit for unit in (parameters, slice_))
    marked = b"\x00\x00\x00\x01" + parameters + b"\x00\x00\x00\x01" + slice_ + b"\x00"
    assert list(_parts(boxed, "h264", 4)) == list(_parts(marked, "h264", 0)) == [slice_]
    assert list(_parts(parameters, "h264", 0)) == [parameters]
    assert list(_parts(b"\x12\x00rest", "av1", 0)) == [b"rest"]
    assert list(_parts(b"\x12\x00rest", "vp9", 0)) == [b"\x12\x00rest"]
    # A length beyond the end, as in a damaged file.
    assert list(_parts(b"\x00\x00\x00\x63\x65ab", "h264", 4)) == [b"\x65ab"]
