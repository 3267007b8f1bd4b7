"""Uncompressed YUV4MPEG2 files: a text header, then bare pictures."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from seedvideo.config import Limits
from seedvideo.errors import InputError, MediaError
from seedvideo.media import Target, open_video
from tests.fixtures import coded_frame, read_number
from tests.media.still_files import facts, shown

WIDTH_PX, HEIGHT_PX = 192, 112
HEADER = b"YUV4MPEG2 W192 H112 F30000:1001 Ip A1:1"
NTSC = [number * Fraction(1001, 30000) for number in range(6)]

CHROMA: dict[str, tuple[int, int, int]] = {
    # tag: samples of chroma across and down for four of luma, bits of a sample
    "420": (2, 2, 8),
    "420jpeg": (2, 2, 8),
    "420mpeg2": (2, 2, 8),
    "420paldv": (2, 2, 8),
    "411": (1, 4, 8),
    "422": (2, 4, 8),
    "444": (4, 4, 8),
    "mono": (0, 0, 8),
    "mono10": (0, 0, 10),
    "mono16": (0, 0, 16),
    "420p10": (2, 2, 10),
    "422p10": (2, 4, 10),
    "444p10": (4, 4, 10),
    "420p12": (2, 2, 12),
    "422p12": (2, 4, 12),
    "444p12": (4, 4, 12),
    "420p16": (2, 2, 16),
}


def picture(number: int, tag: str = "420") -> bytes:
    """Return the planes of a numbered picture: its luma, and no colour."""
    across, down, bits = CHROMA[tag]
    luma = 16 + coded_frame(number).mean(axis=2) * 219 / 255
    grey = np.full((HEIGHT_PX * down // 4, WIDTH_PX * across // 4), 128.0)
    planes = [luma, grey, grey] if across else [luma]
    scale, kind = 1 << bits - 8, "<u2" if bits > 8 else "u1"
    return b"".join((plane * scale).astype(kind).tobytes() for plane in planes)


def y4m(header: bytes, frames: list[bytes], parameters: bytes = b"") -> bytes:
    return header + b"\n" + b"".join(b"FRAME" + parameters + b"\n" + each for each in frames)


PICTURES = [picture(number) for number in range(20, 26)]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("tag", CHROMA)
def test_every_way_to_store_chroma(tmp_path: Path, tag: str) -> None:
    frames = [picture(number, tag) for number in (20, 21)]
    path = write(tmp_path / "clip.y4m", y4m(HEADER + b" C" + tag.encode(), frames))
    info, times, numbers = shown(path)
    assert times == NTSC[:2] and numbers == [20, 21] and info.warnings == ()
    assert info.duration == 2 * Fraction(1001, 30000) and info.fps_avg == Fraction(30000, 1001)


def test_chroma_is_420_by_default(tmp_path: Path) -> None:
    assert shown(write(tmp_path / "clip.y4m", y4m(HEADER, PICTURES)))[1:] == (
        NTSC,
        [20, 21, 22, 23, 24, 25],
    )


def test_through_the_reader_by_any_strategy(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.y4m", y4m(HEADER, PICTURES))
    with open_video(path) as reader:
        assert reader.keyframes == tuple(range(6))
        for strategy in ("auto", "seek", "sequential"):
            targets = [Target(time, 64, 40) for time in NTSC[1::2]]
            frames = list(reader.frames(targets, strategy=strategy))
            assert [read_number(frame.pixels) for frame in frames] == [21, 23, 25]


@pytest.mark.parametrize("parameters", [b" Ixyz", b" Ip XCREATOR=a-long-name-for-a-tool"])
def test_frames_with_parameters_keep_their_times(tmp_path: Path, parameters: bytes) -> None:
    # With pictures as small as these FFmpeg's own times would skip some.
    header = b"YUV4MPEG2 W4 H2 F25:1 Ip Cmono"
    path = write(tmp_path / "clip.y4m", y4m(header, [bytes(8)] * 40, parameters))
    info, times, numbers = shown(path)
    assert times == [Fraction(number, 25) for number in range(40)] and len(numbers) == 40
    assert info.duration == Fraction(8, 5) and info.warnings == ()
    with open_video(write(tmp_path / "large.y4m", y4m(HEADER, PICTURES, parameters))) as reader:
        targets = [Target(time, 64, 40) for time in (NTSC[4], NTSC[5])]
        assert [read_number(f.pixels) for f in reader.frames(targets, strategy="seek")] == [24, 25]


@pytest.mark.parametrize(("aspect", "width_px"), [("4:3", 256), ("0:0", 192), ("1:2", 96)])
def test_pixel_aspect(tmp_path: Path, aspect: str, width_px: int) -> None:
    header = HEADER.replace(b"A1:1", b"A" + aspect.encode())
    info = facts(write(tmp_path / "clip.y4m", y4m(header, PICTURES)))
    assert (info.width_px, info.height_px) == (width_px, 112)


@pytest.mark.parametrize(("flag", "is_interlaced"), [("p", 0), ("t", 1), ("b", 1), ("?", 0)])
def test_interlacing(tmp_path: Path, flag: str, is_interlaced: int) -> None:
    header = HEADER.replace(b"Ip", b"I" + flag.encode())
    info = facts(write(tmp_path / "clip.y4m", y4m(header, PICTURES)))
    assert [w.code for w in info.warnings] == ["media.interlaced"] * is_interlaced


@pytest.mark.parametrize("missing", [1, 5, 30_000, len(PICTURES[0]), len(PICTURES[0]) + 3])
def test_a_cut_last_frame(tmp_path: Path, missing: int) -> None:
    data = y4m(HEADER, PICTURES)
    info, times, numbers = shown(write(tmp_path / "cut.y4m", data[:-missing]))
    assert [w.code for w in info.warnings] == ["media.truncated"]
    assert times == NTSC[:5] and numbers == [20, 21, 22, 23, 24]


@pytest.mark.parametrize("rate", [b"", b" F0:0", b" F25:0"])
def test_an_unknown_rate_is_never_guessed(tmp_path: Path, rate: bytes) -> None:
    path = write(tmp_path / "clip.y4m", y4m(b"YUV4MPEG2 W192 H112" + rate + b" Ip", PICTURES))
    with pytest.raises(MediaError) as caught:
        facts(path)
    assert caught.value.code == "media.no_timestamps"
    _, times, numbers = shown(path, fps=Fraction(10))
    assert times == [Fraction(number, 10) for number in range(6)] and numbers[0] == 20


def test_a_picture_of_letters_is_not_taken_for_text(tmp_path: Path) -> None:
    frames = [b"A" * len(PICTURES[0])] * 3
    info = facts(write(tmp_path / "letters.y4m", y4m(HEADER, frames)))
    assert info.codec == "rawvideo" and not info.is_image


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"YUV4MPEG2 W9000 H9000 F25:1", "media.too_big"),
        (b"YUV4MPEG2 W16 H4096 F25:1", "media.too_big"),
        (b"YUV4MPEG2 F25:1 Ip", "media.unreadable"),
        (b"YUV4MPEG2 W192 H112 F25:1 Im", "media.unreadable"),
        (b"YUV4MPEG2 W192 H112 F25:1 Cnonsense", "media.unreadable"),
        (b"YUV4MPEG W192 H112 F25:1", "media.not_video"),
    ],
)
def test_headers_that_are_refused(tmp_path: Path, header: bytes, code: str) -> None:
    with pytest.raises(MediaError) as caught:
        facts(write(tmp_path / "odd.y4m", y4m(header, PICTURES)))
    assert caught.value.code == code


def test_without_frames(tmp_path: Path) -> None:
    with pytest.raises(MediaError) as caught:
        facts(write(tmp_path / "none.y4m", HEADER + b"\n"))
    assert caught.value.code == "media.no_frames"


def test_size_of_the_file_is_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.y4m", y4m(HEADER, PICTURES))
    with pytest.raises(InputError) as caught:
        open_video(path, limits=Limits(max_input_bytes=100_000))
    assert caught.value.code == "input.too_large"
