"""What each writer makes of a record."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import MediaError
from seedvideo.records import Event, Record
from seedvideo.writers import WRITERS
from seedvideo.writers.subtitles import clock
from tests.records_made import done_record

SHOTS = (
    Event(start_s=0.0, end_s=4.2, text="A man rides a bike."),
    Event(start_s=4.2, end_s=10.0, text="A dog runs."),
)
FAILED = Record.failed("bad.mp4", MediaError("media.no_video", "no video stream"), timing_s={})


def test_text_of_one_caption() -> None:
    assert WRITERS["text"].render(done_record()) == (
        "bikes.mp4  (10.0 s)\n   0.0 - 10.0 s  A man rides a bike down a street.\n"
    )


def test_text_of_shots_has_the_whole_in_its_head() -> None:
    assert WRITERS["text"].render(done_record(text="Two things happen.", events=SHOTS)) == (
        "bikes.mp4  (10.0 s)  Two things happen.\n"
        "   0.0 -  4.2 s  A man rides a bike.\n"
        "   4.2 - 10.0 s  A dog runs.\n"
    )


def test_text_of_hostile_words_is_inert() -> None:
    text = WRITERS["text"].render(done_record(source="a\n\x1b[2Jb.mp4", text="x\x1b[31m\n\ny"))
    assert text == "a\\n\\x1b[2Jb.mp4  (10.0 s)\n   0.0 - 10.0 s  x[31m y\n"


def test_json_is_one_line() -> None:
    text = WRITERS["json"].render(done_record(text="x\ny"))
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert json.loads(text)["text"] == "x\ny"


def test_srt() -> None:
    assert WRITERS["srt"].render(done_record(events=SHOTS)) == (
        "1\n00:00:00,000 --> 00:00:04,200\nA man rides a bike.\n\n"
        "2\n00:00:04,200 --> 00:00:10,000\nA dog runs.\n"
    )


def test_vtt() -> None:
    assert WRITERS["vtt"].render(done_record(events=SHOTS)) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:04.200\nA man rides a bike.\n\n"
        "00:00:04.200 --> 00:00:10.000\nA dog runs.\n"
    )


HOSTILE = "a --> b\n\n2\n00:00:00,000 --> 00:00:09,000\n<i>{\\an8}x</i> & \x1b[2J ---> ->"


def test_srt_of_hostile_words_is_one_cue_of_plain_text() -> None:
    text = WRITERS["srt"].render(done_record(text=HOSTILE))
    lines = text.splitlines()
    assert len(lines) == 3
    assert text.count("-->") == 1
    assert not set("<{}\x1b") & set(text)


def test_vtt_of_hostile_words_is_one_cue_of_plain_text() -> None:
    text = WRITERS["vtt"].render(done_record(text=HOSTILE))
    assert len(text.splitlines()) == 4
    assert text.count("-->") == 1
    cue = text.splitlines()[3]
    assert not set("<>\x1b") & set(cue)
    assert re.sub(r"&(amp|lt|gt);", "", cue).count("&") == 0


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (0, "00:00:00,000"),
        (999, "00:00:00,999"),
        (1_000, "00:00:01,000"),
        (59_999, "00:00:59,999"),
        (3_599_999, "00:59:59,999"),
        (3_600_000, "01:00:00,000"),
        (360_000_000, "100:00:00,000"),
    ],
)
def test_clock(milliseconds: int, shown: str) -> None:
    assert clock(milliseconds, decimal=",") == shown


@given(st.floats(0, 1e6), st.floats(0, 1e4))
def test_subtitle_times_are_right_to_the_millisecond(start_s: float, length_s: float) -> None:
    event = Event(start_s=start_s, end_s=start_s + length_s, text="x")
    line = WRITERS["srt"].render(done_record(events=(event,))).splitlines()[1]
    found = re.fullmatch(r"(\d{2,}):([0-5]\d):([0-5]\d),(\d{3}) --> (.*)", line)
    assert found is not None
    hours, minutes, seconds, milliseconds = (int(found[i]) for i in range(1, 5))
    read_s = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert read_s == pytest.approx(start_s, abs=0.000501)
    assert line.split(" --> ")[1] > line.split(" --> ")[0] or hours >= 99


def test_a_still_image_has_a_cue_that_lasts() -> None:
    event = Event(start_s=0.0, end_s=0.0, text="A cat.")
    text = WRITERS["srt"].render(done_record(events=(event,)))
    assert "00:00:00,000 --> 00:00:00,001" in text


def test_failed_records() -> None:
    assert "media.no_video" in WRITERS["text"].render(FAILED)
    assert json.loads(WRITERS["json"].render(FAILED))["status"] == "failed"
    assert WRITERS["srt"].render(FAILED) == ""
    assert WRITERS["vtt"].render(FAILED) == "WEBVTT\n"
