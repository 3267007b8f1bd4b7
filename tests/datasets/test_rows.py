"""Rows of a dataset: every column, whatever the verdict and the task, and nothing lost."""

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from seedvideo.batch.duplicates import EXACT, NEAR, DuplicateMatch, parse_duplicate
from seedvideo.batch.execution import get_prompt
from seedvideo.batch.extra_columns import format_extra
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal_rows import JournalEntry, fingerprint_at, plain_fingerprint
from seedvideo.config import SamplingConfig
from seedvideo.datasets.rows import RowBuilder, arrow_row, json_row
from seedvideo.datasets.schema import COLUMNS, QUALITY, arrow_schema, schema_sha256
from seedvideo.datasets.source import DatasetOptions
from seedvideo.records import SCHEMA_VERSION
from seedvideo.sampler.quality import QUALITY_FIELDS
from tests.batch.sample_journal import HOSTILE, journal_of
from tests.datasets.clip_jobs import DONE, fingerprint_of, job_of, source_of
from tests.sample_records import done_record


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    with source_of(job_of(tmp_path_factory.mktemp("job"), with_old=True)) as source:
        return [dict(row) for row in source.rows()]


def build(extra: dict[str, Any], job: Job | None = None, **words: Any) -> dict[str, Any]:
    item = Item(id="a", source="a.mp4", extra=format_extra(extra), **words)
    return RowBuilder(job or Job()).build(JournalEntry(item=item, state="pending"))


def test_signals_are_those_of_the_records() -> None:
    assert tuple(QUALITY) == QUALITY_FIELDS


def test_each_row_has_every_column_in_order(rows: list[dict[str, Any]]) -> None:
    assert {tuple(row) for row in rows} == {tuple(COLUMNS)}
    states = ["done"] * 4 + ["filtered", "filtered", "failed", "pending", "failed"]
    assert [row["state"] for row in rows] == states
    assert [row["id"] for row in rows[:4]] == list(DONE)


def test_a_clip_that_is_done(rows: list[dict[str, Any]]) -> None:
    row = rows[0]
    assert row["caption"] == "This is a/one.mp4."
    assert [event["text"] for event in row["captions"]] == [
        "This is a/one.mp4.",
        "This is a/one.mp4. again",
    ]
    assert row["captions"][1]["confident"] is False
    assert (row["duration_s"], row["codec"], row["frames"]) == (10.0, "h264", 8)
    assert (row["model"], row["model_sha256"]) == ("nano", "0" * 64)
    assert row["schema_version"] == SCHEMA_VERSION
    assert row["warnings"] == [{"code": "media.vfr", "message": "This is a/one.mp4."}]
    assert row["fingerprint"] == fingerprint_of("a/one.mp4")
    assert row["source_size"] > 0 and row["source_sha256"] is None
    assert row["error"] is None


def test_measurements_come_from_the_record(rows: list[dict[str, Any]]) -> None:
    quality = rows[0]["quality"]
    measured = done_record().quality
    assert measured is not None and quality == measured.model_dump()
    assert tuple(quality) == tuple(QUALITY)
    assert isinstance(quality["shots"], float)
    # A record of version 1 has none.
    assert (rows[3]["schema_version"], rows[3]["quality"]) == (1, None)


def test_columns_of_curation_are_columns_of_the_dataset(rows: list[dict[str, Any]]) -> None:
    first, second = rows[:2]
    assert (first["domain"], first["concepts"], first["repeats"]) == ("cooking", ["pan", "hob"], 3)
    assert first["extra"] == {"score": "4.5"}
    assert (second["domain"], second["concepts"], second["repeats"]) == ("sport", [], 2)
    assert second["extra"] == {"note": "=1+1"}
    assert (rows[2]["domain"], rows[2]["repeats"], rows[2]["extra"]) == (None, 1, {})


@pytest.mark.parametrize(
    ("name", "value", "column", "expected"),
    [
        ("sha256", "AB" * 32, "source_sha256", "ab" * 32),
        ("signature", "00ff", "signature", b"\x00\xff"),
        ("concepts", '["a|b", "c"]', "concepts", ["a|b", "c"]),
        ("concepts", "a|b", "concepts", ["a", "b"]),
        ("repeats", "0", "repeats", 0),
        ("repeats", 2.0, "repeats", 2),
        ("duplicate_distance", "0.5", "duplicate_distance", 0.5),
        ("keep_reason", "cap:1000", "keep_reason", "cap:1000"),
    ],
)
def test_values_that_fit(name: str, value: Any, column: str, expected: Any) -> None:
    row = build({name: value})
    assert row[column] == expected and row["extra"] == {}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("repeats", "many", "many"),
        ("repeats", 1.5, "1.5"),
        ("repeats", -1, "-1"),
        ("repeats", True, "true"),
        ("repeats", 2**31, "2147483648"),
        ("repeats", "inf", "inf"),
        ("sha256", "ab", "ab"),
        ("signature", "no hex", "no hex"),
        ("domain", 7, "7"),
        ("concepts", {"a": 1}, '{"a": 1}'),
        ("concepts", "[1]", "[1]"),
        ("concepts", "[broken", "[broken"),
        ("duplicate_distance", "nan", "nan"),
    ],
)
def test_values_that_do_not_fit_stay_with_the_others(name: str, value: Any, text: str) -> None:
    row = build({name: value})
    assert row["extra"] == {name: text}
    assert row["repeats"] == 1 and row["domain"] is None and row["concepts"] == []


