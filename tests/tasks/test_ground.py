"""Candidates made of stamps, and their way back to half-open spans; worked out by hand."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import GroundError
from seedvideo.media.timeline import Span
from seedvideo.tasks.ground import (
    MAX_STAMPS,
    NOT_FOUND,
    Candidates,
    clean_query,
    ground_prompt,
)
from seedvideo.tasks.spans import Moment

WINDOW = Span(Fraction(0), Fraction(10))


def made(*times: str, window: Span = WINDOW) -> Candidates:
    return Candidates.of([Fraction(time) for time in times], window=window)


def test_the_prompt_is_the_trained_one() -> None:
    assert ground_prompt("the dog jumps", duration=Fraction("12.25")) == (
        'The video lasts 12.3 seconds. When does this happen: "the dog jumps"?'
        " Answer with start - end in seconds, or not found."
    )
    asked = ground_prompt("x", duration=Fraction(1, 25), thinking=True)
    assert asked.startswith("The video lasts 0.0 seconds.")
    assert asked.endswith("or not found. First think, between <think> and </think>.")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "ground.query_empty"),
        ("  \n", "ground.query_empty"),
        ("x" * 10_001, "ground.query_invalid"),
        ("caf\udce9", "ground.query_invalid"),
    ],
)
def test_what_cannot_be_looked_for(query: str, code: str) -> None:
    with pytest.raises(GroundError) as caught:
        clean_query(query)
    assert caught.value.code == code
    assert clean_query(" a dog\n") == "a dog"


def test_every_pair_of_stamps_and_not_found() -> None:
    candidates = made("0", "4", "8.04")
    assert candidates.texts == (
        "0.0 - 0.0",
        "0.0 - 4.0",
        "0.0 - 8.0",
        "4.0 - 4.0",
        "4.0 - 8.0",
        "8.0 - 8.0",
        NOT_FOUND,
    )
    spans = [candidates.span(place) for place in range(7)]
    # Half way between 0 and 4, and between 4 and 8.04; the window's ends outside.
    a, b = Fraction(2), Fraction("6.02")
    zero, ten = Fraction(0), Fraction(10)
    assert spans == [
        Moment(zero, a),
        Moment(zero, b),
        Moment(zero, ten),
        Moment(a, b),
        Moment(a, ten),
        Moment(b, ten),
        None,
    ]


def test_of_frames_with_one_stamp_the_first_counts() -> None:
    candidates = made("4.00", "4.04", "4.10")
    assert candidates.stamps == ("4.0", "4.1")
    assert candidates.span(0) == Moment(Fraction(0), Fraction("4.05"))


def test_one_frame_stands_for_all_of_the_window() -> None:
    candidates = made("0", window=Span(Fraction(0), Fraction(1, 25)))
    assert candidates.texts == ("0.0 - 0.0", NOT_FOUND)
    assert candidates.span(0) == Moment(Fraction(0), Fraction(1, 25))


def test_a_window_bounds_the_ends() -> None:
    window = Span(Fraction(3), Fraction(6))
    assert made("3.5", "5", window=window).span(1) == Moment(Fraction(3), Fraction(6))


def test_very_many_frames_are_thinned_evenly() -> None:
    times = [Fraction(n, 5) for n in range(2_000)]
    candidates = Candidates.of(times, window=Span(Fraction(0), Fraction(400)))
    assert len(candidates.stamps) == MAX_STAMPS
    assert len(candidates.texts) == MAX_STAMPS * (MAX_STAMPS + 1) // 2 + 1
    assert (candidates.stamps[0], candidates.stamps[-1]) == ("0.0", "399.8")
    gaps = [b - a for a, b in pairwise(candidates.edges[1:-1])]
    assert max(gaps) < 2 * min(gaps)


@given(st.lists(st.fractions(0, 10), min_size=1, max_size=8, unique=True).map(sorted))
def test_each_text_has_the_span_that_holds_its_frames(times: list[Fraction]) -> None:
    candidates = Candidates.of(times, window=Span(Fraction(0), Fraction(11)))
    assert len(set(candidates.texts)) == len(candidates.texts)
    for place, text in enumerate(candidates.texts[:-1]):
        moment = candidates.span(place)
        assert moment is not None
        first, last = (Fraction(word) for word in text.split(" - "))
        # A stamp is within half a tenth of its frame, and so is the frame of the span.
        assert moment.start <= first + Fraction(1, 20)
        assert last - Fraction(1, 20) <= moment.end
        assert 0 <= moment.start < moment.end <= 11
    assert candidates.span(len(candidates.texts) - 1) is None
