"""The published rule: golden values of the official code on a 30-fps source."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.config import Limits
from seedvideo.errors import PlanError
from seedvideo.sampler.geometry import LEVELS_TOKENS, TokenGeometry
from seedvideo.sampler.plan import Plan
from tests.sampler.plans import make_plan
from tests.sampler.videos import even_times, info, video
from tests.tiers import examples

# Last second that still gets each level, by rate, to a tenth of a second; after the last of them
# 640 frames at the lowest level.
LAST_SECONDS: dict[int, list[float]] = {
    1: [128, 160, 213, 320, 512, 640],
    2: [64, 80, 106.5, 160, 256, 320],
    3: [42.7, 53.3, 71, 106.7, 170.7, 213.3],
    5: [25.6, 32, 42.6, 64, 102.4, 128],
}
MOST_FRAMES = [128, 160, 213, 320, 512, 640]
THRESHOLDS = [(fps, i) for fps in LAST_SECONDS for i in range(6)]


def seed15(
    count: int, *, fps: float = 1.0, source_fps: Fraction | int = 30, **options: Any
) -> Plan:
    facts, times = video(count, source_fps)
    return make_plan(facts, times, source="x.mp4", policy="seed1.5", fps=fps, **options)


def official(count: int, vfps: float, fps: float, budget: int = 81_920) -> tuple[list[int], int]:
    """The official code's selection, with its own operations."""
    n_frames = min(max(math.ceil(count / vfps * fps), 16), count)
    indices = np.linspace(0, count - 1, n_frames).round().astype(int).tolist()
    for level in LEVELS_TOKENS:
        max_pixels = level * 28 * 28
        if len(indices) * max_pixels / 28 / 28 <= budget:
            return indices, level
    most = int(budget / max_pixels * 28 * 28)
    chosen = np.linspace(0, len(indices) - 1, most).round().astype(int).tolist()
    return [indices[index] for index in chosen], level


@pytest.mark.parametrize(("fps", "i"), THRESHOLDS)
def test_the_last_frame_count_of_each_level(fps: int, i: int) -> None:
    most = MOST_FRAMES[i]
    count = most * 30 // fps
    assert count / 30 == pytest.approx(LAST_SECONDS[fps][i], abs=0.05)
    plan = seed15(count, fps=fps)
    assert plan.totals.frames == most
    assert plan.segments[0].level_tokens == LEVELS_TOKENS[i]
    assert plan.charged_tokens == most * LEVELS_TOKENS[i] <= 81_920


