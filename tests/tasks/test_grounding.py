"""From the probabilities of frames to half-open spans; worked out by hand."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import GroundError
from seedvideo.tasks.grounding import (
    ScoredSpans,
    TimeSpan,
    clean_query,
    ground_prompt,
    spans_from_probabilities,
)

TIMES = [Fraction(0), Fraction(2), Fraction(4), Fraction(6)]
BOUNDS = [Fraction(0), Fraction(1), Fraction(3), Fraction(5), Fraction(10)]


def overlap(one: TimeSpan, other: TimeSpan) -> Fraction:
    both = min(one.end, other.end) - max(one.start, other.start)
    return max(both, Fraction(0)) / (max(one.end, other.end) - min(one.start, other.start))


def score(shows: list[float]) -> ScoredSpans:
    return spans_from_probabilities(TIMES, shows, bounds=BOUNDS, top=3)


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
def test_invalid_queries_are_refused(query: str, code: str) -> None:
    with pytest.raises(GroundError) as caught:
        clean_query(query)
    assert caught.value.code == code
    assert clean_query(" a dog\n") == "a dog"


def test_the_frames_that_show_it_make_the_span() -> None:
    scored = score([0.01, 0.9, 0.9, 0.01])
    assert scored.spans[0] == TimeSpan(Fraction(1), Fraction(5))
    assert scored.texts[0] == "2.0 - 4.0"
    assert scored.not_found_probability == pytest.approx(0.1)
    assert len(scored.spans) == 1


def test_a_span_reaches_as_far_as_its_frames_stand_for() -> None:
    scored = spans_from_probabilities(TIMES, [0.9] * 4, bounds=[*BOUNDS[:-1], Fraction(7)], top=1)
    assert scored.spans == (TimeSpan(Fraction(0), Fraction(7)),)


def test_one_frame_is_found_completely_or_not() -> None:
    scored = spans_from_probabilities(
        [Fraction(3)], [0.7], bounds=[Fraction(0), Fraction(10)], top=3
    )
    assert scored.spans == (TimeSpan(Fraction(0), Fraction(10)),)
    assert list(scored.scores) == pytest.approx([0.7])
    assert scored.not_found_probability == pytest.approx(0.3)


def test_scores_by_hand() -> None:
    """Two frames with odds 3 and 1/3: spans weigh 3, 1/3 and 1, and share 3/4."""
    two = [Fraction(0), Fraction(5)]
    bounds = [Fraction(0), Fraction(5, 2), Fraction(10)]
    scored = spans_from_probabilities(two, [0.75, 0.25], bounds=bounds, top=3)
    # Frame one ends at 2.5: its overlap with the whole, 1/4, is too little to stand for it.
    assert scored.spans == (
        TimeSpan(Fraction(0), Fraction(5, 2)),
        TimeSpan(Fraction(0), Fraction(10)),
    )
    # The second frame alone fills 3/4 of the whole, which is scored for both.
    assert list(scored.scores) == pytest.approx([0.75 * 3 / (13 / 3), 0.75 * (4 / 3) / (13 / 3)])


def test_two_moments_are_separated_and_many_quiet_frames_change_nothing() -> None:
    times = [Fraction(place) for place in range(300)]
    shows = [0.95 if place in (20, 21, 250) else 0.02 for place in range(300)]
    bounds = [Fraction(place) for place in range(301)]
    scored = spans_from_probabilities(times, shows, bounds=bounds, top=3)
    assert scored.texts[0] == "20.0 - 21.0"
    assert scored.not_found_probability == pytest.approx(0.05)
    quiet = spans_from_probabilities(times, [0.02] * 300, bounds=bounds, top=3)
    assert quiet.not_found_probability == pytest.approx(0.98)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 5))
def test_probabilities_stay_probabilities(shows: list[float], top: int) -> None:
    times = [Fraction(place, 4) for place in range(len(shows))]
    bounds = [*times, Fraction(len(shows), 4)]
    scored = spans_from_probabilities(times, shows, bounds=bounds, top=top)
    assert 1 <= len(scored.spans) <= top
    assert sum(scored.scores) + scored.not_found_probability <= 1 + 1e-6
    assert list(scored.scores) == sorted(scored.scores, reverse=True)
    for one, other in pairwise(scored.spans):
        assert overlap(one, other) < Fraction(1, 2)
    assert all(bounds[0] <= m.start < m.end <= bounds[-1] for m in scored.spans)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match="2 times do not match 1"):
        spans_from_probabilities([Fraction(0), Fraction(1)], [0.5], bounds=BOUNDS, top=1)
    with pytest.raises(ValueError, match="0 times"):
        spans_from_probabilities([], [], bounds=[Fraction(0)], top=1)
    with pytest.raises(ValueError, match="1 probabilities and 3 bounds"):
        spans_from_probabilities([Fraction(0)], [0.5], bounds=BOUNDS[:3], top=1)
