"""The public face of a video file: its facts, its frame times, and its frames at wanted times.

All decoding happens in one process beside this one, started when first needed and killed when it is
late, so a hostile or broken file costs an error and nothing else. All times are exact seconds from
the video stream's own start. Knows nothing of tokens, plans or models.
"""

import os
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar, get_args

from seedvideo.errors import ConfigError, DecodeError
from seedvideo.limits import DEFAULT_LIMITS, Limits
from seedvideo.media import wire
from seedvideo.media.answers import (
    NONSENSE,
    read_facts,
    read_looks,
    read_packet_sizes,
    read_report,
)
from seedvideo.media.child import Child, open_request
from seedvideo.media.decoder import LookSize, LookSpan, Strategy
from seedvideo.media.frames import DecodeReport, Frame, Looks, Packets, Target
from seedvideo.media.info import MediaInfo
from seedvideo.media.safety import Source, open_source
from seedvideo.media.worker import LOOKS_A_MESSAGE

_Read = TypeVar("_Read")
DecoderName = Literal["pyav", "decord"]
StrategyName = Strategy

_BYTES_PER_FRAME: Final = 16
"""Most that one frame adds to an answer about all: a time and a place among the keyframes, or a
size and a place in the file."""


def open_video(
    path: str | os.PathLike[str],
    *,
    decoder: DecoderName = "pyav",
    limits: Limits = DEFAULT_LIMITS,
    root: Path | None = None,
    fps: Fraction | None = None,
) -> "VideoReader":
    """Opens a video file or a still picture.

    Args:
        path: a file name; never a URL or anything else that a demuxer would understand.
        decoder: ``pyav``, or ``decord`` where it is installed. Facts and times are the same.
        limits: ceilings for size, time and memory.
        root: if given, a file outside this folder is refused, links followed.
        fps: frames a second, used only for a stream that has no times of its own.

    Raises:
        InputError: if there is no regular file of this name inside the bounds.
        MediaError: if the file is plainly not a video.
        ConfigError: if an option has a value that it cannot have.
    """
    if decoder not in get_args(DecoderName):
        allowed = ", ".join(get_args(DecoderName))
        raise ConfigError("config.invalid", f"decoder is {decoder!r}, expected one of {allowed}")
    if fps is not None and fps <= 0:
        raise ConfigError("config.invalid", f"fps is {fps}, expected above 0")
    if decoder == "decord":
        from seedvideo.media.decord_decoder import check_installed

        check_installed()
    source = open_source(path, limits=limits, root=root)
    return VideoReader(source, decoder=decoder, limits=limits, fps=fps)


def probe(
    path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS, root: Path | None = None
) -> MediaInfo:
    """Returns the facts of one file. Raises as `open_video` and `VideoReader.info` do."""
    with open_video(path, limits=limits, root=root) as reader:
        return reader.info


