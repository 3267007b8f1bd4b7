from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.sampler.geometry import default_text_tokens
from seedvideo.utils.timecode import timestamp_text


@pytest.mark.parametrize(
    ("pts", "text"),
    [
        (Fraction(0), "[0.0 second]"),
        (Fraction(25, 2), "[12.5 second]"),
        (Fraction(1, 20), "[0.1 second]"),  # an exact half goes up
        (Fraction(1, 4), "[0.3 second]"),
        (Fraction(249_999_999, 1_000_000_000), "[0.2 second]"),
        (Fraction(199, 20), "[10.0 second]"),
        (Fraction(1001, 30_000), "[0.0 second]"),
        (Fraction(3600), "[3600.0 second]"),
    ],
)
def test_time_text(pts: Fraction, text: str) -> None:
    assert timestamp_text(pts) == text


@given(st.fractions(min_value=0, max_value=100_000))
def test_time_text_is_within_half_a_tenth(pts: Fraction) -> None:
    shown = Fraction(timestamp_text(pts)[1:].split()[0])
    assert -Fraction(1, 20) < shown - pts <= Fraction(1, 20)


def test_no_time_before_the_start() -> None:
    with pytest.raises(ValueError, match="0 or later"):
        timestamp_text(Fraction(-1, 10))


def test_the_assumed_cost() -> None:
    assert default_text_tokens(Fraction(25, 2)) == 8
