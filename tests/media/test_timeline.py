"""Spans, seconds and clocks."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.media import Span, format_clock, seconds, strictly_increasing

times = st.fractions(min_value=0, max_value=10**6)


def test_a_span_is_half_open() -> None:
    span = Span(Fraction(1), Fraction(2))
    assert Fraction(1) in span and Fraction(2) not in span
    assert span.duration == 1


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (1, 1), (2, 1)])
def test_a_span_must_be_one(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="span"):
        Span(Fraction(start), Fraction(end))


def test_seconds_are_rounded_to_microseconds() -> None:
    assert seconds(Fraction(1, 3)) == 0.333333
    assert seconds(Fraction(1001, 30000)) == 0.033367


@pytest.mark.parametrize(
    ("time", "clock"),
    [
        (Fraction(0), "0:00:00.000"),
        (Fraction(25, 2), "0:00:12.500"),
        (Fraction(3599_9995, 10_000), "1:00:00.000"),
        (Fraction(1, 3000), "0:00:00.000"),
        (Fraction(1, 2000), "0:00:00.001"),
        (Fraction(36_000), "10:00:00.000"),
    ],
)
def test_clocks(time: Fraction, clock: str) -> None:
    assert format_clock(time) == clock


def test_a_clock_cannot_show_what_is_before_zero() -> None:
    with pytest.raises(ValueError, match="0 or later"):
        format_clock(Fraction(-1))


@given(times)
def test_clocks_are_off_by_half_a_millisecond_at_most(time: Fraction) -> None:
    hours, minutes, rest = format_clock(time).split(":")
    shown = int(hours) * 3600 + int(minutes) * 60 + Fraction(rest)
    assert abs(shown - time) <= Fraction(1, 2000)


@given(st.lists(times))
def test_strictly_increasing_means_sorted_without_repeats(values: list[Fraction]) -> None:
    assert strictly_increasing(values) == (values == sorted(set(values)))
