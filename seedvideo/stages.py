"""The stages that every task goes through: open, plan a part, decode; each of them timed.

Knows no task and no model but by geometry and text costs. Times are exact seconds.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from time import perf_counter

from seedvideo.arguments import check_int, check_kind, check_number, check_text
from seedvideo.media.source import VideoInput
from seedvideo.model.backends.base import Prices
from seedvideo.prepared import Shown, View
from seedvideo.sampler.analysis import Analysis, Method
from seedvideo.sampler.boundaries import Change, changes_of, frame_bounds
from seedvideo.sampler.knobs import Knobs
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import PolicyName, make_plan
from seedvideo.sampler.request import DecodeCosts, decode_costs
from seedvideo.utils.timecode import Span
from seedvideo.video import Video, open


class Stopwatch:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self._started = perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Count what happens inside to a stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self._stages[stage] = self._stages.get(stage, 0.0) + perf_counter() - started

    def spent_s(self, stage: str) -> float:
        """Seconds of one stage so far."""
        return self._stages.get(stage, 0.0)

    def timing_s(self, *, open_s: float) -> dict[str, float]:
        """Seconds by stage; the total is of everything, whoever opened the video."""
        outside_s = perf_counter() - self._started - sum(self._stages.values())
        total_s = sum(self._stages.values()) + max(outside_s, open_s)
        stages = {"open": open_s, **self._stages, "total": total_s}
        return {stage: round(spent_s, 4) for stage, spent_s in stages.items()}


def check_options(
    policy: object,
    budget_tokens: object,
    task: object,
    fps: object,
    knobs: object,
    analysis: object,
) -> None:
    """Check the types of a plan's options before any work begins; values are checked where used.

    Raises:
        OptionTypeError: ``config.type`` naming the option.
    """
    check_text("policy", policy)
    check_int("budget_tokens", budget_tokens)
    check_text("task", task)
    check_number("fps", fps)
    check_kind("knobs", knobs, Knobs, "a seedvideo.Knobs")
    check_text("analysis", analysis)


def check_model(model: object) -> None:
    """Raise `OptionTypeError` unless a value is a model, the name of one, or None."""
    if model is not None and not hasattr(model, "geometry"):
        check_kind("model", model, str, "a loaded model or the name of one")


@contextmanager
def opened(video: Video | VideoInput) -> Iterator[Video]:
    """The caller's open video as it is; a path opened now and closed after."""
    if isinstance(video, Video):
        yield video
    else:
        with open(video) as clip:
            yield clip


def looked_at(clip: Video, policy: PolicyName, method: Method) -> Analysis | None:
    """The analysis that a plan needs, made only where there is something to decide."""
    return clip.analysis(method) if policy == "adaptive" and len(clip.times) > 1 else None


def costs_of(clip: Video, policy: PolicyName) -> DecodeCosts | None:
    """What frames cost to decode, for the policy that asks: it has read the packets anyway."""
    if policy != "adaptive" or len(clip.times) == 1:
        return None
    return decode_costs(clip.reader.packets.places, clip.keyframes)


def plan_part(
    clip: Video,
    model: Prices,
    *,
    policy: PolicyName,
    budget_tokens: int,
    knobs: Knobs,
    analysis: Method,
    task: str = "general",
    fps: float | None = None,
) -> Plan:
    """A plan for the part of a video between the start and the end of the knobs."""
    return make_plan(
        clip.info,
        clip.times,
        policy=policy,
        geometry=model.geometry,
        budget_tokens=budget_tokens,
        task=task,
        fps=fps,
        knobs=knobs,
        analysis=looked_at(clip, policy, analysis),
        costs=costs_of(clip, policy),
        source=clip.source,
        text_tokens=model.frame_text_tokens,
        limits=clip.limits,
    )


def least_tokens(model: Prices) -> int:
    """What one frame of the lowest level may cost, its time included."""
    return model.geometry.levels_tokens[-1] + model.frame_text_tokens("[9999.9 second]")


def decode(clip: Video, plans: Sequence[Plan]) -> list[Shown]:
    """The frames of several plans in one pass; the plans' times must follow one another.

    Where damage took frames away the reader gives the same neighbour for several targets: it is
    shown once, with its own time.
    """
    # The pass is run to its end: only then does the reader know what it has met. Another thread
    # that uses the clip waits that long, or it would end the pass.
    with clip.reader.lock:
        decoded = iter(list(clip.reader.frames([t for each in plans for t in each.targets()])))
    shown: list[Shown] = []
    for each in plans:
        group: Shown = []
        for frame in islice(decoded, len(each.frames)):
            if not group or frame.pts > group[-1][0]:
                group.append((frame.pts, frame.pixels))
        shown.append(group)
    return shown


def changes_in(clip: Video, policy: PolicyName, method: Method) -> Sequence[Change]:
    """What the analysis behind a plan saw to change; nothing where nobody looked."""
    analysis = looked_at(clip, policy, method)
    return () if analysis is None else changes_of(analysis, clip.times)


def view_of(clip: Video, frames: Shown, window: Span, changes: Sequence[Change]) -> View:
    """What a model is shown of a window, with the time that each frame stands for.

    Args:
        clip: the open video.
        frames: decoded, in order.
        window: the part that they stand for.
        changes: of the whole clip, in order of time.
    """
    bounds = frame_bounds([time for time, _ in frames], window, changes)
    return View(frames, window, end_of(clip), bounds)


def end_of(clip: Video) -> Fraction:
    """Where the clip ends: its duration, or just after its last frame where the header has none."""
    return max(clip.info.duration, clip.times[-1] + Fraction(1, 1000))


def window_of(clip: Video, knobs: Knobs) -> Span:
    """The part of a clip that is looked at."""
    end = end_of(clip)
    return Span(knobs.start or Fraction(0), min(knobs.end or end, end))
