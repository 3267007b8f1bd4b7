"""Tables, migrations, error translation and lock of a journal.

SQLite runs in WAL mode with ``synchronous=FULL``: a committed transaction is on disk.

A folder has one writer at a time. The lock belongs to the operating system and ends with its
process, even after a crash. Child processes do not inherit it.
"""

import fcntl
import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from seedvideo.errors import BatchError, OutputError, SeedVideoError
from seedvideo.utils.text import printable

JOURNAL_NAME: Final = "journal.sqlite"

VERSION: Final = 3
"""Version of the tables, stored in ``PRAGMA user_version``."""

_APPLICATION_ID: Final = 0x53764A31
"""Distinguishes a journal from other SQLite databases: "SvJ1"."""

# Ids and texts may hold any bytes that a file name can: ids are kept as their bytes.
_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    number INTEGER PRIMARY KEY,
    place INTEGER,                       -- in the input; NULL: no longer in it
    id BLOB NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    crc INTEGER NOT NULL,                -- of id and spec
    state TEXT NOT NULL DEFAULT 'pending',
    tries INTEGER NOT NULL DEFAULT 0,    -- begun and ended by the item itself, or under way
    interrupted INTEGER NOT NULL DEFAULT 0,  -- begun and ended by the death of the job
    settings TEXT NOT NULL,              -- verdicts under other settings count no more
    fingerprint TEXT,
    shared INTEGER NOT NULL DEFAULT 0,   -- its record was made for another item
    size INTEGER,
    mtime_ns INTEGER,
    code TEXT,
    stage TEXT,
    message TEXT,
    hint TEXT,
    retryable INTEGER,
    rule TEXT,
    started_at REAL,                     -- for people only: clocks jump
    finished_at REAL,
    origin TEXT NOT NULL DEFAULT '',     -- for people: the line of a list that the item is from
    extra TEXT NOT NULL DEFAULT '',      -- columns of the list that are not ours, as JSON
    carried_crc INTEGER NOT NULL DEFAULT 0  -- of origin and extra
);
CREATE INDEX items_in_order ON items (place, state);
CREATE INDEX items_to_do ON items (interrupted, place) WHERE state = 'pending';
CREATE TABLE records (
    fingerprint TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    record_crc INTEGER NOT NULL,
    sheet BLOB,
    sheet_crc INTEGER
);
"""

_SIGNATURES: Final = """
CREATE TABLE signatures (                -- of jobs that leave out duplicates
    id BLOB PRIMARY KEY,
    fingerprint TEXT NOT NULL,           -- the same: the same bytes, asked the same
    asked TEXT NOT NULL,
    duration_s REAL NOT NULL,
    version INTEGER NOT NULL,            -- of the signature
    signature BLOB                       -- NULL: only bytes are compared
);
"""

CARRIED_COLUMNS: Final = "origin, extra, carried_crc"
"""Columns of items that exist since version 3."""

_CARRIED_SINCE_VERSION: Final = 3

UPSERT_META: Final = (
    "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)

MIGRATIONS: Final[dict[int, str]] = {
    # Signatures of version 1 cannot be compared with later ones.
    1: "DROP TABLE signatures;" + _SIGNATURES,
    2: "ALTER TABLE items ADD COLUMN origin TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE items ADD COLUMN extra TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE items ADD COLUMN carried_crc INTEGER NOT NULL DEFAULT 0",
}
"""Statements that migrate from a version to the next one."""


def connect(folder: Path, *, write: bool) -> sqlite3.Connection:
    """Open the journal of a folder; a writer creates it if missing and migrates it.

    Raises:
        BatchError: ``batch.journal_missing``, ``batch.journal_damaged``, ``batch.journal_newer``.
        OutputError: ``output.disk_full`` or ``output.unwritable``.
    """
    path = folder / JOURNAL_NAME
    if not write and not os.path.exists(path):
        raise _missing_error(folder)
    with translate_errors(folder):
        connection = sqlite3.connect(
            _database_uri(path, write=write), uri=True, isolation_level=None
        )
        try:
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA cache_size = -16384")  # KiB
            if write:
                connection.execute("PRAGMA synchronous = FULL")
                _prepare(connection, folder)
            elif _is_empty(connection):
                raise _missing_error(folder)  # A run was killed before it created its tables.
            else:
                _check(connection, folder)
        except BaseException as error:
            connection.close()
            # Only an incomplete journal needs a rollback: a complete one has a WAL.
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK:
                raise _missing_error(folder) from error
            raise
    return connection


@contextmanager
def translate_errors(folder: Path) -> Iterator[None]:
    """Translate errors of SQLite into errors of seedvideo."""
    try:
        yield
    except sqlite3.Error as error:
        raise _to_seedvideo_error(error, folder) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # Also after a failed commit; SQLite rolls back some failures itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one transaction that only reads."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def damaged_error(folder: Path, why: str) -> BatchError:
    """Return the error of a damaged journal, with the command that recovers it."""
    display_name = printable(str(folder))
    return BatchError(
        "batch.journal_damaged",
        f"{display_name}/{JOURNAL_NAME} is damaged: {printable(why)}",
        hint="recover the readable rows: seedvideo batch merge"
        f" {display_name} -o {display_name}-recovered",
    )


def unwritable_error(folder: Path, why: str) -> OutputError:
    """Return the error of a folder that cannot hold a journal."""
    return OutputError(
        "output.unwritable",
        f"{printable(str(folder))} cannot hold a journal: {printable(why)}",
        hint="check that the folder exists, its permissions and the free space",
    )


def _missing_error(folder: Path) -> BatchError:
    return BatchError(
        "batch.journal_missing",
        f"{printable(str(folder))} does not contain a journal",
        hint="start a job: seedvideo batch run INPUT... -o FOLDER",
    )


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None


def _database_uri(path: Path, *, write: bool) -> str:
    name = "file:" + quote(os.fsencode(os.path.abspath(path)))
    if write:
        return name + "?mode=rwc"
    # A folder that can't be written takes no WAL index; without a WAL nothing can be missed.
    is_immutable = not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
    return name + ("?mode=ro&immutable=1" if is_immutable else "?mode=ro")


def _prepare(connection: sqlite3.Connection, folder: Path) -> None:
    if _is_empty(connection):
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):
            for statement in (_TABLES + _SIGNATURES).split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        return
    _check(connection, folder)
    # Only this table: records can be many gigabytes, and each has a check sum of its own.
    found = connection.execute("PRAGMA quick_check(items)").fetchone()[0]
    if found != "ok":
        raise damaged_error(folder, str(found))
    for version in range(read_version(connection), VERSION):
        with transaction(connection):
            for statement in MIGRATIONS[version].split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")


def _check(connection: sqlite3.Connection, folder: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise damaged_error(folder, "it is another program's database")
    version = read_version(connection)
    if version > VERSION:
        raise BatchError(
            "batch.journal_newer",
            f"{printable(str(folder))}/{JOURNAL_NAME} has version {version},"
            f" expected at most {VERSION}",
            hint="use the newer seedvideo version that wrote it",
        )


def read_version(connection: sqlite3.Connection) -> int:
    """Return the version of a journal's tables."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def carried_columns(connection: sqlite3.Connection) -> str:
    """Return the expression for `CARRIED_COLUMNS`: an older journal opened to read lacks them."""
    return CARRIED_COLUMNS if read_version(connection) >= _CARRIED_SINCE_VERSION else "'', '', 0"


