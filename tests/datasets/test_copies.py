"""Tables of chosen clips, and copies: no row is lost, and none is there twice."""

import errno
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from seedvideo.batch.export import export
from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import Item, read_inputs
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.part_records import gathered
from seedvideo.clips import cutting
from seedvideo.curation.balance import BalanceRule
from seedvideo.curation.curate import curate
from seedvideo.curation.options import CurationOptions
from seedvideo.datasets.folder import DatasetFolder
from seedvideo.datasets.source import DatasetOptions
from seedvideo.errors import BatchError, OutputError
from tests.batch.jobs import JOB, run
from tests.batch.sample_journal import MODEL, journal_of, record_for
from tests.batch.test_parts import plan, pull
from tests.datasets.clip_jobs import DONE, all_bytes, exported, job_of, manifest, source_of
from tests.datasets.test_cuts import tar_samples
from tests.object_server import MemoryStore
from tests.synthetic_clips import paint


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_of(tmp_path_factory.mktemp("job"))


def chosen(folder: Path, tmp_path: Path, *ids: str, **options: Any) -> list[str]:
    """Return the ids of the rows that a table of ids chooses."""
    table = tmp_path / "rows.jsonl"
    table.write_text("".join(json.dumps({"id": each}) + "\n" for each in ids))
    with source_of(folder, DatasetOptions(rows=table, **options)) as source:
        return [row["id"] for row in source.rows()]


def job_of_ids(folder: Path, *ids: str, repeats: int = 1) -> Path:
    """Return the folder of a job whose clips have these ids."""
    with Journal.open(folder, write=True) as journal:
        items = [
            Item(id=each, source="a.mp4", extra=json.dumps({"repeats": repeats})) for each in ids
        ]
        journal.plan(items, Job(folder=str(folder)), MODEL)
        for number, taken in enumerate(journal.claim(len(ids))):
            content = Content(size=1, mtime_ns=1, sha256="")
            record = record_for("caption", "a.mp4", "words").json_line()
            journal.mark_done(taken.item.id, f"{number:064x}", content, record)
    return folder


def test_a_copy_that_the_job_has_as_a_clip_is_there_once(tmp_path: Path) -> None:
    folder = job_of_ids(tmp_path / "job", "a", "a~2", "a~3", "b")
    assert chosen(folder, tmp_path, "a", "a~2", "a~3", "a~4") == ["a", "a~4", "a~2", "a~3"]


def test_a_copy_is_exported_without_its_clip(job: Path, tmp_path: Path) -> None:
    assert chosen(job, tmp_path, f"{DONE[3]}~2", f"{DONE[2]}~10", f"{DONE[2]}~9") == [
        *(f"{DONE[2]}~9", f"{DONE[2]}~10"),
        f"{DONE[3]}~2",
    ]


def test_copies_have_ids_that_no_clip_has(tmp_path: Path) -> None:
    folder = job_of_ids(tmp_path / "job", "a", "a~2", repeats=2)
    with source_of(folder, DatasetOptions(with_copies=True)) as source:
        assert [row["id"] for row in source.rows()] == ["a", "a~3", "a~2", "a~2~2"]


def test_a_table_of_csv_has_ids_for_spreadsheets(tmp_path: Path) -> None:
    ids = ("-one.mp4", "=two", "three")
    folder = job_of_ids(tmp_path / "job", *ids)
    with Journal.open(folder, write=False) as journal:
        export(journal, "csv", tmp_path / "rows.csv")
    with source_of(folder, DatasetOptions(rows=tmp_path / "rows.csv")) as source:
        assert [row["id"] for row in source.rows()] == list(ids)
    assert chosen(folder, tmp_path, "'-one.mp4~2") == ["-one.mp4~2"]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_tables_of_all_forms_choose_hostile_ids(tmp_path: Path, form: Any) -> None:
    folder = journal_of(tmp_path / "job", hostile=True)
    with Journal.open(folder, write=False) as journal:
        export(journal, form, tmp_path / f"rows.{form}")
    with source_of(folder) as source:
        expected = [row["id"] for row in source.rows()]
    with source_of(folder, DatasetOptions(rows=tmp_path / f"rows.{form}")) as source:
        assert [row["id"] for row in source.rows()] == expected
        assert source.unknown_rows == 0


