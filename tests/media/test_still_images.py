"""Still pictures that are cut, damaged, or have something behind them."""

import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedvideo.errors import MediaError
from seedvideo.media import Target, open_video
from seedvideo.media.still_images import is_gif_truncated
from tests.fixtures import Clips, coded_frame, coded_video, ffmpeg
from tests.media.still_files import box, facts, pictures, png, png_chunks, saved, shown

PHOTO = Image.fromarray(coded_frame(77))
CLEAR = PHOTO.convert("RGBA")
CLEAR.putalpha(99)

FORMATS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved([PHOTO], "JPEG", quality=90),
    "progressive": lambda: saved([PHOTO], "JPEG", progressive=True),
    "grey": lambda: saved([PHOTO.convert("L")], "JPEG"),
    "png": lambda: saved([PHOTO], "PNG"),
    "palette_png": lambda: saved([PHOTO.quantize()], "PNG"),
    "webp": lambda: saved([PHOTO], "WEBP"),
    "lossless_webp": lambda: saved([PHOTO], "WEBP", lossless=True),
    "clear_webp": lambda: saved([CLEAR], "WEBP"),
    "gif": lambda: saved([PHOTO], "GIF"),
    "bmp": lambda: saved([PHOTO], "BMP"),
    "avif": lambda: saved([PHOTO], "AVIF"),
}
SHOWS_WHAT_IS_THERE = {"jpeg": 16, "grey": 18, "gif": 8}
"""From which sixtieth of the file on something of the picture can be shown."""


