"""Frame selection: packet runs to decode, frames to skip, and decoded frames matched to requests.

Work is planned in runs of packets that begin at a keyframe (`PacketRun`). A run is decoded by
itself, so its result does not depend on where, when or after what it is decoded: any number of
processes may share the runs of a file. Frames are named by frame index, packets by packet number.

In H.264 and HEVC a picture states whether others may refer to it. Non-reference pictures that are
not requested need not be decoded (`NonRefSkipper`); the other frames stay the same, bit for bit.
This holds for intact streams of complete pictures. Anything else is detected while decoding
(`CannotSkip`), and then nothing is skipped. Other codecs do not state this reliably, so nothing is
skipped in them.

`FrameMatcher` assigns decoded frames to requests. If a requested frame is lost to damage, a
neighbour replaces it. Runs in the decode process only; nothing is read or decoded here.
"""

from __future__ import annotations  # av.Packet is generic for type checkers only

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import itemgetter
from typing import Final, TypeAlias

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from seedvideo.media.index import Index
from seedvideo.media.resize import Resizer
from seedvideo.media.types import (
    FRAME_KINDS,
    SKIPPABLE_CODECS,
    UNBOUNDED,
    FrameKinds,
    FrameRequest,
    Picture,
    Strategy,
    ThumbnailSpan,
)

_MAX_OVERLAP_PACKETS: Final = 16
"""Maximum packets decoded twice so that two runs stay separate.

In open GOPs the pictures presented before a keyframe are stored after it, and refer both to it and
to the GOP before. They are few: as many as an encoder reorders.
"""

_MAX_RUN_PACKETS: Final = 250
"""Frames after which a run of thumbnails ends at the next keyframe: some seconds of video."""


@dataclass(frozen=True)
class PacketRun:
    """Packets ``[first, end)`` to decode together; the first one is a keyframe.

    ``frame_kinds`` limits the pictures that the decoder outputs. Frames from
    ``end_frame`` on are yielded by the next run. ``asked`` counts the frame requests, or spans,
    that this run is the first to serve.
    """

    first: int
    end: int
    frame_kinds: FrameKinds = "all"
    end_frame: int = UNBOUNDED
    asked: int = 1


def plan_runs(
    index: Index, wanted: Sequence[int], *, strategy: Strategy, spare: int
) -> list[PacketRun]:
    """Plan the packet runs for requested frames.

    Args:
        index: index of the stream.
        wanted: frame indices, rising.
        strategy: ``sequential`` yields one run from the first keyframe on.
        spare: packets to decode after a picture if the index knows of no fields. With fields, half
            a picture at the end could keep a decoder from returning the one before.
    """
    if index.has_no_timestamps:
        return [PacketRun(index.keyframe_packets[0], UNBOUNDED, asked=len(wanted))]
    runs: list[PacketRun] = []
    for frame_index in wanted:
        packet = index.packet_of_frame[frame_index]
        end = index.end_of(packet)
        if not index.has_fields:
            end = min(end + spare, len(index.packet_times))
        first = (
            index.keyframe_packets[0]
            if strategy == "sequential"
            else index.keyframe_before(frame_index)
        )
        _add(runs, PacketRun(first, end))
    return runs


def split_spans(index: Index, spans: Sequence[ThumbnailSpan]) -> list[ThumbnailSpan]:
    """Split long thumbnail spans at keyframes, so that several processes can decode their runs.

    Args:
        index: index of the stream.
        spans: spans with rising frame indices, not overlapping.

    Returns:
        The parts; without spans of keyframes that contain no keyframe.
    """
    if index.has_no_timestamps:
        return list(spans)
    keyframes = index.keyframes
    cut: list[ThumbnailSpan] = []
    for span in spans:
        first = span.first
        i = bisect_left(keyframes, first)
        if span.frame_kinds == "keys" and (i == len(keyframes) or keyframes[i] >= span.end):
            continue
        while span.frame_kinds != "keys":
            i = bisect_left(keyframes, first + _MAX_RUN_PACKETS)
            if i == len(keyframes) or keyframes[i] >= span.end:
                break
            cut.append(replace(span, first=first, end=keyframes[i]))
            first = keyframes[i]
        cut.append(replace(span, first=first))
    return cut


