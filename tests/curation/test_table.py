"""Tables in every form: columns stay, files are whole, and what is missing is refused."""

import base64
import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from seedvideo.curation.curate import curate
from seedvideo.curation.options import CurationOptions
from seedvideo.curation.table import MISSING, find_value, iter_rows, open_tables
from seedvideo.errors import BatchError, ConfigError, InputError, OutputError
from tests.curation.tables import Row, filter_by, read_ids, read_rows, run, write_rows
from tests.tiers import quick_first

ROWS: list[dict[str, Any]] = [
    {"path": "a.mp4", "duration_s": 1.5, "note": 'x, "y"\nz', "clip": 3, "tags": ["p", "q"]},
    {"path": "b.mp4", "duration_s": 2.5, "note": "", "clip": 4, "tags": []},
    {"path": "c.mp4", "duration_s": None, "note": "é", "clip": None, "tags": None},
]


@pytest.mark.parametrize("target", quick_first([".csv", ".jsonl", ".parquet"], 3))
@pytest.mark.parametrize("source", [".csv", ".jsonl", ".parquet"])
def test_forms_keep_the_columns(tmp_path: Path, source: str, target: str) -> None:
    table = write_rows(tmp_path / f"in{source}", ROWS)
    output = tmp_path / f"out{target}"
    curate([str(table)], output, filter_by("duration_s > 1"))
    first, second = read_rows(output)
    assert list(first) == ["id", "path", "duration_s", "note", "clip", "tags"]
    assert (first["id"], second["id"]) == ("a.mp4", "b.mp4")
    assert first["note"] == ROWS[0]["note"]
    assert float(first["duration_s"]) == 1.5
    assert int(float(first["clip"])) == 3


@pytest.mark.parametrize(
    ("row", "events", "duration_s"),
    [
        ({"quality": {"events": 2, "duration_s": 1.5}, "duration_s": 9.0, "events": [{}]}, 2, 1.5),
        ({"quality": '{"events": 2}', "duration_s": "9", "events": "a caption"}, 2, "9"),
        ({"event_count": "2", "events": "0.000-1.000 a caption", "duration_s": "1"}, "2", "1"),
        ({"quality": None, "events": [{}], "media": {"duration_s": 9.0}}, MISSING, 9.0),
        ({"events": 2, "duration_s": 1.5}, 2, 1.5),
    ],
)
def test_signals_are_not_captions(row: Row, events: Any, duration_s: Any) -> None:
    assert find_value(row, "events") == events
    assert find_value(row, "duration_s") == duration_s


def test_types_of_csv_in_parquet(tmp_path: Path) -> None:
    table = tmp_path / "in.csv"
    table.write_text(
        "id,path,count,score,is_new,code,sha256\n7,a,1,0.5,true,007,1\n8,b,,2,false,8,2\n"
    )
    output = tmp_path / "out.parquet"
    curate([str(table)], output, CurationOptions())
    types = {field.name: str(field.type) for field in pyarrow.parquet.read_schema(output)}
    assert types == {
        "id": "string",
        "path": "string",
        "count": "int64",
        "score": "double",
        "is_new": "bool",
        "code": "string",
        "sha256": "string",
    }
    assert read_rows(output)[1] == {
        "id": "8",
        "path": "b",
        "count": None,
        "score": 2.0,
        "is_new": False,
        "code": "8",
        "sha256": "2",
    }


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    when = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    schema = pyarrow.schema(
        [
            ("path", pyarrow.string()),
            ("small", pyarrow.int16()),
            ("when", pyarrow.timestamp("us", "UTC")),
            ("data", pyarrow.binary()),
            ("extra", pyarrow.map_(pyarrow.string(), pyarrow.string())),
            ("quality", pyarrow.struct([("motion_mean", pyarrow.float32())])),
        ]
    )
    row = {
        "path": "a.mp4",
        "small": 3,
        "when": when,
        "data": b"\xff",
        "extra": [("domain", "sea")],
        "quality": {"motion_mean": 0.5},
    }
    table = tmp_path / "in.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row], schema=schema), table)
    options = filter_by("motion_mean = 0.5 and domain = 'sea' and quality.motion_mean > 0")
    output = tmp_path / "out.parquet"
    curate([str(table)], output, options)
    stored = pyarrow.parquet.read_table(output)
    assert stored.drop_columns(["id"]).schema.remove_metadata() == schema
    assert stored.to_pylist() == [{"id": "a.mp4", **row}]
    lines = tmp_path / "out.jsonl"
    curate([str(table)], lines, options)
    assert read_rows(lines) == [
        {
            "id": "a.mp4",
            "path": "a.mp4",
            "small": 3,
            "when": "2026-01-02T00:00:00+00:00",
            "data": base64.b64encode(b"\xff").decode(),
            "extra": {"domain": "sea"},
            "quality": {"motion_mean": 0.5},
        }
    ]


