"""Child processes and the messages between them, for decoding and for batch jobs.

A child is a fresh interpreter, not a fork of the caller with its locks, database and threads. It
gets this interpreter's module path, and does not import the caller's main module.

A message is header length (4 bytes, big-endian), body length (8 bytes), JSON header and body; a
socket passes open files too. Nothing is pickled: a process taken over by a hostile file can send
only data. The reader checks both lengths before it allocates memory, and handles partial messages.
"""

import array
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

from seedvideo.environment import resolve_error
from seedvideo.errors import SeedVideoError

PREFIX: Final = struct.Struct(">IQ")
MAX_HEADER_BYTES: Final = 1 << 16
"""Default maximum size of a header."""

MAX_RECORD_HEADER_BYTES: Final = 1 << 26
"""Maximum size of a header with a record; a record of many shots is far smaller."""
SEND_TIMEOUT_S: Final = 10.0
"""Seconds after which a child that reads nothing counts as dead: one of its threads only reads."""

NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})

_MEMORY_PER_HEADER_BYTE: Final = 32
"""Maximum bytes of memory per header byte after parsing."""
_MAX_FILES: Final = 8
_MAX_BYTES_PER_READ: Final = 1 << 20
"""Bytes after which `MessageSocket.read` returns even if more have arrived."""
_BOOT: Final = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "module, _, function = sys.argv[2].partition(':'); "
    "run = getattr(importlib.import_module(module), function or 'main'); "
    "run(*map(int, sys.argv[3:]))"
)
_KILL_TIMEOUT_S: Final = 10.0
_STDERR_TAIL_BYTES: Final = 4096


class ProtocolError(Exception):
    """The peer sent something that is not a message."""


@dataclass(frozen=True)
class Message:
    """One message: ``header["type"]`` names it; the receiver must close its ``file``."""

    header: dict[str, Any]
    body: bytearray = field(default_factory=bytearray)
    header_bytes: int = 0
    file: int | None = None

    @property
    def type(self) -> str:
        """Kind of message; empty if the header does not name one."""
        kind = self.header.get("type")
        return kind if isinstance(kind, str) else ""

    @property
    def memory_bytes(self) -> int:
        """Upper bound of the memory that the message takes."""
        return len(self.body) + _MEMORY_PER_HEADER_BYTE * (self.header_bytes + PREFIX.size)


def encode(header: dict[str, Any], body: bytes | memoryview = b"") -> list[bytes | memoryview]:
    """Return one message as parts to be written in order."""
    text = json.dumps(header, ensure_ascii=True, allow_nan=False).encode("ascii")
    opening = PREFIX.pack(len(text), len(body)) + text
    return [opening, body] if len(body) else [opening]


def send(descriptor: int, header: dict[str, Any], body: bytes | memoryview = b"") -> None:
    """Write one message to a pipe; wait until the peer has read it."""
    for part in encode(header, body):
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]


class MessageReader:
    """Incremental reader: reads as much of a message as has arrived.

    Args:
        read: fills buffers as `os.readv` does: returns the number of bytes, 0 at the end. If
            nothing has arrived, it raises `BlockingIOError` or waits.
        max_header_bytes: maximum size of a header.
    """

    def __init__(
        self,
        read: Callable[[Sequence[memoryview]], int],
        *,
        max_header_bytes: int = MAX_HEADER_BYTES,
    ) -> None:
        self._read = read
        self._max_header_bytes = max_header_bytes
        self._prefix, self._text, self._body = bytearray(PREFIX.size), bytearray(), bytearray()
        self._unread: list[memoryview] = [memoryview(self._prefix)]
        self._is_prefix = True

    @classmethod
    def from_descriptor(cls, descriptor: int) -> "MessageReader":
        """Read from a descriptor, which may block. The caller closes it."""
        return cls(lambda views: os.readv(descriptor, views))

    def poll(self, *, max_body_bytes: int) -> Message | None:
        """Return the next message if it has arrived completely.

        Raises:
            EOFError: if the peer has closed its end.
            ProtocolError: if a length is out of bounds or the header is not a JSON object.
        """
        while True:
            while self._unread:
                try:
                    count = self._read(self._unread)
                except BlockingIOError:
                    return None
                if not count:
                    raise EOFError
                while self._unread and count >= len(self._unread[0]):
                    count -= len(self._unread.pop(0))
                if count:
                    self._unread[0] = self._unread[0][count:]
            if not self._is_prefix:
                message = Message(_parse_header(self._text), self._body, len(self._text))
                self._text, self._body = bytearray(), bytearray()
                self._unread, self._is_prefix = [memoryview(self._prefix)], True
                return message
            self._text, self._body = _allocate(self._prefix, self._max_header_bytes, max_body_bytes)
            both = (memoryview(self._text), memoryview(self._body))
            self._unread, self._is_prefix = [view for view in both if view], False


