"""Several journals as one: the shards of a job, or what can still be read of a damaged journal.

Verdicts, records and sheets are copied; the originals are only read. Knows nothing of videos.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from seedvideo.batch import journal_schema as schema
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import are_carried, checksum
from seedvideo.batch.verdict import Counts
from seedvideo.errors import BatchError, ConfigError, OutputError
from seedvideo.writers.inert import printable

_STEP_ROWS: Final = 512
_ITEMS: Final = (
    "place, id, spec, crc, state, tries, interrupted, settings, fingerprint, shared, size,"
    " mtime_ns, code, stage, message, hint, retryable, rule, started_at, finished_at"
)
_RECORDS: Final = "fingerprint, record, record_crc, sheet, sheet_crc"
_SIGNATURES: Final = "id, fingerprint, asked, duration_s, version, signature"
_SIGNATURES_SINCE: Final = 2
"""Version of the journals whose signatures can be compared with those of this one."""

_BEST: Final = ("done", "filtered", "quarantined", "failed", "running", "pending")
"""Of two verdicts on one id the one that stands first here counts."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What came of a merge: how many items are in each state, and how many rows were unreadable."""

    counts: Counts
    unreadable: int


def merge(folders: Sequence[Path], output: Path) -> Merged:
    """Copy journals into a new one; items that are in several keep their best verdict.

    Shards of one job keep the order of its input; other journals follow one another. Items whose
    record cannot be read any more become pending, so that running the job does them again; so do
    those without the signature that duplicates are told by, where they are left out. Relative names
    are looked for in the folder of the first one's job.

    Args:
        folders: at least one, each with a journal.
        output: a folder without one.

    Raises:
        BatchError: ``batch.merge_differs`` if the jobs have different settings;
            ``batch.journal_damaged`` if not even the job of one can be read.
        OutputError: ``output.exists``, ``output.disk_full`` or ``output.unwritable``.
    """
    if (output / schema.NAME).exists():
        raise OutputError(
            "output.exists",
            f"{printable(str(output))} holds a journal already",
            hint="merge into a new folder",
        )
    jobs = [_job(folder) for folder in folders]
    first, model = jobs[0]
    for folder, (job, other) in zip(folders, jobs, strict=True):
        if (job.settings(), other) != (first.settings(), model):
            raise BatchError(
                "batch.merge_differs",
                f"{printable(str(folder))} has other settings than {printable(str(folders[0]))}",
                hint="run both under the same settings first",
            )
    inputs = tuple(dict.fromkeys(name for job, _ in jobs for name in job.inputs))
    kinds = {(job.inputs, None if job.shard is None else job.shard.of) for job, _ in jobs}
    # Shards count the places of the whole input, so theirs fit together as they are.
    is_one = len(kinds) == 1 and all(job.shard is not None for job, _ in jobs)
    unreadable = 0
    with Journal.open(output, write=True) as journal:
        journal.note("job", replace(first, inputs=inputs, shard=None).to_json())
        journal.note("model_sha256", model)
        with closing(schema.connect(output, write=True)) as out, schema.guarded(output):
            start = 0
            for folder in folders:
                unreadable += _copy(folder, out, start=0 if is_one else start)
                start = out.execute("SELECT COALESCE(MAX(place), -1) + 1 FROM items").fetchone()[0]
            with schema.transaction(out):
                # What was under way is no one's now; what lost its record is to be made again.
                out.execute(
                    "UPDATE items SET state = 'pending', tries = 0, fingerprint = NULL WHERE"
                    " state = 'running' OR state = 'done' AND fingerprint NOT IN"
                    " (SELECT fingerprint FROM records)"
                )
                if first.filters.drops_exact or first.filters.drops_near:
                    out.execute(
                        "UPDATE items SET state = 'pending', tries = 0, fingerprint = NULL WHERE"
                        " state = 'done' AND id NOT IN (SELECT id FROM signatures)"
                    )
    with Journal.open(output, write=False) as journal:
        return Merged(counts=journal.counts(), unreadable=unreadable)


