"""Exports: every clip in its place, inert, whole or not there, and the same every time."""

import csv
import errno
import io
import json
import os
import re
import unicodedata
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import pytest
from pyarrow import parquet as arrow_parquet

from seedvideo.batch import export as exporting
from seedvideo.batch import export_tables
from seedvideo.batch.export import EXPORT_FORMATS, ExportFormat, ExportResult, export
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import JournalEntry, to_row
from seedvideo.errors import ConfigError, OutputError
from seedvideo.records import QualityRecord, Record
from seedvideo.utils import files
from tests.batch.sample_journal import HOSTILE, done_names, journal_of
from tests.sample_records import done_record

STATES = ["done"] * 3 + ["filtered", "failed", "quarantined", "pending", "failed"]


@pytest.fixture(scope="module")
def journal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return journal_of(tmp_path_factory.mktemp("journal"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return journal_of(tmp_path_factory.mktemp("hostile"), hostile=True)


def exported(folder: Path, form: ExportFormat, output: Path, **options: bool) -> ExportResult:
    with Journal.open(folder, write=False) as journal:
        return export(journal, form, output, **options)


def all_bytes(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {each.name: each.read_bytes() for each in sorted(path.iterdir())}


def test_json_lines_hold_every_clip_and_the_records_as_they_are(
    journal_folder: Path, tmp_path: Path
) -> None:
    made = exported(journal_folder, "jsonl", tmp_path / "a.jsonl")
    assert made == ExportResult(files=1, clips=8)
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["state"] for row in rows] == STATES
    first = dict(rows[0])
    assert (first.pop("id"), first.pop("state")) == ("one.mp4", "done")
    assert Record.from_json(first).text == "A dog runs in one.mp4."
    assert rows[3] == {
        "id": "short.mp4",
        "state": "filtered",
        "source": "in/short.mp4",
        "task": "caption",
        "filtered": {"rule": "min_duration", "message": "0.4 s is short"},
    }
    assert rows[4]["error"] == {
        "code": "media.corrupt",
        "stage": "media",
        "message": "in/bad.mp4: damaged",
        "hint": "copy it again",
        "retryable": False,
        "tries": 1,
    }
    assert rows[5]["error"]["code"] == "decode.crashed"
    assert rows[6] == {
        "id": "later.mp4",
        "state": "pending",
        "source": "in/later.mp4",
        "task": "caption",
    }
    assert rows[7]["error"]["code"] == "batch.row_invalid"


def test_without_timings_no_seconds_are_exported(journal_folder: Path, tmp_path: Path) -> None:
    for form in ("jsonl", "csv", "parquet", "html"):
        exported(journal_folder, form, tmp_path / f"a.{form}", timings=False)
    assert b"timing_s" not in (tmp_path / "a.jsonl").read_bytes()
    assert b"total_s" not in (tmp_path / "a.csv").read_bytes()
    assert "timing_s" not in arrow_parquet.read_table(tmp_path / "a.parquet").column_names
    assert b"<dt>time</dt>" not in (tmp_path / "a.html").read_bytes()
    assert b"<dt>pace</dt>" not in (tmp_path / "a.html").read_bytes()


@pytest.mark.parametrize("form", EXPORT_FORMATS)
def test_the_same_journal_gives_the_same_bytes(
    form: ExportFormat, hostile: Path, tmp_path: Path
) -> None:
    made = [exported(hostile, form, tmp_path / name) for name in ("a", "b")]
    assert made[0] == made[1]
    assert all_bytes(tmp_path / "a") == all_bytes(tmp_path / "b")


def test_parquet_has_the_fields_of_the_record(journal_folder: Path, tmp_path: Path) -> None:
    exported(journal_folder, "jsonl", tmp_path / "a.jsonl")
    exported(journal_folder, "parquet", tmp_path / "a.parquet")
    table = arrow_parquet.read_table(tmp_path / "a.parquet")
    own = {"id", "state", "extra", "start", "end", "filtered"}
    assert set(table.column_names) == {*own, *Record.model_fields}
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    for row, line in zip(table.to_pylist(), lines, strict=True):
        row["timing_s"] = dict(row["timing_s"] or {})
        for name, value in row.items():
            assert value == line.get(name, {} if name == "timing_s" else None), name


def test_parquet_is_written_in_groups(
    journal_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_tables, "GROUP_ROWS", 3)
    exported(journal_folder, "parquet", tmp_path / "a.parquet")
    assert arrow_parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3


def test_parquet_without_its_package(
    journal_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(export_tables, "import_module", missing)
    with pytest.raises(ConfigError) as caught:
        exported(journal_folder, "parquet", tmp_path / "a.parquet")
    assert caught.value.code == "config.package_missing"
    assert list(tmp_path.iterdir()) == []


def test_a_row_of_csv_is_a_clip(journal_folder: Path, tmp_path: Path) -> None:
    exported(journal_folder, "csv", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == STATES
    assert rows[0]["text"] == "A dog runs in one.mp4."
    assert rows[0]["events"] == (
        "0.000-4.000 A dog runs in one.mp4. | 4.000-10.000 A dog runs in one.mp4. again"
    )
    assert (rows[0]["duration_s"], rows[0]["visual_tokens"]) == ("10.000", "384")
    assert (rows[0]["motion_mean"], rows[0]["event_count"], rows[0]["shots"]) == ("6.5", "2", "1")
    assert rows[3]["motion_mean"] == ""
    assert (rows[3]["rule"], rows[3]["tries"]) == ("min_duration", "")
    assert (rows[4]["code"], rows[4]["retryable"], rows[4]["tries"]) == (
        "media.corrupt",
        "false",
        "1",
    )


def test_exports_have_the_window_of_a_clip() -> None:
    item = Item(id="a", source="a.mp4", start_s=Fraction(1, 3), end_s=Fraction(5, 2))
    entry = JournalEntry(item=item, state="filtered", rule="min_duration", message="short")
    row = to_row(entry, task="caption", timings=False)
    assert (row["start"], row["end"]) == ("1/3", "2.5")
    line = export_tables.csv_row(entry, task="caption", timings=False)
    (cells,) = csv.DictReader([export_tables.csv_header(timings=False), line])
    assert (cells["start"], cells["end"]) == ("1/3", "2.5")
    whole = to_row(replace(entry, item=Item(id="a", source="a.mp4")), task="caption", timings=False)
    assert not {"start", "end"} & set(whole)


def test_csv_has_every_signal_once() -> None:
    columns = export_tables.CSV_COLUMNS
    assert len(set(columns)) == len(columns)
    assert {*QualityRecord.model_fields} - {"events"} | {"event_count"} <= set(columns)


def test_the_duration_of_a_window_and_that_of_an_old_record() -> None:
    record = done_record(duration_s=60.0)
    assert record.quality is not None
    window = record.quality.model_copy(update={"duration_s": 2.5, "motion_mean": None})
    item = Item(id="a", source="a.mp4")
    for quality, expected in ((window, ("2.500", "")), (None, ("60.000", ""))):
        text = record.model_copy(update={"quality": quality}).json_line()
        entry = JournalEntry(item=item, state="done", record=text)
        lines = [
            export_tables.csv_header(timings=False),
            export_tables.csv_row(entry, task="caption", timings=False),
        ]
        (row,) = csv.DictReader(lines)
        assert (row["duration_s"], row["motion_mean"]) == expected


@pytest.mark.parametrize(("task", "column"), [("ask", "answer"), ("ground", "query")])
def test_csv_of_the_other_tasks(task: str, column: str, tmp_path: Path) -> None:
    exported(journal_of(tmp_path / "job", task=task), "csv", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row[column] and row["task"] == task
    if task == "ground":
        assert row["events"] == "4.000-8.000 (0.831) | 12.040-13.500 (0.100)"


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_are_one_file_per_clip(
    form: ExportFormat, journal_folder: Path, tmp_path: Path
) -> None:
    made = exported(journal_folder, form, tmp_path / "out")
    assert made == ExportResult(files=4, clips=3, skipped=5)
    with (tmp_path / "out" / "names.csv").open(newline="") as file:
        names = {row["id"]: row["file"] for row in csv.DictReader(file)}
    assert list(names) == done_names()
    assert {*names.values(), "names.csv"} == set(os.listdir(tmp_path / "out"))
    assert all(name.startswith(Path(key).stem) for key, name in names.items())
    text = (tmp_path / "out" / names["one.mp4"]).read_text()
    assert "A dog runs in one.mp4. again" in text
    with pytest.raises(OutputError) as caught:
        exported(journal_folder, form, tmp_path / "out")
    assert caught.value.code == "output.exists"
    exported(journal_folder, form, tmp_path / "out", overwrite=True)


def test_names_of_subtitles_are_synced_together(
    journal_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[set[str]] = []
    sync = files.sync_folder

    def noted(folder: Path) -> None:
        synced.append({name for name in os.listdir(folder) if not name.endswith(".tmp")})
        sync(folder)

    monkeypatch.setattr(files, "sync_folder", noted)
    monkeypatch.setattr(exporting, "sync_folder", noted)
    exported(journal_folder, "srt", tmp_path / "out")
    # All that the list names, then the list.
    before, after = synced
    assert len(before) == 3
    assert after == before | {"names.csv"}


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_only_captions_make_subtitles(form: ExportFormat, tmp_path: Path) -> None:
    folder = journal_of(tmp_path / "job", task="ask")
    with pytest.raises(ConfigError, match="for captions"):
        exported(folder, form, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- S07 and S12: hostile names and words


def test_file_names_never_collide(hostile: Path, tmp_path: Path) -> None:
    made = exported(hostile, "srt", tmp_path / "out")
    names = set(os.listdir(tmp_path / "out"))
    assert made.clips == len(HOSTILE) + 3
    # Where case and composition do not count they are still apart.
    assert len({unicodedata.normalize("NFC", name).casefold() for name in names}) == made.files
    for name in names:
        assert name.isprintable() and not name.startswith(".") and len(name.encode()) <= 255
    assert {path.parent for path in tmp_path.rglob("*.srt")} == {tmp_path / "out"}


def test_names_of_files_do_not_depend_on_the_other_clips(tmp_path: Path) -> None:
    alone = files.stable_name("a/clip.mp4", extension=".srt")
    assert re.fullmatch(r"clip-[0-9a-v]{20}\.srt", alone)
    assert alone == files.stable_name("a/clip.mp4", extension=".srt")
    assert alone != files.stable_name("b/clip.mp4", extension=".srt")


def test_hostile_names_survive_json(hostile: Path, tmp_path: Path) -> None:
    exported(hostile, "jsonl", tmp_path / "a.jsonl")
    data = (tmp_path / "a.jsonl").read_bytes()
    assert data.isascii() and not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", data)
    rows = [json.loads(line) for line in data.splitlines()]
    assert [row["id"] for row in rows[: len(HOSTILE)]] == list(HOSTILE)
    assert rows[0]["source"] == "in/[/red]"


def test_hostile_names_are_texts_in_parquet(hostile: Path, tmp_path: Path) -> None:
    exported(hostile, "parquet", tmp_path / "a.parquet")
    ids = arrow_parquet.read_table(tmp_path / "a.parquet")["id"].to_pylist()
    assert ids[: len(HOSTILE)] == [name.replace("\udcff", "\\udcff") for name in HOSTILE]


def test_no_cell_is_a_formula_and_no_row_is_torn(hostile: Path, tmp_path: Path) -> None:
    exported(hostile, "csv", tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(io.StringIO(text)))
    assert len(text.splitlines()) == len(rows) == len(HOSTILE) + 9
    cells = [cell for row in rows for cell in row]
    assert [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@"))] == []
    assert all(cell.isprintable() for cell in cells)
    assert "'=HYPERLINK(1)" in cells


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_no_word_ends_a_cue(form: ExportFormat, hostile: Path, tmp_path: Path) -> None:
    exported(hostile, form, tmp_path / "out")
    for path in (tmp_path / "out").glob(f"*.{form}"):
        text = path.read_text(encoding="utf-8")
        assert text.count("-->") == 2
        assert "<script" not in text
        assert text.replace("\n", "").isprintable()


# --- whole or not there


class FullDisk:
    """A file whose n-th write finds the disk full."""

    def __init__(self, file: BinaryIO, left: list[int]) -> None:
        self._file, self._left = file, left

    def write(self, data: bytes) -> int:
        self._left[0] -= 1
        if self._left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def stopped_by(folder: Path, form: ExportFormat, output: Path) -> OutputError | None:
    try:
        exported(folder, form, output)
    except OutputError as error:
        return error
    return None


@pytest.mark.parametrize("form", EXPORT_FORMATS)
def test_a_full_disk_tears_no_file(
    form: ExportFormat, journal_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    exported(journal_folder, form, whole)
    # Parquet writes each column in pieces of its own: not each of them is tried.
    for most in range(0, 2000, 29 if form == "parquet" else 1):
        left = [most]
        out = tmp_path / f"out{most}"
        with monkeypatch.context() as patch:
            patch.setattr(files, "_create", lambda path, left=left: FullDisk(path.open("xb"), left))
            stopped = stopped_by(journal_folder, form, out)
        if stopped is None:
            break
        assert stopped.code == "output.disk_full"
        assert "free some space" in stopped.hint
        found = all_bytes(out) if out.exists() else {}
        # What is there is whole, and nothing temporary is left.
        assert found.items() <= all_bytes(whole).items()
        assert "" not in found and "names.csv" not in found
        assert list(tmp_path.rglob(".seedvideo-*")) == []
    else:
        pytest.fail("it never succeeded")
    assert most > 2
    assert all_bytes(out) == all_bytes(whole)


def test_an_export_that_fails_leaves_the_one_before(
    journal_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"before")
    monkeypatch.setattr(
        exporting, "json_line", lambda row: (_ for _ in ()).throw(RuntimeError("a bug"))
    )
    with pytest.raises(RuntimeError):
        exported(journal_folder, "jsonl", path, overwrite=True)
    assert all_bytes(path) == {"": b"before"}
    assert os.listdir(tmp_path) == ["a.jsonl"]


@pytest.mark.parametrize("form", EXPORT_FORMATS)
def test_what_exists_stays(form: ExportFormat, journal_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError) as caught:
        exported(journal_folder, form, path)
    assert caught.value.code == "output.exists"
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_folder_is_refused_as_a_file(
    form: ExportFormat, journal_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        exported(journal_folder, form, tmp_path)


def test_an_export_of_a_job_that_was_not_started(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "job", write=True) as journal:
        journal.plan([Item(id="a", source="a")], Job(), "a" * 64)
    for form in ("jsonl", "parquet", "csv", "html"):
        assert exported(tmp_path / "job", form, tmp_path / f"a.{form}").clips == 1
    assert exported(tmp_path / "job", "srt", tmp_path / "srt").clips == 0
