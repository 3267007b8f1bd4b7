"""What befalls a journal from outside: death of its process, a full disk, damage, age."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from seedvideo import BatchError, OutputError, SeedVideoError
from seedvideo.batch import journal_schema
from seedvideo.batch.job import Job, Shard
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_merge import merge
from seedvideo.batch.journal_rows import Counts, State
from tests.batch.journal_rows import CONTENT, MODEL, finish, items, planned, record_of
from tests.tiers import by_tier, slow

WORK = """
import os, sys
from pathlib import Path
from tests.batch.journal_rows import finish, items, planned
journal = planned(Path(sys.argv[1]), items(int(sys.argv[2])))
while taken := journal.claim(3):
    for each in taken:
        finish(journal, each.item)
        os.write(1, each.item.id.encode() + b"\\n")
"""
ROOT = Path(__file__).parents[2]
DONE: tuple[State, ...] = ("done",)


def test_an_incomplete_journal_counts_as_missing(tmp_path: Path) -> None:
    # What a process leaves that is killed between making the file and making its tables.
    with sqlite3.connect(tmp_path / journal_schema.JOURNAL_NAME) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    with pytest.raises(BatchError) as reported:
        Journal.open(tmp_path, write=False)
    assert reported.value.code == "batch.journal_missing"
    with planned(tmp_path, items(3)) as journal:
        assert journal.counts().pending == 3


INCOMPLETE = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.execute("CREATE TABLE pages (page BLOB)")
connection.executemany("INSERT INTO pages VALUES (zeroblob(4000))", [()] * 100)
os._exit(0)
"""


def test_a_journal_with_a_rolled_back_creation_counts_as_missing(tmp_path: Path) -> None:
    path = tmp_path / journal_schema.JOURNAL_NAME
    subprocess.run([sys.executable, "-c", INCOMPLETE, path], check=True)
    assert Path(f"{path}-journal").exists()
    with pytest.raises(BatchError) as reported:
        Journal.open(tmp_path, write=False)
    assert reported.value.code == "batch.journal_missing"
    with planned(tmp_path, items(3)) as journal:
        assert journal.counts().pending == 3


def test_nothing_reported_done_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    chance = random.Random(6)
    reported: list[str] = []
    count = 150
    rounds = by_tier(20, quick=6)
    for _ in range(rounds):
        child = subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path), str(count)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert child.stdout is not None
        # Killed after some lines, wherever it is by then: in a write, a commit, a checkpoint.
        for _ in range(chance.randrange(8)):
            if line := child.stdout.readline().strip():
                reported.append(line)
        child.send_signal(signal.SIGKILL)
        reported += child.stdout.read().split()
        child.wait()
        child.stdout.close()
        if not (tmp_path / journal_schema.JOURNAL_NAME).exists():
            continue
        with Journal.open(tmp_path, write=True) as journal:
            assert journal.find_problems() == []
            done = {entry.item.id for entry in journal.entries(states=DONE)}
            assert set(reported) <= done
    assert len(reported) == len(set(reported)) > rounds
    subprocess.run([sys.executable, "-c", WORK, str(tmp_path), str(count)], check=True, cwd=ROOT)
    with Journal.open(tmp_path, write=False) as journal:
        entries = [(entry.item, entry.record) for entry in journal.entries()]
    assert entries == [(item, record_of(item)) for item in items(count)]


def test_another_process_is_named_and_its_lock_ends_with_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from seedvideo.batch.journal import Journal\n"
        "journal = Journal.open(Path(sys.argv[1]), write=True); print('open', flush=True)\n"
        "time.sleep(600)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    try:
        child.stdout.readline()
        with pytest.raises(BatchError, match=f"process {child.pid} on ") as caught:
            Journal.open(tmp_path, write=True)
        assert caught.value.code == "batch.locked"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    Journal.open(tmp_path, write=True).close()


