"""Jobs of an older version are resumed, and nothing is reprocessed.

`old_job` was written by the code of commit 911e8ab, with the model of `tests.batch.stage_doubles`:
two jobs in a folder with their clips and lists. A journal stores the folder of the job, and the
modification times of files; git keeps neither, so both are set in a copy. Nothing else is changed.
A sampler of another version processes all clips again, so these tests keep that of the old code.
"""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from pyarrow import parquet

from seedvideo.datasets.export import DATASET_FORMATS
from tests.batch.command import events, finish
from tests.datasets.clip_jobs import exported
from tests.tiers import slow

OLD: Final = Path(__file__).with_name("old_job")
CHANGED_NS: Final = 1_750_000_000_123_456_789
"""When the clips were last changed, as the journals have it."""

SAMPLER: Final = "0.1.0-6c363b382e5d5ec2"
"""Version of the sampler of that code."""

JOBS: Final = ("captions", "ask")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the old folder, at another place."""
    folder = shutil.copytree(OLD, tmp_path / "old")
    for clip in (folder / "clips").iterdir():
        os.utime(clip, ns=(CHANGED_NS, CHANGED_NS))
    for name in JOBS:
        with closing(connect(folder / name)) as connection, connection:
            (text,) = connection.execute("SELECT value FROM meta WHERE key = 'job'").fetchone()
            moved = json.dumps({**json.loads(text), "folder": str(folder)})
            connection.execute("UPDATE meta SET value = ? WHERE key = 'job'", (moved,))
    return folder


@pytest.mark.parametrize("name", JOBS)
def test_an_old_job_resumes_and_reprocesses_nothing(old: Path, name: str) -> None:
    before = rows(old / name)
    assert len(before["items"]) >= 5 and before["records"]
    code, _, err = finish("-o", old / name, "--json-events", sampler_version=SAMPLER)
    assert code == 1, err  # Some clips of each job failed in the first run.
    run_events = events(err)
    assert [event["event"] for event in run_events if event["event"] != "progress"] == [
        "started",
        "finished",
    ]
    assert run_events[0]["counts"] == run_events[-1]["counts"]
    # Every column of every row: states, tries, times, fingerprints, records and pictures.
    assert rows(old / name) == before


@slow
def test_a_new_clip_with_the_bytes_of_an_old_one_takes_over_its_record(old: Path) -> None:
    shutil.copyfile(old / "clips" / "red.mp4", old / "clips" / "new.mp4")
    with (old / "ask.jsonl").open("a") as file:
        file.write('{"video": "clips/new.mp4"}\n')
    before = rows(old / "ask")
    code, _, err = finish("-o", old / "ask", "--json-events", sampler_version=SAMPLER)
    assert code == 1, err
    assert [event["id"] for event in events(err) if event["event"] == "item"] == ["clips/new.mp4"]
    after = rows(old / "ask")
    # Only where the fingerprints are made as before are they equal.
    assert after["records"] == before["records"]
    assert after["items"][:-1] == before["items"]
    new, red = after["items"][-1], before["items"][0]
    assert (new["state"], new["shared"]) == ("done", 1)
    assert new["fingerprint"] == red["fingerprint"]


@pytest.mark.parametrize("name", JOBS)
def test_an_old_job_becomes_a_dataset(old: Path, name: str) -> None:
    records = [json.loads(row["record"]) for row in rows(old / name)["records"]]
    assert records and all("quality" not in record for record in records)
    for form in DATASET_FORMATS:
        made = exported(old / name, form, old / f"{name}-{form}", cut="exact")
        assert made.clips and not made.unreadable
    table = parquet.read_table(old / f"{name}-dataset" / "captions.parquet").to_pylist()
    done = [row for row in table if row["state"] == "done"]
    assert {row["schema_version"] for row in done} == {1}
    assert {row["quality"] for row in done} == {None}
    assert all(row["caption"] or row["answer"] for row in done)


def connect(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "journal.sqlite")
    connection.row_factory = sqlite3.Row
    return connection


def rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of a journal by table, but for the notes about the whole job."""
    with closing(connect(folder)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'meta'"
            " AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1")]
            for (name,) in tables
        }
