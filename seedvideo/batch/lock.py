"""One writer a folder: a lock that ends with its process, and says whose it is.

A lock of the system, not the mere presence of a file: whatever way its process dies, the next one
can take it. Children don't inherit it. Knows nothing of what is written.
"""

import fcntl
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from seedvideo.errors import BatchError, OutputError
from seedvideo.writers.inert import printable

NAME: Final = "lock"

_MAX_NOTE_BYTES: Final = 4096
_OURS: Final[set[str]] = set()
"""Folders locked by this process: the system would grant it the same lock twice."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that has a lock, as it told of itself."""

    pid: int
    host: str


class Lock:
    """The lock on a folder, held from its making until `release`.

    Args:
        folder: an existing one.

    Raises:
        BatchError: ``batch.locked``, retryable, naming the holder.
        OutputError: ``output.unwritable`` if the folder takes no lock.
    """

    def __init__(self, folder: Path) -> None:
        self._key = os.path.realpath(folder)
        path = folder / NAME
        if self._key in _OURS:
            raise _locked(folder, Holder(pid=os.getpid(), host=socket.gethostname()))
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _refused(folder, error) from error
        try:
            # A record lock: other than flock's, it is not passed on to forked children, which may
            # outlive their parent.
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            me = Holder(pid=os.getpid(), host=socket.gethostname())
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(asdict(me)).encode(), 0)
        except (BlockingIOError, PermissionError) as error:
            holder = _read(self._descriptor)
            os.close(self._descriptor)
            raise _locked(folder, holder) from error
        except OSError as error:
            os.close(self._descriptor)
            raise _refused(folder, error) from error
        _OURS.add(self._key)

    def release(self) -> None:
        """Let the folder go. Twice is fine."""
        if self._key in _OURS:
            _OURS.discard(self._key)
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder_of(folder: Path) -> Holder | None:
    """Who holds a folder's lock now; None where nobody does, whatever a dead one left behind."""
    if os.path.realpath(folder) in _OURS:
        return Holder(pid=os.getpid(), host=socket.gethostname())
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return _read(descriptor) or Holder(pid=0, host="unknown")
    else:
        return None
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Holder | None:
    try:
        return Holder(**json.loads(os.pread(descriptor, _MAX_NOTE_BYTES, 0)))
    except (ValueError, TypeError):
        return None  # It has the lock and is about to write who it is.


def _locked(folder: Path, holder: Holder | None) -> BatchError:
    who = "another process"
    if holder is not None:
        who = f"process {holder.pid} on {printable(str(holder.host))}"
    return BatchError(
        "batch.locked",
        f"{printable(str(folder))} is in use by {who}",
        hint="wait until it is done, stop it, or choose another folder",
        retryable=True,
    )


def _refused(folder: Path, error: OSError) -> OutputError:
    reason = error.strerror or type(error).__name__
    return OutputError(
        "output.unwritable",
        f"{printable(str(folder))} cannot be locked: {reason}",
        hint="check the folder, its rights and the free space",
    )
