"""Spans and seconds."""

from decimal import Decimal
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


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("0.30000000000000004", "3/10"),
        ("33.36666666666667", "1001/30"),
        ("1e-05", "1/100000"),
        ("1.5e2", "150"),
        (".5", "1/2"),
        ("12.", "12"),
        (" 12.5 ", "25/2"),
        ("1:30.00000000000001", "90"),
        ("12.300000190734863", "12.300000191"),
        ("5e-324", "0"),
        ("0.1234567890000", "0.123456789"),
        ("0.12345600000000001", "0.123456"),
    ],
)
def test_numbers_as_programs_write_them_are_times(text: str, time: str) -> None:
    found = parse_timecode(text)
    assert abs(found - Fraction(time)) <= Fraction(1, 10**9)
    assert found == Fraction(time)


@given(st.integers(1, 10**9), st.sampled_from((24, 25, 30, 1000, 12_800, 30_000, 90_000)))
def test_the_float_of_a_time_of_a_frame_is_that_time(ticks: int, rate: int) -> None:
    for time in (Fraction(ticks, rate), Fraction(ticks % 10**5 * 1001, rate)):
        if time < 10**5:  # more than a day
            assert parse_timecode(repr(float(time))) == time


@given(st.decimals(0, 10**6, allow_nan=False, places=9))
def test_nine_decimals_are_exact(time: Decimal) -> None:
    assert parse_timecode(f"{time:.9f}") == Fraction(time)


@given(st.floats(0, 10**8))
def test_any_other_float_is_within_a_nanosecond(value: float) -> None:
    assert abs(parse_timecode(repr(value)) - Fraction(repr(value))) <= Fraction(1, 10**9)


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-1", "-0.5", "1e9", "1e300", ".", "e5", "1_0", "٣"]
)
def test_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_timecode(text)
