"""The adaptive policy on analyses made by hand: guarantees for any analysis."""

import json
import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.config import PRESET_FPS, Limits
from seedvideo.errors import PlanError
from seedvideo.sampler.geometry import SEED, TokenGeometry
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.utility import EVENT_VALUE_S, FrameCounts, expected_utility
from tests.sampler.demands import Found, adaptive, demand, flash, founds, structured
from tests.sampler.plans import make_plan
from tests.sampler.videos import even_times, info, text_cost, video
from tests.tiers import examples, quick_first, slow

NANO = TokenGeometry("nano", 64, (48, 30, 16), 12, 384, min_frames=8)
TIGHT = 1 + 1e-9


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    ticks = draw(st.integers(1, 4000))
    found = draw(founds(ticks))
    # A variable rate: a part of the frames is there.
    keep = draw(st.sampled_from([1, 1, 2, 7, 40]))
    dice = np.random.default_rng(draw(st.integers(0, 99)))
    kept = np.flatnonzero(dice.random(ticks) < 1 / keep).tolist() or [0]
    times = tuple(Fraction(tick, 30) for tick in kept)
    length = Fraction(ticks, 30)
    return {
        "info": info(
            duration=length,
            fps_avg=draw(st.none() | st.just(len(times) / length)),
            width_px=draw(st.integers(20, 4000)),
            height_px=draw(st.integers(20, 2500)),
        ),
        "times": times,
        "source": "any.mp4",
        "policy": "adaptive",
        "analysis": found,
        "geometry": draw(st.sampled_from([SEED, NANO])),
        "budget_tokens": draw(st.integers(700, 100_000)),
        "rate_preset": draw(st.sampled_from(["general", "detail", "motion"])),
        "text_tokens": text_cost,
        "coverage": draw(st.none() | st.floats(0, 1)),
        "max_frames": draw(st.none() | st.integers(1, 200)),
        "max_fps": draw(st.none() | st.floats(0.05, 60)),
    }


@given(requests())
@examples(250)
def test_what_every_plan_promises(request: dict[str, Any]) -> None:
    plan = make_plan(**request)
    assert plan.charged_tokens == plan.totals.tokens <= plan.budget_tokens
    assert all(earlier.pts < later.pts for earlier, later in pairwise(plan.frames))
    assert {frame.pts for frame in plan.frames} <= set(request["times"])
    assert len(plan.frames) <= (request["max_frames"] or 4096)
    for frame in plan.frames:
        assert frame.text_tokens == text_cost(frame.pts)
        assert "; level " in frame.reason
    assert plan.segments[0].start == 0
    assert all(one.end == other.start for one, other in pairwise(plan.segments))
    decision = plan.decision
    assert decision is not None
    assert decision.even_worth_s <= decision.worth_s * 1.01 * TIGHT
    assert decision.worth_s <= decision.bound_s * TIGHT
    assert decision.is_even or decision.coverage_frames <= len(plan.frames)
    assert make_plan(**request) == plan
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@given(requests())
@examples(150)
def test_the_coverage_grid_is_never_given_up(request: dict[str, Any]) -> None:
    plan = make_plan(**request)
    decision = plan.decision
    assert decision is not None
    if decision.is_even:
        assert len(plan.frames) >= decision.coverage_frames
        return
    # What `uniform` makes of the same share is in the plan, frame by frame, at its size or larger;
    # unless the best even plan of all has fewer frames. Only one frame of a still picture is large.
    stills = [each for each in request["analysis"].demands if each.still is not None]
    share, budget = decision.coverage_share, request["budget_tokens"] - decision.event_tokens
    facts, bounds = request["info"], (request["max_fps"], request["max_frames"])
    if int(share * budget) < 1 or bounds != (None, None):
        return
    lowest = request["geometry"].levels_tokens[-1]
    if int(share * budget) < (lowest + 20) * request["geometry"].min_frames:
        return
    grid = make_plan(
        facts,
        request["times"],
        source="x",
        policy="uniform",
        geometry=request["geometry"],
        budget_tokens=int(share * budget),
        rate_preset=request["rate_preset"],
        text_tokens=text_cost,
    )
    shown = {frame.pts: frame.tokens for frame in plan.frames}
    assert decision.coverage_frames >= min(len(grid.frames), request["geometry"].min_frames)
    if decision.coverage_frames < len(grid.frames):
        return
    assert len(grid.frames) == decision.coverage_frames
    for frame in grid.frames:
        is_still = any(each.start <= frame.pts < each.end for each in stills)
        assert shown[frame.pts] >= (1 if is_still else frame.tokens)


