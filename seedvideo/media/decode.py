"""PyAV as the decoder: packets in, wanted pictures out; one pass and seeks give equal results.

Work is planned in runs: stretches of packets that begin at a keyframe and end just behind the last
wanted packet. Between runs the decoder is drained and flushed, and the file is read on or sought.
Each packet is given its number as its time before it is decoded, so a decoded frame says which
packet it came from, whatever the file says of times. A seek is trusted only after the keyframe it
was meant for has been found by its own facts and has come out of the decoder; if not, what is left
is done by reading on from the start of the file.

Memory holds two native frames: the current one, and the one before it, which stands in when damage
has removed a wanted frame. Runs in the decoding process only.
"""

from __future__ import annotations  # av.Packet is generic for type checkers only

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from seedvideo.errors import InputError, MediaError
from seedvideo.media.container import (
    Origin,
    check_size,
    choose_stream,
    open_container,
    out_of_memory,
    prepare_decoder,
)
from seedvideo.media.cursor import Cursor, SeekNotTrusted
from seedvideo.media.decoder import (
    Depth,
    Look,
    LookSize,
    LookSpan,
    Picture,
    Strategy,
    Tally,
    Wanted,
)
from seedvideo.media.index import Index
from seedvideo.media.info import MediaWarning
from seedvideo.media.packets import NO_TIME, PacketTable
from seedvideo.media.picture import Orientation, Resizer
from seedvideo.media.runs import Run, plan_looks, plan_runs

_PICTURES_IN_RESERVE: Final = 2
_BYTES_PER_PIXEL: Final = 3
"""At most, in the native formats that are common: 8 bits at 4:4:4, or 16 bits at 4:2:0."""

_MIN_PACKETS_FOR_SHARE: Final = 100
"""Packets from which the share of damaged ones says something."""


