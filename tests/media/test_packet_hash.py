"""The hash of the video packets: the same in another container, another for other pictures."""

import re
import shutil
from pathlib import Path

import pytest

from seedvideo.media.packet_hash import _parts
from seedvideo.media.reader import open_video
from tests.fixtures import FRAMES, Clips, ffmpeg

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


def test_a_pass_goes_on_after_a_hash(clips: Clips, tmp_path: Path) -> None:
    path = shutil.copy(clips["plain"], tmp_path / "plain.mp4")
    with open_video(path) as reader:
        before = reader.packets_sha256()
        assert len(reader.packets.sizes_bytes) == FRAMES
        assert reader.packets_sha256() == before


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
