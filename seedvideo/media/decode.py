"""PyAV as the decoder: packets in, wanted pictures out; one pass and seeks give equal results.

Work is planned in runs: stretches of packets that begin at a keyframe and end just behind the last
wanted packet. Between runs the decoder is drained and flushed, and the file is read on or sought.
Each packet is given its number as its time before it is decoded, so a decoded frame says which
packet it came from, whatever the file says of times. A seek is trusted only after the keyframe it
was meant for has been found by its own facts and has come out of the decoder; if not, what is left
is done by reading on from the start of the file.

Pictures that are neither wanted nor needed by others are left out where that changes nothing.
Memory holds two native frames, the current one and the one before it, which stands in when damage
has removed a wanted frame; and the few that wait until a picture that they lean on has come out.
Runs in the decoding process only.
"""

from __future__ import annotations  # av.Packet is generic for type checkers only

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
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
from seedvideo.media.lean import LayerFound, Leaving, NotLean
from seedvideo.media.matcher import Matcher
from seedvideo.media.packets import PacketTable
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
        self._top_layer = 0

    def pictures(
        self,
        wanted: Sequence[Wanted],
        *,
        strategy: Strategy,
        alive: Callable[[], None],
        tally: Tally,
    ) -> Iterator[Picture]:
        """Yields one picture for each wanted one; see the protocol."""
        matcher = Matcher(wanted, Resizer(self._orientation), self._check_memory)
        way, is_lean = strategy, True
        while True:
            before = replace(tally)
            try:
                yield from self._pass(matcher, way, alive, tally, is_lean=is_lean)
                break
            except NotLean as error:
                # What is left is done again from its keyframe on; damage is counted then.
                is_lean = isinstance(error, LayerFound)
                if isinstance(error, LayerFound):
                    self._top_layer = error.layer
                tally.damaged_packets = before.damaged_packets
                tally.patched_frames = before.patched_frames
                tally.errors_in_a_row = before.errors_in_a_row
            except SeekNotTrusted as error:
                if way == "sequential":
                    raise self._changed() from error
                way = "sequential"
        yield from matcher.finish()
        tally.lost_frames += matcher.lost
        if not matcher.done:
            self._check_memory()
        if not matcher.done:
            code = "media.corrupt" if tally.damaged_packets else "media.no_frames"
            raise MediaError(code, f"{self._origin.shown}: no frame could be decoded")

    def _pass(
        self,
        matcher: Matcher,
        strategy: Strategy,
        alive: Callable[[], None],
        tally: Tally,
        *,
        is_lean: bool,
    ) -> Iterator[Picture]:
        ranks = [w.rank for w in matcher.pending]
        runs = plan_runs(self._index, ranks, strategy=strategy)
        wanted = ranks if is_lean else None
        for rank, frame, _ in self._decode_runs(runs, strategy, alive, tally, wanted=wanted):
            if is_lean and matcher.misses(rank):
                self._check_memory()
                raise NotLean
            yield from matcher.offer(rank, frame)
            if matcher.done:
                return
        if is_lean:
            self._check_memory()
            raise NotLean

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
        *,
        wanted: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, VideoFrame, Depth]]:
        """Yields what runs give; where ``wanted`` is given, what nobody needs may be missing."""
        with open_container(self._origin) as container:
            stream = choose_stream(container, self._origin)
            is_rough = any(run.depth == "references" for run in runs)
            prepare_decoder(stream, self._origin, is_rough=is_rough)
            self._coded_pixels = stream.codec_context.width * stream.codec_context.height
            cursor = Cursor(container, stream, self._table, self._origin.shown)
            tally.planned_packets = sum(min(r.end, len(self._table)) - r.first for r in runs)
            leaving = None
            if wanted is not None:
                leaving = Leaving(stream, self._index, wanted, top_layer=self._top_layer)
            for run in runs:
                cursor.go_to(run.first, strategy=strategy, alive=alive)
                skip: Literal["NONREF", "DEFAULT"]
                skip = "NONREF" if run.depth == "references" else "DEFAULT"
                stream.codec_context.skip_frame = skip
                for rank, frame in self._decode_run(cursor, run, alive, tally, leaving):
                    yield rank, frame, run.depth

    def _decode_run(
        self,
        cursor: Cursor,
        run: Run,
        alive: Callable[[], None],
        tally: Tally,
        leaving: Leaving | None,
    ) -> Iterator[tuple[int, VideoFrame]]:
        frames = self._native_frames(cursor, run, alive, tally, leaving)
        if self._index.by_count:
            yield from self._rank_by_count(frames, cursor.stream.codec_context)
        elif leaving is None:
            yield from self._rank_by_number(frames, run, tally, None)
        else:
            ranked = self._rank_by_number(frames, run, tally, leaving)
            yield from leaving.settle(ranked, run)
        cursor.stream.codec_context.flush_buffers()

    def _native_frames(
        self,
        cursor: Cursor,
        run: Run,
        alive: Callable[[], None],
        tally: Tally,
        leaving: Leaving | None,
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Yields decoded frames and the numbers of their packets."""
        damaged_before, size = tally.damaged_packets, (0, 0)
        for packet in cursor.packets(run.end):
            alive()
            if leaving is not None and packet is not None:
                may_be_left_out = leaving.allows(packet)
                cursor.stream.codec_context.skip_frame = "NONREF" if may_be_left_out else "DEFAULT"
            frames = self._decode_packet(cursor.stream, packet, tally)
            if leaving is not None and tally.damaged_packets > damaged_before:
                self._check_memory()  # Now: a new pass begins with memory to spare.
                raise NotLean
            for frame in frames:
                if (frame.width, frame.height) != size:
                    check_size(frame.width, frame.height, self._origin)
                    self._note_size(size, frame, tally)
                    size = (frame.width, frame.height)
                number = frame.pts
                if number is not None and 0 <= number < len(self._index.rank_of):
                    yield number, frame

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
        self,
        frames: Iterator[tuple[int, VideoFrame]],
        run: Run,
        tally: Tally,
        leaving: Leaving | None,
    ) -> Iterator[tuple[int, VideoFrame]]:
        index, first_time = self._index, self._index.packet_times[run.first]
        jumped = run.first > index.keys[0]
        emitted, damaged_before = 0, tally.damaged_packets
        for number, frame in frames:
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
