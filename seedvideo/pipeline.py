"""Where file, plan, model, task and record meet: `open`, `plan`, `frames`, `load` and `caption`.

`caption` is two halves, `prepare` and `tell`, which may run in two processes.

The command line is written on these, and so is everything that comes later. Each room knows
its own side only; the joints are here. Times are exact seconds inside, float seconds in the record.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import Final, Literal, TypeAlias

from seedvideo.arguments import check_kind, check_switch, check_text
from seedvideo.errors import ConfigError
from seedvideo.media.sharing import SharedLock, SharedSteps
from seedvideo.media.source import VideoInput, name_of, show_path
from seedvideo.model.backends.base import Backend, Generation, Prices, pack
from seedvideo.prepared import Prepared, View
from seedvideo.records import Event, MediaRecord, ModelRecord, PlanRecord, Record, UsageRecord
from seedvideo.sampler.analysis import Method
from seedvideo.sampler.geometry import SEED, TokenGeometry, assumed_text_tokens
from seedvideo.sampler.knobs import NO_KNOBS, Knobs
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import PolicyName, make_plan
from seedvideo.sampler.shots import join_shots
from seedvideo.stages import (
    Stopwatch,
    changes_in,
    check_model,
    check_options,
    costs_of,
    decode,
    least_tokens,
    looked_at,
    opened,
    plan_part,
    view_of,
    window_of,
)
from seedvideo.tasks.prompts import CAPTION_PROMPT, parse_caption
from seedvideo.utils.timecode import Span, seconds
from seedvideo.video import Frames, Video, open

__all__ = ["Video", "caption", "frames", "load", "open", "plan"]

TaskName: TypeAlias = Literal["general", "detail", "motion"]

MAX_SHOTS: Final = 64
"""Most captions that `caption(dense=True)` makes of one video: shots beyond it are joined."""

MAX_SHARES: Final = 4
"""Parts that a budget is cut into for shots: with more shots, each still gets a quarter of it."""

MIN_SHOT_S: Final = Fraction(1, 2)
"""Shots shorter than this are joined to a neighbour: a flash is no event."""


def load(name_or_folder: str = "nano") -> Backend:
    """Load a model: ``nano``, which comes with the package, or a folder with a checkpoint.

    Raises:
        ModelError: ``model.unknown`` or ``model.checkpoint_invalid``.
    """
    check_text("model", name_or_folder)
    from seedvideo.model import load as load_model

    return load_model(name_or_folder)


def prices(name_or_folder: str = "nano") -> Prices:
    """Read what planning needs to know of a model: frame sizes and text costs, without its weights.

    Takes milliseconds and imports no torch.

    Raises:
        ModelError: ``model.unknown`` or ``model.checkpoint_invalid``.
    """
    from seedvideo.model import prices as read_prices

    return read_prices(name_or_folder)


def plan(
    video: Video | VideoInput,
    *,
    policy: PolicyName = "adaptive",
    budget_tokens: int | None = None,
    task: TaskName = "general",
    fps: float | None = None,
    knobs: Knobs = NO_KNOBS,
    analysis: Method = "fast",
    model: Prices | str | None = None,
    geometry: TokenGeometry | None = None,
) -> Plan:
    """Decide which frames to show, when and how large, within a budget, before they are decoded.

    Args:
        video: an open video, or a path that is opened for this call.
        policy: the rule that chooses. ``adaptive`` looks at the video first, which can take as long
            as decoding all of it; the others know only its times.
        budget_tokens: what the video may cost; the model's own default when None.
        task: rate that is asked for before any budget: 1, 2 or 5 frames a second.
        fps: another rate.
        knobs: levels, window, rates and other wishes.
        analysis: how closely ``adaptive`` looks at the video: ``packets``, ``fast`` or ``full``.
        model: whose geometry, ladder, tokenizer and default budget count; the published ones of
            Seed1.5-VL when None.
        geometry: sizes, levels and default budget of another family of models, in place of a model;
            time texts then cost what they cost the published model.

    Raises:
        ConfigError: if an option has a value that it cannot have, or both ``model`` and
            ``geometry`` are given; an `OptionTypeError`, which is a ``TypeError`` too, if one has a
            wrong type.
        PlanError: if nothing fits the budget.
    """
    check_options(policy, budget_tokens, task, fps, knobs, analysis)
    if geometry is not None:
        check_kind("geometry", geometry, TokenGeometry, "a seedvideo.TokenGeometry")
        if model is not None:
            raise ConfigError(
                "config.invalid",
                "both model and geometry are given, expected one of them",
                hint="a model brings its own geometry: leave geometry out",
            )
    check_model(model)
    priced = prices(model) if isinstance(model, str) else model
    if geometry is None:
        geometry = SEED if priced is None else priced.geometry
    with opened(video) as clip:
        return make_plan(
            clip.info,
            clip.times,
            clip.keyframes,
            policy=policy,
            geometry=geometry,
            budget_tokens=budget_tokens,
            task=task,
            fps=fps,
            knobs=knobs,
            analysis=looked_at(clip, policy, analysis),
            costs=costs_of(clip, policy),
            source=clip.source,
            text_tokens=assumed_text_tokens if priced is None else priced.frame_text_tokens,
            limits=clip.limits,
        )


def frames(video: Video | VideoInput, plan: Plan) -> Frames:
    """Decode a plan's frames, in order of time, each beside what was planned; see `Video.frames`.

    Args:
        video: an open video, or a path that is opened for the first frame and closed after the
            last one.
        plan: of this video.

    Raises:
        PlanError: ``plan.invalid`` if the plan is of another video.
        MediaError: if the file is too damaged.
        DecodeError: if decoding takes too long or kills the decoding process.
    """
    check_kind("plan", plan, Plan, "a plan, as seedvideo.plan returns it")
    if isinstance(video, Video):
        lock, shown = video.reader.lock, show_path(video.source)
    else:
        lock, shown = SharedLock(), show_path(name_of(video))
    return SharedSteps(_frames(video, plan), lock, shown)


def _frames(video: Video | VideoInput, plan: Plan) -> Frames:
    with opened(video) as clip, closing(clip.frames(plan)) as decoded:
        yield from decoded


def caption(
    video: Video | VideoInput,
    *,
    model: Backend | str = "nano",
    dense: bool = False,
    policy: PolicyName = "adaptive",
    budget_tokens: int | None = None,
    task: TaskName = "general",
    fps: float | None = None,
    knobs: Knobs = NO_KNOBS,
    analysis: Method = "fast",
) -> Record:
    """Say what happens in a video, in one sentence, and with ``dense`` in one more for each shot.

    Args:
        video: an open video, or a path that is opened for this call.
        model: a loaded model, or the name of one that is loaded for this call.
        dense: also find the shots and caption each, which looks at every frame. The shots share the
            budget once more, but each gets a quarter of it at least.
        policy: the rule that chooses the frames; those of a shot are chosen by ``adaptive`` too, or
            spread evenly with any other policy.
        budget_tokens: what the frames of one pass may cost; the model's own default when None.
        task: see `plan`.
        fps: see `plan`.
        knobs: see `plan`; all but ``min_fps`` hold for the shots too.
        analysis: see `plan`; with ``dense`` it is ``full``, which the shots need.

    Returns:
        A record with ``status: done``. Its ``plan`` is that of the clip's own caption; its
        ``usage`` counts every answer.

    Raises:
        SeedVideoError: if the file cannot be used, nothing fits the budget, the model cannot be
            loaded or gives no answer. `Record.failed` makes a record of it.
    """
    check_options(policy, budget_tokens, task, fps, knobs, analysis)
    check_model(model)
    check_switch("dense", dense)
    backend = load(model) if isinstance(model, str) else model
    prepared = prepare(
        video,
        model=backend,
        dense=dense,
        policy=policy,
        budget_tokens=budget_tokens,
        task=task,
        fps=fps,
        knobs=knobs,
        analysis=analysis,
    )
    return tell(prepared, model=backend)


def prepare(
    video: Video | VideoInput,
    *,
    model: Prices,
    dense: bool = False,
    policy: PolicyName = "adaptive",
    budget_tokens: int | None = None,
    task: TaskName = "general",
    fps: float | None = None,
    knobs: Knobs = NO_KNOBS,
    analysis: Method = "fast",
) -> Prepared:
    """The first half of a task: plan a video and decode what a model is to be shown.

    Args:
        video: see `caption`.
        model: whose geometry and text costs count; its weights are not needed.
        dense: also a view for each shot; see `caption`.
        policy: see `caption`.
        budget_tokens: see `caption`.
        task: see `plan`.
        fps: see `plan`.
        knobs: see `caption`.
        analysis: see `caption`.

    Raises:
        SeedVideoError: if the file cannot be used, or nothing fits the budget.
    """
    spent = Stopwatch()
    if dense:
        # Every frame is looked at for the shots: looking a second time would only cost.
        analysis = "full"
    with opened(video) as clip:
        with spent.on("plan"):
            whole = plan(
                clip,
                policy=policy,
                budget_tokens=budget_tokens,
                task=task,
                fps=fps,
                knobs=knobs,
                analysis=analysis,
                model=model,
            )
            changes = changes_in(clip, policy, analysis)
        window = window_of(clip, knobs)
        with spent.on("decode"), clip.reader.lock:
            (frames,) = decode(clip, [whole])
            met = list(clip.reader.report.warnings)
        views = [view_of(clip, frames, window, changes)]
        if dense:
            with spent.on("shots"):
                spans = _shots(clip, window, most=_most_shots(model, whole.budget_tokens))
            if len(spans) > 1:
                with spent.on("plan"):
                    plans = _plan_shots(clip, spans, model, policy, whole.budget_tokens, knobs)
                # All in one pass: the decoder need not wait for anybody.
                with spent.on("decode"), clip.reader.lock:
                    shown = decode(clip, plans)
                    met += clip.reader.report.warnings
                views += [
                    view_of(clip, each, span, changes)
                    for each, span in zip(shown, spans, strict=True)
                ]
        return Prepared(
            source=clip.source,
            media=MediaRecord.of(whole.media, added=met),
            plan=PlanRecord.of(whole),
            views=tuple(views),
            spent_s=spent.timing_s(open_s=clip.open_s),
        )


def tell(prepared: Prepared, *, model: Backend) -> Record:
    """The second half of `caption`: a caption for each view that was prepared.

    Args:
        prepared: by `prepare`.
        model: a loaded model, of the prices that it was prepared for.

    Raises:
        ModelError: if the model gives no answer.
    """
    spent = Stopwatch()
    with spent.on("model"):
        whole = _say(prepared.views[0], model)
        text = parse_caption(whole.text)
        shots = [(view, _say(view, model)) for view in prepared.views[1:]]
    return Record(
        source=prepared.source,
        status="done",
        text=text,
        confident=whole.confident,
        events=tuple(_event(*each) for each in shots or [(prepared.views[0], whole)]),
        media=prepared.media,
        plan=prepared.plan,
        model=ModelRecord(name=model.name, sha256=model.sha256),
        usage=UsageRecord.total([whole.usage, *(said.usage for _, said in shots)]),
        timing_s=prepared.timing_s(model_s=spent.spent_s("model")),
    )


def _say(view: View, model: Backend) -> Generation:
    return model.generate(pack(view.frames, CAPTION_PROMPT))


def _most_shots(model: Prices, budget_tokens: int) -> int:
    """How many shots can each have at least one frame of the lowest level within their share."""
    lowest = least_tokens(model)
    if budget_tokens >= MAX_SHARES * lowest:
        return MAX_SHOTS
    return max(1, budget_tokens // lowest)


def _shots(clip: Video, window: Span, *, most: int) -> list[Span]:
    """The window's shots, ``most`` at most, each at least `MIN_SHOT_S` long and with a frame."""
    if clip.info.is_image or most == 1:
        return [window]
    # Every frame is looked at: people read the times of cuts, so the exact ones are worth it.
    shots = [
        Span(max(shot.start, window.start), min(shot.end, window.end))
        for shot in clip.analysis("full").shots
        if shot.start < window.end and shot.end > window.start
    ]
    return join_shots(shots, clip.times, shortest=MIN_SHOT_S, most=most)


def _plan_shots(
    clip: Video,
    spans: Sequence[Span],
    model: Prices,
    policy: PolicyName,
    budget_tokens: int,
    knobs: Knobs,
) -> list[Plan]:
    """A plan for each shot; they share the budget as `MAX_SHARES` says."""
    return [
        plan_part(
            clip,
            model,
            policy="adaptive" if policy == "adaptive" else "uniform",
            budget_tokens=budget_tokens // min(len(spans), MAX_SHARES),
            # A shot's share may be too small for a rate that the whole budget bears.
            knobs=replace(knobs, min_fps=None, start=span.start, end=span.end),
            analysis="full",
        )
        for span in spans
    ]


def _event(view: View, answer: Generation) -> Event:
    return Event(
        start_s=seconds(view.window.start),
        end_s=seconds(view.window.end),
        text=parse_caption(answer.text),
        confident=answer.confident,
    )
