"""Every colour matrix gives a picture: the exact one where it is known, else one with a warning."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from PIL import Image

from seedvideo.errors import MediaError
from seedvideo.media import Target, open_video
from seedvideo.media.cropping import Crop
from seedvideo.media.resize import Orientation, Resizer
from seedvideo.media.types import MediaWarning
from tests.fixtures import Clips, Pixels, ffmpeg
from tests.in_process_decode import shown

WIDTH_PX, HEIGHT_PX = 96, 64

X264: Final = "-c:v libx264 -preset ultrafast -qp 0 -pix_fmt"
X265: Final = "-c:v libx265 -preset ultrafast -x265-params log-level=none:lossless=1 -pix_fmt"

SWSCALE: Final = (1, 2, 4, 5, 6, 7, 9)

Real = npt.NDArray[np.float64]


def colours() -> Pixels:
    """Every mixture of 6 x 4 x 4 levels, in blocks of 8 x 8 px."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX] // 8
    number = x + 12 * y
    levels = [number % 6 * 51, number // 6 % 4 * 85, number // 24 * 85]
    return np.stack(levels, axis=-1).astype(np.uint8)


def encoded(clips: Clips, name: str, options: str, raw: bytes, pixels: str = "rgb24") -> Path:
    source = f"-f rawvideo -pix_fmt {pixels} -s {WIDTH_PX}x{HEIGHT_PX} -r 10 -i -"

    def make(path: Path) -> None:
        ffmpeg(*source.split(), *options.split(), path, stdin=raw)

    return clips.made(f"colours_{name}", make)


def tagged(source: Path, path: Path, matrix: int, more: str = "") -> Path:
    """Write a copy of an H.264 or HEVC file that states another matrix."""
    kind = "hevc" if "265" in source.name else "h264"
    ffmpeg(
        *f"-i {source} -c copy -bsf:v {kind}_metadata=matrix_coefficients={matrix}{more}".split(),
        path,
    )
    return path


def distance(one: Pixels, other: Pixels) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


# Every number there is.


@pytest.mark.parametrize(
    "pixels",
    [
        *("yuv420p", "yuvj420p", "yuv422p10le", "yuv444p", "yuv444p12le", "yuva420p", "yuv411p"),
        *("gbrp", "gray10le", "ya8", "rgb24", "pal8"),
    ],
)
def test_frames_of_every_number_and_format_are_converted(pixels: str) -> None:
    frame, crop = VideoFrame(32, 16, pixels), Crop(3, 1, 1, 3, 32, 16)
    for plane in frame.planes:
        plane.update(bytes(120 for _ in range(plane.buffer_size)))
    seen: list[MediaWarning] = []
    resizers = [Resizer(Orientation(), cut, seen.append) for cut in (None, crop)]
    for number in range(256):
        frame.colorspace = frame.color_trc = frame.color_primaries = number
        frame.color_range = (ColorRange.UNSPECIFIED, ColorRange.MPEG, ColorRange.JPEG)[number % 3]
        for resizer in resizers:
            assert len(resizer.resize(frame, 10, 6)) == 180
            assert len(resizer.shrink(frame, 8, 6)) == 72
        has_matrix = pixels.startswith("yuv")
        assert bool(seen) == (has_matrix and not is_known(number, pixels)), number
        seen.clear()


def is_known(number: int, pixels: str) -> bool:
    if number in (8, 16, 17):  # Of these only the first one is stored in 8 bits.
        return "444" in pixels and (number == 8 or pixels.endswith("12le"))
    return number in (*SWSCALE, 12)  # 12, derived from the primaries of the same number.


def test_files_of_many_numbers_give_a_picture(clips: Clips, tmp_path: Path) -> None:
    # MPEG-2 holds each of them in a byte of its own, and FFmpeg hands them on as they are.
    options = "-c:v mpeg2video -q:v 2 -colorspace bt709"
    source = encoded(clips, "mpeg2.mpg", options, colours().tobytes() * 2)
    data, mark = source.read_bytes(), b"\0\0\1\xb5\x2b"
    place = data.index(mark) + len(mark)
    assert data.count(mark) == 1
    pictures = {}
    numbers = (*range(1, 20), 22, 64, 127, 128, 254, 255)
    for number in numbers:  # A byte of zeros would be mistaken for a start code.
        path = tmp_path / "tagged.mpg"
        path.write_bytes(data[:place] + bytes([number] * 3) + data[place + 3 :])
        result = shown(path)
        pictures[number] = result.pixels.tobytes()
        if number != 12:  # Derived from the primaries of the same number, which are P3's.
            assert ("media.colour_matrix" in result.warnings) == (number not in SWSCALE), number
    guessed = {pictures[n] for n in numbers if n not in (*SWSCALE, 10, 12)}
    assert guessed == {pictures[6]}  # BT.601, for a picture of this size.
    assert pictures[10] == pictures[9] != pictures[1] != pictures[6] != pictures[9]


@pytest.mark.parametrize(
    ("name", "options", "filters"),
    [
        ("420.mp4", f"{X264} yuv420p", "h264_metadata"),
        ("420_265.mp4", f"{X265} yuv420p -tag:v hvc1", "hevc_metadata"),
        ("422_deep.mkv", f"{X264} yuv422p10le", "h264_metadata"),
        ("444_deep_265.mkv", f"{X265} yuv444p12le", "hevc_metadata"),
        ("420_av1.mkv", "-c:v libaom-av1 -cpu-used 8 -pix_fmt yuv420p", "av1_metadata"),
        ("full.mp4", f"{X264} yuvj420p", "h264_metadata"),
    ],
)
@pytest.mark.parametrize("matrix", [0, 14, 15])
def test_unknown_matrix_numbers_yield_a_picture(
    clips: Clips, tmp_path: Path, name: str, options: str, filters: str, matrix: int
) -> None:
    source = encoded(clips, name, options, colours().tobytes())
    paths = [tmp_path / f"{number}{source.suffix}" for number in (matrix, 6)]
    for path, number in zip(paths, (matrix, 6), strict=True):
        ffmpeg(*f"-i {source} -c copy -bsf:v {filters}=matrix_coefficients={number}".split(), path)
    if matrix == 0 and "444" in name:
        assert not shown(paths[0]).warnings  # It is RGB.
        return
    result, usual = shown(paths[0]), shown(paths[1])
    assert str(matrix) in result.warnings["media.colour_matrix"]
    assert "BT.601" in result.warnings["media.colour_matrix"]
    assert np.array_equal(result.pixels, usual.pixels)
    assert np.array_equal(result.luma, usual.luma)


def test_prores_and_matroska_state_the_matrix_too(clips: Clips, tmp_path: Path) -> None:
    tags = "-color_primaries bt709 -color_trc bt709 -colorspace bt709"
    prores = encoded(clips, "prores.mov", "-c:v prores_ks", colours().tobytes()).read_bytes()
    assert prores.count(b"icpf") == 1
    place = prores.index(b"icpf") + 20
    path = tmp_path / "prores.mov"
    path.write_bytes(prores[:place] + b"\xc8" + prores[place + 1 :])
    assert "200 (reserved)" in shown(path).warnings["media.colour_matrix"]
    matroska = encoded(clips, "tags.mkv", f"-c:v ffv1 -pix_fmt yuv420p {tags}", colours().tobytes())
    data = matroska.read_bytes()
    assert data.count(b"\x55\xb1\x81\x01") == 1  # MatrixCoefficients
    path = tmp_path / "tags.mkv"
    path.write_bytes(data.replace(b"\x55\xb1\x81\x01", b"\x55\xb1\x81\x0e"))
    assert "14 (ICtCp)" in shown(path).warnings["media.colour_matrix"]


def test_the_usual_matrix_of_large_pictures_is_bt_709(tmp_path: Path) -> None:
    picture = np.repeat(colours()[:32], 14, axis=1)[:, :1280]
    source = tmp_path / "large.mp4"
    command = f"-f rawvideo -pix_fmt rgb24 -s 1280x32 -r 10 -i - {X264} yuv444p"
    ffmpeg(*command.split(), source, stdin=picture.tobytes())
    pictures = {
        number: shown(tagged(source, tmp_path / f"{number}.mp4", number)) for number in (14, 1, 6)
    }
    assert "BT.709" in pictures[14].warnings["media.colour_matrix"]
    assert np.array_equal(pictures[14].pixels, pictures[1].pixels)
    assert not np.array_equal(pictures[14].pixels, pictures[6].pixels)


@pytest.mark.parametrize(
    ("pixels", "matrix"), [("gbrp", 0), *(("gray", number) for number in (0, 1, 2, 8, 14))]
)
def test_rgb_and_grey_need_no_matrix(
    clips: Clips, tmp_path: Path, pixels: str, matrix: int
) -> None:
    source = encoded(clips, f"{pixels}_265.mkv", f"{X265} {pixels}", colours().tobytes())
    before, after = shown(source), shown(tagged(source, tmp_path / "tagged.mkv", matrix))
    assert not after.warnings
    assert np.array_equal(before.pixels, after.pixels)
    assert np.array_equal(before.luma, after.luma)
    if pixels == "gbrp":
        assert distance(after.pixels, colours()) <= 1


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_black_and_white_pictures_need_no_matrix(tmp_path: Path, suffix: str) -> None:
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX] // 8
    white = (x + y) % 2 == 0
    path = tmp_path / f"board.{suffix}"
    Image.fromarray(white).save(path)
    result = shown(path)
    assert not result.warnings
    assert np.array_equal(result.pixels, np.repeat(white[..., None] * np.uint8(255), 3, axis=-1))


