"""Maintenance of job folders: merge journals, check a folder.

`merge` joins the journals of a job's shards, or recovers the readable rows of a damaged journal.
It copies results and only reads the originals. `check_folder` changes nothing; each check reports
a state, and the next step if something is wrong. Sizes are in bytes.

Separate from `seedvideo.cli.batch`, which would exceed 500 lines with it.
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

from seedvideo.batch import journal_schema as schema
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import Counts, checksum, has_carried_checksum
from seedvideo.batch.journal_schema import LOCK_NAME, LockOwner, get_lock_owner
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
    if (output / schema.JOURNAL_NAME).exists():
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


MIN_FREE_BYTES: Final = 1 << 30
"""Free space below which a running job may soon fill the disk; empirical."""

_NETWORK_FILE_SYSTEMS: Final = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "ceph",
)
"""Network file systems, on which SQLite cannot rely on locks."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Result of one check.

    Args:
        state: ``ok``, or ``wrong`` if something must be done.
        name: name of the check.
        detail: finding.
        next_step: remedy; empty if nothing is wrong.
    """

    state: Literal["ok", "wrong"]
    name: str
    detail: str
    next_step: str = ""


def check_folder(folder: Path) -> Iterator[CheckResult]:
    """Run all checks and yield their results; a check that fails is a result, too."""
    for name, one in _CHECKS.items():
        try:
            yield from one(folder)
        except SeedVideoError as error:
            detail = f"{error.message} [{error.code}]"
            yield CheckResult(state="wrong", name=name, detail=detail, next_step=error.hint)
        except OSError as error:
            detail = error.strerror or type(error).__name__
            yield CheckResult(
                state="wrong",
                name=name,
                detail=detail,
                next_step="check the folder and its permissions",
            )


def _check_journal(folder: Path) -> Iterator[CheckResult]:
    with Journal.open(folder, write=False) as journal:
        counts = journal.counts()
    size = _format_bytes((folder / schema.JOURNAL_NAME).stat().st_size)
    detail = f"version {schema.VERSION}, {counts.total:,} items, {size}"
    yield CheckResult(state="ok", name="journal", detail=detail)


def _check_integrity(folder: Path) -> Iterator[CheckResult]:
    with Journal.open(folder, write=False) as journal:
        problems = journal.find_problems()
    if not problems:
        yield CheckResult(
            state="ok", name="integrity", detail="every page, item and record is intact"
        )
        return
    next_step = schema.damaged_error(folder, "").hint
    for problem in problems:
        yield CheckResult(state="wrong", name="integrity", detail=problem, next_step=next_step)


def _check_lock(folder: Path) -> Iterator[CheckResult]:
    owner = get_lock_owner(folder)
    if owner is not None:
        detail = f"process {owner.pid} on {owner.host} works on it"
    elif (folder / LOCK_NAME).exists():
        detail = "free; its last owner has exited"
    else:
        detail = "free"
    yield CheckResult(state="ok", name="lock", detail=detail)


def _check_in_flight(folder: Path) -> Iterator[CheckResult]:
    with Journal.open(folder, write=False) as journal:
        counts = journal.counts()
    owner: LockOwner | None = get_lock_owner(folder)
    resume = f"seedvideo batch run -o {printable(str(folder))}"
    if counts.running and owner is None:
        yield CheckResult(
            state="wrong",
            name="under way",
            detail=f"{counts.running:,} items were in progress in a process that has exited",
            next_step=f"nothing is lost, resume with: {resume}",
        )
        return
    detail = f"{counts.running:,} items under way, {counts.pending:,} to do"
    yield CheckResult(state="ok", name="under way", detail=detail)


def _check_space(folder: Path) -> Iterator[CheckResult]:
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        yield CheckResult(
            state="wrong",
            name="space",
            detail=f"{_format_bytes(free)} free",
            next_step="free some space, or run with --no-sheets; finished clips stay finished",
        )
        return
    yield CheckResult(state="ok", name="space", detail=f"{_format_bytes(free)} free")


def _check_location(folder: Path) -> Iterator[CheckResult]:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield CheckResult(
            state="wrong",
            name="place",
            detail="the folder cannot be written",
            next_step="change its permissions, or copy it; exports work without",
        )
        return
    kind = _file_system(folder)
    if kind in _NETWORK_FILE_SYSTEMS:
        yield CheckResult(
            state="wrong",
            name="place",
            detail=f"it is on a network file system ({kind}), where locks may not work",
            next_step="keep the journal on a local disk and copy the exports",
        )
        return
    yield CheckResult(state="ok", name="place", detail=kind or "unknown file system")


def _check_versions(folder: Path) -> Iterator[CheckResult]:
    packages = [f"seedvideo {__version__}", f"Python {platform.python_version()}"]
    packages.append(f"SQLite {sqlite3.sqlite_version}")
    for name in ("av", "torch", "pyarrow"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    yield CheckResult(state="ok", name="versions", detail=", ".join(packages))


_CHECKS: Final[dict[str, Callable[[Path], Iterator[CheckResult]]]] = {
    "journal": _check_journal,
    "integrity": _check_integrity,
    "lock": _check_lock,
    "under way": _check_in_flight,
    "space": _check_space,
    "place": _check_location,
    "versions": _check_versions,
}


def _file_system(folder: Path) -> str:
    """Return the type of a folder's file system; empty if the system does not report it."""
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


def _format_bytes(count: int) -> str:
    for unit, size in _UNITS:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


_UNITS: Final[Sequence[tuple[str, int]]] = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))

ERROR_CODES: Final = (
    "ask.option_empty",
    "ask.option_repeated",
    "ask.options_count",
    "ask.options_unfit",
    "ask.question_empty",
    "ask.question_invalid",
    "batch.cluster_differs",
    "batch.cluster_full",
    "batch.cluster_lost",
    "batch.cluster_runners_died",
    "batch.cluster_token",
    "batch.cluster_unreachable",
    "batch.id_repeated",
    "batch.journal_damaged",
    "batch.journal_missing",
    "batch.journal_newer",
    "batch.locked",
    "batch.manifest_invalid",
    "batch.merge_differs",
    "batch.model_differs",
    "batch.no_folder",
    "batch.no_input",
    "batch.no_plan",
    "batch.other_kind",
    "batch.part_damaged",
    "batch.plan_damaged",
    "batch.plan_exists",
    "batch.row_invalid",
    "batch.runner_died",
    "batch.version_differs",
    "config.invalid",
    "config.package_missing",
    "config.plugin_invalid",
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
    "model.download_failed",
    "model.empty_answer",
    "model.failed",
    "model.key_missing",
    "model.key_rejected",
    "model.no_answer",
    "model.no_device",
    "model.not_found",
    "model.not_installed",
    "model.out_of_memory",
    "model.prompt_too_long",
    "model.request_too_large",
    "model.server_busy",
    "model.server_error",
    "model.server_invalid",
    "model.server_refused",
    "model.server_unreachable",
    "model.thought_unfinished",
    "model.timeout",
    "model.tokens_differ",
    "model.unknown",
    "output.disk_full",
    "output.exists",
    "output.in_use",
    "output.is_input",
    "output.too_large",
    "output.unwritable",
    "plan.invalid",
    "plan.over_budget",
    "store.denied",
    "store.no_conditional_put",
    "store.not_found",
    "store.unreachable",
    "store.wrote_other_bytes",
    "system.no_proc",
    "system.out_of_memory",
    "system.too_many_files",
    "system.too_many_processes",
)
