"""The rows of a job on their way into a journal: what is new, what still holds, what is gone.

In chunks, each one transaction; only what differs is written. One bit of memory a row.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from seedvideo.batch import journal_schema as schema
from seedvideo.batch.fingerprint import Verdicts
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job, belongs
from seedvideo.batch.journal_rows import carried_crc, checksum, key_of, plain

CHUNK_ROWS: Final = 10_000
_CHUNK_CARRIED_BYTES: Final = 16 << 20
"""A chunk ends early where its rows carry more than this along."""

_NO_VERDICT: Final = ("pending", "running")
_BAD: Final = ""
"""Settings of a bad row: no run can change its verdict."""

Row: TypeAlias = Item | BadRow
Refusal: TypeAlias = Callable[[BadRow], None]


class _Kept(NamedTuple):
    """What the journal has of a row."""

    number: int
    place: int | None
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
    """What one chunk writes."""

    new: list[tuple[Any, ...]] = field(default_factory=list)
    moved: list[tuple[Any, ...]] = field(default_factory=list)
    reset: list[tuple[Any, ...]] = field(default_factory=list)
    refused: list[BadRow] = field(default_factory=list)


class _Bits:
    """A set of small numbers, a bit each."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, number: int) -> bool:
        """Returns whether it is new."""
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(self._bytes):
            self._bytes.extend(bytes(place + 1024 - len(self._bytes)))
        is_new = not self._bytes[place] & bit
        self._bytes[place] |= bit
        return is_new

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bytes) and bool(self._bytes[place] & 1 << (number & 7))


def plan_rows(
    connection: sqlite3.Connection,
    rows: Iterable[Row],
    job: Job,
    model_sha256: str,
    refused: Refusal,
) -> None:
    """See `Journal.plan`; errors of SQLite pass through."""
    verdicts = Verdicts(job.settings(), model_sha256=model_sha256)
    with schema.transaction(connection):
        connection.executemany(
            schema.KEEP_NOTE,
            [("job", job.to_json()), ("model_sha256", model_sha256)],
        )
    seen = _Bits()
    last = connection.execute("SELECT COALESCE(MAX(number), 0) FROM items").fetchone()[0]
    present = 0
    placed = (
        (place, row)
        for place, row in enumerate(rows)
        if job.shard is None or belongs(row.id, job.shard)
    )
    if last == 0:
        _fill(connection, placed, verdicts, refused)
        return
    while chunk := _next_chunk(placed):
        present += len(chunk)
        keys = [key_of(row.id) for _, row in chunk]
        kept = _look_up(connection, keys)
        changes = _Changes()
        for (place, row), key in zip(chunk, keys, strict=True):
            old = kept.get(key)
            if old is None:
                last += 1
                _add(changes, last, place, row, key, verdicts)
                # The same row again in this chunk is found here, in a later one by look-up.
                kept[key] = _Kept(last, place, "", "pending", _BAD, None, None, None, None, 0)
                seen.add(last)
            elif not seen.add(old.number):
                raise ValueError(f"two rows have the id {row.id!r}")
            else:
                _compare(changes, old, place, row, key, verdicts, job)
        with schema.transaction(connection):
            _write(connection, changes)
        _tell(changes, refused)
    _part_with(connection, seen, present)


def _next_chunk(placed: Iterator[tuple[int, Row]]) -> list[tuple[int, Row]]:
    chunk: list[tuple[int, Row]] = []
    carried_bytes = 0
    for place, row in placed:
        chunk.append((place, row))
        carried_bytes += len(row.extra)
        if len(chunk) == CHUNK_ROWS or carried_bytes > _CHUNK_CARRIED_BYTES:
            break
    return chunk


def _fill(
    connection: sqlite3.Connection,
    placed: Iterator[tuple[int, Row]],
    verdicts: Verdicts,
    refused: Refusal,
) -> None:
    """Take the rows into a journal that has none: nothing is there to be looked up."""
    last = 0
    while chunk := _next_chunk(placed):
        changes = _Changes()
        for place, row in chunk:
            last += 1
            key = key_of(row.id)
            _add(changes, last, place, row, key, verdicts)
        try:
            with schema.transaction(connection):
                _write(connection, changes)
        except sqlite3.IntegrityError as error:
            raise ValueError(f"two rows have one id: {error}") from error
        _tell(changes, refused)


