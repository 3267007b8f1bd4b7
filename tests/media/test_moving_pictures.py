"""Formats that hold still and moving pictures: what moves is read as a video, or refused."""

import struct
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from seedvideo.errors import MediaError
from seedvideo.media import Target, open_video
from tests.fixtures import read_number
from tests.media.still_files import Chunks, facts, pictures, png, png_chunks, saved, shown

DELAYS_MS = [100, 200, 300, 50]
TIMES = [Fraction(0), Fraction(1, 10), Fraction(3, 10), Fraction(3, 5)]
DURATION = Fraction(13, 20)


def moving_png() -> Chunks:
    return list(png_chunks(saved(pictures(40, 4), "PNG", duration=DELAYS_MS)))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        facts(path)
    assert caught.value.hint
    return caught.value.code


@pytest.mark.parametrize("name", ["PNG", "GIF", "AVIF"])
def test_a_moving_picture_is_a_video_with_its_own_times(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "moving", saved(pictures(40, 4), name, duration=DELAYS_MS))
    info, times, numbers = shown(path)
    assert not info.is_image and {w.code for w in info.warnings} == {"media.vfr"}
    assert times == TIMES and info.duration == DURATION and numbers == [40, 41, 42, 43]


def test_a_moving_png_through_the_reader_and_by_seeks(tmp_path: Path) -> None:
    path = write(tmp_path / "moving.png", png(moving_png()))
    with open_video(path) as reader:
        for strategy in ("auto", "seek", "sequential"):
            for times in (TIMES, TIMES[2:], TIMES[:1]):
                targets = [Target(time, 64, 40) for time in times]
                frames = list(reader.frames(targets, strategy=strategy))
                expected = [40 + TIMES.index(time) for time in times]
                assert [read_number(frame.pixels) for frame in frames] == expected


def test_a_moving_png_behind_a_long_text(tmp_path: Path) -> None:
    # The animation chunk lies beyond the bytes from which kinds are detected.
    header, *rest = moving_png()
    text = (b"iTXt", b"Comment\0\0\0\0\0" + b"x" * 9000)
    _, times, numbers = shown(write(tmp_path / "text.png", png([header, text, *rest])))
    assert times == TIMES and numbers == [40, 41, 42, 43]


def test_a_png_whose_still_is_not_part_of_its_movement(tmp_path: Path) -> None:
    data = saved(pictures(39, 5), "PNG", duration=DELAYS_MS, default_image=True)
    _, times, numbers = shown(write(tmp_path / "still.png", data))
    assert times == TIMES and numbers == [40, 41, 42, 43]


