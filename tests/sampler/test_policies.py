from fractions import Fraction
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.config import Limits, PolicyName, SamplingConfig
from seedvideo.errors import PlanError
from seedvideo.sampler.geometry import SEED, TokenGeometry
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.policies import POLICIES
from tests.sampler.demands import Found, demand
from tests.sampler.plans import make_plan
from tests.sampler.videos import even_times, info, text_cost, video
from tests.tiers import examples

NANO = TokenGeometry("nano", 64, (64, 48, 32, 16), 1, 2048)
rising_times = st.lists(st.integers(0, 60_000), min_size=1, max_size=300, unique=True).map(
    lambda ticks: tuple(Fraction(tick - min(ticks), 1000) for tick in sorted(ticks))
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    times = draw(rising_times | st.integers(1, 2000).map(even_times))
    facts = info(
        duration=times[-1] + Fraction(1, 30),
        fps_avg=draw(st.none() | st.just(len(times) / (times[-1] + Fraction(1, 30)))),
        width_px=draw(st.integers(20, 4000)),
        height_px=draw(st.integers(20, 2500)),
    )
    positions = st.integers(0, len(times) - 1)
    return {
        "info": facts,
        "times": times,
        "keyframes": tuple(sorted(draw(st.sets(positions, max_size=50)))),
        "policy": draw(st.sampled_from(sorted(set(POLICIES) - {"adaptive"}))),
        "geometry": draw(st.sampled_from([SEED, NANO])),
        "budget_tokens": draw(st.integers(700, 100_000)),
        "rate_preset": draw(st.sampled_from(["general", "detail", "motion"])),
        "source": "any.mp4",
        "text_tokens": text_cost,
    }


@given(requests())
@examples(150)
def test_what_every_plan_promises(request: dict[str, Any]) -> None:
    plan = make_plan(**request)
    assert isinstance(plan.geometry, TokenGeometry)
    unit = plan.geometry.token_px
    assert plan.charged_tokens <= plan.budget_tokens == request["budget_tokens"]
    assert all(earlier.pts < later.pts for earlier, later in pairwise(plan.frames))
    assert {frame.pts for frame in plan.frames} <= set(request["times"])
    for frame in plan.frames:
        assert frame.width_px % unit == frame.height_px % unit == 0
        assert frame.tokens == frame.width_px * frame.height_px // unit**2
        assert frame.tokens <= plan.segments[0].level_tokens
        assert frame.text_tokens == text_cost(frame.pts)
        assert frame.reason
    if plan.policy != "seed1.5":
        assert plan.charged_tokens == plan.totals.tokens
    assert make_plan(**request) == plan
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.segments[0].start == 0
    assert plan.segments[0].end > plan.frames[-1].pts


@given(
    count=st.integers(1, 6000),
    budgets=st.lists(st.integers(700, 100_000), min_size=2, max_size=2).map(sorted),
    width=st.integers(100, 2000),
    height=st.integers(100, 2000),
)
@examples(60)
def test_more_budget_never_buys_less(
    count: int, budgets: list[int], width: int, height: int
) -> None:
    # True for a constant rate. On a variable one a wider spacing can meet more distinct frames.
    facts, times = video(count, width_px=width, height_px=height)
    less, more = (
        make_plan(
            facts, times, source="x", policy="uniform", budget_tokens=budget, text_tokens=text_cost
        )
        for budget in budgets
    )
    assert more.totals.tokens >= less.totals.tokens
    assert more.totals.frames >= less.totals.frames


def uniform(count: int, **options: Any) -> Plan:
    facts, times = video(count, width_px=options.pop("width", 1280), height_px=720)
    return make_plan(facts, times, source="x.mp4", policy="uniform", **options)


@pytest.mark.parametrize(
    ("count", "frames", "level"),
    [
        (300, 16, 640),
        (1800, 60, 640),
        (136 * 30, 136, 640),  # 136 * (594 + 8) = 81,872; the published rule stops at 128
        (137 * 30, 137, 512),
        (640 * 30, 640, 128),  # 640 * (120 + 8) = 81,920
        (3600 * 30, 640, 128),
    ],
)
def test_uniform_packs_by_real_tokens(count: int, frames: int, level: int) -> None:
    plan = uniform(count)
    assert (plan.totals.frames, plan.segments[0].level_tokens) == (frames, level)
    assert plan.charged_tokens == plan.totals.tokens <= 81_920
    assert plan.frames[0].pts == 0
    assert plan.frames[-1].pts == Fraction(count - 1, 30)


def test_uniform_keeps_frames_of_a_small_video_that_the_published_rule_drops() -> None:
    facts, times = video(900 * 30, width_px=320, height_px=240)
    plan = make_plan(facts, times, source="x", policy="uniform")
    assert plan.totals.frames == 81_920 // (99 + 8) == 765


def test_uniform_fills_the_budget_to_the_last_frame() -> None:
    for budget in range(1000, 3000, 97):
        plan = uniform(3000, budget_tokens=budget, text_tokens=text_cost)
        assert plan.charged_tokens <= budget
        assert budget - plan.charged_tokens < 120 + text_cost(Fraction(100))


def test_uniform_at_a_given_level() -> None:
    plan = uniform(60 * 30, levels_tokens=(128,))
    assert (plan.totals.frames, plan.frames[0].tokens) == (60, 120)
    plan = uniform(3600 * 30, levels_tokens=(640,))
    assert plan.totals.frames == 81_920 // 602
    assert plan.frames[5].reason == "1 fps grid, thinned, level 640"


def test_uniform_spaces_evenly_in_time() -> None:
    # 10 s at 30 fps, then 10 s at 3 fps: by position the second half would get a tenth.
    times = (*even_times(300, 30), *(10 + time for time in even_times(30, 3)))
    facts = info(duration=20, fps_avg=Fraction(330, 20))
    plan = make_plan(facts, times, source="x", policy="uniform")
    assert plan.totals.frames == 20
    assert sum(frame.pts >= 10 for frame in plan.frames) == 10


def test_uniform_takes_a_standing_frame_once() -> None:
    times = (Fraction(0), *(100 + time for time in even_times(3000, 30)))
    facts = info(duration=200, fps_avg=Fraction(3001, 200))
    plan = make_plan(facts, times, source="x", policy="uniform")
    assert 100 <= plan.totals.frames <= 103
    assert plan.segments[0].level_tokens == 640


def test_uniform_keeps_sixteen_frames_of_a_clip_that_mostly_stands() -> None:
    times = (*even_times(40, 30), Fraction(1000))
    facts = info(duration=1001, fps_avg=Fraction(41, 1001))
    plan = make_plan(facts, times, source="x", policy="uniform", fps=Fraction(1, 100))
    assert plan.totals.frames == 16


def test_reasons_are_given() -> None:
    plan = uniform(1800)
    assert plan.frames[0].reason == "first frame, level 640"
    assert plan.frames[1].reason == "1 fps grid, level 640"
    assert plan.frames[-1].reason == "last frame, level 640"
    assert uniform(300).frames[1].reason == "16-frame floor, level 640"
    assert uniform(1800, rate_preset="detail").frames[1].reason == "2 fps grid, level 640"


def test_keyframes() -> None:
    facts, times = video(3000)
    keys = tuple(range(0, 3000, 250))
    plan = make_plan(facts, times, keys, source="x", policy="keyframes")
    assert [frame.pts for frame in plan.frames] == [times[key] for key in keys]
    assert plan.frames[3].reason == "keyframe, level 640"


def test_keyframes_are_thinned_to_the_budget() -> None:
    facts, times = video(3000)
    plan = make_plan(facts, times, range(3000), source="x", policy="keyframes", budget_tokens=1290)
    assert plan.totals.frames == 10
    assert plan.frames[-1].pts == times[-1]
    assert plan.frames[1].reason == "keyframe, thinned, level 128"


def test_a_video_without_keyframes_gives_its_first_frame() -> None:
    facts, times = video(300)
    plan = make_plan(facts, times, (), source="x", policy="keyframes")
    assert [frame.pts for frame in plan.frames] == [0]


@pytest.mark.parametrize("policy", ["uniform", "keyframes"])
def test_not_even_one_frame(policy: PolicyName) -> None:
    facts, times = video(300)
    with pytest.raises(PlanError, match="one frame at level 128") as caught:
        make_plan(facts, times, source="x", policy=policy, budget_tokens=127)
    assert caught.value.code == "plan.over_budget"
    assert caught.value.hint == "raise the budget to at least 128 tokens"
    with pytest.raises(PlanError) as caught:
        make_plan(
            facts,
            times,
            source="x",
            policy=policy,
            budget_tokens=127,
            levels_tokens=(640,),
        )
    assert caught.value.hint == "raise the budget to at least 602 tokens or allow a lower level"


@pytest.mark.parametrize("policy", ["uniform", "keyframes"])
def test_one_frame_fits_exactly(policy: PolicyName) -> None:
    facts, times = video(300)
    plan = make_plan(facts, times, source="x", policy=policy, budget_tokens=128)
    assert plan.totals.frames == 1


@pytest.mark.parametrize("policy", ["uniform", "keyframes"])
def test_the_limit_of_frames(policy: PolicyName) -> None:
    facts, times = video(9000)
    plan = make_plan(
        facts,
        times,
        range(9000),
        source="x",
        policy=policy,
        fps=30 if policy == "uniform" else None,
        budget_tokens=10**9,
        limits=Limits(max_sampled_frames=50),
    )
    assert plan.totals.frames == 50
    assert "thinned" in plan.frames[1].reason


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"policy": "best"}, "expected one of seed1.5, uniform, keyframes, adaptive"),
        ({"rate_preset": "speed"}, "expected one of general, detail, motion"),
        ({"fps": 0}, "above 0"),
        ({"fps": -1.0}, "above 0"),
        ({"fps": float("nan")}, "finite"),
        ({"fps": float("inf")}, "finite"),
        ({"levels_tokens": (600,)}, "expected one of 640, 512"),
        ({"start_s": Fraction(10)}, "no frame of x begins at 10 s or later"),
        (
            {"start_s": Fraction("1.01"), "end_s": Fraction("1.02")},
            "begins at 1.01 s or later and before 1.02 s",
        ),
        ({"min_fps": 1.0}, "policy uniform does not support min_fps"),
        ({"policy": "keyframes", "fps": 1}, "does not support fps"),
        ({"policy": "keyframes", "keyframes": (300,)}, "300 frames"),
        ({"policy": "keyframes", "keyframes": (-1, 5)}, "300 frames"),
        ({"times": ()}, "no frames"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    facts, times = video(300)
    good: dict[str, Any] = {"policy": "uniform", "times": times, "keyframes": (0,), "source": "x"}
    with pytest.raises(PlanError, match=words) as caught:
        make_plan(facts, **(good | options))
    assert caught.value.code == "plan.invalid"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels_tokens": ()}, "at least one level"),
        ({"max_frames": 0}, "at least 1"),
        ({"coverage": 1.5}, "0 to 1"),
        ({"coverage": float("nan")}, "0 to 1"),
        ({"min_fps": 0.0}, "min_fps is 0.0"),
        ({"max_fps": float("inf")}, "max_fps is inf"),
        ({"min_fps": 3.0, "max_fps": 2.0}, "min_fps is 3, above max_fps 2"),
        ({"start_s": Fraction(-1)}, "0 or later"),
        ({"start_s": Fraction(5), "end_s": Fraction(5)}, "ends at 5 s"),
        ({"end_s": Fraction(0)}, "after its start at 0 s"),
    ],
)
def test_a_config_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        SamplingConfig(**options)
    assert caught.value.code == "plan.invalid"