def test_rows_of_other_clips_are_counted(job: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.jsonl"
    table.write_text('{"id": "long.mp4"}\n{"id": "x"}\n{"id": "y~2"}\n{"id": "long.mp4~0"}\n')
    made = exported(job, "dataset", tmp_path / "out", rows=table)
    assert (made.clips, made.unknown) == (1, 3)
    assert exported(job, "dataset", tmp_path / "all").unknown == 0


def test_an_id_that_is_there_twice(job: Path, tmp_path: Path) -> None:
    with pytest.raises(BatchError) as caught:
        chosen(job, tmp_path, "long.mp4", "two words.mkv", "long.mp4")
    assert caught.value.code == "batch.rows_invalid"
    assert "line 3" in caught.value.message and "long.mp4~2" in caught.value.hint


def windows_of(tmp_path: Path) -> Path:
    first = Item(id="w", source=DONE[0], end_s=Fraction(1, 2), extra='{"repeats": 3}')
    return job_of(tmp_path, first=first)


def test_copies_of_a_window_are_cut_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cut = windows_of(tmp_path), []
    real = cutting.encode_clip

    def counting(*words: Any) -> None:
        cut.append(words)
        real(*words)

    monkeypatch.setattr("seedvideo.datasets.clips.encode_clip", counting)
    exported(folder, "webdataset", tmp_path / "out", cut="exact", with_copies=True)
    samples = tar_samples(tmp_path / "out")[:3]
    assert [row["id"] for row, _ in samples] == ["w", "w~2", "w~3"]
    assert len(cut) == 1 and len({video for _, video in samples}) == 1


def test_a_full_disk_of_cut_clips_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = windows_of(tmp_path)

    def full(*words: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("seedvideo.datasets.clips.encode_clip", full)
    with pytest.raises(OutputError) as caught:
        exported(folder, "webdataset", tmp_path / "out", cut="exact")
    assert caught.value.code == "output.disk_full"
    assert str(tmp_path / "out") not in caught.value.message


def test_a_disk_that_fails_costs_the_clip(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pread
    size = (job.parent / "clips" / DONE[1]).stat().st_size

    def failing(descriptor: int, count: int, offset: int) -> bytes:
        if count == size:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", failing)
    made = exported(job, "webdataset", tmp_path / "out")
    assert {name: each.code for name, each in made.unreadable.items()} == {
        DONE[1]: "input.unreadable"
    }
    assert made.clips == 3


def test_two_exports_do_not_write_to_one_folder(job: Path, tmp_path: Path) -> None:
    with DatasetFolder(tmp_path / "out", overwrite=False) as folder:
        with pytest.raises(OutputError, match="another export writes to it") as caught:
            exported(job, "dataset", tmp_path / "out", overwrite=True)
        assert caught.value.retryable
        with folder.file("train-000000.tar"):
            pass
        folder.finish({})
    exported(job, "dataset", tmp_path / "out", overwrite=True)
    assert manifest(tmp_path / "out")["format"] == "dataset"


def test_copies_of_a_balanced_table_are_captioned_once(tmp_path: Path) -> None:
    colours = {"a": ["red"], "b": ["green"], "c": ["blue"], "d": ["white"], "e": ["red", "blue"]}
    for name, each in colours.items():
        paint(tmp_path / f"{name}.mp4", each)
    table, balanced = tmp_path / "clips.jsonl", tmp_path / "balanced.jsonl"
    rows = [{"path": f"{name}.mp4", "domain": "x" if name == "a" else "y"} for name in colours]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = CurationOptions(balance=BalanceRule.parse("boost:3"), by="domain")
    curate([str(table)], balanced, options)
    items = [row for row in read_inputs([str(balanced)]) if isinstance(row, Item)]
    ids = ["a.mp4", "a.mp4~2", "a.mp4~3", "b.mp4", "c.mp4", "d.mp4", "e.mp4"]
    assert [item.id for item in items] == ids
    entries = run(tmp_path / "local", items)
    # The records hold how long each step took: only the same record is equal.
    assert len({entries[name].record for name in ids[:3]}) == 1
    store = MemoryStore()
    plan(store, items, JOB, part_clips=1)
    pull(store, tmp_path / "scratch")
    with gathered(store) as copy:
        with Journal.open(copy, write=False) as journal:
            records = [entry.record for entry in journal.entries() if entry.item.id in ids[:3]]
        assert len(records) == 3 and len(set(records)) == 1
        for form in ("dataset", "webdataset", "hf"):
            for name, folder in (("parts", copy), ("local", tmp_path / "local")):
                exported(folder, form, tmp_path / f"{name}-{form}", rows=balanced)
            assert all_bytes(tmp_path / f"parts-{form}") == all_bytes(tmp_path / f"local-{form}")
    assert [row["id"] for row, _ in tar_samples(tmp_path / "local-webdataset")] == ids
