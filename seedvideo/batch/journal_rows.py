"""Types and checksums of journal rows, and their conversion to JSON rows.

SQLite has no checksums, so each row has one of its own: damage on disk is noticed. File names may
contain any bytes. Exports share `to_row`: a done clip is its record after ``id`` and ``state``;
any other clip says why it has none. ``extra`` holds the columns of its list that seedvideo does not
know.
"""

import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias, get_args

from seedvideo.batch import journal_schema as schema
from seedvideo.batch.extra_columns import parse_extra
from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import Item
from seedvideo.records import Record
from seedvideo.utils.timecode import format_exact

State: TypeAlias = Literal["pending", "running", "done", "filtered", "failed", "quarantined"]
ProcessKind: TypeAlias = Literal["decode", "model"]
"""Kinds of processes of a job, by the stage of what they do."""

STATES: Final[tuple[State, ...]] = get_args(State)

RECORD_TASKS: Final = {"caption": "caption", "dense": "caption", "ask": "ask", "ground": "ground"}
"""Task of the records, by the task of the job."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Number of items of the input in each state."""

    pending: int = 0
    running: int = 0
    done: int = 0
    filtered: int = 0
    failed: int = 0
    quarantined: int = 0

    @classmethod
    def from_states(cls, counted: Mapping[str, int]) -> Self:
        """Return the counts of a mapping from states to numbers; missing states are 0."""
        return cls(**{state: counted.get(state, 0) for state in STATES})

    @property
    def total(self) -> int:
        """All items."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def finished(self) -> int:
        """Number of items with an outcome."""
        return self.total - self.pending - self.running


@dataclass(frozen=True, kw_only=True)
class ClaimedItem:
    """An item to process now.

    Args:
        item: the item.
        tries: number of tries, including this one.
        fingerprint: fingerprint of its last outcome, if any.
    """

    item: Item
    tries: int
    fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """State and result of one item.

    Args:
        item: the row; for a bad row, its source is the position in the list.
        state: current state.
        tries: number of tries, without those that ended with the death of the whole job.
        interrupted: how often the job died while the item was in flight.
        fingerprint: cache key of its record.
        size: size of the file in bytes at the time of the outcome, if it was read.
        mtime_ns: modification time of the file, in nanoseconds, if it was read.
        code: error code of the failure.
        stage: stage of the failure.
        message: explanation for people; also the reason of a filter.
        hint: next step.
        retryable: whether another try may help.
        rule: name of the filter that left it out.
        started_at: wall-clock start, seconds since 1970, for display only.
        finished_at: wall-clock end, seconds since 1970, for display only.
        record: JSON of the record, if the item is done.
        sheet: contact sheet, if there is one and it was requested.
    """

    item: Item
    state: State
    tries: int = 0
    interrupted: int = 0
    fingerprint: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    code: str | None = None
    stage: str | None = None
    message: str | None = None
    hint: str | None = None
    retryable: bool | None = None
    rule: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    record: str | None = None
    sheet: bytes | None = None


_MAX_PROBLEMS: Final = 20


def encode_id(item_id: str) -> bytes:
    """Return an id as stored: file names may hold bytes that SQLite's TEXT cannot."""
    return item_id.encode("utf-8", "surrogatepass")


def fingerprint_at(position: int, fingerprint: str) -> str:
    """Return a fingerprint that only the clip at a position has; see `plain_fingerprint`."""
    return f"{position}:{fingerprint}"


def plain_fingerprint(fingerprint: str | None) -> str | None:
    """Return a fingerprint without the position that `fingerprint_at` adds."""
    return None if fingerprint is None else fingerprint.rpartition(":")[2]


def escape_surrogates(text: str) -> str:
    """Return a text for people, with invalid bytes escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def checksum(*parts: bytes) -> int:
    """Return the CRC-32 of the parts; detects bit flips, not deliberate changes."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def parse_item(folder: Path, id_bytes: bytes, spec: str, crc: int) -> Item:
    """Return the item of a row.

    Raises:
        BatchError: ``batch.journal_damaged``.
    """
    try:
        if checksum(id_bytes, spec.encode()) != crc:
            raise ValueError("a row does not match its checksum")
        return Item.from_json(id_bytes.decode("utf-8", "surrogatepass"), spec)
    except (ValueError, TypeError, AttributeError) as error:
        raise schema.damaged_error(folder, str(error)) from error


def carried_checksum(origin: str, extra: str) -> int:
    """Return the checksum of a row's origin and extra columns; 0 if both are empty."""
    return checksum(origin.encode(), extra.encode())


def has_carried_checksum(origin: object, extra: object, crc: object) -> bool:
    """Return whether origin and extra columns match their checksum."""
    if not (isinstance(origin, str) and isinstance(extra, str)):
        return False
    return carried_checksum(origin, extra) == crc


