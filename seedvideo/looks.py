"""What a model is shown of a video before it answers: one look, or two within the same budget.

Of two looks the first is coarse, and what the model finds in it says where the second one spends
the rest (`sampler.zoom`). Knows no question but what is looked for. Times are exact seconds,
``_tokens`` are tokens in the sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from seedvideo import dialogue, pipeline
from seedvideo.dialogue import Sighting
from seedvideo.errors import PlanError
from seedvideo.media.info import MediaWarning
from seedvideo.media.timeline import Span, seconds
from seedvideo.model.backends import Backend, Usage
from seedvideo.pipeline import TaskName
from seedvideo.prepared import Shown, View
from seedvideo.records import PlanRecord, SpanRecord
from seedvideo.sampler.analysis import Method
from seedvideo.sampler.knobs import Knobs
from seedvideo.sampler.parts import Totals
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import PolicyName
from seedvideo.sampler.stamps import time_text
from seedvideo.sampler.zoom import CLOSE_UPS, COARSE_SHARE, ZOOM_POLICIES, close_ups, shares
from seedvideo.stages import (
    Stopwatch,
    decode,
    least_tokens,
    looked_at,
    plan_part,
    view_of,
    window_of,
)
from seedvideo.video import Video

_CLOSE_UP_TASK: Final = "motion"
"""Close-ups are short: what is asked for there is the highest of the usual rates."""

_FAR_LESS: Final = 0.25
"""Share of the best span's probability below which another is not worth tokens."""


@dataclass(frozen=True, kw_only=True)
class PlanWishes:
    """What is asked of the plan; the words of `seedvideo.plan`."""

    policy: PolicyName
    budget_tokens: int | None
    task: TaskName
    fps: float | None
    knobs: Knobs
    analysis: Method


@dataclass(frozen=True)
class Looked:
    """What was seen, and what it cost.

    Args:
        view: what the model is shown when it answers.
        plan: totals over all looks.
        usages: tokens of the answers that were asked for on the way.
        warnings: what decoding met.
    """

    view: View
    plan: PlanRecord
    usages: tuple[Usage, ...] = ()
    warnings: tuple[MediaWarning, ...] = ()


def look(clip: Video, backend: Backend, wishes: PlanWishes, spent: Stopwatch) -> Looked:
    """One plan for all of the budget."""
    plan, view = _first(clip, backend, wishes, spent)
    return Looked(view, PlanRecord.of(plan), warnings=tuple(clip.reader.report.warnings))


