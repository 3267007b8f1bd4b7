"""Spool of downloads: files without a name, within a budget of bytes.

A file has no name on the disk from the start, so it disappears with the last descriptor, whatever
kills the process. Its space is taken from the budget before the first byte arrives. Bytes are
hashed while they are written.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from seedvideo.errors import InputError, OutputError
from seedvideo.media.sharing import STOP_POLL_S, check_not_stopped
from seedvideo.remote.transfer import Facts
from seedvideo.remote_options import RemoteOptions
from seedvideo.utils.text import printable

_FREE_MARGIN_BYTES: Final = 64 << 20
"""Space that is left to other programs."""


@dataclass(frozen=True, kw_only=True)
class SpooledFile:
    """A complete file in the spool.

    Args:
        descriptor: open descriptor, read and write.
        size_bytes: its size.
        sha256: hash of its bytes, in hexadecimal.
        origin: the remote file, or the container, that it was copied from.
    """

    descriptor: int
    size_bytes: int
    sha256: str
    origin: Facts | None = None


class Spool:
    """Byte budget and folder of the downloads. Threads may share it.

    Args:
        options: folder and size.
    """

    def __init__(self, options: RemoteOptions) -> None:
        self.folder = options.spool or tempfile.gettempdir()
        self.budget_bytes = options.spool_bytes
        self.used_bytes = self._unwritten_bytes = 0
        self._changed = threading.Condition()

    def free_bytes(self) -> int:
        """Return the free space of the disk that nothing is reserved for."""
        folder = os.path.abspath(self.folder)
        while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
            folder = os.path.dirname(folder)
        free_bytes = shutil.disk_usage(folder).free - self._unwritten_bytes
        return max(0, free_bytes - _FREE_MARGIN_BYTES)

    def try_reserve(self, size_bytes: int, *, evict: Callable[[], bool]) -> bool:
        """Take space from the budget, and return whether there was enough.

        Args:
            size_bytes: space to take.
            evict: gives up a file that is not in use and returns True, or returns False.
        """
        while True:
            with self._changed:
                if self._fits(size_bytes):
                    self.used_bytes += size_bytes
                    self._unwritten_bytes += size_bytes
                    return True
            if not evict():
                return False

    def reserve(
        self, size_bytes: int, name: str, *, evict: Callable[[], bool], held_bytes: int = 0
    ) -> None:
        """Take space from the budget; wait until other threads give enough back.

        Args:
            size_bytes: space to take.
            name: name of the file, for messages.
            evict: as for `try_reserve`.
            held_bytes: space of this thread that it keeps meanwhile.

        Raises:
            InputError: ``input.spool_full`` if the file is larger than the budget, or the disk has
                not enough free space and nothing will be given back.
            OutputError: ``output.disk_full`` if the disk has none for any file.
        """
        if size_bytes + held_bytes > self.budget_bytes:
            raise _full_error(
                f"{name}: needs {size_bytes + held_bytes:,} bytes, the spool holds"
                f" {self.budget_bytes:,}",
                hint="raise --spool-gib",
            )
        while not self.try_reserve(size_bytes, evict=evict):
            with self._changed:
                if self.used_bytes <= held_bytes:
                    if not self.free_bytes():
                        raise OutputError(
                            "output.disk_full",
                            f"the disk of the spool {printable(self.folder)} is full",
                            hint="free space, or name another folder with --spool",
                            retryable=True,
                        )
                    raise _full_error(
                        f"{name}: has {size_bytes:,} bytes, more than are free in"
                        f" {printable(self.folder)}",
                        hint="free space, or name another folder with --spool",
                    )
                self._changed.wait(STOP_POLL_S)
            check_not_stopped()

    def give_back(self, size_bytes: int, *, unwritten_bytes: int = 0) -> None:
        """Return space to the budget.

        Args:
            size_bytes: the space.
            unwritten_bytes: part of it that was never written.
        """
        with self._changed:
            self.used_bytes -= size_bytes
            self._unwritten_bytes -= unwritten_bytes
            self._changed.notify_all()

    def note_written(self, size_bytes: int) -> None:
        """Note that reserved space is on the disk now."""
        with self._changed:
            self._unwritten_bytes -= size_bytes

    def make_file(self) -> int:
        """Create a file without a name and return its descriptor."""
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            if hasattr(os, "O_TMPFILE"):
                with suppress(OSError):  # Not every file system supports it.
                    return os.open(self.folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            descriptor, path = tempfile.mkstemp(prefix="seedvideo-", dir=self.folder)
            os.unlink(path)
        except OSError as error:
            raise self.write_error(error) from error
        return descriptor

    def write_error(self, error: OSError) -> InputError | OutputError:
        """Return the error for a file that cannot be written.

        On a full disk the next file may fit; otherwise none can be written.
        """
        reason = (error.strerror or type(error).__name__).lower()
        message = f"the spool {printable(self.folder)} cannot be written: {reason}"
        hint = "name another folder with --spool"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return InputError("input.spool_full", message, hint=hint, retryable=True)
        return OutputError("output.unwritable", message, hint=hint)

    def _fits(self, size_bytes: int) -> bool:
        if self.used_bytes + size_bytes > self.budget_bytes:
            return False
        return size_bytes <= self.free_bytes()


class SpoolWriter:
    """Writes one file of the spool; its space was reserved.

    Args:
        spool: the spool.
        reserved_bytes: space that was reserved for it; more is never written.
    """

    def __init__(self, spool: Spool, reserved_bytes: int) -> None:
        self._spool, self._reserved_bytes = spool, reserved_bytes
        self._hash = hashlib.sha256()
        self._is_open = True
        self.size_bytes = 0
        try:
            self.descriptor = spool.make_file()
        except BaseException:
            spool.give_back(reserved_bytes, unwritten_bytes=reserved_bytes)
            raise

    def write(self, data: bytes | memoryview) -> bool:
        """Write and hash some bytes; write nothing and return False if they exceed the space."""
        left = memoryview(data)
        count = left.nbytes
        if self.size_bytes + count > self._reserved_bytes:
            return False
        self._hash.update(left)
        try:
            while left:
                left = left[os.write(self.descriptor, left) :]
        except OSError as error:
            raise self._spool.write_error(error) from error
        self.size_bytes += count
        self._spool.note_written(count)
        return True

    def grow(self, size_bytes: int) -> None:
        """Add space that was reserved since."""
        self._reserved_bytes += size_bytes

    def finish(self, *, origin: Facts | None = None) -> SpooledFile:
        """Return the complete file; space that it did not need is given back."""
        rest = self._reserved_bytes - self.size_bytes
        self._spool.give_back(rest, unwritten_bytes=rest)
        self._is_open = False
        with suppress(OSError):  # Others get a descriptor that cannot write.
            reader = os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
            os.close(self.descriptor)
            self.descriptor = reader
        return SpooledFile(
            descriptor=self.descriptor,
            size_bytes=self.size_bytes,
            sha256=self._hash.hexdigest(),
            origin=origin,
        )

    def discard(self) -> None:
        """Remove the file unless it is finished. May be called twice."""
        if self._is_open:
            self._is_open = False
            os.close(self.descriptor)
            unwritten = self._reserved_bytes - self.size_bytes
            self._spool.give_back(self._reserved_bytes, unwritten_bytes=unwritten)


def _full_error(message: str, *, hint: str) -> InputError:
    return InputError("input.spool_full", message, hint=hint)
