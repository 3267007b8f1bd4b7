"""Only the area that stream and container state is visible, and squares stay squares."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from seedvideo.errors import MediaError
from seedvideo.media import Target, open_video
from seedvideo.media.container_boxes import read_heif_window
from tests.cropped_files import (
    aperture,
    aperture_of,
    box,
    crop_avif,
    crop_matroska,
    crop_mp4,
    edit_mp4,
    turned,
)
from tests.fixtures import Clips, Pixels, ffmpeg
from tests.in_process_decode import Shown, shown

WIDTH_PX, HEIGHT_PX = 96, 64
SIDES: Final = (13, 7, 5, 9)
"""Pixels to cut: left, top, right, bottom. All odd."""

X264: Final = "-c:v libx264 -preset ultrafast -qp 0 -bf 0 -pix_fmt"
X265: Final = "-c:v libx265 -preset ultrafast -x265-params log-level=none:lossless=1 -pix_fmt"

RED: Final = (220, 30, 30)


def scene() -> Pixels:
    """Slopes of colour, unlike in each corner, with a blue square of 24 px from (32, 16) on."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    picture = np.stack([40 + x // 2, 120 + y, 90 - x // 4 - y // 2], axis=-1).astype(np.uint8)
    picture[16:40, 32:56] = (40, 50, 220)
    return picture


def framed(sides: tuple[int, int, int, int]) -> Pixels:
    """The scene with red where it is to be cut."""
    left, top, right, bottom = sides
    picture = np.full((HEIGHT_PX, WIDTH_PX, 3), RED, np.uint8)
    inside = slice(top, HEIGHT_PX - bottom), slice(left, WIDTH_PX - right)
    picture[inside] = scene()[inside]
    return picture


def encoded(
    clips: Clips, name: str, options: str, picture: Pixels | None = None, *, frames: int = 2
) -> Path:
    picture = scene() if picture is None else picture
    source = f"-f rawvideo -pix_fmt rgb24 -s {WIDTH_PX}x{HEIGHT_PX} -r 10 -i -"

    def make(path: Path) -> None:
        raw = picture.tobytes() * frames
        ffmpeg(*source.split(), *options.split(), path, stdin=raw)

    return clips.made(f"cropping_{name}", make)


def cut(picture: Pixels, sides: tuple[int, int, int, int]) -> Pixels:
    left, top, right, bottom = sides
    height_px, width_px = picture.shape[:2]
    return picture[top : height_px - bottom, left : width_px - right]


def square_of(pixels: Pixels) -> tuple[int, int, int, int]:
    """Left, top, width and height of what is blue."""
    is_blue = (pixels[..., 2] > 150) & (pixels[..., 0] < 100)
    xs, ys = np.flatnonzero(is_blue.any(axis=0)), np.flatnonzero(is_blue.any(axis=1))
    return int(xs[0]), int(ys[0]), len(xs), len(ys)


def distance(one: Pixels, other: Pixels) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


def check_part(whole: Shown, part: Shown, sides: tuple[int, int, int, int]) -> None:
    """Make sure that a file shows a part of another, to the model and as a thumbnail."""
    assert not part.warnings
    # Where there are more than 8 bits, rounding depends on the place.
    assert distance(part.pixels, cut(whole.pixels, sides)) <= 2
    assert (part.info.coded_width_px, part.info.coded_height_px) == part.pixels.shape[1::-1]
    if part.luma.shape == part.pixels.shape[:2]:  # Else it is scaled.
        assert distance(part.luma, cut(whole.luma, sides)) <= 1


# What a bitstream crops.