class PyavDecoder:
    """Decodes frames of one file with PyAV (see `seedvideo.media.decoder.Decoder`)."""

    def __init__(
        self, origin: Origin, index: Index, table: PacketTable, orientation: Orientation
    ) -> None:
        self._origin = origin
        self._index = index
        self._table = table
        self._orientation = orientation
        self._coded_pixels = 0

    def pictures(
        self,
        wanted: Sequence[Wanted],
        *,
        strategy: Strategy,
        alive: Callable[[], None],
        tally: Tally,
    ) -> Iterator[Picture]:
        """Yields one picture for each wanted one; see the protocol."""
        matcher = _Matcher(wanted, Resizer(self._orientation), self._check_memory)
        try:
            yield from self._pass(matcher, strategy, alive, tally)
        except SeekNotTrusted:
            try:
                yield from self._pass(matcher, "sequential", alive, tally)
            except SeekNotTrusted as error:
                raise self._changed() from error
        yield from matcher.finish()
        tally.lost_frames += matcher.lost
        if not matcher.done:
            self._check_memory()
        if not matcher.done:
            code = "media.corrupt" if tally.damaged_packets else "media.no_frames"
            raise MediaError(code, f"{self._origin.shown}: no frame could be decoded")

    def _pass(
        self, matcher: _Matcher, strategy: Strategy, alive: Callable[[], None], tally: Tally
    ) -> Iterator[Picture]:
        ranks = [w.rank for w in matcher.pending]
        runs = plan_runs(self._index, ranks, strategy=strategy)
        for rank, frame, _ in self._decode_runs(runs, strategy, alive, tally):
            yield from matcher.offer(rank, frame)
            if matcher.done:
                return

    def looks(
        self,
        spans: Sequence[LookSpan],
        size: LookSize,
        *,
        alive: Callable[[], None],
        tally: Tally,
    ) -> Iterator[Look]:
        """Yields small frames of spans; what is decoded on the way to them is given too.

        Args:
            spans: by rising rank, not overlapping.
            size: of the small frames.
            alive: called often; may raise to stop.
            tally: counts as the pass goes on.

        Yields:
            Looks by rising rank. A picture that damage took away is missing. At depth
            ``references`` they are rough: no edge of a block is smoothed.

        Raises:
            MediaError: if the file is too damaged.
            DecodeError: if memory does not suffice.
        """
        thinner = _Thinner(self._index, size)
        resizer = Resizer(self._orientation)
        for sequential in (False, True):
            runs = plan_looks(self._index, spans, sequential=sequential)
            strategy: Strategy = "sequential" if sequential else "auto"
            try:
                for rank, frame, depth in self._decode_runs(runs, strategy, alive, tally):
                    if thinner.wants(rank, depth):
                        planes = resizer.shrink(frame, size.width_px, size.height_px)
                        yield Look(rank, planes)
            except SeekNotTrusted as error:
                if sequential:
                    raise self._changed() from error
            else:
                return

    def _decode_runs(
        self,
        runs: Sequence[Run],
        strategy: Strategy,
        alive: Callable[[], None],
        tally: Tally,
    ) -> Iterator[tuple[int, VideoFrame, Depth]]:
        with open_container(self._origin) as container:
            stream = choose_stream(container, self._origin)
            is_rough = any(run.depth == "references" for run in runs)
            prepare_decoder(stream, self._origin, is_rough=is_rough)
            self._coded_pixels = stream.codec_context.width * stream.codec_context.height
            cursor = Cursor(container, stream, self._table, self._origin.shown)
            tally.planned_packets = sum(min(r.end, len(self._table)) - r.first for r in runs)
            for run in runs:
                cursor.go_to(run.first, strategy=strategy, alive=alive)
                skip: Literal["NONREF", "DEFAULT"]
                skip = "NONREF" if run.depth == "references" else "DEFAULT"
                stream.codec_context.skip_frame = skip
                for rank, frame in self._decode_run(cursor, run, alive, tally):
                    yield rank, frame, run.depth

    def _decode_run(
        self, cursor: Cursor, run: Run, alive: Callable[[], None], tally: Tally
    ) -> Iterator[tuple[int, VideoFrame]]:
        index, context = self._index, cursor.stream.codec_context
        first_time = NO_TIME if index.by_count else index.packet_times[run.first]
        jumped = run.first > index.keys[0]
        emitted, damaged_before, size = 0, tally.damaged_packets, (0, 0)
        for packet in cursor.packets(run.end):
            alive()
            for frame in self._decode_packet(cursor.stream, packet, tally):
                if (frame.width, frame.height) != size:
                    check_size(frame.width, frame.height, self._origin)
                    self._note_size(size, frame, tally)
                    size = (frame.width, frame.height)
                number = frame.pts
                if number is None or not 0 <= number < len(index.rank_of):
                    continue
                if index.by_count:
                    # Reordering holds back a few pictures at most; where fewer have come out,
                    # damage has eaten some, and the count must catch up.
                    emitted = max(emitted, index.rank_of[number] - context.reorder_depth)
                    if emitted < len(index.times):
                        yield emitted, frame
                    emitted += 1
                    continue
                rank = index.rank_of[number]
                if rank < 0 or index.packet_times[number] < first_time:
                    continue
                if not emitted and jumped and tally.damaged_packets == damaged_before:
                    expected = index.rank_of[run.first]
                    if expected >= 0 and rank != expected:
                        raise SeekNotTrusted
                emitted += 1
                yield rank, frame
        if not emitted and jumped and tally.damaged_packets == damaged_before:
            raise SeekNotTrusted
        context.flush_buffers()

    def _decode_packet(
        self, stream: VideoStream, packet: Packet[VideoStream] | None, tally: Tally
    ) -> list[VideoFrame]:
        limits = self._origin.limits
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
            # A share of what this pass has to read, not of what it has read so far: damage often
            # lies in one place.
            planned = tally.planned_packets
            if tally.errors_in_a_row > limits.max_errors_in_a_row or (
                planned >= _MIN_PACKETS_FOR_SHARE
                and tally.damaged_packets > limits.max_error_share * planned
            ):
                raise MediaError(
                    "media.corrupt",
                    f"{self._origin.shown}: too much of it is damaged: {tally.damaged_packets} of "
                    f"{planned} packets so far",
                    hint="copy it again, or repair it",
                ) from error
            return []
        if frames:
            tally.errors_in_a_row = 0
            tally.decoded_frames += len(frames)
            tally.patched_frames += sum(frame.is_corrupt for frame in frames)
        return frames

    def _changed(self) -> InputError:
        return InputError(
            "input.changed",
            f"{self._origin.shown}: changed while it was read",
            hint="wait until it is whole, then try again",
            retryable=True,
        )

    def _check_memory(self) -> None:
        """Tells a frame lost to damage from one lost to memory, of which FFmpeg may say nothing."""
        try:
            bytearray(_PICTURES_IN_RESERVE * _BYTES_PER_PIXEL * self._coded_pixels)
        except MemoryError as error:
            raise out_of_memory(self._origin.shown) from error

    def _note_size(self, before: tuple[int, int], frame: VideoFrame, tally: Tally) -> None:
        if before == (0, 0) or any(w.code == "media.size_changes" for w in tally.warnings):
            return
        message = (
            f"pictures change from {before[0]}x{before[1]} to {frame.width}x{frame.height} px; "
            "each is resized to the planned size"
        )
        tally.warnings += (MediaWarning("media.size_changes", message),)