def parse_entry(folder: Path, row: Sequence[Any]) -> JournalEntry:
    """Return the entry of a row that `Journal.entries` selects.

    Raises:
        BatchError: ``batch.journal_damaged``.
    """
    id_bytes, spec, crc, state, tries, interrupted, fingerprint, shared, *rest = row
    size, mtime_ns, code, stage, message, hint, retryable, rule, started, finished, *stored = rest
    origin, extra, carried, record, record_crc, sheet, sheet_crc = stored
    if not has_carried_checksum(origin, extra, carried):
        raise schema.damaged_error(folder, "the columns of a row do not match their checksum")
    item = replace(parse_item(folder, id_bytes, spec, crc), origin=origin, extra=extra)
    if state not in STATES:
        raise schema.damaged_error(folder, f"unknown state {state!r}")
    if state == "done":
        if not isinstance(record, str) or checksum(record.encode()) != record_crc:
            raise schema.damaged_error(folder, "a record is missing or does not match its checksum")
        if sheet is not None and checksum(sheet) != sheet_crc:
            raise schema.damaged_error(folder, "a contact sheet does not match its checksum")
        if shared:
            record = _with_source(record, item.source)
    return JournalEntry(
        item=item,
        state=state,
        tries=tries,
        interrupted=interrupted,
        fingerprint=fingerprint,
        size=size,
        mtime_ns=mtime_ns,
        code=code,
        stage=stage,
        message=message,
        hint=hint,
        retryable=None if retryable is None else bool(retryable),
        rule=rule,
        started_at=started,
        finished_at=finished,
        record=record,
        sheet=sheet,
    )


def find_problems(connection: sqlite3.Connection, folder: Path) -> list[str]:
    """Return the damage that SQLite and the checksums find, up to `_MAX_PROBLEMS`."""
    found: list[str] = []
    try:
        rows = connection.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})").fetchall()
        found += [str(row[0]) for row in rows if row[0] != "ok"]
        columns = f"id, spec, crc, {schema.carried_columns(connection)}"
        for row in connection.execute(f"SELECT {columns} FROM items"):
            id_bytes, spec, crc, origin, extra, carried = row
            is_whole = checksum(bytes(id_bytes), str(spec).encode()) == crc
            if not (is_whole and has_carried_checksum(origin, extra, carried)):
                found.append(f"item {bytes(id_bytes)!r} does not match its checksum")
        for fingerprint, record, record_crc, sheet, sheet_crc in connection.execute(
            "SELECT fingerprint, record, record_crc, sheet, sheet_crc FROM records"
        ):
            bad_sheet = sheet is not None and checksum(sheet) != sheet_crc
            if checksum(str(record).encode()) != record_crc or bad_sheet:
                found.append(f"record {fingerprint} does not match its checksum")
        lost = connection.execute(
            "SELECT COUNT(*) FROM items WHERE state = 'done' AND fingerprint NOT IN"
            " (SELECT fingerprint FROM records)"
        ).fetchone()[0]
        if lost:
            found.append(f"{lost} items are done without a record")
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        found.append(str(error))
    return found[:_MAX_PROBLEMS]


def _with_source(record: str, source: str) -> str:
    """Return a record made for a copy of the file, with this copy's name."""
    values = json.loads(record)
    values["source"] = source
    return json.dumps(values, ensure_ascii=True, allow_nan=False)


def content_columns(content: Content | None) -> dict[str, Any]:
    """Return the columns for a file's content, if it is known."""
    return {} if content is None else {"size": content.size, "mtime_ns": content.mtime_ns}


def failure_columns(
    code: str, stage: str, message: str, hint: str, *, retryable: bool
) -> dict[str, Any]:
    """Return the columns for a failure."""
    return {
        "code": code,
        "stage": stage,
        "message": escape_surrogates(message),
        "hint": escape_surrogates(hint),
        "retryable": int(retryable),
    }


def window_texts(item: Item) -> dict[str, str]:
    """Return the start and the end of an item, as far as it has them, as a list writes them."""
    times = {"start": item.start_s, "end": item.end_s}
    return {name: format_exact(time) for name, time in times.items() if time is not None}


def to_row(entry: JournalEntry, *, task: str, timings: bool) -> dict[str, Any]:
    """Return JSON values: ``id``, ``state``, ``extra``, the record, ``error`` or ``filtered``.

    The clip of a window has its ``start`` and ``end`` as exact texts, as in a list.

    Args:
        entry: entry of the journal.
        task: task of the job's records, for clips without a record.
        timings: whether to keep ``timing_s``, which differs in every run.
    """
    row: dict[str, Any] = {"id": entry.item.id, "state": entry.state}
    if entry.item.extra:
        row["extra"] = parse_extra(entry.item.extra)
    row |= window_texts(entry.item)
    if entry.record is not None:
        row |= json.loads(entry.record)
        if not timings:
            row.pop("timing_s", None)
        return row
    row |= {"source": entry.item.source, "task": task}
    if entry.state in ("failed", "quarantined"):
        row["error"] = {
            "code": entry.code,
            "stage": entry.stage,
            "message": entry.message,
            "hint": entry.hint,
            "retryable": entry.retryable,
            "tries": entry.tries,
        }
    elif entry.state == "filtered":
        row["filtered"] = {"rule": entry.rule, "message": entry.message}
    return row


def to_record(entry: JournalEntry) -> Record | None:
    """Return the validated record of a done clip; None for any other."""
    return None if entry.record is None else Record.from_json(json.loads(entry.record))
