"""One open video: what it is, when its frames are shown, what happens in it, and the way to them.

Knows no model and no task. Times are exact seconds.
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
"""Planned frames, each beside the one that was decoded."""

Progress: TypeAlias = Callable[[float], None]
"""Told how much of a video was looked at so far, from 0 to 1."""

_SHEET_FRAMES: Final = 12
"""Frames of a video that a notebook shows."""


class Video:
    """One open video: its facts and its frame times, and the processes that decode it.

    Opening reads the header and the packet index, and decodes the first picture alone, for what
    only a picture tells: which way is up. Close it, or use it in a
    ``with`` statement, so that its decoding processes go away. Made by `open`.

    Threads and forked processes may share it, as they may a `VideoReader`; it cannot be pickled.

    Args:
        reader: what reads the file; this object closes it.
        source: the path as it was given.
        limits: ceilings that hold for it.
        open_s: seconds that opening took.
        cache: folder in which analyses are kept.
        progress: called now and then while the video is analysed.
    """

    def __init__(
        self,
        reader: VideoReader,
        *,
        source: str,
        limits: Limits,
        open_s: float,
        cache: Path | None = None,
        progress: Progress | None = None,
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
        """Facts of the file: duration, display size, codec, warnings."""
        return self.reader.info

    @property
    def times(self) -> tuple[Fraction, ...]:
        """Presentation time of every frame, in exact seconds, strictly increasing."""
        return self.reader.times

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Indices into `times` of the frames from which decoding may begin."""
        return self.reader.keyframes

    def analysis(self, method: AnalysisMethod = "fast") -> Analysis:
        """What happens in the video, looked at once and remembered.

        Args:
            method: how closely to look: ``packets``, ``fast`` or ``full``.

        Raises:
            ConfigError: if the method is none of the three.
            MediaError: if the file is too damaged.
            DecodeError: if decoding takes too long or kills the decoding process.
            OutputError: if it cannot be kept where it should.
        """
        check_text("method", method)
        # Threads that need the same analysis wait for it instead of stopping each other's.
        with self.reader.lock:
            if method not in self._analyses:
                self._analyses[method] = self._analysed(method)
            return self._analyses[method]

    def _analysed(self, method: AnalysisMethod) -> Analysis:
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
                hint="look at less: the analysis packets decodes nothing, the policy uniform needs"
                " none",
                retryable=error.retryable,
            ) from error

    def frames(self, plan: Plan) -> Frames:
        """Decode a plan's frames: each beside the frame that was really decoded, in order of time.

        Later frames are decoded while earlier ones are used, and only a few wait. Leave the loop,
        or call ``close``, and nothing more is decoded. Pixels are bytes: to make them floats is
        for the model, batch by batch.

        Raises:
            PlanError: ``plan.invalid`` if the plan is of another video.
            MediaError: if the file is too damaged.
            DecodeError: if decoding takes too long or kills the decoding process.
        """
        check_kind("plan", plan, Plan, "a plan, as seedvideo.plan returns it")
        times = self.times
        for planned in plan.frames:
            place = bisect_left(times, planned.pts)
            if place == len(times) or times[place] != planned.pts:
                raise PlanError(
                    "plan.invalid",
                    f"the plan is of another video: this one has no frame at {planned.pts} s",
                )
        return SharedSteps(self._frames(plan), self.reader.lock, display_path(self.source))

    def _frames(self, plan: Plan) -> Frames:
        with closing(iter_planned_frames(self.reader, [plan])) as steps:
            for _, planned, frame in steps:
                yield planned, frame

    def close(self) -> None:
        """End the decoding processes. Closing twice is fine."""
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
        """Show the video in a notebook: its facts, and some frames with their times and tokens."""
        info = self.info
        try:
            shown = self._sheet()
        except SeedVideoError as error:  # A closed or damaged video still has facts to show.
            shown = f"<div>{notebook.text(error)}</div>"
        return notebook.card(
            PurePath(self.source).name or self.source,
            [
                f"{seconds(info.duration):.3f} s",
                f"{info.width_px}x{info.height_px} px",
                info.codec,
                f"{len(self.times):,} frames",
                *(f"{warning.code}: {warning.message}" for warning in info.warnings),
            ],
            shown,
        )

    def _sheet(self) -> str:
        from seedvideo.sampler.contact_sheet import contact_sheet  # Heavy: draws a picture.

        few = make_plan(
            self.info,
            self.times,
            source=self.source,
            sampling=SamplingConfig(policy="uniform", max_frames=_SHEET_FRAMES),
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
    progress: Progress | None = None,
    workers: int | None = None,
) -> Video:
    """Open one video file and read its header and packet index.

    Args:
        path: a regular file; never a URL. Or the bytes of a video, or a file that is open in
            binary mode: what is left to read of it is copied to a temporary file without a name.
        decoder: what reads it.
        limits: ceilings; a file above one is refused before any picture is decoded.
        root: folder that the file must lie in, links followed.
        source_fps: frames a second of a raw stream that carries no times.
        cache: folder in which analyses of the video are kept, and found again by later calls.
        progress: called with the share of the video that was looked at so far, from 0 to 1, while
            it is analysed, which can take as long as decoding all of it. What it raises ends the
            analysis.
        workers: processes that may decode it at the same time; what they give is the same. As many
            as there are processors if None, and fewer where little is to be decoded. One is best
            where many videos are worked on at the same time.

    Raises:
        InputError: if there is no such file, or it may not be opened; an `InputTypeError`, which is
            a ``TypeError`` too, if a video is given as anything else.
        MediaError: if it is not a video that can be used.
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
        _ = reader.info  # read now, so that a file that cannot be used is refused here
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

    The frame's own ``pts`` is the truth: it differs from the planned one where damage took the
    planned frame and a neighbour stands in. A neighbour that already stood in for another frame of
    the same plan is not given again, so the times of a plan are strictly increasing, and there may
    be fewer frames than planned, never more.

    Args:
        reader: an open video.
        plans: of that video; their times must follow one another.
        strategy: how the reader reaches the frames; the result is the same.

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
