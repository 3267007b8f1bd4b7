"""Which time a frame stands for: between two frames, up to where the picture was seen to change."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.config import AnalysisMethod
from seedvideo.sampler.analysis import Analysis
from seedvideo.sampler.boundaries import Change, find_changes, frame_bounds
from seedvideo.sampler.events import EVENT_THRESHOLD
from seedvideo.sampler.novelty import Signals
from seedvideo.sampler.utility import SegmentDemand
from seedvideo.utils.timecode import Span

WINDOW = Span(Fraction(0), Fraction(10))
TIMES = tuple(Fraction(number, 10) for number in range(100))
STRONG = 2 * EVENT_THRESHOLD


def at(tenths: int, strength: float = STRONG) -> Change:
    return Change(Fraction(tenths, 10), strength)


def analysis(
    steps: dict[int, float], *, cuts: tuple[int, ...] = (), method: AnalysisMethod = "fast"
) -> Analysis:
    """Make an analysis with thumbnails at frames of `TIMES`, each with its novelty."""
    frame_indices = np.array(sorted(steps), np.int64)
    zeros = np.zeros(len(frame_indices), np.float32)
    signals = Signals(
        frame_indices=frame_indices,
        times_s=frame_indices / 10,
        novelty=np.array([steps[frame_index] for frame_index in sorted(steps)], np.float32),
        motion=zeros,
        detail=zeros,
        activity=zeros,
    )
    demand = SegmentDemand(
        start=Fraction(0),
        end=Fraction(10),
        base=1.0,
        events_per_s=0.0,
        event_s=4.0,
        detail_tokens=300.0,
    )
    return Analysis(
        method=method,
        demands=(demand,),
        busy_fraction=0.0,
        cuts=tuple(TIMES[frame_index] for frame_index in cuts),
        signals=signals,
        notes=(),
    )


def test_where_nothing_changed_frames_share_the_time_between_them() -> None:
    shown = [Fraction(1), Fraction(2), Fraction(5)]
    bounds = (Fraction(0), Fraction(3, 2), Fraction(7, 2), Fraction(10))
    assert frame_bounds(shown, WINDOW) == bounds


def test_the_strongest_change_between_two_frames_parts_them() -> None:
    changes = [at(12, 9.0), at(13, 30.0), at(28, 10.0), at(60), at(80)]
    bounds = frame_bounds([Fraction(1), Fraction(4)], WINDOW, changes)
    assert bounds == (Fraction(0), Fraction(13, 10), Fraction(6))


def test_a_change_that_a_frame_shows_lies_before_it() -> None:
    """What is new at 2.0 s is in the frame of 2.0 s, and not in the one before."""
    bounds = frame_bounds([Fraction(1), Fraction(2), Fraction(3)], WINDOW, [at(20)])
    assert bounds == (Fraction(0), Fraction(2), Fraction(5, 2), Fraction(10))


def test_of_equal_changes_the_middle_one_errs_least() -> None:
    cuts = [at(tenths, math.inf) for tenths in (12, 26, 39)]
    assert frame_bounds([Fraction(1), Fraction(4)], WINDOW, cuts)[1] == Fraction(26, 10)


def test_what_comes_before_the_first_frame_begins_there() -> None:
    assert frame_bounds([Fraction(2)], WINDOW, [at(15), at(31)]) == (
        Fraction(15, 10),
        Fraction(31, 10),
    )
    # A change at the window's ends has no effect: there it begins and ends anyway.
    assert frame_bounds([Fraction(2)], WINDOW, [at(0), at(100)]) == (Fraction(0), Fraction(10))


def test_a_stand_in_outside_the_window_stands_for_what_is_inside() -> None:
    window = Span(Fraction(5), Fraction(10))
    early = frame_bounds([Fraction(396, 100), Fraction(7)], window, [at(42)])
    assert early == (Fraction(5), (Fraction(396, 100) + 7) / 2, Fraction(10))
    before = frame_bounds([Fraction(1), Fraction(7)], window)
    assert before == (Fraction(5), Fraction(5), Fraction(10))
    behind = frame_bounds([Fraction(6), Fraction(11)], window, [at(105)])
    assert behind == (Fraction(5), Fraction(17, 2), Fraction(10))


@given(
    st.lists(st.integers(0, 99), min_size=1, max_size=12, unique=True),
    st.dictionaries(st.integers(0, 110), st.floats(8, 1e6), max_size=30),
)
def test_every_frame_lies_in_the_time_that_it_stands_for(
    places: list[int], changed: dict[int, float]
) -> None:
    shown = [TIMES[place] for place in sorted(places)]
    changes = [at(tenths, strength) for tenths, strength in sorted(changed.items())]
    bounds = frame_bounds(shown, WINDOW, changes)
    assert len(bounds) == len(shown) + 1
    assert WINDOW.start <= bounds[0] and bounds[-1] <= WINDOW.end
    for time, (start, end) in zip(shown, pairwise(bounds), strict=True):
        assert start <= time < end


def test_changes_are_what_stands_out_and_cuts() -> None:
    seen = analysis(
        {0: 0.0, 1: 50.0, 2: 1.0, 3: EVENT_THRESHOLD, 4: EVENT_THRESHOLD - 1, 5: 3.0}, cuts=(5, 7)
    )
    assert find_changes(seen, TIMES) == (
        at(1, 50.0),
        at(3, EVENT_THRESHOLD),
        at(5, math.inf),
        at(7, math.inf),
    )


def test_a_change_between_distant_thumbnails_has_no_time() -> None:
    """Only keyframes were analysed: it may have come at any time of four seconds."""
    assert find_changes(analysis({0: 0.0, 40: 50.0, 41: 50.0}), TIMES) == (at(41, 50.0),)
    # The first thumbnail has no predecessor to differ from.
    assert find_changes(analysis({30: 50.0, 31: 0.0}), TIMES) == ()


def test_packets_show_no_change() -> None:
    assert find_changes(analysis({0: 0.0, 1: 50.0}, cuts=(1,), method="packets"), TIMES) == ()
