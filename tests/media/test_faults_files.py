"""Files that are broken, cut, damaged, empty or too large (rows M01-M08 of the fault list)."""

import random
import struct
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from seedvideo.config import DEFAULT_LIMITS, Limits
from seedvideo.errors import InputError, MediaError, SeedVideoError
from seedvideo.media import Frame, MediaInfo, Target, open_video, probe
from seedvideo.media.types import ThumbnailSpan, ThumbnailSpec
from tests.fixtures import Clips, coded_video, ffmpeg, read_number


def decode_all(path: Path) -> tuple[MediaInfo, list[Frame], set[str]]:
    """Returns the facts, every frame and the codes of all warnings."""
    with open_video(path) as reader:
        frames = list(reader.frames([Target(time, 64, 40) for time in reader.times]))
        warnings = (*reader.info.warnings, *reader.report.warnings)
        return reader.info, frames, {warning.code for warning in warnings}


def refusal(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> SeedVideoError:
    """Returns the error that opening a file gives; it must be one line and name the file."""
    with pytest.raises(SeedVideoError) as caught:
        probe(path, limits=limits)
    assert path.name in caught.value.message
    assert "\n" not in str(caught.value)
    return caught.value


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_m01_zero_bytes(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "empty.mp4", b""))
    assert isinstance(error, InputError) and error.code == "input.empty"


@pytest.mark.parametrize(
    "text", [b"hello", b"<html></html>\n", "\ufeffgrüße\n".encode(), "text".encode("utf-16")]
)
def test_m01_text(tmp_path: Path, text: bytes) -> None:
    assert refusal(write(tmp_path / "text.mp4", text)).code == "media.not_video"


@pytest.mark.parametrize("seed", range(5))
def test_m01_random_bytes(tmp_path: Path, seed: int) -> None:
    data = random.Random(seed).randbytes(20_000)
    assert refusal(write(tmp_path / "noise.mp4", data)).code == "media.not_video"


@pytest.mark.parametrize("seed", range(3))
def test_m01_random_bytes_behind_a_real_start(tmp_path: Path, seed: int) -> None:
    data = b"\x00\x00\x00\x18ftypmp42" + random.Random(seed).randbytes(20_000)
    assert refusal(write(tmp_path / "noise.mp4", data)).code == "media.unreadable"


