"""Is a job's folder sound? Each check says a fact, and where something is wrong, what to do.

Changes nothing in the folder. Units: bytes.
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

from seedvideo import __version__
from seedvideo.batch import journal_schema
from seedvideo.batch.journal import Journal
from seedvideo.batch.lock import NAME as LOCK
from seedvideo.batch.lock import Holder, holder_of
from seedvideo.errors import SeedVideoError
from seedvideo.writers.inert import printable

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
    size = _bytes((folder / journal_schema.NAME).stat().st_size)
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