def _add(
    changes: _Changes, number: int, place: int, row: Row, key: bytes, verdicts: Verdicts
) -> None:
    changes.new.append((number, place, key, *_new_values(row, key, verdicts)))
    if isinstance(row, BadRow):
        changes.refused.append(row)


def _tell(changes: _Changes, refused: Refusal) -> None:
    """Report the bad rows of a chunk whose verdicts are on the disk."""
    for row in changes.refused:
        refused(row)


def _look_up(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, _Kept]:
    marks = ", ".join("?" * len(keys))
    found = connection.execute(
        "SELECT id, number, place, spec, state, settings, size, mtime_ns, code, message,"
        f" carried_crc FROM items WHERE id IN ({marks})",
        keys,
    )
    return {key: _Kept._make(rest) for key, *rest in found}


def _new_values(row: Row, key: bytes, verdicts: Verdicts) -> tuple[Any, ...]:
    """From ``spec`` to ``carried_crc``, in the order of `_write`."""
    spec, settings = _told(row, verdicts)
    crc = checksum(key, spec.encode())
    told: tuple[Any, ...]
    if isinstance(row, BadRow):
        code, stage = row.code, row.code.split(".")[0]
        told = ("failed", code, stage, _complaint(row), "", 0)
    else:
        told = ("pending", None, None, None, None, None)
    return (spec, crc, settings, *told, *_carried(row))


def _carried(row: Row) -> tuple[str, str, int]:
    """The columns `journal_schema.CARRIED`, as texts that SQLite can hold."""
    origin = plain(row.where if isinstance(row, BadRow) else row.origin)
    return origin, row.extra, carried_crc(origin, row.extra)


def _told(row: Row, verdicts: Verdicts) -> tuple[str, str]:
    """What a row says, and under which settings its verdict holds."""
    if isinstance(row, BadRow):
        return Item(id=row.id, source=row.where).to_json(), _BAD
    return row.to_json(), verdicts.of(row)


def _complaint(row: BadRow) -> str:
    return plain(f"{row.where}: {row.message}")


def _compare(
    changes: _Changes,
    old: _Kept,
    place: int,
    row: Row,
    key: bytes,
    verdicts: Verdicts,
    job: Job,
) -> None:
    same = (old.spec, old.settings) == _told(row, verdicts)
    if isinstance(row, BadRow):
        same = same and (old.code, old.message) == (row.code, _complaint(row))
    elif same and old.state not in _NO_VERDICT:
        same = not _file_changed(job.path_of(row.source), old)
    if not same:
        changes.reset.append((place, *_new_values(row, key, verdicts), old.number))
        if isinstance(row, BadRow):
            changes.refused.append(row)
        return
    carried = _carried(row)
    if same and (old.place, old.carried_crc) != (place, carried[-1]):
        changes.moved.append((place, *carried, old.number))


def _file_changed(path: str, old: _Kept) -> bool:
    """Whether the file is another than the one that the verdict is about.

    One that is gone is not: what was made of it is kept.
    """
    if old.size is None and old.code != "input.not_found":
        return False
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return False
    return (facts.st_size, facts.st_mtime_ns) != (old.size, old.mtime_ns)


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


def _part_with(connection: sqlite3.Connection, seen: _Bits, present: int) -> None:
    """Take those that are no longer in the input out of the order; what is known of them stays."""
    count = connection.execute("SELECT COUNT(*) FROM items WHERE place IS NOT NULL").fetchone()[0]
    if count == present:
        return
    last = -1
    while numbers := _numbers_after(connection, last):
        last = numbers[-1]
        gone = [(number,) for number in numbers if number not in seen]
        with schema.transaction(connection):
            connection.executemany("UPDATE items SET place = NULL WHERE number = ?", gone)


def _numbers_after(connection: sqlite3.Connection, last: int) -> list[int]:
    rows = connection.execute(
        "SELECT number FROM items WHERE number > ? AND place IS NOT NULL ORDER BY number LIMIT ?",
        (last, CHUNK_ROWS),
    )
    return [row[0] for row in rows]