class _Thinner:
    """Says which decoded pictures become looks."""

    def __init__(self, index: Index, size: LookSize) -> None:
        self._times = index.times
        self._keyframes = set(index.keyframes)
        self._least_ticks = math.ceil(size.every / index.time_base)
        self._last = -1

    def wants(self, rank: int, depth: Depth) -> bool:
        if rank <= self._last:
            return False
        if depth == "references" and self._last >= 0 and rank not in self._keyframes:
            ticks = self._times[rank] - self._times[self._last]
            if ticks < self._least_ticks:
                return False
        self._last = rank
        return True


class _Matcher:
    """Hands decoded frames, which come by rising rank, to the wanted ones."""

    def __init__(
        self, wanted: Sequence[Wanted], resizer: Resizer, on_loss: Callable[[], None]
    ) -> None:
        self.lost = 0
        """Wanted frames that a neighbour stood in for."""
        self._on_loss = on_loss
        self._wanted = wanted
        self._place = 0
        self._resizer = resizer
        self._before: tuple[int, VideoFrame] | None = None

    @property
    def pending(self) -> Sequence[Wanted]:
        """What has not been delivered yet."""
        return self._wanted[self._place :]

    @property
    def done(self) -> bool:
        """Whether everything has been delivered."""
        return self._place == len(self._wanted)

    def offer(self, rank: int, frame: VideoFrame) -> Iterator[Picture]:
        """Takes the next frame, and delivers what it settles.

        A wanted frame that was passed by is lost: the frame before stands in for it, or this one if
        there is none before.
        """
        if self._before is not None and rank <= self._before[0]:
            return
        while not self.done and self._wanted[self._place].rank <= rank:
            lost = self._wanted[self._place].rank < rank
            if lost:
                self.lost += 1
                self._on_loss()
            source = self._before if lost and self._before is not None else (rank, frame)
            yield self._deliver(*source)
        self._before = (rank, frame)

    def finish(self) -> Iterator[Picture]:
        """Delivers what lies behind the last frame that could be decoded."""
        while self._before is not None and not self.done:
            self.lost += 1
            yield self._deliver(*self._before)

    def _deliver(self, rank: int, frame: VideoFrame) -> Picture:
        want = self._wanted[self._place]
        self._place += 1
        return Picture(rank, self._resizer.resize(frame, want.width_px, want.height_px))