def look_twice(
    clip: Video, backend: Backend, wishes: PlanWishes, looked_for: str, spent: Stopwatch
) -> Looked:
    """A coarse plan, then close-ups of where the model says that it finds something.

    Where it finds nothing, or says nothing that can be read, all of the window is looked at again.
    A single frame is looked at once. What the first look showed outside of the close-ups is shown
    again if the budget bears that too.

    Raises:
        PlanError: ``plan.invalid`` if the policy does not zoom; ``plan.over_budget`` if the first
            look's part of the budget is less than a frame.
    """
    check_zooms(wishes.policy)
    window = window_of(clip, wishes.knobs)
    if sum(time in window for time in clip.times) == 1:
        return look(clip, backend, wishes, spent)
    budget = wishes.budget_tokens
    if budget is None:
        budget = backend.geometry.default_budget_tokens
    least = least_tokens(backend)
    if int(budget * COARSE_SHARE) < least:
        raise PlanError(
            "plan.over_budget",
            f"a first look takes {least:,} tokens, a quarter of the budget is"
            f" {int(budget * COARSE_SHARE):,}",
            hint=f"zoom with a budget of at least {int(least / COARSE_SHARE):,} tokens",
        )
    # A part of the budget may be too small for a rate that all of it bears.
    knobs = replace(wishes.knobs, min_fps=None)
    coarse_wishes = replace(wishes, budget_tokens=int(budget * COARSE_SHARE), knobs=knobs)
    coarse, view = _first(clip, backend, coarse_wishes, spent)
    warnings = list(clip.reader.report.warnings)
    with spent.on("model"):
        seen = dialogue.sight(backend, view, looked_for, top=CLOSE_UPS, thinking=False)
    rest = budget - coarse.charged_tokens
    most = min(rest // least, knobs.max_frames or rest)
    named = _worth_a_look(seen)[:most]
    shown = [time for time, _ in view.frames]
    spans = close_ups(named, window=window, shown=shown, times=clip.times) if named else [window]
    close_wishes = replace(
        wishes,
        knobs=knobs,
        task=_CLOSE_UP_TASK if named else wishes.task,
        fps=None if named else wishes.fps,
    )
    with spent.on("plan"):
        closer = _plan_spans(
            clip,
            backend,
            close_wishes,
            spans,
            shares(spans, budget_tokens=rest, least_tokens=least),
        )
    with spent.on("decode"):
        frames = [frame for group in decode(clip, closer) for frame in group]
    again, repeated = _outside(view.frames, spans, backend)
    costs = [plan.charged_tokens for plan in (coarse, *closer)]
    frames_left = (knobs.max_frames or len(frames) + len(again)) - len(frames)
    if sum(costs) + repeated.tokens > budget or len(again) > frames_left:
        again, repeated = [], Totals(0, 0, 0)
    every = sorted([*frames, *again], key=lambda frame: frame[0])
    return Looked(
        view=view_of(clip, every, window, looked_at(clip, wishes.policy, wishes.analysis)),
        plan=PlanRecord.counted(
            coarse,
            _sum([coarse.totals, *(plan.totals for plan in closer), repeated]),
            charged_tokens=sum(costs) + repeated.tokens,
            budget_tokens=budget,
            zoom=tuple(
                SpanRecord(start_s=seconds(span.start), end_s=seconds(span.end))
                for span in (spans if named else [])
            ),
        ),
        usages=(seen.usage,),
        warnings=(*warnings, *clip.reader.report.warnings),
    )


def _worth_a_look(seen: Sighting) -> list[tuple[Fraction, Fraction]]:
    """The spans that were found, without those that are far less probable than the best."""
    scores = seen.scores or (1.0,) * len(seen.moments)
    return [
        (moment.start, moment.end)
        for moment, score in zip(seen.moments, scores, strict=True)
        if score >= _FAR_LESS * scores[0]
    ]


def check_zooms(policy: str) -> None:
    """Refuse a policy that cannot spend a part of a budget on a part of a video.

    Raises:
        PlanError: ``plan.invalid``.
    """
    if policy not in ZOOM_POLICIES:
        raise PlanError(
            "plan.invalid",
            f"policy {policy} does not zoom",
            hint=f"zoom with {' or '.join(ZOOM_POLICIES)}",
        )


def _first(
    clip: Video, backend: Backend, wishes: PlanWishes, spent: Stopwatch
) -> tuple[Plan, View]:
    with spent.on("plan"):
        plan = pipeline.plan(
            clip,
            policy=wishes.policy,
            budget_tokens=wishes.budget_tokens,
            task=wishes.task,
            fps=wishes.fps,
            knobs=wishes.knobs,
            analysis=wishes.analysis,
            model=backend,
        )
        seen = looked_at(clip, wishes.policy, wishes.analysis)
    with spent.on("decode"):
        (frames,) = decode(clip, [plan])
    return plan, view_of(clip, frames, window_of(clip, wishes.knobs), seen)


def _plan_spans(
    clip: Video,
    backend: Backend,
    wishes: PlanWishes,
    spans: Sequence[Span],
    budgets_tokens: Sequence[int],
) -> list[Plan]:
    """A plan for each span, within its share; they share the most frames evenly."""
    most = wishes.knobs.max_frames
    return [
        plan_part(
            clip,
            backend,
            policy=wishes.policy,
            budget_tokens=tokens,
            knobs=replace(
                wishes.knobs,
                start=span.start,
                end=span.end,
                max_frames=None if most is None else most // len(spans),
            ),
            analysis=wishes.analysis,
            task=wishes.task,
            fps=wishes.fps,
        )
        for span, tokens in zip(spans, budgets_tokens, strict=True)
    ]


def _outside(frames: Shown, spans: Sequence[Span], backend: Backend) -> tuple[Shown, Totals]:
    """The frames that lie in none of the spans, and what they cost once more."""
    outside = [(time, pixels) for time, pixels in frames if not any(time in span for span in spans)]
    visual = sum(
        backend.geometry.tokens(width_px=pixels.shape[1], height_px=pixels.shape[0])
        for _, pixels in outside
    )
    text = sum(backend.frame_text_tokens(time_text(time)) for time, _ in outside)
    return outside, Totals(len(outside), visual, text)


def _sum(totals: Sequence[Totals]) -> Totals:
    return Totals(
        frames=sum(each.frames for each in totals),
        visual_tokens=sum(each.visual_tokens for each in totals),
        text_tokens=sum(each.text_tokens for each in totals),
    )