def test_a_batch_export_is_a_table(tmp_path: Path) -> None:
    """Nested columns of records, of the user, and rows without a result."""
    record = {
        "state": "done",
        "source": "a.mp4",
        "text": "A dog.",
        "media": {"duration_s": 3.0},
        "quality": None,
        "extra": {"domain": "dogs"},
        "error": None,
    }
    rows: list[Row] = [
        {"id": "a", **record},
        {"id": "b", **record, "quality": {"motion_mean": 0.3}},
        {"id": "c", "state": "failed", "source": "c.mp4", "error": {"code": "media.no_video"}},
        {
            "id": "d",
            "state": "filtered",
            "source": "d.mp4",
            "filtered": {"rule": "black", "message": "no light"},
        },
    ]
    options = filter_by(
        "motion_mean > 0.1 and duration_s = 3 and domain = 'dogs' and caption != ''"
    )
    kept, dropped, result = run(tmp_path, rows, options)
    assert [row["id"] for row in kept] == ["b"]
    assert {row["id"]: (row["rule"], row["message"]) for row in dropped} == {
        "a": ("keep", "not motion_mean > 0.1: motion_mean is empty"),
        "c": ("failed", "media.no_video"),
        "d": ("failed", "filtered: black no light"),
    }
    assert result.dropped == {"keep": 1, "failed": 2}


def test_missing_columns_are_refused_with_the_command(tmp_path: Path) -> None:
    table = write_rows(tmp_path / "t.jsonl", ROWS)
    with pytest.raises(ConfigError) as caught:
        curate([str(table)], tmp_path / "o.csv", filter_by("motion_mean > 1"))
    assert caught.value.code == "config.column_missing"
    assert caught.value.hint == f"add it: seedvideo inspect {table} -f jsonl -o inspected.jsonl"
    assert not (tmp_path / "o.csv").exists()
    with pytest.raises(ConfigError) as caught:
        curate([str(table)], tmp_path / "o.csv", filter_by("durations > 1"))
    assert caught.value.hint == "did you mean 'duration_s'?"
    # A column that only some rows have is there.
    rows: list[Row] = [*ROWS, {"path": "d.mp4", "score": 5}]
    kept, _, _ = run(tmp_path, rows, filter_by("score > 1"))
    assert [row["path"] for row in kept] == ["d.mp4"]


def test_unusable_rows_are_dropped_with_their_reason(tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    lines = ['{"id": 1, "path": "a"}', "{", '{"id": 1, "path": "b"}', '{"x": 1}', '{"path": 5}']
    table.write_text("\n".join(lines))
    output, dropped = tmp_path / "o.jsonl", tmp_path / "d.jsonl"
    result = curate([str(table)], output, CurationOptions(), dropped=dropped)
    assert read_rows(output) == [{"id": 1, "path": "a"}]
    assert result.invalid == 4
    found = {row["id"]: row["message"] for row in read_rows(dropped)}
    assert {name.removeprefix(f"{table} ") for name in found} == {f"line {n}" for n in (2, 3, 4, 5)}
    assert found[f"{table} line 3"] == "the id 1 was there before"
    assert "expected one" in found[f"{table} line 4"]
    assert found[f"{table} line 5"] == "path is not a text"


def test_ids_of_windows_and_repeated_paths(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"path": "a.mp4", "start": 1, "end": 2.5},
        {"path": "a.mp4"},
        {"path": "a.mp4", "question": "why?"},
        {"id": "", "path": "b.mp4", "end": "3"},
    ]
    kept, _, _ = run(tmp_path, rows, CurationOptions())
    assert [row["id"] for row in kept] == ["a.mp4@1-2.5", "a.mp4", "a.mp4#2", "b.mp4@-3"]


