"""Records of a part: from the journal of a runner to the store, and back into a journal.

A part is committed by one small object, which names the object with its records and their hash. An
object with records that no commit names is the work of a runner that came second, or died; it is
never read.

`gather` copies all commits into a temporary journal, so that every export, list and report of a job
of parts is made by the code of a job in a folder.
"""

import gzip
import hashlib
import io
import json
import os
import platform
import secrets
import sqlite3
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import (
    RECORD_TASKS,
    JournalEntry,
    ProcessKind,
    carried_checksum,
    checksum,
    encode_id,
    escape_surrogates,
    fingerprint_at,
    to_row,
)
from seedvideo.batch.parts import PartSet, Row, read_job, read_part_sets, read_plan
from seedvideo.batch.stores import Store, read_many
from seedvideo.environment import __version__
from seedvideo.errors import BatchError, StoreError
from seedvideo.utils.files import temporary_folder
from seedvideo.utils.text import printable

_FIELDS: Final = (
    *("tries", "interrupted", "fingerprint", "size", "mtime_ns", "code", "stage", "message"),
    *("hint", "retryable", "rule", "started_at", "finished_at"),
)


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The one object that makes the records of an attempt count.

    Args:
        part: number of the part.
        attempt: number of the attempt.
        data: name of the object with the records.
        size: its size in bytes.
        sha256: its hash.
        rows: number of rows in it.
        digest: hash over the rows without timings: equal for equal results.
        counts: rows by state.
        failures: code, stage and number of failed rows.
        restarts: restarts of processes by kind.
        stage_s: seconds by stage, over all records.
        visual_tokens: tokens of frames, over all records.
        output_tokens: tokens that the model wrote, over all records.
        runner: name of the runner.
        seedvideo: version of the runner.
        started_at: wall-clock start, for display only.
        finished_at: wall-clock end, for display only.
        sheets: name of the object with contact sheets; empty if there is none.
        sheets_size: its size in bytes.
        sheets_sha256: its hash.
    """

    part: int
    attempt: int
    data: str
    size: int
    sha256: str
    rows: int
    digest: str
    counts: Mapping[str, int]
    failures: tuple[tuple[str, str, int], ...]
    restarts: Mapping[ProcessKind, int]
    stage_s: Mapping[str, float]
    visual_tokens: int
    output_tokens: int
    runner: str
    seedvideo: str = __version__
    started_at: float = 0.0
    finished_at: float = 0.0
    sheets: str = ""
    sheets_size: int = 0
    sheets_sha256: str = ""

    def to_json(self) -> bytes:
        """Return the bytes of the object."""
        return json.dumps(asdict(self), ensure_ascii=True, allow_nan=False).encode() + b"\n"


def parse_commit(data: bytes, *, where: str) -> Commit:
    """Parse the bytes of a commit.

    Raises:
        BatchError: ``batch.part_damaged``.
    """
    try:
        values = json.loads(data)
        failures = tuple((str(c), str(s), int(n)) for c, s, n in values.pop("failures"))
        return Commit(**values, failures=failures)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged_part_error(where, f"its commit cannot be read: {error}") from error


def read_commits(
    store: Store, parts: PartSet, known: Collection[int] = ()
) -> Iterator[tuple[int, Commit]]:
    """Yield the commits of parts that are not known yet.

    Raises:
        BatchError: ``batch.part_damaged``.
    """
    numbers = [n for n in list_committed(store, parts) if n not in known]
    names = {parts.commit_name(number): number for number in numbers}
    for name, data in read_many(store, names):
        if data is not None:
            yield names[name], parse_commit(data, where=f"{store.address}/{name}")


def list_committed(store: Store, parts: PartSet) -> list[int]:
    """Return the numbers of committed parts, in order."""
    prefix = f"{parts.prefix}commits/"
    stems = (name.removeprefix(prefix).removesuffix(".json") for name in store.list_names(prefix))
    # Other names are not ours, such as copies by a person.
    return [int(stem) for stem in stems if stem.isdecimal() and int(stem) in parts.numbers()]


@dataclass
class _Totals:
    """Sums over the records of a part."""

    stage_s: dict[str, float] = field(default_factory=dict)
    visual_tokens: int = 0
    output_tokens: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0

    def add(self, entry: JournalEntry, record: Mapping[str, Any]) -> None:
        for stage, spent_s in (record.get("timing_s") or {}).items():
            self.stage_s[stage] = round(self.stage_s.get(stage, 0.0) + spent_s, 4)
        usage = record.get("usage") or {}
        self.visual_tokens += usage.get("visual_tokens") or 0
        self.output_tokens += usage.get("output_tokens") or 0
        if entry.started_at is not None and entry.finished_at is not None:
            self.started_at = min(self.started_at or entry.started_at, entry.started_at)
            self.finished_at = max(self.finished_at, entry.finished_at)


def write_part(
    store: Store,
    parts: PartSet,
    number: int,
    attempt: int,
    rows: list[tuple[int, Row]],
    journal: Journal,
    job: Job,
    *,
    runner: str,
) -> Commit:
    """Write the records of a part under a name of its own, and read them back.

    Returns:
        The commit, which is not written yet.

    Raises:
        BatchError: ``batch.journal_damaged`` if a row of the journal is missing or unfinished.
        StoreError: ``store.wrote_other_bytes``; others as `Store` does.
    """
    totals, digest, lines = _Totals(), hashlib.sha256(), []
    sheets = io.BytesIO()
    with zipfile.ZipFile(sheets, "w") as pictures:
        for (position, row), entry in zip(rows, journal.entries(), strict=True):
            assert entry.item.id == row.id
            assert entry.state not in ("pending", "running")
            record = {} if entry.record is None else json.loads(entry.record)
            totals.add(entry, record)
            result = to_row(entry, task=RECORD_TASKS[job.task], timings=False)
            digest.update(json.dumps(result, ensure_ascii=True).encode() + b"\n")
            lines.append(_line_from_entry(position, row, entry, record))
            if entry.sheet is not None:
                pictures.writestr(f"{position}.jpg", entry.sheet)
        has_sheets = bool(pictures.namelist())
    stem = parts.data_stem(number, attempt, secrets.token_hex(6))
    data = gzip.compress(b"".join(lines), 6, mtime=0)
    name = f"{parts.prefix}parts/{stem}.jsonl.gz"
    sheets_name = f"{parts.prefix}sheets/{stem}.zip" if has_sheets else ""
    written = [(name, data), *([(sheets_name, sheets.getvalue())] if has_sheets else [])]
    for each, content in written:
        store.put(each, content)
        if store.read(each) != content:
            raise StoreError(
                "store.wrote_other_bytes",
                f"{printable(store.address)}/{each} was written and reads back as other bytes",
                hint="check the store; run the same command again: finished work is kept here",
                retryable=True,
            )
    counts = journal.counts()
    return Commit(
        part=number,
        attempt=attempt,
        data=name,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        rows=len(lines),
        digest=digest.hexdigest(),
        counts={state: count for state, count in asdict(counts).items() if count},
        failures=tuple(journal.failures()),
        restarts=journal.restarts(),
        stage_s=totals.stage_s,
        visual_tokens=totals.visual_tokens,
        output_tokens=totals.output_tokens,
        runner=runner,
        started_at=totals.started_at,
        finished_at=totals.finished_at,
        sheets=sheets_name,
        sheets_size=len(written[-1][1]) if has_sheets else 0,
        sheets_sha256=hashlib.sha256(written[-1][1]).hexdigest() if has_sheets else "",
    )


def read_part(store: Store, commit: Commit) -> Iterator[dict[str, Any]]:
    """Yield the rows of a committed part, after its hash is checked.

    Raises:
        BatchError: ``batch.part_damaged``.
    """
    data = _read_checked(store, commit.data, commit.sha256)
    try:
        for line in gzip.decompress(data).splitlines():
            yield json.loads(line)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise damaged_part_error(f"{store.address}/{commit.data}", str(error)) from error


def read_sheets(store: Store, commit: Commit) -> dict[int, bytes]:
    """Return the contact sheets of a committed part by position in the inputs.

    Raises:
        BatchError: ``batch.part_damaged``.
    """
    if not commit.sheets:
        return {}
    data = _read_checked(store, commit.sheets, commit.sheets_sha256)
    with zipfile.ZipFile(io.BytesIO(data)) as pictures:
        names = pictures.namelist()
        return {int(name.removesuffix(".jpg")): pictures.read(name) for name in names}


def damaged_part_error(where: str, why: str) -> BatchError:
    """Return the error of a part whose commit names records that cannot be read."""
    return BatchError(
        "batch.part_damaged",
        f"{printable(where)}: {printable(why[:300])}",
        hint="see which parts: seedvideo batch doctor --job JOB; process them again: seedvideo"
        " batch retry --job JOB --damaged",
    )


def _read_checked(store: Store, name: str, sha256: str) -> bytes:
    data = store.read(name)
    where = f"{store.address}/{name}"
    if data is None:
        raise damaged_part_error(where, "it is missing, and a commit names it")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise damaged_part_error(where, f"its {len(data):,} bytes do not match its commit")
    return data


def parse_row(values: Mapping[str, Any]) -> Item:
    """Return the item of a row that `read_part` yields."""
    carried = {name: values[name] for name in ("origin", "extra") if name in values}
    return replace(Item.from_json(values["id"], values["item"]), **carried)


def _line_from_entry(
    position: int, row: Row, entry: JournalEntry, record: Mapping[str, Any]
) -> bytes:
    item = entry.item
    values: dict[str, Any] = {"position": position, "id": item.id, "item": item.to_json()}
    values |= {name: getattr(item, name) for name in ("origin", "extra") if getattr(item, name)}
    values["state"] = entry.state
    if isinstance(row, BadRow):
        values["is_bad_row"] = True
    named = {name: getattr(entry, name) for name in _FIELDS}
    values |= {name: value for name, value in named.items() if value is not None}
    if record:
        values["record"] = record
    return json.dumps(values, ensure_ascii=True, allow_nan=False).encode() + b"\n"


@contextmanager
def gathered(store: Store, *, sheets: bool = False) -> Iterator[Path]:
    """Copy a job of parts into the journal of a temporary folder, and yield the folder.

    Args:
        store: store of the job.
        sheets: whether to copy the contact sheets.

    Raises:
        BatchError: ``batch.part_damaged``, ``batch.plan_damaged``, ``batch.no_plan``.
        StoreError: as `Store` does.
    """
    with temporary_folder("seedvideo-job-") as folder:
        gather(store, folder, sheets=sheets)
        yield folder


def gather(store: Store, folder: Path, *, sheets: bool) -> None:
    """Copy a job of parts into the journal of a folder: the job, then each retry over it."""
    job = read_job(store)
    with Journal.open(folder, write=True) as journal:
        journal.set_meta("job", job.job.to_json())
        journal.set_meta("model_sha256", job.model_sha256)
        restarts: dict[ProcessKind, int] = {"decode": 0, "model": 0}
        for parts in read_part_sets(store, job):
            commits = dict(read_commits(store, parts))
            for number in parts.numbers():
                commit = commits.get(number)
                if commit is None:
                    with journal.transaction() as database:
                        for position, row in read_plan(store, parts, number):
                            _insert(database, _planned_row(position, row), None)
                    continue
                for kind, count in commit.restarts.items():
                    restarts[kind] += count
                pictures = read_sheets(store, commit) if sheets else {}
                with journal.transaction() as database:
                    for values in read_part(store, commit):
                        _insert(database, values, pictures.get(values["position"]))
        journal.set_meta("restarts", json.dumps(restarts))


def _planned_row(position: int, row: Row) -> dict[str, Any]:
    """Return the row of a part without a commit."""
    if isinstance(row, BadRow):
        return {
            "position": position,
            "id": row.id,
            "item": Item(id=row.id, source=row.where).to_json(),
            "origin": escape_surrogates(row.where),
            "extra": row.extra,
            "state": "failed",
            "code": row.code,
            "stage": row.code.split(".")[0],
            "message": escape_surrogates(f"{row.where}: {row.message}"),
            "hint": "",
            "retryable": False,
        }
    values = {"position": position, "id": row.id, "item": row.to_json(), "state": "pending"}
    return {**values, "origin": escape_surrogates(row.origin), "extra": row.extra}


def _insert(database: sqlite3.Connection, values: Mapping[str, Any], sheet: bytes | None) -> None:
    """Write one row; a row of a retry replaces the earlier one."""
    key, spec = encode_id(values["id"]), values["item"]
    origin, extra = values.get("origin", ""), values.get("extra", "")
    record = values.get("record")
    columns: dict[str, Any] = {name: values.get(name) for name in _FIELDS}
    columns |= {
        "number": values["position"] + 1,
        "place": values["position"],
        "id": key,
        "spec": spec,
        "crc": checksum(key, spec.encode()),
        "state": values["state"],
        "tries": values.get("tries", 0),
        "interrupted": values.get("interrupted", 0),
        "settings": "gathered",
        # Each row has a record of its own: two parts may have made the same one.
        "fingerprint": None
        if record is None
        else fingerprint_at(values["position"], values["fingerprint"]),
        "origin": origin,
        "extra": extra,
        "carried_crc": carried_checksum(origin, extra),
    }
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    database.execute(
        f"INSERT OR REPLACE INTO items ({names}) VALUES ({marks})", tuple(columns.values())
    )
    if record is not None:
        text = json.dumps(record, ensure_ascii=True, allow_nan=False)
        picture_crc = None if sheet is None else checksum(sheet)
        database.execute(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)",
            (columns["fingerprint"], text, checksum(text.encode()), sheet, picture_crc),
        )


def read_done(store: Store) -> Iterator[tuple[Item, str, str]]:
    """Yield item, fingerprint and record of each clip that is done in a job."""
    job = read_job(store)
    for parts in reversed(read_part_sets(store, job)):
        for _, commit in read_commits(store, parts):
            for values in read_part(store, commit):
                if values["state"] == "done":
                    item = Item.from_json(values["id"], values["item"])
                    yield item, values["fingerprint"], json.dumps(values["record"])


def runner_name() -> str:
    """Return the name of this process for people: host and number."""
    return f"{platform.node() or 'unknown'}:{os.getpid()}"