@pytest.mark.parametrize(
    ("name", "options", "crop", "sides"),
    [
        ("420.mp4", f"{X264} yuv420p", "h264", (2, 0, 0, 0)),
        ("420.mp4", f"{X264} yuv420p", "h264", (14, 6, 10, 2)),
        ("422.mp4", f"{X264} yuv422p10le", "h264", (6, 5, 2, 3)),
        ("444.mp4", f"{X264} yuv444p", "h264", SIDES),
        ("420.mkv", f"{X265} yuv420p", "hevc", (10, 8, 4, 2)),
        # FFmpeg gives no picture at all here unless samples may begin at any address.
        ("444_deep.mkv", f"{X265} yuv444p12le", "hevc", SIDES),
        ("rgb.mkv", f"{X265} gbrp", "hevc", SIDES),
        ("grey.mkv", f"{X265} gray", "hevc", SIDES),
    ],
)
def test_streams_are_cropped_from_any_side(
    clips: Clips,
    tmp_path: Path,
    name: str,
    options: str,
    crop: str,
    sides: tuple[int, int, int, int],
) -> None:
    source = encoded(clips, name, options)
    names = ("left", "top", "right", "bottom")
    settings = ":".join(f"crop_{side}={px}" for side, px in zip(names, sides, strict=True))
    path = tmp_path / f"cropped{source.suffix}"
    ffmpeg("-i", source, "-c", "copy", "-bsf:v", f"{crop}_metadata={settings}", path)
    check_part(shown(source), shown(path), sides)


def test_stream_and_container_crop_together(clips: Clips, tmp_path: Path) -> None:
    source, path = encoded(clips, "444.mkv", f"{X264} yuv444p"), tmp_path / "both.mkv"
    bare = tmp_path / "bare.h264"
    filters = "h264_mp4toannexb,h264_metadata=crop_left=3:crop_top=5"
    ffmpeg("-i", source, "-c", "copy", "-bsf:v", filters, bare)
    ffmpeg("-r", "10", "-f", "h264", "-i", bare, "-c", "copy", path)
    part = shown(crop_matroska(path, tmp_path / "cropped.mkv", (4, 1, 2, 0)))
    assert distance(part.pixels, cut(scene(), (7, 6, 2, 0))) <= 2


def test_what_a_stream_has_cropped_is_not_cropped_once_more(clips: Clips, tmp_path: Path) -> None:
    # As writers do that take the size of the macroblocks for the size of the picture.
    source, path = encoded(clips, "420.mp4", f"{X264} yuv420p"), tmp_path / "lines.mp4"
    ffmpeg("-i", source, "-c", "copy", "-bsf:v", "h264_metadata=crop_bottom=8", path)
    stated = tmp_path / "stated.mp4"

    def describe_sample(body: bytes) -> bytes:
        return body + aperture((WIDTH_PX, 1), (56, 1), (0, 1), (-8, 2))

    data = edit_mp4(path, stated, {b"avc1": describe_sample}).read_bytes()
    size = struct.pack(">2H", WIDTH_PX, HEIGHT_PX)
    at = data.index(b"avc1", data.index(b"stsd")) + 28
    stated.write_bytes(data[:at] + size + data[at + 4 :])
    info = shown(stated).info
    assert (info.width_px, info.height_px) == (WIDTH_PX, 56)


# What a container crops.

Cropped = Callable[[Path, Path, tuple[int, int, int, int]], Path]


@pytest.mark.parametrize(
    "sides", [SIDES, (1, 0, 0, 0), (0, 0, 0, 1), (8, 8, 8, 8), (47, 31, 48, 32)]
)
@pytest.mark.parametrize(
    ("name", "options", "crop"),
    [
        ("444.mp4", f"{X264} yuv444p", crop_mp4),
        ("hevc.mp4", f"{X265} yuv444p10le -tag:v hvc1", crop_mp4),
        ("444.mkv", f"{X264} yuv444p", crop_matroska),
        ("rgb_ffv1.mkv", "-c:v ffv1 -pix_fmt gbrp", crop_matroska),
        ("vp9.webm", "-c:v libvpx-vp9 -lossless 1 -cpu-used 8 -pix_fmt yuv444p", crop_matroska),
    ],
)
def test_containers_crop_by_any_number_of_pixels(
    clips: Clips,
    tmp_path: Path,
    name: str,
    options: str,
    crop: Cropped,
    sides: tuple[int, int, int, int],
) -> None:
    source = encoded(clips, name, options)
    check_part(shown(source), shown(crop(source, tmp_path / f"cut{source.suffix}", sides)), sides)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("420.mkv", f"{X264} yuv420p"),
        ("full.mkv", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p"),
        ("deep.mkv", f"{X265} yuv420p10le"),
        ("411.mkv", "-c:v ffv1 -pix_fmt yuv411p"),
        ("alpha.mkv", "-c:v ffv1 -pix_fmt yuva420p"),
    ],
)
def test_colours_stay_in_place_where_they_are_stored_for_pairs_of_pixels(
    clips: Clips, tmp_path: Path, name: str, options: str
) -> None:
    source = encoded(clips, name, options, framed(SIDES))
    pixels = shown(crop_matroska(source, tmp_path / "cropped.mkv", SIDES)).pixels
    assert pixels.shape == (HEIGHT_PX - 16, WIDTH_PX - 18, 3)
    # At the edges half a pair of pixels is left, whose colour has some of what was cut off.
    inside = cut(pixels, (4, 4, 4, 4))
    assert np.abs(inside.astype(int) - cut(scene(), (17, 11, 9, 13))).mean() < 4
    assert np.abs(np.subtract(square_of(pixels), (32 - 13, 16 - 7, 24, 24))).max() <= 1


