"""Merge of journals: those of a job's shards, or the readable rows of a damaged one.

Results are copied; the originals are only read.

Separate from `seedvideo.batch.maintenance`, which would exceed 500 lines with it.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from seedvideo.batch import journal_schema as schema
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import Counts, checksum, has_carried_checksum
from seedvideo.errors import BatchError, ConfigError, OutputError
from seedvideo.utils.text import printable

_STEP_ROWS: Final = 512
_ITEMS: Final = (
    "place, id, spec, crc, state, tries, interrupted, settings, fingerprint, shared, size,"
    " mtime_ns, code, stage, message, hint, retryable, rule, started_at, finished_at"
)
_RECORDS: Final = "fingerprint, record, record_crc, sheet, sheet_crc"
_SIGNATURES: Final = "id, fingerprint, asked, duration_s, version, signature"
_SIGNATURES_SINCE: Final = 2
"""Version of the journals whose signatures can be compared with those of this one."""

_STATE_PRIORITY: Final = ("done", "filtered", "quarantined", "failed", "running", "pending")
"""Of two outcomes of one id, the first in this order counts."""


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """Result of a merge: items by state, and the number of unreadable rows."""

    counts: Counts
    unreadable: int


def merge(folders: Sequence[Path], output: Path) -> MergeResult:
    """Copy journals into a new one; an item found in several keeps its best outcome.

    Shards of one job keep the order of its input; other journals follow one another. Items whose
    record is unreadable become pending, so that running the job processes them again. So do items
    without a signature, if the job leaves out duplicates. Relative names start from the folder of
    the first job.

    Args:
        folders: at least one folder with a journal.
        output: folder without a journal.

    Raises:
        BatchError: ``batch.merge_differs`` if the jobs have different settings;
            ``batch.journal_damaged`` if the job of a folder is unreadable.
        OutputError: ``output.exists``, ``output.disk_full`` or ``output.unwritable``.
    """
    if os.path.exists(output / schema.JOURNAL_NAME):
        raise OutputError(
            "output.exists",
            f"{printable(str(output))} already contains a journal",
            hint="merge into a new folder",
        )
    jobs = [_read_job(folder) for folder in folders]
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
    # Shards count positions in the complete input, so they can be joined unchanged.
    is_one = len(kinds) == 1 and all(job.shard is not None for job, _ in jobs)
    unreadable = 0
    with Journal.open(output, write=True) as journal:
        journal.set_meta("job", replace(first, inputs=inputs, shard=None).to_json())
        journal.set_meta("model_sha256", model)
        with closing(schema.connect(output, write=True)) as out, schema.translate_errors(output):
            start = 0
            for folder in folders:
                unreadable += _copy_journal(folder, out, start=0 if is_one else start)
                start = out.execute("SELECT COALESCE(MAX(place), -1) + 1 FROM items").fetchone()[0]
            with schema.transaction(out):
                # Items that were in flight, and done items without their record.
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
        return MergeResult(counts=journal.counts(), unreadable=unreadable)


def _read_job(folder: Path) -> tuple[Job, str]:
    with Journal.open(folder, write=False) as journal:
        try:
            job, model = journal.job(), journal.get_meta("model_sha256")
        except ConfigError as error:
            raise schema.damaged_error(folder, error.message) from error
    if job is None or model is None:
        raise schema.damaged_error(folder, "it does not contain a job")
    return job, model


def _copy_journal(folder: Path, out: sqlite3.Connection, *, start: int) -> int:
    """Copy the readable rows and return the number of unreadable ones."""
    unreadable_rows = 0
    with closing(schema.connect(folder, write=False)) as source:
        for table, columns, insert in (
            ("items", f"{_ITEMS}, {schema.carried_columns(source)}", _insert_item),
            ("records", _RECORDS, _insert_record),
            ("signatures", _SIGNATURES, _insert_signature),
        ):
            if table == "signatures" and schema.read_version(source) < _SIGNATURES_SINCE:
                continue
            try:
                last = _last_row(source, table)
            except sqlite3.DatabaseError:
                # The root page of the table is lost, but the other table may be intact: records are
                # found again by their fingerprints, and items in the inputs.
                unreadable_rows += 1
                continue
            for low in range(0, last + 1, _STEP_ROWS):
                rows, lost = _read_range(source, table, columns, low, low + _STEP_ROWS)
                with schema.transaction(out):
                    unreadable_rows += lost + sum(not insert(out, row, start) for row in rows)
    return unreadable_rows


def _last_row(source: sqlite3.Connection, table: str) -> int:
    return int(source.execute(f"SELECT COALESCE(MAX(rowid), 0) FROM {table}").fetchone()[0])


def _read_range(
    source: sqlite3.Connection, table: str, columns: str, low: int, high: int
) -> tuple[list[Any], int]:
    """Return the rows of a range and the number of lost ones; halve it to isolate damage."""
    try:
        query = f"SELECT {columns} FROM {table} WHERE rowid >= ? AND rowid < ? ORDER BY rowid"
        return source.execute(query, (low, high)).fetchall(), 0
    except sqlite3.DatabaseError:
        if high - low == 1:
            return [], 1
        middle = (low + high) // 2
        left, left_lost = _read_range(source, table, columns, low, middle)
        right, right_lost = _read_range(source, table, columns, middle, high)
        return left + right, left_lost + right_lost


def _insert_item(out: sqlite3.Connection, row: Sequence[Any], start: int) -> bool:
    place, id_bytes, spec, crc, state, *_ = row
    if not (isinstance(id_bytes, bytes) and isinstance(spec, str) and state in _STATE_PRIORITY):
        return False
    if checksum(id_bytes, spec.encode()) != crc:
        return False
    is_whole = has_carried_checksum(*row[-3:])
    if not is_whole:
        # Keep the verdict; reading the list again restores the columns.
        row = (*row[:-3], "", "", 0)
    if place is None:
        return True  # It is no longer in the input, but its record is kept.
    old = out.execute("SELECT state FROM items WHERE id = ?", (id_bytes,)).fetchone()
    if old is not None:
        if _STATE_PRIORITY.index(old[0]) <= _STATE_PRIORITY.index(state):
            return is_whole
        out.execute("DELETE FROM items WHERE id = ?", (id_bytes,))
        out.execute("DELETE FROM signatures WHERE id = ?", (id_bytes,))
    placeholders = ", ".join("?" * len(row))
    columns = f"{_ITEMS}, {schema.CARRIED_COLUMNS}"
    out.execute(f"INSERT INTO items ({columns}) VALUES ({placeholders})", (place + start, *row[1:]))
    return is_whole


def _insert_record(out: sqlite3.Connection, row: Sequence[Any], start: int) -> bool:
    _, record, record_crc, sheet, sheet_crc = row
    if not isinstance(record, str) or checksum(record.encode()) != record_crc:
        return False
    if sheet is not None and checksum(sheet) != sheet_crc:
        return False
    out.execute(f"INSERT OR IGNORE INTO records ({_RECORDS}) VALUES (?, ?, ?, ?, ?)", row)
    return True


def _insert_signature(out: sqlite3.Connection, row: Sequence[Any], start: int) -> bool:
    kinds = zip(row, (bytes, str, str, float, int, bytes | None), strict=True)
    if not all(isinstance(value, kind) for value, kind in kinds):
        return False
    placeholders = ", ".join("?" * len(row))
    out.execute(f"INSERT OR IGNORE INTO signatures ({_SIGNATURES}) VALUES ({placeholders})", row)
    return True
