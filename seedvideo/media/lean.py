"""Which pictures a decoder may leave out so that the wanted ones stay the same, bit for bit.

In H.264 and HEVC a picture says whether any other may refer to it. One that is neither wanted nor
referred to need not be decoded. That holds for sound streams of whole pictures; what does not fit
is noticed while decoding (`NotLean`), and then nothing is left out. In every other codec nothing is
left out at all: either all pictures may be referred to, or none says so in a way that is certain.

Runs in the decoding process only. Decodes nothing itself: FFmpeg leaves the pictures out.
"""

from __future__ import annotations  # av.Packet is generic for type checkers only

from collections import deque
from collections.abc import Collection, Iterator
from itertools import accumulate
from typing import Final

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from seedvideo.media.index import Index
from seedvideo.media.runs import Run

CODECS: Final = ("h264", "hevc")
"""Those in which something may be left out."""
_START: Final = b"\x00\x00\x01"

# ITU-T H.265, tables 7-1 and section 7.4.2.2.
_FIRST_NO_SLICE: Final = 32
_LAST_THAT_MAY_BE_LEFT_OUT: Final = 14
_TOP_LAYER: Final = 7
"""Above every temporal layer that there can be."""

_MOST_REORDERED: Final = 16
"""Pictures that a decoder keeps to put them in order, at most (H.264, H.265: annex A)."""


class NotLean(Exception):
    """Something may refer to what was left out; the pass must go on with everything decoded."""


class LayerFound(NotLean):
    """A temporal layer above those that were known; pictures below it may be needed."""

    def __init__(self, layer: int) -> None:
        super().__init__(layer)
        self.layer = layer


class FieldsFound(NotLean):
    """A picture is made of two fields, each of which may be stored by itself."""


class Leaving:
    """Says for each packet of a pass whether the decoder may leave its picture out.

    Args:
        stream: the one that is decoded.
        index: of the stream.
        wanted: ranks of the frames that must come out.
        top_layer: highest temporal layer that is known of; what lies below is never left out.
    """

    def __init__(
        self, stream: VideoStream, index: Index, wanted: Collection[int], *, top_layer: int
    ) -> None:
        context = stream.codec_context
        self._index = index
        codec = context.codec.canonical_name
        # Where frames are known by their count, each of them must come out.
        self._works = codec in CODECS and not index.by_count
        self._has_layers = codec == "hevc"
        self._length_bytes = _length_bytes(context.extradata or b"") if self._has_layers else 0
        self._kept = {index.packet_of[rank] for rank in wanted} if self._works else set()
        self._top_layer = top_layer
        self._lowest_left_out = _TOP_LAYER

    def settle(
        self, frames: Iterator[tuple[int, VideoFrame]], run: Run
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Holds each frame of a run back until all that it may refer to has been looked at.

        A picture between two others comes out before the later one, which may be damaged. Where
        times are wrong the later one may never come: no more are held than can be reordered.

        Args:
            frames: with their ranks, rising.
            run: refers to nothing before it.
        """
        self._lowest_left_out = _TOP_LAYER
        if not self._works:
            yield from frames
            return
        stored_before = list(accumulate(self._index.rank_of[run.first : run.end], max))
        held: deque[tuple[int, VideoFrame]] = deque()
        for rank, frame in frames:
            held.append((rank, frame))
            while held:
                number = self._index.packet_of[held[0][0]]
                if stored_before[number - run.first] > rank and len(held) <= _MOST_REORDERED:
                    break
                yield held.popleft()
        yield from held

    def allows(self, packet: Packet[VideoStream]) -> bool:
        """Tells whether a packet's picture may be left out if no other refers to it.

        Args:
            packet: with its number as its time.

        Raises:
            NotLean: if it may refer to one that was left out.
        """
        if not self._works:
            return False
        is_kept = packet.is_keyframe or packet.pts in self._kept
        if not self._has_layers:
            return not is_kept
        # In HEVC "not referred to" holds inside a temporal layer: those above may well refer to it.
        kind, layer = _first_slice(bytes(packet), self._length_bytes)
        if layer > self._lowest_left_out:
            raise LayerFound(layer)
        self._top_layer = max(self._top_layer, layer)
        if is_kept or layer < self._top_layer or kind > _LAST_THAT_MAY_BE_LEFT_OUT or kind % 2:
            return False
        self._lowest_left_out = min(self._lowest_left_out, layer)
        return True

    def check(self, frame: VideoFrame) -> None:
        """Looks at a frame that has come out.

        Raises:
            NotLean: if it is damaged, as what mends it may have been left out; or if it was made of
                two fields, one of which may have been left out.
        """
        if self._works and frame.interlaced_frame:
            raise FieldsFound
        if self._works and frame.is_corrupt:
            raise NotLean


def _length_bytes(extradata: bytes) -> int:
    """Returns how many bytes state the length of each unit; 0 where units begin with a mark."""
    # ISO/IEC 14496-15, section 8.3.3.1: the box begins with its version, 1; a mark with zeros.
    return (extradata[21] & 3) + 1 if len(extradata) > 21 and extradata[0] == 1 else 0


def _first_slice(data: bytes, length_bytes: int) -> tuple[int, int]:
    """Returns kind and temporal layer of an HEVC packet's first slice.

    What cannot be read counts as a picture of the top layer that others refer to.
    """
    for begin in _units(data, length_bytes):
        if begin + 1 < len(data):
            kind, layer = data[begin] >> 1 & 0x3F, (data[begin + 1] & 7) - 1
            if kind < _FIRST_NO_SLICE and layer >= 0:
                return kind, layer
    return _FIRST_NO_SLICE, _TOP_LAYER


def _units(data: bytes, length_bytes: int) -> Iterator[int]:
    """Yields where the units of a packet begin."""
    place = 0
    if not length_bytes:
        while (mark := data.find(_START, place)) >= 0:
            place = mark + len(_START)
            yield place
        return
    while place + length_bytes < len(data):
        length = int.from_bytes(data[place : place + length_bytes], "big")
        place += length_bytes
        yield place
        place += length
