"""Rest and texture of segments, measured on block features made by hand."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import seedvideo
from seedvideo.sampler.rests import RestDetector
from seedvideo.sampler.utility import SegmentDemand
from tests.sampler.demands import demand
from tests.sampler.test_freezes import BLACK, LOWEST, MOVES, X264, joined

BLOCKS = 8


def measured(
    means: Callable[[float, np.random.Generator], np.ndarray],
    *,
    contrast: float = 20.0,
    seconds: int = 40,
    cuts: tuple[int, ...] = (),
) -> tuple[SegmentDemand, ...]:
    """Measure a clip of ten thumbnails a second."""
    detector = RestDetector(BLOCKS)
    dice = np.random.default_rng(2)
    for step in range(10 * seconds):
        features = np.full(2 * BLOCKS, contrast, np.float32)
        features[:BLOCKS] = means(step / 10, dice)
        detector.update(step / 10, features)
    bounds = (0, *cuts, seconds)
    return detector.measure([demand(start, end) for start, end in pairwise(bounds)])


def test_a_still_picture_is_one_rest() -> None:
    (need,) = measured(lambda _, dice: 100 + dice.uniform(-0.5, 0.5, BLOCKS))
    assert need.rest_fraction == pytest.approx(1)
    assert need.rests == pytest.approx(1)
    assert need.texture == 1


def test_what_never_rests_is_left_out() -> None:
    def corner(_: float, dice: np.random.Generator) -> np.ndarray:
        return np.where(np.arange(BLOCKS) < 2, dice.uniform(0, 255, BLOCKS), 100)

    (need,) = measured(corner)
    assert need.rest_fraction == pytest.approx(0.75)
    assert need.rests == pytest.approx(1)


def test_rests_are_counted_in_each_segment() -> None:
    # Another picture every 5 s; then all moves.
    def slides(time_s: float, dice: np.random.Generator) -> np.ndarray:
        if time_s >= 20:
            return dice.uniform(0, 255, BLOCKS)
        return np.full(BLOCKS, 40.0 * (time_s // 5))

    one, other = measured(slides, cuts=(20,))
    assert one.rest_fraction == pytest.approx(1, abs=0.03)
    assert one.rests == pytest.approx(4, rel=0.03)
    assert other.rest_fraction == pytest.approx(0, abs=0.01)


def test_a_brief_change_is_no_rest() -> None:
    def blinks(time_s: float, _: np.random.Generator) -> np.ndarray:
        return np.full(BLOCKS, 100.0 * (int(time_s) % 2))

    (need,) = measured(blinks)
    assert (need.rest_fraction, need.rests) == (0, 1)


@pytest.mark.parametrize(("contrast", "texture"), [(0.0, 0.05), (3.0, 0.5), (50.0, 1.0)])
def test_soft_pictures_have_little_texture(contrast: float, texture: float) -> None:
    (need,) = measured(lambda _time_s, _dice: np.full(BLOCKS, 9.0), contrast=contrast)
    assert need.texture == pytest.approx(texture)


def test_without_thumbnails_nothing_is_claimed() -> None:
    need = demand(0, 10)
    assert RestDetector(BLOCKS).measure([need]) == (need,)


def test_a_black_half_gets_the_lowest_size_and_fewer_tokens(tmp_path: Path) -> None:
    path = joined(tmp_path / "clip.mp4", [(MOVES, 8), (BLACK, 8)], X264)
    complete = seedvideo.plan(path, budget_tokens=20_000)
    thrift = seedvideo.plan(path, budget_tokens=20_000, min_utility=0.95)
    assert {frame.tokens for frame in thrift.frames if frame.pts >= 8.2} == {LOWEST}
    assert thrift.totals.tokens < complete.totals.tokens


def test_a_rest_ends_where_nothing_was_inspected() -> None:
    detector = RestDetector(BLOCKS)
    still = np.full(2 * BLOCKS, 100, np.float32)
    for step in range(100):
        detector.update(step / 10, still)
    detector.skip_unknown()
    for step in range(300, 400):
        detector.update(step / 10, still)
    known, unknown, again = detector.measure([demand(0, 10), demand(10, 30), demand(30, 40)])
    assert known.rest_fraction > 0.95 and again.rest_fraction > 0.95
    assert unknown.rest_fraction < 0.05