def test_what_is_cut_is_not_seen_at_any_size(clips: Clips, tmp_path: Path) -> None:
    sides = (12, 8, 6, 10)
    source = encoded(clips, "framed.mkv", f"{X264} yuv420p", framed(sides))
    path = crop_matroska(source, tmp_path / "cropped.mkv", sides)
    with open_video(path) as reader:
        for width_px, height_px in ((39, 23), (200, 120), (78, 46)):
            (frame,) = reader.frames([Target(reader.times[0], width_px, height_px)])
            is_red = (frame.pixels[..., 0] > 140) & (frame.pixels[..., 1] < 110)
            assert not is_red.any()


@pytest.mark.parametrize("tracks_last", [False, True])
def test_matroska_tracks_may_lie_behind_the_pictures(
    clips: Clips, tmp_path: Path, *, tracks_last: bool
) -> None:
    source, path = encoded(clips, "444.mkv", f"{X264} yuv444p"), tmp_path / "last.mkv"
    part = shown(crop_matroska(source, path, SIDES, tracks_last=tracks_last))
    assert distance(part.pixels, cut(scene(), SIDES)) <= 2


def test_still_pictures_are_cropped(clips: Clips, tmp_path: Path) -> None:
    options = "-c:v libaom-av1 -cpu-used 8 -crf 1 -still-picture 1 -pix_fmt yuv444p"
    source = encoded(clips, "still.avif", options, frames=1)
    part = shown(crop_avif(source, tmp_path / "cropped.avif", SIDES))
    assert part.info.is_image
    assert distance(part.pixels, cut(shown(source).pixels, SIDES)) == 0


# Together with other properties of the display.


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((1, 0, 0, -1), lambda p: p[::-1]),
        ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
    ],
)
@pytest.mark.parametrize("aspect", [1, 2])
def test_cropping_turning_and_wide_pixels_together(
    clips: Clips,
    tmp_path: Path,
    matrix: tuple[int, int, int, int],
    upright: Callable[[Pixels], Pixels],
    aspect: int,
) -> None:
    source = encoded(clips, "444.mp4", f"{X264} yuv444p")
    pixels_of = box(b"pasp", struct.pack(">2I", aspect, 1))
    edits = {
        b"tkhd": turned(matrix),
        b"avc1": lambda body: body + pixels_of + aperture_of(SIDES),
    }
    part = shown(edit_mp4(source, tmp_path / "turned.mp4", edits))
    expected = upright(np.repeat(cut(scene(), SIDES), aspect, axis=1))
    assert part.pixels.shape == expected.shape
    # Widened pixels have soft edges; a wrong side would be off by far more.
    assert np.abs(part.pixels.astype(int) - expected).mean() < (1 if aspect == 1 else 6)
    assert (part.info.coded_width_px, part.info.coded_height_px) == (78, 48)


