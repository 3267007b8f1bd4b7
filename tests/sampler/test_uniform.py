from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.sampler.uniform import evenly_in_time, linspace_indices, subsample
from tests.sampler.videos import even_times

increasing = st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True).map(
    lambda ticks: [Fraction(tick, 100) for tick in sorted(ticks)]
)


@given(st.integers(1, 200_000), st.integers(1, 3_000))
def test_spread_equals_numpy(count: int, wanted: int) -> None:
    wanted = min(wanted, count)
    expected = np.linspace(0, count - 1, wanted).round().astype(int).tolist()
    assert linspace_indices(count, wanted) == expected
    assert all(a < b for a, b in pairwise(expected))


@pytest.mark.parametrize(("count", "wanted"), [(5, 0), (5, 6), (0, 0)])
def test_spread_refuses_what_cannot_be_taken(count: int, wanted: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to"):
        linspace_indices(count, wanted)


def test_thin() -> None:
    assert subsample("abcdefg", 3) == ["a", "d", "g"]
    assert subsample("abc", 10) == ["a", "b", "c"]
    assert subsample("abc", 1) == ["a"]


@given(increasing, st.data())
def test_spread_in_time_gives_the_nearest_frames_once(
    times: list[Fraction], data: st.DataObject
) -> None:
    wanted = data.draw(st.integers(1, len(times)))
    positions = evenly_in_time(times, wanted)
    assert positions == sorted(set(positions))
    assert 1 <= len(positions) <= wanted
    assert positions[0] == 0
    if wanted > 1:
        assert positions[-1] == len(times) - 1
        step = (times[-1] - times[0]) / (wanted - 1)
        for index in range(wanted):
            moment = times[0] + index * step
            nearest = min(abs(time - moment) for time in times)
            chosen = min(abs(times[position] - moment) for position in positions)
            assert chosen - nearest < Fraction(1, 10**6)


def test_spread_in_time_on_even_times_equals_spread() -> None:
    times = even_times(900)
    for wanted in (1, 2, 16, 30, 299, 900):
        found = evenly_in_time(times, wanted)
        assert len(found) == wanted
        assert all(
            abs(a - b) <= 1 for a, b in zip(found, linspace_indices(900, wanted), strict=True)
        )


def test_a_frame_that_stands_long_is_taken_once() -> None:
    times = [Fraction(0), *(10 + time for time in even_times(100, 10))]
    assert evenly_in_time(times, 5) == [0, 1, 50, 100]