@given(
    frames=st.integers(600, 20_000),
    budget=st.integers(5000, 100_000),
    share=st.floats(0.2, 1),
    data=st.data(),
)
@examples(60)
def test_no_gap_exceeds_that_of_the_grid(
    frames: int, budget: int, share: float, data: st.DataObject
) -> None:
    found = replace(data.draw(founds(frames)), busy_fraction=0.0)
    plan = adaptive(found, frames, budget_tokens=budget, coverage=share)
    assert plan.decision is not None
    budget -= plan.decision.event_tokens
    # As many as its share pays for at the lowest level, one a second at most; or as many as all of
    # it pays for at the highest.
    count = min(int(share * budget) // 128, -(-frames // 30), budget // (640 + 20))
    times = [frame.pts for frame in plan.frames]
    assert times[0] == 0 and times[-1] == Fraction(frames - 1, 30)
    longest = max(later - earlier for earlier, later in pairwise(times))
    assert longest <= Fraction(frames - 1, 30 * (count - 1)) + Fraction(1, 30)


@given(frames=st.integers(1, 5000), budget=st.integers(700, 100_000), data=st.data())
@examples(60)
def test_full_coverage_is_the_even_plan(frames: int, budget: int, data: st.DataObject) -> None:
    found = data.draw(founds(frames))
    facts, times = video(frames)
    even = make_plan(facts, times, source="x", policy="uniform", budget_tokens=budget)
    asked = adaptive(found, frames, budget_tokens=budget, coverage=1.0)
    # Blank and frozen stretches stay small in it, and events get frames: see test_freezes and
    # test_event_frames.
    moving = tuple(replace(each, still=None, peaks=()) for each in found.demands)
    busy = replace(found, busy_fraction=1.0, demands=moving)
    flooded = adaptive(busy, frames, budget_tokens=budget)
    assert asked.targets() == even.targets()
    # Where everything is busy the plan is even too, at the size of most utility.
    assert len({frame.tokens for frame in flooded.frames}) == 1
    positions = [round(frame.pts * 30) for frame in flooded.frames]
    gaps = [later - earlier for earlier, later in pairwise(positions)]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1
    for plan in (asked, flooded):
        assert plan.decision is not None and plan.decision.is_even


@pytest.mark.parametrize("change_s", quick_first([0.1, 0.4, 1.0]))
@pytest.mark.parametrize("seconds", quick_first([300, 1200, 3600], 2))
@pytest.mark.parametrize("pieces", [1, 7])
def test_content_without_structure_is_sampled_evenly(
    change_s: float, seconds: int, pieces: int
) -> None:
    parts = tuple(
        demand(
            Fraction(seconds * part, pieces),
            Fraction(seconds * (part + 1), pieces),
            change_s=change_s,
        )
        for part in range(pieces)
    )
    plan = adaptive(Found(parts), seconds * 30)
    positions = [round(frame.pts * 30) for frame in plan.frames]
    gaps = [later - earlier for earlier, later in pairwise(positions)]
    assert max(gaps) - min(gaps) <= 1
    assert len({frame.tokens for frame in plan.frames}) == 1
    assert plan.charged_tokens > 0.98 * 81_920


@given(requests(), st.sampled_from(SEED.levels_tokens), st.integers(0, 2**32))
@examples(150)
def test_no_uniform_plan_with_the_frames_of_the_grid_has_more_utility(
    request: dict[str, Any], cap: int, seed: int
) -> None:
    # Detail is counted in squares of 28 px, which are this geometry's tokens.
    geometry = request["geometry"] = SEED
    cap = geometry.levels_tokens[seed % len(geometry.levels_tokens)]
    facts, times = request["info"], request["times"]
    request |= {"text_tokens": lambda _: 8, "coverage": None, "max_frames": None, "max_fps": None}
    plan = make_plan(**request)
    decision = plan.decision
    assert decision is not None
    width_px, height_px = geometry.size(
        width_px=facts.width_px, height_px=facts.height_px, level_tokens=cap
    )
    tokens = geometry.tokens(width_px=width_px, height_px=height_px)
    # Beyond the task's rate, or two frames a change, the policy does not go either.
    most = 0
    for need in request["analysis"].demands:
        inside = sum(need.start <= moment < need.end for moment in times)
        most_fps = min(max(PRESET_FPS[request["rate_preset"]], 2 / need.picture_s), 5)
        most += min(inside, max(1, math.ceil(need.length_s * most_fps)))
    count = min(most, (plan.budget_tokens - decision.event_tokens) // (tokens + 8))
    if count < max(decision.coverage_frames, 2) or decision.coverage_share == 1:
        return
    even = make_plan(
        facts,
        times,
        source="x",
        policy="uniform",
        geometry=geometry,
        budget_tokens=count * (tokens + 8),
        fps=1000,
        text_tokens=lambda _: 8,
        levels_tokens=(cap,),
        max_frames=count,
    )
    gap_s = float(facts.duration) / decision.coverage_frames
    total = 0.0
    for need in request["analysis"].demands:
        inside = sum(need.start <= frame.pts < need.end for frame in even.frames)
        counts = FrameCounts(fine=inside, fine_tokens=tokens)
        # Events at peaks are left out: what the even plan meets of them only adds to it.
        value_s = max(EVENT_VALUE_S, 2 * gap_s)
        total += float(expected_utility(need.without_rest(), counts, event_value_s=value_s))
    if len(even.frames) >= decision.coverage_frames:
        assert total <= decision.worth_s * 1.01 * TIGHT


@slow
def test_a_flash_in_a_still_hour_is_shown_large() -> None:
    hour = demand(
        0,
        3600,
        change_s=600,
        event_s=0.4,
        detail_tokens=400,
        events_per_s=1 / 3600,
        peaks=(flash("1234.5"),),
    )
    for budget in (5000, 20_000, 81_920):
        plan = adaptive(Found((hour,)), 3600 * 30, budget_tokens=budget)
        shown = [f for f in plan.frames if Fraction("1234.5") <= f.pts < Fraction("1234.9")]
        assert max(frame.tokens for frame in shown) >= 480
        assert any("something new for 0.40 s" in frame.reason for frame in shown)


def test_what_is_busy_cannot_take_the_grid() -> None:
    calm, busy = demand(0, 1200, change_s=30), demand(1200, 2400, change_s=0.2, events_per_s=4)
    plan = adaptive(Found((calm, busy), busy_fraction=0.5), 2400 * 30)
    assert plan.decision is not None
    assert plan.decision.coverage_share == pytest.approx(0.5 + 0.5 * 2 / 7)
    still = [frame for frame in plan.frames if frame.pts < 1200]
    assert sum(frame.tokens + frame.text_tokens for frame in still) >= 0.28 * 81_920


def test_slides_get_large_frames_and_motion_gets_many() -> None:
    slides = demand(0, 600, change_s=120, detail_tokens=500)
    sport = demand(600, 1200, change_s=0.5, detail_tokens=100, starts_shot=True)
    plan = adaptive(Found((slides, sport)), 1200 * 30)
    first, second = plan.segments
    assert first.level_tokens == 640
    assert second.fps > 1.2 * first.fps
    mean = [
        np.mean([f.tokens for f in plan.frames if segment.start <= f.pts < segment.end])
        for segment in plan.segments
    ]
    assert mean[0] > 1.4 * mean[1]


def test_the_embedded_model_gets_its_eight_frames() -> None:
    for seconds in (3, 10, 60, 600):
        calm = demand(0, seconds, change_s=30)
        plan = adaptive(Found((calm,)), seconds * 30, geometry=NANO, text_tokens=text_cost)
        assert plan.totals.frames >= 8
        assert 0.85 * 384 < plan.charged_tokens <= 384


def test_detail_is_a_matter_of_pixels_not_of_tokens() -> None:
    need = Found((demand(0, 60, change_s=5, detail_tokens=52.24),))
    plan = adaptive(need, 60 * 30, geometry=NANO)
    # 52.24 squares of 28 px have the area of ten squares of 64 px.
    needs = plan.segments[0].needs
    assert needs is not None
    assert needs.detail_tokens == pytest.approx(10, rel=1e-3)
    shown = plan.frames[0]
    assert f"reads {100 * (1 - np.exp(-shown.tokens / 10)):.0f}% of the detail" in shown.reason


# Bounds


def test_a_window_is_planned_alone() -> None:
    plan = adaptive(structured(), 600 * 30, start_s=Fraction(100), end_s=Fraction(320))
    assert plan.frames[0].pts == 100
    assert plan.frames[-1].pts == 320 - Fraction(1, 30)
    assert plan.segments[0].start == 100
    assert plan.segments[-1].end == 320
    assert plan.charged_tokens > 0.95 * 81_920
    assert plan.media.duration == 600


def test_rates_are_bounds() -> None:
    fast = adaptive(structured(60), 60 * 30, max_fps=0.5)
    assert all(segment.fps <= 0.55 for segment in fast.segments)
    slow = adaptive(structured(), 600 * 30, min_fps=1)
    gaps = [later.pts - earlier.pts for earlier, later in pairwise(slow.frames)]
    assert max(gaps) <= Fraction(31, 30)


def test_levels_and_frames_are_bounds() -> None:
    plan = adaptive(structured(), 600 * 30, levels_tokens=(160, 512), max_frames=50)
    assert {frame.tokens for frame in plan.frames} <= {480, 144}
    assert 45 <= len(plan.frames) <= 50


def test_what_cannot_be_had() -> None:
    with pytest.raises(PlanError, match="min_fps 3 needs 1,800 frames of at least 120") as e:
        adaptive(structured(), 600 * 30, min_fps=3)
    assert e.value.code == "plan.over_budget"
    with pytest.raises(PlanError, match="one frame at level 128 costs 128"):
        adaptive(structured(), 600 * 30, budget_tokens=127)
    facts, times = video(300)
    with pytest.raises(PlanError, match="needs an analysis"):
        make_plan(facts, times, source="x", policy="adaptive")
    with pytest.raises(PlanError, match="does not cover"):
        make_plan(
            facts,
            times,
            source="x",
            policy="adaptive",
            analysis=Found((demand(0, 5),)),
            start_s=Fraction(6),
        )
    with pytest.raises(PlanError, match="uniform does not support coverage and max_fps"):
        make_plan(facts, times, source="x", policy="uniform", coverage=0.1, max_fps=3.0)


def test_the_limit_on_frames_holds() -> None:
    facts, times = video(600 * 30)
    limits = Limits(max_sampled_frames=40)
    plan = make_plan(
        facts, times, source="x", policy="adaptive", analysis=structured(), limits=limits
    )
    assert 36 <= len(plan.frames) <= 40


def test_unpredictable_text_costs_stay_within_the_budget() -> None:
    # Most expensive in the middle of a segment, where the costs at its ends do not show it.
    def odd(pts: Fraction) -> int:
        return 3 if round(pts, 1) in {0, Fraction(5_999, 10), 300} else 60

    plan = adaptive(structured(), 600 * 30, text_tokens=odd)
    assert 0.97 * 81_920 < plan.charged_tokens <= 81_920


def test_the_summary_states_the_utility_of_the_plan() -> None:
    lines = adaptive(structured(), 600 * 30).summary().splitlines()
    assert "policy    adaptive, seed geometry" in lines
    assert "analysis  by hand, 0% of the time busy" in lines
    (utility,) = (line for line in lines if line.startswith("utility "))
    assert "over the best uniform plan" in utility
    even = adaptive(structured(), 600 * 30, coverage=1.0).summary()
    assert "uniform: no other plan" in even


def test_the_explanation_has_a_row_a_segment() -> None:
    many = Found(tuple(demand(i, i + 1, change_s=1 + i % 9) for i in range(60)))
    plan = adaptive(many, 60 * 30)
    assert "and 52 more segments" in plan.summary()
    assert len(plan.explain().split("\n\n")[1].splitlines()) == 62


def test_an_hour_of_short_shots_is_planned() -> None:
    dice = np.random.default_rng(4)
    cuts = np.sort(dice.choice(np.arange(1, 108_000), size=719, replace=False)).tolist()
    found = Found(
        tuple(
            demand(
                Fraction(first, 30),
                Fraction(after, 30),
                change_s=float(dice.uniform(0.2, 60)),
                detail_tokens=float(dice.uniform(50, 500)),
                starts_shot=True,
            )
            for first, after in pairwise([0, *cuts, 108_000])
        )
    )
    facts, times = info(duration=3600), even_times(108_000)
    plan = make_plan(facts, times, source="x", policy="adaptive", analysis=found)
    assert plan.charged_tokens > 0.99 * 81_920
