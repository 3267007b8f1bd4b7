"""Stated end of a video and stated size of its file, as the container's header gives them.

FFmpeg estimates a duration where the file has none, so its value is checked against the bytes of
the file. Nothing is decoded.

Separate from `seedvideo.media.file_probe`, which would exceed 500 lines with it.
"""

import os
import re
from fractions import Fraction
from typing import Final

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from seedvideo.media.container_boxes import (
    HeaderFile,
    file_box,
    find_child,
    iter_boxes,
    read_track_header,
)
from seedvideo.media.demuxer import PacketTable, SourceSpec

_MATROSKA_SEGMENT: Final = b"\x18\x53\x80\x67"
_ASF_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""Identifier of the object that states the size of an ASF file (ASF specification, section 3.2)."""

_ASF_BROADCAST: Final = 1
"""Flag of a recorded broadcast, whose size was not known when its header was written."""

_HEAD_BYTES: Final = 1 << 14


def stated_bytes(descriptor: int, kind: str) -> int:
    """Return the file size that the header states, in bytes; 0 if it states none.

    Args:
        descriptor: open file.
        kind: kind of the file, by its signature.
    """
    if kind not in _READERS:
        return 0
    return _READERS[kind](os.pread(descriptor, _HEAD_BYTES, 0))


def _avi_bytes(head: bytes) -> int:
    # Files above 1 GiB consist of several such parts; only the first is checked.
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


_DURATION_TAG: Final = re.compile(r"([0-9]{1,6}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,9})?)", re.ASCII)
_DURATION_ELEMENT: Final = re.compile(b"\x44\x89[\x84\x88]")
"""Identifier and length of Matroska's duration element (RFC 9559, section 5.1.2.10)."""


def stated_duration(stream: Stream) -> Fraction | None:
    """Return the duration of a stream in seconds, as the header states it."""
    if stream.duration is None or stream.time_base is None:
        return None
    return stream.duration * stream.time_base


def longest_other_stream(container: InputContainer, stream: VideoStream) -> Fraction:
    """Return the duration of the longest other stream in seconds, as the header states it."""
    others = [stated_duration(each) for each in container.streams if each is not stream]
    return max((each for each in others if each is not None), default=Fraction(0))


def last_byte(stream: VideoStream) -> int:
    """Return the end offset of the last packet in the header's index; 0 without an index."""
    entries = stream.index_entries
    return max((e.pos + e.size for e in entries[-64:]), default=0) if len(entries) else 0


def stated_end(
    container: InputContainer, stream: VideoStream, table: PacketTable, spec: SourceSpec
) -> Fraction | None:
    """Return the end of the video that the container states, in seconds of its clock.

    None if it states none, or if the file is truncated: the value is for the complete file.
    """
    if table.is_truncated or stated_bytes(spec.descriptor, spec.kind) > spec.size_bytes:
        return None
    if spec.kind == "avi":
        return stated_duration(stream)  # Empty chunks after the last picture count there.
    if spec.kind == "matroska":
        tag = _DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))
        if tag is not None:
            return 3600 * int(tag[1]) + 60 * int(tag[2]) + Fraction(tag[3])
        if not _DURATION_ELEMENT.search(os.pread(spec.descriptor, _HEAD_BYTES, 0)):
            return None
        end = Fraction(container.duration or 0, av.time_base)
        # The file lasts as long as its longest stream, which may be another one.
        return end if end > table.other_end else None
    if spec.kind == "mov" and last_byte(stream) <= spec.size_bytes:
        return _track_end(spec, stream.id)
    return None


def _track_end(spec: SourceSpec, track: int) -> Fraction | None:
    """Return the presentation end of an MP4 track; FFmpeg counts by decoding times.

    Reads the headers of the movie and of its tracks (ISO/IEC 14496-12, sections 8.2.2 and 8.3.2).
    """
    file = HeaderFile(spec.descriptor, spec.size_bytes)
    movie = find_child(file, file_box(spec.size_bytes), b"moov")
    if movie is None:
        return None
    ticks_per_second, end = 0, 0
    for box in iter_boxes(file, movie):
        if box.kind == b"mvhd":
            head = file.read(box.first, 24)
            ticks_per_second = int.from_bytes(head[20:24] if head[:1] == b"\1" else head[12:16])
        elif box.kind == b"trak":
            header = read_track_header(file, box)
            end = header.duration if header is not None and header.number == track else end
    return Fraction(end, ticks_per_second) if end and ticks_per_second else None