def plan_thumbnail_runs(index: Index, spans: Sequence[ThumbnailSpan]) -> list[PacketRun]:
    """Plan the packet runs for thumbnail spans.

    Args:
        index: index of the stream.
        spans: spans with rising frame indices, not overlapping.
    """
    if not spans:
        return []
    if index.has_no_timestamps:  # Counting works only if no picture is skipped.
        return [PacketRun(index.keyframe_packets[0], UNBOUNDED, asked=len(spans))]
    keyframes_by_frame = sorted((index.frame_of_packet[key], key) for key in index.keyframe_packets)
    runs: list[PacketRun] = []
    for span in spans:
        for run in _runs_of(index, keyframes_by_frame, span):
            _add(runs, run)
    starts = [index.frame_of_packet[run.first] for run in runs[1:]]
    return [
        replace(run, end_frame=start if start >= 0 else UNBOUNDED)
        for run, start in zip(runs, [*starts, UNBOUNDED], strict=True)
    ]


def _add(runs: list[PacketRun], run: PacketRun) -> None:
    """Append a run, or merge it with the last one where that saves more than a few packets."""
    before = runs[-1] if runs else None
    if before is None or before.end <= run.first:
        runs.append(run)
        return
    twice = before.end - run.first
    if (
        before.first < run.first
        and twice <= _MAX_OVERLAP_PACKETS
        and 8 * twice <= run.first - before.first
    ):
        runs.append(run)
        return
    frame_kinds = max(before.frame_kinds, run.frame_kinds, key=FRAME_KINDS.index)
    end = max(before.end, run.end)
    first = min(before.first, run.first)  # A wrong timestamp can lead back.
    runs[-1] = PacketRun(first, end, frame_kinds, asked=before.asked + run.asked)


def _next_key(index: Index, packet: int) -> int:
    """Return the packet number of the next keyframe after a packet."""
    i = bisect_left(index.keyframe_packets, packet + 1)
    return index.keyframe_packets[i] if i < len(index.keyframe_packets) else len(index.packet_times)


def _runs_of(
    index: Index, keyframes_by_frame: list[tuple[int, int]], span: ThumbnailSpan
) -> list[PacketRun]:
    if span.frame_kinds == "keys":
        first, end = (
            bisect_left(keyframes_by_frame, (frame_index, -1))
            for frame_index in (span.first, span.end)
        )
        # Adjacent keyframes are not merged: each is decoded alone.
        return [
            PacketRun(key, index.end_of(key), "keys", asked=int(i == 0))
            for i, (_, key) in enumerate(keyframes_by_frame[first:end])
        ]
    last = max(index.packet_of_frame[span.first : span.end])
    # One extra packet: a picture may be stored as two that the index does not pair.
    end = index.end_of(last) if index.has_fields else last + 2
    end = min(end, _next_key(index, last))
    return [PacketRun(index.keyframe_before(span.first), end, span.frame_kinds)]


IndexedFrame: TypeAlias = tuple[int, VideoFrame]

_MAX_HELD_FRAMES: Final = 16
"""Maximum frames held back for a missing one: decoders reorder no more."""


class NoEarlierFrame(Exception):
    """A requested frame is lost, and its run has no frame before it."""