def test_rgb_stays_rgb_whatever_the_container_calls_it(clips: Clips, tmp_path: Path) -> None:
    tags = "-color_primaries bt709 -color_trc bt709 -colorspace rgb"
    source = encoded(clips, "rgb.mkv", f"-c:v ffv1 -pix_fmt gbrp {tags}", colours().tobytes())
    data, path = source.read_bytes(), tmp_path / "rgb.mkv"
    assert data.count(b"\x55\xb1\x81\x00") == 1
    path.write_bytes(data.replace(b"\x55\xb1\x81\x00", b"\x55\xb1\x81\x08"))
    result = shown(path)
    assert np.array_equal(result.pixels, colours()) and not result.warnings
    assert result.luma.std() > 20


# Matrices that are known.


def of_levels(planes: Real, bits: int, *, is_full: bool) -> bytes:
    """Planes of luma from 0 to 1 and of chroma from -0.5 to 0.5 as whole numbers."""
    one = 1 << (bits - 8)
    if is_full:
        steps = 256 * one - 1
        scaled = np.stack([planes[0] * steps, *(planes[1:] * steps + 128 * one)])
    else:
        scaled = np.stack([planes[0] * 219 + 16, *(planes[1:] * 224 + 128)]) * one
    kind = np.uint8 if bits == 8 else np.uint16
    return bytes(np.rint(scaled).clip(0, 256 * one - 1).astype(kind))


