from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from seedvideo.media.types import Frame
from seedvideo.sampler.contact_sheet import contact_sheet
from tests.sampler.plans import make_plan
from tests.sampler.videos import video


def sheet(
    count: int,
    *,
    width_px: int = 1280,
    height_px: int = 720,
    source: str = "clips/bikes.mp4",
    **options: Any,
) -> npt.NDArray[np.uint8]:
    facts, times = video(count, 5, width_px=width_px, height_px=height_px)
    plan = make_plan(facts, times, source=source, policy="uniform", fps=5, **options)
    frames = []
    for index, planned in enumerate(plan.frames):
        pixels = np.empty((planned.height_px, planned.width_px, 3), np.uint8)
        pixels[:] = (200, index % 256, 40)
        frames.append(Frame(planned.pts, pixels))
    return contact_sheet(frames, plan)


def is_red(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return (picture[..., 0] > 190) & (picture[..., 2] < 60)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (3, 3), (4, 4), (16, 4), (20, 5), (36, 6), (64, 8), (500, 8)]
)
def test_frames_stand_in_a_grid(count: int, columns: int) -> None:
    picture = sheet(count, levels_tokens=(128,))
    assert picture.dtype == np.uint8
    assert picture.shape[1] == 1800
    assert picture.shape[0] < 2200
    across = is_red(picture).any(axis=0).astype(int)
    assert (np.diff(across) == 1).sum() == columns
    down = is_red(picture).any(axis=1).astype(int)
    assert (np.diff(down) == 1).sum() == -(-min(count, 64) // columns)


@pytest.mark.parametrize(("width", "height"), [(720, 1280), (3000, 40), (40, 3000), (64, 64)])
def test_any_shape_keeps_the_sheet_bounded(width: int, height: int) -> None:
    for count in (1, 7, 64):
        picture = sheet(count, width_px=width, height_px=height, levels_tokens=(128,))
        assert picture.shape[1] == 1800
        assert picture.shape[0] < 2400
        assert is_red(picture).any()


@pytest.mark.parametrize("source", ["", "x" * 3000, "a\x00\n\u202e\U0001f6b2.mp4", "日本語.mp4"])
def test_any_name_can_be_a_title(source: str) -> None:
    assert sheet(2, source=source).shape[1] == 1800


def test_the_same_frames_give_the_same_sheet() -> None:
    assert np.array_equal(sheet(10), sheet(10))


def test_no_frames() -> None:
    facts, times = video(10)
    plan = make_plan(facts, times, source="x", policy="uniform")
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], plan)


def test_times_of_stand_ins_are_shown_as_they_are() -> None:
    facts, times = video(10)
    plan = make_plan(facts, times, source="x", policy="uniform")
    pixels = np.zeros((504, 924, 3), np.uint8)
    one = contact_sheet([Frame(Fraction(1), pixels)], plan)
    other = contact_sheet([Frame(Fraction(2), pixels)], plan)
    assert not np.array_equal(one, other)
