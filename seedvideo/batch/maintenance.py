"""Several journals as one: the shards of a job, or what can still be read of a damaged journal.

Verdicts, records and sheets are copied; the originals are only read. Knows nothing of videos.

Is a job's folder sound? Each check says a fact, and where something is wrong, what to do.

Changes nothing in the folder. Units: bytes.

All codes of failures, so that a misspelled one is noticed. A test keeps them whole.
"""

import os
import platform
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

from seedvideo.batch import journal_schema
from seedvideo.batch import journal_schema as schema
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import Counts, are_carried, checksum
from seedvideo.batch.journal_schema import LOCK_NAME as LOCK
from seedvideo.batch.journal_schema import Holder, holder_of
from seedvideo.environment import __version__
from seedvideo.errors import BatchError, ConfigError, OutputError, SeedVideoError
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
    if (output / schema.JOURNAL_NAME).exists():
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


LEAST_FREE_BYTES: Final = 1 << 30
"""Below this a running job may soon find the disk full."""

_FAR: Final = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs", "lustre", "ceph")
"""File systems on other machines, whose locks SQLite does not trust."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Args:
        state: ``ok``, or ``wrong`` where something must be done.
        name: of the check.
        fact: what is so.
        remedy: what to do about it; empty where nothing is wrong.
    """

    state: Literal["ok", "wrong"]
    name: str
    fact: str
    remedy: str = ""


def check(folder: Path) -> Iterator[Finding]:
    """Look at everything, one finding after the other; a check that breaks is a finding too."""
    for name, one in _CHECKS.items():
        try:
            yield from one(folder)
        except SeedVideoError as error:
            fact = f"{error.message} [{error.code}]"
            yield Finding(state="wrong", name=name, fact=fact, remedy=error.hint)
        except OSError as error:
            fact = error.strerror or type(error).__name__
            yield Finding(
                state="wrong", name=name, fact=fact, remedy="check the folder and its rights"
            )


def _journal(folder: Path) -> Iterator[Finding]:
    with Journal.open(folder, write=False) as journal:
        counts = journal.counts()
    size = _bytes((folder / journal_schema.JOURNAL_NAME).stat().st_size)
    fact = f"version {journal_schema.VERSION}, {counts.total:,} items, {size}"
    yield Finding(state="ok", name="journal", fact=fact)


def _integrity(folder: Path) -> Iterator[Finding]:
    with Journal.open(folder, write=False) as journal:
        problems = journal.problems()
    if not problems:
        yield Finding(state="ok", name="integrity", fact="every page, item and record is whole")
        return
    remedy = journal_schema.damaged(folder, "").hint
    for problem in problems:
        yield Finding(state="wrong", name="integrity", fact=problem, remedy=remedy)


def _lock(folder: Path) -> Iterator[Finding]:
    holder = holder_of(folder)
    if holder is not None:
        fact = f"process {holder.pid} on {holder.host} works on it"
    elif (folder / LOCK).exists():
        fact = "free; whoever had it last is gone"
    else:
        fact = "free"
    yield Finding(state="ok", name="lock", fact=fact)


def _under_way(folder: Path) -> Iterator[Finding]:
    with Journal.open(folder, write=False) as journal:
        counts = journal.counts()
    holder: Holder | None = holder_of(folder)
    resume = f"seedvideo batch run -o {printable(str(folder))}"
    if counts.running and holder is None:
        yield Finding(
            state="wrong",
            name="under way",
            fact=f"{counts.running:,} items were left under way by a process that is gone",
            remedy=f"nothing is lost, go on: {resume}",
        )
        return
    fact = f"{counts.running:,} items under way, {counts.pending:,} to do"
    yield Finding(state="ok", name="under way", fact=fact)


def _space(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            state="wrong",
            name="space",
            fact=f"{_bytes(free)} free",
            remedy="make room, or run with --no-sheets; what is done stays done",
        )
        return
    yield Finding(state="ok", name="space", fact=f"{_bytes(free)} free")


def _place(folder: Path) -> Iterator[Finding]:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            state="wrong",
            name="place",
            fact="the folder cannot be written",
            remedy="change its rights, or copy it; exports can be made nevertheless",
        )
        return
    kind = _file_system(folder)
    if kind in _FAR:
        yield Finding(
            state="wrong",
            name="place",
            fact=f"it lies on another machine ({kind}), where locks may not hold",
            remedy="keep the journal on a disk of this machine and copy the exports",
        )
        return
    yield Finding(state="ok", name="place", fact=kind or "file system not known")


def _versions(folder: Path) -> Iterator[Finding]:
    packages = [f"seedvideo {__version__}", f"Python {platform.python_version()}"]
    packages.append(f"SQLite {sqlite3.sqlite_version}")
    for name in ("av", "torch", "pyarrow"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    yield Finding(state="ok", name="versions", fact=", ".join(packages))


_CHECKS: Final[dict[str, Callable[[Path], Iterator[Finding]]]] = {
    "journal": _journal,
    "integrity": _integrity,
    "lock": _lock,
    "under way": _under_way,
    "space": _space,
    "place": _place,
    "versions": _versions,
}


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on, or nothing where the system does not tell."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    real = os.path.realpath(folder)
    best, kind = "", ""
    for words in (line.split(" ") for line in lines):
        # Blanks in a name are written as \040.
        mount = words[1].encode().decode("unicode_escape")
        inside = real == mount or real.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, words[2]
    return kind


def _bytes(count: int) -> str:
    for unit, size in _UNITS:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


_UNITS: Final[Sequence[tuple[str, int]]] = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


CODES: Final = (
    "ask.option_empty",
    "ask.option_repeated",
    "ask.options_count",
    "ask.options_unfit",
    "ask.question_empty",
    "ask.question_invalid",
    "batch.id_repeated",
    "batch.journal_damaged",
    "batch.journal_missing",
    "batch.journal_newer",
    "batch.locked",
    "batch.manifest_invalid",
    "batch.merge_differs",
    "batch.no_folder",
    "batch.no_input",
    "batch.row_invalid",
    "config.invalid",
    "config.package_missing",
    "config.type",
    "decode.crashed",
    "decode.out_of_memory",
    "decode.stopped",
    "decode.timeout",
    "ground.query_empty",
    "ground.query_invalid",
    "input.annotations",
    "input.changed",
    "input.empty",
    "input.not_a_file",
    "input.not_found",
    "input.not_picklable",
    "input.outside_root",
    "input.results",
    "input.too_large",
    "input.type",
    "input.unreadable",
    "internal.error",
    "media.codec_not_allowed",
    "media.corrupt",
    "media.encrypted",
    "media.no_frames",
    "media.no_timestamps",
    "media.no_video",
    "media.not_video",
    "media.too_big",
    "media.too_complex",
    "media.too_long",
    "media.unreadable",
    "model.answer_unparsable",
    "model.checkpoint_invalid",
    "model.crashed",
    "model.empty_answer",
    "model.no_answer",
    "model.out_of_memory",
    "model.timeout",
    "model.unknown",
    "output.disk_full",
    "output.exists",
    "output.in_use",
    "output.is_input",
    "output.too_large",
    "output.unwritable",
    "plan.invalid",
    "plan.over_budget",
    "system.no_proc",
    "system.out_of_memory",
    "system.too_many_files",
    "system.too_many_processes",
)
