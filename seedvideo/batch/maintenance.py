"""Checks of the folder of a job, and the codes of all errors.

`check_folder` changes nothing; each check reports a state, and the next step if something is wrong.
Sizes are in bytes.

Separate from `seedvideo.cli.batch`, which would exceed 500 lines with it.
"""

import os
import platform
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from seedvideo.batch import journal_schema as schema
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_schema import LOCK_NAME, LockOwner, get_lock_owner
from seedvideo.environment import __version__
from seedvideo.errors import SeedVideoError
from seedvideo.utils.text import printable

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
    "batch.clips_not_cut",
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
    "batch.rows_invalid",
    "batch.rows_unknown",
    "batch.runner_died",
    "batch.version_differs",
    "config.column_missing",
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
    "input.address_invalid",
    "input.address_refused",
    "input.annotations",
    "input.changed",
    "input.container_invalid",
    "input.empty",
    "input.forbidden",
    "input.length_wrong",
    "input.member_refused",
    "input.not_a_file",
    "input.not_found",
    "input.not_picklable",
    "input.outside_root",
    "input.query_missing",
    "input.results",
    "input.spool_full",
    "input.stalled",
    "input.timeout",
    "input.too_large",
    "input.type",
    "input.unavailable",
    "input.unreadable",
    "internal.error",
    "media.codec_not_allowed",
    "media.corrupt",
    "media.encrypted",
    "media.no_frames",
    "media.no_timestamps",
    "media.no_video",
    "media.not_copyable",
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
