"""Signals of a clip on made files whose true values are known."""

import math
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seedvideo
from seedvideo.config import AnalysisMethod
from seedvideo.sampler.analysis import Analysis
from seedvideo.sampler.picture_signals import PictureTracker, bars_fraction, colourfulness
from seedvideo.sampler.quality import QUALITY_FIELDS, Quality, measure_quality
from seedvideo.utils.timecode import Span
from tests.fixtures import ffmpeg

X264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 50"
SIZE = "256x144"
"""Size of a thumbnail, so that the analysis sees the pictures as they are."""
MOVES = f"testsrc2=s={SIZE}:r=25"
SLIDE = f"testsrc=s={SIZE}:r=25,trim=start_frame=30:end_frame=31,loop=-1:1:0,setpts=N/25/TB"
SLIDES = ("null", "hflip,lutyuv=y=val/2", "negate", "vflip,lutyuv=y=255-val/2")
"""Changes of a slide that make other pictures."""
MEASURED = QUALITY_FIELDS[QUALITY_FIELDS.index("motion_mean") :]


def plain(colour: str) -> str:
    return f"color={colour}:s={SIZE}:r=25"


def made(path: Path, *parts: tuple[str, float], options: str = X264) -> Path:
    """Encode parts, each a source of frames and the seconds that it lasts, one after the other."""
    chains = [
        f"{source},trim=duration={length_s},setpts=PTS-STARTPTS,setsar=1[p{number}]"
        for number, (source, length_s) in enumerate(parts)
    ]
    names = "".join(f"[p{number}]" for number in range(len(parts)))
    graph = ";".join([*chains, f"{names}concat=n={len(parts)}[out]"])
    ffmpeg("-filter_complex", graph, "-map", "[out]", *options.split(), path)
    return path


def measured(path: Path, *windows: Span, method: AnalysisMethod = "auto") -> list[Quality]:
    """Measure windows of a file, or all of it."""
    with seedvideo.open(path, workers=1) as clip:
        analysis = clip.analysis(method)
        facts = clip.info, clip.times, clip.reader.packets
        return [measure_quality(analysis, *facts, window=window) for window in windows or (None,)]


def near(value: float | None, expected: float, tolerance: float) -> bool:
    assert value is not None
    return abs(value - expected) <= tolerance


def test_header_and_packets(tmp_path: Path) -> None:
    path = made(tmp_path / "clip.mp4", (MOVES, 4))
    whole, part = measured(path, Span(Fraction(0), Fraction(4)), Span(Fraction(1), Fraction(2)))
    with av.open(str(path)) as container:
        bits = [8 * packet.size for packet in container.demux(video=0) if packet.size]
    assert (whole.duration_s, part.duration_s) == (4.0, 1.0)
    assert (whole.width_px, whole.height_px, whole.fps) == (256, 144, 25.0)
    assert whole.aspect == pytest.approx(16 / 9, rel=1e-5)
    assert whole.bits_per_px == pytest.approx(sum(bits) / (100 * 256 * 144), rel=1e-5)
    assert part.fps == 25.0 and part.bits_per_px != whole.bits_per_px


def test_the_picture_is_upright_and_the_rate_is_that_of_the_window(tmp_path: Path) -> None:
    tall = tmp_path / "tall.mp4"
    ffmpeg(
        "-display_rotation", "90", "-i", made(tmp_path / "a.mp4", (MOVES, 1)), "-c", "copy", tall
    )
    (quality,) = measured(tall)
    assert (quality.width_px, quality.height_px, quality.aspect) == (144, 256, 0.5625)
    wide = tmp_path / "wide.mp4"
    ffmpeg("-i", tmp_path / "a.mp4", "-vf", "setsar=3/2", *X264.split(), wide)
    (quality,) = measured(wide)
    assert (quality.width_px, quality.height_px, quality.aspect) == (384, 144, 2.66667)
    slower = f"{MOVES},trim=end_frame=100,setpts='if(lt(N,50),N,50+(N-50)*5)/25/TB'"
    changing = made(tmp_path / "vfr.mp4", (slower, 12), options=f"-fps_mode vfr {X264}")
    seconds = [Span(Fraction(start), Fraction(start + 2)) for start in (0, 4)]
    assert [quality.fps for quality in measured(changing, *seconds)] == [25.0, 5.0]
    # A single frame has no rate.
    (one,) = measured(changing, Span(Fraction(0), Fraction(1, 100)))
    assert one.fps is None and one.bits_per_px is not None