def test_m02_cut_before_the_index(clips: Clips, tmp_path: Path) -> None:
    data = clips["plain"].read_bytes()
    path = write(tmp_path / "cut.mp4", data[: len(data) * 6 // 10])
    assert refusal(path).code == "media.unreadable"


def test_m03_cut_behind_the_index(clips: Clips, tmp_path: Path) -> None:
    data = clips["faststart"].read_bytes()
    info, frames, codes = decode_all(write(tmp_path / "cut.mp4", data[: len(data) * 6 // 10]))
    assert {"media.truncated", "media.duration_differs"} <= codes
    assert 20 < len(frames) < 80
    assert 1 < info.duration < Fraction(5, 2)
    numbers = [read_number(frame.pixels) for frame in frames]
    assert numbers[:-3] == list(range(len(numbers)))[:-3]


@pytest.mark.parametrize("name", ["ts", "mkv", "flv"])
def test_m03_cut_in_containers_without_an_index(clips: Clips, tmp_path: Path, name: str) -> None:
    data = clips[name].read_bytes()
    path = write(tmp_path / f"cut{clips[name].suffix}", data[: len(data) * 6 // 10])
    info, frames, _ = decode_all(path)
    assert 20 < len(frames) < 80
    assert info.duration < Fraction(5, 2)


@pytest.mark.parametrize("name", ["plain", "mkv", "ts", "hevc", "vp9"])
@pytest.mark.parametrize("seed", [1, 2])
def test_m04_three_kilobytes_of_damage(clips: Clips, tmp_path: Path, name: str, seed: int) -> None:
    def long_clip(path: Path) -> Path:
        # Large enough for 3 KB to be a small part of it.
        codecs = {"hevc": "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=12"}
        codecs["vp9"] = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 12"
        codec = codecs.get(name, "-c:v libx264 -g 12 -bf 2")
        return coded_video(path, f"{codec} -pix_fmt yuv420p -crf 4", frames=240)

    source = clips.made(f"long-{name}{clips[name].suffix}", long_clip)
    data = bytearray(source.read_bytes())
    assert len(data) > 100_000
    draw = random.Random(seed)
    at = draw.randrange(len(data) // 3, len(data) * 2 // 3)
    data[at : at + 3000] = draw.randbytes(3000)
    _, frames, _ = decode_all(write(tmp_path / source.name, bytes(data)))
    own = {frame.pts for frame in frames}
    assert len(own) >= 0.9 * 240
    right = sum(read_number(f.pixels) == round(f.pts * 30) % 256 for f in frames)
    assert right >= 0.85 * 240


def test_m04_damage_is_counted(clips: Clips, tmp_path: Path) -> None:
    data = bytearray(clips["no_b_frames"].read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    with open_video(write(tmp_path / "damaged.mp4", bytes(data))) as reader:
        list(reader.frames([Target(time, 64, 40) for time in reader.times]))
        assert reader.report.damaged_packets > 0
        (warning,) = reader.report.warnings
        assert warning.code == "media.damaged"
        assert str(reader.report.damaged_packets) in warning.message


def test_m04_too_much_damage_is_an_error(clips: Clips, tmp_path: Path) -> None:
    data = bytearray(clips["mjpeg_avi"].read_bytes())
    for at in range(8_000, len(data) - 40_000, 500):
        data[at : at + 400] = bytes(400)
    strict = Limits(max_consecutive_errors=3)
    with open_video(write(tmp_path / "rotten.avi", bytes(data)), limits=strict) as reader:
        targets = [Target(time, 64, 40) for time in reader.times]
        with pytest.raises(MediaError) as caught:
            list(reader.frames(targets))
    assert caught.value.code in ("media.corrupt", "media.unreadable")


def test_m05_no_frames(clips: Clips, tmp_path: Path) -> None:
    path = tmp_path / "none.mp4"
    # A track whose header is there and whose samples are all cut away.
    ffmpeg("-i", clips["plain"], "-c", "copy", "-frames:v", "0", "-movflags", "empty_moov", path)
    assert refusal(path).code in ("media.no_frames", "media.unreadable", "media.no_video")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "webm"])
def test_m05_one_frame(tmp_path: Path, suffix: str) -> None:
    codec = {"webm": "-c:v libvpx", "avi": "-c:v mpeg4"}.get(suffix, "-c:v libx264")
    path = coded_video(tmp_path / f"one.{suffix}", f"{codec} -pix_fmt yuv420p", frames=1)
    info, frames, _ = decode_all(path)
    assert [frame.pts for frame in frames] == [0]
    assert 0 < info.duration <= Fraction(1, 10)
    assert info.fps_avg is None and not info.is_vfr and not info.is_image
    with open_video(path) as reader:
        assert reader.keyframes == (0,)
        batches = list(reader.thumbnails([ThumbnailSpan(0, 1, "all")], ThumbnailSpec(16, 16)))
        assert [each.frame_indices for each in batches] == [(0,)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_m06_audio_longer_than_video(clips: Clips, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"long.{suffix}"
    tone = ("-f", "lavfi", "-i", "sine=d=8")
    ffmpeg("-i", clips["plain"], *tone, "-c:v", "copy", "-c:a", "aac", path)
    info, frames, _ = decode_all(path)
    assert info.duration == 3 and len(frames) == 90


def test_m06_a_matroska_header_that_lies(clips: Clips, tmp_path: Path) -> None:
    data = bytearray(clips["mkv"].read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # The element Duration: a float of 8 bytes.
    (duration,) = struct.unpack(">d", data[at : at + 8])
    data[at : at + 8] = struct.pack(">d", duration * 5)
    info, frames, codes = decode_all(write(tmp_path / "lies.mkv", bytes(data)))
    assert len(frames) == 90 and abs(info.duration - 3) < Fraction(1, 100)
    assert "media.duration_differs" in codes


def test_m06_an_mp4_header_that_lies(clips: Clips, tmp_path: Path) -> None:
    data = bytearray(clips["plain"].read_bytes())
    at = data.index(b"mdhd") + 16  # Version 0: time scale at +16, duration at +20.
    _, duration = struct.unpack(">II", data[at : at + 8])
    data[at + 4 : at + 8] = struct.pack(">I", duration * 5)
    for box, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"elst", 12)):
        place = data.index(box) + offset
        (value,) = struct.unpack(">I", data[place : place + 4])
        data[place : place + 4] = struct.pack(">I", value * 5)
    info, frames, _ = decode_all(write(tmp_path / "lies.mp4", bytes(data)))
    assert len(frames) == 90 and info.duration == 3


def test_m06_a_header_that_is_too_long_is_refused(clips: Clips) -> None:
    assert refusal(clips["plain"], limits=Limits(max_duration_s=2.0)).code == "media.too_long"


def test_m07_huge_pictures_in_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "huge.mp4"
    source = ("-f", "lavfi", "-i", "color=s=8000x8000:r=5:d=0.4")
    ffmpeg(*source, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", path)
    # Too little memory for even one such picture: it is refused from the header.
    error = refusal(path, limits=Limits(worker_memory_bytes=90_000_000))
    assert error.code == "media.too_big"


@pytest.mark.parametrize(("side_px", "suffix"), [(7000, "png"), (14_000, "png"), (7000, "jpg")])
def test_m07_huge_photos(tmp_path: Path, side_px: int, suffix: str) -> None:
    # The first is within what Pillow takes without a word, the second above what it takes at all.
    path = tmp_path / f"huge.{suffix}"
    Image.new("1" if suffix == "png" else "L", (side_px, side_px)).save(path)
    error = refusal(path)
    assert error.code == "media.too_big" and f"{side_px}x{side_px}" in error.message


def test_m08_the_size_changes(clips: Clips, tmp_path: Path) -> None:
    first = coded_video(tmp_path / "a.ts", "-c:v libx264 -bf 0", frames=30)
    second = coded_video(tmp_path / "b.ts", "-c:v libx264 -bf 0", frames=30, size=(384, 224))
    path = write(tmp_path / "joined.ts", first.read_bytes() + second.read_bytes())
    info, frames, codes = decode_all(path)
    assert (info.width_px, info.height_px) == (192, 112)
    assert "media.size_changes" in codes and "media.time_jump" in codes
    assert {frame.pixels.shape for frame in frames} == {(40, 64, 3)}
    assert [read_number(f.pixels) for f in frames] == [*range(30), *range(30)]
    assert abs(info.duration - 2) < Fraction(1, 20)
    small = Limits(max_frame_pixels=30_000)
    with open_video(path, limits=small) as reader, pytest.raises(MediaError) as caught:
        list(reader.frames([Target(time, 64, 40) for time in reader.times]))
    assert caught.value.code == "media.too_big"
