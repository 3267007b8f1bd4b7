"""What each writer makes of a record."""

import csv
import io
import json
import re
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import MediaError
from seedvideo.records import Event, Record
from seedvideo.writers import WRITERS, format_clock
from tests.fixtures import ffmpeg
from tests.sample_records import answer_record, done_record, grounding_record
from tests.synthetic_clips import paint

SHOTS = (
    Event(start_s=0.0, end_s=4.2, text="A man rides a bike."),
    Event(start_s=4.2, end_s=10.0, text="A dog runs."),
)
FAILED = Record.failed("bad.mp4", MediaError("media.no_video", "no video stream"), timing_s={})


def test_text_of_one_caption() -> None:
    assert WRITERS["text"].render(done_record()) == (
        "bikes.mp4  (10.0 s)\n   0.0 - 10.0 s  A man rides a bike down a street.\n"
    )


def test_text_of_shots_has_the_caption_of_the_clip_in_its_head() -> None:
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
    assert format_clock(milliseconds, decimal=",") == shown


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
    assert WRITERS["csv"].render(FAILED) == "start_s,end_s,text,confident\n"
    assert WRITERS["chapters"].render(FAILED) == ";FFMETADATA1\n"


def test_text_of_an_answer() -> None:
    assert WRITERS["text"].render(answer_record()) == "blue\n  A  0.03  red\n  B  0.97  blue\n"
    read = answer_record(options=(("red", None), ("blue\n\x1b[2J", None)))
    assert WRITERS["text"].render(read) == "blue\n  A  red\n  B  blue [2J\n"
    assert WRITERS["text"].render(answer_record(answer="a\nb", options=())) == "a b\n"


def test_text_of_spans() -> None:
    assert WRITERS["text"].render(grounding_record()) == (
        " 4.00 -  8.00 s  0.83\n12.04 - 13.50 s  0.10\n"
    )
    record = grounding_record(spans=((4.0, 8.0, None),), not_found_probability=None)
    assert WRITERS["text"].render(record) == "4.00 - 8.00 s\n"
    nothing = grounding_record(spans=(), not_found_probability=0.918)
    assert WRITERS["text"].render(nothing) == "not found  0.92\n"
    nothing = grounding_record(spans=(), not_found_probability=None)
    assert WRITERS["text"].render(nothing) == "not found\n"


def test_csv() -> None:
    events = (*SHOTS, Event(start_s=10.0, end_s=10.0, text='A "dog", a cat.', confident=False))
    assert WRITERS["csv"].render(done_record(events=events)) == (
        "start_s,end_s,text,confident\n"
        "0.000,4.200,A man rides a bike.,true\n"
        "4.200,10.000,A dog runs.,true\n"
        '10.000,10.000,"A ""dog"", a cat.",false\n'
    )


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", " =", "\t=", "\r\n@", "\x00="])
def test_csv_holds_no_formula(sign: str) -> None:
    text = WRITERS["csv"].render(done_record(text=f"{sign}HYPERLINK(1)\n2,3"))
    (_, row) = csv.reader(io.StringIO(text))
    assert row[2] == f"'{sign.strip(chr(0)).strip()}HYPERLINK(1) 2,3"


@given(st.text(min_size=1))
def test_csv_of_any_words_is_one_row_of_four_cells(text: str) -> None:
    rows = list(csv.reader(io.StringIO(WRITERS["csv"].render(done_record(text=text)))))
    assert [len(row) for row in rows] == [4, 4]
    assert not rows[1][2].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_chapters() -> None:
    assert WRITERS["chapters"].render(done_record(events=SHOTS)) == (
        ";FFMETADATA1\n\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=4200\ntitle=A man rides a bike.\n\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=4200\nEND=10000\ntitle=A dog runs.\n"
    )


def test_ffmpeg_reads_the_chapters(tmp_path: Path) -> None:
    hostile = "a=b; #c \\ d\n[CHAPTER]\nSTART=5\n;x é"
    events = (
        Event(start_s=0.0, end_s=0.5004, text="A man rides a bike."),
        Event(start_s=0.5004, end_s=1.0, text=hostile),
        Event(start_s=1.0, end_s=1.0, text="Nothing lasts."),
    )
    clip, metadata = paint(tmp_path / "clip.mp4", ["red", "blue"]), tmp_path / "clip.ffmeta"
    metadata.write_text(WRITERS["chapters"].render(done_record(events=events)), encoding="utf-8")
    made = tmp_path / "chapters.mkv"
    ffmpeg("-i", clip, "-i", metadata, "-map", "0", "-map_chapters", "1", "-c", "copy", made)
    with av.open(str(made)) as container:
        chapters = container.chapters()
    read = [
        (
            float(each["start"] * (each["time_base"] or 0)),
            float(each["end"] * (each["time_base"] or 0)),
            each["metadata"]["title"],
        )
        for each in chapters
    ]
    assert read == [
        (0.0, 0.5, "A man rides a bike."),
        (0.5, 1.0, r"a=b; #c \ d [CHAPTER] START=5 ;x é"),
        (1.0, 1.001, "Nothing lasts."),
    ]
