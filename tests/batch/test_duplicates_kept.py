"""What journals keep of duplicates: rules by their keys, signatures by their version."""

import json
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seedvideo import BatchError, ConfigError
from seedvideo.batch import journal_schema
from seedvideo.batch.duplicates import EXACT, ComparedClip, SignatureStore
from seedvideo.batch.job import Filters, Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_merge import merge
from seedvideo.batch.journal_rows import State
from seedvideo.batch.similarity import SIGNATURE_VERSION, Signature
from tests.batch.journal_rows import CONTENT, MODEL, finish, items, planned

OLD_FILTERS = {
    "min_duration_s": None,
    "max_duration_s": None,
    "min_side_px": None,
    "black": False,
    "frozen": False,
    "duplicates": False,
}
OLD_TABLE = """
CREATE TABLE signatures (
    id BLOB PRIMARY KEY,
    asked TEXT NOT NULL,
    duration_s REAL NOT NULL,
    signature BLOB NOT NULL
);
"""
DONE: tuple[State, ...] = ("done",)
BOTH = Job(filters=Filters(duplicates=True))


def seen(position: int, level: int = 90) -> ComparedClip:
    signature = Signature(2.0, np.full((16, 384), level, np.uint8))
    return ComparedClip(
        position=position, task_key="", fingerprint=f"{position:064x}", signature=signature
    )


def states(journal: Journal) -> list[str]:
    return [entry.state for entry in journal.entries()]


def make_old(folder: Path, job: Job = BOTH) -> None:
    """A journal as version 1 wrote it: one clip done, one left out, one still to do."""
    with planned(folder, items(3), job) as journal:
        taken = [each.item for each in journal.claim(2)]
        finish(journal, taken[0])
        journal.mark_filtered(taken[1].id, "duplicates", "looks like clip00000.mp4", CONTENT)
        stored = json.loads(job.to_json())
        assert set(stored["filters"]) == set(OLD_FILTERS)
    with closing(sqlite3.connect(folder / journal_schema.JOURNAL_NAME)) as tables:
        for name in journal_schema.CARRIED_COLUMNS.split(", "):
            tables.execute(f"ALTER TABLE items DROP COLUMN {name}")
        tables.executescript(f"DROP TABLE signatures; {OLD_TABLE} PRAGMA user_version = 1;")
        old = (b"clip00000.mp4", "", 2.0, bytes(176))
        tables.execute("INSERT INTO signatures VALUES (?, ?, ?, ?)", old)
        tables.commit()


def test_keys_of_jobs_without_the_new_rules_are_as_before() -> None:
    assert Job().settings()["filters"] == OLD_FILTERS
    black = Job(filters=Filters(black=True))
    assert black.settings()["filters"] == {**OLD_FILTERS, "black": True}
    exact = Job(filters=Filters(exact_duplicates=True))
    assert exact.settings()["filters"] == {**OLD_FILTERS, "exact_duplicates": True}
    old = json.dumps({"inputs": ["clips"], "filters": {**OLD_FILTERS, "duplicates": True}})
    assert Job.from_json(old).filters == Filters(duplicates=True)
    assert (Filters(duplicates=True).drops_exact, Filters(duplicates=True).drops_near) == (1, 1)


