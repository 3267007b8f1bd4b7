"""The messages between a reader and its decoding process: a small JSON header and raw bytes.

Layout: header length (4 bytes, big-endian), body length (8 bytes), header, body. No pickle, so that
a decoder taken over by a hostile file can send nothing but data; the reading side bounds both parts
before it makes room for them. Knows nothing of what the messages mean.
"""

import json
import os
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

PREFIX: Final = struct.Struct(">IQ")
MAX_HEADER_BYTES: Final = 1 << 16
"""Longest header that is accepted."""

_HEADER_WEIGHT: Final = 32
"""Bytes of memory that a byte of a header may take once it is read."""


class WireError(Exception):
    """The other side sent something that is not a message."""


@dataclass(frozen=True)
class Message:
    """One message: ``header["type"]`` names it."""

    header: dict[str, Any]
    body: bytearray = field(default_factory=bytearray)
    header_bytes: int = 0

    @property
    def type(self) -> str:
        """What the message is."""
        kind = self.header.get("type")
        return kind if isinstance(kind, str) else ""

    @property
    def memory_bytes(self) -> int:
        """What it takes, at most."""
        return len(self.body) + _HEADER_WEIGHT * (self.header_bytes + PREFIX.size)


def send(descriptor: int, header: dict[str, Any], body: bytes | memoryview = b"") -> None:
    """Writes one message, waiting until the other side has taken it."""
    for part in parts(header, body):
        _write(descriptor, part)


def parts(header: dict[str, Any], body: bytes | memoryview) -> list[bytes | memoryview]:
    """Returns one message as bytes to write one after another."""
    text = json.dumps(header, ensure_ascii=True).encode("ascii")
    opening = PREFIX.pack(len(text), len(body)) + text
    return [opening, body] if len(body) else [opening]


def receive(read_into: Callable[[memoryview], bool], *, max_body_bytes: int) -> Message | None:
    """Reads one message.

    Args:
        read_into: fills the whole of a buffer, or returns False if the other side has closed.
        max_body_bytes: longest body to accept.

    Returns:
        The message, or None if the other side has closed.

    Raises:
        WireError: if a length is out of bounds or the header is not a JSON object.
    """
    prefix = bytearray(PREFIX.size)
    if not read_into(memoryview(prefix)):
        return None
    text, body = _room(prefix, max_body_bytes)
    if not read_into(memoryview(text)) or (body and not read_into(memoryview(body))):
        return None
    return Message(_header(text), body, len(text))


class Inbox:
    """Takes messages from a descriptor that does not block, as much of them as is there.

    Args:
        descriptor: to read from; stays the caller's to close.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._prefix, self._text, self._body = bytearray(PREFIX.size), bytearray(), bytearray()
        self._unread: list[memoryview] = [memoryview(self._prefix)]
        self._is_prefix = True

    def take(self, *, max_body_bytes: int) -> Message | None:
        """Returns the next message if all of it is there.

        Args:
            max_body_bytes: longest body to accept.

        Raises:
            EOFError: if the other side has closed.
            WireError: as `receive`.
        """
        while True:
            while self._unread:
                try:
                    count = os.readv(self._descriptor, self._unread)
                except BlockingIOError:
                    return None
                if not count:
                    raise EOFError
                while self._unread and count >= len(self._unread[0]):
                    count -= len(self._unread.pop(0))
                if count:
                    self._unread[0] = self._unread[0][count:]
            if not self._is_prefix:
                message = Message(_header(self._text), self._body, len(self._text))
                self._text, self._body = bytearray(), bytearray()
                self._unread, self._is_prefix = [memoryview(self._prefix)], True
                return message
            self._text, self._body = _room(self._prefix, max_body_bytes)
            both = (memoryview(self._text), memoryview(self._body))
            self._unread, self._is_prefix = [view for view in both if view], False


def pack_integers(values: list[int]) -> bytes:
    """Returns whole numbers as signed 64-bit words of this machine."""
    return array("q", values).tobytes()


def unpack_integers(body: bytes | bytearray | memoryview) -> list[int]:
    """Reads what `pack_integers` wrote.

    Raises:
        WireError: if the length is not a multiple of eight.
    """
    if len(body) % 8:
        raise WireError("integers of a broken length")
    values = array("q")
    values.frombytes(body)
    return values.tolist()


def _room(prefix: bytearray, max_body_bytes: int) -> tuple[bytearray, bytearray]:
    """Makes room for a header and a body of the lengths that were sent."""
    header_bytes, body_bytes = PREFIX.unpack(prefix)
    if header_bytes > MAX_HEADER_BYTES or body_bytes > max_body_bytes:
        raise WireError(f"message of {header_bytes} + {body_bytes} bytes is over the bound")
    return bytearray(header_bytes), bytearray(body_bytes)


def _header(text: bytearray) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError("header is not JSON") from error
    if not isinstance(header, dict):
        raise WireError("header is not an object")
    return header


def _write(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
