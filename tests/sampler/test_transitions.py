"""Changes of shots: gradual transitions are found, and what only looks like a change is not."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import seedvideo
from seedvideo.sampler.block_features import block_features
from seedvideo.sampler.transitions import FrameChange, TransitionDetector
from tests.fixtures import ffmpeg
from tests.tiers import quick_first

WIDTH_PX, HEIGHT_PX = 256, 144
FPS = 10

World = np.ndarray
Shown = Callable[[int], World]


def world(seed: int, *, width_px: int = 2 * WIDTH_PX) -> World:
    """A picture with coarse and fine structure, ``(H, W)``, 0 to 255."""
    dice = np.random.default_rng(seed)
    picture = np.full((HEIGHT_PX, width_px), 120, np.float32)
    for across, levels in ((5, 40), (17, 25), (90, 12)):
        noise = dice.normal(0, levels, (across, 2 * across)).astype(np.float32)
        picture += cv2.resize(noise, (width_px, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255)


ONE, OTHER = world(1)[:, :WIDTH_PX], world(2)[:, :WIDTH_PX]


def found(
    shown: Shown, *, frames: int = 100, cuts: tuple[int, ...] = (), fps: int = FPS
) -> list[FrameChange]:
    """Find the changes in thumbnails; cuts are reported three frames later."""
    detector = TransitionDetector((HEIGHT_PX // 8, WIDTH_PX // 8))
    dice = np.random.default_rng(3)
    times_s = np.arange(frames) / fps
    for number in range(frames):
        picture = shown(number) + dice.normal(0, 1.5, (HEIGHT_PX, WIDTH_PX))
        features = block_features(np.clip(picture, 0, 255).astype(np.uint8)[None])[0]
        known = [cut for cut in cuts if cut <= number - 3]
        detector.update(number, float(times_s[number]), features, known)
    return list(detector.finish(cuts, times_s))


def mixed(number: int, first: int, end: int) -> World:
    """A dissolve from one picture to the other."""
    share = float(np.clip((number - first + 1) / (end - first + 1), 0, 1))
    picture: World = ONE * (1 - share) + OTHER * share
    return picture


@pytest.mark.parametrize("length", [4, 10, 20])
def test_a_dissolve_is_found_with_its_ends(length: int) -> None:
    (change,) = found(lambda number: mixed(number, 45, 45 + length))
    assert abs(change.first - 45) <= 1
    assert abs(change.end - (45 + length)) <= 1
    assert abs(change.frame - (45 + length / 2)) <= 1


@pytest.mark.parametrize("dark", [0, 5])
def test_a_fade_is_one_change(dark: int) -> None:
    def shown(number: int) -> World:
        picture: World = ONE * np.clip((50 - number) / 8, 0, 1)
        picture += OTHER * np.clip((number - 50 - dark) / 8, 0, 1)
        return picture

    # A detector of cuts reports a fade twice.
    (change,) = found(shown, cuts=(48, 54 + dark))
    assert change.first < 48 < change.frame < 54 + dark < change.end


def test_a_cut_stays_a_cut() -> None:
    changes = found(lambda number: ONE if number < 50 else OTHER, cuts=(50,))
    assert changes == [FrameChange(50, 50, 50)]


def test_cuts_at_the_ends_stay() -> None:
    changes = found(lambda number: ONE if number < 3 or number >= 98 else OTHER, cuts=(3, 98))
    assert [change.frame for change in changes] == [3, 98]


def test_a_flash_is_no_change() -> None:
    def shown(number: int) -> World:
        return ONE * 0.2 + 200 if 50 <= number < 53 else ONE

    assert found(shown, cuts=(50, 53)) == []


def test_a_lamp_is_no_change() -> None:
    assert found(lambda number: ONE * (1.0 if number < 50 else 0.5), cuts=(50,)) == []


def test_a_new_picture_of_another_brightness_is_a_change() -> None:
    changes = found(lambda number: ONE if number < 50 else OTHER * 0.5, cuts=(50,))
    assert [change.frame for change in changes] == [50]


def framed(picture: World) -> World:
    """The picture between black bars, as a wide one on a narrow screen."""
    shown = np.full((HEIGHT_PX, WIDTH_PX), 16, np.float32)
    shown[32:112] = picture[32:112]
    return shown


def test_changes_between_black_bars_are_found() -> None:
    (dissolve,) = found(lambda number: framed(mixed(number, 45, 55)))
    assert abs(dissolve.first - 45) <= 1 and abs(dissolve.end - 55) <= 1
    (cut,) = found(lambda number: framed(ONE if number < 50 else OTHER * 0.6), cuts=(50,))
    assert cut.frame == 50

    def to_white(number: int) -> World:
        share = float(np.clip((45 - number) / 8, 0, 1)), float(np.clip((number - 47) / 8, 0, 1))
        picture: World = ONE * share[0] + OTHER * share[1] + 180 * (1 - sum(share))
        return framed(picture)

    (fade,) = found(to_white, cuts=(46,))
    assert fade.first < 45 and fade.end > 47


@pytest.mark.parametrize("speed", [2, 6, 12])
def test_a_pan_is_no_change(speed: int) -> None:
    wide = world(5, width_px=WIDTH_PX + 12 * 100)
    assert found(lambda number: wide[:, speed * number : speed * number + WIDTH_PX]) == []


@pytest.mark.parametrize("speed", [20, 40])
def test_a_whip_pan_is_no_change(speed: int) -> None:
    wide = world(5, width_px=WIDTH_PX + 20 * 40)

    def shown(number: int) -> World:
        left = int(np.clip(speed * (number - 50), 0, 800))
        return wide[:, left : left + WIDTH_PX]

    assert found(shown) == []


def test_what_passes_close_by_is_no_change() -> None:
    def shown(number: int) -> World:
        picture = ONE.copy()
        left = 30 * (number - 50)
        picture[:, max(0, left - 120) : max(0, left)] = 30
        return picture

    assert found(shown) == []


def test_nothing_is_found_across_unknown_time() -> None:
    detector = TransitionDetector((HEIGHT_PX // 8, WIDTH_PX // 8))
    times_s = np.arange(100) / FPS
    for number in range(100):
        if number == 50:
            detector.skip_unknown([])
        features = block_features(mixed(number, 45, 55).astype(np.uint8)[None])[0]
        detector.update(number, float(times_s[number]), features, [])
    assert detector.finish([], times_s) == ()


@pytest.mark.parametrize("analysis", quick_first(["fast", "full"]))
def test_a_dissolve_in_a_file_gives_two_shots(tmp_path: Path, analysis: str) -> None:
    path = tmp_path / "dissolve.mp4"
    ffmpeg(
        "-f", "lavfi", "-i", "mandelbrot=s=320x180:r=25:end_scale=0.1,trim=duration=6",
        "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=6",
        "-filter_complex", "[0][1]xfade=transition=fade:duration=1:offset=4,format=yuv420p",
        "-c:v", "libx264", "-preset", "veryfast", path,
    )  # fmt: skip
    with seedvideo.open(path) as video:
        (change,) = video.analysis(analysis).changes  # type: ignore[arg-type]
        assert abs(change.start - 4) < Fraction(1, 4)
        assert abs(change.end - 5) < Fraction(1, 4)
        first, second = seedvideo.shots(video, analysis=analysis)  # type: ignore[arg-type]
        assert first.end == second.start == change.time


@pytest.mark.parametrize("analysis", quick_first(["fast", "full"]))
@pytest.mark.parametrize("is_grey", [False, True], ids=["colour", "grey"])
def test_a_shot_of_a_few_frames_is_a_shot(tmp_path: Path, analysis: str, *, is_grey: bool) -> None:
    """Cuts less than 15 frames apart, and before the 15th frame, also in black and white."""
    path = tmp_path / "quick.mp4"
    pictures = [world(seed)[:, :WIDTH_PX] for seed in range(5)]
    starts = [0, 8, 30, 34, 60]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        for picture, first, end in zip(pictures, starts, [*starts[1:], 90], strict=True):
            tint = np.ones(3) if is_grey else np.roll([1.0, 0.6, 0.3], first)
            pixels = (picture[:, :, None] * tint).astype(np.uint8)
            for _ in range(first, end):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    with seedvideo.open(path) as video:
        found = video.analysis(analysis)  # type: ignore[arg-type]
        assert [float(change.time) for change in found.changes] == [0.8, 3.0, 3.4, 6.0]
        # The segments of plans are longer.
        assert [float(cut) for cut in found.cuts] == ([] if is_grey else [3.0, 6.0])
        clips = seedvideo.split(video, seedvideo.SplitOptions(analysis=analysis))  # type: ignore[arg-type]
        spans = [(float(each.span.start), float(each.span.end)) for each in clips.windows]
        assert spans == [(3.7, 5.7), (6.3, 9.0)]
