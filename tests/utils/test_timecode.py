"""Spans and seconds."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.media import Span, seconds, strictly_increasing
from seedvideo.utils.timecode import format_exact, parse_timecode

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


@given(st.lists(times))
def test_strictly_increasing_means_sorted_without_repeats(values: list[Fraction]) -> None:
    assert strictly_increasing(values) == (values == sorted(set(values)))


@given(times)
def test_an_exact_time_is_read_as_it_was_written(time: Fraction) -> None:
    assert parse_timecode(format_exact(time)) == time


def test_exact_times_are_decimal_where_that_is_exact() -> None:
    assert [format_exact(Fraction(text)) for text in ("0", "12.5", "1001/30", "1/1024")] == [
        "0", "12.5", "1001/30", "1/1024",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["1/0", "-1/2", "1/2/3", "1.5/2", "/2", "1/", "1e9/1", "9" * 20 + "/1"]
)
def test_other_fractions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_timecode(text)
