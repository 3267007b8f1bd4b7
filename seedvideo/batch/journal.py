"""What became of each item of a job, kept so that nothing that was told done is ever lost.

Every verdict is one transaction, on the disk before the call returns. One process writes, any
number read. Order and decisions never depend on a clock. Knows nothing of models, workers or files
but their size and time of change.
"""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
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
from seedvideo.utils.files import make_folder

_ENTRY = (
    "SELECT id, spec, crc, state, tries, interrupted, items.fingerprint, shared, size, mtime_ns,"
    " code, stage, message, hint, retryable, rule, started_at, finished_at, {carried}, record,"
    " record_crc, {sheet} FROM items LEFT JOIN records ON state = 'done' AND"
    " records.fingerprint = items.fingerprint WHERE place IS NOT NULL {where} ORDER BY place"
)


END_POSITION: Final = (1 << 63) - 1
"""Behind all places."""


class Journal:
    """The journal of one folder; use it in a ``with`` statement. Made by `open`."""

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
            folder: one that writes makes it and its journal when missing; the folder above it must
                be there.
            write: be the one process that writes. Items that a dead one had under way become
                pending; they are taken last, should one of them be what it died of.

        Raises:
            BatchError: ``batch.locked`` naming the holder; ``batch.journal_missing``,
                ``batch.journal_damaged`` with the way out, ``batch.journal_newer``.
            OutputError: ``output.unwritable`` or ``output.disk_full``.
        """
        if not write:
            return cls(folder, None)
        if folder.exists() and not folder.is_dir():
            raise schema.unwritable_error(folder, "it is not a folder")
        make_folder(folder)
        lock = Lock(folder)
        try:
            return cls(folder, lock)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Close the journal and let the folder go. Twice is fine."""
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is done inside, or nothing of it; for those who keep tables beside ours.

        Raises:
            OutputError: ``output.disk_full`` or ``output.unwritable``.
        """
        with schema.translate_errors(self.folder), schema.transaction(self._connection):
            yield self._connection

    def job(self) -> Job | None:
        """The job as it was last planned; None before the first plan.

        Raises:
            ConfigError: ``config.invalid`` if it cannot be read.
        """
        text = self.get_meta("job")
        return None if text is None else Job.from_json(text)

    def get_meta(self, key: str) -> str | None:
        """A note about the whole job: ``job``, ``model_sha256``, or what `note` wrote."""
        with schema.translate_errors(self.folder):
            found = self._connection.execute(
                "SELECT value FROM meta WHERE key = ?", (key,)
            ).fetchone()
        return None if found is None else str(found[0])

    def set_meta(self, key: str, value: str) -> None:
        """Keep a note about the whole job, in the place of an earlier one."""
        with self.transaction():
            self._connection.execute(schema.UPSERT_META, (key, escape_surrogates(value)))

    def record_restart(self, process: ProcessKind) -> None:
        """Count a process of the job that died, or had to be ended, and was started again."""
        counts = self.restarts()
        self.set_meta("restarts", json.dumps({**counts, process: counts[process] + 1}))

    def restarts(self) -> dict[ProcessKind, int]:
        """How often processes were started again, in all runs of the job."""
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
        """Take in the rows of a job; those with a verdict that still holds keep it.

        A verdict holds under the same settings, the same words and, where the file is still there,
        its same size and time of change. What is no longer among the rows is kept, but is neither
        taken nor told. Rows outside of the job's shard only count for the order. A million rows
        take no more memory than a thousand. Killed half way, it is simply done again.

        Args:
            rows: all rows of the inputs, their ids unique.
            job: what is asked.
            model_sha256: of the weights.
            on_bad_row: called for each new bad row, once its verdict is on disk.

        Raises:
            ValueError: if two rows have one id.
            OutputError: ``output.disk_full`` or ``output.unwritable``.
        """
        with schema.translate_errors(self.folder):
            sync_rows(self._connection, rows, job, model_sha256, on_bad_row)
            self._counted = self._count()
        return self.counts()

    def position_after(self, count: int) -> int:
        """Where the first so many items of the input end; bad rows are not counted."""
        with schema.translate_errors(self.folder):
            found = self._connection.execute(
                "SELECT COALESCE(MAX(place) + 1, 0) FROM (SELECT place FROM items WHERE place IS"
                " NOT NULL AND settings <> '' ORDER BY place LIMIT ?)",
                (count,),
            ).fetchone()
        return int(found[0])

    def count_pending(self, *, before: int) -> int:
        """How many items are pending before a place in the input."""
        with schema.translate_errors(self.folder):
            found = self._connection.execute(
                "SELECT COUNT(*) FROM items WHERE state = 'pending' AND place < ?", (before,)
            ).fetchone()
        return int(found[0])

    def claim(self, count: int, *, before: int = END_POSITION) -> list[ClaimedItem]:
        """The next items to do, in the order of the input; each counts as tried once more.

        Args:
            count: most items.
            before: only items before this place in the input.
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
        """Whether there is a record of this fingerprint, of whatever item: `done` can use it."""
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
        """An item is done: its record is on the disk when this returns.

        Args:
            item_id: of an item under way.
            fingerprint: what the record depends on.
            content: of the file.
            record_json: one line; None where the record is `known`. A record that is there already
                is kept, and this one dropped.
            sheet: the contact sheet's bytes.

        Returns:
            Whether this was the item's first finish; a second one changes nothing.

        Raises:
            ValueError: if there is no such item, or no record.
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
        """An item is left out by a rule. Returns whether this was its first finish."""
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
    ) -> bool:
        """An item has failed for good, in this run. Returns whether this was its first finish.

        With the content known, a file that is replaced later is tried again by itself.
        """
        values = failure_columns(code, stage, message, hint, retryable=retryable)
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
        """An item has killed or hung what worked on it once too often. Returns as `failed`."""
        values = failure_columns(code, stage, message, hint, retryable=False)
        return self._transition(item_id, "quarantined", {**values, **content_columns(content)})

    def mark_retry(self, item_id: str, code: str, stage: str, message: str, hint: str = "") -> bool:
        """An item under way has failed and is to be tried again; this try counts."""
        values = failure_columns(code, stage, message, hint, retryable=True)
        return self._transition(item_id, "pending", values)

    def release(self, item_id: str) -> bool:
        """An item under way is left for later, for no fault of its own; the try does not count."""
        return self._transition(item_id, "pending", {}, uncounted=True)

    def retry(
        self,
        *,
        code: str | None = None,
        states: Collection[State] = ("failed", "quarantined"),
    ) -> int:
        """Items with a verdict become pending, their tries forgotten; bad rows stay as they are.

        Args:
            code: only failures of this code.
            states: only items in these states.

        Returns:
            How many.
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
        """Count the states, after a `transaction` that changed them."""
        with schema.translate_errors(self.folder):
            self._counted = self._count()

    def counts(self) -> Counts:
        """How many items of the input are in each state."""
        if self._lock is None:
            with schema.translate_errors(self.folder):
                return Counts.from_states(self._count())
        return Counts.from_states(self._counted)

    def failures(self) -> list[tuple[str, str, int]]:
        """Codes, stages and how many items, the most frequent first."""
        with schema.translate_errors(self.folder):
            return self._connection.execute(
                "SELECT code, stage, COUNT(*) FROM items WHERE place IS NOT NULL AND"
                " state IN ('failed', 'quarantined') GROUP BY code, stage"
                " ORDER BY COUNT(*) DESC, code, stage"
            ).fetchall()

    def entries(
        self, *, states: Collection[State] = STATES, sheets: bool = True
    ) -> Iterator[JournalEntry]:
        """Items in the order of the input, one at a time, all as they stood at one moment.

        Args:
            states: only items in these states.
            sheets: with their contact sheets.

        Raises:
            BatchError: ``batch.journal_damaged`` if one does not hold what was written.
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
        """Everything that is wrong with the file, by SQLite's checks and by the check sums.

        Reads all of it; empty if all is well.
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
        """Give an item under way its next state; forget what an earlier verdict said."""
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
