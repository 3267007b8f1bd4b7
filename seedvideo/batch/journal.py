"""SQLite-backed job journal: the state and the result of each item.

Each outcome is one transaction, on disk before the call returns. One process writes, any number
read. Order and decisions never depend on a clock.
"""

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from seedvideo.batch import journal_schema as schema
from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal_rows import (
    STATES,
    ClaimedItem,
    Counts,
    JournalEntry,
    ProcessKind,
    State,
    checksum,
    content_columns,
    encode_id,
    escape_surrogates,
    failure_columns,
    find_problems,
    parse_entry,
    parse_item,
)
from seedvideo.batch.journal_schema import Lock
from seedvideo.batch.journal_sync import sync_rows
from seedvideo.errors import OutputError
from seedvideo.utils.files import make_folder
from seedvideo.utils.text import printable

_ENTRY = (
    "SELECT id, spec, crc, state, tries, interrupted, items.fingerprint, shared, size, mtime_ns,"
    " code, stage, message, hint, retryable, rule, started_at, finished_at, {carried}, record,"
    " record_crc, {sheet} FROM items LEFT JOIN records ON state = 'done' AND"
    " records.fingerprint = items.fingerprint WHERE place IS NOT NULL {where} ORDER BY place"
)


END_POSITION: Final = (1 << 63) - 1
"""A position after all positions in the input."""


