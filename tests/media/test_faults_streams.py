"""Streams that are sound but odd: times, orientation, colour, rates, kinds (rows M10-M22)."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedvideo.errors import MediaError, SeedVideoError
from seedvideo.media import Frame, MediaInfo, Target, open_video, probe, strictly_increasing
from tests.fixtures import (
    FRAMES,
    Clips,
    Pixels,
    coded_frame,
    coded_video,
    ffmpeg,
    read_number,
)

X264 = "-c:v libx264 -pix_fmt yuv420p -preset veryfast -g 30 -bf 2"


def decode_all(path: Path, fps: Fraction | None = None) -> tuple[MediaInfo, list[Frame], set[str]]:
    """Returns the facts, every frame and the codes of all warnings; checks what always holds."""
    with open_video(path, fps=fps) as reader:
        assert strictly_increasing(reader.times)
        assert reader.info.duration > reader.times[-1] >= 0
        frames = list(reader.frames([Target(time, 64, 40) for time in reader.times]))
        warnings = (*reader.info.warnings, *reader.report.warnings)
        assert all("\n" not in w.message and w.code.startswith("media.") for w in warnings)
        return reader.info, frames, {warning.code for warning in warnings}


def refused(path: Path) -> str:
    """Returns the code with which opening a file is refused."""
    with pytest.raises(SeedVideoError) as caught:
        probe(path)
    return caught.value.code


def numbers(frames: list[Frame]) -> list[int]:
    return [read_number(frame.pixels) for frame in frames]


def native(path: Path) -> Pixels:
    """Returns the first frame at its display size."""
    with open_video(path) as reader:
        size = (reader.info.width_px, reader.info.height_px)
        return next(reader.frames([Target(Fraction(0), *size)])).pixels


def as_ffmpeg_shows_it(path: Path, folder: Path) -> Pixels:
    """Returns the first frame as the ffmpeg program shows it, which turns pictures upright."""
    ffmpeg("-i", path, "-frames:v", "1", folder / "reference.png")
    return np.asarray(Image.open(folder / "reference.png").convert("RGB"))


def test_m10_negative_times(clips: Clips, tmp_path: Path) -> None:
    path = tmp_path / "negative.mkv"
    shift = ("-output_ts_offset", "-1.5", "-avoid_negative_ts", "disabled")
    ffmpeg("-i", clips["mkv"], "-c", "copy", *shift, path)
    _, frames, codes = decode_all(path)
    # Matroska cannot store such times. Remaining frames have true ones; the rest has a warning.
    assert "media.missing_times" in codes or len(frames) == FRAMES
    first = numbers(frames)[0]
    for frame in frames:
        number = read_number(frame.pixels)
        assert abs(frame.pts - Fraction(number - first, 30)) <= Fraction(2, 1000)


def test_m10_duplicate_times(tmp_path: Path) -> None:
    again = "-vf setpts='if(lt(N,30),N,if(lt(N,60),30,N))/30/TB' -fps_mode passthrough"
    path = coded_video(
        tmp_path / "again.mkv", f"{again} -c:v libx264 -bf 0 -g 15 -enc_time_base 1:1000"
    )
    _, frames, codes = decode_all(path)
    assert "media.duplicate_times" in codes
    assert numbers(frames) == [*range(31), *range(60, 90)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_m10_offset_times(clips: Clips, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"late.{suffix}"
    ffmpeg("-i", clips["plain"], "-c", "copy", "-output_ts_offset", "5000", path)
    info, frames, _ = decode_all(path)
    assert numbers(frames) == list(range(FRAMES))
    assert frames[0].pts == 0 and abs(info.duration - 3) < Fraction(1, 100)


@pytest.mark.parametrize("name", ["earlier", "overflow"])
def test_m10_a_clock_that_restarts(clips: Clips, tmp_path: Path, name: str) -> None:
    # Two recordings, the first by a clock that is an hour ahead; and one in the middle of which the
    # 33 bits of the clock run over (2 ** 33 / 90,000 = 95,443.7 s).
    path = tmp_path / f"{name}.ts"
    offset = {"earlier": "3600", "overflow": "95441"}[name]
    ffmpeg("-i", clips["plain"], "-c", "copy", "-output_ts_offset", offset, path)
    parts = [path.read_bytes(), clips["ts"].read_bytes()] if name == "earlier" else []
    if parts:
        path.write_bytes(b"".join(parts))
    info, frames, codes = decode_all(path)
    assert numbers(frames) == list(range(FRAMES)) * (len(parts) or 1)
    assert codes == {"media.time_jump"}
    assert abs(info.duration - Fraction(len(frames), 30)) < Fraction(1, 4)


def test_m11_no_keyframe_at_the_start(clips: Clips, tmp_path: Path) -> None:
    data = clips["ts"].read_bytes()
    head, cut = data[: 188 * 3], 188 * 20
    path = tmp_path / "mid.ts"
    path.write_bytes(head + data[cut:])
    _, frames, codes = decode_all(path)
    assert "media.late_start" in codes
    shown = numbers(frames)
    assert shown == list(range(30, 90))
    assert frames[0].pts > Fraction(1, 5)
    # Times still agree with the pictures: the start is the stream's, not the first picture's.
    first_stored = 30 - frames[0].pts * 30
    assert all(
        abs(f.pts * 30 - (n - first_stored)) < Fraction(1, 100)
        for f, n in zip(frames, shown, strict=True)
    )


@pytest.mark.parametrize("suffix", ["h264", "hevc", "m4v", "mpeg2video"])
def test_m13_a_bare_stream_has_no_times(tmp_path: Path, suffix: str) -> None:
    codec = {
        "h264": "-c:v libx264 -bf 2 -g 30",
        "hevc": "-c:v libx265 -x265-params log-level=none",
        "m4v": "-c:v mpeg4 -bf 2 -q:v 3",
        "mpeg2video": "-c:v mpeg2video -bf 2 -q:v 3",
    }[suffix]
    path = coded_video(tmp_path / f"bare.{suffix}", f"{codec} -pix_fmt yuv420p -f {suffix}")
    assert refused(path) == "media.no_timestamps"
    info, frames, codes = decode_all(path, fps=Fraction(30))
    assert "media.missing_times" in codes
    assert numbers(frames) == list(range(FRAMES))
    assert [frame.pts for frame in frames] == [Fraction(i, 30) for i in range(FRAMES)]
    assert info.duration == 3


@pytest.mark.parametrize("flip", ["", "-display_hflip", "-display_vflip"])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_m14_orientation(clips: Clips, tmp_path: Path, turn: int, flip: str) -> None:
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(turn), *flip.split(), "-i", clips["plain"], "-c", "copy", path)
    info = probe(path)
    sides = (112, 192) if turn in (90, 270) else (192, 112)
    assert (info.width_px, info.height_px) == sides
    assert (info.coded_width_px, info.coded_height_px) == (192, 112)
    assert ("media.rotated" in {w.code for w in info.warnings}) == bool(turn or flip)
    assert np.array_equal(native(path), as_ffmpeg_shows_it(path, tmp_path))


@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "pq"), ("arib-std-b67", "hlg")])
def test_m15_high_dynamic_range(tmp_path: Path, transfer: str, name: str) -> None:
    colour = f"-color_trc {transfer} -color_primaries bt2020 -colorspace bt2020nc"
    path = coded_video(
        tmp_path / "hdr.mp4",
        f"-vf setparams=color_trc={transfer}:color_primaries=bt2020:colorspace=bt2020nc "
        f"-c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=none {colour}",
        frames=10,
    )
    info, frames, codes = decode_all(path)
    assert info.transfer == name and "media.hdr" in codes
    assert info.pix_fmt == "yuv420p10le" and len(frames) == 10
    assert "tone mapping" in next(w.message for w in info.warnings if w.code == "media.hdr")


def test_m16_interlaced(tmp_path: Path) -> None:
    path = coded_video(
        tmp_path / "fields.ts",
        "-vf tinterlace=interleave_top -c:v libx264 -flags +ilme+ildct -pix_fmt yuv420p",
    )
    info, frames, codes = decode_all(path)
    assert "media.interlaced" in codes
    assert len(frames) == FRAMES // 2 and info.fps_avg == 15


def test_m17_transparency(tmp_path: Path) -> None:
    path = coded_video(
        tmp_path / "alpha.webm",
        "-vf format=yuva420p -c:v libvpx-vp9 -auto-alt-ref 0 -deadline realtime -cpu-used 8",
        frames=10,
    )
    _, frames, codes = decode_all(path)
    assert "media.alpha" in codes and numbers(frames) == list(range(10))


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((193, 113), "-c:v libx264 -pix_fmt yuv444p"),
        ((16, 1024), "-c:v libx264 -pix_fmt yuv420p"),
        ((1024, 16), "-c:v libx264 -pix_fmt yuv420p"),
        ((16, 16), "-c:v libx264 -pix_fmt yuv420p"),
        ((1, 1), "-c:v ffv1 -pix_fmt bgr0"),
    ],
)
def test_m18_odd_sizes(tmp_path: Path, size: tuple[int, int], options: str) -> None:
    path = coded_video(tmp_path / "odd.mkv", options, frames=5, size=size)
    info, frames, _ = decode_all(path)
    assert (info.width_px, info.height_px) == size
    assert len(frames) == 5 and native(path).shape == (size[1], size[0], 3)


def test_m18_slivers_over_the_limit_are_refused(tmp_path: Path) -> None:
    path = coded_video(
        tmp_path / "sliver.mkv", "-c:v libx264 -pix_fmt yuv420p", frames=1, size=(16, 4096)
    )
    assert refused(path) == "media.too_big"


@pytest.mark.parametrize(("aspect", "width_px"), [("4/3", 256), ("1/2", 96), ("16/11", 279)])
def test_m18_pixels_that_are_not_square(
    clips: Clips, tmp_path: Path, aspect: str, width_px: int
) -> None:
    path = coded_video(tmp_path / "aspect.mp4", f"-vf setsar={aspect} {X264}", frames=5)
    info, _, _ = decode_all(path)
    assert (info.width_px, info.height_px) == (width_px, 112)
    assert info.sample_aspect == Fraction(aspect)
    assert native(path).shape == (112, width_px, 3)


@pytest.mark.parametrize(("rate", "frames"), [("1000", 90), ("1/10", 6), ("240", 60)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_m19_extreme_rates(tmp_path: Path, rate: str, frames: int, suffix: str) -> None:
    path = coded_video(
        tmp_path / f"rate.{suffix}", f"{X264} -r {rate}", frames=frames, before=f"-r {rate}"
    )
    info, decoded, _ = decode_all(path)
    assert numbers(decoded) == list(range(frames))
    assert info.fps_avg is not None and abs(info.fps_avg / Fraction(rate) - 1) < Fraction(1, 50)
    assert not info.is_vfr
    for number, frame in enumerate(decoded):
        assert abs(frame.pts - number / Fraction(rate)) <= Fraction(1, 1000)


def test_m20_audio_only(tmp_path: Path) -> None:
    for name in ("tone.m4a", "tone.mkv", "tone.wav", "tone.mp3", "tone.flac", "tone.ogg"):
        ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / name)
        assert refused(tmp_path / name) == "media.no_video"


def test_m20_subtitles_only(tmp_path: Path) -> None:
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    ffmpeg("-i", tmp_path / "words.srt", tmp_path / "words.mkv")
    assert refused(tmp_path / "words.srt") == "media.not_video"
    assert refused(tmp_path / "words.mkv") == "media.no_video"


@pytest.mark.parametrize("with_video", [False, True])
def test_m20_cover_art(clips: Clips, tmp_path: Path, *, with_video: bool) -> None:
    cover, path = tmp_path / "cover.png", tmp_path / "song.m4a"
    Image.fromarray(coded_frame(200, 400, 400)).save(cover)
    inputs: list[str | Path] = ["-i", cover, "-f", "lavfi", "-i", "sine=d=1"]
    maps = "-map 0 -map 1 -c:v:0 png -disposition:v:0 attached_pic"
    if with_video:
        inputs += ["-i", clips["plain"]]
        maps += " -map 2:v -c:v:1 copy"
        path = path.with_suffix(".mp4")
    ffmpeg(*inputs, *maps.split(), path)
    if with_video:
        _, frames, codes = decode_all(path)
        assert "media.cover_art" in codes and numbers(frames) == list(range(FRAMES))
    else:
        assert refused(path) == "media.no_video"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_m20_the_best_of_two_video_streams(clips: Clips, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"two.{suffix}"
    small = coded_video(tmp_path / "small.mp4", X264, frames=30, size=(64, 48))
    maps = [
        "-map",
        "0:v",
        "-map",
        "1:v",
        "-c",
        "copy",
        "-disposition:v:0",
        "0",
        "-disposition:v:1",
        "default",
    ]
    ffmpeg("-i", small, "-i", clips["plain"], *maps, path)
    info, frames, codes = decode_all(path)
    assert (info.width_px, info.height_px) == (192, 112)
    assert "media.several_video_streams" in codes and numbers(frames) == list(range(FRAMES))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif"])
def test_m20_a_picture_is_a_video_of_one_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(coded_frame(77)).save(path)
    info, frames, codes = decode_all(path)
    assert info.is_image and info.fps_avg is None and not codes
    assert (info.width_px, info.height_px) == (192, 112)
    assert numbers(frames) == [77] and frames[0].pts == 0
    assert np.abs(native(path).astype(int) - coded_frame(77)).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_m20_a_photo_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(coded_frame(77))
    picture.save(path, exif=exif, quality=95)
    from PIL import ImageOps

    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    # Two JPEG decoders, two ways to spread chroma: equal but for a few levels at edges.
    assert native(path).shape == upright.shape
    assert np.abs(native(path).astype(int) - upright).mean() < 3


@pytest.mark.parametrize("suffix", ["avif", "mpo"])
def test_m20_photos_in_containers(tmp_path: Path, suffix: str) -> None:
    path, picture = tmp_path / f"photo.{suffix}", Image.fromarray(coded_frame(77))
    picture.save(path, save_all=True, append_images=[picture] if suffix == "mpo" else [])
    info, frames, _ = decode_all(path)
    assert info.is_image and numbers(frames) == [77]


def test_m20_a_moving_webp_is_refused_clearly(tmp_path: Path) -> None:
    first, *more = (Image.fromarray(coded_frame(i)) for i in range(4))
    first.save(tmp_path / "moving.webp", save_all=True, append_images=more)
    assert refused(tmp_path / "moving.webp") == "media.codec_not_allowed"


def test_m20_a_transparent_picture_is_warned_of(tmp_path: Path) -> None:
    picture = Image.fromarray(coded_frame(5)).convert("RGBA")
    picture.putalpha(100)
    picture.save(tmp_path / "glass.png")
    _, frames, codes = decode_all(tmp_path / "glass.png")
    assert codes == {"media.alpha"} and numbers(frames) == [5]


def test_m20_a_moving_gif_is_a_video(clips: Clips) -> None:
    info, frames, codes = decode_all(clips["gif"])
    assert not info.is_image and len(frames) > 20 and not codes


def test_m21_encrypted(clips: Clips, tmp_path: Path) -> None:
    path = tmp_path / "locked.mp4"
    key = "76a6c65c5ea762046bd749a2e632ccbb"
    scheme = f"-encryption_scheme cenc-aes-ctr -encryption_key {key} -encryption_kid {key}"
    ffmpeg("-i", clips["plain"], "-c", "copy", *scheme.split(), path)
    assert refused(path) == "media.encrypted"


@pytest.mark.parametrize("codec", ["magicyuv", "jpeg2000", "utvideo"])
def test_m22_codecs_not_on_the_list(tmp_path: Path, codec: str) -> None:
    path = coded_video(tmp_path / "rare.mkv", f"-c:v {codec}", frames=3)
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert caught.value.code == "media.codec_not_allowed"
    assert codec in caught.value.message