def test_a_full_disk_at_any_write_loses_nothing(tmp_path: Path) -> None:
    """SQLite's own limit on pages stands for the disk: every n-th page is the one too many."""
    codes = []
    sizes_pages = range(12, 40, by_tier(1, quick=4))
    for pages in sizes_pages:
        folder = tmp_path / str(pages)
        done = []
        with Journal.open(folder, write=True) as journal:
            journal._connection.execute(f"PRAGMA max_page_count = {pages}")
            try:
                journal.plan(items(40), Job(), MODEL)
                while taken := journal.claim(1):
                    item = taken[0].item
                    journal.mark_done(item.id, item.id, CONTENT, record_of(item), bytes(3_000))
                    done.append(item.id)
            except OutputError as error:
                codes.append(error.code)
        with Journal.open(folder, write=True) as journal:
            assert journal.find_problems() == []
            assert [entry.item.id for entry in journal.entries(states=DONE)] == done
            journal.plan(items(40), Job(), MODEL)
            while taken := journal.claim(9):
                for each in taken:
                    finish(journal, each.item)
            assert journal.counts() == Counts(done=40)
    assert codes == ["output.disk_full"] * len(sizes_pages)


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from seedvideo import OutputError\n"
        "from tests.batch.journal_rows import finish, items, planned\n"
        "journal = planned(Path(sys.argv[1]), items(500))\n"
        "size = int(sys.argv[2]); resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
        "try:\n"
        "    for each in journal.claim(500): finish(journal, each.item)\n"
        "except OutputError as error: print(error.code)\n"
    )
    for size in (100_000, 150_001, 222_222):
        folder = tmp_path / str(size)
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder), str(size)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        assert done.stdout == "output.disk_full\n"
        with Journal.open(folder, write=True) as journal:
            assert journal.find_problems() == []
            assert journal.counts().total == 500


@slow
def test_no_room_for_a_new_journal_is_a_full_disk(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from seedvideo import OutputError\n"
        "from seedvideo.batch.journal import Journal\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try: Journal.open(Path(sys.argv[1]), write=True)\n"
        "except OutputError as error: print(error.code)\n"
    )
    for size in (4_096, 8_192, 20_000):
        words = [sys.executable, "-c", code, str(tmp_path / str(size)), str(size)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
        assert done.stdout == "output.disk_full\n"


def finished(folder: Path, count: int) -> Path:
    with planned(folder, items(count)) as journal:
        while taken := journal.claim(50):
            for each in taken:
                finish(journal, each.item)
    return folder / journal_schema.JOURNAL_NAME


def test_flipped_bytes_are_refused_with_a_hint_or_change_nothing(tmp_path: Path) -> None:
    path = finished(tmp_path / "good", 60)
    whole = path.read_bytes()
    truth = [(item, record_of(item)) for item in items(60)]
    chance = random.Random(13)
    codes, hints = [], set()
    trials = by_tier(60, quick=20)
    for trial in range(trials):
        spoiled = bytearray(whole)
        start = chance.randrange(len(spoiled) - 64)
        for place in range(start, start + 64):
            spoiled[place] ^= 0xFF
        folder = tmp_path / str(trial)
        folder.mkdir()
        (folder / journal_schema.JOURNAL_NAME).write_bytes(spoiled)
        try:
            with Journal.open(folder, write=True) as journal:
                assert [(e.item, e.record) for e in journal.entries()] == truth
        except SeedVideoError as error:
            codes.append(error.code)
            hints.add(error.hint.split("/")[0])
    assert len(codes) > trials // 3
    assert set(codes) <= {"batch.journal_damaged", "batch.journal_newer"}
    assert "recover the readable rows: seedvideo batch merge " in hints


def test_readable_rows_of_a_damaged_journal_are_kept(tmp_path: Path) -> None:
    path = finished(tmp_path / "bad", 300)
    whole = bytearray(path.read_bytes())
    place = whole.index(record_of(items(300)[200]).encode())
    whole[place + 5] ^= 1
    path.write_bytes(whole)
    with Journal.open(tmp_path / "bad", write=False) as journal:
        assert len(journal.find_problems()) == 1
        with pytest.raises(BatchError) as caught:
            list(journal.entries())
        assert caught.value.code == "batch.journal_damaged"
    merged = merge([tmp_path / "bad"], tmp_path / "new")
    assert (merged.counts, merged.unreadable) == (Counts(done=299, pending=1), 1)
    with Journal.open(tmp_path / "new", write=True) as journal:
        assert journal.find_problems() == []
        assert journal.plan(items(300), Job(), MODEL) == Counts(done=299, pending=1)


def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    path = finished(tmp_path, 1)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {journal_schema.VERSION + 1}")
    connection.close()
    for write in (True, False):
        with pytest.raises(BatchError) as caught:
            Journal.open(tmp_path, write=write)
        assert caught.value.code == "batch.journal_newer"


def test_an_older_journal_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path, 2)
    now = journal_schema.VERSION
    monkeypatch.setattr(journal_schema, "VERSION", now + 1)
    monkeypatch.setitem(
        journal_schema.MIGRATIONS, now, "ALTER TABLE items ADD COLUMN mood TEXT;\nSELECT 1"
    )
    with Journal.open(tmp_path, write=True) as journal:
        assert journal.counts() == Counts(done=2)
    with Journal.open(tmp_path, write=False) as journal:
        assert journal._connection.execute("SELECT mood FROM items").fetchall() == [(None,)] * 2


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / journal_schema.JOURNAL_NAME) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(BatchError) as caught:
        Journal.open(tmp_path, write=True)
    assert caught.value.code == "batch.journal_damaged"


