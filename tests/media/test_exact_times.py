"""Times from packets alone equal those of a full decode, and each label has its own picture."""

from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import pytest

from seedvideo.media import Target, open_video, strictly_increasing
from tests.fixtures import DERIVED, KINDS, RECIPES, Clips, read_number
from tests.tiers import quick_among

SOUND = [*RECIPES, *DERIVED]
WITHOUT_PRESENTATION_TIMES = ("mpeg4_b_avi", "h264_avi")
"""AVI stores no presentation times; FFmpeg makes them up, wrongly, for reordered pictures."""


@cache
def full_decode(path: Path) -> tuple[list[Fraction], list[int]]:
    """Decodes all of a file in this process: times in seconds, and the numbers in the pictures."""
    times, numbers = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.pts is not None and frame.time_base is not None
            times.append(frame.pts * frame.time_base)
            numbers.append(read_number(frame.to_ndarray(format="rgb24")))  # type: ignore[arg-type]
    return times, numbers


@pytest.mark.parametrize("name", quick_among(SOUND, KINDS))
def test_times_equal_those_of_a_full_decode(clips: Clips, name: str) -> None:
    times, _ = full_decode(clips[name])
    with open_video(clips[name]) as reader:
        assert len(reader.times) == len(times)
        assert strictly_increasing(reader.times)
        assert reader.times[0] == 0
        assert set(reader.keyframes) <= set(range(len(times)))
        if name not in WITHOUT_PRESENTATION_TIMES:
            assert list(reader.times) == [time - reader.info.start for time in times]


@pytest.mark.parametrize("name", quick_among(SOUND, KINDS))
def test_every_label_has_its_own_picture(clips: Clips, name: str) -> None:
    _, numbers = full_decode(clips[name])
    with open_video(clips[name]) as reader:
        frames = list(reader.frames([Target(time, 64, 40) for time in reader.times]))
        assert [frame.pts for frame in frames] == list(reader.times)
        assert [read_number(frame.pixels) for frame in frames] == numbers
        assert reader.report.damaged_packets == 0
        assert reader.report.decoded_frames >= len(numbers)


@pytest.mark.parametrize("name", ["vfr", "vfr_mkv"])
def test_m09_times_of_a_variable_rate_agree_within_a_millisecond(clips: Clips, name: str) -> None:
    with open_video(clips[name]) as reader:
        assert reader.info.is_vfr
        assert "media.vfr" in {warning.code for warning in reader.info.warnings}
        frames = list(reader.frames([Target(time, 64, 40) for time in reader.times]))
    for frame in frames:
        number = read_number(frame.pixels)
        made_at = Fraction(number if number < 30 else 4 * number, 30)
        assert abs(frame.pts - made_at) <= Fraction(1, 1000)


def test_average_index_times_would_be_wrong_by_seconds(clips: Clips) -> None:
    # The reason for all this: what index / average rate gives on the same clip.
    with open_video(clips["vfr"]) as reader:
        assert reader.info.fps_avg is not None
        errors = [abs(i / reader.info.fps_avg - time) for i, time in enumerate(reader.times)]
    assert max(errors) > 2


def test_a_target_between_frames_gets_the_one_that_is_shown_then(clips: Clips) -> None:
    with open_video(clips["plain"]) as reader:
        targets = [
            Target(Fraction(-1), 64, 40),
            Target(Fraction(1, 60), 64, 40),
            Target(Fraction(10, 30), 64, 40),
            Target(Fraction(21, 60), 64, 40),
            Target(Fraction(99), 64, 40),
        ]
        frames = list(reader.frames(targets))
    assert [read_number(frame.pixels) for frame in frames] == [0, 0, 10, 10, 89]
    assert [frame.pts for frame in frames] == [
        0,
        0,
        Fraction(1, 3),
        Fraction(1, 3),
        Fraction(89, 30),
    ]


def test_m12_an_edit_list_hides_what_it_cuts(clips: Clips) -> None:
    with open_video(clips["cut"]) as reader:
        frames = list(reader.frames([Target(time, 64, 40) for time in reader.times]))
        assert len(reader.times) == 75
        assert reader.info.duration == Fraction(75, 30)
        assert 0 not in reader.keyframes  # What is shown first depends on what is hidden.
    assert [read_number(frame.pixels) for frame in frames] == list(range(15, 90))


def test_the_streams_own_start_is_subtracted(clips: Clips) -> None:
    with open_video(clips["ts_late"]) as reader:
        assert reader.info.start > 3600
        assert reader.times[0] == 0
        assert reader.info.duration == 3
