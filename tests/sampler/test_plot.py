"""The picture of a plan: what is drawn, and where."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest

from seedvideo.sampler.analysis import Analysis
from seedvideo.sampler.novelty import Signals
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.visualize import _PlanPlot, plot
from seedvideo.utils.timecode import Span
from tests.sampler.demands import Found, demand, flash
from tests.sampler.plans import make_plan
from tests.sampler.videos import video

ORANGE = (214, 96, 30)
GRAY = (140, 146, 154)
BLUE = (172, 196, 214)
PURPLE = (206, 176, 206)


@dataclass(frozen=True)
class Seen(Found):
    """An analysis by hand, with what was seen at each step."""

    signals: Any = None
    unknown: tuple[Span, ...] = ()


def seen(seconds: int = 100) -> Seen:
    """Motion in the second half, and one flash at a quarter of the time."""
    count = seconds * 10
    times_s = np.arange(count) / 10
    novelty = np.ones(count, np.float32)
    novelty[count // 4] = 500
    motion = np.where(times_s >= seconds / 2, 50, 0).astype(np.float32)
    half, quarter = Fraction(seconds, 2), Fraction(seconds, 4)
    return Seen(
        (
            demand(0, half, change_s=60, events_per_s=1 / float(half), peaks=(flash(quarter),)),
            demand(half, seconds, change_s=1, starts_shot=True),
        ),
        signals=Signals(
            frame_indices=np.arange(count),
            times_s=times_s,
            novelty=novelty,
            motion=motion,
            detail=np.ones(count, np.float32),
            activity=np.full(count, 3, np.float32),
        ),
    )


def made(found: Seen, **options: Any) -> Plan:
    facts, times = video(100 * 30)
    policy = options.pop("policy", "adaptive")
    return make_plan(facts, times, source="x/clip.mp4", policy=policy, analysis=found, **options)


def drawn(plan: Plan, found: Seen | None) -> np.ndarray:
    return plot(plan, cast(Analysis, found))


def columns_of(picture: np.ndarray, colour: tuple[int, int, int], rows: slice) -> np.ndarray:
    """Where a colour is found in some rows, as a share of the time line."""
    near = (np.abs(picture[rows].astype(int) - colour).max(axis=2) < 12).any(axis=0)
    return (np.flatnonzero(near) - 150) / (1800 - 150 - 40)


def test_what_happens_is_drawn_where_it_happens() -> None:
    found = seen()
    picture = drawn(made(found, budget_tokens=5000), found)
    assert picture.shape == (930, 1800, 3)
    assert picture.dtype == np.uint8
    happens, frames = slice(155, 335), slice(585, 805)
    motion = columns_of(picture, BLUE, happens)
    assert motion.min() > 0.49 and motion.max() > 0.99
    new = columns_of(picture, ORANGE, happens)
    assert ((new[new > 0] > 0.245) & (new[new > 0] < 0.255)).all()
    shown = columns_of(picture, ORANGE, frames)
    assert len(shown) > 0
    assert ((shown > 0.245) & (shown < 0.26)).all()
    grid = columns_of(picture, GRAY, frames)
    assert grid.min() < 0.01 and grid.max() > 0.98


def test_like_activities_have_one_colour() -> None:
    found = seen()
    crowded = replace(
        found.signals,
        motion=np.full(1000, 50, np.float32),
        activity=np.where(np.arange(1000) < 250, 3.2, 9.0).astype(np.float32),
    )
    picture = drawn(made(found, budget_tokens=5000), replace(found, signals=crowded))
    calm, crowd = (columns_of(picture, each, slice(240, 335)) for each in (BLUE, PURPLE))
    assert calm.max() < 0.26 and crowd.min() > 0.24
    assert len(calm) > 300 and len(crowd) > 1000


def test_unknown_time_is_grey() -> None:
    found = replace(
        seen(), unknown=(Span(Fraction(10), Fraction(20)), Span(Fraction(90), Fraction(99)))
    )
    picture = drawn(made(found, budget_tokens=5000), found)
    unknown = columns_of(picture, (216, 214, 208), slice(155, 170))
    assert unknown.min() == pytest.approx(0.1, abs=0.01)
    assert unknown.max() == pytest.approx(0.99, abs=0.01)
    assert not ((unknown > 0.21) & (unknown < 0.89)).any()
    known = drawn(made(seen(), budget_tokens=5000), seen())
    assert not len(columns_of(known, (216, 214, 208), slice(155, 170)))


def test_a_window_fills_the_time_line() -> None:
    found = seen()
    part = {"start_s": Fraction(50), "end_s": Fraction(100)}
    picture = drawn(made(found, budget_tokens=5000, **part), found)
    assert columns_of(picture, BLUE, slice(155, 335)).min() < 0.01
    new = columns_of(picture, ORANGE, slice(155, 335))
    assert (new < 0).all()


@pytest.mark.parametrize("policy", ["uniform", "seed1.5", "keyframes"])
def test_any_policy_can_be_drawn(policy: Any) -> None:
    found = seen()
    plan = made(found, policy=policy)
    with_analysis, without = drawn(plan, found), drawn(plan, None)
    assert len(columns_of(with_analysis, BLUE, slice(155, 335))) > 100
    assert len(columns_of(without, BLUE, slice(155, 335))) == 0


def test_the_same_plan_gives_the_same_picture() -> None:
    found = seen()
    plan = made(found)
    assert (drawn(plan, found) == drawn(plan, found)).all()


def test_an_even_plan_with_frames_of_events_is_not_called_uniform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts: list[str] = []
    monkeypatch.setattr(_PlanPlot, "_draw_text", lambda _, x, y, text, *more: texts.append(text))
    busy = replace(seen(), busy_fraction=1.0)
    plan = made(busy, budget_tokens=20_000)
    assert plan.decision is not None and plan.decision.is_even and plan.decision.event_frames
    drawn(plan, busy)
    assert any("uniform besides the frames of events" in text for text in texts)