def test_the_version_of_the_signatures_is_a_setting() -> None:
    near = Job(filters=Filters(near_duplicates=True, near_distance_levels=2.5))
    assert near.settings()["filters"] == {
        **OLD_FILTERS,
        "near_duplicates": True,
        "near_distance_levels": 2.5,
        "signature_version": SIGNATURE_VERSION,
    }
    assert Job.from_json(near.to_json()) == near
    assert Job.from_values(json.loads(near.to_json()), where="job.toml") == near


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"near_distance_levels": 2.0}, "is given without near_duplicates"),
        ({"near_distance_levels": 2.0, "exact_duplicates": True}, "without near_duplicates"),
        ({"near_distance_levels": 0.0, "near_duplicates": True}, "above 0"),
        ({"near_distance_levels": -1.0, "duplicates": True}, "above 0"),
        ({"near_distance_levels": float("nan"), "duplicates": True}, "finite"),
    ],
)
def test_invalid_distances_are_refused(rules: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Job.from_values({"filters": rules}, where="job.toml")


def test_an_old_job_resumes_and_is_compared_again(tmp_path: Path) -> None:
    make_old(tmp_path)
    with Journal.open(tmp_path, write=False) as journal:
        assert states(journal) == ["done", "filtered", "pending"]
    with Journal.open(tmp_path, write=True) as journal:
        assert journal.job() == BOTH
        # As where the list came through a pipe: the rows are not planned again.
        signatures = SignatureStore(journal)
        assert states(journal) == ["pending"] * 3
        assert journal.counts().pending == 3
        # The record is used again, and what was compared now stays as it is.
        assert journal.has_result("fp-clip00000.mp4")
        for position, each in enumerate(journal.claim(3)):
            signatures.save(each.item.id, seen(position, 40 * position))
            finish(journal, each.item)
        SignatureStore(journal)
        assert states(journal) == ["done"] * 3


def test_an_old_job_that_is_planned_again_is_compared_again(tmp_path: Path) -> None:
    make_old(tmp_path)
    with closing(sqlite3.connect(tmp_path / journal_schema.JOURNAL_NAME)) as tables:
        tables.execute("UPDATE items SET settings = 'as the old version named them'")
        tables.commit()
    with Journal.open(tmp_path, write=True) as journal:
        journal.plan(items(3), BOTH, MODEL)
        assert journal.counts().pending == 3


def test_signatures_of_an_old_journal_are_not_merged(tmp_path: Path) -> None:
    make_old(tmp_path / "old")
    merged = merge([tmp_path / "old"], tmp_path / "new")
    assert (merged.unreadable, merged.counts.done, merged.counts.pending) == (0, 0, 2)
    with Journal.open(tmp_path / "new", write=True) as journal:
        SignatureStore(journal)
        assert states(journal) == ["pending"] * 3


def test_a_signature_of_another_version_is_never_compared(tmp_path: Path) -> None:
    with planned(tmp_path, items(2), BOTH) as journal:
        signatures = SignatureStore(journal)
        first, second = (each.item for each in journal.claim(2))
        signatures.save(first.id, seen(0))
        finish(journal, first)
        assert signatures.load_index(BOTH.filters).find_duplicate(seen(1)) is not None
        with journal.transaction() as tables:
            tables.execute("UPDATE signatures SET version = version + 1")
        assert signatures.load_index(BOTH.filters).find_duplicate(seen(1)) is None
        SignatureStore(journal)
        assert states(journal) == ["pending", "running"]
        assert second.id == "clip00001.mp4"


def test_a_damaged_signature_is_a_damaged_journal(tmp_path: Path) -> None:
    with planned(tmp_path, items(1), BOTH) as journal:
        signatures = SignatureStore(journal)
        (first,) = journal.claim(1)
        signatures.save(first.item.id, seen(0))
        finish(journal, first.item)
        for harm in (b"no signature", zlib.compress(b"too short"), b""):
            with journal.transaction() as tables:
                tables.execute("UPDATE signatures SET signature = ?", (harm,))
            with pytest.raises(BatchError) as caught:
                signatures.load_index(BOTH.filters)
            assert caught.value.code == "batch.journal_damaged"


def test_a_clip_that_failed_on_its_second_try_measures_nothing(tmp_path: Path) -> None:
    with planned(tmp_path, items(2), BOTH) as journal:
        signatures = SignatureStore(journal)
        (first,) = journal.claim(1)
        signatures.save(first.item.id, seen(0))
        finish(journal, first.item)
        journal.retry(states=DONE)
        (again,) = journal.claim(1)
        assert signatures.reset(again.item.id) == 0
        journal.mark_failed(again.item.id, "media.corrupt", "media", "damaged", content=CONTENT)
        assert signatures.load_index(BOTH.filters).find_duplicate(seen(1)) is None


def test_only_bytes_are_kept_where_only_bytes_are_compared(tmp_path: Path) -> None:
    rules = Filters(exact_duplicates=True)
    with planned(tmp_path, items(2), replace(BOTH, filters=rules)) as journal:
        signatures = SignatureStore(journal)
        (first,) = journal.claim(1)
        signatures.save(first.item.id, replace(seen(0), signature=None))
        finish(journal, first.item)
        kept = signatures.load_index(rules)
        assert kept.find_duplicate(replace(seen(1), signature=None)) is None
        same = kept.find_duplicate(replace(seen(1), fingerprint=f"{0:064x}", signature=None))
        assert same is not None
        assert (same.rule, same.describe(signatures.id_at(same.position))) == (
            EXACT,
            "the same bytes as clip00000.mp4",
        )
