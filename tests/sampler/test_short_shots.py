"""Shots joined for captions: they cover the same time, and none is too short or empty."""

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from seedvideo.sampler.shots import frame_range, merge_short_shots
from seedvideo.utils.timecode import Span

SHORTEST = Fraction(1, 2)


def shots(*ends: float) -> list[Span]:
    edges = [Fraction(0), *(Fraction(str(end)) for end in ends)]
    return [Span(start, end) for start, end in itertools.pairwise(edges)]


TIMES = [Fraction(n, 10) for n in range(1000)]


def test_good_shots_stay() -> None:
    assert merge_short_shots(shots(1, 2, 3), TIMES, min_shot_s=SHORTEST, max_shots=9) == shots(
        1, 2, 3
    )


def test_a_flash_joins_its_shorter_neighbour() -> None:
    assert merge_short_shots(shots(3, 3.2, 4.2), TIMES, min_shot_s=SHORTEST, max_shots=9) == shots(
        3, 4.2
    )
    assert merge_short_shots(shots(1, 1.2, 4.2), TIMES, min_shot_s=SHORTEST, max_shots=9) == shots(
        1.2, 4.2
    )


def test_too_many_shots_become_few_and_even() -> None:
    merged = merge_short_shots(shots(*range(1, 9)), TIMES, min_shot_s=SHORTEST, max_shots=4)
    assert merged == shots(2, 4, 6, 8)


def test_a_shot_without_a_frame_goes() -> None:
    sparse = [Fraction(0), Fraction(5)]
    assert merge_short_shots(shots(2, 4, 6), sparse, min_shot_s=SHORTEST, max_shots=9) == shots(
        4, 6
    )


def test_inside_is_half_open() -> None:
    assert frame_range(TIMES, Span(Fraction(1), Fraction(2))) == range(10, 20)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    gaps=st.lists(st.integers(1, 30), min_size=1, max_size=60),
    most=st.integers(1, 12),
)
def test_what_remains_is_fit_for_captions(lengths: list[int], gaps: list[int], most: int) -> None:
    ends = [sum(lengths[: n + 1]) / 10 for n in range(len(lengths))]
    given_shots = shots(*ends)
    times = [Fraction(sum(gaps[:n]), 10) for n in range(len(gaps))]
    merged = merge_short_shots(given_shots, times, min_shot_s=SHORTEST, max_shots=most)
    assert merged[0].start == 0
    assert merged[-1].end == given_shots[-1].end
    assert all(a.end == b.start for a, b in itertools.pairwise(merged))
    assert {span.end for span in merged} <= {span.end for span in given_shots}
    if len(merged) > 1:
        assert len(merged) <= most
        assert all(span.end - span.start >= SHORTEST for span in merged)
        assert all(frame_range(times, span) for span in merged)
