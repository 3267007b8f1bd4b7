"""Runs of packets in, native frames with their ranks out; one pass and seeks give equal frames.

Between runs the decoder is drained and flushed, and the file is read on or sought. Each packet is
given its number as its time before it is decoded, so a decoded frame says which packet it came
from, whatever the file says of times. A seek is trusted only after the keyframe it was meant for
has been found by its own facts and has come out of the decoder (`SeekNotTrusted`).

Pictures that are neither wanted nor needed by others are left out where that changes nothing
(`NotLean`, where it may). The file stays open from one pass to the next. Memory holds the few
frames that wait until a picture that they lean on has come out. Runs in the decoding process only.

A place in a file, counted in packets, that moves by reading on or by a seek.

A seek is trusted only after the keyframe it was meant for has been found by its own facts. Each
packet is given its number as its time, so that a decoded frame says which packet it came from. Runs
in the decoding process only. Decodes nothing.
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

from seedvideo.media.decoder import (
    NO_END,
    Strategy,
    Tally,
    is_too_damaged,
    out_of_memory,
    too_damaged,
)
from seedvideo.media.demuxer import (
    NO_TIME,
    Origin,
    PacketTable,
    check_size,
    choose_stream,
    open_container,
    prepare_decoder,
    read_packets,
)
from seedvideo.media.frame_selection import Leaving, NotLean, Run
from seedvideo.media.index import Index
from seedvideo.media.types import MediaWarning

_WORTH_A_SEEK: Final = 200
"""Packets to step over from which a seek in the file is quicker than reading on."""


class SeekNotTrusted(Exception):
    """A seek did not lead to where it should; the frames must be reached in another way."""


class Cursor:
    """A place in the file, counted in packets."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, table: PacketTable, shown: str
    ) -> None:
        self.stream = stream
        self._container = container
        self._table = table
        self._shown = shown
        self._position = 0
        self._held: Packet[VideoStream] | None = None
        # FFmpeg calls a packet damaged that holds half a picture; two in one are as good.
        self._joins_fields = stream.codec_context.codec.canonical_name == "mjpeg"
        self._reader = read_packets(container, stream, shown=shown)

    def go_to(self, number: int, *, strategy: Strategy, alive: Callable[[], None]) -> None:
        """Moves to a packet; back only by a seek.

        Raises:
            SeekNotTrusted: if it is not found.
        """
        distance = number - self._position
        least = {"seek": 1, "auto": _WORTH_A_SEEK, "sequential": NO_END}[strategy]
        if distance >= least or distance < 0:
            self._seek(number, alive)
        if self._position > number:
            raise SeekNotTrusted
        while self._position < number:
            alive()
            if self._next() is None:
                raise SeekNotTrusted

    def packets(self, end: int) -> Iterator[Packet[VideoStream] | None]:
        """Yields packets up to a number, numbered, then None to drain the decoder."""
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
            if not self._is(packet, self._position):
                raise SeekNotTrusted
            self._position += 1
        return packet

    def _is(self, packet: Packet[VideoStream], number: int) -> bool:
        table = self._table
        pts = NO_TIME if packet.pts is None else packet.pts
        return number < len(table) and (pts, packet.size) == (table.pts[number], table.size[number])

    def _seek(self, number: int, alive: Callable[[], None]) -> None:
        """Seeks to a keyframe, so that this very packet is read next.

        Raises:
            SeekNotTrusted: if it is not found.
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
            raise SeekNotTrusted from error
        self._reader = read_packets(self._container, self.stream, shown=self._shown)
        for packet in self._reader:
            alive()  # Some containers can only be read on from far before.
            if packet is None:
                break
            if packet.is_keyframe and self._is(packet, number):
                self._held, self._position = packet, number
                return
            if packet.pts is not None and packet.is_keyframe and packet.pts > table.pts[number]:
                break
        raise SeekNotTrusted


_PICTURES_IN_RESERVE: Final = 2
_BYTES_PER_PIXEL: Final = 3
"""At most, in the native formats that are common: 8 bits at 4:4:4, or 16 bits at 4:2:0."""


class RunDecoder:
    """Decodes runs of one file.

    Args:
        origin: the file and its limits.
        index: of its stream.
        table: its packets.
    """

    def __init__(self, origin: Origin, index: Index, table: PacketTable) -> None:
        self._origin = origin
        self._index = index
        self._table = table
        self._opened = ExitStack()
        self._cursor: Cursor | None = None
        self._is_rough = False
        # Left in the middle of a run, a decoder would take its rest into the next one.
        self._is_clean = True
        self._size = self._header_size = (0, 0)
        self._top_layer = 0
        self._strategy: Strategy = "auto"
        self._alive: Callable[[], None] = lambda: None
        self._tally = Tally()
        self._leaving: Leaving | None = None
        self._damaged_before = 0
        self._resume: int | None = None

    @property
    def codec(self) -> str:
        """Name of the codec."""
        context = self._ready(is_rough=self._is_rough).stream.codec_context
        return context.codec.canonical_name

    def begin(
        self,
        *,
        strategy: Strategy,
        alive: Callable[[], None],
        tally: Tally,
        wanted: Sequence[int] | None = None,
        is_rough: bool = False,
    ) -> None:
        """Begins a pass; its runs follow.

        Args:
            strategy: how to get from one run to the next.
            alive: called often; may raise to stop.
            tally: counts as the pass goes on.
            wanted: ranks; where given, frames that nobody needs may be missing.
            is_rough: leave out the filter that smooths the edges of blocks.
        """
        if strategy == "sequential" or self._index.by_count:
            self.close()
        self._strategy, self._alive, self._tally = strategy, alive, tally
        stream = self._ready(is_rough=is_rough).stream
        self._size = self._header_size
        self._leaving = None
        if wanted is not None:
            self._leaving = Leaving(stream, self._index, wanted, top_layer=self._top_layer)

    def frames(self, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Yields what a run gives: frames by rising rank, each with its rank.

        Raises:
            SeekNotTrusted: if a seek did not lead to where it should.
            NotLean: if something may refer to what was left out.
            MediaError: if the file is too damaged.
            DecodeError: if memory does not suffice.
        """
        self._damaged_before = self._tally.damaged_packets
        self._tally.errors_in_a_row = 0
        place: int | None = run.first
        while place is not None:
            place = yield from self._stretch(replace(run, first=place))

    def _stretch(self, run: Run) -> Generator[tuple[int, VideoFrame], None, int | None]:
        """Yields what a run gives until it ends, or meets a keyframe behind damage.

        A decoder may believe what it read where the damage is, and take it for parameters of all
        that follows. So the next group of pictures gets a new one.

        Returns:
            Number of the packet at which to go on.
        """
        cursor, leaving = self._ready(is_rough=self._is_rough), self._leaving
        context = cursor.stream.codec_context
        self._is_clean, self._resume = False, None
        damaged_before = self._tally.damaged_packets
        try:
            cursor.go_to(run.first, strategy=self._strategy, alive=self._alive)
            skip: Literal["NONREF", "DEFAULT"]
            skip = "NONREF" if run.depth == "references" else "DEFAULT"
            context.skip_frame = skip
            numbered = self._numbered(cursor, run)
            if self._index.by_count:
                yield from self._rank_by_count(numbered, context)
            elif leaving is None:
                yield from self._rank_by_number(numbered, run)
            else:
                yield from leaving.settle(self._rank_by_number(numbered, run), run)
            context.flush_buffers()
            self._is_clean = self._tally.damaged_packets == damaged_before
        finally:
            if cursor is self._cursor and not self._is_clean:
                self.close()
        return self._resume

    def is_doubtful(self, run: Run) -> bool:
        """Tells whether a seek, not damage, may be why a frame of this run is missing."""
        undamaged = self._tally.damaged_packets == self._damaged_before
        return undamaged and self._has_jumped(run)

    def _has_jumped(self, run: Run) -> bool:
        return self._strategy != "sequential" and run.first > self._index.keys[0]

    def know_layer(self, layer: int) -> None:
        """Keeps pictures below a temporal layer in the passes to come."""
        self._top_layer = layer

    def close(self) -> None:
        """Closes the file; the next pass opens it again."""
        self._cursor = None
        self._opened.close()

    def check_memory(self) -> None:
        """Tells a frame lost to damage from one lost to memory, of which FFmpeg may say nothing.

        Raises:
            DecodeError: if there is no room for another picture.
        """
        try:
            bytearray(_PICTURES_IN_RESERVE * _BYTES_PER_PIXEL * self._size[0] * self._size[1])
        except MemoryError as error:
            raise out_of_memory(self._origin.shown) from error

    def _ready(self, *, is_rough: bool) -> Cursor:
        """Returns a place in the open file; how rough a decoder is cannot change once it runs."""
        if self._cursor is not None and self._is_rough == is_rough and self._is_clean:
            return self._cursor
        self.close()
        container = self._opened.enter_context(open_container(self._origin))
        stream = choose_stream(container, self._origin)
        prepare_decoder(stream, self._origin, is_rough=is_rough)
        # As the header says; the decoder will say what the pictures have.
        self._header_size = (stream.codec_context.width, stream.codec_context.height)
        self._size = self._header_size
        self._is_rough, self._is_clean = is_rough, True
        self._cursor = Cursor(container, stream, self._table, self._origin.shown)
        return self._cursor

    def _numbered(self, cursor: Cursor, run: Run) -> Iterator[tuple[int, VideoFrame]]:
        """Yields decoded frames and the numbers of their packets."""
        tally, leaving = self._tally, self._leaving
        damaged_before = tally.damaged_packets
        for packet in cursor.packets(run.end):
            self._alive()
            if tally.damaged_packets > damaged_before and self._begins_anew(packet, run):
                packet = None
            if leaving is not None and packet is not None:
                may_be_left_out = leaving.allows(packet)
                cursor.stream.codec_context.skip_frame = "NONREF" if may_be_left_out else "DEFAULT"
            frames = self._decode_packet(cursor.stream, packet)
            if leaving is not None and tally.damaged_packets > damaged_before:
                self.check_memory()  # Now: a new pass begins with memory to spare.
                raise NotLean
            for frame in frames:
                if (frame.width, frame.height) != self._size:
                    check_size(frame.width, frame.height, self._origin)
                    self._note_size(frame)
                number = frame.pts
                if number is not None and 0 <= number < len(self._index.rank_of):
                    yield number, frame
            if packet is None:
                return

    def _begins_anew(self, packet: Packet[VideoStream] | None, run: Run) -> bool:
        """Tells whether decoding can begin anew with a packet, and notes it."""
        number = None if packet is None else packet.pts
        if self._index.by_count or number is None or number == run.first:
            return False
        place = bisect_left(self._index.keys, number)
        if place == len(self._index.keys) or self._index.keys[place] != number:
            return False
        self._resume = number
        return True

    def _rank_by_count(
        self, frames: Iterator[tuple[int, VideoFrame]], context: VideoCodecContext
    ) -> Iterator[tuple[int, VideoFrame]]:
        index, emitted = self._index, 0
        for number, frame in frames:
            # Reordering holds back a few pictures at most; where fewer have come out, damage has
            # eaten some, and the count must catch up.
            emitted = max(emitted, index.rank_of[number] - context.reorder_depth)
            if emitted < len(index.times):
                yield emitted, frame
            emitted += 1

    def _rank_by_number(
        self, frames: Iterator[tuple[int, VideoFrame]], run: Run
    ) -> Iterator[tuple[int, VideoFrame]]:
        tally, leaving = self._tally, self._leaving
        index, first_time = self._index, self._index.packet_times[run.first]
        jumped = self._has_jumped(run)
        emitted, damaged_before = 0, tally.damaged_packets
        for number, frame in frames:
            if jumped and number == run.first and frame.pict_type != PictureType.I:
                raise SeekNotTrusted  # The file calls a keyframe what is none.
            if index.packet_times[number] < first_time:
                continue
            if leaving is not None:
                leaving.check(frame)
            rank = index.rank_of[number]
            if rank < 0:
                continue
            if not emitted and jumped and tally.damaged_packets == damaged_before:
                expected = index.rank_of[run.first]
                if expected >= 0 and rank != expected:
                    raise SeekNotTrusted
            emitted += 1
            yield rank, frame
        if not emitted and jumped and tally.damaged_packets == damaged_before:
            raise SeekNotTrusted

    def _decode_packet(
        self, stream: VideoStream, packet: Packet[VideoStream] | None
    ) -> list[VideoFrame]:
        limits, tally = self._origin.limits, self._tally
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.MemoryError as error:
            raise out_of_memory(self._origin.shown) from error
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            check_size(stream.codec_context.width, stream.codec_context.height, self._origin)
            tally.damaged_packets += 1
            tally.errors_in_a_row += 1
            is_hopeless = tally.errors_in_a_row > limits.max_errors_in_a_row
            if is_hopeless or is_too_damaged(tally.damaged_packets, tally.planned_packets, limits):
                shown = self._origin.shown
                raise too_damaged(shown, tally.damaged_packets, tally.planned_packets) from error
            return []
        if frames:
            tally.errors_in_a_row = 0
            tally.decoded_frames += len(frames)
            tally.patched_frames += sum(frame.is_corrupt for frame in frames)
        return frames

    def _note_size(self, frame: VideoFrame) -> None:
        tally, (width_px, height_px) = self._tally, self._size
        if not width_px or any(w.code == "media.size_changes" for w in tally.warnings):
            return
        message = (
            f"pictures change from {width_px}x{height_px} to {frame.width}x{frame.height} px; "
            "each is resized to the planned size"
        )
        tally.warnings += (MediaWarning("media.size_changes", message),)