@pytest.mark.parametrize("method", ["auto", "full"])
def test_a_frame_counts_as_long_as_it_is_shown(tmp_path: Path, method: AnalysisMethod) -> None:
    """Two seconds of 50 frames, six of one black frame, two of one white frame."""
    picture = (
        "drawbox=c=black:t=fill:enable='between(t,2,7.9)',drawbox=c=white:t=fill:enable='gte(t,8)'"
    )
    chosen = "select='lt(n,51)+eq(n,200)+eq(n,249)'"
    path = tmp_path / "vfr.mkv"
    source = f"{MOVES.replace(SIZE, '640x360')},trim=duration=10,{picture},{chosen}"
    ffmpeg("-f", "lavfi", "-i", source, "-fps_mode", "vfr", *X264.split(), path)
    (quality,) = measured(path, method=method)
    assert near(quality.duration_s, 10, 0.05)
    assert near(quality.black_share, 0.6, 0.02) and near(quality.still_share, 0.8, 0.03)
    assert near(quality.brightness, (2 * 0.5 + 2 * 1.0) / 10, 0.02)
    assert near(quality.detail_mean, 0.2 * 2.0, 0.1)


@pytest.mark.parametrize("method", ["auto", "full"])
def test_black_and_still_are_fractions_of_the_time(tmp_path: Path, method: AnalysisMethod) -> None:
    parts = [(MOVES, 4.0), (plain("black"), 2.0), (SLIDE, 3.0), (MOVES, 1.0)]
    larger = [(part.replace(SIZE, "640x360"), length_s) for part, length_s in parts]
    path = made(tmp_path / "clip.mp4", *larger)
    windows = [(0, 10), (0, 4), (4, 6), (5, 7)]
    spans = [Span(Fraction(start), Fraction(end)) for start, end in windows]
    whole, moves, black, both = measured(path, *spans, method=method)
    assert near(whole.black_share, 0.2, 0.02) and near(whole.still_share, 0.5, 0.03)
    assert near(moves.black_share, 0.0, 0.03) and near(moves.still_share, 0.0, 0.03)
    assert (black.black_share, black.still_share) == (1.0, 1.0)
    assert near(both.black_share, 0.5, 0.06) and both.still_share == 1.0
    assert (whole.shots, moves.shots, both.shots) == (4, 1, 2)
    assert black.letterbox_share is None


def test_bars(tmp_path: Path) -> None:
    wide = "testsrc2=s=640x240:r=25,pad=640:360:0:60:black"
    narrow = "testsrc2=s=480x360:r=25,pad=640:360:80:0:black"
    path = made(tmp_path / "bars.mp4", (wide, 4), (narrow, 4), ("testsrc2=s=640x360:r=25", 2))
    spans = [Span(Fraction(start), Fraction(end)) for start, end in [(0, 4), (4, 8), (8, 10)]]
    wide_quality, narrow_quality, none = measured(path, *spans)
    assert near(wide_quality.letterbox_share, 120 / 360, 0.02)
    assert near(narrow_quality.letterbox_share, 160 / 640, 0.02)
    assert near(none.letterbox_share, 0.0, 0.01)
    (whole,) = measured(path)
    assert near(whole.letterbox_share, 0.4 * 120 / 360 + 0.4 * 160 / 640, 0.02)


def test_flashes(tmp_path: Path) -> None:
    path = tmp_path / "flash.mp4"
    times = "+".join(f"between(t,{start},{start}.15)" for start in (2, 5))
    still = f"{SLIDE},noise=alls=4:allf=t,drawbox=c=white:t=fill:enable='{times}'"
    (quality,) = measured(made(path, (still, 8)))
    assert quality.flashes == 2
    (first,) = measured(path, Span(Fraction(0), Fraction(4)))
    assert first.flashes == 1


