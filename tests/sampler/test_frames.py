from collections.abc import Generator, Mapping, Sequence
from fractions import Fraction

import numpy as np
import pytest

from seedvideo.media.reader import StrategyName
from seedvideo.media.types import Frame, Target
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.types import PlannedFrame
from seedvideo.video import iter_planned_frames
from tests.sampler.plans import make_plan
from tests.sampler.videos import video


class FakeReader:
    """Gives a black frame for each target; ``moved`` maps a place to the time given instead."""

    def __init__(self, moved: Mapping[int, Fraction] | None = None, missing: int = 0) -> None:
        self.moved = moved or {}
        self.missing = missing
        self.strategy: StrategyName | None = None

    def frames(
        self, targets: Sequence[Target], *, strategy: StrategyName = "auto"
    ) -> Generator[Frame, None, None]:
        self.strategy = strategy
        for index, target in enumerate(targets[: len(targets) - self.missing]):
            pixels = np.zeros((target.height_px, target.width_px, 3), np.uint8)
            yield Frame(self.moved.get(index, target.pts), pixels)


def planned_frames(
    reader: FakeReader, *plans: Plan, strategy: StrategyName = "auto"
) -> list[tuple[PlannedFrame, Frame]]:
    """Pairs of planned and decoded frames of one or several plans."""
    steps = iter_planned_frames(reader, plans, strategy=strategy)
    return [(planned, frame) for _, planned, frame in steps]


@pytest.fixture
def plan() -> Plan:
    facts, times = video(300)
    return make_plan(facts, times, source="x", policy="uniform", levels_tokens=(128,))


def test_each_planned_frame_comes_with_its_picture(plan: Plan) -> None:
    reader = FakeReader()
    pairs = planned_frames(reader, plan, strategy="seek")
    assert reader.strategy == "seek"
    assert [planned for planned, _ in pairs] == list(plan.frames)
    for planned, frame in pairs:
        assert frame.pts == planned.pts
        assert frame.pixels.shape == (planned.height_px, planned.width_px, 3)


def test_the_decoded_time_is_the_truth(plan: Plan) -> None:
    other = plan.frames[3].pts - Fraction(1, 30)
    pairs = planned_frames(FakeReader({3: other}), plan)
    assert len(pairs) == len(plan.frames)
    assert pairs[3][0].pts == plan.frames[3].pts
    assert pairs[3][1].pts == other


def test_a_frame_that_stands_in_twice_is_given_once(plan: Plan) -> None:
    stands_in = plan.frames[2].pts
    pairs = planned_frames(FakeReader({3: stands_in, 4: stands_in}), plan)
    times = [frame.pts for _, frame in pairs]
    assert times == sorted(set(times))
    assert len(pairs) == len(plan.frames) - 2


def test_a_reader_that_gives_too_few_is_not_believed(plan: Plan) -> None:
    with pytest.raises(ValueError, match="shorter"):
        planned_frames(FakeReader(missing=1), plan)


def test_a_frame_that_stands_in_for_two_plans_is_given_to_both(plan: Plan) -> None:
    stands_in = plan.frames[-1].pts
    count = len(plan.frames)
    steps = list(
        iter_planned_frames(FakeReader({count: stands_in, count + 1: stands_in}), [plan, plan])
    )
    assert [index for index, _, _ in steps] == [0] * count + [1]
    assert steps[count][2].pts == stands_in
