"""How many bytes a video file says that it has, in the formats whose header states it."""

import os
from typing import Final

_MATROSKA_SEGMENT: Final = b"\x18\x53\x80\x67"
_ASF_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""Identifier of the object that states the size of an ASF file (ASF specification, section 3.2)."""

_ASF_BROADCAST: Final = 1
"""Flag of a recorded broadcast, whose size was not known when its header was written."""

_HEAD_BYTES: Final = 1 << 14


def stated_bytes(descriptor: int, kind: str) -> int:
    """Return the size of the file as its header states it, or 0 where it does not.

    Args:
        descriptor: the open file.
        kind: what its first bytes say.
    """
    if kind not in _READERS:
        return 0
    return _READERS[kind](os.pread(descriptor, _HEAD_BYTES, 0))


def _avi_bytes(head: bytes) -> int:
    # Files above 1 GiB are made of several such parts; the first is missing nothing then.
    return 8 + int.from_bytes(head[4:8], "little")


def _asf_bytes(head: bytes) -> int:
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or int.from_bytes(head[at + 88 : at + 92], "little") & _ASF_BROADCAST:
        return 0
    return int.from_bytes(head[at + 40 : at + 48], "little")


def _matroska_bytes(head: bytes) -> int:
    """Read the size of the segment (RFC 8794, section 4): all bits set stands for unknown."""
    at = head.find(_MATROSKA_SEGMENT)
    if at < 0 or len(head) <= at + 12 or not head[at + 4]:
        return 0
    length = 9 - head[at + 4].bit_length()
    value = int.from_bytes(head[at + 4 : at + 4 + length], "big") & (1 << 7 * length) - 1
    return 0 if value == (1 << 7 * length) - 1 else at + 4 + length + value


_READERS: Final = {"avi": _avi_bytes, "asf": _asf_bytes, "matroska": _matroska_bytes}
