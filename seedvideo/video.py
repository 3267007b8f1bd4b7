"""Open video file: facts, frame times, analysis and decoding of planned frames.

It is above `seedvideo.media`, as it runs the analysis of `seedvideo.sampler`. Times are exact
seconds.
"""

import os
from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path, PurePath
from time import perf_counter
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias

from seedvideo import notebook
from seedvideo.arguments import check_kind, check_number, check_path, check_text
from seedvideo.config import DEFAULT_LIMITS, AnalysisMethod, Limits, SamplingConfig
from seedvideo.errors import DecodeError, PlanError, SeedVideoError
from seedvideo.media.reader import DecoderName, StrategyName, VideoReader, open_video
from seedvideo.media.sharing import SharedSteps, not_picklable_error
from seedvideo.media.source import VideoInput, display_path
from seedvideo.media.types import Frame, MediaInfo, Target
from seedvideo.sampler.analysis import Analysis, analyze
from seedvideo.sampler.analysis_cache import load_or_analyze
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import make_plan
from seedvideo.sampler.types import PlannedFrame
from seedvideo.utils.timecode import seconds

Frames: TypeAlias = Generator[tuple[PlannedFrame, Frame], None, None]
"""Pairs of a planned frame and the decoded one."""

ProgressCallback: TypeAlias = Callable[[float], None]
"""Receives the analysed fraction of a video, from 0 to 1."""

_PREVIEW_FRAMES: Final = 12
"""Number of frames of a video in a notebook."""


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

    def analysis(self, method: AnalysisMethod = "fast") -> Analysis:
        """Analyse the video, once per method.

        Args:
            method: analysis depth: ``packets``, ``fast`` or ``full``.

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
) -> Video:
    """Open one video file and read its header and packet index.

    Args:
        path: a regular file, not a URL; or the bytes of a video; or a file open in binary mode. The
            remaining bytes of the latter are copied to an unnamed temporary file.
        decoder: decoding library.
        limits: upper bounds; a file above one is rejected before any frame is decoded.
        root: folder that must contain the file, links followed.
        source_fps: frame rate of a raw stream without timestamps.
        cache: folder of cached analyses, which later calls reuse.
        progress: called during the analysis with the analysed fraction, from 0 to 1. The analysis
            can take as long as decoding the complete video. An exception ends it.
        workers: maximum number of decode processes; the result does not depend on it. If None, as
            many as processors, and fewer for little work. Use 1 to process many videos at once.

    Raises:
        InputError: if the file does not exist or may not be opened; an `InputTypeError`, which is a
            ``TypeError`` too, for any other type of value.
        MediaError: if the file is not a usable video.
    """
    check_number("source_fps", source_fps)
    check_path("root", root)
    check_path("cache", cache)
    started = perf_counter()
    with ExitStack() as stack:
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
