"""Columns of a list that are not ours: kept, bounded, and in every export as they are."""

import csv
import datetime
import io
import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from seedvideo.batch import journal_schema
from seedvideo.batch.export import ExportFormat, export
from seedvideo.batch.extra_columns import (
    MAX_EXTRA_BYTES,
    MAX_EXTRA_VALUE_BYTES,
    format_extra,
    parse_extra,
)
from seedvideo.batch.inputs import BadRow, Item, read_inputs
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_merge import merge
from seedvideo.batch.journal_rows import Counts
from tests.batch.journal_rows import CONTENT, MODEL
from tests.batch.sample_journal import record_for

NESTED = {"path": "fake", "tags": ["a", None, 1.5], "deep": {"x": {"y": [True]}}}
ROWS: list[dict[str, Any]] = [
    {"path": "a.mp4", "Label": "cat", "score": 0.25, "n": 12345678901234567890, "ok": True},
    {"path": "b.mp4", "extra": {"extra": 1}, "state": "mine", "text": "=1+1", "task": None},
    {"path": "c.mp4", "meta": NESTED, "": "no name", "error": "<script>x</script>"},
    {"path": "d.mp4"},
]


def extras(path: Path) -> list[dict[str, Any]]:
    return [parse_extra(row.extra) for row in read_inputs([str(path)])]


def planned(folder: Path, path: Path, job: Job | None = None) -> Counts:
    """Plan a list and finish what is to do."""
    job = Job(folder=str(path.parent)) if job is None else job
    with Journal.open(folder, write=True) as journal:
        counts = journal.plan(read_inputs([path.name], folder=job.folder), job, MODEL)
        for taken in journal.claim(99):
            record = record_for("caption", taken.item.source, "A dog.").json_line()
            journal.mark_done(taken.item.id, f"of {taken.item.source}", CONTENT, record)
        return counts


def exported(folder: Path, form: ExportFormat, output: Path) -> bytes:
    with Journal.open(folder, write=False) as journal:
        export(journal, form, output)
    return output.read_bytes()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


WANTED = [{name: value for name, value in row.items() if name != "path"} for row in ROWS]


def test_json_lines_keep_types_nesting_and_names_of_our_own(listed: Path, tmp_path: Path) -> None:
    assert extras(listed) == WANTED
    planned(tmp_path / "job", listed)
    lines = exported(tmp_path / "job", "jsonl", tmp_path / "a.jsonl").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row.get("extra", {}) for row in rows] == WANTED
    # Ours stay ours.
    assert [row["state"] for row in rows] == ["done"] * 4
    assert {row["text"] for row in rows} == {"A dog."}
    assert list(rows[0])[:3] == ["id", "state", "extra"]
    assert "extra" not in rows[3]


def test_csv_has_them_as_one_json_column(listed: Path, tmp_path: Path) -> None:
    planned(tmp_path / "job", listed)
    text = exported(tmp_path / "job", "csv", tmp_path / "a.csv").decode("ascii")
    cells = [row["extra"] for row in csv.DictReader(io.StringIO(text))]
    assert [json.loads(cell) if cell else {} for cell in cells] == WANTED


def test_parquet_has_them_as_a_map_of_texts(listed: Path, tmp_path: Path) -> None:
    planned(tmp_path / "job", listed)
    exported(tmp_path / "job", "parquet", tmp_path / "a.parquet")
    maps = pyarrow.parquet.read_table(tmp_path / "a.parquet")["extra"].to_pylist()
    assert maps[0] == [
        ("Label", "cat"),
        ("score", "0.25"),
        ("n", "12345678901234567890"),
        ("ok", "true"),
    ]
    assert dict(maps[1]) == {"extra": '{"extra": 1}', "state": "mine", "text": "=1+1", "task": None}
    assert json.loads(dict(maps[2])["meta"]) == NESTED
    assert maps[3] is None


def test_the_report_shows_them_and_runs_nothing(listed: Path, tmp_path: Path) -> None:
    planned(tmp_path / "job", listed)
    page = exported(tmp_path / "job", "html", tmp_path / "a.html").decode()
    assert "<dt>Label</dt><dd>cat</dd>" in page
    assert "&lt;script&gt;x&lt;/script&gt;" in page and "<script>x" not in page


def test_csv_cells_stay_texts_and_names_keep_their_case(tmp_path: Path) -> None:
    # As pandas writes it, the index in a column without a name.
    path = tmp_path / "m.csv"
    path.write_text(
        ',Path,Label ,score,url\n0,a.mp4,Ä,1.50,\n1,b.mp4,"x, y",,"http://a/?b=""c"""\n'
    )
    assert extras(path) == [
        {"": "0", "Label": "Ä", "score": "1.50", "url": ""},
        {"": "1", "Label": "x, y", "score": "", "url": 'http://a/?b="c"'},
    ]
    path.write_bytes(b"path,label\na.mp4,caf\xe9\n")
    assert extras(path) == [{"label": "caf\udce9"}]


