"""Frames at times without a plan: which frame is shown, order, sizes and errors."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import seedvideo
from seedvideo.utils.timecode import seconds
from seedvideo.video import request_at
from tests.fixtures import Clips, read_number
from tests.resource_checks import children


@pytest.fixture(scope="module")
def video(clips: Clips) -> Iterator[seedvideo.Video]:
    with seedvideo.open(clips["plain"], workers=1) as opened:
        assert len(opened.times) == 90 and opened.info.duration == 3
        yield opened


def numbers(pixels: np.ndarray) -> list[int]:
    return [read_number(each) for each in pixels]


def test_times_in_any_order_and_repeated(video: seedvideo.Video) -> None:
    shown = video.frames_at([2.0, 0.5, 2.0, 0, 2.99, 0.51])
    assert numbers(shown) == [60, 15, 60, 0, 89, 15]
    assert shown.shape == (6, 112, 192, 3) and shown.dtype == np.uint8


def test_pixels_are_those_of_the_reader(video: seedvideo.Video) -> None:
    plan = seedvideo.plan(video, policy="uniform", max_frames=4)
    first = plan.frames[0]
    decoded = [frame for _, frame in video.frames(plan)]
    times = [frame.pts for frame in decoded]
    shown = video.frames_at(times, width_px=first.width_px, height_px=first.height_px)
    assert np.array_equal(shown, np.stack([frame.pixels for frame in decoded]))


@pytest.mark.parametrize("rounded", [float, seconds], ids=["float", "output"])
def test_rounded_times_of_frames_find_their_frames(video: seedvideo.Video, rounded: type) -> None:
    request = request_at(video, [rounded(t) for t in video.times], width_px=None, height_px=None)
    assert [target.pts for target in request.targets] == list(video.times)
    # Some of them lie before the exact time, so that a plain comparison finds the frame before.
    assert any(Fraction(rounded(t)) < t for t in video.times)


def test_tensors_of_32_bits_find_their_frames_in_a_long_video(video: seedvideo.Video) -> None:
    times = [Fraction(1001 * index, 30_000) for index in range(100_000, 100_400)]
    info = replace(video.info, duration=times[-1])
    long: Any = SimpleNamespace(times=times, info=info, limits=video.limits)
    single = np.array(times, np.float32)
    assert max(t - Fraction(float(s)) for t, s in zip(times, single, strict=True)) > 10e-6
    request = request_at(long, single, width_px=None, height_px=None)
    assert [target.pts for target in request.targets] == times


def test_fractions_are_exact(video: seedvideo.Video) -> None:
    second = video.times[1]
    before = second - Fraction(1, 10**9)
    assert numbers(video.frames_at([before, second])) == [0, 1]
    assert numbers(video.frames_at([float(second) - 2e-6])) == [0]


def test_each_frame_is_decoded_once(video: seedvideo.Video) -> None:
    request = request_at(video, [1.0, 1.01, 0.2, 1.02], width_px=None, height_px=None)
    assert len(request.targets) == 2 and request.rows == ([2], [0, 1, 3])


def test_variable_rates(clips: Clips) -> None:
    times = np.linspace(0, 2.9, 24)
    with seedvideo.open(clips["vfr"]) as video:
        wanted = [bisect_right([float(each) for each in video.times], t) - 1 for t in times]
        assert numbers(video.frames_at(times)) == wanted


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ({"width_px": 96}, (56, 96)),
        ({"height_px": 28}, (28, 48)),
        ({"width_px": 30, "height_px": 40}, (40, 30)),
        ({"width_px": 1}, (1, 1)),
    ],
)
def test_sizes(video: seedvideo.Video, size: dict[str, int], shape: tuple[int, int]) -> None:
    assert video.frames_at([1.0], **size).shape == (1, *shape, 3)


def test_no_times_give_an_empty_array(video: seedvideo.Video) -> None:
    assert video.frames_at([], width_px=8, height_px=6).shape == (0, 6, 8, 3)


def test_the_end_shows_the_last_frame(video: seedvideo.Video) -> None:
    assert numbers(video.frames_at([3.0, Fraction(3)])) == [89, 89]


@pytest.mark.parametrize("time", [-0.1, 3.1, float("nan"), float("inf"), Fraction(16, 5)])
def test_times_outside_the_video_are_refused(video: seedvideo.Video, time: float) -> None:
    with pytest.raises(seedvideo.ConfigError) as caught:
        video.frames_at([0.0, time])
    assert caught.value.code == "config.invalid"
    assert f"times[1] is {time} s, expected 0 to 3 s, the end of the video" in str(caught.value)


@pytest.mark.parametrize("times", [1.0, "1.0", ["1.0"], [True], [None], None, {1.0}])
def test_wrong_types_are_refused(video: seedvideo.Video, times: object) -> None:
    with pytest.raises(seedvideo.OptionTypeError, match="times"):
        video.frames_at(times)  # type: ignore[arg-type]  # that it is refused is the test


@pytest.mark.parametrize(
    ("name", "value"), [("width_px", 0), ("height_px", -1), ("width_px", 10**9)]
)
def test_impossible_sizes_are_refused(video: seedvideo.Video, name: str, value: int) -> None:
    with pytest.raises(seedvideo.ConfigError) as caught:
        video.frames_at([], **{name: value})
    assert caught.value.code == "config.invalid"


def test_a_size_above_the_limits_names_them(video: seedvideo.Video) -> None:
    with pytest.raises(seedvideo.ConfigError, match=r"20000x2 px, expected .* 16,384 px a side"):
        video.frames_at([0.0], width_px=20_000, height_px=2)


def test_a_path_is_opened_and_closed(clips: Clips) -> None:
    before = children()
    assert numbers(seedvideo.frames_at(clips["plain"], [1.5, 0.5])) == [45, 15]
    assert children() == before
    with pytest.raises(seedvideo.InputError):
        seedvideo.frames_at("none.mp4", [0.0])
