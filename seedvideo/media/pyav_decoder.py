"""PyAV decoder: requested frames and thumbnails of one file, sequentially or by seeks.

Work is planned in runs: packets from a keyframe to just behind the last requested one, each run
decoded by itself. If frames cannot be skipped in a run, it is decoded again in full
(`CannotSkip`). If seeks are not reliable, `UnreliableSeek` makes the reader request a pass without
them. If damage removed a requested frame, the nearest earlier decodable one replaces it, or else
the next one. Runs are grouped into small chunks that several processes decode in parallel: small,
so that an idle process finds work and results waiting for their turn need little memory.

Memory holds two native frames, the current one and the one before it; in files with damage or wrong
times up to 32 more wait for their turn. Runs in the decode process only.

Separate from `seedvideo.media.worker`, which would exceed 500 lines with it.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from av.video.frame import VideoFrame

from seedvideo.errors import InputError, MediaError
from seedvideo.media.cropping import Crop
from seedvideo.media.demuxer import PacketTable, SourceSpec
from seedvideo.media.frame_selection import (
    CannotSkip,
    FrameMatcher,
    IndexedFrame,
    InterlacedFieldsFound,
    NoEarlierFrame,
    PacketRun,
    TemporalLayerFound,
    plan_runs,
    plan_thumbnail_runs,
    split_spans,
)
from seedvideo.media.gop_decoder import GopDecoder, UnreliableSeek
from seedvideo.media.index import Index
from seedvideo.media.resize import Orientation, Resizer
from seedvideo.media.source import changed_error
from seedvideo.media.types import (
    FRAME_KINDS,
    SKIPPABLE_CODECS,
    UNBOUNDED,
    DecodeStats,
    FrameRequest,
    Picture,
    Strategy,
    Thumbnail,
    ThumbnailSpan,
    ThumbnailSpec,
)

_MIN_CHUNK_PACKETS: Final = 30
"""Minimum packets of a chunk: far more work than a message."""

_MIN_CHUNK_BYTES: Final = 4 << 20
"""Bytes of results from which a chunk may end before it has those packets."""


@dataclass(frozen=True)
class WorkChunk:
    """Consecutive runs that one process decodes.

    Args:
        end: number of requests that this chunk and those before it serve.
        end_frame: frame index from which the next chunk yields frames.
        packets: packets to decode.
    """

    end: int
    end_frame: int
    packets: int


def split_runs(
    index: Index, runs: Sequence[PacketRun], bytes_of: Callable[[int], int]
) -> list[WorkChunk]:
    """Group runs into chunks.

    Args:
        index: index of the stream.
        runs: runs in order.
        bytes_of: returns the size of the result of a request, by its position.
    """
    chunks: list[WorkChunk] = []
    asked = packets = size_bytes = 0
    for run in runs:
        start = index.frame_of_packet[run.first]
        # A chunk cannot end at a hidden keyframe, which has no frame index; a run that is the
        # first to serve no request continues the one before.
        may_cut = start >= 0 and run.asked > 0
        if may_cut and (packets >= _MIN_CHUNK_PACKETS or size_bytes >= _MIN_CHUNK_BYTES):
            chunks.append(WorkChunk(asked, start, packets))
            packets = size_bytes = 0
        size_bytes += sum(bytes_of(position) for position in range(asked, asked + run.asked))
        asked += run.asked
        packets += min(run.end, len(index.frame_of_packet)) - run.first
    return [*chunks, WorkChunk(asked, UNBOUNDED, packets)] if runs else []


_FRAME_PER_PACKET_CODECS: Final = ("vp8", "vp9", "av1")
"""Codecs whose packets hold complete pictures."""


@dataclass(frozen=True)
class _PassContext:
    """Requested frames and settings of a pass."""

    frame_indices: tuple[int, ...]
    strategy: Strategy
    heartbeat: Callable[[], None]
    stats: DecodeStats


class PyavDecoder:
    """Decoder of one file with PyAV (see `seedvideo.media.types.Decoder`)."""

    def __init__(
        self,
        spec: SourceSpec,
        index: Index,
        table: PacketTable,
        orientation: Orientation,
        crop: Crop | None = None,
    ) -> None:
        self._spec = spec
        self._index = index
        self._orientation = orientation
        self._crop = crop
        self._runs = GopDecoder(spec, index, table)
        self._run = PacketRun(0, 0)
        self._has_fields = False
        self._run_mode: bool | None = None

    def close(self) -> None:
        """Close the file, so that its position may move; the next pass opens it again."""
        self._runs.close()

    def split(self, wanted: Sequence[FrameRequest], *, strategy: Strategy) -> list[WorkChunk]:
        """Split a pass into chunks, each of which is a pass that yields the same frames."""
        runs = self._frame_runs(wanted, strategy=strategy)
        return split_runs(
            self._index,
            runs,
            lambda position: 3 * wanted[position].width_px * wanted[position].height_px,
        )

    def split_thumbnails(
        self, spans: Sequence[ThumbnailSpan], size: ThumbnailSpec
    ) -> tuple[list[ThumbnailSpan], list[WorkChunk]]:
        """Split thumbnail spans, and the pass over them into chunks with the same thumbnails."""
        cut = split_spans(self._index, spans)
        thumbnail_bytes = size.width_px * size.height_px * 3 // 2
        runs = plan_thumbnail_runs(self._index, cut)
        return cut, split_runs(
            self._index,
            runs,
            lambda position: (cut[position].end - cut[position].first) * thumbnail_bytes,
        )

    def pictures(
        self,
        wanted: Sequence[FrameRequest],
        *,
        strategy: Strategy,
        heartbeat: Callable[[], None],
        stats: DecodeStats,
    ) -> Iterator[Picture]:
        """Yield one picture for each request; see `Decoder`.

        Raises:
            UnreliableSeek: if the remaining frames need a pass without seeks.
        """
        matcher = FrameMatcher(
            wanted, Resizer(self._orientation, self._crop, stats.warn), self._check_loss
        )
        runs = self._frame_runs(wanted, strategy=strategy)
        _note_planned(runs, self._index, stats)
        context = _PassContext(
            tuple(each.frame_index for each in wanted), strategy, heartbeat, stats
        )
        self._run_mode = None
        for run in runs:
            matcher.start_run(run.asked)
            yield from self._run_pictures(run, matcher, context)
        stats.lost_frames += matcher.lost

    def _run_pictures(
        self, run: PacketRun, matcher: FrameMatcher, context: _PassContext
    ) -> Iterator[Picture]:
        """Yield the requested frames of a run, with skipped frames if possible, else without.

        Each run is decided by itself, so that its result does not depend on earlier runs.
        """
        stats = context.stats
        may_skip = not self._has_fields and not self._index.has_fields
        skips_frames = (
            self._runs.codec in SKIPPABLE_CODECS and may_skip and not self._index.has_no_timestamps
        )
        while not matcher.run_done:
            before = replace(stats)
            try:
                yield from self._decode_run(run, matcher, context, skips_frames=skips_frames)
            except CannotSkip as error:
                # The rest is repeated from the keyframe on; damage is counted then.
                stats.reset_damage(before)
                if isinstance(error, TemporalLayerFound):
                    self._runs.set_top_layer(error.layer)
                else:
                    skips_frames = False
                    self._has_fields |= isinstance(error, InterlacedFieldsFound)
                self._run_mode = None
            except NoEarlierFrame:
                stats.reset_damage(before)
                matcher.set_substitute(
                    self._nearest_decodable(matcher.pending[0].frame_index, context)
                )
            except UnreliableSeek as error:
                if context.strategy == "sequential":
                    raise self._changed_error() from error
                raise

    def _decode_run(
        self, run: PacketRun, matcher: FrameMatcher, context: _PassContext, *, skips_frames: bool
    ) -> Iterator[Picture]:
        """Decode a run from its beginning; yield its remaining requests."""
        if self._run_mode != skips_frames:
            wanted = context.frame_indices if skips_frames else None
            self._runs.begin(
                strategy=context.strategy,
                heartbeat=context.heartbeat,
                stats=context.stats,
                wanted=wanted,
            )
            self._run_mode = skips_frames
        self._run = run
        matcher.restart_run()
        for frame_index, frame in self._runs.frames(run):
            if skips_frames and matcher.has_passed(frame_index):
                self._runs.check_memory()
                raise CannotSkip
            yield from matcher.push(frame_index, frame)
        if skips_frames and not matcher.run_done:
            self._runs.check_memory()
            raise CannotSkip
        yield from matcher.finish()

    def _frame_runs(self, wanted: Sequence[FrameRequest], *, strategy: Strategy) -> list[PacketRun]:
        frame_indices = [each.frame_index for each in wanted]
        spare = int(self._runs.codec not in (*SKIPPABLE_CODECS, *_FRAME_PER_PACKET_CODECS))
        return plan_runs(self._index, frame_indices, strategy=strategy, spare=spare)

    def _check_loss(self) -> None:
        """Check for causes of a lost frame other than damage.

        Raises:
            DecodeError: if memory is exhausted.
            UnreliableSeek: if a pass without seeks may yield the frame.
        """
        self._runs.check_memory()
        if self._runs.seek_is_uncertain(self._run):
            self._runs.close()
            raise UnreliableSeek

    def _nearest_decodable(self, frame_index: int, context: _PassContext) -> IndexedFrame:
        """Search other runs for the nearest frame before a lost one, or else after it.

        Raises:
            MediaError: if no frame of the file can be decoded.
        """
        self._run_mode = None
        # This damage is counted when it affects a requested frame.
        searched = DecodeStats()
        found = self._nearest_before(frame_index, context.heartbeat, searched)
        found = found or self._first_after(frame_index, context.heartbeat, searched)
        if found is None:
            self._runs.check_memory()
            is_damaged = context.stats.damaged_packets or searched.damaged_packets
            code = "media.corrupt" if is_damaged else "media.no_frames"
            raise MediaError(code, f"{self._spec.display_name}: no frame could be decoded")
        return found

    def _nearest_before(
        self, frame_index: int, heartbeat: Callable[[], None], stats: DecodeStats
    ) -> IndexedFrame | None:
        index, keys = self._index, self._index.keyframe_packets
        if index.has_no_timestamps:
            return None
        position, back = keys.index(index.keyframe_before(frame_index)), 1
        while position > 0:
            found: IndexedFrame | None = None
            run = PacketRun(keys[max(position - back, 0)], keys[position])
            self._runs.begin(strategy="auto", heartbeat=heartbeat, stats=stats)
            try:
                for found_index, frame in self._runs.frames(run):
                    if found_index < frame_index:
                        found = (found_index, frame)
            except UnreliableSeek:
                found = None  # Its keyframe is broken too: search further back.
            if found is not None:
                return found
            position, back = max(position - back, 0), 4 * back
        return None

    def _first_after(
        self, frame_index: int, heartbeat: Callable[[], None], stats: DecodeStats
    ) -> IndexedFrame | None:
        ways: tuple[tuple[Strategy, int], ...] = (
            ("auto", self._index.keyframe_before(frame_index)),
            ("sequential", self._index.keyframe_packets[0]),
        )
        for strategy, first in ways:
            self._runs.begin(strategy=strategy, heartbeat=heartbeat, stats=stats)
            try:
                for found_index, frame in self._runs.frames(PacketRun(first, UNBOUNDED)):
                    if found_index > frame_index:
                        return found_index, frame
            except UnreliableSeek:
                continue
        return None

    def thumbnails(
        self,
        spans: Sequence[ThumbnailSpan],
        size: ThumbnailSpec,
        *,
        strategy: Strategy,
        skip_loop_filter: bool,
        after_frame: int,
        end_frame: int,
        heartbeat: Callable[[], None],
        stats: DecodeStats,
    ) -> Iterator[Thumbnail]:
        """Yield thumbnails of spans, and of the frames decoded on the way to them.

        Args:
            spans: spans with rising frame indices, not overlapping.
            size: size of the thumbnails, and minimum time between two.
            strategy: how to reach the frames.
            skip_loop_filter: whether to skip the deblocking filter, which is faster.
            after_frame: last frame index that was already yielded; -1 for none.
            end_frame: frame index from which no thumbnail is yielded.
            heartbeat: callback that is called often; may raise to stop.
            stats: statistics that the pass updates.

        Yields:
            Thumbnails with rising frame indices. Frames lost to damage are missing.

        Raises:
            UnreliableSeek: if the remaining frames need a pass without seeks.
            MediaError: if the file is too damaged.
            DecodeError: if memory is exhausted.
        """
        cut = split_spans(self._index, spans)
        if not cut:
            return
        decimator = _Decimator(self._index, size, after_frame)
        resizer = Resizer(self._orientation, self._crop, stats.warn)
        frames = self._frames_sequential if strategy == "sequential" else self._frames_seeking
        self._runs.begin(
            strategy=strategy, heartbeat=heartbeat, stats=stats, skip_loop_filter=skip_loop_filter
        )
        try:
            for run, frame_index, frame in frames(cut, stats):
                if frame_index < min(run.end_frame, end_frame) and decimator.keeps(
                    frame_index, run
                ):
                    yield Thumbnail(
                        frame_index, resizer.shrink(frame, size.width_px, size.height_px)
                    )
        except UnreliableSeek as error:
            if strategy == "sequential":
                raise self._changed_error() from error
            raise

    def _frames_seeking(
        self, spans: Sequence[ThumbnailSpan], stats: DecodeStats
    ) -> Iterator[tuple[PacketRun, int, VideoFrame]]:
        runs = plan_thumbnail_runs(self._index, spans)
        _note_planned(runs, self._index, stats)
        for run in runs:
            for frame_index, frame in self._runs.frames(run):
                yield run, frame_index, frame

    def _frames_sequential(
        self, spans: Sequence[ThumbnailSpan], stats: DecodeStats
    ) -> Iterator[tuple[PacketRun, int, VideoFrame]]:
        """Yield only the frames of spans, from one run from the start of the file."""
        deepest = max((span.frame_kinds for span in spans), key=FRAME_KINDS.index)
        whole = PacketRun(self._index.keyframe_packets[0], UNBOUNDED, deepest)
        _note_planned([whole], self._index, stats)
        keyframes = set(self._index.keyframes)
        parts = [PacketRun(0, 0, span.frame_kinds) for span in spans]
        for frame_index, frame in self._runs.frames(whole):
            position = bisect_right(spans, frame_index, key=lambda span: span.first) - 1
            is_inside = position >= 0 and frame_index < spans[position].end
            if is_inside and (spans[position].frame_kinds != "keys" or frame_index in keyframes):
                yield parts[position], frame_index, frame

    def _changed_error(self) -> InputError:
        return changed_error(self._spec.display_name, "changed while it was read")


def _note_planned(runs: Sequence[PacketRun], index: Index, stats: DecodeStats) -> None:
    planned = sum(min(run.end, len(index.frame_of_packet)) - run.first for run in runs)
    stats.planned_packets = max(stats.planned_packets, planned)


class _Decimator:
    """Selection of the decoded pictures that become thumbnails."""

    def __init__(self, index: Index, size: ThumbnailSpec, after_frame: int) -> None:
        self._times = index.times
        self._keyframes = set(index.keyframes)
        self._min_ticks = math.ceil(size.interval / index.time_base)
        self._last = after_frame
        self._run: PacketRun | None = None

    def keeps(self, frame_index: int, run: PacketRun) -> bool:
        if frame_index <= self._last:
            return False
        # The result of a run must not depend on the one before, which another process may decode.
        is_first, self._run = run is not self._run, run
        if run.frame_kinds == "references" and not is_first and frame_index not in self._keyframes:
            ticks = self._times[frame_index] - self._times[self._last]
            if ticks < self._min_ticks:
                return False
        self._last = frame_index
        return True
