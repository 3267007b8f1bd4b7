"""Blank and frozen stretches: found in encoded files, and never given tokens that show nothing."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import seedvideo
from seedvideo.config import AnalysisMethod, PolicyName
from seedvideo.sampler.freezes import Floats, Freeze, FreezeDetector
from seedvideo.sampler.types import PlannedFrame
from tests.fixtures import ffmpeg
from tests.tiers import quick_first

SIZE = "640x360"
LOWEST, HIGHEST = 120, 299
"""Tokens of a 640x360 frame at level 128, and at its own size."""

MOVES = f"testsrc2=s={SIZE}:r=12"
BLACK = f"color=black:s={SIZE}:r=12"
SLIDE = f"testsrc=s={SIZE}:r=12,trim=start_frame=30:end_frame=31,loop=-1:1:0,setpts=N/12/TB"
GRAIN = "noise=alls=8:allf=t"
X264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p"


def joined(path: Path, parts: Sequence[tuple[str, float]], options: str) -> Path:
    """Encode parts, each a source of frames and the seconds that it lasts, one after the other."""
    chains = [
        f"{source},trim=duration={length_s},setpts=PTS-STARTPTS,setsar=1[p{number}]"
        for number, (source, length_s) in enumerate(parts)
    ]
    names = "".join(f"[p{number}]" for number in range(len(parts)))
    graph = ";".join([*chains, f"{names}concat=n={len(parts)}[out]"])
    ffmpeg("-filter_complex", graph, "-map", "[out]", *options.split(), path)
    return path


def planned(
    video: seedvideo.Video | Path,
    budget_tokens: int,
    *,
    policy: PolicyName = "adaptive",
    analysis: AnalysisMethod = "fast",
    coverage: float | None = None,
) -> seedvideo.Plan:
    return seedvideo.plan(
        video,
        policy=policy,
        budget_tokens=budget_tokens,
        analysis=analysis,
        coverage=coverage,
    )


def between(plan: seedvideo.Plan, start_s: float, end_s: float) -> list[PlannedFrame]:
    return [frame for frame in plan.frames if start_s <= frame.pts < end_s]


def sizes(frames: Sequence[PlannedFrame]) -> list[int]:
    return sorted({frame.tokens for frame in frames})


CODECS = {
    "x264": ("mp4", f"{X264} -crf 28 -g 50"),
    "coarse": ("mp4", f"{X264} -crf 38 -g 50"),
    "intra": ("avi", "-c:v mjpeg -q:v 5 -pix_fmt yuvj420p"),
    "mpeg4": ("mp4", "-c:v mpeg4 -q:v 5 -g 50"),
    "vp8": ("webm", "-c:v libvpx -threads 1 -deadline realtime -cpu-used 8 -b:v 1M"),
}


@pytest.mark.parametrize("codec", quick_first(CODECS))
def test_black_is_small_and_a_slide_is_read_once(tmp_path: Path, codec: str) -> None:
    suffix, options = CODECS[codec]
    parts = [(MOVES, 6), (BLACK, 4), (SLIDE, 8), (MOVES, 4)]
    path = joined(tmp_path / f"clip.{suffix}", parts, options)
    with seedvideo.open(path) as video:
        plans = {budget: planned(video, budget) for budget in (2_500, 6_000, 81_920)}
    for budget_tokens, plan in plans.items():
        black, slide = between(plan, 6, 10), between(plan, 10, 18)
        assert len(black) >= 2 and sizes(black) == [LOWEST]
        large = [frame for frame in slide if frame.tokens > LOWEST]
        # The smallest of the budgets may have better uses than a larger slide.
        assert len(slide) >= 4 and len(large) <= 1
        assert large or budget_tokens == 2_500
        # The analysis saw the slide at that time: the frame is not one of its borders.
        assert all(10.2 < frame.pts < 17.8 for frame in large)
        assert plan.totals.tokens <= budget_tokens
    moving = [*between(plan, 0, 6), *between(plan, 18, 22)]
    assert sizes([*large, *moving]) == [HIGHEST]


BLANKS = {
    "white at both ends": ([(BLACK.replace("black", "white"), 3), (MOVES, 5)] * 2)[:3],
    "grain": [(MOVES, 4), (f"{BLACK},{GRAIN}", 4), (MOVES, 4)],
    "a gradient": [
        (MOVES, 4),
        (f"gradients=s={SIZE}:r=12:c0=navy:c1=blue:x0=0:y0=0:x1=0:y1=359:speed=0.00001", 4),
        (MOVES, 4),
    ],
    "a fade": [(MOVES, 4), (f"{MOVES},fade=out:st=0:d=1", 4), (MOVES, 4)],
}


@pytest.mark.parametrize("kind", quick_first(BLANKS, 2))
def test_blank_pictures_of_every_kind_are_small(tmp_path: Path, kind: str) -> None:
    path = joined(tmp_path / "clip.mp4", BLANKS[kind], f"{X264} -crf 23")
    start_s, end_s = (0, 3) if kind == "white at both ends" else (5.2, 8)
    methods: tuple[AnalysisMethod, ...] = ("fast", "full")
    for analysis in methods:
        plan = planned(path, 81_920, analysis=analysis, coverage=0.9)
        blank = between(plan, start_s, end_s)
        assert blank and sizes(blank) == [LOWEST]
        assert "blank" in blank[0].reason
        assert sizes(between(plan, end_s + 0.2, end_s + 3.8)) == [HIGHEST]


@pytest.mark.parametrize("source", [BLACK, SLIDE])
def test_a_video_of_one_picture(tmp_path: Path, source: str) -> None:
    plan = planned(joined(tmp_path / "clip.mp4", [(source, 20)], X264), 81_920)
    large = [frame for frame in plan.frames if frame.tokens > LOWEST]
    assert [frame.tokens for frame in large] == ([] if source == BLACK else [HIGHEST])
    assert len(plan.frames) >= 16


def test_small_print_that_appears_on_a_slide_ends_the_freeze(tmp_path: Path) -> None:
    sign = "drawbox=x=300:y=100:w=60:h=20:color=white:t=fill:enable='between(t,6,6.6)'"
    path = joined(tmp_path / "clip.mp4", [(f"{SLIDE},{sign}", 12)], f"{X264} -crf 23")
    plan = planned(path, 20_000)
    shown = [frame for frame in between(plan, 6, 6.6) if frame.role == "event"]
    assert sizes(shown) == [HIGHEST] and len(shown) == 1


def test_an_even_plan_that_was_asked_for_stays_even(tmp_path: Path) -> None:
    path = joined(tmp_path / "clip.mp4", [(MOVES, 4), (BLACK, 4)], X264)
    even, uniform = planned(path, 5_000, coverage=1), planned(path, 5_000, policy="uniform")
    assert [(frame.pts, frame.tokens) for frame in even.frames] == [
        (frame.pts, frame.tokens) for frame in uniform.frames
    ]


# --- the finder

GRID = (2, 3)


def features(*levels: float, contrast: float = 20.0) -> Floats:
    means = np.resize(np.asarray(levels, np.float32), 6)
    return np.concatenate([means, np.full(6, contrast, np.float32)])


def found(*seen: tuple[int, float, Floats], frames: int, end_s: float) -> tuple[Freeze, ...]:
    detector = FreezeDetector(GRID)
    for frame_index, time_s, picture in seen:
        detector.update(frame_index, time_s, picture)
    return detector.finish(frames, end_s)


def test_the_core_ends_where_frames_are_not_known() -> None:
    a, b = features(50.0, 90.0), features(150.0, 20.0)
    seen = [(3 * step, step / 10, a if step < 30 else b) for step in range(60)]
    assert found(*seen, frames=180, end_s=6.0) == (
        Freeze(0, 90, 0, 88, is_blank=False),
        Freeze(90, 180, 90, 178, is_blank=False),
    )


def test_skipped_frames_count_as_unchanged() -> None:
    a, b = features(50.0, 90.0), features(150.0, 20.0)
    assert found((0, 0.0, a), (250, 10.0, a), (500, 20.0, b), frames=510, end_s=20.4) == (
        Freeze(0, 500, 0, 500, is_blank=False),
    )


def test_slow_changes_end_a_freeze() -> None:
    seen = [(step, step / 10, features(50.0 + step / 3, 90.0)) for step in range(100)]
    assert found(*seen, frames=100, end_s=10.0) == ()


def test_a_blank_picture_may_change_its_colour() -> None:
    seen = [(step, step / 10, features(2.0 * step, contrast=0.5)) for step in range(40)]
    assert found(*seen, frames=40, end_s=4.0) == (Freeze(0, 40, 0, 40, is_blank=True),)


def test_one_flash_is_no_stretch() -> None:
    busy = [features(50.0, 90.0), features(90.0, 50.0)]
    seen = [(step, step / 10, busy[step % 2]) for step in range(40)]
    seen[20] = (20, 2.0, features(255.0, contrast=0.0))
    assert found(*seen, frames=40, end_s=4.0) == ()


def test_no_thumbnails_no_stretches() -> None:
    assert found(frames=10, end_s=float(Fraction(1, 3))) == ()
