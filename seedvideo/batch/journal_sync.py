"""Synchronization of a job's rows with its journal: new, changed and missing rows.

Separate from `journal` to stay under 500 lines. Rows are read in chunks, one transaction each, and
only differences are written. Memory: one bit per row.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from seedvideo.batch import journal_schema as schema
from seedvideo.batch.fingerprint import VerdictKeys
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job, in_shard
from seedvideo.batch.journal_rows import carried_checksum, checksum, encode_id, escape_surrogates
from seedvideo.utils.addresses import split_member

CHUNK_ROWS: Final = 10_000
_CHUNK_CARRIED_BYTES: Final = 16 << 20
"""Maximum bytes of further columns in a chunk; with more, the chunk ends early."""

_NO_VERDICT: Final = ("pending", "running")
_BAD_ROW_SETTINGS: Final = ""
"""Settings of a bad row, whose verdict no settings can change."""

Row: TypeAlias = Item | BadRow
OnBadRow: TypeAlias = Callable[[BadRow], None]


class _StoredRow(NamedTuple):
    """Columns of a row in the journal."""

    number: int
    position: int | None
    spec: str
    state: str
    settings: str
    size: int | None
    mtime_ns: int | None
    code: str | None
    message: str | None
    carried_crc: int


@dataclass
class _Changes:
    """Changes that one chunk writes."""

    new: list[tuple[Any, ...]] = field(default_factory=list)
    moved: list[tuple[Any, ...]] = field(default_factory=list)
    reset: list[tuple[Any, ...]] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)


class _BitSet:
    """Set of small numbers, one bit each."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, number: int) -> bool:
        """Add a number and return whether it is new."""
        position, bit = number >> 3, 1 << (number & 7)
        if position >= len(self._bytes):
            self._bytes.extend(bytes(position + 1024 - len(self._bytes)))
        is_new = not self._bytes[position] & bit
        self._bytes[position] |= bit
        return is_new

    def __contains__(self, number: int) -> bool:
        position = number >> 3
        return position < len(self._bytes) and bool(self._bytes[position] & 1 << (number & 7))


def sync_rows(
    connection: sqlite3.Connection,
    rows: Iterable[Row],
    job: Job,
    model_sha256: str,
    on_bad_row: OnBadRow,
) -> None:
    """Implement `Journal.plan`; errors of SQLite pass through."""
    verdicts = VerdictKeys(job.settings(), model_sha256=model_sha256)
    with schema.transaction(connection):
        connection.executemany(
            schema.UPSERT_META,
            [("job", job.to_json()), ("model_sha256", model_sha256)],
        )
    seen = _BitSet()
    last = connection.execute("SELECT COALESCE(MAX(number), 0) FROM items").fetchone()[0]
    present = 0
    positioned = (
        (position, row)
        for position, row in enumerate(rows)
        if job.shard is None or in_shard(row.id, job.shard)
    )
    if last == 0:
        _insert_all(connection, positioned, verdicts, on_bad_row)
        return
    while chunk := _next_chunk(positioned):
        present += len(chunk)
        keys = [encode_id(row.id) for _, row in chunk]
        stored = _load_rows(connection, keys)
        changes = _Changes()
        for (position, row), key in zip(chunk, keys, strict=True):
            old = stored.get(key)
            if old is None:
                last += 1
                _insert(changes, last, position, row, key, verdicts)
                # A repeat in the same chunk is found here, one in a later chunk by a query.
                stored[key] = _StoredRow(
                    last, position, "", "pending", _BAD_ROW_SETTINGS, None, None, None, None, 0
                )
                seen.add(last)
            elif not seen.add(old.number):
                raise ValueError(f"two rows have the id {row.id!r}")
            else:
                _update_if_changed(changes, old, position, row, key, verdicts, job)
        with schema.transaction(connection):
            _write(connection, changes)
        _report_bad_rows(changes, on_bad_row)
    _drop_missing(connection, seen, present)


def _next_chunk(positioned: Iterator[tuple[int, Row]]) -> list[tuple[int, Row]]:
    chunk: list[tuple[int, Row]] = []
    carried_bytes = 0
    for position, row in positioned:
        chunk.append((position, row))
        carried_bytes += len(row.extra)
        if len(chunk) == CHUNK_ROWS or carried_bytes > _CHUNK_CARRIED_BYTES:
            break
    return chunk


def _insert_all(
    connection: sqlite3.Connection,
    positioned: Iterator[tuple[int, Row]],
    verdicts: VerdictKeys,
    on_bad_row: OnBadRow,
) -> None:
    """Insert the rows into an empty journal, without looking up old ones."""
    last = 0
    while chunk := _next_chunk(positioned):
        changes = _Changes()
        for position, row in chunk:
            last += 1
            key = encode_id(row.id)
            _insert(changes, last, position, row, key, verdicts)
        try:
            with schema.transaction(connection):
                _write(connection, changes)
        except sqlite3.IntegrityError as error:
            raise ValueError(f"two rows have one id: {error}") from error
        _report_bad_rows(changes, on_bad_row)


def _insert(
    changes: _Changes, number: int, position: int, row: Row, key: bytes, verdicts: VerdictKeys
) -> None:
    changes.new.append((number, position, key, *_new_columns(row, key, verdicts)))
    if isinstance(row, BadRow):
        changes.bad_rows.append(row)


