"""GOP decoder: decodes packet runs to native frames; sequential reads and seeks give equal frames.

Between runs the decoder is drained and flushed, and the file is read on or sought
(`PacketCursor`). Each packet is given its number as its time before it is decoded, so a decoded
frame identifies its packet, whatever times the file states. A seek is trusted only after the
keyframe has been found by its own timestamp and size and has been decoded (`UnreliableSeek`).

Non-reference pictures that are not requested are skipped where that changes nothing
(`CannotSkip`). The file stays open from one pass to the next. Memory holds the few frames that wait
for a picture they refer to. Runs in the decode process only.
"""

from __future__ import annotations  # av.Packet is generic for type checkers only

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final, Literal, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from seedvideo.media.demuxer import (
    NO_TIME,
    PacketTable,
    SourceSpec,
    check_size,
    choose_stream,
    open_container,
    prepare_decoder,
    read_packets,
)
from seedvideo.media.frame_selection import CannotSkip, NonRefSkipper, PacketRun
from seedvideo.media.index import Index
from seedvideo.media.types import (
    UNBOUNDED,
    DecodeStats,
    MediaWarning,
    Strategy,
    is_too_damaged,
    out_of_memory_error,
    too_damaged_error,
)

_MIN_SEEK_PACKETS: Final = 200
"""Minimum packets to skip for which a seek is faster than reading on; measured."""


class UnreliableSeek(Exception):
    """A seek did not reach its target; the frames must be reached in another way."""