def ycgco(rgb: Real) -> Real:
    red, green, blue = rgb
    return np.stack(
        [red / 4 + green / 2 + blue / 4, green / 2 - red / 4 - blue / 4, red / 2 - blue / 2]
    )


def weighted(red_share: float, blue_share: float) -> Callable[[Real], Real]:
    def planes(rgb: Real) -> Real:
        red, green, blue = rgb
        luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
        chroma = [(blue - luma) / (1 - blue_share) / 2, (red - luma) / (1 - red_share) / 2]
        return np.stack([luma, *chroma])

    return planes


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(
    ("name", "planes", "more"),
    [
        ("ycgco", ycgco, ""),
        # Display P3 and BT.470 M; the shares as H.273's formulas give them.
        ("p3", weighted(0.22897, 0.07929), ":colour_primaries=12"),
        ("470m", weighted(0.29898, 0.11465), ":colour_primaries=4"),
    ],
)
def test_known_matrices_yield_the_exact_colours(
    clips: Clips,
    tmp_path: Path,
    name: str,
    planes: Callable[[Real], Real],
    more: str,
    bits: int,
    *,
    is_full: bool,
) -> None:
    raw = of_levels(planes(colours().transpose(2, 0, 1) / 255), bits, is_full=is_full)
    pixels = "yuv444p" if bits == 8 else "yuv444p10le"
    source = encoded(clips, f"{name}_{bits}_{is_full}.mp4", f"{X264} {pixels}", raw, pixels)
    more += f":video_full_range_flag={int(is_full)}"
    path = tagged(source, tmp_path / "tagged.mp4", 8 if name == "ycgco" else 12, more)
    result = shown(path)
    assert not result.warnings
    assert distance(result.pixels, colours()) <= (2 if bits == 8 else 1)
    # Scaled too: each block has one colour, whose middle stays as it is.
    small = shown(path, size=(WIDTH_PX // 2, HEIGHT_PX // 2)).pixels
    assert distance(small[2::4, 2::4], colours()[4::8, 4::8]) <= 3


@pytest.mark.parametrize(("matrix", "bits"), [(16, 10), (17, 10)])
def test_reversible_ycgco_gives_the_very_colours(
    clips: Clips, tmp_path: Path, matrix: int, bits: int
) -> None:
    # Stored with two bits more than RGB has, or with one (ITU-T H.273, equations 68 to 75).
    red, green, blue = colours().astype(int).transpose(2, 0, 1) << (bits - 8 - (18 - matrix))
    orange = red - blue
    rest = blue + (orange >> 1)
    lime = green - rest
    planes = np.stack([rest + (lime >> 1), lime + (1 << bits - 1), orange + (1 << bits - 1)])
    raw = planes.clip(0, (1 << bits) - 1).astype("<u2").tobytes()
    source = encoded(clips, f"re_{matrix}_265.mkv", f"{X265} yuv444p10le", raw, "yuv444p10le")
    path = tagged(source, tmp_path / "tagged.mkv", matrix, ":video_full_range_flag=1")
    result = shown(path)
    assert not result.warnings
    assert distance(result.pixels, colours()) <= (1 if matrix == 16 else 2)


def test_ycgco_with_halved_chroma_is_taken_for_a_mistake(clips: Clips, tmp_path: Path) -> None:
    source = encoded(clips, "420.mp4", f"{X264} yuv420p", colours().tobytes())
    path = tagged(source, tmp_path / "tagged.mp4", 8)
    assert "8 (YCgCo)" in shown(path).warnings["media.colour_matrix"]
    with open_video(path) as reader:
        (frame,) = reader.frames([Target(Fraction(0), WIDTH_PX, HEIGHT_PX)])
        codes = [w.code for w in (*reader.info.warnings, *reader.report.warnings)]
    assert set(codes) == {"media.colour_matrix"}
    assert np.abs(frame.pixels.astype(int) - colours()).mean() < 20


@pytest.mark.parametrize(("bits", "pixels"), [(8, "gray"), (10, "gray10le")])
def test_limited_levels_of_grey_are_spread(
    clips: Clips, tmp_path: Path, bits: int, pixels: str
) -> None:
    levels = np.linspace(16, 235, WIDTH_PX).round().astype(int)
    rows = np.broadcast_to(levels << (bits - 8), (HEIGHT_PX, WIDTH_PX))
    raw = rows.astype(np.uint8 if bits == 8 else "<u2").tobytes()
    source = encoded(clips, f"levels_{pixels}_265.mkv", f"{X265} {pixels}", raw, pixels)
    limited = shown(tagged(source, tmp_path / "limited.mkv", 2, ":video_full_range_flag=0"))
    full = shown(tagged(source, tmp_path / "full.mkv", 2, ":video_full_range_flag=1"))
    expected = np.rint((levels - 16) * 255 / 219)
    assert np.abs(limited.pixels - expected[:, None]).max() <= 1
    assert np.abs(full.pixels - levels[:, None]).max() <= 1


# Colours that change in mid-stream.


def test_each_picture_has_the_matrix_that_it_states(clips: Clips, tmp_path: Path) -> None:
    source = encoded(clips, "444.mp4", f"{X264} yuv444p", colours().tobytes())
    parts = []
    for number in (6, 1, 14, 8):
        bare = tmp_path / f"{number}.h264"
        filters = f"h264_mp4toannexb,h264_metadata=matrix_coefficients={number}"
        ffmpeg("-i", source, "-c", "copy", "-bsf:v", filters, bare)
        parts.append(bare.read_bytes())
    joined, path = tmp_path / "joined.h264", tmp_path / "joined.mkv"
    joined.write_bytes(b"".join(parts))
    ffmpeg("-f", "h264", "-r", "10", "-i", joined, "-c", "copy", path)
    alone = [shown(tagged(source, tmp_path / "one.mp4", n)).pixels for n in (6, 1, 14, 8)]
    for frame_index, expected in enumerate(alone):
        result = shown(path, frame_index)
        assert np.array_equal(result.pixels, expected)
        assert ("media.colour_matrix" in result.warnings) == (frame_index == 2)
    with open_video(path) as reader:
        list(reader.frames([Target(time, 48, 32) for time in reader.times]))
        assert [w.code for w in reader.report.warnings] == ["media.colour_matrix"]


def test_decord_refuses_colours_that_it_would_get_wrong(clips: Clips, tmp_path: Path) -> None:
    source = encoded(clips, "444.mp4", f"{X264} yuv444p", colours().tobytes())
    path = tagged(source, tmp_path / "tagged.mp4", 8)
    with open_video(path, decoder="decord") as reader, pytest.raises(MediaError, match="decord"):
        list(reader.frames([Target(reader.times[0], 40, 24)]))
