"""Where file, plan, model, task and record meet: `open`, `plan`, `frames`, `load` and `caption`.

The command line is written on these, and so is everything that comes later. Each room knows
its own side only; the joints are here. Times are exact seconds inside, float seconds in the record.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from time import perf_counter
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from seedvideo.media.timeline import Span, seconds
from seedvideo.model.backends import Backend, Generation
from seedvideo.model.packing import pack
from seedvideo.records import Event, MediaRecord, ModelRecord, PlanRecord, Record, UsageRecord
from seedvideo.sampler.analysis import Analysis, Method
from seedvideo.sampler.costs import DecodeCosts, decode_costs
from seedvideo.sampler.geometry import SEED
from seedvideo.sampler.join import join_shots
from seedvideo.sampler.knobs import NO_KNOBS, Knobs
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import PolicyName, make_plan
from seedvideo.sampler.stamps import assumed_text_tokens
from seedvideo.tasks.caption import CAPTION_PROMPT, parse_caption
from seedvideo.video import Frames, Video, open

__all__ = ["Video", "caption", "frames", "load", "open", "plan"]

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""One frame: ``(height_px, width_px, 3)``, RGB."""

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
    with _opened(video) as clip:
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
            analysis=_looked_at(clip, policy, analysis),
            costs=_costs(clip, policy),
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
    with _opened(video) as clip, closing(clip.frames(plan)) as decoded:
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
    spent = _Stopwatch()
    if dense:
        # Every frame is looked at for the shots: looking a second time would only cost.
        analysis = "full"
    with _opened(video) as clip:
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
        window = _window(clip, knobs)
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


class _Stopwatch:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self._started = perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        started = perf_counter()
        try:
            yield
        finally:
            self._stages[stage] = self._stages.get(stage, 0.0) + perf_counter() - started

    def timing_s(self, *, open_s: float) -> dict[str, float]:
        """Seconds by stage; the total is of everything, whoever opened the video."""
        outside_s = perf_counter() - self._started - sum(self._stages.values())
        total_s = sum(self._stages.values()) + max(outside_s, open_s)
        stages = {"open": open_s, **self._stages, "total": total_s}
        return {stage: round(spent_s, 4) for stage, spent_s in stages.items()}


@contextmanager
def _opened(video: Video | str | os.PathLike[str]) -> Iterator[Video]:
    """The caller's open video as it is; a path opened now and closed after."""
    if isinstance(video, Video):
        yield video
    else:
        with open(video) as clip:
            yield clip


def _looked_at(clip: Video, policy: PolicyName, method: Method) -> Analysis | None:
    """The analysis that a plan needs, made only where there is something to decide."""
    return clip.analysis(method) if policy == "adaptive" and len(clip.times) > 1 else None


def _costs(clip: Video, policy: PolicyName) -> DecodeCosts | None:
    """What frames cost to decode, for the policy that asks: it has read the packets anyway."""
    if policy != "adaptive" or len(clip.times) == 1:
        return None
    return decode_costs(clip.reader.packets.places, clip.keyframes)


def _answers(
    clip: Video, plans: Sequence[Plan], backend: Backend, spent: _Stopwatch
) -> list[Generation]:
    """One answer a plan. Everything is decoded first: the decoder need not wait for the model."""
    with spent.on("decode"):
        shown = _decode(clip, plans)
    with spent.on("model"):
        return [backend.generate(pack(frames, CAPTION_PROMPT)) for frames in shown]


def _decode(clip: Video, plans: Sequence[Plan]) -> list[list[tuple[Fraction, Pixels]]]:
    """The frames of several plans in one pass; the plans' times must follow one another.

    Where damage took frames away the reader gives the same neighbour for several targets: it is
    shown once, with its own time.
    """
    # The pass is run to its end: only then does the reader know what it has met.
    decoded = iter(list(clip.reader.frames([t for each in plans for t in each.targets()])))
    shown: list[list[tuple[Fraction, Pixels]]] = []
    for each in plans:
        group: list[tuple[Fraction, Pixels]] = []
        for frame in islice(decoded, len(each.frames)):
            if not group or frame.pts > group[-1][0]:
                group.append((frame.pts, frame.pixels))
        shown.append(group)
    return shown


def _end(clip: Video) -> Fraction:
    """Where the clip ends: its duration, or just after its last frame where the header has none."""
    return max(clip.info.duration, clip.times[-1] + Fraction(1, 1000))


def _window(clip: Video, knobs: Knobs) -> Span:
    """The part of a clip that is looked at."""
    end = _end(clip)
    return Span(knobs.start or Fraction(0), min(knobs.end or end, end))


def _most_shots(backend: Backend, budget_tokens: int) -> int:
    """How many shots can each have at least one frame of the lowest level within their share."""
    lowest = backend.geometry.levels_tokens[-1] + backend.frame_text_tokens("[9999.9 second]")
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
    policy = "adaptive" if policy == "adaptive" else "uniform"
    return [
        make_plan(
            clip.info,
            clip.times,
            policy=policy,
            geometry=backend.geometry,
            budget_tokens=budget_tokens // min(len(spans), MAX_SHARES),
            # A shot's share may be too small for a rate that the whole budget bears.
            knobs=replace(knobs, min_fps=None, start=span.start, end=span.end),
            analysis=_looked_at(clip, policy, "full"),
            costs=_costs(clip, policy),
            source=clip.source,
            text_tokens=backend.frame_text_tokens,
            limits=clip.limits,
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