class PacketCursor:
    """Position in the file, counted in packets."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, table: PacketTable, display_name: str
    ) -> None:
        self.stream = stream
        self._container = container
        self._table = table
        self._display_name = display_name
        self._position = 0
        self._held: Packet[VideoStream] | None = None
        # FFmpeg calls a packet with half a picture damaged; two merged into one are accepted.
        self._joins_fields = stream.codec_context.codec.canonical_name == "mjpeg"
        self._reader = read_packets(container, stream, display_name=display_name)

    def seek_to(self, number: int, *, strategy: Strategy, heartbeat: Callable[[], None]) -> None:
        """Move to a packet; backwards only by a seek.

        Raises:
            UnreliableSeek: if the packet is not found.
        """
        distance = number - self._position
        least = {"seek": 1, "auto": _MIN_SEEK_PACKETS, "sequential": UNBOUNDED}[strategy]
        if distance >= least or distance < 0:
            self._seek(number, heartbeat)
        if self._position > number:
            raise UnreliableSeek
        while self._position < number:
            heartbeat()
            if self._next() is None:
                raise UnreliableSeek

    def packets(self, end: int) -> Iterator[Packet[VideoStream] | None]:
        """Yield packets up to a packet number, with their numbers as times, then None to drain."""
        while self._position < end:
            number = self._position
            packet = self._next()
            if packet is None:
                break
            if self._joins_fields and self._table.is_second_field(number + 1):
                second = self._next()
                if second is not None:
                    packet = cast("Packet[VideoStream]", Packet(bytes(packet) + bytes(second)))
            if packet.size:
                packet.pts = packet.dts = number
                yield packet
        yield None

    def _next(self) -> Packet[VideoStream] | None:
        packet, self._held = self._held, None
        if packet is None:
            packet = next(self._reader, None)
        if packet is not None:
            if not self._matches(packet, self._position):
                raise UnreliableSeek
            self._position += 1
        return packet

    def _matches(self, packet: Packet[VideoStream], number: int) -> bool:
        table = self._table
        pts = NO_TIME if packet.pts is None else packet.pts
        return number < len(table) and (pts, packet.size) == (table.pts[number], table.size[number])

    def _seek(self, number: int, heartbeat: Callable[[], None]) -> None:
        """Seek to a keyframe, so that this packet is read next.

        Raises:
            UnreliableSeek: if the packet is not found.
        """
        table = self._table
        if table.pts[number] == NO_TIME:
            return
        aim = table.pts[number]
        if table.dts[number] != NO_TIME:
            aim = min(aim, table.dts[number])
        try:
            self._container.seek(aim, stream=self.stream)
        except av.error.FFmpegError as error:
            raise UnreliableSeek from error
        self._reader = read_packets(self._container, self.stream, display_name=self._display_name)
        for packet in self._reader:
            heartbeat()  # Some containers can only seek to a point far before.
            if packet is None:
                break
            if packet.is_keyframe and self._matches(packet, number):
                self._held, self._position = packet, number
                return
            if packet.pts is not None and packet.is_keyframe and packet.pts > table.pts[number]:
                break
        raise UnreliableSeek


_PICTURES_IN_RESERVE: Final = 2
_BYTES_PER_PIXEL: Final = 3
"""Maximum of the common native formats: 8 bits at 4:4:4, or 16 bits at 4:2:0."""


class GopDecoder:
    """Decoder of the packet runs of one file.

    Args:
        spec: open input and its limits.
        index: index of its stream.
        table: packets of its stream.
    """

    def __init__(self, spec: SourceSpec, index: Index, table: PacketTable) -> None:
        self._spec = spec
        self._index = index
        self._table = table
        self._opened = ExitStack()
        self._cursor: PacketCursor | None = None
        self._skips_loop_filter = False
        # A decoder stopped inside a run would carry frames over into the next one.
        self._is_clean = True
        self._size = self._header_size = (0, 0)
        self._top_layer = 0
        self._strategy: Strategy = "auto"
        self._heartbeat: Callable[[], None] = lambda: None
        self._stats = DecodeStats()
        self._skipper: NonRefSkipper | None = None
        self._damaged_before = 0
        self._resume: int | None = None

    @property
    def codec(self) -> str:
        """Name of the codec."""
        context = self._ensure_open(skip_loop_filter=self._skips_loop_filter).stream.codec_context
        return context.codec.canonical_name

    def begin(
        self,
        *,
        strategy: Strategy,
        heartbeat: Callable[[], None],
        stats: DecodeStats,
        wanted: Sequence[int] | None = None,
        skip_loop_filter: bool = False,
    ) -> None:
        """Begin a pass; its runs follow.

        Args:
            strategy: how to get from one run to the next.
            heartbeat: callback that is called often; may raise to stop.
            stats: statistics that the pass updates.
            wanted: requested frame indices; if given, unneeded frames may be skipped.
            skip_loop_filter: whether to skip the deblocking filter.
        """
        if strategy == "sequential" or self._index.has_no_timestamps:
            self.close()
        self._strategy, self._heartbeat, self._stats = strategy, heartbeat, stats
        stream = self._ensure_open(skip_loop_filter=skip_loop_filter).stream
        self._size = self._header_size
        self._skipper = None
        if wanted is not None:
            self._skipper = NonRefSkipper(stream, self._index, wanted, top_layer=self._top_layer)

    def frames(self, run: PacketRun) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the frames of a run with their frame indices, rising.

        Raises:
            UnreliableSeek: if a seek did not reach its target.
            CannotSkip: if a picture may refer to a skipped one.
            MediaError: if the file is too damaged.
            DecodeError: if memory is exhausted.
        """
        self._damaged_before = self._stats.damaged_packets
        self._stats.errors_in_a_row = 0
        packet_number: int | None = run.first
        while packet_number is not None:
            packet_number = yield from self._decode_until_damage(replace(run, first=packet_number))

    def _decode_until_damage(
        self, run: PacketRun
    ) -> Generator[tuple[int, VideoFrame], None, int | None]:
        """Yield the frames of a run until it ends, or reaches a keyframe after damage.

        A decoder may take damaged data for parameters of everything that follows. So the next GOP
        gets a new decoder.

        Returns:
            Number of the packet at which to continue; None at the end.
        """
        cursor, skipper = self._ensure_open(skip_loop_filter=self._skips_loop_filter), self._skipper
        context = cursor.stream.codec_context
        self._is_clean, self._resume = False, None
        damaged_before = self._stats.damaged_packets
        try:
            cursor.seek_to(run.first, strategy=self._strategy, heartbeat=self._heartbeat)
            skip: Literal["NONREF", "DEFAULT"]
            skip = "NONREF" if run.frame_kinds == "references" else "DEFAULT"
            context.skip_frame = skip
            numbered = self._numbered(cursor, run)
            if self._index.has_no_timestamps:
                yield from self._index_by_count(numbered, context)
            elif skipper is None:
                yield from self._index_by_packet(numbered, run)
            else:
                yield from skipper.reorder_safe(self._index_by_packet(numbered, run), run)
            context.flush_buffers()
            self._is_clean = self._stats.damaged_packets == damaged_before
        finally:
            if cursor is self._cursor and not self._is_clean:
                self.close()
        return self._resume

    def seek_is_uncertain(self, run: PacketRun) -> bool:
        """Return whether a frame of this run may be missing because of a seek, not of damage."""
        undamaged = self._stats.damaged_packets == self._damaged_before
        return undamaged and self._has_jumped(run)

    def _has_jumped(self, run: PacketRun) -> bool:
        return self._strategy != "sequential" and run.first > self._index.keyframe_packets[0]

    def set_top_layer(self, layer: int) -> None:
        """Set the temporal layer below which later passes skip no pictures."""
        self._top_layer = layer

    def close(self) -> None:
        """Close the file; the next pass opens it again."""
        self._cursor = None
        self._opened.close()

    def check_memory(self) -> None:
        """Check that memory for more pictures is left: FFmpeg may lose frames without reporting it.

        Raises:
            DecodeError: if there is no memory for another picture.
        """
        try:
            bytearray(_PICTURES_IN_RESERVE * _BYTES_PER_PIXEL * self._size[0] * self._size[1])
        except MemoryError as error:
            raise out_of_memory_error(self._spec.display_name) from error

    def _ensure_open(self, *, skip_loop_filter: bool) -> PacketCursor:
        """Return the cursor of the open file; reopen it if the loop filter setting has changed."""
        if (
            self._cursor is not None
            and self._skips_loop_filter == skip_loop_filter
            and self._is_clean
        ):
            return self._cursor
        self.close()
        container = self._opened.enter_context(open_container(self._spec))
        stream = choose_stream(container, self._spec)
        prepare_decoder(stream, self._spec, skip_loop_filter=skip_loop_filter)
        # As the header states it; decoded pictures give the actual size.
        self._header_size = (stream.codec_context.width, stream.codec_context.height)
        self._size = self._header_size
        self._skips_loop_filter, self._is_clean = skip_loop_filter, True
        self._cursor = PacketCursor(container, stream, self._table, self._spec.display_name)
        return self._cursor

    def _numbered(self, cursor: PacketCursor, run: PacketRun) -> Iterator[tuple[int, VideoFrame]]:
        """Yield decoded frames with the numbers of their packets."""
        stats, skipper = self._stats, self._skipper
        damaged_before = stats.damaged_packets
        for packet in cursor.packets(run.end):
            self._heartbeat()
            if stats.damaged_packets > damaged_before and self._is_random_access_point(packet, run):
                packet = None
            if skipper is not None and packet is not None:
                may_be_left_out = skipper.can_skip(packet)
                cursor.stream.codec_context.skip_frame = "NONREF" if may_be_left_out else "DEFAULT"
            frames = self._decode_packet(cursor.stream, packet)
            if skipper is not None and stats.damaged_packets > damaged_before:
                self.check_memory()  # Before the new pass frees memory.
                raise CannotSkip
            for frame in frames:
                if (frame.width, frame.height) != self._size:
                    check_size(frame.width, frame.height, self._spec)
                    self._note_size(frame)
                number = frame.pts
                if number is not None and 0 <= number < len(self._index.frame_of_packet):
                    yield number, frame
            if packet is None:
                return

    def _is_random_access_point(self, packet: Packet[VideoStream] | None, run: PacketRun) -> bool:
        """Return whether decoding can restart at a packet; if so, store its number."""
        number = None if packet is None else packet.pts
        if self._index.has_no_timestamps or number is None or number == run.first:
            return False
        i = bisect_left(self._index.keyframe_packets, number)
        if i == len(self._index.keyframe_packets) or self._index.keyframe_packets[i] != number:
            return False
        self._resume = number
        return True

    def _index_by_count(
        self, frames: Iterator[tuple[int, VideoFrame]], context: VideoCodecContext
    ) -> Iterator[tuple[int, VideoFrame]]:
        index, emitted = self._index, 0
        for number, frame in frames:
            # Reordering holds back a few pictures at most; if fewer were output, damage has removed
            # some, and the count must catch up.
            emitted = max(emitted, index.frame_of_packet[number] - context.reorder_depth)
            if emitted < len(index.times):
                yield emitted, frame
            emitted += 1

    def _index_by_packet(
        self, frames: Iterator[tuple[int, VideoFrame]], run: PacketRun
    ) -> Iterator[tuple[int, VideoFrame]]:
        stats, skipper = self._stats, self._skipper
        index, first_time = self._index, self._index.packet_times[run.first]
        jumped = self._has_jumped(run)
        emitted, damaged_before = 0, stats.damaged_packets
        for number, frame in frames:
            if jumped and number == run.first and frame.pict_type != PictureType.I:
                raise UnreliableSeek  # The file marks a packet as a keyframe that is not one.
            if index.packet_times[number] < first_time:
                continue
            if skipper is not None:
                skipper.check_frame(frame)
            frame_index = index.frame_of_packet[number]
            if frame_index < 0:
                continue
            if not emitted and jumped and stats.damaged_packets == damaged_before:
                expected = index.frame_of_packet[run.first]
                if expected >= 0 and frame_index != expected:
                    raise UnreliableSeek
            emitted += 1
            yield frame_index, frame
        if not emitted and jumped and stats.damaged_packets == damaged_before:
            raise UnreliableSeek

    def _decode_packet(
        self, stream: VideoStream, packet: Packet[VideoStream] | None
    ) -> list[VideoFrame]:
        limits, stats = self._spec.limits, self._stats
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.MemoryError as error:
            raise out_of_memory_error(self._spec.display_name) from error
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            check_size(stream.codec_context.width, stream.codec_context.height, self._spec)
            stats.damaged_packets += 1
            stats.errors_in_a_row += 1
            is_hopeless = stats.errors_in_a_row > limits.max_consecutive_errors
            if is_hopeless or is_too_damaged(stats.damaged_packets, stats.planned_packets, limits):
                display_name = self._spec.display_name
                raise too_damaged_error(
                    display_name, stats.damaged_packets, stats.planned_packets
                ) from error
            return []
        if frames:
            stats.errors_in_a_row = 0
            stats.decoded_frames += len(frames)
            stats.patched_frames += sum(frame.is_corrupt for frame in frames)
        return frames

    def _note_size(self, frame: VideoFrame) -> None:
        stats, (width_px, height_px) = self._stats, self._size
        if not width_px or any(w.code == "media.size_changes" for w in stats.warnings):
            return
        message = (
            f"picture size changes from {width_px}x{height_px} to {frame.width}x{frame.height} px; "
            "every frame is resized to the planned size"
        )
        stats.warnings += (MediaWarning("media.size_changes", message),)
