"""Hash of the video packets of a stream, so that copies in another container are recognised.

Containers carry the same coded pictures in different wrappings. Of H.264 and HEVC only the slices
count: MP4 puts the length before each unit, MPEG-TS a start code, and either may repeat parameter
sets and add delimiters (ITU-T H.264, annex B; ISO/IEC 14496-15). Of AV1 the temporal delimiter at
the start of a packet does not count. Packets of other codecs count as they are. Times do not count.
Runs in the decode process only; nothing is decoded.

Separate from `seedvideo.media.worker`, which answers requests without knowing any codec.
"""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Set
from itertools import pairwise
from typing import Final

from av.video.stream import VideoStream

from seedvideo.media.demuxer import PacketTable, SourceSpec, choose_stream, open_container
from seedvideo.media.gop_decoder import PacketCursor, UnreliableSeek
from seedvideo.media.index import Index
from seedvideo.media.source import changed_error
from seedvideo.media.types import Strategy

_START_CODE: Final = re.compile(b"\x00\x00\x01")
_SLICE_KINDS: Final = {"h264": range(1, 6), "hevc": range(32)}
"""Types of the units that hold picture data, by codec."""
_DELIMITER: Final = b"\x12\x00"
"""Temporal delimiter of AV1: an empty unit with a size (AV1 bitstream, section 5.3)."""


def hash_packets(
    spec: SourceSpec,
    index: Index,
    table: PacketTable,
    *,
    first: int,
    end: int,
    heartbeat: Callable[[], None],
) -> str:
    """Return the SHA-256 of the packets of frames ``[first, end)``, in hexadecimal.

    Packets are hashed in the order of the file, each part with its length. No other container may
    read from the descriptor at the same time: its position moves.

    Args:
        spec: open input and its limits.
        index: index of the stream.
        table: packets of the stream.
        first: frame index of the first frame.
        end: frame index after the last frame.
        heartbeat: callback that is called often; may raise to stop.

    Raises:
        InputError: ``input.changed`` if the file has other packets than before.
        MediaError: if the file cannot be read.
    """
    wanted: set[int] = set()
    for number in index.packet_of_frame[first:end]:
        wanted.update(range(number, index.end_of(number)))
    strategies: tuple[Strategy, ...] = ("auto", "sequential")
    for strategy in strategies[index.has_no_timestamps :]:
        try:
            return _hash(spec, index, table, wanted, strategy, heartbeat)
        except UnreliableSeek:
            continue
    raise changed_error(spec.display_name, "changed while it was read")


def _hash(
    spec: SourceSpec,
    index: Index,
    table: PacketTable,
    wanted: Set[int],
    strategy: Strategy,
    heartbeat: Callable[[], None],
) -> str:
    with open_container(spec) as container:
        stream = choose_stream(container, spec)
        codec = stream.codec_context.codec.canonical_name
        length_bytes = _length_bytes(stream, codec)
        hashed = hashlib.sha256(codec.encode())
        cursor = PacketCursor(container, stream, table, spec.display_name)
        place = bisect_right(index.keyframe_packets, min(wanted, default=0)) - 1
        keyframe = index.keyframe_packets[max(place, 0)]
        cursor.seek_to(keyframe, strategy=strategy, heartbeat=heartbeat)
        for packet in cursor.packets(max(wanted, default=-1) + 1):
            heartbeat()
            if packet is not None and packet.pts in wanted:  # The cursor sets its number.
                for part in _parts(bytes(packet), codec, length_bytes):
                    hashed.update(len(part).to_bytes(8, "big"))
                    hashed.update(part)
        return hashed.hexdigest()


def _length_bytes(stream: VideoStream, codec: str) -> int:
    """Return the bytes of the length before each unit; 0 if start codes separate the units."""
    extradata = bytes(stream.codec_context.extradata or b"")
    place = {"h264": 4, "hevc": 21}.get(codec)
    # The boxes of both begin with version 1; units with start codes begin with a zero.
    if place is None or len(extradata) <= place or extradata[0] != 1:
        return 0
    return (extradata[place] & 3) + 1


def _parts(data: bytes, codec: str, length_bytes: int) -> Iterator[bytes]:
    """Yield the parts of a packet that count; all of it if no slice is found."""
    if codec == "av1":
        yield data.removeprefix(_DELIMITER)
        return
    kinds = _SLICE_KINDS.get(codec)
    found = False
    for unit in () if kinds is None else _units(data, length_bytes):
        if _kind(unit, codec) in (kinds or ()):
            found = True
            yield unit
    if not found:
        yield data


def _kind(unit: bytes, codec: str) -> int:
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yield the units of a packet without zeros at their ends, none of them empty."""
    if length_bytes:
        offset = 0
        while offset + length_bytes < len(data):
            start = offset + length_bytes
            offset = start + int.from_bytes(data[offset:start], "big")
            if unit := data[start:offset].rstrip(b"\x00"):
                yield unit
        return
    marks = [match.span() for match in _START_CODE.finditer(data)]
    for (_, start), (end, _) in pairwise([*marks, (len(data), 0)]):
        if unit := data[start:end].rstrip(b"\x00"):
            yield unit
