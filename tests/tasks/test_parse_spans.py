"""Every form in which models write times; anything else is an error, never a guess."""

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import ModelError
from seedvideo.tasks.grounding import TimeSpan, parse_spans
from seedvideo.utils.timecode import Span
from tests.tiers import quick_first

WINDOW = Span(Fraction(0), Fraction(100))


def read(text: str, **options: str) -> list[tuple[float, float]]:
    moments = parse_spans(text, window=WINDOW, **options)  # type: ignore[arg-type]  # wrong ones too
    return [(float(moment.start), float(moment.end)) for moment in moments]


@pytest.mark.parametrize(
    "text",
    [
        # our own form, and seconds as other models write them
        "4.0 - 8.0",
        "4 - 8 seconds",
        "4.0s-8.0s",
        "4.0-second to 8.0-second",
        "4 sec. - 8 sec.",
        "4.0–8.0",
        "4.0 — 8.0",
        "4 ~ 8",
        "4.0 to 8.0",
        "4.0 s to 8.0 s",
        "4 until 8",
        "4 through 8",
        "from 4 to 8",
        "From 4.0 seconds to 8.0 seconds.",
        "between 4 and 8 s",
        "4.0 and 8.0",
        "4.0, 8.0",
        "second 4 - second 8",
        "[4.0 second] - [8.0 second]",
        "<4.0 - 8.0> a dog jumps",
        "about 4.0 to roughly 8.0 seconds",
        "٤ - ٨",
        # clocks
        "00:04 - 00:08",
        "0:04.00 - 0:08.00",
        "0:00:04 - 0:00:08",
        "00:00:04,000 --> 00:00:08,000",
        "(0:04-0:08)",
        "0 min 4 s - 0 min 8 s",
        "0m04s to 0m08s",
        # words around
        "The event happens in 4.0 - 8.0 seconds.",
        "The answer is 4 - 8.",
        "In the 10 second video: 4 - 8",
        "There are 2-3 people at 4.0 - 8.0",
        "It happens 2-3 times, at 4.0 - 8.0",
        "Times: 4.0 - 8.0",
        "4.0 - 8.0 - The dog jumps",
        "4 - 8: a man walks",
        "- 4.0 - 8.0",
        "The dog is not visible at first; it jumps at 4.0 - 8.0",
        "4.0 - 8.0, so the answer is 4.0 - 8.0",
        "<answer>4.0 to 8.0</answer>",
        "I say 1.0 to 2.0. <answer>4.0 to 8.0</answer>",
        # a start with an end
        "The event starts at 4.0 and ends at 8.0 s",
        "It begins at 4 seconds and lasts until 8 seconds",
        "Start: 4.0 seconds\nEnd: 8.0 seconds",
        "The start time is 4s and the end time is 8s",
        # JSON
        '{"start": 4.0, "end": 8.0}',
        "{'start': '4.0s', 'end': '8.0s'}",
        '{"start_time": "00:04", "end_time": "00:08"}',
        '{"startTime": 4, "endTime": 8}',
        '```json\n{"00:04.00 - 00:08.00": "A dog jumps."}\n```',
        "[4.0, 8.0]",
        "[[4, 8]]",
        "[4,8]",
        "[(4.0, 8.0)]",
        '{"spans": [[4.0, 8.0]]}',
        '{"timestamps": ["00:04", "00:08"]}',
    ],
)
def test_one_span(text: str) -> None:
    assert read(text) == [(4, 8)]


@pytest.mark.parametrize(
    "text",
    [
        "4.0 - 8.0; 12.0 - 13.5",
        "4 - 8 seconds; 12 - 13.5 seconds",
        "4.0-8.0,12.0-13.5",
        "From 00:04 to 00:08 and from 00:12 to 0:13.5",
        "1. 4.0 - 8.0\n2. 12.0 - 13.5",
        "between 4 and 8 and between 12 and 13.5",
        '[{"start": 4, "end": 8}, {"start": 12, "end": 13.5}]',
        "[[4.0, 8.0], [12.0, 13.5]]",
        '{"4.0 - 8.0": "a", "12.0 - 13.5": "b"}',
    ],
)
def test_several_spans(text: str) -> None:
    assert read(text) == [(4, 8), (12, 13.5)]


def test_hours_and_minutes() -> None:
    window = Span(Fraction(0), Fraction(10_000))
    for text in ("1:02:03.5 - 1:02:04", "1 h 2 min 3.5 s - 1 hour, 2 minutes and 4 seconds"):
        (moment,) = parse_spans(text, window=window)
        assert moment == TimeSpan(Fraction("3723.5"), Fraction(3724))
    for text in ("1.5 min to 2 minutes", "from 1.5 to 2 minutes", "1.5-2 min"):
        (moment,) = parse_spans(text, window=window)
        assert moment == TimeSpan(Fraction(90), Fraction(120))
    for text in ("from 30 s to 2 minutes", "0:30 to 2 minutes", "30 seconds - 2 min"):
        (moment,) = parse_spans(text, window=window)
        assert moment == TimeSpan(Fraction(30), Fraction(120))


