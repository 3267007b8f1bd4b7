"""Video reader: media info, frame times, and frames at requested times.

All decoding happens in separate processes, started when first needed and killed when they are late,
so a hostile or broken file costs an error and nothing else. All times are exact seconds from the
video stream's own start. The calling process never loads FFmpeg.
"""

import math
import os
import weakref
from bisect import bisect_right
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeVar, get_args

from seedvideo.arguments import check_int, check_kind, check_number, check_text
from seedvideo.config import DEFAULT_LIMITS, Limits
from seedvideo.errors import ConfigError, DecodeError, suggestion
from seedvideo.media.protocol import (
    MALFORMED,
    PassStats,
    available_cpus,
    check_spans,
    check_targets,
    chunks_request,
    copy_request,
    count,
    frames_request,
    parse_chunks,
    parse_copied,
    parse_frame,
    parse_hash,
    parse_open_reply,
    parse_packet_sizes,
    parse_thumbnails,
    split_task,
    thumbnails_request,
    useful_workers,
)
from seedvideo.media.sharing import SharedLock, SharedSteps, not_picklable_error
from seedvideo.media.source import DigestName, Source, VideoInput, digest, open_source
from seedvideo.media.types import (
    DecodeReport,
    Frame,
    MediaInfo,
    PacketIndex,
    PacketRange,
    Strategy,
    Target,
    ThumbnailBatch,
    ThumbnailSpan,
    ThumbnailSpec,
    is_too_damaged,
    too_damaged_error,
)
from seedvideo.media.worker import MAX_COPY_BYTES_PER_MESSAGE, thumbnails_per_message
from seedvideo.media.worker_client import FINAL_MESSAGES, open_request, start
from seedvideo.media.worker_pool import Task, WorkerPool
from seedvideo.utils import ipc

_Read = TypeVar("_Read")
DecoderName = Literal["pyav", "decord"]
StrategyName = Strategy

_BYTES_PER_FRAME: Final = 16
"""Maximum bytes per frame in a reply about all frames: a time and a keyframe index, or a packet
size and position."""


def open_video(
    path: VideoInput,
    *,
    decoder: DecoderName = "pyav",
    limits: Limits = DEFAULT_LIMITS,
    root: Path | None = None,
    fps: Fraction | None = None,
    workers: int | None = None,
) -> "VideoReader":
    """Open a video file or a still image.

    Args:
        path: file name (URLs and other demuxer inputs are refused), bytes of a video, or a file
            opened in binary mode, which is read to its end.
        decoder: ``pyav``, or ``decord`` if it is installed. Media info and times are the same.
        limits: limits for size, time and memory.
        root: folder that must contain the file, after links are followed; None for any.
        fps: frames per second, used only for a stream without timestamps.
        workers: processes that may decode at the same time; the frames are the same. None: up to
            the number of processors, fewer if there is little to decode.

    Raises:
        InputError: if no regular file of this name exists inside the bounds.
        MediaError: if the file is not a video by its signature.
        ConfigError: if an option has an invalid value.
    """
    check_text("decoder", decoder)
    check_kind("limits", limits, Limits, "seedvideo.Limits")
    check_number("fps", fps)
    check_int("workers", workers)
    if decoder not in get_args(DecoderName):
        allowed = ", ".join(get_args(DecoderName))
        raise ConfigError(
            "config.invalid",
            f"decoder is {decoder!r}, expected one of {allowed}",
            hint=suggestion(decoder, get_args(DecoderName)),
        )
    if fps is not None and not 0 < fps < math.inf:
        raise ConfigError("config.invalid", f"fps is {fps}, expected a finite number above 0")
    if workers is not None and workers < 1:
        raise ConfigError("config.invalid", f"workers is {workers}, expected at least 1")
    if decoder == "decord":
        from seedvideo.media.decord_decoder import check_installed

        check_installed()
    source = open_source(path, limits=limits, root=root)
    return VideoReader(source, decoder=decoder, limits=limits, fps=fps, workers=workers)


def probe(
    path: VideoInput, *, limits: Limits = DEFAULT_LIMITS, root: Path | None = None
) -> MediaInfo:
    """Return the media info of one file. Raises as `open_video` and `VideoReader.info` do."""
    with open_video(path, limits=limits, root=root) as reader:
        return reader.info