def codes(path: Path) -> list[str]:
    """Return the warnings of a file that opens, or the code of the error."""
    try:
        return [warning.code for warning in facts(path).warnings]
    except MediaError as error:
        return [f"error {error.code}"]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_picture_never_counts_as_complete(tmp_path: Path, name: str) -> None:
    data = FORMATS[name]()
    whole = ["media.alpha"] if name == "clear_webp" else []
    assert codes(write(tmp_path / "whole", data)) == whole
    # The header of an AVIF file comes first and is long; without it nothing shows what is missing.
    for sixtieth in range(1, 60, 2):
        found = codes(write(tmp_path / "cut", data[: len(data) * sixtieth // 60]))
        if name == "progressive" and sixtieth > 6:
            # Cut between the data of two passes, it shows the first; cut in a table, nothing.
            assert found in (["media.truncated"], ["error media.corrupt"]), sixtieth
        elif sixtieth >= SHOWS_WHAT_IS_THERE.get(name, 60):
            assert found == ["media.truncated"], sixtieth
        elif len(data) * sixtieth // 60 > 16 and name != "avif":
            assert found == ["error media.corrupt"], sixtieth
        else:
            assert found[0].startswith("error media."), sixtieth
    # The last byte of a GIF only marks the end.
    for missing in (1, 2, 3) if name != "gif" else (2, 3):
        found = codes(write(tmp_path / "cut", data[:-missing]))
        assert found in (["media.truncated"], ["error media.corrupt"]), missing


def test_the_decodable_part_of_a_truncated_photo_is_shown(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
    data = saved([Image.fromarray(noise)], "JPEG", quality=90)
    path = write(tmp_path / "half.jpg", data[: len(data) // 2])
    whole = np.asarray(Image.open(write(tmp_path / "whole.jpg", data)))
    with open_video(path) as reader:
        assert [warning.code for warning in reader.info.warnings] == ["media.truncated"]
        (frame,) = reader.frames([Target(Fraction(0), 800, 600)])
    assert np.abs(frame.pixels[:200].astype(int) - whole[:200]).mean() < 25
    assert np.abs(frame.pixels[-200:].astype(int) - whole[-200:]).mean() > 60


@pytest.mark.parametrize("damage", [b"\xff\x00" * 20, b"\xff\xd3", b"\xff\xd9", bytes(60)])
def test_damage_that_the_decoder_conceals_is_reported(tmp_path: Path, damage: bytes) -> None:
    # Nonsense, a restart mark and an end mark in the middle of the picture's data, and zeros.
    data = bytearray(saved([PHOTO], "JPEG", quality=95))
    start = 709 if damage == bytes(60) else len(data) // 2
    data[start : start + len(damage)] = damage
    assert codes(write(tmp_path / "damaged.jpg", bytes(data))) == ["media.damaged"]


@pytest.mark.parametrize("name", ["png", "webp", "bmp", "avif"])
def test_a_damaged_header_is_an_error_with_a_code(tmp_path: Path, name: str) -> None:
    data = bytearray(FORMATS[name]())
    data[20:60] = bytes(40)
    found = codes(write(tmp_path / "damaged", bytes(data)))
    assert found[0].startswith("error media.") and len(found) == 1


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "gif", "bmp", "avif"])
def test_bytes_behind_a_picture_are_ignored(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "photo", FORMATS[name]() + b"made by a camera" * 20)
    info, times, numbers = shown(path)
    assert info.is_image and info.warnings == () and times == [0] and numbers == [77]


def test_a_photo_with_another_behind_it(tmp_path: Path) -> None:
    # As some phones write them: the photo, their own data, a second photo.
    photo, second = FORMATS["jpeg"](), saved(pictures(5, 1), "JPEG")
    path = write(tmp_path / "phone.jpg", photo + b"SEFT" + second + b"SEFT")
    info, _, numbers = shown(path)
    assert [w.code for w in info.warnings] == ["media.other_pictures"] and numbers == [77]


def test_a_picture_behind_a_damaged_photo_never_stands_in_for_it(tmp_path: Path) -> None:
    views = bytearray(saved(pictures(5, 2), "MPO"))
    tables = views.index(b"\xff\xc4")
    views[tables + 5 : tables + 21] = b"\xff" * 16
    assert codes(write(tmp_path / "views.mpo", bytes(views))) == ["error media.corrupt"]


@pytest.mark.parametrize("between", [b"", b"\xff" * 7, bytes(300), b"SEFT"])
def test_a_smaller_picture_behind_a_photo_is_its_thumbnail(tmp_path: Path, between: bytes) -> None:
    small = saved([PHOTO.resize((96, 56))], "JPEG")
    info = facts(write(tmp_path / "photo.jpg", FORMATS["jpeg"]() + between + small))
    assert info.is_image and info.width_px == 192 and info.warnings == ()


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "bmp"])
def test_pictures_in_a_row_are_a_video_without_times(tmp_path: Path, name: str) -> None:
    kind = {"jpeg": "JPEG"}.get(name, name.upper())
    path = write(tmp_path / "row", b"".join(saved([each], kind) for each in pictures(3, 4)))
    with pytest.raises(MediaError) as caught:
        facts(path)
    assert caught.value.code == "media.no_timestamps"
    _, times, numbers = shown(path, fps=Fraction(5))
    assert times == [Fraction(number, 5) for number in range(4)] and numbers == [3, 4, 5, 6]


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_the_video_of_a_motion_photo_is_named(clips: Clips, tmp_path: Path, name: str) -> None:
    video = clips["faststart"].read_bytes()
    data = FORMATS[name]() + b"MotionPhoto_Data" * (name == "jpeg") + video
    (warning,) = facts(write(tmp_path / "motion", data)).warnings
    assert warning.code == "media.other_pictures"
    # The command in the message takes the video out.
    command = warning.message.split("; ")[1].split()
    assert command[:2] == ["tail", "-c"]
    assert data[int(command[2]) - 1 :] == video


def test_the_video_of_an_avif_motion_photo_is_named(clips: Clips, tmp_path: Path) -> None:
    video = clips["plain"].read_bytes()
    path = write(tmp_path / "motion.avif", FORMATS["avif"]() + box(b"mpvd", video))
    info = facts(path)
    assert info.is_image and [w.code for w in info.warnings] == ["media.other_pictures"]
    place = path.read_bytes().index(video)
    assert f"tail -c +{place + 1} " in info.warnings[0].message


def test_a_file_appended_to_an_avif_photo_is_refused(clips: Clips, tmp_path: Path) -> None:
    photo = FORMATS["avif"]()
    with pytest.raises(MediaError) as caught:
        facts(write(tmp_path / "two.avif", photo + clips["plain"].read_bytes()))
    assert caught.value.code == "media.unreadable"
    assert f"head -c {len(photo)} " in caught.value.hint


def test_a_masked_avif_shows_its_colours(tmp_path: Path) -> None:
    path = write(tmp_path / "clear.avif", saved([CLEAR], "AVIF"))
    info, _, numbers = shown(path)
    assert [w.code for w in info.warnings] == ["media.alpha"]
    assert info.is_image and numbers == [77]


def photo_file(kind: bytes, brand: bytes, codec: bytes, coded: list[bytes]) -> bytes:
    """Return a file of pictures of one size, the first of which is the one to be shown.

    Args:
        kind: of the pictures, as the file names it.
        brand: of the file.
        codec: box that sets the decoder up.
        coded: data of each picture.
    """

    def full(kind: bytes, body: bytes, version: int = 0) -> bytes:
        return box(kind, struct.pack(">I", version << 24) + body)

    def meta(place: int) -> bytes:
        count = len(coded)
        places = struct.pack(">BBH", 0x44, 0, count)
        entries, uses = b"", struct.pack(">I", count)
        for number, data in enumerate(coded, start=1):
            places += struct.pack(">HHHII", number, 0, 1, place, len(data))
            place += len(data)
            entries += full(b"infe", struct.pack(">HH4sx", number, 0, kind), 2)
            uses += struct.pack(">HBBB", number, 2, 1, 0x82)
        size = full(b"ispe", struct.pack(">II", 192, 112))
        return full(
            b"meta",
            full(b"hdlr", struct.pack(">I4s13x", 0, b"pict"))
            + full(b"pitm", struct.pack(">H", 1))
            + full(b"iloc", places)
            + full(b"iinf", struct.pack(">H", count) + entries)
            + box(b"iprp", box(b"ipco", size + codec) + full(b"ipma", uses)),
        )

    start = box(b"ftyp", brand + b"\0\0\0\0mif1" + brand)
    return start + meta(len(start) + len(meta(0)) + 8) + box(b"mdat", b"".join(coded))


def box_in(data: bytes, kind: bytes) -> bytes:
    """Return the first box of a kind."""
    at = data.index(kind) - 4
    return data[at : at + struct.unpack_from(">I", data, at)[0]]


def still_heic(path: Path) -> Path:
    """Write a HEIC photo around one HEVC picture."""
    video = coded_video(
        path.with_suffix(".mp4"),
        "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -tag:v hvc1 -x265-params log-level=none",
        frames=1,
    ).read_bytes()
    picture = box_in(video, b"mdat")[8:]
    return write(path, photo_file(b"hvc1", b"heic", box_in(video, b"hvcC"), [picture]))


def test_several_pictures_in_one_avif_file_are_named(tmp_path: Path) -> None:
    files = [saved([each], "AVIF") for each in pictures(5, 3)]
    coded = [box_in(data, b"mdat")[8:] for data in files]
    path = write(
        tmp_path / "burst.avif", photo_file(b"av01", b"avif", box_in(files[0], b"av1C"), coded)
    )
    info, _, numbers = shown(path)
    assert info.is_image and numbers == [5]
    (warning,) = info.warnings
    assert warning.code == "media.other_pictures" and "(2)" in warning.message


def test_a_heic_photo_complete_and_truncated(tmp_path: Path) -> None:
    path = still_heic(tmp_path / "photo.heic")
    info, _, numbers = shown(path)
    assert info.is_image and info.codec == "hevc" and info.warnings == () and numbers == [0]
    data, outcomes = path.read_bytes(), set()
    for sixtieth in range(1, 60, 2):
        found = codes(write(tmp_path / "cut.heic", data[: len(data) * sixtieth // 60]))
        outcomes |= set(found)
        assert found == ["media.truncated"] or found[0].startswith("error media."), sixtieth
    assert "error media.no_frames" not in outcomes


def test_a_png_with_a_colour_profile_does_not_crash_its_process(tmp_path: Path) -> None:
    # PyAV frees the name of the profile twice if it is asked for the frame's side data.
    profile = b"RGB\0\0" + zlib.compress(bytes(200))
    chunks = list(png_chunks(FORMATS["png"]()))
    path = write(tmp_path / "named.png", png([chunks[0], (b"iCCP", profile), *chunks[1:]]))
    program = (
        "import gc, pathlib, sys; from tests.media.still_files import facts\n"
        "for _ in range(10): facts(pathlib.Path(sys.argv[1])); gc.collect()"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program, path], cwd=root, check=False)
    assert done.returncode == 0


def test_a_png_picture_in_passes_has_no_fields(tmp_path: Path) -> None:
    source = write(tmp_path / "plain.png", FORMATS["png"]())
    ffmpeg("-i", source, "-flags", "+ildct", tmp_path / "passes.png")
    assert dict(png_chunks((tmp_path / "passes.png").read_bytes()))[b"IHDR"][-1] == 1
    info, _, numbers = shown(tmp_path / "passes.png")
    assert info.warnings == () and numbers == [77]


def test_a_gif_picture_with_many_comments_is_read_at_once(tmp_path: Path) -> None:
    data = FORMATS["gif"]()
    palette_bytes = 3 << (data[10] & 7) + 1
    assert data[10] & 0x80
    start = 13 + palette_bytes
    comments = b"\x21\xfe\x01a\x00" * 100_000
    path = write(tmp_path / "comments.gif", data[:start] + comments + data[start:])
    with path.open("rb") as file:
        before_s = time.process_time()
        assert not is_gif_truncated(file.fileno(), 0)
        assert time.process_time() - before_s < 4  # 22 s where each comment cost a large read.
    assert not codes(path)


def test_a_box_without_bounds_behind_a_photo(tmp_path: Path) -> None:
    for length in (2**64 - 1, 2**63, 17, 0):
        data = FORMATS["avif"]() + struct.pack(">I4sQ", 1, b"free", length)
        info, _, numbers = shown(write(tmp_path / "photo.avif", data))
        assert info.is_image and numbers == [77]