@pytest.mark.parametrize(
    "text",
    [
        "not found",
        "Not found.",
        "None",
        "no",
        "N/A",
        "null",
        "[]",
        "{}",
        "```json\n[]\n```",
        '{"found": false}',
        '{"spans": []}',
        '{"start": null, "end": null}',
        "does not happen",
        "The event doesn't occur in the video.",
        "It never happens",
        "no such moment",
        "There is no dog.",
        "The dog is not visible.",
        "The event cannot be found in the first 10 seconds",
        "I could not find it.",
        "<answer>not found</answer>",
    ],
)
def test_not_found(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a dog jumps",
        "I do not know",
        "[[",
        "12",
        "at 12.5 s",
        "at 4.0 s and at 8.0 s",
        "4.0 -",
        "from 4 s to the end",
        "it starts at 4 s and lasts 4 s",
        # numbers that are not seconds
        "2-3 people",
        "It happens 2 to 3 times",
        "Between 2 and 3 people walk",
        "between 4 and 8 frames",
        '{"start": 4, "end": null}',
        "frames 4 - 8",
        "10% to 20%",
        "1e3 - 2e3",
        "0:75 - 0:80",
        "2024-01-05",
        "-1.0 - 5.0",
        "1" * 30 + " - 5",
        # numbers that mean two things
        "1,234 - 1,300",
        "4,5 - 8,0",
        "4 - 8 - 12",
        "Event 1 - 4.0 to 8.0",
        "[4.0, 8.0, 12.0]",
        '[{"end": 8, "start": 4}, {"end": 13, "start": 12}]',
        "nan - inf",
    ],
)
def test_what_holds_no_span(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        read(text)
    assert caught.value.code == "model.answer_unparsable"
    assert repr(text) in caught.value.message


def test_a_reversed_span_gets_no_credit_unless_asked() -> None:
    with pytest.raises(ModelError, match="ends before it starts: '8 - 4'"):
        read("8 - 4")
    assert read("8 - 4", reverse="swap") == [(4, 8)]
    assert read("4 - 8", reverse="swap") == [(4, 8)]
    with pytest.raises(ValueError, match="refuse, swap"):
        read("8 - 4", reverse="turn")


def test_an_answer_that_contradicts_itself() -> None:
    with pytest.raises(ModelError, match="both denies and names a time span"):
        read("Not found, but maybe 4.0 - 8.0")


def test_spans_end_where_the_window_does() -> None:
    assert read("90 - 120") == [(90, 100)]
    assert read("0 - 1000") == [(0, 100)]
    (moment,) = parse_spans("0 - 9", window=Span(Fraction(2), Fraction(5)))
    assert moment == TimeSpan(Fraction(2), Fraction(5))


def test_a_span_outside_is_an_error_beyond_the_rounding_of_stamps() -> None:
    with pytest.raises(ModelError, match="outside the analysed window, 0 to 100 s: '120 - 130'"):
        read("120 - 130")
    with pytest.raises(ModelError, match="outside"):
        read("4 - 8; 120 - 130")
    with pytest.raises(ModelError, match="outside the analysed window, 2 to 5 s"):
        parse_spans("0 - 1", window=Span(Fraction(2), Fraction(5)))
    # A frame at 12.96 s is stamped 13.0.
    (moment,) = parse_spans("13.0 - 13.0", window=Span(Fraction(0), Fraction("12.98")))
    assert moment.start == moment.end == Fraction("12.98")


def test_an_instant_stays_one() -> None:
    assert read("5.0 - 5.0") == [(5, 5)]


def test_a_moment_runs_forward() -> None:
    for start, end in ((2, 1), (-1, 1)):
        with pytest.raises(ValueError, match="runs backward"):
            TimeSpan(Fraction(start), Fraction(end))


@given(
    st.lists(
        st.sampled_from(
            [
                "4",
                "8.5",
                "1:04",
                "-",
                "to",
                " ",
                ",",
                "[",
                "]",
                "start",
                "end",
                "and",
                "a",
                "s",
                ".",
            ]
        )
    ).map(" ".join)
    | st.text()
)
def test_any_text_gives_spans_inside_or_one_error(text: str) -> None:
    with suppress(ModelError):
        moments = parse_spans(text, window=WINDOW)
        assert all(0 <= moment.start <= moment.end <= 100 for moment in moments)


@pytest.mark.parametrize(
    "part", quick_first(["[", "4 - ", "1:", "9", "start 4 ", "not ", "\n", "<answer>", "-"], 3)
)
def test_long_nonsense_is_read_in_one_go(part: str) -> None:
    with suppress(ModelError):
        read(part * 20_000)