class VideoReader:
    """An open video; made by `open_video`, used as a context manager.

    One pass over the frames is possible at a time: a new one ends the one before.

    Threads may share a reader; each step of a pass waits for those of other threads. A forked
    process may use it too, and starts its own decode processes; a pass that began before the fork
    ends there with ``decode.stopped``. A reader cannot be pickled: in another process the same name
    may be another file, so the program must open it there.
    """

    def __init__(
        self,
        source: Source,
        *,
        decoder: DecoderName,
        limits: Limits,
        fps: Fraction | None,
        workers: int | None,
    ) -> None:
        self._source = source
        # At once on `close`; else when the reader is garbage collected.
        self._release = weakref.finalize(self, source.close)
        self._decoder = decoder
        self._limits = limits
        self._workers = workers
        request = open_request(
            source, limits=limits, decoder=decoder, fps=None if fps is None else str(fps)
        )
        self._pool = WorkerPool(
            partial(start, source, limits, request),
            self._release,
            limits=limits,
            max_opening_bytes=_BYTES_PER_FRAME * limits.max_packets,
            display_name=source.display_name,
        )
        self._info: MediaInfo | None = None
        self._times: tuple[Fraction, ...] = ()
        self._keyframes: tuple[int, ...] = ()
        self._packets: PacketIndex | None = None
        self._report = DecodeReport()

    @property
    def lock(self) -> SharedLock:
        """Held during each call and each step; hold it to keep other threads out for longer."""
        return self._pool.lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> str:
        raise not_picklable_error("an open video")

    @property
    def name(self) -> str:
        """The file's name as it was given; ``<bytes>`` or ``<file>`` where it has none."""
        return self._source.name

    def __repr__(self) -> str:
        return f"VideoReader({self._source.display_name!r}, decoder={self._decoder!r})"

    @property
    def info(self) -> MediaInfo:
        """Media info of the file, from its header, its packets and one picture.

        Raises:
            MediaError: if the file is not a usable video.
            DecodeError: if reading it takes too long or crashes the decode process.
        """
        return self._open()

    @property
    def times(self) -> tuple[Fraction, ...]:
        """Presentation times of the frames, strictly increasing. Raises as `info` does."""
        self._open()
        return self._times

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Frame indices of the keyframes."""
        self._open()
        return self._keyframes

    @property
    def report(self) -> DecodeReport:
        """Report of the last finished pass."""
        return self._report

    def frames(
        self, targets: Sequence[Target], *, strategy: StrategyName = "auto"
    ) -> Generator[Frame, None, None]:
        """Decode the frames at target times, later ones ahead while earlier ones are used.

        Args:
            targets: targets sorted by time. The frame of a target is the last one presented at or
                before its time, or else the first frame.
            strategy: how frames are reached: by ``seek``, in one ``sequential`` pass, or ``auto``,
                whichever decodes less. The frames are the same.

        Yields:
            One frame per target, upright, in square pixels, of the target's size, with its exact
            time. If damage removed a frame, the nearest earlier decodable one replaces it, or else
            the next one, with its own time.

        Raises:
            ConfigError: if targets are not sorted or the strategy is unknown.
            MediaError: if the file is too damaged.
            DecodeError: if decoding takes too long, is stopped, or crashes the decode process.
        """
        if strategy not in get_args(StrategyName):
            allowed = ", ".join(get_args(StrategyName))
            raise ConfigError(
                "config.invalid",
                f"strategy is {strategy!r}, expected one of {allowed}",
                hint=suggestion(strategy, get_args(StrategyName)),
            )
        check_targets(targets, self._limits)
        return self._shared(self._frames(tuple(targets), strategy))

    @property
    def packets(self) -> PacketIndex:
        """Sizes of the packets of the frames, sorted by time. Decodes nothing.

        The first access ends a running pass.

        Raises:
            As `info` does.
        """
        with self.lock:
            if self._packets is None:
                message = self._ask(
                    Task({"type": "packets"}, b""),
                    max_body_bytes=_BYTES_PER_FRAME * self._limits.max_packets,
                )
                frames = len(self._times)
                self._packets = self._read(partial(parse_packet_sizes, message, frames=frames))
            return self._packets

    def packets_sha256(self, first: int = 0, end: int | None = None) -> str:
        """Return the SHA-256 of the packets of frames ``[first, end)``, in hexadecimal.

        Copies in other containers have the same (`seedvideo.media.packet_hash`). Ends a running
        pass.

        Raises:
            As `info` does.
        """
        header = {"type": "hash", "first": first, "end": len(self.times) if end is None else end}
        return self._read(partial(parse_hash, self._ask(Task(header, b""), max_body_bytes=0)))

    def thumbnails(
        self, spans: Sequence[ThumbnailSpan], size: ThumbnailSpec
    ) -> Generator[ThumbnailBatch, None, None]:
        """Decode thumbnails of spans, a few at a time, in one pass.

        Args:
            spans: spans with rising frame indices, not overlapping.
            size: size of the thumbnails, and minimum time between two of them.

        Yields:
            Thumbnails with rising frame indices, in stored orientation and pixel aspect. Frames
            decoded on the way to a span are included; frames lost to damage are missing. If any
            span is of ``references`` only, the deblocking filter is skipped.

        Raises:
            ConfigError: if spans are not sorted or end after the last frame.
            MediaError: if the file is too damaged.
            DecodeError: if decoding takes too long, is stopped, or crashes the decode process.
        """
        check_spans(spans, size, frames=len(self.times), limits=self._limits)
        return self._shared(self._thumbnails(tuple(spans), size))

    def copies(
        self, ranges: Sequence[PacketRange]
    ) -> Generator[tuple[bytearray, bool], None, None]:
        """Copy ranges of packets to MP4 files, in one pass; see `seedvideo.media.stream_copy`.

        Yields:
            Bytes of the files, one file after another, and whether they are the last of a file.

        Raises:
            MediaError: ``media.not_copyable`` if a range cannot be copied.
            DecodeError: if it takes too long, is stopped, or crashes the decode process.
        """
        return self._shared(self._copies(tuple(ranges)))

    def digest(self, algorithm: DigestName = "blake2b") -> str:
        """Return a hash of the file's bytes, in hexadecimal: of 32 bytes.

        Raises:
            DecodeError: ``decode.stopped`` if the reader is closed.
        """
        with self.lock:
            self._check_open()
            descriptor = self._source.reopen()
        try:
            return digest(descriptor, algorithm)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Kill the decode processes and close the file."""
        self._pool.close()

    def _shared(self, steps: Generator[_Read, None, None]) -> SharedSteps[_Read]:
        return SharedSteps(steps, self.lock, self._source.display_name)

    def _frames(
        self, targets: Sequence[Target], strategy: StrategyName
    ) -> Generator[Frame, None, None]:
        times = self.times
        if not targets:
            return
        wanted = [
            (max(bisect_right(times, t.pts) - 1, 0), t.width_px, t.height_px) for t in targets
        ]
        task = frames_request(wanted, strategy)
        tasks, workers = [task], 1
        # One sequential pass cannot be split, and decord reads in one pass only.
        if strategy != "sequential" and self._decoder == "pyav":
            tasks, workers = self._split(task, asked=len(targets))
        most_bytes = 3 * max(t.width_px * t.height_px for t in targets)
        report, done = PassStats(), 0
        while done < len(targets):
            with closing(self._replies(tasks, workers, most_bytes, report, "picture")) as replies:
                for message in replies:
                    yield self._read(partial(parse_frame, message, targets[done], times))
                    done += 1
            # The rest, from the start of the file, if seeks failed.
            tasks, workers = [frames_request(wanted[done:], "sequential")], 1
        self._report = report.result()

    def _thumbnails(
        self, spans: Sequence[ThumbnailSpan], size: ThumbnailSpec
    ) -> Generator[ThumbnailBatch, None, None]:
        if not spans:
            return
        tasks, workers = self._split(thumbnails_request(spans, size, "auto"), asked=None)
        most = thumbnails_per_message(size.width_px, size.height_px)
        most_bytes = most * (8 + size.width_px * size.height_px * 3 // 2)
        report, last, is_done = PassStats(), -1, False
        while not is_done:
            with closing(
                self._replies(tasks, workers, most_bytes, report, "thumbnails")
            ) as replies:
                for message in replies:
                    frames = len(self._times)
                    read = partial(parse_thumbnails, message, size, after_frame=last, frames=frames)
                    thumbnails = self._read(read)
                    last = thumbnails.frame_indices[-1]
                    yield thumbnails
            is_done, report.is_trusted = report.is_trusted, True
            tasks, workers = [thumbnails_request(spans, size, "sequential", after_frame=last)], 1
        self._report = report.result()

    def _copies(
        self, ranges: Sequence[PacketRange]
    ) -> Generator[tuple[bytearray, bool], None, None]:
        report, most_bytes = PassStats(), MAX_COPY_BYTES_PER_MESSAGE
        tasks = [copy_request(ranges)] if ranges else []
        with closing(self._replies(tasks, 1, most_bytes, report, "copied")) as replies:
            for message in replies:
                yield self._read(partial(parse_copied, message))

    def _replies(
        self,
        tasks: Sequence[Task],
        workers: int,
        max_body_bytes: int,
        report: PassStats,
        kind: str,
    ) -> Generator[ipc.Message, None, None]:
        """Yield the replies to tasks, up to their end or an unreliable seek."""
        self._ensure_open()
        running = self._pool.run(tasks, workers=workers, max_body_bytes=max_body_bytes)
        with closing(running) as answers:
            for task in tasks:
                given = 0
                while (message := next(answers)).type == kind:
                    given += 1
                    if kind == "picture" and given > count(task):
                        break
                    yield message
                is_complete = kind != "picture" or given == count(task)
                if message.type == "untrusted":
                    is_complete = task.header["strategy"] != "sequential"
                if not is_complete or message.type not in FINAL_MESSAGES:
                    self._pool.reset()
                    raise self._protocol_error()
                self._add(report, message, task)
                if message.type == "untrusted":
                    return

    def _split(self, task: Task, *, asked: int | None) -> tuple[list[Task], int]:
        """Split a pass into tasks if several processes pay; return how many of these."""
        info = self.info
        most = self._workers or available_cpus()
        if most == 1 or asked == 1:
            return [task], 1
        # Three integers per chunk or span; there are no more of them than frames.
        message = self._ask(chunks_request(task), max_body_bytes=48 * len(self._times) + 48)
        chunks = self._read(partial(parse_chunks, message, asked=asked))
        if self._workers is None:
            pixels = info.width_px * info.height_px
            most = min(most, useful_workers(chunks.packets, frame_pixels=pixels))
        if most == 1 or len(chunks.ends) <= 1:
            return [task], 1
        return list(split_task(task, chunks)), most

    def _ask(self, task: Task, *, max_body_bytes: int) -> ipc.Message:
        with self.lock:
            self._ensure_open()
            return self._pool.ask(task, max_body_bytes=max_body_bytes)

    def _add(self, report: PassStats, message: ipc.Message, task: Task) -> None:
        """Add the statistics of a task; raise an error for too much damage."""
        self._read(partial(report.add, message))
        planned_packets = task.header["planned_packets"]
        if is_too_damaged(report.damaged_packets, planned_packets, self._limits):
            raise too_damaged_error(
                self._source.display_name, report.damaged_packets, planned_packets
            )

    def _read(self, read: Callable[[], _Read]) -> _Read:
        try:
            return read()
        except MALFORMED as error:
            self._pool.reset()
            raise self._protocol_error() from error

    def _open(self) -> MediaInfo:
        if self._info is None:
            self._ensure_open()
        if self._info is None:
            raise self._protocol_error()
        return self._info

    def _ensure_open(self) -> None:
        """Ensure that a process has opened the file."""
        with self.lock:
            self._check_open()
            if self._pool.first is not None:
                return
            answer = self._pool.open()
            read = partial(parse_open_reply, answer, path=self._source.name, limits=self._limits)
            facts = self._read(read)
            if self._info is None:
                self._times, self._keyframes = facts.times, facts.keyframes
                self._info = facts.info  # Last: other threads check it before they use the rest.

    def _check_open(self) -> None:
        if self._pool.is_closed:
            raise DecodeError(
                "decode.stopped", f"{self._source.display_name}: the reader is closed"
            )

    def _protocol_error(self) -> DecodeError:
        text = f"{self._source.display_name}: the decode process sent an invalid message"
        return DecodeError("decode.crashed", text, hint="report the file")