class MessageSocket:
    """One end of a connection whose messages may pass an open file.

    A file is passed as a descriptor, so its content is not copied.

    Args:
        end: one of a pair of stream sockets of the family ``AF_UNIX``.
    """

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self._files: deque[int] = deque()
        self._reader = MessageReader(self._read_into, max_header_bytes=MAX_RECORD_HEADER_BYTES)
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._read_bytes = 0

    def send(self, type: str, *, file: int | None = None, **values: Any) -> None:  # noqa: A002
        """Send a message.

        Raises:
            OSError: if the peer has closed its end, or reads nothing until the timeout.
        """
        data = b"".join(encode({"type": type, "has_file": file is not None, **values}))
        view = memoryview(data)
        if file is not None:
            view = view[socket.send_fds(self.end, [data], [file]) :]
        self.end.sendall(view)

    def read(self) -> list[Message]:
        """Return the messages that have arrived; wait for some bytes, not for a complete message.

        Raises:
            EOFError: if the peer has closed its end.
            ProtocolError: if it sent something that is not a message.
        """
        self._poll.poll()
        self._read_bytes = 0
        messages: list[Message] = []
        try:
            while (message := self._reader.poll(max_body_bytes=0)) is not None:
                messages.append(self._with_file(message))
        except EOFError:
            if not messages:
                raise
        return messages  # The next call raises EOFError.

    def close(self) -> None:
        """Close the socket and the files that were not taken."""
        self.end.close()
        while self._files:
            os.close(self._files.popleft())

    def _with_file(self, message: Message) -> Message:
        if not message.header.pop("has_file", False):
            return message
        if not self._files:
            raise ProtocolError("a message without its file")
        return Message(message.header, message.body, message.header_bytes, self._files.popleft())

    def _read_into(self, views: Sequence[memoryview]) -> int:
        if self._read_bytes >= _MAX_BYTES_PER_READ or not self._poll.poll(0):
            raise BlockingIOError
        # Not `socket.recv_fds`: its descriptors would be inherited by started processes.
        ancillary_bytes = socket.CMSG_SPACE(_MAX_FILES * array.array("i").itemsize)
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        try:
            count, ancillary, _, _ = self.end.recvmsg_into(views, ancillary_bytes, flags)
        except ConnectionError:
            return 0
        self._files.extend(descriptors_of(ancillary))
        if len(self._files) > _MAX_FILES:
            raise ProtocolError("more files than messages")
        self._read_bytes += count
        return count


