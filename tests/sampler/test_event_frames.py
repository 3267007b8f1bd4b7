"""Frames of found events: what one budget buys, a larger one buys too."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seedvideo
from seedvideo.sampler.event_frames import (
    EventPurchases,
    FoundEvent,
    buy_event_frames,
    order_events,
    report_events,
)
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.utility import Peak, SegmentDemand
from tests.sampler.demands import LEVELS, Found, adaptive, demand, flash, segments
from tests.sampler.event_clips import FLASH_S, SCENES, X264, filmed
from tests.sampler.plans import make_plan
from tests.sampler.videos import even_times, text_cost, video
from tests.tiers import by_tier, examples, quick_first, slow

BUDGETS = tuple(round(2048 * 1.25**step) for step in range(17))
"""From 2,048 to 72,760 tokens in steps of a quarter."""


def sign(
    at: Fraction | int | str,
    *,
    strength: float = 60.0,
    confidence: float = 1.0,
    in_busy_time: bool = False,
) -> SegmentDemand:
    """A brief small event, as the analysis describes it: a segment of its own."""
    start = Fraction(at)
    end = start + Fraction(1, 2)
    peak = Peak(start, strength, end, last=start + Fraction(2, 5), in_busy_time=in_busy_time)
    return replace(
        demand(start, end, event_s=0.5, detail_tokens=400.0, peaks=(peak,)),
        events_per_s=2 * confidence,
    )


def with_signs(signs: list[SegmentDemand], seconds: int, *, busy: float = 0.0) -> Found:
    """Calm content with signs."""
    parts: list[SegmentDemand] = []
    now = Fraction(0)
    for each in signs:
        if each.start > now:
            parts.append(demand(now, each.start, change_s=20.0))
        parts.append(each)
        now = each.end
    parts.append(demand(now, seconds, change_s=20.0))
    return Found(tuple(parts), busy_fraction=busy)


@st.composite
def clips(draw: st.DrawFn) -> tuple[Found, int]:
    """Signs of any credibility in a clip, and its length in seconds."""
    seconds = draw(st.integers(20, 400))
    starts = sorted(draw(st.sets(st.integers(1, seconds - 2), max_size=25)))
    signs = [
        sign(
            start,
            strength=draw(st.floats(8, 120)),
            confidence=draw(st.floats(0.2, 1)),
            in_busy_time=draw(st.booleans()),
        )
        for start in starts
    ]
    return with_signs(signs, seconds, busy=draw(st.sampled_from([0.0, 0.4, 0.8, 1.0]))), seconds


def own_frames(plan: Plan) -> dict[Fraction, int]:
    """Return the sizes of the frames that were bought for events, by time."""
    assert plan.decision is not None
    bought = {event.frame for event in plan.decision.events}
    return {frame.pts: frame.tokens for frame in plan.frames if frame.pts in bought}


@slow
@given(clips(), st.sampled_from([0.0, 0.3, 0.5]), st.none() | st.integers(8, 60))
@examples(40)
def test_a_larger_budget_shows_every_event_that_a_smaller_one_shows(
    clip: tuple[Found, int], coverage: float, max_frames: int | None
) -> None:
    found, seconds = clip
    peaks = {peak.time: peak for each in found.demands for peak in each.peaks}
    before: dict[Fraction, Fraction] = {}
    for budget in BUDGETS:
        plan = adaptive(
            found, seconds * 30, budget_tokens=budget, coverage=coverage, max_frames=max_frames
        )
        assert plan.charged_tokens <= budget
        assert len(plan.frames) <= (max_frames or 4096)
        assert all(low.pts < high.pts for low, high in pairwise(plan.frames))
        decision = plan.decision
        assert decision is not None
        assert {event.time for event in decision.events} == set(peaks)
        now = {event.time: event.frame for event in decision.events if event.frame is not None}
        assert decision.event_frames == len(set(now.values()))
        assert before.items() <= now.items()
        assert set(now.values()) <= {frame.pts for frame in plan.frames}
        for time, frame in now.items():
            last = peaks[time].last
            assert last is not None and time <= frame <= last
        before = now


def buy(
    events: tuple[FoundEvent, ...],
    budget: int,
    *,
    share: float = 0.5,
    max_frames: int = 10**6,
    least: int = 0,
) -> EventPurchases:
    return buy_event_frames(
        events,
        event_share=share,
        levels=LEVELS,
        times=even_times(90),
        text_tokens=text_cost,
        budget_tokens=budget,
        max_frames=max_frames,
        reserved=(least * 140, least),
    )


@given(
    segments(first=0, after=90),
    st.floats(0, 1),
    st.lists(st.integers(0, 20_000), min_size=2, max_size=2).map(sorted),
    st.lists(st.integers(1, 12), min_size=2, max_size=2).map(sorted),
    st.integers(0, 4),
)
@examples(500)
def test_purchases_are_a_prefix_of_one_order(
    need: SegmentDemand, share: float, budgets: list[int], most: list[int], least: int
) -> None:
    order: dict[str, Any] = {"times": even_times(90), "spans": [range(90)], "event_share": share}
    events = order_events([need], **order)
    assert events == order_events([need], **order)
    assert [each.is_credible for each in events] == sorted(
        (each.is_credible for each in events), reverse=True
    )
    shares = [each.share for each in events]
    assert shares == sorted(shares, reverse=True)
    small, large = (
        buy(events, budget, share=share, max_frames=frames, least=least)
        for budget, frames in zip(budgets, most, strict=True)
    )
    assert small.steps == large.steps and small.bought <= large.bought
    for position, level in small.frames.items():
        assert large.frames[position].tokens >= level.tokens
    for made, budget, frames in zip((small, large), budgets, most, strict=True):
        assert made.tokens <= share * budget and len(made.frames) <= share * frames
        assert not made.frames or made.tokens <= budget - least * 140
        times = even_times(90)
        assert made.tokens == sum(
            level.tokens + text_cost(times[position]) for position, level in made.frames.items()
        )


def test_credible_events_come_first_and_are_legible_before_others_are_shown() -> None:
    needs = [
        sign(1, strength=16),
        sign(2, strength=10),
        sign(3, strength=90, in_busy_time=True),
        sign(4, strength=90),
    ]
    times = even_times(150)
    spans = [range(30 * at, 30 * at + 15) for at in (1, 2, 3, 4)]
    events = order_events(needs, times=times, spans=spans, event_share=0.5)
    assert [each.segment for each in events] == [3, 0, 2, 1] or [
        each.segment for each in events
    ] == [3, 0, 1, 2]
    made = buy_event_frames(
        events,
        event_share=0.5,
        levels=LEVELS,
        times=times,
        text_tokens=lambda _: 8,
        budget_tokens=10**6,
        max_frames=100,
        reserved=(0, 0),
    )
    served = [(step.event, step.level.cap_tokens) for step in made.steps]
    assert served == [
        *((0, 128), (1, 128), (0, 256), (1, 256)),
        *((2, 128), (3, 128), (2, 256), (3, 256)),
    ]
    assert [step.tokens for step in made.steps] == [128, 128, 132, 132] * 2


def test_one_frame_shows_two_events_of_one_moment() -> None:
    peaks = (flash(1, certain_s="1/3"), Peak(Fraction(31, 30), 12.0, Fraction(2), Fraction(3, 2)))
    need = replace(demand(0, 3, peaks=peaks), events_per_s=1.0)
    events = order_events([need], times=even_times(90), spans=[range(90)], event_share=0.5)
    assert [(each.position, each.is_shared) for each in events] == [(35, False), (35, True)]
    assert len(buy(events, 10**5).frames) == 1


def test_events_beyond_a_maximum_rate_get_no_frame_of_their_own() -> None:
    peaks = tuple(flash(Fraction(at), lasts="1/5") for at in range(6))
    need = replace(demand(0, 6, peaks=peaks), events_per_s=1.0)
    spans = [range(180)]
    events = order_events([need], times=even_times(180), spans=spans, event_share=0.5, max_fps=0.5)
    assert [each.is_beyond_rate for each in events] == [False] * 3 + [True] * 3


def test_an_even_plan_is_even_besides_the_frames_of_events() -> None:
    found = with_signs([sign(at) for at in (31, 77, 150)], 240, busy=1.0)
    plan = adaptive(found, 240 * 30, budget_tokens=10_240)
    assert plan.decision is not None and plan.decision.is_even
    own = own_frames(plan)
    assert set(own) >= {Fraction(at) + Fraction(1, 5) for at in (31, 77, 150)}
    others = [round(frame.pts * 30) for frame in plan.frames if frame.role != "event"]
    gaps = [later - earlier for earlier, later in pairwise(others)]
    assert max(gaps) - min(gaps) <= 1
    assert plan.charged_tokens > 0.95 * 10_240


def test_full_coverage_buys_no_event() -> None:
    found = with_signs([sign(at) for at in (31, 77, 150)], 240)
    facts, times = video(240 * 30)
    even = make_plan(facts, times, source="x", policy="uniform", budget_tokens=10_240)
    plan = adaptive(found, 240 * 30, budget_tokens=10_240, coverage=1.0)
    assert plan.targets() == even.targets()
    assert plan.decision is not None and plan.decision.event_frames == 0


@pytest.mark.parametrize("busy", [0.0, 0.85])
def test_calm_signs_are_shown_and_legible_at_any_budget_that_pays_for_them(busy: float) -> None:
    starts = range(7, 240, 20)
    found = with_signs([sign(at) for at in starts], 240, busy=busy)
    for budget in BUDGETS[by_tier(0, quick=4) :]:
        plan = adaptive(found, 240 * 30, budget_tokens=budget)
        own = own_frames(plan)
        legible = sum(tokens >= 252 for tokens in own.values())
        # The grid keeps its 16 frames.
        paid = min(budget // 2, budget - 16 * 128)
        assert len(own) >= min(12, paid // 130)
        assert legible >= min(12, (paid - 12 * 130) // 134)


@pytest.mark.parametrize("scene", quick_first(["grain", "crowd", "flicker"]))
def test_events_of_an_analysed_clip_keep_their_frames(tmp_path: Path, scene: str) -> None:
    path = filmed(tmp_path / "clip.mp4", SCENES[scene], f"{X264} -crf 28")
    before: dict[Fraction, Fraction] = {}
    with seedvideo.open(path) as video:
        for budget in BUDGETS:
            plan = seedvideo.plan(video, budget_tokens=budget)
            assert plan.decision is not None
            assert plan.charged_tokens <= budget
            events = plan.decision.events
            now = {event.time: event.frame for event in events if event.frame is not None}
            assert before.items() <= now.items()
            assert set(now.values()) <= {frame.pts for frame in plan.frames}
            before = now
    assert any(FLASH_S[0] <= frame < FLASH_S[1] for frame in before.values())


@pytest.mark.parametrize(
    ("detail_tokens", "budget_tokens", "outcome"),
    [(400.0, 20_000, "legible"), (4000.0, 20_000, "largest"), (4000.0, 2200, "shown")],
)
def test_a_frame_too_small_to_read_is_not_called_legible(
    detail_tokens: float, budget_tokens: int, outcome: str
) -> None:
    needs = [replace(sign(1), detail_tokens=detail_tokens)]
    times, budget = even_times(90), budget_tokens // 10
    events = order_events(needs, times=times, spans=[range(30, 45)], event_share=0.9)
    made = buy_event_frames(
        events,
        event_share=0.9,
        levels=LEVELS,
        times=times,
        text_tokens=lambda _: 8,
        budget_tokens=budget,
        max_frames=100,
        reserved=(0, 0),
    )
    reports = report_events(
        events, made, times=times, text_tokens=lambda _: 8, budget_tokens=budget
    )
    assert [each.outcome for each in reports] == [outcome]


@pytest.mark.parametrize("max_fps", [0.25, 0.5, 1.0])
def test_an_even_plan_keeps_a_maximum_rate_with_its_frames_of_events(max_fps: float) -> None:
    found = with_signs([sign(at) for at in range(7, 240, 20)], 240, busy=1.0)
    fast = replace(found, demands=tuple(replace(each, change_s=0.2) for each in found.demands))
    plan = adaptive(fast, 240 * 30, budget_tokens=81_920, max_fps=max_fps)
    assert plan.decision is not None and plan.decision.is_even and plan.decision.event_frames == 12
    assert len(plan.frames) <= 240 * max_fps
