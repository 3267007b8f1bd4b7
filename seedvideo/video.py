"""Open video file: facts, frame times, analysis and decoding of planned frames.

It is above `seedvideo.media`, as it runs the analysis of `seedvideo.sampler`. Times are exact
seconds.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias

from seedvideo import notebook
from seedvideo.arguments import (
    check_amount,
    check_int,
    check_kind,
    check_number,
    check_path,
    check_text,
)
from seedvideo.config import DEFAULT_LIMITS, AnalysisMethod, Limits, SamplingConfig
from seedvideo.errors import (
    ConfigError,
    DecodeError,
    PlanError,
    ResourceError,
    SeedVideoError,
)
from seedvideo.media.protocol import check_targets
from seedvideo.media.reader import DecoderName, StrategyName, VideoReader, open_video
from seedvideo.media.sharing import SharedSteps, not_picklable_error
from seedvideo.media.source import VideoInput, display_path
from seedvideo.media.types import Frame, MediaInfo, Target
from seedvideo.remote_options import DEFAULT_REMOTE, RemoteOptions
from seedvideo.sampler.analysis import Analysis, analyze
from seedvideo.sampler.analysis_cache import load_or_analyze
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import make_plan
from seedvideo.sampler.types import PlannedFrame
from seedvideo.utils.timecode import seconds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Frames: TypeAlias = Generator[tuple[PlannedFrame, Frame], None, None]
"""Pairs of a planned frame and the decoded one."""

ProgressCallback: TypeAlias = Callable[[float], None]
"""Receives the analysed fraction of a video, from 0 to 1."""

_PREVIEW_FRAMES: Final = 12
"""Number of frames of a video in a notebook."""

_ROUNDING_S: Final = Fraction(1, 10**6)
"""Maximum error of a float time: outputs are rounded to microseconds."""

_ROUNDING: Final = Fraction(1, 2**24)
"""The same as a fraction of the time: tensors hold floats of 32 bits by default."""


class Video:
    """An open video: its facts, its frame times, and the processes that decode it.

    Opening reads the header and the packet index, and decodes only the first frame, to read the
    orientation. Close the video, or use it in a ``with`` statement, to end its decode workers.
    Created by `open`.

    Threads and forked processes may share it, as they may a `VideoReader`; it cannot be pickled.

    Args:
        reader: reader of the file; this object closes it.
        source: the path as it was given.
        limits: upper bounds for this file.
        open_s: duration of opening, in seconds.
        cache: folder of cached analyses.
        progress: called repeatedly while the video is analysed.
    """

    def __init__(
        self,
        reader: VideoReader,
        *,
        source: str,
        limits: Limits,
        open_s: float,
        cache: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        self.reader = reader
        self.source = source
        self.limits = limits
        self.open_s = open_s
        self.cache = cache
        self.progress = progress
        self._analyses: dict[AnalysisMethod, Analysis] = {}

    @property
    def info(self) -> MediaInfo:
        """Return facts of the file: duration, display size, codec, warnings."""
        return self.reader.info

    @property
    def times(self) -> tuple[Fraction, ...]:
        """Return the presentation time of every frame, in exact seconds, strictly increasing."""
        return self.reader.times

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Return the indices into `times` of the keyframes."""
        return self.reader.keyframes

    def share_analyses(self, analyses: dict[AnalysisMethod, Analysis]) -> None:
        """Use, and extend, the analyses of another `Video` of the same file."""
        self._analyses = analyses

    def analysis(self, method: AnalysisMethod = "auto") -> Analysis:
        """Analyse the video, once per method.

        Args:
            method: analysis depth: ``packets``, ``auto``, ``fast`` or ``full``.

        Raises:
            ConfigError: if the method is unknown.
            MediaError: if the file is too damaged.
            DecodeError: if decoding times out or crashes the decode worker.
            OutputError: if the analysis cannot be written to the cache.
        """
        check_text("method", method)
        # Threads that need the same analysis wait for it, as a new pass would end the current one.
        with self.reader.lock:
            if method not in self._analyses:
                self._analyses[method] = self._analyze(method)
            return self._analyses[method]

    def _analyze(self, method: AnalysisMethod) -> Analysis:
        reader, cache, progress = self.reader, self.cache, self.progress
        try:
            if cache is None:
                return analyze(reader, method=method, progress=progress)
            return load_or_analyze(reader, method=method, folder=cache, progress=progress)
        except DecodeError as error:
            if error.code != "decode.timeout":
                raise
            raise DecodeError(
                error.code,
                error.message,
                hint="analyse less: analysis packets decodes nothing, policy uniform needs no"
                " analysis",
                retryable=error.retryable,
            ) from error

    def frames(self, plan: Plan) -> Frames:
        """Decode the frames of a plan in order of time, and yield each with its planned frame.

        Frames are decoded ahead in a small buffer. Leaving the loop, or calling ``close``, stops
        decoding. Pixels are uint8; the model converts them to floats batch by batch.

        Raises:
            PlanError: ``plan.invalid`` if the plan belongs to another video.
            MediaError: if the file is too damaged.
            DecodeError: if decoding times out or crashes the decode worker.
        """
        check_kind("plan", plan, Plan, "a plan, as seedvideo.plan returns it")
        times = self.times
        for planned in plan.frames:
            index = bisect_left(times, planned.pts)
            if index == len(times) or times[index] != planned.pts:
                raise PlanError(
                    "plan.invalid",
                    f"the plan belongs to another video: this one has no frame at {planned.pts} s",
                )
        return SharedSteps(self._frames(plan), self.reader.lock, display_path(self.source))

    def _frames(self, plan: Plan) -> Frames:
        with closing(iter_planned_frames(self.reader, [plan])) as steps:
            for _, planned, frame in steps:
                yield planned, frame

    def frames_at(
        self,
        times: "Sequence[float | Fraction] | npt.NDArray[Any]",
        *,
        width_px: int | None = None,
        height_px: int | None = None,
    ) -> "npt.NDArray[np.uint8]":
        """Decode the frame that is shown at each time, without a plan.

        The frame shown at a time is the last one with ``pts <= time``; before the first frame it is
        the first one. A float counts as the time of a frame up to a microsecond after it, or up to
        the precision of a float of 32 bits, so the rounded times of outputs and tensors find their
        frames; fractions are exact. Each frame is decoded once. One that is lost to damage is
        replaced as in `frames`.

        Args:
            times: seconds from the start of the video, in any order, also repeatedly; at most its
                duration.
            width_px: width of the result; that of the video, or after ``height_px``, if None.
            height_px: height of the result; likewise.

        Returns:
            ``(N, height_px, width_px, 3)``, uint8, RGB: a frame for each time, in their order.

        Raises:
            ConfigError: ``config.invalid`` if a time is outside the video, or a size is not
                possible; an `OptionTypeError` if a value has a wrong type.
            ResourceError: ``system.out_of_memory`` if the result does not fit into memory.
            MediaError: if the file is too damaged.
            DecodeError: if decoding times out or crashes the decode worker.
        """
        import numpy as np  # Heavy.

        request = request_at(self, times, width_px=width_px, height_px=height_px)
        shape = (request.count, request.height_px, request.width_px, 3)
        try:
            pixels = np.empty(shape, np.uint8)
        except MemoryError as error:
            raise too_many_frames_error(shape) from error
        with closing(iter_frames_at(self, request)) as steps:
            for rows, frame in steps:
                pixels[rows] = frame.pixels
        return pixels

    def close(self) -> None:
        """End the decode workers. Closing twice is allowed."""
        self.reader.close()

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

    def _repr_html_(self) -> str:
        """Render facts and some frames, with their times and tokens, for a notebook."""
        info = self.info
        try:
            preview = self._contact_sheet_html()
        except SeedVideoError as error:  # A closed or damaged video still has facts.
            preview = f"<div>{notebook.text(error)}</div>"
        return notebook.card(
            PurePath(self.source).name or self.source,
            [
                f"{seconds(info.duration):.3f} s",
                f"{info.width_px}x{info.height_px} px",
                info.codec,
                f"{len(self.times):,} frames",
                *(f"{warning.code}: {warning.message}" for warning in info.warnings),
            ],
            preview,
        )

    def _contact_sheet_html(self) -> str:
        from seedvideo.sampler.contact_sheet import contact_sheet  # Heavy: draws a picture.

        few = make_plan(
            self.info,
            self.times,
            source=self.source,
            sampling=SamplingConfig(policy="uniform", max_frames=_PREVIEW_FRAMES),
        )
        frames = [frame for _, frame in self.frames(few)]
        return notebook.picture(contact_sheet(frames, few), alt="frames of the video")

    def __repr__(self) -> str:
        info = self.info
        return (
            f"Video({self.source!r}, {seconds(info.duration):.1f} s,"
            f" {info.width_px}x{info.height_px} px, {len(self.times)} frames)"
        )


