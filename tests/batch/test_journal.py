"""Every step that an item can take, and who may open a journal."""

import json
import os
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from seedvideo import BatchError, OutputError
from seedvideo.batch import journal_sync
from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import BadRow, Item, read_inputs
from seedvideo.batch.job import Filters, Job, Shard, in_shard
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import Counts, State
from seedvideo.batch.journal_schema import get_lock_owner
from tests.batch.journal_rows import CONTENT, MODEL, finish, items, planned, record_of
from tests.tiers import by_tier, slow

FAILED: tuple[State, ...] = ("failed",)


def states(journal: Journal) -> dict[str, str]:
    return {entry.item.id: entry.state for entry in journal.entries()}


def test_items_are_taken_in_the_order_of_the_input(tmp_path: Path) -> None:
    rows = [Item(id=name, source=name) for name in ("c", "a", "b")]
    with planned(tmp_path, rows) as journal:
        assert journal.counts() == Counts(pending=3)
        assert [taken.item for taken in journal.claim(2)] == rows[:2]
        assert journal.counts() == Counts(pending=1, running=2)
        assert [(each.item, each.tries) for each in journal.claim(9)] == [(rows[2], 1)]
        assert journal.claim(1) == []


def test_done_is_kept_with_its_record_and_sheet(tmp_path: Path) -> None:
    with planned(tmp_path, items(1)) as journal:
        item = journal.claim(1)[0].item
        assert finish(journal, item)
    with Journal.open(tmp_path, write=False) as journal:
        (entry,) = journal.entries()
        assert (entry.state, entry.record, entry.sheet) == (
            "done",
            record_of(item),
            b"sheet of xxxxxxxxx",
        )
        assert (entry.size, entry.mtime_ns, entry.tries) == (10, 1_000, 1)
        assert next(journal.entries(sheets=False)).sheet is None
        assert journal.counts() == Counts(done=1)


def test_a_second_finish_replaces_nothing(tmp_path: Path) -> None:
    with planned(tmp_path, items(1)) as journal:
        item = journal.claim(1)[0].item
        assert finish(journal, item)
        other = Content(size=99, mtime_ns=99, sha256="c" * 64)
        assert not journal.mark_done(
            item.id, f"fp-{item.id}", other, record_of(item, "Other."), None
        )
        assert not journal.mark_failed(item.id, "media.corrupt", "media", "late")
        assert not journal.release(item.id)
        (entry,) = journal.entries()
        assert (entry.record, entry.size, entry.sheet) == (
            record_of(item),
            10,
            b"sheet of xxxxxxxxx",
        )
        assert journal.counts() == Counts(done=1)


def test_other_verdicts_than_done_have_a_reason(tmp_path: Path) -> None:
    with planned(tmp_path, items(3)) as journal:
        journal.claim(3)
        journal.mark_filtered("clip00000.mp4", "min_duration", "0.5 s, below 1 s", CONTENT)
        journal.mark_failed("clip00001.mp4", "media.corrupt", "media", "bad \udc80", "copy it")
        journal.mark_quarantined("clip00002.mp4", "decode.crashed", "decode", "died twice")
        left_out, failed, poison = journal.entries()
        assert (left_out.state, left_out.rule, left_out.size) == ("filtered", "min_duration", 10)
        assert (failed.state, failed.code, failed.stage, failed.hint, failed.retryable) == (
            "failed",
            "media.corrupt",
            "media",
            "copy it",
            False,
        )
        assert failed.message == "bad \\udc80"
        assert (poison.state, poison.code) == ("quarantined", "decode.crashed")
        assert journal.failures() == [
            ("decode.crashed", "decode", 1),
            ("media.corrupt", "media", 1),
        ]
        assert [e.item.id for e in journal.entries(states=FAILED)] == ["clip00001.mp4"]


def test_a_retry_counts_and_a_release_does_not(tmp_path: Path) -> None:
    with planned(tmp_path, items(1)) as journal:
        assert journal.claim(1)[0].tries == 1
        journal.release("clip00000.mp4")
        assert journal.claim(1)[0].tries == 1
        journal.mark_retry("clip00000.mp4", "decode.crashed", "decode", "died")
        assert next(journal.entries()).code == "decode.crashed"
        assert journal.claim(1)[0].tries == 2
        assert finish(journal, items(1)[0])
        entry = next(journal.entries())
        assert (entry.state, entry.code, entry.tries) == ("done", None, 2)


def test_items_in_flight_at_the_death_of_the_job_are_claimed_last(tmp_path: Path) -> None:
    journal = planned(tmp_path, items(3))
    journal.claim(1)
    journal.close()
    with Journal.open(tmp_path, write=True) as journal:
        assert journal.counts() == Counts(pending=3)
        taken = journal.claim(3)
        assert [each.item.id[4:9] for each in taken] == ["00001", "00002", "00000"]
        assert [each.tries for each in taken] == [1, 1, 1]
        assert next(journal.entries()).interrupted == 1