@pytest.mark.parametrize(
    ("display", "width_px"),
    [((96, 64), 78), ((78, 48), 78), ((156, 48), 156), ((390, 240), 78), ((39, 48), 39)],
)
def test_the_size_of_an_mp4_track_is_that_of_its_aperture(
    clips: Clips, tmp_path: Path, display: tuple[int, int], width_px: int
) -> None:
    source = encoded(clips, "444.mp4", f"{X264} yuv444p")
    edits = {
        b"tkhd": turned((1, 0, 0, 1), display),
        b"avc1": lambda body: body.replace(b"pasp", b"free") + aperture_of(SIDES),
    }
    info = shown(edit_mp4(source, tmp_path / "track.mp4", edits)).info
    assert (info.width_px, info.height_px) == (width_px, 48)


@pytest.mark.parametrize(
    ("display", "width_px"), [(None, 78), ((78, 48), 78), ((156, 48), 156), ((13, 16), 39)]
)
def test_the_display_size_of_matroska_is_that_of_what_is_left(
    clips: Clips, tmp_path: Path, display: tuple[int, int] | None, width_px: int
) -> None:
    source = encoded(clips, "444.mkv", f"{X264} yuv444p")
    part = shown(crop_matroska(source, tmp_path / "cropped.mkv", SIDES, display=display))
    assert (part.info.width_px, part.info.height_px) == (width_px, 48)
    _, top, wide, high = square_of(part.pixels)
    assert (top, high) == (16 - 7, 24) and abs(wide - 24 * width_px / 78) <= 2


def test_a_cut_between_two_pixels_is_made_before_them(clips: Clips, tmp_path: Path) -> None:
    source = encoded(clips, "444.mp4", f"{X264} yuv444p")
    clap = aperture((75, 1), (47, 1), (0, 1), (1, 3))  # From 10.5 px and from 8.83 px on.
    path = edit_mp4(source, tmp_path / "half.mp4", {b"avc1": lambda body: body + clap})
    assert distance(shown(path).pixels, cut(scene(), (10, 8, 11, 9))) <= 2


@pytest.mark.parametrize(("before", "found"), [(0, 1), (3, 1), (4, 0)])
def test_a_photo_has_few_tables_of_properties(tmp_path: Path, before: int, found: int) -> None:
    extent = box(b"ispe", struct.pack(">3I", 0, WIDTH_PX, HEIGHT_PX))
    table = box(b"ipma", struct.pack(">2IHB2B", 0, 1, 1, 2, 1, 2))  # Of item 1, both properties.
    tables = box(b"ipma", bytes(8)) * before + table
    properties = box(b"iprp", box(b"ipco", extent + aperture_of(SIDES)) + tables)
    data = box(b"meta", bytes(4) + box(b"pitm", struct.pack(">IH", 0, 1)) + properties)
    path = tmp_path / "photo.heic"
    path.write_bytes(data)
    with path.open("rb") as file:
        window = read_heif_window(file.fileno(), len(data))
    assert (window is not None) == bool(found)
    if window is not None:
        assert [window.left_px, window.top_px] == [13, 7]
        assert [window.right_px, window.bottom_px] == [91, 55]


# Where it cannot be done.


@pytest.mark.parametrize(
    "clap",
    [
        aperture((97, 1), (64, 1), (0, 1), (0, 1)),
        aperture((90, 1), (60, 1), (30, 1), (0, 1)),
        aperture((0, 1), (60, 1), (0, 1), (0, 1)),
        aperture((-5, 1), (60, 1), (0, 1), (0, 1)),
        aperture((1, 3), (1, 3), (0, 1), (-35, 1)),
    ],
)
def test_an_aperture_that_makes_no_sense_is_left_out_with_a_warning(
    clips: Clips, tmp_path: Path, clap: bytes
) -> None:
    source = encoded(clips, "444.mp4", f"{X264} yuv444p")
    path = edit_mp4(source, tmp_path / "wrong.mp4", {b"avc1": lambda body: body + clap})
    part = shown(path)
    assert "media.crop_ignored" in part.warnings
    assert distance(part.pixels, scene()) <= 2