@pytest.mark.parametrize("policy", ["seed1.5", "uniform", "keyframes"])
def test_a_window_holds_for_every_policy(policy: PolicyName) -> None:
    facts, times = video(3000)
    bounds = {"start_s": Fraction(20), "end_s": Fraction(61), "max_frames": 9}
    plan = make_plan(facts, times, range(0, 3000, 30), source="x", policy=policy, **bounds)
    assert plan.totals.frames == 9
    assert plan.frames[0].pts == 20
    assert 59 < plan.frames[-1].pts < 61
    assert plan.segments[0].start == 20
    assert plan.segments[0].end == 61
    assert Plan.from_json(plan.to_json()) == plan


def test_each_time_is_counted_once() -> None:
    asked: list[Fraction] = []

    def count_tokens(pts: Fraction) -> int:
        asked.append(pts)
        return 8

    uniform(3600 * 30, text_tokens=count_tokens)
    assert len(asked) == len(set(asked))


def test_every_policy_plans_an_hour() -> None:
    facts, times = video(108_000)
    for policy in get_args(PolicyName):
        plan = make_plan(
            facts,
            times,
            range(0, 108_000, 60),
            source="x",
            policy=policy,
            analysis=Found((demand(0, 3600),)),
        )
        assert plan.charged_tokens <= plan.budget_tokens
        assert plan.frames[-1].pts > 3500