def test_brightness_and_colour_are_weighted_by_time(tmp_path: Path) -> None:
    # The analysis takes most of its thumbnails in the second part, which moves.
    path = made(tmp_path / "clip.mp4", (f"{SLIDE},lutyuv=y=val/2", 8), (MOVES, 2))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray().astype(np.uint8) for frame in container.decode(video=0)]
    levels = [(float(planes[:144].mean()) - 16) / 219 for planes in frames]
    brightness, moving = fmean(levels), fmean(levels[200:])
    colour = fmean(colourfulness(planes) for planes in frames)
    (quality,) = measured(path)
    assert near(quality.brightness, brightness, 0.01) and near(quality.colour, colour, 2)
    assert abs(moving - brightness) > 0.1


def test_colourfulness_is_that_of_the_pixels() -> None:
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:, :80], picture[:, 80:] = (200, 60, 40), (40, 90, 180)
    red, green, blue = np.moveaxis(picture.astype(float), -1, 0)
    differences = np.stack([red - green, (red + green) / 2 - blue]).reshape(2, -1)
    expected = np.hypot(*differences.std(axis=1)) + 0.3 * np.hypot(*differences.mean(axis=1))
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
    assert colourfulness(frame.to_ndarray().astype(np.uint8)) == pytest.approx(expected, rel=0.03)


def test_motion_is_the_speed_of_the_picture(tmp_path: Path) -> None:
    ramp = f"nullsrc=s={SIZE}:r=25,geq=lum='40+20*min(T\\,6)':cb=128:cr=128"
    path = made(tmp_path / "ramp.mp4", (ramp, 12))
    whole, moving, calm = measured(
        path,
        *(Span(Fraction(a), Fraction(b)) for a, b in [(0, 12), (1, 6), (7, 12)]),
        method="full",
    )
    assert near(moving.motion_mean, 20, 1.0) and near(moving.motion_max, 20, 1.5)
    assert near(calm.motion_mean, 0, 0.1)
    assert near(whole.motion_mean, 10, 1.2) and near(whole.motion_max, 20, 1.5)


def test_a_cut_is_no_motion_and_no_novelty(tmp_path: Path) -> None:
    slides = [(f"{SLIDE},{change}".replace(SIZE, "640x360"), 3.0) for change in SLIDES]
    (quality,) = measured(made(tmp_path / "slides.mp4", *slides))
    assert (quality.shots, quality.events, quality.flashes) == (4, 0, 0)
    assert near(quality.motion_mean, 0, 0.1) and near(quality.motion_max, 0, 0.5)
    assert near(quality.novelty_max, 0, 4)
    assert quality.still_share == 1.0


def test_detail_is_the_strength_of_edges(tmp_path: Path) -> None:
    stripes = f"nullsrc=s={SIZE}:r=25,geq=lum='64+128*mod(floor(X/8),2)':cb=128:cr=128"
    path = made(tmp_path / "stripes.mp4", (stripes, 2), (plain("gray"), 6))
    whole, half = measured(path, *(Span(Fraction(0), Fraction(end)) for end in (8, 2)))
    expected = (31 * 128 / 255) / 2  # 31 edges of 128 levels across, none down.
    assert near(half.detail_mean, expected, 0.5)
    assert near(whole.detail_mean, expected / 4, 0.5)


def test_events_and_novelty(tmp_path: Path) -> None:
    scene = f"testsrc=s={SIZE}:r=25,trim=start_frame=30:end_frame=31,loop=-1:1:0,setpts=N/25/TB"
    grain = "noise=alls=5:allf=t"
    times = "+".join(f"between(t,{start},{start}.5)" for start in (2, 6))
    box = f"drawbox=x=40:y=60:w=24:h=16:c=white:t=fill:enable='{times}'"
    (with_box,) = measured(made(tmp_path / "box.mp4", (f"{scene},{box},{grain}", 9)))
    (without,) = measured(made(tmp_path / "none.mp4", (f"{scene},{grain}", 9)))
    assert (with_box.events, without.events) == (2, 0)
    assert with_box.novelty_max is not None and with_box.novelty_max >= 8
    assert without.novelty_max is not None and without.novelty_max < 8


def test_packets_alone_measure_nothing_in_pictures(tmp_path: Path) -> None:
    path = made(tmp_path / "clip.mp4", (MOVES, 4))
    (packets,), (fast,) = measured(path, method="packets"), measured(path, method="fast")
    assert all(getattr(packets, name) is None for name in MEASURED)
    assert all(math.isfinite(getattr(fast, name)) for name in QUALITY_FIELDS)
    with seedvideo.open(path) as clip:
        quality = measure_quality(None, clip.info, clip.times, clip.reader.packets)
    assert quality == packets


