"""Flashes: pictures that fill everything for a moment are found, and only those."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import seedvideo
from seedvideo.sampler.events import NoveltyEvent
from seedvideo.sampler.shots import FlashDetector, merge_flashes
from tests.fixtures import ffmpeg
from tests.tiers import quick_first

SIDE_BLOCKS = 20


def found(pictures: Sequence[float], *, step_s: float = 0.1) -> list[tuple[int, int | None]]:
    """Find flashes in thumbnails of plain pictures of these brightnesses, with a little noise."""
    dice = np.random.default_rng(3)
    detector = FlashDetector()
    for i, level in enumerate(pictures):
        noise = dice.normal(0, 0.2, SIDE_BLOCKS**2)
        detector.update(i, i * step_s, (level + noise).astype(np.float32))
    assert all(event.area_fraction == 1 and event.strength > 0 for event in detector.events)
    return [(event.frame_index, event.end_index) for event in detector.events]


def test_what_comes_and_goes_is_a_flash() -> None:
    assert found([80] * 30 + [250] * 3 + [80] * 30) == [(30, 33)]
    assert found([80] * 9 + [250] + [80] * 9 + [20] * 4 + [80] * 9) == [(9, 10), (19, 23)]


def test_what_stays_is_a_cut() -> None:
    assert found([80] * 30 + [250] * 30) == []
    # Back after more than two seconds: two shots of one place.
    assert found([80] * 30 + [250] * 25 + [80] * 30) == []


def test_slow_light_and_unrest_are_no_flash() -> None:
    assert (
        found([80 + 3 * step for step in range(40)] + [200 - 3 * step for step in range(40)]) == []
    )
    swing = [100 + 60 * (step % 2) for step in range(80)]
    assert len(found(swing)) <= 2


def test_nothing_is_detected_across_a_gap() -> None:
    assert found([80] * 10 + [250] * 2 + [80] * 10, step_s=0.7) == []


def test_what_a_flash_makes_new_goes_with_it() -> None:
    flash = NoveltyEvent(30, 90.0, 33, 1.0)
    others = [
        NoveltyEvent(12, 20.0, None, 0.01),
        NoveltyEvent(30, 40.0, None, 0.1),
        NoveltyEvent(33, 50.0, None, 0.1),
    ]
    assert merge_flashes(others, [flash]) == [others[0], flash]
    assert merge_flashes(others, []) == others


@pytest.mark.parametrize("analysis", quick_first(["fast", "full"]))
def test_a_flash_and_an_inserted_picture_are_shown(tmp_path: Path, analysis: str) -> None:
    path = tmp_path / "flash.mp4"
    # One picture is computed and shown for a minute.
    source = (
        "color=gray:s=320x180:r=25:d=0.04,geq=lum='120+60*sin(X/19)*cos(Y/13)':cb=128:cr=128,"
        "loop=loop=-1:size=1,trim=end_frame=1500,"
        "negate=enable='between(t,41.1,41.46)',"
        "drawbox=c=white:t=fill:enable='between(t,20.3,20.56)'"
    )
    ffmpeg(
        "-f", "lavfi", "-i", source,
        "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", path,
    )  # fmt: skip
    plan = seedvideo.plan(path, budget_tokens=2000, analysis=analysis)  # type: ignore[arg-type]
    shown = [float(frame.pts) for frame in plan.frames]
    assert any(20.3 <= time < 20.6 for time in shown)
    assert any(41.1 <= time < 41.5 for time in shown)
    assert len(shown) < 30