def test_a_moving_png_whose_pictures_paint_over_the_one_before(tmp_path: Path) -> None:
    # Each is stored as a patch, put over the one before, then taken away again: so a picture shows
    # its own square and no other.
    squares = []
    for number in range(4):
        picture = Image.new("RGBA", (96, 56), (0, 0, 0, 0))
        corner = 20 * number
        ImageDraw.Draw(picture).rectangle((corner, 10, corner + 9, 19), fill=(250, 250, 250))
        squares.append(picture)
    path = write(tmp_path / "squares.png", saved(squares, "PNG", duration=100, disposal=2, blend=1))
    with open_video(path) as reader:
        targets = [Target(time, 96, 56) for time in reader.times]
        for frame, number in zip(reader.frames(targets), range(4), strict=True):
            lit = {x // 20 for x in frame.pixels[15, :, 0].nonzero()[0].tolist()}
            assert lit == {number}


def test_an_animated_png_of_one_picture_is_a_still_image(tmp_path: Path) -> None:
    chunks = moving_png()
    one = [
        (kind, struct.pack(">II", 1, 0) if kind == b"acTL" else content)
        for kind, content in chunks[: [kind for kind, _ in chunks].index(b"IDAT") + 1]
    ]
    info, _, numbers = shown(write(tmp_path / "one.png", png([*one, (b"IEND", b"")])))
    assert info.is_image and numbers == [40] and info.warnings == ()


@pytest.mark.parametrize("fault", ["control chunk late", "control chunk missing", "no pictures"])
def test_a_moving_png_that_breaks_the_rules_is_refused(tmp_path: Path, fault: str) -> None:
    chunks = moving_png()
    control = [chunk for chunk in chunks if chunk[0] == b"acTL"]
    rest = [chunk for chunk in chunks if chunk[0] != b"acTL"]
    if fault == "control chunk late":
        at = [kind for kind, _ in rest].index(b"IDAT") + 1
        rest = rest[:at] + control + rest[at:]
    if fault == "no pictures":
        rest = [rest[0], *control, *(c for c in rest[1:] if c[0] not in (b"fcTL", b"fdAT"))]
    assert refusal(write(tmp_path / "odd.png", png(rest))) == "media.unreadable"


@pytest.mark.parametrize("name", ["PNG", "GIF"])
def test_a_truncated_animation_has_a_warning(tmp_path: Path, name: str) -> None:
    data = saved(pictures(40, 4), name, duration=DELAYS_MS)
    for share in (5, 6, 7, 8, 9):
        path = write(tmp_path / "cut", data[: len(data) * share // 10])
        info, times, numbers = shown(path)
        assert "media.truncated" in {w.code for w in info.warnings}
        assert times == TIMES[: len(times)] and len(times) > 1 and not info.is_image
        assert numbers[:-1] == [40, 41, 42][: len(numbers) - 1]


def test_a_truncated_animation_of_one_picture_has_a_warning(tmp_path: Path) -> None:
    for name, percent in (("PNG", 28), ("GIF", 22)):
        data = saved(pictures(40, 4), name, duration=DELAYS_MS)
        info = facts(write(tmp_path / "cut", data[: len(data) * percent // 100]))
        assert [w.code for w in info.warnings] == ["media.truncated"]


@pytest.mark.parametrize("is_flagged", [True, False])
def test_an_animated_webp_is_refused_whatever_its_header_states(
    tmp_path: Path, *, is_flagged: bool
) -> None:
    data = bytearray(saved(pictures(40, 4), "WEBP", duration=100))
    assert data[12:16] == b"VP8X" and data[20] & 2
    if not is_flagged:
        data[20] &= ~2
    assert refusal(write(tmp_path / "moving.webp", bytes(data))) == "media.codec_not_allowed"


def test_several_views_in_one_jpeg_file_are_named(tmp_path: Path) -> None:
    info, _, numbers = shown(write(tmp_path / "views.mpo", saved(pictures(40, 3), "MPO")))
    assert info.is_image and numbers == [40]
    (warning,) = info.warnings
    assert warning.code == "media.other_pictures" and warning.message.endswith(
        "(2) follow the photo and are not read"
    )


def track_flags(data: bytes, track: int) -> int:
    """Return where the flags of a track's header lie; their lowest bit enables the track."""
    place = 0
    for _ in range(track + 1):
        place = data.index(b"tkhd", place + 1)
    return place + 7


@pytest.mark.parametrize("brand", [b"avis", b"avif", b"mif1", b"msf1"])
@pytest.mark.parametrize("is_on", [True, False])
def test_the_track_of_an_image_sequence_is_read(
    tmp_path: Path, brand: bytes, *, is_on: bool
) -> None:
    # Its first picture is stored a second time, as a still.
    data = bytearray(saved(pictures(40, 4), "AVIF", duration=DELAYS_MS))
    data[8:12] = brand
    if not is_on:
        data[track_flags(bytes(data), 0)] &= ~1
    info, times, numbers = shown(write(tmp_path / "sequence.avif", bytes(data)))
    assert not info.is_image and times == TIMES and numbers == [40, 41, 42, 43]


@pytest.mark.parametrize("is_on", [True, False])
def test_the_mask_of_an_image_sequence_is_never_shown(tmp_path: Path, *, is_on: bool) -> None:
    # The mask needs more bytes than the colours, which are the same all over.
    masked = []
    for number, mask in enumerate(pictures(200, 4)):
        picture = pictures(40 + number, 1)[0].convert("RGBA")
        picture.putalpha(mask.convert("L"))
        masked.append(picture)
    data = bytearray(saved(masked, "AVIF", duration=DELAYS_MS))
    if not is_on:
        data[track_flags(bytes(data), 0)] &= ~1
    info, times, numbers = shown(write(tmp_path / "masked.avif", bytes(data)))
    assert times == TIMES and numbers == [40, 41, 42, 43]
    assert {w.code for w in info.warnings} == {"media.vfr", "media.alpha"}
