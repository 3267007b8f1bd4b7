"""One end of the conversation between the supervisor and a process of its own: lines of JSON.

An open file may go with a line, so that pictures pass from one process to another without being
copied through the supervisor. No pickle: what a process sends is data, whatever a clip did to it.
Knows nothing of what the lines mean.
"""

import array
import json
import os
import socket
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

_CHUNK_BYTES: Final = 1 << 16
_MOST_FILES: Final = 8
_MAX_LINE_BYTES: Final = 1 << 26
"""Longest line that is taken: a record of many shots is far below."""


class LineError(Exception):
    """The other side sent something that is no line."""


@dataclass(frozen=True)
class Said:
    """One line.

    Args:
        values: ``type`` says what it is.
        file: descriptor that came with it, the reader's to close.
    """

    values: dict[str, Any]
    file: int | None = None

    @property
    def type(self) -> str:
        """What it is."""
        return str(self.values.get("type"))


class Line:
    """One end.

    Args:
        end: of a pair of stream sockets of the family ``AF_UNIX``.
    """

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self._pending = bytearray()
        self._files: deque[int] = deque()

    def send(self, type: str, *, file: int | None = None, **values: Any) -> None:  # noqa: A002
        """Say a line.

        Raises:
            OSError: if the other side is gone, or takes nothing for as long as the socket waits.
        """
        told = {"type": type, "has_file": file is not None, **values}
        data = json.dumps(told, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
        if file is not None:
            data = data[socket.send_fds(self.end, [data], [file]) :]
        self.end.sendall(data)

    def read(self) -> list[Said]:
        """The lines that have come: waits for some bytes, not for a whole line.

        Raises:
            EOFError: if the other side is gone.
            LineError: if it sent no line.
        """
        try:
            data = self._received()
        except ConnectionError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        self._pending += data
        *lines, rest = self._pending.split(b"\n")
        self._pending = rest
        if len(rest) > _MAX_LINE_BYTES:
            raise LineError("a line without an end")
        return [self._said(bytes(line)) for line in lines]

    def close(self) -> None:
        """Close it, with the files that nobody took."""
        self.end.close()
        while self._files:
            os.close(self._files.popleft())

    def _received(self) -> bytes:
        # Not `socket.recv_fds`: it leaves descriptors open where a process starts another.
        room = socket.CMSG_SPACE(_MOST_FILES * array.array("i").itemsize)
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        data, extras, _, _ = self.end.recvmsg(_CHUNK_BYTES, room, flags)
        for level, kind, content in extras:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                files = array.array("i")
                files.frombytes(content[: len(content) - len(content) % files.itemsize])
                for file in files:
                    os.set_inheritable(file, False)
                    self._files.append(file)
        return data

    def _said(self, line: bytes) -> Said:
        try:
            values = json.loads(line)
            has_file = values.pop("has_file")
        except (ValueError, LookupError, AttributeError, RecursionError) as error:
            raise LineError("not a line of JSON") from error
        if has_file and not self._files:
            raise LineError("a line without its file")
        return Said(values, self._files.popleft() if has_file else None)