class FrameMatcher:
    """Assignment of decoded frames, run after run, to frame requests.

    A requested frame that was skipped over is lost: the frame before it in its run replaces it.

    Args:
        wanted: requests with rising frame indices.
        resizer: converts frames to pictures.
        on_loss: callback before a frame counts as lost; may raise.
    """

    def __init__(
        self, wanted: Sequence[FrameRequest], resizer: Resizer, on_loss: Callable[[], None]
    ) -> None:
        self.lost = 0
        """Number of requested frames that a neighbour replaced."""
        self._on_loss = on_loss
        self._wanted = wanted
        self._next = 0
        self._run_end = 0
        self._resizer = resizer
        self._held: list[IndexedFrame] = []
        self._before: IndexedFrame | None = None
        self._found: IndexedFrame | None = None
        self._substitute: IndexedFrame | None = None

    @property
    def pending(self) -> Sequence[FrameRequest]:
        """Requests that have not been delivered yet."""
        return self._wanted[self._next :]

    @property
    def done(self) -> bool:
        """Whether everything has been delivered."""
        return self._next == len(self._wanted)

    @property
    def run_done(self) -> bool:
        """Whether all requests of the run have been delivered."""
        return self._next == self._run_end

    def set_substitute(self, found: IndexedFrame) -> None:
        """Set the frame that replaces a lost one if the run yields none before it."""
        self._found = found

    def start_run(self, asked: int) -> None:
        """Return for how many of the next wanted frames the run is."""
        self._run_end = self._next + asked

    def restart_run(self) -> None:
        """Begin the run, or begin it again for its remaining requests."""
        self._before = None
        self._held.clear()
        self._substitute, self._found = self._found, None

    def has_passed(self, frame_index: int) -> bool:
        """Return whether a requested frame precedes this one and has not been delivered."""
        return not self.run_done and self._wanted[self._next].frame_index < frame_index

    def push(self, frame_index: int, frame: VideoFrame) -> Iterator[Picture]:
        """Take the next frame of the run, and deliver the requests that it decides.

        Raises:
            NoEarlierFrame: if a lost frame has no replacement in this run.
        """
        insort(self._held, (frame_index, frame), key=itemgetter(0))
        while self._held and (not self._is_pending() or len(self._held) > _MAX_HELD_FRAMES):
            yield from self._settle(*self._held.pop(0))

    def finish(self) -> Iterator[Picture]:
        """Deliver the requests after the last decodable frame of the run.

        Raises:
            NoEarlierFrame: if a lost frame has no replacement in this run.
        """
        while self._held:
            yield from self._settle(*self._held.pop(0))
        while not self.run_done:
            yield self._deliver_lost()

    def _is_pending(self) -> bool:
        """Return whether a missing requested frame may still come.

        Frames come in rising order unless times are wrong, and then close to their positions.
        """
        return self.has_passed(self._held[0][0])

    def _settle(self, frame_index: int, frame: VideoFrame) -> Iterator[Picture]:
        if self._before is not None and frame_index <= self._before[0]:
            return
        while not self.run_done and self._wanted[self._next].frame_index <= frame_index:
            if self._wanted[self._next].frame_index < frame_index:
                yield self._deliver_lost()
            else:
                yield self._deliver(frame_index, frame)
        self._before = (frame_index, frame)

    def _deliver_lost(self) -> Picture:
        self._on_loss()
        source = self._before or self._substitute
        if source is None:
            raise NoEarlierFrame
        self.lost += 1
        return self._deliver(*source)

    def _deliver(self, frame_index: int, frame: VideoFrame) -> Picture:
        want = self._wanted[self._next]
        self._next += 1
        return Picture(frame_index, self._resizer.resize(frame, want.width_px, want.height_px))


_START: Final = b"\x00\x00\x01"

# ITU-T H.265, tables 7-1 and section 7.4.2.2.
_MIN_NON_SLICE_TYPE: Final = 32
_MAX_NON_REFERENCE_TYPE: Final = 14
_TOP_LAYER: Final = 7
"""Above every possible temporal layer."""

_MAX_REORDERED: Final = 16
"""Maximum pictures that a decoder holds for reordering (H.264, H.265: annex A)."""


class CannotSkip(Exception):
    """A picture may refer to a skipped one; the pass must continue without skipping."""


class TemporalLayerFound(CannotSkip):
    """A temporal layer above the known ones; pictures below it may be needed."""

    def __init__(self, layer: int) -> None:
        super().__init__(layer)
        self.layer = layer


class InterlacedFieldsFound(CannotSkip):
    """A picture consists of two fields, each of which may be stored separately."""