@pytest.mark.parametrize(("fps", "i"), THRESHOLDS)
def test_the_first_frame_count_after_each_level(fps: int, i: int) -> None:
    plan = seed15(MOST_FRAMES[i] * 30 // fps + 1, fps=fps)
    lowest = i == 5
    assert plan.totals.frames == (640 if lowest else MOST_FRAMES[i] + 1)
    assert plan.segments[0].level_tokens == (128 if lowest else LEVELS_TOKENS[i + 1])
    assert plan.charged_tokens <= 81_920


@pytest.mark.parametrize(
    ("seconds", "frames", "level", "charged"),
    [
        (5, 16, 640, 10_240),
        (60, 60, 640, 38_400),
        (129, 129, 512, 66_048),
        (321, 321, 160, 51_360),
        (3600, 640, 128, 81_920),
    ],
)
def test_published_examples(seconds: int, frames: int, level: int, charged: int) -> None:
    plan = seed15(seconds * 30)
    assert plan.totals.frames == frames
    assert {frame.width_px * frame.height_px // 784 for frame in plan.frames} == {
        {640: 594, 512: 480, 160: 144, 128: 120}[level]
    }
    assert plan.charged_tokens == charged
    assert plan.frames[0].pts == 0
    assert plan.frames[-1].pts == Fraction(seconds * 30 - 1, 30)


@given(
    count=st.integers(1, 40_000),
    vfps=st.sampled_from(
        [Fraction(30), Fraction(30_000, 1001), Fraction(24_000, 1001), Fraction(25), Fraction(7)]
    ),
    fps=st.sampled_from([0.2, 1, 2, 3, 5, 30]),
)
@examples(60)
def test_positions_equal_the_official_code(count: int, vfps: Fraction, fps: float) -> None:
    plan = seed15(count, fps=fps, source_fps=vfps)
    positions, level = official(count, float(vfps), fps)
    assert [frame.pts * vfps for frame in plan.frames] == positions
    assert plan.segments[0].level_tokens == level


def test_a_rounding_error_of_the_official_code_is_kept() -> None:
    # 30000 frames at 30000/1001 last 1001 s, which as floats come to a little more.
    count, vfps = 30_000, Fraction(30_000, 1001)
    assert count / float(vfps) > 1001 or count / float(vfps) == 1001
    plan = seed15(count, source_fps=vfps, budget_tokens=10**6)
    assert plan.totals.frames == math.ceil(count / float(vfps))


@pytest.mark.parametrize(("task", "frames"), [("general", 60), ("detail", 120), ("motion", 300)])
def test_tasks_name_rates(task: str, frames: int) -> None:
    facts, times = video(1800)
    plan = make_plan(facts, times, source="x", policy="seed1.5", rate_preset=task)
    assert plan.totals.frames == frames
    faster = make_plan(facts, times, source="x", policy="seed1.5", rate_preset=task, fps=3)
    assert faster.totals.frames == 180, "a given rate goes before the task's"


def test_exact_times_are_used_at_a_variable_rate() -> None:
    # 100 frames in the first second, then one a second: the official code gives other times.
    times = (*even_times(100, 100), *(1 + time for time in even_times(100, 1)))
    facts = info(duration=101, fps_avg=Fraction(200, 101))
    plan = make_plan(facts, times, source="x", policy="seed1.5")
    positions, _ = official(200, 200 / 101, 1)
    assert [frame.pts for frame in plan.frames] == [times[position] for position in positions]


def test_a_still_image_is_one_frame() -> None:
    facts = info(duration=Fraction(1, 25), fps_avg=None, is_image=True)
    plan = make_plan(facts, [Fraction(0)], source="photo.jpg", policy="seed1.5")
    assert [frame.pts for frame in plan.frames] == [0]
    assert plan.charged_tokens == 640
    assert plan.frames[0].reason == "only frame, level 640"


def test_a_short_clip_gives_every_frame() -> None:
    plan = seed15(10)
    assert plan.totals.frames == 10
    assert plan.frames[1].reason == "every frame, level 640"


@pytest.mark.parametrize(
    ("budget", "frames", "level"),
    [(128, 1, 128), (255, 1, 128), (2048, 16, 128), (2560, 16, 160), (10_240, 16, 640)],
)
def test_other_budgets(budget: int, frames: int, level: int) -> None:
    plan = seed15(300, budget_tokens=budget)
    assert (plan.totals.frames, plan.segments[0].level_tokens) == (frames, level)


def test_not_even_one_frame() -> None:
    with pytest.raises(PlanError, match="lowest level") as caught:
        seed15(300, budget_tokens=127)
    assert caught.value.code == "plan.over_budget"
    assert "128" in caught.value.hint


def test_the_same_rule_with_another_geometry() -> None:
    nano = TokenGeometry("nano", 64, (64, 32, 16), 1, 1024)
    plan = seed15(900, geometry=nano)
    assert plan.budget_tokens == 1024
    assert (plan.totals.frames, plan.segments[0].level_tokens) == (30, 32)


def test_the_limit_of_frames_subsamples_evenly() -> None:
    plan = seed15(9000, fps=30, budget_tokens=10**9, limits=Limits(max_sampled_frames=100))
    assert plan.totals.frames == 100
    assert plan.frames[-1].pts == Fraction(8999, 30)
    assert plan.frames[1].reason == "every frame, thinned, level 640"


def test_the_plan_states_that_the_real_total_differs() -> None:
    plan = seed15(128 * 30)
    assert plan.charged_tokens == 81_920
    assert plan.totals.tokens == 128 * (594 + 8)
    assert "level caps, without text" in plan.summary()


def test_a_level_cannot_be_given() -> None:
    with pytest.raises(PlanError, match="does not support levels_tokens"):
        seed15(300, levels_tokens=(640,))