def descriptors_of(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors in the ancillary data of a socket, not inheritable."""
    found = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    return found.tolist()


def pack_integers(values: list[int]) -> bytes:
    """Encode integers as signed 64-bit words of this machine."""
    return array.array("q", values).tobytes()


def unpack_integers(body: bytes | bytearray | memoryview) -> list[int]:
    """Parse the bytes that `pack_integers` returned.

    Raises:
        ProtocolError: if the length is not a multiple of eight.
    """
    if len(body) % 8:
        raise ProtocolError("length of integers is not a multiple of 8")
    values = array.array("q")
    values.frombytes(body)
    return values.tolist()


def _allocate(
    prefix: bytearray, max_header_bytes: int, max_body_bytes: int
) -> tuple[bytearray, bytearray]:
    """Allocate a header and a body of the stated lengths."""
    header_bytes, body_bytes = PREFIX.unpack(prefix)
    if header_bytes > max_header_bytes or body_bytes > max_body_bytes:
        raise ProtocolError(f"message of {header_bytes} + {body_bytes} bytes exceeds the limit")
    return bytearray(header_bytes), bytearray(body_bytes)


def _parse_header(text: bytearray) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("header is not JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("header is not an object")
    return header


# Errors.


def error_to_dict(error: Exception) -> dict[str, Any]:
    """Convert an error to JSON values; any but a `SeedVideoError` becomes an internal error."""
    error = resolve_error(error)
    if isinstance(error, SeedVideoError):
        return {
            "code": error.code,
            "stage": error.stage,
            "message": error.message,
            "hint": error.hint,
            "retryable": error.retryable,
        }
    return {
        "code": "internal.error",
        "stage": "internal",
        "message": f"{type(error).__name__}: {error}",
        "hint": "",
        "retryable": False,
    }


def error_from_dict(
    values: Mapping[str, Any], *, allowed: Collection[type[SeedVideoError]] = ()
) -> SeedVideoError:
    """Rebuild the error that another process has sent, by the stage of its code.

    Args:
        values: result of `error_to_dict`.
        allowed: classes that the process may send; all if empty.

    Raises:
        ProtocolError: if the class is not allowed.
    """
    code = str(values.get("code"))
    stage = code.partition(".")[0]
    kinds = {kind.stage: kind for kind in allowed or SeedVideoError.__subclasses__()}
    if allowed and stage not in kinds:
        raise ProtocolError(f"an error of stage {stage[:40]!r}")
    return kinds.get(stage, SeedVideoError)(
        code,
        str(values.get("message")),
        hint=str(values.get("hint", "")),
        retryable=bool(values.get("retryable")),
    )


def process_death_error(code: str, cause: str, timeout_s: float) -> dict[str, Any]:
    """Return the error, as JSON values, of a process that ended while it worked on an item.

    Args:
        code: ``*.timeout`` if it was killed, ``*.crashed`` if it died.
        cause: description of how it ended.
        timeout_s: seconds after which it was killed.
    """
    is_late = code.endswith(".timeout")
    return {
        "code": code,
        "stage": code.partition(".")[0],
        "message": f"took longer than {timeout_s:g} s and was stopped" if is_late else cause,
        "hint": "give it more time: --timeout" if is_late else "report the file",
        "retryable": True,
        "is_deadly": not is_late,
    }


# Processes.


def start_interpreter(
    entrypoint: str,
    descriptors: Sequence[int],
    *,
    environment: Mapping[str, str] = NO_VARIABLES,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a clean interpreter that calls an entry point with descriptors.

    Args:
        entrypoint: ``package.module:function``, or ``package.module`` for its ``main``.
        descriptors: descriptors to pass under the same numbers; no others are passed.
        environment: variables in addition to those of this process.
        stderr: destination of its error output.

    Raises:
        OSError: if the system cannot start another process.
    """
    return subprocess.Popen(
        [
            sys.executable,
            "-I",  # Ignore the current folder, user packages and PYTHON* variables.
            "-S",
            "-c",
            _BOOT,
            json.dumps(module_path()),
            entrypoint,
            *map(str, descriptors),
        ],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=descriptors,
        # Ctrl-C reaches the caller only, which then stops this process.
        start_new_session=True,
    )


def module_path() -> list[str]:
    """Return the module search path of this interpreter, without the current folder."""
    home = str(Path(__file__).resolve().parents[2])  # The package may not be installed.
    paths = [os.path.abspath(path) for path in sys.path if path]
    return paths if home in paths else [*paths, home]


class ChildProcess:
    """A child with a `MessageSocket`; killing it also kills the processes that it started.

    Args:
        entrypoint: function that it calls with the descriptor of its end of the socket, in the
            form that `start_interpreter` accepts.
        setup: values of the first message.
        environment: variables in addition to those of this process.

    Raises:
        OSError: if the system cannot start another process.
    """

    stderr_tail: str = ""
    """Last line that a killed child wrote to stderr before it was ready."""

    def __init__(
        self,
        entrypoint: str,
        setup: dict[str, Any],
        *,
        environment: Mapping[str, str] = NO_VARIABLES,
    ) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        # Used until the child is ready; from then on it sends its errors as messages.
        self._stderr = _stderr_buffer()
        with its:
            self._process = start_interpreter(
                entrypoint, [its.fileno()], environment=environment, stderr=self._stderr
            )
        ours.settimeout(SEND_TIMEOUT_S)
        self._socket = MessageSocket(ours)
        self.send("setup", **setup)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the child sends something or exits."""
        return self._socket.end.fileno()

    def send(self, type: str, *, file: int | None = None, **values: Any) -> None:  # noqa: A002
        """Send a message. Errors are ignored here; `read` detects a dead process."""
        with contextlib.suppress(OSError):
            self._socket.send(type, file=file, **values)

    def read(self) -> list[Message]:
        """Return the messages that have arrived; raises as `MessageSocket.read` does."""
        return self._socket.read()

    def kill(self, *, has_exited: bool = False) -> str:
        """Kill the child and all processes that it started; describe how it ended.

        Args:
            has_exited: whether it has exited by itself, or is about to.
        """
        if has_exited:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_KILL_TIMEOUT_S)
        status = self._process.poll()
        if status is None:
            for pid in [*_descendants(self._process.pid), self._process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._socket.close()
        self.stderr_tail = _last_line(self._stderr)
        self._stderr.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A process that waits for a dead disk cannot be killed: give up after a while.
            self._process.wait(timeout=_KILL_TIMEOUT_S)
        return "was killed" if status is None else f"ended {describe_status(status)}"


def describe_status(status: int) -> str:
    """Describe an exit status; negative numbers are signals."""
    if status < 0:
        return f"by signal {-status} ({signal.strsignal(-status)})"
    return f"with status {status}"


def _stderr_buffer() -> IO[bytes]:
    """Open an unnamed file: in memory if the system supports it, as the disk may be full."""
    if sys.platform != "linux":
        return tempfile.TemporaryFile("a+b", buffering=0)
    buffer = os.fdopen(os.memfd_create("stderr"), "w+b", buffering=0)
    fcntl.fcntl(buffer, fcntl.F_SETFL, fcntl.fcntl(buffer, fcntl.F_GETFL) | os.O_APPEND)
    return buffer


def _last_line(buffer: IO[bytes]) -> str:
    buffer.seek(max(buffer.seek(0, os.SEEK_END) - _STDERR_TAIL_BYTES, 0))
    lines = buffer.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _descendants(pid: int) -> list[int]:
    """Return the ids of all descendants of a process; empty without ``/proc``."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, listed.read_text(encoding="ascii").split()):
                found += [*_descendants(child), child]
    return found