class VideoReader:
    """An open video; made by `open_video`, used as a context manager.

    One pass over the frames is possible at a time: a new one ends the one before.
    """

    def __init__(
        self, source: Source, *, decoder: DecoderName, limits: Limits, fps: Fraction | None
    ) -> None:
        self._source = source
        # At once on `close`; else when the reader is forgotten, after its process has ended.
        self._release = weakref.finalize(self, source.close)
        self._decoder = decoder
        self._limits = limits
        self._fps = fps
        self._child: Child | None = None
        self._waited_s = 0.0
        self._pass = 0
        self._pass_runs = False
        self._pass_bytes = 0
        self._info: MediaInfo | None = None
        self._times: tuple[Fraction, ...] = ()
        self._keyframes: tuple[int, ...] = ()
        self._packets: Packets | None = None
        self._report = DecodeReport()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"VideoReader({self._source.shown!r}, decoder={self._decoder!r})"

    @property
    def info(self) -> MediaInfo:
        """The file's facts, from its header, its packets and one picture.

        Raises:
            MediaError: if the file is not a video that can be used.
            DecodeError: if reading it takes too long or kills the decoding process.
        """
        return self._opened()

    @property
    def times(self) -> tuple[Fraction, ...]:
        """When each frame is presented, strictly increasing. Raises as `info` does."""
        self._opened()
        return self._times

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Places in `times` of the frames from which decoding may begin."""
        self._opened()
        return self._keyframes

    @property
    def report(self) -> DecodeReport:
        """What the last pass that ended has met."""
        return self._report

    def frames(
        self, targets: Sequence[Target], *, strategy: StrategyName = "auto"
    ) -> Iterator[Frame]:
        """Decodes the frames presented at wanted times.

        Args:
            targets: in order of time. The frame for a target is the last one that is presented at
                or before its time, or else the first one of all.
            strategy: how frames are reached: by ``seek``, in one ``sequential`` pass, or ``auto``,
                whichever decodes less. The frames are the same.

        Yields:
            One frame for each target, upright, in square pixels, of the target's size, with its own
            true time. Where damage removed a frame, the nearest earlier one that could be decoded
            stands in, or else the next one, with its own time.

        Raises:
            ConfigError: if targets are out of order or the strategy is unknown.
            MediaError: if the file is too damaged.
            DecodeError: if decoding takes too long, is stopped, or kills the decoding process.
        """
        if strategy not in get_args(StrategyName):
            allowed = ", ".join(get_args(StrategyName))
            message = f"strategy is {strategy!r}, expected one of {allowed}"
            raise ConfigError("config.invalid", message)
        if any(a.pts > b.pts for a, b in pairwise(targets)):
            raise ConfigError("config.invalid", "targets are not in order of time")
        for target in targets:
            if (
                max(target.width_px, target.height_px) > self._limits.max_side_px
                or target.width_px * target.height_px > self._limits.max_frame_pixels
            ):
                size = f"{target.width_px}x{target.height_px}"
                raise ConfigError("config.invalid", f"target size {size} is over the limits")
        return self._frames(tuple(targets), strategy)

    @property
    def packets(self) -> Packets:
        """Sizes of the packets that hold the frames, in order of time. Decodes nothing.

        Raises:
            As `info` does.
        """
        if self._packets is None:
            child = self._ready_child()
            child.send({"type": "packets"})
            limits = self._limits
            message = child.receive(
                within_s=limits.stall_timeout_s,
                max_body_bytes=_BYTES_PER_FRAME * limits.max_packets,
            )
            read = partial(read_packet_sizes, message, frames=len(self._times))
            self._packets = self._read(child, read)
        return self._packets

    def looks(self, spans: Sequence[LookSpan], size: LookSize) -> Iterator[Looks]:
        """Decodes small frames of spans, a few at a time, in one pass.

        Args:
            spans: by rising rank, not overlapping.
            size: of the small frames, and the least time between two of them.

        Yields:
            Looks by rising rank, as the picture is stored: not turned, pixels not made square.
            Frames that must be decoded on the way to a span are given too; frames that damage took
            away are missing. Where any span asks for ``references`` only, blocks are not smoothed.

        Raises:
            ConfigError: if spans are out of order or go beyond the last frame.
            MediaError: if the file is too damaged.
            DecodeError: if decoding takes too long, is stopped, or kills the decoding process.
        """
        ends = [span.end for span in spans]
        if any(end > span.first for end, span in zip(ends, spans[1:], strict=False)) or (
            ends and ends[-1] > len(self.times)
        ):
            raise ConfigError("config.invalid", "spans of looks are not in order of time")
        if size.width_px * size.height_px > self._limits.max_frame_pixels:
            raise ConfigError("config.invalid", "size of looks is over the limits")
        return self._looks(tuple(spans), size)

    def digest(self) -> str:
        """A hash of all of the file's bytes, in hexadecimal: BLAKE2b of 32 bytes."""
        return self._source.digest()

    def close(self) -> None:
        """Ends the decoding process, whatever it is doing, and closes the file."""
        self._end_child()
        self._release()

    def _frames(self, targets: Sequence[Target], strategy: StrategyName) -> Iterator[Frame]:
        times = self.times
        if not targets:
            return
        child = self._ready_child()
        wanted: list[int] = []
        for target in targets:
            rank = max(bisect_right(times, target.pts) - 1, 0)
            wanted += (rank, target.width_px, target.height_px)
        request = {"type": "pass", "strategy": strategy}
        most_bytes = 3 * max(t.width_px * t.height_px for t in targets)
        with self._running_pass(child, request, wanted, most_bytes) as number:
            for target in targets:
                message = self._answer(child, number, "picture")
                yield self._frame(message, target)
            self._finish(child, self._answer(child, number, "done"))

    def _looks(self, spans: Sequence[LookSpan], size: LookSize) -> Iterator[Looks]:
        if not spans:
            return
        child = self._ready_child()
        numbers: list[int] = []
        for span in spans:
            numbers += (span.first, span.end, wire.DEPTHS.index(span.depth))
        request = {
            "type": "looks",
            "width_px": size.width_px,
            "height_px": size.height_px,
            "every": str(size.every),
        }
        most_bytes = LOOKS_A_MESSAGE * (8 + size.width_px * size.height_px * 3 // 2)
        with self._running_pass(child, request, numbers, most_bytes) as number:
            last = -1
            while (message := self._answer(child, number, "looks", "done")).type == "looks":
                frames = len(self._times)
                read = partial(read_looks, message, size, after=last, frames=frames)
                looks = self._read(child, read)
                last = looks.ranks[-1]
                yield looks
            self._finish(child, message)

    @contextmanager
    def _running_pass(
        self, child: Child, request: dict[str, Any], numbers: list[int], most_bytes: int
    ) -> Iterator[int]:
        """Starts a pass and gives its number; ends it if it is left early."""
        self._pass += 1
        number = self._pass
        self._pass_bytes = most_bytes
        child.send(request, wire.pack_integers(numbers))
        self._pass_runs = True
        try:
            yield number
        finally:
            if number == self._pass and self._pass_runs:
                self._pass_runs = False
                if child.running:
                    child.stop_pass(max_body_bytes=self._pass_bytes)

    def _answer(self, child: Child, number: int, *kinds: str) -> wire.Message:
        if number != self._pass or not child.running:
            raise DecodeError(
                "decode.stopped",
                f"{self._source.shown}: decoding was stopped by a new pass or by closing",
                hint="finish one loop over frames before the next",
                retryable=True,
            )
        message = child.receive(
            within_s=self._limits.stall_timeout_s, max_body_bytes=self._pass_bytes
        )
        if message.type not in kinds:
            child.kill()
            raise self._nonsense()
        return message

    def _frame(self, message: wire.Message, target: Target) -> Frame:
        import numpy as np  # Late: the decoding process imports this package and needs none.

        rank = message.header.get("rank")
        shape = (target.height_px, target.width_px, 3)
        if (
            not isinstance(rank, int)
            or not 0 <= rank < len(self._times)
            or len(message.body) != shape[0] * shape[1] * 3
        ):
            raise self._nonsense()
        pixels = np.frombuffer(message.body, np.uint8).reshape(shape)
        return Frame(self._times[rank], pixels)

    def _finish(self, child: Child, message: wire.Message) -> None:
        self._pass_runs = False
        self._report = self._read(child, partial(read_report, message))

    def _read(self, child: Child, read: Callable[[], _Read]) -> _Read:
        try:
            return read()
        except NONSENSE as error:
            child.kill()
            raise self._nonsense() from error

    def _opened(self) -> MediaInfo:
        if self._info is None:
            self._ready_child()
        if self._info is None:
            raise self._nonsense()
        return self._info

    def _ready_child(self) -> Child:
        """Returns a process that waits for a request, starting one if there is none."""
        if not self._release.alive:
            raise DecodeError("decode.stopped", f"{self._source.shown}: the reader is closed")
        if self._child is not None and self._child.running:
            if self._pass_runs:
                self._pass_runs = False
                self._child.stop_pass(max_body_bytes=self._pass_bytes)
            if self._child.running:
                return self._child
        self._end_child()
        limits = self._limits
        child = self._child = Child(self._source, limits)
        child.waited_s = self._waited_s
        fps = None if self._fps is None else str(self._fps)
        child.send(open_request(self._source, limits=limits, decoder=self._decoder, fps=fps))
        answer = child.receive(
            within_s=limits.open_timeout_s, max_body_bytes=_BYTES_PER_FRAME * limits.max_packets
        )
        facts = self._read(child, partial(read_facts, answer, path=self._source.name))
        if self._info is None:
            self._info, self._times, self._keyframes = facts.info, facts.times, facts.keyframes
        return child

    def _end_child(self) -> None:
        if self._child is not None:
            self._waited_s = self._child.waited_s
            self._child.kill()
            self._child = None
            self._pass_runs = False

    def _nonsense(self) -> DecodeError:
        text = f"{self._source.shown}: the decoding process sent nonsense"
        return DecodeError("decode.crashed", text, hint="report the file")