@pytest.mark.parametrize(
    ("stated_px", "clap"),
    [
        ((96, 0), aperture((90, 1), (1, 2), (0, 1), (1, 4))),
        ((40, 30), aperture((0, 1), (0, 1), (0, 1), (0, 1))),
        ((40, 30), aperture((-10, 1), (-8, 1), (0, 1), (0, 1))),
        ((96, 64), aperture((96, 1), (1, 20_000), (0, 1), (0, 1))),
    ],
)
def test_an_empty_aperture_is_left_out_whatever_size_the_header_states(
    clips: Clips, tmp_path: Path, stated_px: tuple[int, int], clap: bytes
) -> None:
    source = encoded(clips, "444.mp4", f"{X264} yuv444p")
    path = tmp_path / "empty.mp4"
    # Without an aspect ratio of pixels, the track's own size counts.
    edit_mp4(source, path, {b"avc1": lambda body: body.replace(b"pasp", b"free") + clap})
    data = bytearray(path.read_bytes())
    size_at = data.index(b"avc1", data.index(b"stsd")) + 28
    assert data[size_at : size_at + 4] == struct.pack(">2H", WIDTH_PX, HEIGHT_PX)
    data[size_at : size_at + 4] = struct.pack(">2H", *stated_px)
    path.write_bytes(data)
    with open_video(path) as reader:
        info = reader.info
    assert "media.crop_ignored" in {warning.code for warning in info.warnings}
    assert (info.coded_width_px, info.coded_height_px) == (WIDTH_PX, HEIGHT_PX)


@pytest.mark.parametrize("sides", [(96, 0, 0, 0), (50, 0, 50, 0), (0, 70, 0, 0)])
def test_a_file_that_crops_all_away_is_refused(
    clips: Clips, tmp_path: Path, sides: tuple[int, int, int, int]
) -> None:
    source = encoded(clips, "444.mkv", f"{X264} yuv444p")
    path = crop_matroska(source, tmp_path / "cropped.mkv", sides)
    with pytest.raises(MediaError) as refused:  # FFmpeg does not open such a file.
        shown(path)
    assert refused.value.code == "media.unreadable"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_headers_that_make_no_sense_do_no_harm(clips: Clips, tmp_path: Path, suffix: str) -> None:
    source = encoded(clips, f"444.{suffix}", f"{X264} yuv444p")
    crop = crop_mp4 if suffix == "mp4" else crop_matroska
    data = crop(source, tmp_path / "cropped", SIDES).read_bytes()
    draw = np.random.default_rng(5)
    path = tmp_path / f"broken.{suffix}"
    first = data.index(b"moov") if suffix == "mp4" else 0
    for _ in range(40):
        broken = bytearray(data)
        for place in draw.integers(first, min(len(data), first + 900), 6):
            broken[place] = draw.integers(256)
        path.write_bytes(broken)
        try:
            shown(path)
        except MediaError:
            continue


def test_pictures_that_change_their_size_are_cut_alike(clips: Clips, tmp_path: Path) -> None:
    sides = (12, 8, 6, 10)
    small = encoded(clips, "small.h264", f"{X264} yuv420p -f h264", framed(sides))
    options = f"-vf scale=192:128:flags=neighbor {X264} yuv420p -f h264"
    large = encoded(clips, "large.h264", options, framed(sides))
    joined, path = tmp_path / "joined.h264", tmp_path / "joined.mkv"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    ffmpeg("-r", "10", "-i", joined, "-c", "copy", path)
    path = crop_matroska(path, tmp_path / "cropped.mkv", sides)
    first, last = shown(path), shown(path, frame_index=3)
    assert "media.size_changes" in last.warnings
    assert np.abs(first.pixels.astype(int) - last.pixels).mean() < 6
    assert square_of(first.pixels) == square_of(last.pixels) == (20, 8, 24, 24)


@pytest.mark.parametrize("how", ["container", "stream"])
def test_decord_refuses_what_it_would_not_crop(clips: Clips, tmp_path: Path, how: str) -> None:
    source = encoded(clips, "420.mp4", f"{X264} yuv420p")
    path = tmp_path / "cropped.mp4"
    if how == "container":
        crop_mp4(source, path, (8, 8, 8, 8))
    else:
        ffmpeg("-i", source, "-c", "copy", "-bsf:v", "h264_metadata=crop_left=8", path)
    with open_video(path, decoder="decord") as reader, pytest.raises(MediaError, match="decord"):
        list(reader.frames([Target(reader.times[0], 40, 24)]))