def test_a_photo_has_no_rate_and_no_motion(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    ffmpeg("-f", "lavfi", "-i", MOVES, "-frames:v", "1", path)
    (quality,) = measured(path)
    assert (quality.fps, quality.motion_mean, quality.motion_max) == (None, None, None)
    assert quality.shots == 1 and near(quality.brightness, 0.5, 0.2)


def test_time_that_was_left_out_is_estimated(tmp_path: Path) -> None:
    path = made(tmp_path / "clip.mp4", (MOVES, 4), (plain("gray"), 4))
    with seedvideo.open(path, workers=1) as clip:
        analysis, facts = clip.analysis("fast"), (clip.info, clip.times, clip.reader.packets)
    known = measure_quality(analysis, *facts)
    left_out = replace(analysis, unknown=(Span(Fraction(1), Fraction(3)),))
    partly = measure_quality(left_out, *facts)
    assert partly.motion_mean == known.motion_mean
    assert partly.brightness == known.brightness
    assert partly.motion_max is not None and known.motion_max is not None
    assert partly.motion_max <= known.motion_max
    inside = measure_quality(left_out, *facts, window=Span(Fraction(2), Fraction(3)))
    assert inside.motion_mean is not None
    assert (inside.motion_max, inside.novelty_max) == (None, None)


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, Any, Any, Any]:
    """Analysis, facts, times and packets of a clip of 8 s with every kind of time."""
    parts = [(MOVES, 3.0), (plain("black"), 2.0), (SLIDE, 3.0)]
    path = made(tmp_path_factory.mktemp("parts") / "clip.mp4", *parts)
    with seedvideo.open(path, workers=1) as clip:
        return clip.analysis("full"), clip.info, clip.times, clip.reader.packets


@given(
    bounds=st.lists(st.fractions(0, 8, max_denominator=100), min_size=3, max_size=3, unique=True)
)
def test_means_of_parts_are_those_of_the_whole(
    analysed: tuple[Analysis, Any, Any, Any], bounds: list[Fraction]
) -> None:
    start, middle, end = sorted(bounds)
    analysis, *facts = analysed
    whole, first, second = (
        measure_quality(analysis, *facts, window=Span(*window))
        for window in ((start, end), (start, middle), (middle, end))
    )
    fraction = float((middle - start) / (end - start))
    for name in ("detail_mean", "black_share", "still_share", "brightness", "colour"):
        parts = [getattr(quality, name) for quality in (first, second)]
        expected = fraction * parts[0] + (1 - fraction) * parts[1]
        assert getattr(whole, name) == pytest.approx(expected, rel=1e-4, abs=1e-4), name
    for name in ("events", "flashes"):
        counts = [getattr(quality, name) for quality in (whole, first, second)]
        assert counts[0] == counts[1] + counts[2], name


def test_values_are_short_and_finite(tmp_path: Path) -> None:
    (quality,) = measured(made(tmp_path / "clip.mp4", (MOVES, 3)))
    values = asdict(quality)
    assert list(values) == list(QUALITY_FIELDS)
    assert all(len(repr(value)) <= 12 for value in values.values())


def test_bars_are_dark_at_both_edges_and_of_one_colour() -> None:
    luma = np.full((72, 128), 120, np.uint8)
    assert bars_fraction(luma) == 0
    luma[:20] = 16
    assert bars_fraction(luma) == 0
    luma[-10:] = 18
    assert bars_fraction(luma) == pytest.approx(20 / 72)
    luma[-10:, ::2] = 36
    assert bars_fraction(luma) == 0


def test_similar_pictures_are_measured_ten_times_a_second() -> None:
    tracker, planes = PictureTracker(), np.full((24, 16), 128, np.uint8)
    for frame in range(100):
        tracker.update(frame / 50, planes, moved_levels=15.0 if frame == 52 else 0.0)
    found = tracker.finish([0.5])
    assert found.times_s[:4].tolist() == [0.0, 0.1, 0.2, 0.3]
    assert 1.04 in found.times_s and len(found.times_s) == 21
    assert found.flashes_s.tolist() == [0.5]
    assert found.brightness[0] == pytest.approx((128 - 16) / 219)