def open(
    path: VideoInput,
    *,
    decoder: DecoderName = "pyav",
    limits: Limits = DEFAULT_LIMITS,
    root: Path | None = None,
    source_fps: Fraction | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: ProgressCallback | None = None,
    workers: int | None = None,
    remote: RemoteOptions = DEFAULT_REMOTE,
) -> Video:
    """Open one video file and read its header and packet index.

    Args:
        path: a regular file; or an address (``s3://``, ``gs://``, ``az://``, ``https://``,
            ``hf://``) or a clip in a container (``clips.tar::a.mp4``), which are first copied to an
            unnamed temporary file; or the bytes of a video; or a file open in binary mode, whose
            remaining bytes are copied likewise.
        decoder: decoding library.
        limits: upper bounds; a file above one is rejected before any frame is decoded.
        root: folder that must contain the file, links followed.
        source_fps: frame rate of a raw stream without timestamps.
        cache: folder of cached analyses, which later calls reuse.
        progress: called during the analysis with the analysed fraction, from 0 to 1. The analysis
            can take as long as decoding the complete video. An exception ends it.
        workers: maximum number of decode processes; the result does not depend on it. If None, as
            many as processors, and fewer for little work. Use 1 to process many videos at once.
        remote: how an address is reached.

    Raises:
        InputError: if the file does not exist or may not be opened; an `InputTypeError`, which is a
            ``TypeError`` too, for any other type of value.
        MediaError: if the file is not a usable video.
    """
    check_number("source_fps", source_fps)
    check_path("root", root)
    check_path("cache", cache)
    started = perf_counter()
    check_kind("limits", limits, Limits, "seedvideo.Limits")
    check_kind("remote", remote, RemoteOptions, "seedvideo.RemoteOptions")
    with ExitStack() as stack, ExitStack() as download:
        if root is None and _may_need_fetch(path):
            from seedvideo.remote.fetching import fetched

            path = download.enter_context(fetched(path, remote, limits=limits))
        reader = open_video(
            path, decoder=decoder, limits=limits, root=root, fps=source_fps, workers=workers
        )
        stack.enter_context(reader)
        _ = reader.info  # read now, so that an unusable file is rejected here
        stack.pop_all()
    open_s = perf_counter() - started
    folder = None if cache is None else Path(cache)
    return Video(
        reader,
        source=reader.name,
        limits=limits,
        open_s=open_s,
        cache=folder,
        progress=progress,
    )