def test_paths_hold_in_the_folder_of_the_output(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    rows = [{"path": "clips/a.mp4"}, {"path": "/abs/b.mp4"}, {"path": "s3://bucket/c.mp4"}]
    table = write_rows(folder / "t.csv", rows)
    curate([str(table)], tmp_path / "o.csv", CurationOptions())
    paths = [row["path"] for row in read_rows(tmp_path / "o.csv")]
    assert paths == ["lists/clips/a.mp4", "/abs/b.mp4", "s3://bucket/c.mp4"]
    # Ids stay, so that draws are the same from any folder.
    assert read_ids(tmp_path / "o.csv") == [row["path"] for row in rows]


def test_cells_of_other_forms_run_in_no_spreadsheet(tmp_path: Path) -> None:
    rows: list[Row] = [{"path": "=a.mp4", "note": "=1+1", "n": -1.5, "t": "-2"}]
    table = write_rows(tmp_path / "t.jsonl", rows)
    curate([str(table)], tmp_path / "o.csv", CurationOptions())
    (row,) = read_rows(tmp_path / "o.csv")
    assert (row["path"], row["note"], row["n"], row["t"]) == ("./=a.mp4", "'=1+1", "-1.5", "-2")
    # Cells of CSV stay as they are.
    table = write_rows(tmp_path / "t.csv", rows)
    curate([str(table)], tmp_path / "p.csv", CurationOptions())
    assert read_rows(tmp_path / "p.csv")[0]["note"] == "=1+1"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("clip.mp4", ConfigError), ("none.csv", InputError), ("folder.csv", InputError)],
)
def test_other_inputs_are_refused(tmp_path: Path, name: str, kind: type[Exception]) -> None:
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(kind):
        open_tables([str(tmp_path / name)])


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path\n")
    with pytest.raises(BatchError) as caught:
        curate([str(table)], tmp_path / "o.csv", CurationOptions())
    assert caught.value.code == "batch.no_input"


def test_outputs_are_refused_before_any_work(tmp_path: Path) -> None:
    table = write_rows(tmp_path / "t.jsonl", ROWS)
    (tmp_path / "o.csv").touch()
    with pytest.raises(OutputError):
        curate([str(table)], tmp_path / "o.csv", CurationOptions())
    with pytest.raises(ConfigError):
        curate([str(table)], tmp_path / "o.txt", CurationOptions())
    with pytest.raises(ConfigError):
        curate([str(table)], tmp_path / "p.csv", CurationOptions(), dropped=tmp_path / "d")


def test_a_table_that_changes_is_refused(tmp_path: Path) -> None:
    table = write_rows(tmp_path / "t.jsonl", ROWS)

    def grow(stage: str, rows: int) -> None:
        if stage == "written":
            table.write_text(table.read_text() + '{"path": "z.mp4"}\n')

    with pytest.raises(InputError) as caught:
        curate([str(table)], tmp_path / "o.jsonl", CurationOptions(), on_progress=grow)
    assert caught.value.code == "input.changed"
    assert not (tmp_path / "o.jsonl").exists()


def test_a_table_that_vanishes_is_refused(tmp_path: Path) -> None:
    table = write_rows(tmp_path / "table.jsonl", [{"path": "a.mp4"}])

    def remove(stage: str, rows: int) -> None:
        if stage == "written":
            table.unlink()

    with pytest.raises(InputError, match="changed while it was read"):
        curate([str(table)], tmp_path / "out.csv", CurationOptions(), on_progress=remove)
    assert not (tmp_path / "out.csv").exists()


def test_several_files_are_one_table(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "1.csv", [{"path": "a", "x": 1}])
    other = write_rows(tmp_path / "2.jsonl", [{"path": "b", "y": {"z": 2}}])
    output = tmp_path / "o.parquet"
    curate([str(one), str(other)], output, CurationOptions())
    assert read_rows(output) == [
        {"id": "a", "path": "a", "x": 1, "y": None},
        {"id": "b", "path": "b", "x": None, "y": '{"z": 2}'},
    ]


def test_names_with_any_bytes_survive(tmp_path: Path) -> None:
    table = tmp_path / "t.txt"
    table.write_bytes(b"a\xff.mp4\n")
    curate([str(table)], tmp_path / "o.jsonl", CurationOptions())
    again = open_tables([str(tmp_path / "o.jsonl")])
    assert [row.path for row in iter_rows(again)] == ["a\udcff.mp4"]
    curate([str(table)], tmp_path / "o.csv", CurationOptions())
    assert b"a\xff.mp4" in (tmp_path / "o.csv").read_bytes()


def test_not_a_number_is_empty(tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text('{"path": "a", "x": NaN}\n')
    curate([str(table)], tmp_path / "o.jsonl", CurationOptions())
    assert read_rows(tmp_path / "o.jsonl") == [{"id": "a", "path": "a", "x": None}]
    values: dict[str, Any] = json.loads((tmp_path / "o.jsonl").read_text())
    assert values["x"] is None