def test_retry_by_code(tmp_path: Path) -> None:
    bad = BadRow(
        id="list.csv line 9", where="list.csv line 9", code="batch.row_invalid", message=""
    )
    with planned(tmp_path, [*items(3), bad]) as journal:
        journal.claim(3)
        journal.mark_failed("clip00000.mp4", "media.corrupt", "media", "")
        journal.mark_failed("clip00001.mp4", "input.not_found", "input", "")
        journal.mark_quarantined("clip00002.mp4", "decode.crashed", "decode", "")
        assert journal.retry(code="media.corrupt") == 1
        assert journal.counts() == Counts(pending=1, failed=2, quarantined=1)
        assert journal.retry() == 2
        assert journal.counts() == Counts(pending=3, failed=1)
        assert [each.tries for each in journal.claim(9)] == [1, 1, 1]


def test_a_record_is_used_again_under_the_name_of_the_copy(tmp_path: Path) -> None:
    first, copy = items(2)
    with planned(tmp_path, [first, copy]) as journal:
        journal.claim(2)
        assert not journal.has_result("fp")
        journal.mark_done(first.id, "fp", CONTENT, record_of(first), b"s")
        assert journal.has_result("fp")
        journal.mark_done(copy.id, "fp", CONTENT)
        texts = [entry.record or "" for entry in journal.entries()]
        assert texts == [record_of(first), record_of(copy)]
        assert [entry.sheet for entry in journal.entries()] == [b"s", b"s"]


def test_wrong_calls_raise_errors(tmp_path: Path) -> None:
    with planned(tmp_path, items(1)) as journal:
        with pytest.raises(ValueError, match="no item"):
            journal.mark_failed("other", "media.corrupt", "media", "")
        journal.claim(1)
        with pytest.raises(ValueError, match="no record"):
            journal.mark_done("clip00000.mp4", "fp", CONTENT)
        assert journal.counts() == Counts(running=1)
        with pytest.raises(ValueError, match="two rows"):
            journal.plan(items(1) * 2, Job(), MODEL)


def test_ids_repeated_in_another_chunk_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_sync, "CHUNK_ROWS", 2)
    with (
        Journal.open(tmp_path, write=True) as journal,
        pytest.raises(ValueError, match="two rows"),
    ):
        journal.plan([*items(5), items(1)[0]], Job(), MODEL)


