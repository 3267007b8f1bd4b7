"""Events in made block features: crowd beside calm, several at one moment, borders of activity."""

import numpy as np
import pytest

from seedvideo.sampler.block_features import Floats
from seedvideo.sampler.events import NoveltyEvent
from seedvideo.sampler.novelty import NoveltyTracker

ROWS, COLUMNS = 9, 16
BLOCKS = ROWS * COLUMNS
STEP_S = 0.1


class Scene:
    """Means of blocks per thumbnail, ten per second: a still room with a little noise.

    Args:
        length_s: length in seconds.
        seed: seed of the noise.
    """

    def __init__(self, length_s: float, *, seed: int) -> None:
        self.dice = np.random.default_rng(seed)
        count = round(length_s / STEP_S)
        room = self.dice.uniform(60, 180, BLOCKS)
        self.means = room + self.dice.normal(0, 0.05, (count, BLOCKS))

    def crowd(self, start_s: float, end_s: float, *, columns: range) -> None:
        """Let the blocks of some columns change at random."""
        a, b = round(start_s / STEP_S), round(end_s / STEP_S)
        inside = np.isin(np.arange(BLOCKS) % COLUMNS, columns)
        self.means[a:b, inside] += self.dice.normal(0, 25, (b - a, int(inside.sum())))

    def sign(self, start_s: float, end_s: float, *, at: int, levels: float = 30) -> None:
        """Change two neighbouring blocks for a time."""
        a, b = round(start_s / STEP_S), round(end_s / STEP_S)
        self.means[a:b, at : at + 2] += levels

    def track(self) -> NoveltyTracker:
        """Return a tracker that has seen the scene."""
        tracker = NoveltyTracker((8 * COLUMNS, 8 * ROWS))
        contrasts = np.full(BLOCKS, 5.0)
        for i, means in enumerate(self.means):
            features: Floats = np.concatenate([means, contrasts]).astype(np.float32)
            for _ in tracker.update(i, i * STEP_S, features, is_keyframe=False):
                pass
        for _ in tracker.finish():
            pass
        return tracker


def starting(events: list[NoveltyEvent], moment_s: float) -> list[NoveltyEvent]:
    return [each for each in events if abs(each.frame_index * STEP_S - moment_s) < STEP_S / 2]


@pytest.mark.parametrize("seed", range(3))
def test_a_sign_in_the_calm_is_as_strong_with_a_crowd_beside_it(seed: int) -> None:
    strengths = []
    for crowds in ([], [(0, 20), (30, 50), (60, 80)]):
        scene = Scene(90, seed=seed)
        for start_s, end_s in crowds:
            scene.crowd(start_s, end_s, columns=range(2, 14))
        scene.sign(29, 29.4, at=70)  # A second before the crowd returns.
        found = starting(scene.track().events, 29)
        assert len(found) == 1
        assert found[0].last_index == 293 and found[0].end_index == 294
        strengths.append(found[0].strength)
    assert strengths[1] > 0.5 * strengths[0] > 20


def test_two_signs_at_one_moment_are_two_events() -> None:
    scene = Scene(60, seed=5)
    scene.sign(20, 20.4, at=18)
    scene.sign(20, 21.5, at=120, levels=60)
    found = starting(scene.track().events, 20)
    assert sorted(each.end_index or 0 for each in found) == [204, 215]


def test_a_place_that_never_rests_hides_no_sign_elsewhere() -> None:
    scene = Scene(60, seed=6)
    scene.crowd(0, 60, columns=range(3))
    scene.sign(20, 20.4, at=44)
    events = scene.track().events
    assert max(each.strength for each in starting(events, 20)) > 20


@pytest.mark.parametrize("length_s", [4, 10])
def test_the_start_and_end_of_a_crowd_are_borders_and_no_events(length_s: float) -> None:
    scene = Scene(60, seed=7)
    scene.crowd(20, 20 + length_s, columns=range(4, 12))
    tracker = scene.track()
    # The change back is the last one of the crowd, so the calm begins a thumbnail later.
    assert tracker.borders == [200, 201 + round(length_s / STEP_S)]
    near = [
        each for border in tracker.borders for each in starting(tracker.events, border * STEP_S)
    ]
    assert near == []


def test_a_sign_just_after_a_crowd_is_an_event() -> None:
    scene = Scene(60, seed=8)
    scene.crowd(20, 30, columns=range(16))
    scene.sign(30.3, 30.7, at=70)
    assert len(starting(scene.track().events, 30.3)) == 1


def test_a_brief_change_of_everything_is_no_border() -> None:
    scene = Scene(60, seed=9)
    scene.crowd(20, 21, columns=range(16))
    assert scene.track().borders == []
