"""The adaptive policy on real files, from their bytes to the frames that are shown."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seedvideo
from seedvideo.sampler.geometry import SEED, TokenGeometry, default_text_tokens
from seedvideo.sampler.plan import Plan
from tests.fixtures import Clips, ffmpeg, read_number
from tests.sampler.plans import make_plan
from tests.tiers import examples, slow

NAMES = ["plain", "vfr", "open_gop", "ts_late", "hevc", "vp9", "av1", "short_gops"]
TINY = TokenGeometry("tiny", 16, (60, 40, 20, 12), 1, 600, min_frames=4)
FLASH = (Fraction(33), Fraction(33) + Fraction(2, 5))


@pytest.fixture(scope="module")
def opened(clips: Clips) -> Iterator[dict[str, seedvideo.Video]]:
    videos = {name: seedvideo.open(clips[name]) for name in NAMES}
    yield videos
    for video in videos.values():
        video.close()


def planned(
    video: seedvideo.Video, budget: int, *, geometry: TokenGeometry = SEED, coverage: float = 0.5
) -> Plan:
    return make_plan(
        video.info,
        video.times,
        source=video.source,
        policy="adaptive",
        geometry=geometry,
        budget_tokens=budget,
        coverage=coverage,
        analysis=video.analysis("fast"),
        text_tokens=default_text_tokens,
    )


@given(
    name=st.sampled_from(NAMES),
    budget=st.integers(100, 3000),
    coverage=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    geometry=st.sampled_from([SEED, TINY]),
)
@settings(examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_frame_is_the_one_that_was_planned(
    opened: dict[str, seedvideo.Video],
    name: str,
    budget: int,
    coverage: float,
    geometry: TokenGeometry,
) -> None:
    video = opened[name]
    plan = planned(video, budget, geometry=geometry, coverage=coverage)
    assert plan.charged_tokens <= budget
    assert all(earlier.pts < later.pts for earlier, later in pairwise(plan.frames))
    shown = list(video.frames(plan))
    assert len(shown) == len(plan.frames)
    for frame, decoded in shown:
        assert decoded.pts == frame.pts
        assert decoded.pixels.shape[:2] == (frame.height_px, frame.width_px)
        # Every frame of these clips carries its number.
        assert read_number(decoded.pixels) == video.times.index(frame.pts)


def test_where_a_container_starts_does_not_matter(clips: Clips) -> None:
    with seedvideo.open(clips["plain"]) as here, seedvideo.open(clips["shifted"]) as there:
        one, other = planned(here, 900), planned(there, 900)
    assert one.targets() == other.targets()
    assert [frame.reason for frame in one.frames] == [frame.reason for frame in other.frames]


def calm_with_a_flash(path: Path) -> Path:
    """A minute of a still, grainy picture at 25 fps, with a small plate for 0.4 s."""
    dice = np.random.default_rng(11)
    y, x = np.mgrid[0:360, 0:640]
    still = 120 + 50 * np.sin(x / 37) * np.cos(y / 23) + dice.normal(0, 6, (360, 640))
    raw = bytearray()
    for number in range(1500):
        picture = still + dice.normal(0, 1.5, still.shape)
        if FLASH[0] <= Fraction(number, 25) < FLASH[1]:
            picture[200:220, 400:450] = 20
            picture[206:214, 404:446:5] = 235
        raw += np.clip(picture, 0, 255).astype(np.uint8).tobytes()
    source = "-f rawvideo -pix_fmt gray -s 640x360 -r 25 -i -"
    target = "-c:v libx264 -preset veryfast -crf 26 -pix_fmt yuv420p -g 250"
    ffmpeg(*source.split(), *target.split(), path, stdin=bytes(raw))
    return path


@slow
def test_a_brief_small_event_is_shown_where_even_plans_miss_it(clips: Clips) -> None:
    path = clips.made("flash.mp4", calm_with_a_flash)
    with seedvideo.open(path) as video:
        adaptive = planned(video, 3000)
        even = seedvideo.plan(video, policy="uniform", budget_tokens=3000)
    hits = [frame for frame in adaptive.frames if FLASH[0] <= frame.pts < FLASH[1]]
    assert not any(FLASH[0] <= frame.pts < FLASH[1] for frame in even.frames)
    assert [frame.role for frame in hits] == ["event"]
    assert hits[0].tokens == max(frame.tokens for frame in adaptive.frames)
    assert hits[0].reason.startswith("something new")
    assert adaptive.totals.tokens <= 3000