def _may_need_fetch(path: VideoInput) -> bool:
    """Return whether the modules that fetch must be loaded."""
    return isinstance(path, str | os.PathLike) and any(
        mark in os.fsdecode(path) for mark in ("://", "::")
    )


class FrameSource(Protocol):
    """An open video, such as a `seedvideo.media.VideoReader`."""

    def frames(
        self, targets: Sequence[Target], *, strategy: StrategyName = "auto"
    ) -> Generator[Frame, None, None]:
        """Decode one frame for each target, in order."""
        ...


def iter_planned_frames(
    reader: FrameSource, plans: Sequence[Plan], *, strategy: StrategyName = "auto"
) -> Generator[tuple[int, PlannedFrame, Frame], None, None]:
    """Decode the frames of one or several plans of a video in one pass, in order of time.

    If the planned frame is damaged, a neighbour replaces it, and the ``pts`` of the decoded frame
    differs. A neighbour is yielded only once per plan, so times strictly increase. There may be
    fewer frames than planned, never more.

    Args:
        reader: an open video.
        plans: plans of that video, in order of time and without overlap.
        strategy: how the reader reaches the frames; the result does not depend on it.

    Yields:
        The index of the plan, the planned frame and the decoded one.
    """
    wanted = [(index, planned) for index, plan in enumerate(plans) for planned in plan.frames]
    targets = [target for plan in plans for target in plan.targets()]
    last: tuple[int, Fraction] | None = None
    with closing(reader.frames(targets, strategy=strategy)) as decoded:
        for (index, planned), frame in zip(wanted, decoded, strict=True):
            if last is None or index != last[0] or frame.pts > last[1]:
                last = index, frame.pts
                yield index, planned, frame