def _job(folder: Path) -> tuple[Job, str]:
    with Journal.open(folder, write=False) as journal:
        try:
            job, model = journal.job(), journal.noted("model_sha256")
        except ConfigError as error:
            raise schema.damaged(folder, error.message) from error
    if job is None or model is None:
        raise schema.damaged(folder, "it holds no job")
    return job, model


def _copy(folder: Path, out: sqlite3.Connection, *, start: int) -> int:
    """Copy what can be read. Returns how many rows could not."""
    missed = 0
    with closing(schema.connect(folder, write=False)) as source:
        for table, columns, put in (
            ("items", f"{_ITEMS}, {schema.carried_of(source)}", _put_item),
            ("records", _RECORDS, _put_record),
            ("signatures", _SIGNATURES, _put_signature),
        ):
            if table == "signatures" and schema.version_of(source) < _SIGNATURES_SINCE:
                continue
            try:
                last = _last_row(source, table)
            except sqlite3.DatabaseError:
                # The page that leads to all others is lost. The other table may be whole: records
                # are found again by what they are made of, items in the inputs.
                missed += 1
                continue
            for low in range(0, last + 1, _STEP_ROWS):
                rows, lost = _readable(source, table, columns, low, low + _STEP_ROWS)
                with schema.transaction(out):
                    missed += lost + sum(not put(out, row, start) for row in rows)
    return missed


def _last_row(source: sqlite3.Connection, table: str) -> int:
    return int(source.execute(f"SELECT COALESCE(MAX(rowid), 0) FROM {table}").fetchone()[0])


def _readable(
    source: sqlite3.Connection, table: str, columns: str, low: int, high: int
) -> tuple[list[Any], int]:
    """Rows of a range and how many of it are lost: halved until the damage stands alone."""
    try:
        query = f"SELECT {columns} FROM {table} WHERE rowid >= ? AND rowid < ? ORDER BY rowid"
        return source.execute(query, (low, high)).fetchall(), 0
    except sqlite3.DatabaseError:
        if high - low == 1:
            return [], 1
        middle = (low + high) // 2
        left, left_lost = _readable(source, table, columns, low, middle)
        right, right_lost = _readable(source, table, columns, middle, high)
        return left + right, left_lost + right_lost


def _put_item(out: sqlite3.Connection, row: Sequence[Any], start: int) -> bool:
    place, id_bytes, spec, crc, state, *_ = row
    if not (isinstance(id_bytes, bytes) and isinstance(spec, str) and state in _BEST):
        return False
    if checksum(id_bytes, spec.encode()) != crc:
        return False
    is_whole = are_carried(*row[-3:])
    if not is_whole:
        # The verdict counts; reading the list again brings its columns back.
        row = (*row[:-3], "", "", 0)
    if place is None:
        return True  # No longer in the input; its record comes along all the same.
    old = out.execute("SELECT state FROM items WHERE id = ?", (id_bytes,)).fetchone()
    if old is not None:
        if _BEST.index(old[0]) <= _BEST.index(state):
            return is_whole
        out.execute("DELETE FROM items WHERE id = ?", (id_bytes,))
        out.execute("DELETE FROM signatures WHERE id = ?", (id_bytes,))
    marks = ", ".join("?" * len(row))
    columns = f"{_ITEMS}, {schema.CARRIED}"
    out.execute(f"INSERT INTO items ({columns}) VALUES ({marks})", (place + start, *row[1:]))
    return is_whole


def _put_record(out: sqlite3.Connection, row: Sequence[Any], start: int) -> bool:
    _, record, record_crc, sheet, sheet_crc = row
    if not isinstance(record, str) or checksum(record.encode()) != record_crc:
        return False
    if sheet is not None and checksum(sheet) != sheet_crc:
        return False
    out.execute(f"INSERT OR IGNORE INTO records ({_RECORDS}) VALUES (?, ?, ?, ?, ?)", row)
    return True


def _put_signature(out: sqlite3.Connection, row: Sequence[Any], start: int) -> bool:
    kinds = zip(row, (bytes, str, str, float, int, bytes | None), strict=True)
    if not all(isinstance(value, kind) for value, kind in kinds):
        return False
    marks = ", ".join("?" * len(row))
    out.execute(f"INSERT OR IGNORE INTO signatures ({_SIGNATURES}) VALUES ({marks})", row)
    return True