class NonRefSkipper:
    """Decision for each packet of a pass whether the decoder may skip its picture.

    Args:
        stream: stream that is decoded.
        index: index of the stream.
        wanted: indices of the frames that must be decoded.
        top_layer: highest known temporal layer; pictures of lower layers are never skipped.
    """

    def __init__(
        self, stream: VideoStream, index: Index, wanted: Collection[int], *, top_layer: int
    ) -> None:
        context = stream.codec_context
        self._index = index
        codec = context.codec.canonical_name
        # If frames are identified by their count, each of them must be decoded.
        self._works = codec in SKIPPABLE_CODECS and not index.has_no_timestamps
        self._has_layers = codec == "hevc"
        self._length_bytes = _length_bytes(context.extradata or b"") if self._has_layers else 0
        self._kept = (
            {index.packet_of_frame[frame_index] for frame_index in wanted} if self._works else set()
        )
        self._top_layer = top_layer
        self._lowest_skipped_layer = _TOP_LAYER

    def reorder_safe(
        self, frames: Iterator[tuple[int, VideoFrame]], run: PacketRun
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Hold back each frame of a run until all frames that it may refer to have been checked.

        A bidirectional picture is output before the later one it refers to, which may be damaged.
        If times are wrong the later one may never come: no more are held than can be reordered.

        Args:
            frames: pairs of frame index and frame, rising.
            run: run, which refers to nothing before it.
        """
        self._lowest_skipped_layer = _TOP_LAYER
        if not self._works:
            yield from frames
            return
        stored_before = list(accumulate(self._index.frame_of_packet[run.first : run.end], max))
        held: deque[tuple[int, VideoFrame]] = deque()
        for frame_index, frame in frames:
            held.append((frame_index, frame))
            while held:
                number = self._index.packet_of_frame[held[0][0]]
                if stored_before[number - run.first] > frame_index and len(held) <= _MAX_REORDERED:
                    break
                yield held.popleft()
        yield from held

    def can_skip(self, packet: Packet[VideoStream]) -> bool:
        """Return whether a packet's picture may be skipped if no other refers to it.

        Args:
            packet: packet with its number as its time.

        Raises:
            CannotSkip: if it may refer to a skipped picture.
        """
        if not self._works:
            return False
        is_kept = packet.is_keyframe or packet.pts in self._kept
        if not self._has_layers:
            return not is_kept
        # In HEVC "not referred to" holds inside a temporal layer: those above may well refer to it.
        kind, layer = _first_slice(bytes(packet), self._length_bytes)
        if layer > self._lowest_skipped_layer:
            raise TemporalLayerFound(layer)
        self._top_layer = max(self._top_layer, layer)
        if is_kept or layer < self._top_layer or kind > _MAX_NON_REFERENCE_TYPE or kind % 2:
            return False
        self._lowest_skipped_layer = min(self._lowest_skipped_layer, layer)
        return True

    def check_frame(self, frame: VideoFrame) -> None:
        """Check a decoded frame.

        Raises:
            CannotSkip: if it is damaged, as frames that repair it may be skipped, or if it
                has two fields, one of which may have been skipped.
        """
        if self._works and frame.interlaced_frame:
            raise InterlacedFieldsFound
        if self._works and frame.is_corrupt:
            raise CannotSkip


def _length_bytes(extradata: bytes) -> int:
    """Return the size of the length field of each unit; 0 if units begin with a start code."""
    # ISO/IEC 14496-15, section 8.3.3.1: the box begins with its version, 1; a start code with 0.
    return (extradata[21] & 3) + 1 if len(extradata) > 21 and extradata[0] == 1 else 0


def _first_slice(data: bytes, length_bytes: int) -> tuple[int, int]:
    """Return type and temporal layer of an HEVC packet's first slice.

    An unreadable packet counts as a reference picture of the top layer.
    """
    for start in _units(data, length_bytes):
        if start + 1 < len(data):
            kind, layer = data[start] >> 1 & 0x3F, (data[start + 1] & 7) - 1
            if kind < _MIN_NON_SLICE_TYPE and layer >= 0:
                return kind, layer
    return _MIN_NON_SLICE_TYPE, _TOP_LAYER


def _units(data: bytes, length_bytes: int) -> Iterator[int]:
    """Yield the offsets of the units of a packet."""
    i = 0
    if not length_bytes:
        while (mark := data.find(_START, i)) >= 0:
            i = mark + len(_START)
            yield i
        return
    while i + length_bytes < len(data):
        length = int.from_bytes(data[i : i + length_bytes], "big")
        i += length_bytes
        yield i
        i += length