def test_verdicts(rows: list[dict[str, Any]]) -> None:
    near, short, bad, later, invalid = rows[4:]
    assert (near["duplicate_of"], near["duplicate_distance"]) == ("long.mp4", 1.25)
    assert near["filtered"]["rule"] == "near_duplicates"
    assert short["filtered"] == {"rule": "min_duration", "message": "0.4 s is short"}
    assert short["duplicate_of"] is None
    assert bad["error"] == {
        "code": "media.corrupt",
        "stage": "media",
        "message": "damaged",
        "hint": "copy it",
        "retryable": False,
        "tries": 1,
    }
    assert later["error"] is later["filtered"] is None
    assert invalid["error"]["code"] == "batch.row_invalid"


@pytest.mark.parametrize(
    "kept", ["a.mp4", "by 1.00 grey", "x differs from y by 2.00", "two\nlines"]
)
def test_the_verdict_of_a_duplicate_is_parsed_back(kept: str) -> None:
    near = DuplicateMatch(rule=NEAR, position=0, distance_levels=1.5)
    same = DuplicateMatch(rule=EXACT, position=0)
    assert parse_duplicate(NEAR, near.describe(kept)) == (kept, 1.5)
    assert parse_duplicate(EXACT, same.describe(kept)) == (kept, 0.0)
    assert parse_duplicate("min_duration", near.describe(kept)) is None
    assert parse_duplicate(NEAR, "0.4 s is short") is None


def test_answers(tmp_path: Path) -> None:
    with source_of(job_of(tmp_path, task="ask")) as source:
        row = next(iter(source.rows()))
    assert (row["question"], row["answer"]) == ("Which colour is the bike?", "This is a/one.mp4.")
    assert row["options"] == ["red", "blue"]
    assert row["option_probabilities"] == [0.0312, 0.9688]
    assert row["caption"] is None and row["captions"] == [] and row["task"] == "ask"


def test_moments(tmp_path: Path) -> None:
    with source_of(job_of(tmp_path, task="ground")) as source:
        row = next(iter(source.rows()))
    assert row["query"] == "the dog jumps" and row["caption"] is None
    assert row["spans"][0] == {"start_s": 4.0, "end_s": 8.0, "score": 0.8312}


def test_a_window_of_the_row_or_of_the_job() -> None:
    row = build({}, start_s=None, end_s=None)
    assert row["start_s"] is row["end_frac"] is None
    job = Job(sampling=SamplingConfig(start_s=Fraction(1), end_s=Fraction(9)))
    row = build({}, job, end_s=Fraction(25, 2))
    assert (row["start_s"], row["start_frac"]) == (1.0, "1")
    assert (row["end_s"], row["end_frac"]) == (12.5, "25/2")


def test_the_prompt_has_a_hash(rows: list[dict[str, Any]]) -> None:
    text = get_prompt(Job(), Item(id="a", source="a"))
    assert rows[0]["prompt_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert rows[4]["prompt_sha256"] is None


def test_hostile_names_are_valid_text_everywhere(tmp_path: Path) -> None:
    folder = journal_of(tmp_path / "job", hostile=True)
    with source_of(folder) as source:
        found = [dict(row) for row in source.rows()]
    schema = arrow_schema()
    values = [arrow_row(row, COLUMNS) for row in found]
    table = pa.Table.from_pylist(values, schema=schema)
    ids = [name.replace("\udcff", "\\udcff") for name in HOSTILE]
    assert table["id"].to_pylist()[: len(ids)] == ids
    for row in found:
        line = json_row(row)
        assert line.isascii() and b"\n" not in line
        assert json.loads(line)["id"] == row["id"]


def test_arrow_and_json_hold_the_same(rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist([arrow_row(row, COLUMNS) for row in rows], schema=arrow_schema())
    for row, read in zip(rows, table.to_pylist(), strict=True):
        read["extra"] = dict(read["extra"])
        assert read == row
        assert json.loads(json_row(row)) == row


def test_the_schema_is_data_with_a_hash() -> None:
    assert json.loads(json.dumps(COLUMNS)) == COLUMNS
    assert schema_sha256() == schema_sha256(dict(COLUMNS))
    assert schema_sha256() != schema_sha256(dict(sorted(COLUMNS.items())))
    assert arrow_schema().names == list(COLUMNS)


def test_a_position_in_a_fingerprint() -> None:
    assert plain_fingerprint(fingerprint_at(12, "ab")) == plain_fingerprint("ab") == "ab"
    assert plain_fingerprint(None) is None
    assert fingerprint_at(1, "ab") != fingerprint_at(2, "ab")


def test_copies_are_rows_of_their_own(tmp_path: Path) -> None:
    with source_of(job_of(tmp_path), DatasetOptions(with_copies=True)) as source:
        clips = [clip for clip in source.clips() if clip.is_done]
    assert [clip.row["id"] for clip in clips] == [
        *("a/one.mp4", "a/one.mp4~2", "a/one.mp4~3", "b/one.mp4", "b/one.mp4~2"),
        *DONE[2:],
    ]
    assert {clip.row["repeats"] for clip in clips} == {1}
    assert len({clip.key for clip in clips}) == 7