@dataclass(frozen=True)
class FramesAtRequest:
    """The frames shown at some times, each to be decoded once.

    Args:
        targets: the different frames, in order of time.
        rows: for each of them the positions in the result, in order.
        count: number of times.
        width_px: width of the frames.
        height_px: height of the frames.
    """

    targets: tuple[Target, ...]
    rows: tuple[list[int], ...]
    count: int
    width_px: int
    height_px: int


def request_at(
    video: Video,
    times: "Sequence[float | Fraction] | npt.NDArray[Any]",
    *,
    width_px: int | None,
    height_px: int | None,
) -> FramesAtRequest:
    """Find the frames that are shown at times. Arguments and errors are those of `frames_at`."""
    values = times.tolist() if hasattr(times, "tolist") else times
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        check_kind("times", values, list, "a list of times in seconds")
    width_px, height_px = _output_size(video, width_px, height_px)
    check_targets([Target(Fraction(0), width_px, height_px)], video.limits)
    shown = video.times
    last_s = max(video.info.duration, shown[-1])
    rows: dict[int, list[int]] = {}
    for row, value in enumerate(values):
        time = _exact_time(f"times[{row}]", value, last_s)
        rows.setdefault(max(bisect_right(shown, time) - 1, 0), []).append(row)
    return FramesAtRequest(
        targets=tuple(Target(shown[index], width_px, height_px) for index in sorted(rows)),
        rows=tuple(rows[index] for index in sorted(rows)),
        count=len(values),
        width_px=width_px,
        height_px=height_px,
    )


def iter_frames_at(
    video: Video, request: FramesAtRequest
) -> Generator[tuple[list[int], Frame], None, None]:
    """Decode each frame of a request once, and yield it with its positions in the result.

    Other threads wait until the pass has ended, as a new one would end it.
    """
    with video.reader.lock, closing(video.reader.frames(request.targets)) as decoded:
        yield from zip(request.rows, decoded, strict=True)


def too_many_frames_error(shape: Sequence[int]) -> ResourceError:
    """Return the error for frames that do not fit into memory."""
    size = "x".join(map(str, shape))
    return ResourceError(
        "system.out_of_memory",
        f"{shape[0]:,} frames of shape {size} do not fit into memory",
        hint="take fewer frames at once, or give a smaller width_px",
    )


def _exact_time(name: str, value: Any, last_s: Fraction) -> Fraction:
    """Return a time as a fraction, a float rounded up; check that it is inside the video."""
    check_amount(name, value)
    is_exact = isinstance(value, int | Fraction)
    number = value if is_exact else float(value)
    if not 0 <= number <= last_s + _max_rounding_s(last_s):
        raise ConfigError(
            "config.invalid",
            f"{name} is {value} s, expected 0 to {seconds(last_s):g} s, the end of the video",
        )
    time = Fraction(number)
    return time if is_exact else time + _max_rounding_s(time)


def _max_rounding_s(time: Fraction) -> Fraction:
    return max(_ROUNDING_S, _ROUNDING * time)


def _output_size(video: Video, width_px: int | None, height_px: int | None) -> tuple[int, int]:
    """Return width and height of a result; a side that is None keeps the aspect ratio."""
    for name, side in (("width_px", width_px), ("height_px", height_px)):
        check_int(name, side)
        if side is not None and side < 1:
            raise ConfigError("config.invalid", f"{name} is {side}, expected at least 1")
    info = video.info
    if height_px is None:
        if width_px is None:
            return info.width_px, info.height_px
        return width_px, max(1, round(Fraction(info.height_px * width_px, info.width_px)))
    if width_px is None:
        width_px = max(1, round(Fraction(info.width_px * height_px, info.height_px)))
    return width_px, height_px