def test_types_of_parquet_have_a_form_in_json(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "path": ["a.mp4", "b.mp4"],
            "when": [datetime.datetime(2026, 11, 29, 8, 30), None],
            "day": [datetime.date(2026, 1, 2), None],
            "price": [Decimal("1.10"), None],
            "raw": [b"\x00\xff", b""],
            "share": [float("nan"), float("inf")],
            "box": [{"x": 1, "y": [2, 3]}, None],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    assert extras(tmp_path / "m.parquet") == [
        {
            "when": "2026-11-29T08:30:00",
            "day": "2026-01-02",
            "price": "1.10",
            "raw": "AP8=",
            "share": "nan",
            "box": {"x": 1, "y": [2, 3]},
        },
        {"when": None, "day": None, "price": None, "raw": "", "share": "inf", "box": None},
    ]


def test_huge_and_deep_values_are_replaced_by_a_note() -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    wide = {f"c{number}": "x" * 50_000 for number in range(30)}
    found = parse_extra(format_extra({"long": "y" * 10_000_000, "deep": deep, "short": 1}))
    assert (
        found["long"] == f"left out: 10,000,002 bytes, at most {MAX_EXTRA_VALUE_BYTES:,} are kept"
    )
    assert "left out: more than 32 levels deep" in json.dumps(found["deep"])
    assert found["short"] == 1
    kept = format_extra(wide)
    assert len(kept) < MAX_EXTRA_BYTES + 10_000
    values = parse_extra(kept)
    assert list(values) == list(wide) and values["c0"] == wide["c0"]
    assert values["c29"].startswith("left out: 50,002 bytes")


def test_a_row_that_fails_keeps_its_columns_too(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    rows = [{"path": "a.mp4"}, {"path": "b.mp4", "start": "soon", "label": 7}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    planned(tmp_path / "job", path)
    lines = exported(tmp_path / "job", "jsonl", tmp_path / "a.jsonl").splitlines()
    bad = json.loads(lines[1])
    assert (bad["error"]["code"], bad["extra"]) == ("batch.row_invalid", {"label": 7})


def test_one_video_under_other_columns_is_several_rows(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path,caption\na.mp4,one\na.mp4,two\na.mp4,two\n")
    first, second, third = read_inputs([str(path)])
    assert isinstance(first, Item) and isinstance(second, Item) and isinstance(third, BadRow)
    assert second.id == f"{first.id}#2" and second.source == first.source
    assert third.code == "batch.id_repeated"


def test_a_changed_value_reprocesses_nothing_and_is_exported(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path,label\na.mp4,cat\n")
    planned(tmp_path / "job", path)
    path.write_text("path,label\na.mp4,dog\n")
    assert planned(tmp_path / "job", path) == Counts(done=1)
    row = json.loads(exported(tmp_path / "job", "jsonl", tmp_path / "a.jsonl"))
    assert (row["state"], row["extra"]) == ("done", {"label": "dog"})


def to_version_2(folder: Path) -> None:
    """Make a journal what the version before wrote."""
    with closing(sqlite3.connect(folder / journal_schema.JOURNAL_NAME)) as connection:
        for name in journal_schema.CARRIED_COLUMNS.split(", "):
            connection.execute(f"ALTER TABLE items DROP COLUMN {name}")
        connection.execute("PRAGMA user_version = 2")
        connection.commit()


def test_a_journal_of_version_2_is_read_resumed_and_merged(tmp_path: Path) -> None:
    path, folder = tmp_path / "m.csv", tmp_path / "job"
    path.write_text("path,label\na.mp4,cat\nb.mp4,dog\n")
    planned(folder, path)
    to_version_2(folder)
    # Read without being changed.
    rows = exported(folder, "jsonl", tmp_path / "a.jsonl").splitlines()
    assert all("extra" not in json.loads(row) for row in rows)
    with Journal.open(folder, write=False) as journal:
        assert journal.find_problems() == []
    assert merge([folder], tmp_path / "merged").counts == Counts(done=2)
    # A resumed job reprocesses nothing.
    assert planned(folder, path) == Counts(done=2)
    rows = exported(folder, "jsonl", tmp_path / "b.jsonl").splitlines()
    assert [json.loads(row)["extra"]["label"] for row in rows] == ["cat", "dog"]


def test_a_flipped_byte_in_them_is_noticed_and_a_merge_keeps_the_verdict(tmp_path: Path) -> None:
    path, folder = tmp_path / "m.csv", tmp_path / "job"
    path.write_text("path,label\na.mp4,cat\n")
    planned(folder, path)
    with closing(sqlite3.connect(folder / journal_schema.JOURNAL_NAME)) as connection:
        connection.execute("UPDATE items SET extra = replace(extra, 'cat', 'car')")
        connection.commit()
    with Journal.open(folder, write=False) as journal:
        assert "checksum" in journal.find_problems()[0]
    made = merge([folder], tmp_path / "merged")
    assert (made.counts, made.unreadable) == (Counts(done=1), 1)