class Journal:
    """The journal of one folder; use it in a ``with`` statement. Created by `open`."""

    def __init__(self, folder: Path, lock: Lock | None) -> None:
        self.folder = folder
        self._lock = lock
        self._connection = schema.connect(folder, write=lock is not None)
        self._counted: Counter[str] = Counter()
        if lock is not None:
            try:
                self._recover()
                self._counted = self._count()
            except BaseException:
                self._connection.close()
                raise

    @classmethod
    def open(cls, folder: Path, *, write: bool) -> Self:
        """Open the journal of a folder.

        Args:
            folder: folder of the job. A writer creates it and its journal if missing; the parent
                folder must exist.
            write: whether to be the one process that writes. Items that a dead process had in
                flight become pending. They are claimed last, in case one of them killed it.

        Raises:
            BatchError: ``batch.locked`` with the owner; ``batch.journal_missing``,
                ``batch.journal_damaged`` with a way to recover, ``batch.journal_newer``.
            OutputError: ``output.unwritable`` or ``output.disk_full``.
        """
        if not write:
            return cls(folder, None)
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise schema.unwritable_error(folder, "it is not a folder")
        make_folder(folder)
        lock = Lock(folder)
        try:
            return cls(folder, lock)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Close the journal and release the folder. May be called twice."""
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction, for callers with tables of their own.

        Raises:
            OutputError: ``output.disk_full`` or ``output.unwritable``.
        """
        with schema.translate_errors(self.folder), schema.transaction(self._connection):
            yield self._connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything that the block reads be as of one moment."""
        with schema.translate_errors(self.folder), schema.snapshot(self._connection):
            yield

    def check_exists(self) -> None:
        """Raise ``output.unwritable`` if the journal was removed while the job runs."""
        path = self.folder / schema.JOURNAL_NAME
        if not path.exists():
            raise OutputError(
                "output.unwritable",
                f"{printable(str(path))} was removed while the job ran",
                hint="run the command again to start a new job",
            )

    def job(self) -> Job | None:
        """Return the job as last planned; None before the first plan.

        Raises:
            ConfigError: ``config.invalid`` if it cannot be read.
        """
        text = self.get_meta("job")
        return None if text is None else Job.from_json(text)

    def get_meta(self, key: str) -> str | None:
        """Return a value of the whole job: ``job``, ``model_sha256``, or one from `set_meta`."""
        with schema.translate_errors(self.folder):
            found = self._connection.execute(
                "SELECT value FROM meta WHERE key = ?", (key,)
            ).fetchone()
        return None if found is None else str(found[0])

    def set_meta(self, key: str, value: str) -> None:
        """Store a value for the whole job, replacing an earlier one."""
        with self.transaction():
            self._connection.execute(schema.UPSERT_META, (key, escape_surrogates(value)))

    def record_restart(self, process: ProcessKind) -> None:
        """Count the restart of a process that died or was killed."""
        counts = self.restarts()
        self.set_meta("restarts", json.dumps({**counts, process: counts[process] + 1}))

    def restarts(self) -> dict[ProcessKind, int]:
        """Return the number of process restarts by kind, in all runs of the job."""
        noted = self.get_meta("restarts")
        counts: dict[ProcessKind, int] = {"decode": 0, "model": 0}
        return counts if noted is None else {**counts, **json.loads(noted)}

    def plan(
        self,
        rows: Iterable[Item | BadRow],
        job: Job,
        model_sha256: str,
        *,
        on_bad_row: Callable[[BadRow], None] = lambda row: None,
    ) -> Counts:
        """Synchronize the journal with the rows of a job; outcomes that still hold are kept.

        An outcome holds under the same settings and the same values of the row. If the file still
        exists, its size and modification time must be the same, too. Rows that are missing from
        the input are kept, but neither claimed nor listed. Rows outside the job's shard only count
        for the order. Memory does not depend on the number of rows. If the process is killed
        half way, run it again.

        Args:
            rows: all rows of the inputs, with unique ids.
            job: settings of the job.
            model_sha256: hash of the weights.
            on_bad_row: called for each new bad row, once its outcome is on disk.

        Raises:
            ValueError: if two rows have the same id.
            OutputError: ``output.disk_full`` or ``output.unwritable``.
        """
        with schema.translate_errors(self.folder):
            sync_rows(self._connection, rows, job, model_sha256, on_bad_row)
            self._counted = self._count()
        return self.counts()

    def position_after(self, count: int) -> int:
        """Return the position after the first ``count`` items; bad rows do not count."""
        with schema.translate_errors(self.folder):
            found = self._connection.execute(
                "SELECT COALESCE(MAX(place) + 1, 0) FROM (SELECT place FROM items WHERE place IS"
                " NOT NULL AND settings <> '' ORDER BY place LIMIT ?)",
                (count,),
            ).fetchone()
        return int(found[0])

    def count_pending(self, *, before: int) -> int:
        """Return the number of pending items before a position in the input."""
        with schema.translate_errors(self.folder):
            found = self._connection.execute(
                "SELECT COUNT(*) FROM items WHERE state = 'pending' AND place < ?", (before,)
            ).fetchone()
        return int(found[0])

    def count_unfinished(self, ids: Sequence[bytes]) -> int:
        """Return how many of these items, by their stored ids, have no outcome."""
        placeholders = ", ".join("?" * len(ids))
        with schema.translate_errors(self.folder):
            found = self._connection.execute(
                "SELECT COUNT(*) FROM items WHERE state IN ('pending', 'running') AND place IS NOT"
                f" NULL AND id IN ({placeholders})",
                tuple(ids),
            ).fetchone()
        return int(found[0])

    def claim(self, count: int, *, before: int = END_POSITION) -> list[ClaimedItem]:
        """Claim the next items in the order of the input; each claim counts as one more try.

        Args:
            count: maximum number of items.
            before: only items before this position in the input.
        """
        with self.transaction():
            rows = self._connection.execute(
                "SELECT number, id, spec, crc, tries, fingerprint FROM items WHERE"
                " state = 'pending' AND place < ? ORDER BY interrupted, place LIMIT ?",
                (before, count),
            ).fetchall()
            claimed = [
                ClaimedItem(
                    item=parse_item(self.folder, id_bytes, spec, crc),
                    tries=tries + 1,
                    fingerprint=fingerprint,
                )
                for _, id_bytes, spec, crc, tries, fingerprint in rows
            ]
            self._connection.executemany(
                "UPDATE items SET state = 'running', tries = tries + 1, started_at = ?"
                " WHERE number = ?",
                [(time.time(), row[0]) for row in rows],
            )
        self._counted["pending"] -= len(rows)
        self._counted["running"] += len(rows)
        return claimed

    def has_result(self, fingerprint: str) -> bool:
        """Return whether any item has a record with this fingerprint; `mark_done` can reuse it."""
        with schema.translate_errors(self.folder):
            return (
                self._connection.execute(
                    "SELECT 1 FROM records WHERE fingerprint = ?", (fingerprint,)
                ).fetchone()
                is not None
            )

    def mark_done(
        self,
        item_id: str,
        fingerprint: str,
        content: Content,
        record_json: str | None = None,
        sheet: bytes | None = None,
    ) -> bool:
        """Mark an item as done; its record is on disk when this returns.

        Args:
            item_id: id of an item in flight.
            fingerprint: cache key of the record.
            content: content of the file.
            record_json: the record on one line; None to reuse the stored record, see `has_result`.
                A record that is already stored is kept, and this one dropped.
            sheet: contact sheet.

        Returns:
            Whether this was the item's first outcome; a second one changes nothing.

        Raises:
            ValueError: if the item or the record does not exist.
        """
        with self.transaction():
            is_new = False
            if record_json is not None:
                is_new = bool(
                    self._connection.execute(
                        "INSERT INTO records VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                        (
                            fingerprint,
                            record_json,
                            checksum(record_json.encode()),
                            sheet,
                            None if sheet is None else checksum(sheet),
                        ),
                    ).rowcount
                )
            elif not self.has_result(fingerprint):
                raise ValueError(f"there is no record {fingerprint!r} to use again")
            first = self._set_state(
                item_id,
                "done",
                fingerprint=fingerprint,
                shared=not is_new,
                size=content.size,
                mtime_ns=content.mtime_ns,
            )
        self._update_counts(first, "done")
        return first

    def mark_filtered(self, item_id: str, rule: str, message: str, content: Content | None) -> bool:
        """Mark an item as left out by a rule. Return whether this was its first outcome."""
        values = {"rule": rule, "message": escape_surrogates(message), **content_columns(content)}
        return self._transition(item_id, "filtered", values)

    def mark_failed(
        self,
        item_id: str,
        code: str,
        stage: str,
        message: str,
        hint: str = "",
        retryable: bool = False,  # noqa: FBT001, FBT002  # in the order of an error's fields
        *,
        content: Content | None = None,
        tries: int | None = None,
    ) -> bool:
        """Mark an item as failed in this run. Return whether this was its first outcome.

        With the content known, a file that is replaced later is retried automatically. A number of
        tries replaces that of the claims.
        """
        values = failure_columns(code, stage, message, hint, retryable=retryable)
        values |= {} if tries is None else {"tries": tries}
        return self._transition(item_id, "failed", {**values, **content_columns(content)})

    def mark_quarantined(
        self,
        item_id: str,
        code: str,
        stage: str,
        message: str,
        hint: str = "",
        *,
        content: Content | None = None,
    ) -> bool:
        """Mark an item that crashed its process too often. Return the same as `mark_failed`."""
        values = failure_columns(code, stage, message, hint, retryable=False)
        return self._transition(item_id, "quarantined", {**values, **content_columns(content)})

    def mark_retry(self, item_id: str, code: str, stage: str, message: str, hint: str = "") -> bool:
        """Return a failed item to pending for another try; this try counts."""
        values = failure_columns(code, stage, message, hint, retryable=True)
        return self._transition(item_id, "pending", values)

    def release(self, item_id: str) -> bool:
        """Return an item in flight to pending; the try does not count."""
        return self._transition(item_id, "pending", {}, uncounted=True)

    def retry(
        self,
        *,
        code: str | None = None,
        states: Collection[State] = ("failed", "quarantined"),
    ) -> int:
        """Return items with an outcome to pending and reset their tries; bad rows stay as they are.

        Args:
            code: only failures with this code.
            states: only items in these states.

        Returns:
            The number of items.
        """
        placeholders = ", ".join("?" * len(states))
        only = "" if code is None else " AND code = ?"
        with self.transaction():
            count = self._connection.execute(
                "UPDATE items SET state = 'pending', tries = 0, interrupted = 0 WHERE place IS NOT"
                f" NULL AND settings <> '' AND state IN ({placeholders}){only}",
                (*states, *([] if code is None else [code])),
            ).rowcount
            self._counted = self._count()
        return int(count)

    def recount(self) -> None:
        """Count the states again, after a `transaction` that changed them."""
        with schema.translate_errors(self.folder):
            self._counted = self._count()

    def counts(self) -> Counts:
        """Return the number of items of the input in each state."""
        if self._lock is None:
            with schema.translate_errors(self.folder):
                return Counts.from_states(self._count())
        return Counts.from_states(self._counted)

    def failures(self) -> list[tuple[str, str, int]]:
        """Return codes, stages and numbers of failed items, the most frequent first."""
        with schema.translate_errors(self.folder):
            return self._connection.execute(
                "SELECT code, stage, COUNT(*) FROM items WHERE place IS NOT NULL AND"
                " state IN ('failed', 'quarantined') GROUP BY code, stage"
                " ORDER BY COUNT(*) DESC, code, stage"
            ).fetchall()

    def entries(
        self, *, states: Collection[State] = STATES, sheets: bool = True
    ) -> Iterator[JournalEntry]:
        """Yield items in the order of the input, one at a time, all as of one moment.

        Args:
            states: only items in these states.
            sheets: whether to include contact sheets.

        Raises:
            BatchError: ``batch.journal_damaged`` if a row does not match its checksum.
        """
        placeholders = ", ".join("?" * len(states))
        query = _ENTRY.format(
            sheet="sheet, sheet_crc" if sheets else "NULL, NULL",
            where=f"AND state IN ({placeholders})",
            carried=schema.carried_columns(self._connection),
        )
        with schema.translate_errors(self.folder):
            for row in self._connection.execute(query, tuple(states)):
                yield parse_entry(self.folder, row)

    def find_problems(self) -> list[str]:
        """Return all damage that SQLite's checks and the checksums find; empty if there is none.

        Reads the whole file.
        """
        return find_problems(self._connection, self.folder)

    def _recover(self) -> None:
        with self.transaction():
            self._connection.execute(
                "UPDATE items SET state = 'pending', tries = tries - 1, interrupted ="
                " interrupted + 1 WHERE state = 'running'"
            )

    def _count(self) -> Counter[str]:
        rows = self._connection.execute(
            "SELECT state, COUNT(*) FROM items WHERE place IS NOT NULL GROUP BY state"
        )
        return Counter({str(state): int(count) for state, count in rows})

    def _transition(
        self, item_id: str, state: State, values: dict[str, Any], *, uncounted: bool = False
    ) -> bool:
        with self.transaction():
            first = self._set_state(item_id, state, uncounted=uncounted, **values)
        self._update_counts(first, state)
        return first

    def _set_state(
        self, item_id: str, state: State, *, uncounted: bool = False, **values: Any
    ) -> bool:
        """Set the next state of an item in flight; clear the values of an earlier outcome."""
        names = ("fingerprint", "size", "mtime_ns", "code", "stage", "message", "hint")
        columns = dict.fromkeys((*names, "retryable", "rule")) | {"shared": 0} | values
        columns |= {"state": state, "finished_at": time.time()}
        changes = ", ".join(f"{name} = ?" for name in columns)
        if uncounted:
            changes += ", tries = tries - 1"
        changed = self._connection.execute(
            f"UPDATE items SET {changes} WHERE id = ? AND state = 'running'",
            (*columns.values(), encode_id(item_id)),
        ).rowcount
        if (
            not changed
            and not self._connection.execute(
                "SELECT 1 FROM items WHERE id = ?", (encode_id(item_id),)
            ).fetchone()
        ):
            raise ValueError(f"there is no item {item_id!r}")
        return bool(changed)

    def _update_counts(self, first: bool, state: State) -> None:  # noqa: FBT001  # private
        if first:
            self._counted["running"] -= 1
            self._counted[state] += 1
