"""Windows of a video that its shots give: bounded in length, and away from the cuts.

A window begins at the time of a frame and ends at that of the frame after its last one, or with the
video. So a window, a row that names it and a file cut from it hold the same frames. Times are exact
seconds; ``_s`` of options are seconds as they were written.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from seedvideo.config import AnalysisMethod, analysis_error
from seedvideo.errors import ConfigError, suggestion
from seedvideo.sampler.transitions import ShotChange
from seedvideo.utils.timecode import Span

if TYPE_CHECKING:
    from seedvideo.video import Video

LongShots: TypeAlias = Literal["stride", "truncate", "keep"]
"""What becomes of a shot above the maximum length: consecutive windows, its start, or all of it."""


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How shots become windows.

    Args:
        min_s: minimum length of a window in seconds; shorter ones are left out. 0 or more.
        max_s: maximum length of a window in seconds, above 0.
        overlap_s: seconds that consecutive windows of a long shot share, 0 or more, below
            ``max_s``; for ``stride`` only.
        crop_s: seconds to leave out on both sides of a cut, and of a dissolve or fade, which is
            left out whole, 0 or more: the ends of transitions are known to a fraction of a second.
        over: what becomes of a shot above the maximum length.
        analysis: depth of the analysis that finds the shots.

    Raises:
        ConfigError: ``config.invalid`` if a value is out of range, or two contradict each other.
    """

    min_s: float = 2.0
    max_s: float = 10.0
    overlap_s: float = 0.0
    crop_s: float = 0.25
    over: LongShots = "stride"
    analysis: AnalysisMethod = "fast"

    def __post_init__(self) -> None:
        for name in ("min_s", "overlap_s", "crop_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise _error(f"{name} is {getattr(self, name)}, expected 0 or more seconds")
        if not 0 < self.max_s < float("inf"):
            raise _error(f"max_s is {self.max_s}, expected a number of seconds above 0")
        if self.min_s > self.max_s:
            raise _error(f"min_s is {self.min_s:g}, above max_s {self.max_s:g}")
        if self.overlap_s >= self.max_s:
            raise _error(
                f"overlap_s is {self.overlap_s:g}, expected less than max_s {self.max_s:g}"
            )
        if self.over not in get_args(LongShots):
            allowed = ", ".join(get_args(LongShots))
            raise ConfigError(
                "config.invalid",
                f"over is {self.over!r}, expected one of {allowed}",
                hint=suggestion(self.over, get_args(LongShots)),
            )
        if self.overlap_s and self.over != "stride":
            raise _error(f"overlap_s can only be used with over 'stride', not {self.over!r}")
        if self.analysis not in get_args(AnalysisMethod):
            raise analysis_error(self.analysis)


DEFAULT_SPLIT: Final = SplitOptions()


@dataclass(frozen=True)
class ClipWindow:
    """One window of a video.

    Args:
        span: its time: from its first frame to the frame after its last one.
        shot: number of its shot among those of the complete video, from 1.
        shots: number of shots of the complete video.
        shot_span: time of its shot without gradual transitions; a clip cut at keyframes stays
            inside.
        frames: indices ``[first, end)`` of its frames.
    """

    span: Span
    shot: int
    shots: int
    shot_span: Span
    frames: range


@dataclass(frozen=True)
class VideoSplit:
    """The windows of one video.

    Args:
        windows: windows in order of time.
        short: number of shots, or rests of them, that are left out for their length.
        shots: number of shots of the complete video.
        notes: messages of the analysis.
    """

    windows: tuple[ClipWindow, ...]
    short: int
    shots: int
    notes: tuple[str, ...] = ()


def split_video(
    video: "Video",
    options: SplitOptions = DEFAULT_SPLIT,
    *,
    start_s: Fraction | None = None,
    end_s: Fraction | None = None,
) -> VideoSplit:
    """Find the shots of a video and the windows in them.

    Args:
        video: the open video.
        options: how shots become windows.
        start_s: start of the part to split; the start of the video if None.
        end_s: end of the part to split; the end of the video if None.

    Raises:
        MediaError: if the file is too damaged.
        DecodeError: if decoding times out or crashes the decode worker.
    """
    if video.info.is_image:
        return VideoSplit((), 0, 1, ("a still image has no clips",))
    analysis = video.analysis(options.analysis)
    found = split_shots(
        analysis.changes,
        video.times,
        options,
        duration=analysis.shots[-1].end,
        start_s=start_s,
        end_s=end_s,
    )
    return VideoSplit(found.windows, found.short, found.shots, analysis.notes)


def split_shots(
    changes: Sequence[ShotChange],
    times: Sequence[Fraction],
    options: SplitOptions,
    *,
    duration: Fraction,
    start_s: Fraction | None = None,
    end_s: Fraction | None = None,
) -> VideoSplit:
    """Divide shots into windows: first the maximum length applies, then the minimum.

    Args:
        changes: changes of shots, in order.
        times: presentation times of the video's frames, strictly increasing.
        options: how shots become windows.
        duration: end of the video.
        start_s: start of the part to split, which is not a cut; that of the video if None.
        end_s: end of the part to split; that of the video if None.
    """
    first_s, last_s = start_s or Fraction(0), duration if end_s is None else end_s
    crop, min_s = _exact(options.crop_s), _exact(options.min_s)
    starts = [Fraction(0), *(change.end for change in changes)]
    ends = [*(change.start for change in changes), duration]
    windows: list[ClipWindow] = []
    short = 0
    for number, (shot_start, shot_end) in enumerate(zip(starts, ends, strict=True), start=1):
        if shot_end <= first_s or shot_start >= last_s:
            continue
        start = max(first_s, shot_start + (crop if number > 1 else 0))
        end = min(last_s, shot_end - (crop if number < len(starts) else 0))
        parts = list(_divide(times, start, end, duration, options)) if start < end else []
        kept = [part for part in parts if part.duration >= min_s]
        short += max(1, len(parts)) - len(kept)
        windows += (
            ClipWindow(
                part,
                number,
                len(starts),
                Span(shot_start, shot_end),
                range(bisect_left(times, part.start), bisect_left(times, part.end)),
            )
            for part in kept
        )
    return VideoSplit(tuple(windows), short, len(starts))


def _divide(
    times: Sequence[Fraction],
    start: Fraction,
    end: Fraction,
    video_end: Fraction,
    options: SplitOptions,
) -> Iterator[Span]:
    """Yield the windows of ``[start, end)``, which lies inside a shot."""
    longest, overlap = _exact(options.max_s), _exact(options.overlap_s)
    first = bisect_left(times, start)
    while first < len(times) and times[first] < end:
        begin = times[first]
        is_long = end - begin > longest and options.over != "keep"
        limit = begin + longest if is_long else end
        stop = limit if limit >= video_end else times[bisect_right(times, limit) - 1]
        # A still frame may last longer than a window.
        yield Span(begin, stop if stop > begin else limit)
        if not is_long or options.over == "truncate":
            return
        first = max(first + 1, bisect_left(times, stop - overlap))


def _exact(value_s: float) -> Fraction:
    """Return an option exactly as it was written: 0.1 is 1/10."""
    return Fraction(str(value_s))


def _error(message: str) -> ConfigError:
    return ConfigError("config.invalid", message, hint="docs/guides/split.md lists the options")
