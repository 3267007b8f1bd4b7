"""Where file, plan, model, task and record meet: `open`, `plan`, `frames`, `load` and `caption`.

The command line is written on these, and so is everything that comes later. Each room knows
its own side only; the joints are here. Times are exact seconds inside, float seconds in the record.
"""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import Final, Literal, TypeAlias

from seedvideo.media.timeline import Span, seconds
from seedvideo.model.backends import Backend, Generation
from seedvideo.model.packing import pack
from seedvideo.records import Event, MediaRecord, ModelRecord, PlanRecord, Record, UsageRecord
from seedvideo.sampler.analysis import Method
from seedvideo.sampler.geometry import SEED
from seedvideo.sampler.join import join_shots
from seedvideo.sampler.knobs import NO_KNOBS, Knobs
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import PolicyName, make_plan
from seedvideo.sampler.stamps import assumed_text_tokens
from seedvideo.stages import (
    Stopwatch,
    costs_of,
    decode,
    least_tokens,
    looked_at,
    opened,
    plan_part,
    window_of,
)
from seedvideo.tasks.caption import CAPTION_PROMPT, parse_caption
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
    from seedvideo.model import load as load_model

    return load_model(name_or_folder)


def plan(
    video: Video | str | os.PathLike[str],
    *,
    policy: PolicyName = "adaptive",
    budget_tokens: int | None = None,
    task: TaskName = "general",
    fps: float | None = None,
    knobs: Knobs = NO_KNOBS,
    analysis: Method = "fast",
    model: Backend | str | None = None,
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

    Raises:
        PlanError: if nothing fits the budget.
    """
    backend = load(model) if isinstance(model, str) else model
    with opened(video) as clip:
        return make_plan(
            clip.info,
            clip.times,
            clip.keyframes,
            policy=policy,
            geometry=SEED if backend is None else backend.geometry,
            budget_tokens=budget_tokens,
            task=task,
            fps=fps,
            knobs=knobs,
            analysis=looked_at(clip, policy, analysis),
            costs=costs_of(clip, policy),
            source=clip.source,
            text_tokens=assumed_text_tokens if backend is None else backend.frame_text_tokens,
            limits=clip.limits,
        )


def frames(video: Video | str | os.PathLike[str], plan: Plan) -> Frames:
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
    with opened(video) as clip, closing(clip.frames(plan)) as decoded:
        yield from decoded


def caption(
    video: Video | str | os.PathLike[str],
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
    backend = load(model) if isinstance(model, str) else model
    spent = Stopwatch()
    if dense:
        # Every frame is looked at for the shots: looking a second time would only cost.
        analysis = "full"
    with opened(video) as clip:
        with spent.on("plan"):
            whole_plan = plan(
                clip,
                policy=policy,
                budget_tokens=budget_tokens,
                task=task,
                fps=fps,
                knobs=knobs,
                analysis=analysis,
                model=backend,
            )
        whole = _answers(clip, [whole_plan], backend, spent)[0]
        met = list(clip.reader.report.warnings)
        text = parse_caption(whole.text)
        window = window_of(clip, knobs)
        spans, told, answers = [window], [whole], [whole]
        if dense:
            with spent.on("shots"):
                most = _most_shots(backend, whole_plan.budget_tokens)
                spans = _shots(clip, window, most=most)
            if len(spans) > 1:
                with spent.on("plan"):
                    plans = _plan_shots(
                        clip, spans, backend, policy, whole_plan.budget_tokens, knobs
                    )
                told = _answers(clip, plans, backend, spent)
                answers += told
                met += clip.reader.report.warnings
        return Record(
            source=clip.source,
            status="done",
            text=text,
            confident=whole.confident,
            events=tuple(_event(*each) for each in zip(spans, told, strict=True)),
            media=MediaRecord.of(clip.info, added=met),
            plan=PlanRecord.of(whole_plan),
            model=ModelRecord(name=backend.name, sha256=backend.sha256),
            usage=UsageRecord.total([answer.usage for answer in answers]),
            timing_s=spent.timing_s(open_s=clip.open_s),
        )


def _answers(
    clip: Video, plans: Sequence[Plan], backend: Backend, spent: Stopwatch
) -> list[Generation]:
    """One answer a plan. Everything is decoded first: the decoder need not wait for the model."""
    with spent.on("decode"):
        shown = decode(clip, plans)
    with spent.on("model"):
        return [backend.generate(pack(frames, CAPTION_PROMPT)) for frames in shown]


def _most_shots(backend: Backend, budget_tokens: int) -> int:
    """How many shots can each have at least one frame of the lowest level within their share."""
    lowest = least_tokens(backend)
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
    backend: Backend,
    policy: PolicyName,
    budget_tokens: int,
    knobs: Knobs,
) -> list[Plan]:
    """A plan for each shot; they share the budget as `MAX_SHARES` says."""
    return [
        plan_part(
            clip,
            backend,
            policy="adaptive" if policy == "adaptive" else "uniform",
            budget_tokens=budget_tokens // min(len(spans), MAX_SHARES),
            # A shot's share may be too small for a rate that the whole budget bears.
            knobs=replace(knobs, min_fps=None, start=span.start, end=span.end),
            analysis="full",
        )
        for span in spans
    ]


def _event(span: Span, answer: Generation) -> Event:
    return Event(
        start_s=seconds(span.start),
        end_s=seconds(span.end),
        text=parse_caption(answer.text),
        confident=answer.confident,
    )
