"""The record: done or failed, nothing between, and the same after a trip through JSON."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from seedvideo.errors import InputError, MediaError
from seedvideo.records import Event, QualityRecord, Record, SpanRecord
from seedvideo.sampler.quality import QUALITY_FIELDS, Quality
from tests.sample_records import answer_record, done_record, grounding_record


def test_a_done_record_has_the_keys_that_programs_rely_on() -> None:
    data = json.loads(done_record().json_line())
    assert list(data) == [
        "schema_version",
        "source",
        "task",
        "status",
        "text",
        "confident",
        "notes",
        "events",
        "answer",
        "grounding",
        "media",
        "quality",
        "plan",
        "model",
        "usage",
        "timing_s",
        "error",
    ]
    assert data["schema_version"] == 2
    assert set(data["events"][0]) == {"start_s", "end_s", "text", "confident"}
    assert set(data["usage"]) == {"visual_tokens", "prompt_tokens", "output_tokens"}
    assert set(data["model"]) == {
        "name",
        "sha256",
        "source",
        "family",
        "time_format",
        "time_precision_s",
        "revision",
        "dtype",
        "quantize",
        "pairs",
        "server",
        "server_version",
        "jpeg_quality",
    }


@pytest.mark.parametrize("missing", ["text", "confident", "media", "plan", "model", "usage"])
def test_half_a_done_record_is_refused(missing: str) -> None:
    data = {**done_record().to_json(), missing: None}
    with pytest.raises(InputError, match=missing):
        Record.from_json(data)


@pytest.mark.parametrize(
    ("record", "missing"), [(answer_record(), "answer"), (grounding_record(), "grounding")]
)
def test_each_task_has_its_own_result(record: Record, missing: str) -> None:
    data = record.to_json()
    assert Record.from_json(data) == record
    with pytest.raises(InputError, match=f"needs {missing}"):
        Record.from_json({**data, missing: None})
    with pytest.raises(InputError, match=f"task {record.task} cannot have events"):
        Record.from_json({**data, "events": done_record().to_json()["events"]})


def test_found_means_that_there_is_a_span() -> None:
    data = grounding_record().to_json()
    for key, wrong in (("found", False), ("spans", [])):
        with pytest.raises(InputError, match="found is"):
            Record.from_json({**data, "grounding": {**data["grounding"], key: wrong}})
    assert grounding_record(spans=()).text == "not found"


def test_a_span_runs_forward_and_may_be_an_instant() -> None:
    assert SpanRecord(start_s=2.0, end_s=2.0).score is None
    with pytest.raises(ValidationError, match="before its start"):
        SpanRecord(start_s=2.0, end_s=1.0)
    with pytest.raises(ValidationError, match="score"):
        SpanRecord(start_s=1.0, end_s=2.0, score=1.5)


def test_an_empty_caption_is_no_success() -> None:
    with pytest.raises(InputError, match="text"):
        Record.from_json({**done_record().to_json(), "text": ""})


def test_a_failed_record_needs_an_error_and_a_done_one_has_none() -> None:
    with pytest.raises(ValidationError, match="error"):
        Record(source="a.mp4", status="failed")
    error = {"code": "media.corrupt", "stage": "media", "message": "no", "retryable": False}
    with pytest.raises(InputError, match="error"):
        Record.from_json({**done_record().to_json(), "error": error})


def test_failed_carries_the_stable_code() -> None:
    error = MediaError("media.no_video", "a.mp4 has no video stream", hint="look")
    record = Record.failed("a.mp4", error, timing_s={"total": 0.1})
    assert record.error is not None
    assert record.error.model_dump() == {
        "code": "media.no_video",
        "stage": "media",
        "message": "a.mp4 has no video stream",
        "retryable": False,
    }


def test_an_error_that_is_not_ours_is_internal() -> None:
    record = Record.failed("a.mp4", ZeroDivisionError("oh"), timing_s={})
    assert record.error is not None
    assert (record.error.code, record.error.stage) == ("internal.error", "internal")
    assert record.error.message == "ZeroDivisionError: oh"


def test_unknown_keys_and_other_versions_are_refused() -> None:
    with pytest.raises(InputError):
        Record.from_json({**done_record().to_json(), "extra": 1})
    with pytest.raises(InputError):
        Record.from_json({**done_record().to_json(), "schema_version": 3})


def test_a_record_of_version_1_has_no_quality() -> None:
    data = {**done_record().to_json(), "schema_version": 1}
    del data["quality"]
    record = Record.from_json(data)
    assert (record.schema_version, record.quality) == (1, None)


def test_the_quality_of_a_record_has_every_signal() -> None:
    assert tuple(QualityRecord.model_fields) == QUALITY_FIELDS
    header = Quality(duration_s=2.0, width_px=4, height_px=2, aspect=2.0, fps=None, bits_per_px=0.5)
    record = QualityRecord.of(header)
    assert record.model_dump() == asdict(header)
    assert (record.bits_per_px, record.motion_mean) == (0.5, None)


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError):
        done_record().text = "other"


def test_an_event_runs_forward() -> None:
    with pytest.raises(ValidationError, match="before its start"):
        Event(start_s=2.0, end_s=1.0, text="no")


@given(source=st.text(st.characters(categories=None)), text=st.text(min_size=1))
def test_any_text_survives_json_on_one_ascii_line(source: str, text: str) -> None:
    record = Record.from_json({**done_record().to_json(), "source": source, "text": text})
    line = record.json_line()
    assert line.isascii()
    assert line.isprintable()
    assert Record.from_json(json.loads(line)) == record