@slow
def test_many_rows_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 20,000 rows at once take 17 MB; a chunk of 500 and the hashes of all take 2 MB."""
    rows = by_tier(20_000, quick=6_000)
    monkeypatch.setattr(journal_sync, "CHUNK_ROWS", 500)
    manifest = tmp_path / "rows.txt"
    manifest.write_text("".join(f"clips/{number:06}.mp4\n" for number in range(rows)))
    with Journal.open(tmp_path / "out", write=True) as journal:
        tracemalloc.start()
        try:
            counts = journal.plan(read_inputs([str(manifest)]), Job(), MODEL)
            most_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert counts == Counts(pending=rows)
    assert most_bytes < 4_000_000


# ---- planning again


def test_the_same_job_again_changes_nothing(tmp_path: Path) -> None:
    rows = items(4)
    with planned(tmp_path, rows) as journal:
        journal.claim(3)
        finish(journal, rows[0])
        journal.mark_failed(rows[1].id, "media.corrupt", "media", "", content=CONTENT)
        journal.mark_filtered(rows[2].id, "black", "", CONTENT)
        before = list(journal.entries())
        assert journal.plan(rows, Job(workers=4, sheets=False), MODEL) == Counts(
            pending=1, done=1, failed=1, filtered=1
        )
        assert list(journal.entries()) == before
        job = journal.job()
        assert job is not None and job.workers == 4


@pytest.mark.parametrize(
    ("job", "model"),
    [
        (Job().with_sampling(budget_tokens=500), MODEL),
        (Job(filters=Filters(black=True)), MODEL),
        (Job(), "c" * 64),
    ],
)
def test_other_settings_make_everything_pending(tmp_path: Path, job: Job, model: str) -> None:
    rows = items(2)
    with planned(tmp_path, rows) as journal:
        finish(journal, journal.claim(1)[0].item)
        assert journal.plan(rows, job, model) == Counts(pending=2)
        assert journal.has_result(f"fp-{rows[0].id}")


def test_exactly_the_affected_items_run_again(tmp_path: Path) -> None:
    own = Item(id="own", source="a.mp4", question="Is it red?")
    jobs = Item(id="jobs", source="a.mp4")
    job = Job(task="ask", question="Is it blue?")
    with planned(tmp_path, [own, jobs], job) as journal:
        for taken in journal.claim(2):
            finish(journal, taken.item)
        journal.plan([own, jobs], replace(job, question="Is it green?"), MODEL)
        assert states(journal) == {"own": "done", "jobs": "pending"}


def test_a_changed_file_runs_again_and_a_missing_one_keeps_its_result(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("same", "changed", "gone")]
    for name in names:
        name.write_bytes(b"0123456789")
        os.utime(name, ns=(1_000, 1_000))
    rows = [Item(id=path.name, source=str(path)) for path in names]
    rows.append(Item(id="late", source=str(tmp_path / "late")))
    with planned(tmp_path / "out", rows) as journal:
        journal.claim(4)
        for row in rows[:3]:
            finish(journal, row)
        journal.mark_failed("late", "input.not_found", "input", "")
        os.utime(names[1], ns=(2_000, 2_000))
        names[2].unlink()
        (tmp_path / "late").write_bytes(b"x")
        journal.plan(rows, Job(), MODEL)
        assert states(journal) == {
            "same": "done",
            "changed": "pending",
            "gone": "done",
            "late": "pending",
        }


def test_removed_rows_are_kept_but_not_listed(tmp_path: Path) -> None:
    rows = items(3)
    with planned(tmp_path, rows) as journal:
        finish(journal, journal.claim(1)[0].item)
        assert journal.plan(rows[1:], Job(), MODEL) == Counts(pending=2)
        assert rows[0].id not in states(journal)
        assert journal.plan(rows, Job(), MODEL) == Counts(pending=2, done=1)


def test_rows_may_be_put_in_another_order(tmp_path: Path) -> None:
    rows = items(3)
    with planned(tmp_path, rows) as journal:
        finish(journal, journal.claim(1)[0].item)
        journal.plan(rows[::-1], Job(), MODEL)
        assert list(states(journal).values()) == ["pending", "pending", "done"]


def test_a_bad_row_fails_at_once_and_can_be_corrected(tmp_path: Path) -> None:
    bad = BadRow(id="x", where="list.csv line 2", code="batch.row_invalid", message="no path")
    with planned(tmp_path, [bad]) as journal:
        (entry,) = journal.entries()
        assert (entry.state, entry.code, entry.stage) == ("failed", "batch.row_invalid", "batch")
        assert entry.message == "list.csv line 2: no path"
        assert journal.plan([Item(id="x", source="x.mp4")], Job(), MODEL) == Counts(pending=1)
        assert journal.plan([bad], Job(), MODEL) == Counts(failed=1)


def test_shards_split_the_rows_and_keep_their_positions(tmp_path: Path) -> None:
    rows = items(50)
    found: list[str] = []
    for index in (1, 2, 3):
        with planned(tmp_path / str(index), rows, Job(shard=Shard(index, 3))) as journal:
            found += [taken.item.id for taken in journal.claim(50)]
    assert sorted(found) == [row.id for row in rows]
    assert all(sum(in_shard(row.id, Shard(i, 3)) for i in (1, 2, 3)) == 1 for row in rows)


HOSTILE = [
    "new\nline",
    "nul\0byte",
    "bytes \udc80\udcff",
    "\u202eright to left",
    "quote'\"; DROP TABLE items; --",
    "=HYPERLINK(1)",
    "\x1b[2J<script>",
    "x" * 4096,
    "é" * 2048,
]


def test_hostile_names_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [Item(id=name, source=name, question=name) for name in HOSTILE]
    with planned(tmp_path, rows) as journal:
        assert [each.item for each in journal.claim(99)] == rows
        for row in rows:
            journal.mark_done(
                row.id, row.id.encode("utf-8", "replace").hex(), CONTENT, record_of(row)
            )
    with Journal.open(tmp_path, write=False) as journal:
        entries = list(journal.entries())
        assert [each.item for each in entries] == rows
        assert [json.loads(each.record or "")["source"] for each in entries] == HOSTILE


def test_clocks_that_jump_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([4e9, -1e9, 0.0, 2e9, 1.0, 3e9, 5.0])
    monkeypatch.setattr(time, "time", lambda: next(times))
    rows = items(3)
    with planned(tmp_path, rows) as journal:
        for row in rows:
            assert journal.claim(1)[0].item == row
            finish(journal, row)
        assert journal.plan(rows, Job(), MODEL) == Counts(done=3)


# ---- who may open it


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    with planned(tmp_path, items(2)) as journal:
        with pytest.raises(BatchError, match=f"process {os.getpid()} on") as caught:
            Journal.open(tmp_path, write=True)
        assert (caught.value.code, caught.value.retryable) == ("batch.locked", True)
        with Journal.open(tmp_path, write=False) as reader:
            assert reader.counts() == Counts(pending=2)
            finish(journal, journal.claim(1)[0].item)
            assert reader.counts() == Counts(pending=1, done=1)
        assert get_lock_owner(tmp_path) is not None
    assert get_lock_owner(tmp_path) is None
    Journal.open(tmp_path, write=True).close()


def test_there_may_be_no_journal(tmp_path: Path) -> None:
    with pytest.raises(BatchError) as caught:
        Journal.open(tmp_path, write=False)
    assert caught.value.code == "batch.journal_missing"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError) as refused:
        Journal.open(tmp_path / "file", write=True)
    assert refused.value.code == "output.unwritable"
