"""Pipeline from a video to a record: `prepare` plans and decodes, a `Task` queries a model.

The two halves may run in two processes (`seedvideo.inference.ModelInput`). The public functions,
the command line, batch jobs and the evaluation all use `run_task` or its halves. Times are exact
seconds inside, float seconds in the record.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from fractions import Fraction
from time import perf_counter
from typing import Final, TypeAlias

from seedvideo.arguments import check_kind
from seedvideo.config import DEFAULT_SAMPLING, PolicyName, SamplingConfig
from seedvideo.inference import FrameSet, ModelInput
from seedvideo.media.sharing import SharedLock, check_not_stopped
from seedvideo.media.source import VideoInput
from seedvideo.media.types import Frame
from seedvideo.model.backends.base import Backend, OnText, TokenCosts
from seedvideo.model_options import DEFAULT_MODEL_OPTIONS, ModelOptions
from seedvideo.model_tasks import Task
from seedvideo.records import MediaRecord, PlanRecord, QualityRecord, Record
from seedvideo.sampler.analysis import Analysis
from seedvideo.sampler.boundaries import Change, find_changes, frame_bounds
from seedvideo.sampler.geometry import Geometry
from seedvideo.sampler.pairs import MAX_OFFSET_S, find_partners, with_partners
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import frames_in_window, make_plan, needs_analysis
from seedvideo.sampler.quality import Quality, measure_quality
from seedvideo.sampler.request import DecodeCosts, TextTokenCounter, compute_decode_costs
from seedvideo.sampler.shots import merge_short_shots
from seedvideo.utils.timecode import Span
from seedvideo.video import Video, iter_planned_frames, open

MAX_SHOTS: Final = 64
"""Maximum number of shots of a dense caption; further shots are merged."""

MAX_SHOT_BUDGETS: Final = 4
"""Maximum number of parts of a budget for shots: each shot gets at least a quarter."""

MIN_SHOT_S: Final = Fraction(1, 2)
"""Minimum length of a shot: a shorter one, such as a flash, is merged into a neighbour."""


MODEL_TURN: Final[ContextVar[SharedLock | None]] = ContextVar("seedvideo_model_turn", default=None)
"""Lock that `run_task` holds while it uses a model, where threads share one; None for no lock."""

_LATE_TIME: Final = Fraction(99_999, 10)
"""A time with as many digits as any: 9999.9 s."""


class Stopwatch:
    """Measure wall-clock seconds by stage."""

    def __init__(self) -> None:
        self._started = perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self._stages[stage] = self._stages.get(stage, 0.0) + perf_counter() - started

    def timing_s(self, *, open_s: float) -> dict[str, float]:
        """Return the seconds by stage; the total includes opening, also by the caller."""
        outside_s = perf_counter() - self._started - sum(self._stages.values())
        total_s = sum(self._stages.values()) + max(outside_s, open_s)
        stages = {"open": open_s, **self._stages, "total": total_s}
        return {stage: round(spent_s, 4) for stage, spent_s in stages.items()}


def run_task(
    video: Video | VideoInput,
    task: Task,
    *,
    model: Backend,
    sampling: SamplingConfig,
    on_text: OnText | None = None,
) -> Record:
    """Prepare a video and run a task on it.

    Args:
        video: an open video, or a path that is opened for this call.
        task: the task.
        model: a loaded model.
        sampling: how frames are sampled.
        on_text: receives the answer as it is generated.

    Raises:
        SeedVideoError: if the file is unusable, no plan fits the budget, or the model gives no
            usable answer.
    """
    prepared = prepare(video, model=model, dense=task.dense, sampling=sampling)
    with MODEL_TURN.get() or nullcontext():
        check_not_stopped()
        return task.run(prepared, model, on_text=on_text)


def load_costs(name: str = "nano", options: ModelOptions = DEFAULT_MODEL_OPTIONS) -> TokenCosts:
    """Read the frame sizes and token costs of a model, without its weights.

    Takes milliseconds and, for most models, does not import torch.

    Raises:
        SeedVideoError: as `seedvideo.model.load_costs` does.
    """
    from seedvideo import model

    return model.load_costs(name, options)


def check_model(model: object) -> None:
    """Raise `OptionTypeError` unless a value is a model or the name of one."""
    if not hasattr(model, "geometry"):
        check_kind("model", model, str, "a loaded model or the name of one")


@contextmanager
def as_video(video: Video | VideoInput) -> Iterator[Video]:
    """Yield an open video unchanged, or open a path and close it afterwards."""
    if isinstance(video, Video):
        yield video
    else:
        with open(video) as clip:
            yield clip


def prepare(
    video: Video | VideoInput,
    *,
    model: TokenCosts,
    dense: bool = False,
    sampling: SamplingConfig = DEFAULT_SAMPLING,
) -> ModelInput:
    """Plan a video and decode the frames for a model: the first half of a task.

    Args:
        video: an open video, or a path that is opened for this call.
        model: geometry and token costs of the model; its weights are not needed.
        dense: also build a frame set for each shot.
        sampling: how frames are sampled. With ``dense`` the analysis is ``full``, which the shots
            need.

    Raises:
        SeedVideoError: if the file is unusable, or no plan fits the budget.
    """
    spent = Stopwatch()
    if dense:
        # The shots need a full analysis, so a second, smaller one would be wasted.
        sampling = replace(sampling, analysis="full")
    with as_video(video) as clip:
        with spent.measure("plan"):
            plan = plan_for_model(clip, sampling, model)
            changes = _find_changes(clip, sampling)
            window = clip_window(clip, sampling)
            quality = _measure(clip, window, _maybe_analyse(clip, sampling))
        with spent.measure("decode"), clip.reader.lock:
            (shown,) = _decode_plans(clip, [plan], model, changes)
            warnings = list(clip.reader.report.warnings)
        frame_sets = [_make_frame_set(clip, shown, window, changes)]
        if dense:
            with spent.measure("shots"):
                spans = _find_shots(clip, window, max_shots=_max_shots(model, plan.budget_tokens))
            if len(spans) > 1:
                with spent.measure("plan"):
                    plans = _plan_shots(clip, spans, model, sampling, plan.budget_tokens)
                # One pass over all shots keeps the decoder busy.
                with spent.measure("decode"), clip.reader.lock:
                    shots = _decode_plans(clip, plans, model, changes)
                    warnings += clip.reader.report.warnings
                frame_sets += [
                    _make_frame_set(clip, each, span, changes)
                    for each, span in zip(shots, spans, strict=True)
                ]
        return ModelInput(
            source=clip.source,
            media=MediaRecord.of(plan.media, added=warnings),
            quality=QualityRecord.of(quality),
            plan=PlanRecord.of(plan, pairs_s=frame_sets[0].pairs_s),
            frame_sets=tuple(frame_sets),
            spent_s=spent.timing_s(open_s=clip.open_s),
        )


def plan_window(
    clip: Video,
    sampling: SamplingConfig,
    *,
    geometry: Geometry,
    text_tokens: TextTokenCounter,
) -> Plan:
    """Plan an open video, or the window of it given by the config.

    Args:
        clip: the open video.
        sampling: how frames are sampled.
        geometry: sizes and tokens of the model family.
        text_tokens: token cost of the time text and the markers of a frame.

    Raises:
        PlanError: if no plan fits the budget.
    """
    return make_plan(
        clip.info,
        clip.times,
        clip.keyframes,
        sampling=sampling,
        geometry=geometry,
        analysis=_maybe_analyse(clip, sampling),
        costs=_decode_costs_for(clip, sampling.policy),
        source=clip.source,
        text_tokens=text_tokens,
        limits=clip.limits,
    )


def plan_for_model(clip: Video, sampling: SamplingConfig, model: TokenCosts) -> Plan:
    """Plan an open video for a model; see `plan_window`."""
    return plan_window(clip, sampling, geometry=model.geometry, text_tokens=model.frame_text_tokens)


def clip_window(clip: Video, sampling: SamplingConfig) -> Span:
    """Return the sampled window of a video.

    Raises:
        PlanError: ``plan.invalid`` if no frame is in it.
    """
    frames_in_window(clip.times, sampling, source=clip.source)
    end = _clip_end(clip)
    return Span(sampling.start_s or Fraction(0), min(sampling.end_s or end, end))


def _clip_end(clip: Video) -> Fraction:
    """Return the duration, or a time just after the last frame if the header has none."""
    return max(clip.info.duration, clip.times[-1] + Fraction(1, 1000))


def measure(clip: Video, sampling: SamplingConfig) -> Quality:
    """Measure the signals of an open video, or of the window of it given by the config.

    Decodes nothing but the thumbnails of the analysis.

    Raises:
        PlanError: ``plan.invalid`` if no frame is in the window.
    """
    return _measure(clip, clip_window(clip, sampling), clip.analysis(sampling.analysis))


def _measure(clip: Video, window: Span, analysis: Analysis | None) -> Quality:
    return measure_quality(analysis, clip.info, clip.times, clip.reader.packets, window=window)


def _maybe_analyse(clip: Video, sampling: SamplingConfig) -> Analysis | None:
    """Analyse a video if the policy needs it and there is more than one frame."""
    if len(clip.times) == 1 or not needs_analysis(sampling.policy):
        return None
    return clip.analysis(sampling.analysis)


def _decode_costs_for(clip: Video, policy: PolicyName) -> DecodeCosts | None:
    """Count decoding costs for a policy with an analysis, which has read the packets anyway."""
    if len(clip.times) == 1 or not needs_analysis(policy):
        return None
    return compute_decode_costs(clip.reader.packets.positions, clip.keyframes)


def _find_changes(clip: Video, sampling: SamplingConfig) -> Sequence[Change]:
    """Return the changes found by the analysis of a plan; none without an analysis."""
    analysis = _maybe_analyse(clip, sampling)
    return () if analysis is None else find_changes(analysis, clip.times)


_Shown: TypeAlias = list[tuple[Frame, Frame | None]]
"""Decoded frames, each with the partner of its pair."""


def _decode_plans(
    clip: Video,
    plans: Sequence[Plan],
    model: TokenCosts,
    changes: Sequence[Change],
) -> list[_Shown]:
    """Decode the frames of several plans in one pass, with partners if the model takes pairs.

    Args:
        clip: the open video.
        plans: its plans, whose times must follow one another.
        model: the model.
        changes: changes in the complete clip, in order of time.
    """
    expanded = list(plans)
    if model.details.pairs:
        cuts = [change.time for change in changes]
        found = [
            find_partners(plan, clip.times, cuts=cuts, text_tokens=model.frame_text_tokens)
            for plan in plans
        ]
        expanded = [
            with_partners(plan, partners) for plan, partners in zip(plans, found, strict=True)
        ]
    decoded: list[_Shown] = [[] for _ in plans]
    planned_times = [{frame.pts for frame in plan.frames} for plan in plans]
    # The pass runs to its end, as only then the reader's report is complete. The lock makes other
    # threads wait, as a new pass would end this one.
    with clip.reader.lock:
        for index, planned, frame in iter_planned_frames(clip.reader, expanded):
            if planned.pts in planned_times[index]:
                decoded[index].append((frame, None))
            elif decoded[index]:
                first, partner = decoded[index][-1]
                # The frame that it belongs to may be damaged and left out.
                if partner is None and frame.pts - first.pts <= 2 * MAX_OFFSET_S:
                    decoded[index][-1] = (first, frame)
    return decoded


def _make_frame_set(
    clip: Video, shown: _Shown, window: Span, changes: Sequence[Change]
) -> FrameSet:
    """Build the frame set of a window, with the time span that each frame represents.

    Args:
        clip: the open video.
        shown: decoded frames, in order of time.
        window: time span that the frames represent.
        changes: changes in the complete clip, in order of time.
    """
    frames = [frame for frame, _ in shown]
    partners = tuple(partner for _, partner in shown)
    bounds = frame_bounds([frame.pts for frame in frames], window, changes)
    return FrameSet(frames, window, _clip_end(clip), bounds, partners if any(partners) else ())


def _max_shots(model: TokenCosts, budget_tokens: int) -> int:
    """Return how many shots can have a frame of the lowest level each within their budget."""
    lowest = model.geometry.levels_tokens[-1] + model.frame_text_tokens(_LATE_TIME)
    if budget_tokens >= MAX_SHOT_BUDGETS * lowest:
        return MAX_SHOTS
    return max(1, budget_tokens // lowest)


def _find_shots(clip: Video, window: Span, *, max_shots: int) -> list[Span]:
    """Find at most ``max_shots`` shots of the window, each at least `MIN_SHOT_S` long."""
    if clip.info.is_image or max_shots == 1:
        return [window]
    # The full analysis gives exact cut times, which are part of the result.
    shots = [
        Span(max(shot.start, window.start), min(shot.end, window.end))
        for shot in clip.analysis("full").shots
        if shot.start < window.end and shot.end > window.start
    ]
    return merge_short_shots(shots, clip.times, min_shot_s=MIN_SHOT_S, max_shots=max_shots)


def _plan_shots(
    clip: Video,
    spans: Sequence[Span],
    model: TokenCosts,
    sampling: SamplingConfig,
    budget_tokens: int,
) -> list[Plan]:
    """Plan each shot; `MAX_SHOT_BUDGETS` says how they split the budget."""
    part = replace(
        sampling,
        policy="adaptive" if sampling.policy == "adaptive" else "uniform",
        budget_tokens=budget_tokens // min(len(spans), MAX_SHOT_BUDGETS),
        rate_preset="general",
        fps=None,
        # The budget of a shot may be too small for a minimum rate that the total budget allows.
        min_fps=None,
        analysis="full",
    )
    windows = [part.with_window(start_s=span.start, end_s=span.end) for span in spans]
    return [plan_for_model(clip, window, model) for window in windows]