def test_shards_merge_to_what_one_job_makes(tmp_path: Path) -> None:
    rows = items(60)
    for index in (1, 2, 3):
        with planned(tmp_path / str(index), rows, Job(shard=Shard(index, 3))) as journal:
            for each in journal.claim(99):
                finish(journal, each.item)
    merged = merge([tmp_path / "2", tmp_path / "3", tmp_path / "1"], tmp_path / "all")
    assert (merged.counts, merged.unreadable) == (Counts(done=60), 0)
    with Journal.open(tmp_path / "all", write=True) as journal:
        assert [entry.item for entry in journal.entries()] == rows
        assert journal.plan(rows, Job(), MODEL) == Counts(done=60)


def test_merge_keeps_the_best_verdict_and_refuses_other_jobs(tmp_path: Path) -> None:
    rows = items(2)
    with planned(tmp_path / "a", rows) as journal:
        journal.claim(2)
        journal.mark_failed(rows[0].id, "media.corrupt", "media", "")
        finish(journal, rows[1])
    with planned(tmp_path / "b", rows[:1]) as journal:
        journal.claim(1)
        finish(journal, rows[0])
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c").counts == Counts(done=2)
    with pytest.raises(OutputError) as exists:
        merge([tmp_path / "a"], tmp_path / "c")
    assert exists.value.code == "output.exists"
    planned(tmp_path / "d", rows, Job().with_sampling(budget_tokens=9)).close()
    with pytest.raises(BatchError) as differs:
        merge([tmp_path / "a", tmp_path / "d"], tmp_path / "e")
    assert differs.value.code == "batch.merge_differs"


def test_a_journal_left_by_a_dead_process_can_be_read(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", WORK + "os._exit(0)", str(tmp_path), "5"], cwd=ROOT)
    assert (tmp_path / f"{journal_schema.JOURNAL_NAME}-wal").exists()
    with Journal.open(tmp_path, write=False) as journal:
        assert journal.counts() == Counts(done=5)
    assert os.path.exists(tmp_path / journal_schema.JOURNAL_NAME)


def test_records_are_kept_where_the_items_are_lost(tmp_path: Path) -> None:
    path = finished(tmp_path / "bad", 20)
    database = sqlite3.connect(path)
    root = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'items'").fetchone()[0]
    size = database.execute("PRAGMA page_size").fetchone()[0]
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    merged = merge([tmp_path / "bad"], tmp_path / "new")
    assert merged.counts.total == 0
    assert merged.unreadable >= 1
    new = sqlite3.connect(tmp_path / "new" / journal_schema.JOURNAL_NAME)
    assert new.execute("SELECT COUNT(*) FROM records").fetchone()[0] == 20
    new.close()