def _report_bad_rows(changes: _Changes, on_bad_row: OnBadRow) -> None:
    """Report the bad rows of a chunk that is on disk."""
    for row in changes.bad_rows:
        on_bad_row(row)


def _load_rows(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, _StoredRow]:
    placeholders = ", ".join("?" * len(keys))
    found = connection.execute(
        "SELECT id, number, place, spec, state, settings, size, mtime_ns, code, message,"
        f" carried_crc FROM items WHERE id IN ({placeholders})",
        keys,
    )
    return {key: _StoredRow._make(rest) for key, *rest in found}


def _new_columns(row: Row, key: bytes, verdicts: VerdictKeys) -> tuple[Any, ...]:
    """Return ``spec`` to ``carried_crc``, in the order of `_write`."""
    spec, settings = _spec_and_settings(row, verdicts)
    crc = checksum(key, spec.encode())
    verdict: tuple[Any, ...]
    if isinstance(row, BadRow):
        code, stage = row.code, row.code.split(".")[0]
        verdict = ("failed", code, stage, _bad_row_message(row), "", 0)
    else:
        verdict = ("pending", None, None, None, None, None)
    return (spec, crc, settings, *verdict, *_carried_columns(row))


def _carried_columns(row: Row) -> tuple[str, str, int]:
    """Return the columns `journal_schema.CARRIED_COLUMNS` as text that SQLite can store."""
    origin = escape_surrogates(row.where if isinstance(row, BadRow) else row.origin)
    return origin, row.extra, carried_checksum(origin, row.extra)


def _spec_and_settings(row: Row, verdicts: VerdictKeys) -> tuple[str, str]:
    """Return the values of a row, and the key of the settings that its outcome depends on."""
    if isinstance(row, BadRow):
        return Item(id=row.id, source=row.where).to_json(), _BAD_ROW_SETTINGS
    return row.to_json(), verdicts.key_for(row)


def _bad_row_message(row: BadRow) -> str:
    return escape_surrogates(f"{row.where}: {row.message}")


def _update_if_changed(
    changes: _Changes,
    old: _StoredRow,
    position: int,
    row: Row,
    key: bytes,
    verdicts: VerdictKeys,
    job: Job,
) -> None:
    same = (old.spec, old.settings) == _spec_and_settings(row, verdicts)
    if isinstance(row, BadRow):
        same = same and (old.code, old.message) == (row.code, _bad_row_message(row))
    elif same and old.state not in _NO_VERDICT:
        same = not _file_changed(job.resolve_path(row.source), old)
    if not same:
        changes.reset.append((position, *_new_columns(row, key, verdicts), old.number))
        if isinstance(row, BadRow):
            changes.bad_rows.append(row)
        return
    carried = _carried_columns(row)
    if same and (old.position, old.carried_crc) != (position, carried[-1]):
        changes.moved.append((position, *carried, old.number))


def _file_changed(path: str, old: _StoredRow) -> bool:
    """Return whether the file differs from the one that the outcome is about.

    A missing file counts as unchanged: its result is kept. So does one on a server, which is not
    asked. A clip in a container is as old as its container.
    """
    member = split_member(path)
    if member is not None and not os.path.lexists(path):
        path = member.container
    if old.size is None and old.code != "input.not_found":
        return False
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return False
    return (stat.st_size, stat.st_mtime_ns) != (old.size, old.mtime_ns)


def _write(connection: sqlite3.Connection, changes: _Changes) -> None:
    connection.executemany(
        "INSERT INTO items (number, place, id, spec, crc, settings, state, code, stage, message,"
        " hint, retryable, origin, extra, carried_crc)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        changes.new,
    )
    connection.executemany(
        "UPDATE items SET place = ?, origin = ?, extra = ?, carried_crc = ? WHERE number = ?",
        changes.moved,
    )
    connection.executemany(
        "UPDATE items SET place = ?, spec = ?, crc = ?, settings = ?, state = ?, code = ?,"
        " stage = ?, message = ?, hint = ?, retryable = ?, origin = ?, extra = ?,"
        " carried_crc = ?, tries = 0, interrupted = 0, rule = NULL,"
        " fingerprint = NULL, shared = 0, size = NULL, mtime_ns = NULL, started_at = NULL,"
        " finished_at = NULL WHERE number = ?",
        changes.reset,
    )


def _drop_missing(connection: sqlite3.Connection, seen: _BitSet, present: int) -> None:
    """Remove rows that are no longer in the input from the order; their results stay."""
    count = connection.execute("SELECT COUNT(*) FROM items WHERE place IS NOT NULL").fetchone()[0]
    if count == present:
        return
    last = -1
    while numbers := _numbers_after(connection, last):
        last = numbers[-1]
        missing = [(number,) for number in numbers if number not in seen]
        with schema.transaction(connection):
            connection.executemany("UPDATE items SET place = NULL WHERE number = ?", missing)


def _numbers_after(connection: sqlite3.Connection, last: int) -> list[int]:
    rows = connection.execute(
        "SELECT number FROM items WHERE number > ? AND place IS NOT NULL ORDER BY number LIMIT ?",
        (last, CHUNK_ROWS),
    )
    return [row[0] for row in rows]
