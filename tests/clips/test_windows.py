"""Windows of shots: bounded, away from cuts, at frames, and complete."""

import itertools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.clips.windows import SplitOptions, split_shots
from seedvideo.errors import ConfigError
from seedvideo.sampler.transitions import ShotChange
from seedvideo.utils.timecode import Span

TENTHS = [Fraction(n, 10) for n in range(300)]


def cuts(*times: float) -> list[ShotChange]:
    exact = [Fraction(str(time)) for time in times]
    return [ShotChange(time, time, time) for time in exact]


def spans(*ends: float, start: str | None = None, end: str | None = None, **options: Any) -> Any:
    """Split a video whose shots have these ends."""
    found = split_shots(
        cuts(*ends[:-1]),
        TENTHS,
        SplitOptions(**options),
        duration=Fraction(str(ends[-1])),
        start_s=None if start is None else Fraction(start),
        end_s=None if end is None else Fraction(end),
    )
    return [(float(each.span.start), float(each.span.end)) for each in found.windows], found.short


def test_cuts_are_cropped_and_the_ends_of_the_video_are_not() -> None:
    assert spans(5, 12, 30, crop_s=0.25) == (
        [(0, 4.7), (5.3, 11.7), (12.3, 22.3), (22.3, 30)],
        0,
    )


def test_a_long_shot_gives_windows_one_after_another() -> None:
    assert spans(30, max_s=8) == ([(0, 8), (8, 16), (16, 24), (24, 30)], 0)
    assert spans(30, max_s=8, min_s=7) == ([(0, 8), (8, 16), (16, 24)], 1)
    assert spans(30, max_s=8, min_s=7, overlap_s=1) == (
        [(0, 8), (7, 15), (14, 22), (21, 29)],
        1,
    )


def test_a_long_shot_is_truncated_or_kept() -> None:
    assert spans(4, 30, crop_s=0, over="truncate") == ([(0, 4), (4, 14)], 0)
    assert spans(4, 30, crop_s=0, over="keep") == ([(0, 4), (4, 30)], 0)


def test_short_shots_are_counted() -> None:
    assert spans(1, 6, 8.4, 30, crop_s=0.25, over="keep") == ([(1.3, 5.7), (8.7, 30)], 2)


def test_a_dissolve_is_left_out_whole() -> None:
    change = ShotChange(Fraction(6), Fraction(5), Fraction(7))
    options = SplitOptions(crop_s=0.5)
    found = split_shots([change], TENTHS, options, duration=Fraction(15))
    assert [(float(each.span.start), float(each.span.end)) for each in found.windows] == [
        (0, 4.5),
        (7.5, 15),
    ]
    assert [(float(each.shot_span.start), float(each.shot_span.end)) for each in found.windows] == [
        (0, 5),
        (7, 15),
    ]


def test_shots_without_a_clear_frame_are_counted() -> None:
    changes = [
        ShotChange(Fraction(5), Fraction(4), Fraction(6)),
        ShotChange(Fraction(7), Fraction(6), Fraction(8)),
    ]
    found = split_shots(changes, TENTHS, SplitOptions(), duration=Fraction(15))
    assert [each.shot for each in found.windows] == [1, 3]
    assert found.short == 1


def test_only_a_part_of_the_video_is_split() -> None:
    # Its ends are not cuts; the numbers of shots are those of the video.
    assert spans(5, 12, 30, start="2", end="11", crop_s=0.25) == ([(2, 4.7), (5.3, 11)], 0)
    found = split_shots(
        cuts(5, 12), TENTHS, SplitOptions(), duration=Fraction(30), start_s=Fraction(13)
    )
    assert [(each.shot, each.shots) for each in found.windows] == [(3, 3), (3, 3)]
    assert spans(5, 12, 30, start="40") == ([], 0)


def test_a_still_frame_may_last_longer_than_a_window() -> None:
    times = [Fraction(0), Fraction(1), Fraction(50)]
    found = split_shots([], times, SplitOptions(), duration=Fraction(60))
    assert [(float(each.span.start), float(each.span.end)) for each in found.windows] == [
        (1, 11),
        (50, 60),
    ]
    assert [each.frames for each in found.windows] == [range(1, 2), range(2, 3)]
    assert found.short == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_s": -1}, "min_s is -1"),
        ({"max_s": 0}, "max_s is 0"),
        ({"min_s": 11}, "above max_s 10"),
        ({"overlap_s": 10}, "less than max_s"),
        ({"overlap_s": 1, "over": "keep"}, "stride"),
        ({"over": "strid"}, "expected one of stride"),
        ({"crop_s": float("nan")}, "crop_s is nan"),
        ({"analysis": "deep"}, "analysis is 'deep'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        SplitOptions(**options)
    assert raised.value.code == "config.invalid"


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    gaps=st.lists(st.integers(1, 60), min_size=1, max_size=120),
    min_s=st.integers(0, 30),
    more_s=st.integers(1, 60),
    overlap=st.floats(0, 0.9),
    crop_s=st.integers(0, 10),
    over=st.sampled_from(("stride", "truncate", "keep")),
)
def test_windows_keep_their_promises(
    lengths: list[int],
    gaps: list[int],
    min_s: int,
    more_s: int,
    overlap: float,
    crop_s: int,
    over: Any,
) -> None:
    times = [Fraction(sum(gaps[:n]), 10) for n in range(len(gaps))]
    ends = list(itertools.accumulate(Fraction(each, 10) for each in lengths))
    ends[-1] = max(ends[-1], times[-1] + Fraction(1, 10))
    changes = [ShotChange(end, end, end) for end in ends[:-1]]
    bounds = [Fraction(0), *ends]
    max_s = (min_s + more_s) / 10
    options = SplitOptions(
        min_s=min_s / 10,
        max_s=max_s,
        overlap_s=round(overlap * max_s, 3) if over == "stride" else 0,
        crop_s=crop_s / 10,
        over=over,
    )
    found = split_shots(changes, times, options, duration=ends[-1])
    for window in found.windows:
        span, shot = window.span, window.shot_span
        assert span.start in times and len(window.frames) > 0
        assert [times[i] for i in window.frames] == [t for t in times if t in span]
        assert shot.start <= span.start and span.end <= shot.end
        assert shot == Span(bounds[window.shot - 1], bounds[window.shot])
        assert span.duration >= Fraction(str(options.min_s))
        assert over == "keep" or span.duration <= Fraction(str(options.max_s))
        if shot.start > 0:
            assert span.start - shot.start >= Fraction(str(options.crop_s))
    starts = [window.span.start for window in found.windows]
    assert starts == sorted(set(starts))
    if not options.overlap_s:
        assert all(a.span.end <= b.span.start for a, b in itertools.pairwise(found.windows))