def _to_seedvideo_error(error: sqlite3.Error, folder: Path) -> SeedVideoError:
    """Translate an error of SQLite by its code (sqlite.org/rescode.html)."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    display_name = printable(str(folder))
    # A quota or a limit on file sizes is reported as a failed write; a full disk during the
    # creation of the WAL index, as a file that cannot grow.
    full_disk_codes = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
    if code & 0xFF == sqlite3.SQLITE_FULL or code in full_disk_codes:
        return OutputError(
            "output.disk_full",
            f"{display_name}: the disk is full: {printable(str(error))}",
            hint="free some space, then run the same command again: finished clips stay finished",
            retryable=True,
        )
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BatchError(
            "batch.locked",
            f"{display_name}/{JOURNAL_NAME} is in use by another program",
            hint="close it and try again",
            retryable=True,
        )
    write_errors = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
    read_errors = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)
    if code & 0xFF in write_errors or (
        code & 0xFF == sqlite3.SQLITE_IOERR and code not in read_errors
    ):
        return unwritable_error(folder, str(error))
    return damaged_error(folder, str(error))


LOCK_NAME: Final = "lock"

_MAX_LOCK_BYTES: Final = 4096
_LOCKED_HERE: Final[set[str]] = set()
"""Folders locked by this process: the system would give it the same lock twice."""


@dataclass(frozen=True, kw_only=True)
class LockOwner:
    """The process that holds a lock, as it wrote itself into the lock file."""

    pid: int
    host: str


class Lock:
    """Lock on a folder, held until `release`.

    Args:
        folder: existing folder.

    Raises:
        BatchError: ``batch.locked``, retryable, with the owner.
        OutputError: ``output.unwritable`` if the folder cannot be locked.
    """

    def __init__(self, folder: Path) -> None:
        self._key = os.path.realpath(folder)
        path = folder / LOCK_NAME
        if self._key in _LOCKED_HERE:
            raise _locked_error(folder, LockOwner(pid=os.getpid(), host=socket.gethostname()))
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _lock_failed_error(folder, error) from error
        try:
            # A record lock is not inherited by forked children, which may outlive their parent; a
            # flock would be.
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owner = LockOwner(pid=os.getpid(), host=socket.gethostname())
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(asdict(owner)).encode(), 0)
        except (BlockingIOError, PermissionError) as error:
            other = _read_lock_owner(self._descriptor)
            os.close(self._descriptor)
            raise _locked_error(folder, other) from error
        except OSError as error:
            os.close(self._descriptor)
            raise _lock_failed_error(folder, error) from error
        _LOCKED_HERE.add(self._key)

    def release(self) -> None:
        """Release the folder. May be called twice."""
        if self._key in _LOCKED_HERE:
            _LOCKED_HERE.discard(self._key)
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def get_lock_owner(folder: Path) -> LockOwner | None:
    """Return the process that holds a folder's lock now; None if it is free."""
    if os.path.realpath(folder) in _LOCKED_HERE:
        return LockOwner(pid=os.getpid(), host=socket.gethostname())
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return _read_lock_owner(descriptor) or LockOwner(pid=0, host="unknown")
    else:
        return None
    finally:
        os.close(descriptor)


def _read_lock_owner(descriptor: int) -> LockOwner | None:
    try:
        return LockOwner(**json.loads(os.pread(descriptor, _MAX_LOCK_BYTES, 0)))
    except (ValueError, TypeError):
        return None  # It holds the lock and has not written its name yet.


def _locked_error(folder: Path, owner: LockOwner | None) -> BatchError:
    who = "another process"
    if owner is not None:
        who = f"process {owner.pid} on {printable(str(owner.host))}"
    return BatchError(
        "batch.locked",
        f"{printable(str(folder))} is in use by {who}",
        hint="wait until it has finished, stop it, or choose another folder",
        retryable=True,
    )


def _lock_failed_error(folder: Path, error: OSError) -> OutputError:
    reason = error.strerror or type(error).__name__
    return OutputError(
        "output.unwritable",
        f"{printable(str(folder))} cannot be locked: {reason}",
        hint="check that the folder exists, its permissions and the free space",
    )
