"""Bytes by position in a temporary file, so that memory does not grow with their size.

The file has no name and is gone when it is closed or the process ends.
"""

import os
import tempfile
from array import array
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from seedvideo.utils.files import write_error

_BUFFER_BYTES: Final = 1 << 20


class Spool:
    """Sequence of bytes on disk; use it in a ``with`` statement.

    Args:
        folder: folder whose disk holds them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends = array("q", [0])
        self._pending = bytearray()
        self._written = 0

    def __enter__(self) -> Self:
        try:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)
        except OSError as error:
            raise write_error(self._folder, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, data: bytes) -> None:
        """Append bytes; they may be empty.

        Raises:
            OutputError: ``output.disk_full`` or ``output.unwritable``.
        """
        self._pending += data
        self._ends.append(self._ends[-1] + len(data))
        if len(self._pending) > _BUFFER_BYTES:
            self._flush()

    def __getitem__(self, position: int) -> bytes:
        start, end = self._ends[position], self._ends[position + 1]
        if end > self._written:
            self._flush()
        return os.pread(self._file.fileno(), end - start, start) if end > start else b""

    def _flush(self) -> None:
        try:
            remaining = memoryview(self._pending)
            while remaining:
                count = self._file.write(remaining)
                self._written += count
                remaining = remaining[count:]
        except OSError as error:
            raise write_error(self._folder, error) from error
        self._pending = bytearray()
