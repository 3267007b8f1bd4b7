"""The default policy: `adaptive`, with at most one analysis of a file."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import seedvideo
import seedvideo.video
from seedvideo.config import DEFAULT_LIMITS, AnalysisMethod
from seedvideo.media.reader import VideoReader
from seedvideo.model.backends.base import TimePart
from seedvideo.sampler.analysis import Analysis, analyze
from tests.sampler.plans import make_plan
from tests.synthetic_clips import COLOURS, ColourModel, paint

FPS = 10
EVENT = range(311, 315)
"""Frames of a white square of 0.4 s."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds of red, twenty of blue; for 0.4 s of the blue ones there is a white square."""
    path = tmp_path_factory.mktemp("clips") / "square.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(40 * FPS):
            picture = np.full((96, 160, 3), COLOURS["red" if number < 20 * FPS else "blue"], "u1")
            if number in EVENT:
                picture[32:64, 48:80] = COLOURS["white"]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (640, 480), COLOURS["red"]).save(path)
    return path


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[AnalysisMethod]:
    """How files were analysed since the test began."""
    methods: list[AnalysisMethod] = []

    def counted(
        video: VideoReader, *, method: AnalysisMethod, progress: Callable[[float], None] | None
    ) -> Analysis:
        methods.append(method)
        return analyze(video, method=method, progress=progress)

    monkeypatch.setattr(seedvideo.video, "analyze", counted)
    return methods


def times_s(model: ColourModel) -> list[list[float]]:
    """Return the times in the prompt of each answer."""
    return [
        [float(part.pts) for part in parts if isinstance(part, TimePart)] for parts in model.seen
    ]


def sees_the_event(shown_s: list[float]) -> bool:
    return any(EVENT.start / FPS <= time_s < EVENT.stop / FPS for time_s in shown_s)


def test_plans_and_captions_follow_the_content(clip: Path, analysed: list[AnalysisMethod]) -> None:
    for model in (None, ColourModel()):
        plan = seedvideo.plan(clip, model=model)
        assert plan.decision is not None
        assert plan == seedvideo.plan(clip, model=model, policy="adaptive")
        assert any(int(frame.pts * FPS) in EVENT for frame in plan.frames)
    model = ColourModel()
    record = seedvideo.caption(clip, model=model)
    assert record.plan is not None and record.plan.policy == "adaptive"
    assert sees_the_event(*times_s(model))
    assert analysed == ["auto"] * 5


def test_dense_analyses_once_and_plans_the_shots_from_it(
    clip: Path, analysed: list[AnalysisMethod]
) -> None:
    seen = {}
    for policy in ("adaptive", "uniform"):
        model = ColourModel()
        record = seedvideo.caption(clip, model=model, dense=True, policy=policy)
        spans = [(event.start_s, event.end_s) for event in record.events]
        assert spans == [(0.0, 20.0), (20.0, 40.0)]
        shown = times_s(model)
        for (start_s, end_s), group in zip(spans, shown[1:], strict=True):
            assert start_s <= group[0] and group[-1] < end_s
        seen[policy] = [sees_the_event(group) for group in shown]
    assert seen == {"adaptive": [True, False, True], "uniform": [False, False, False]}
    assert analysed == ["full"] * 2


def test_shots_keep_the_bounds_that_they_can(clip: Path) -> None:
    model = ColourModel()
    # The whole budget bears this rate over the clip, a shot's share does not.
    sampling = seedvideo.SamplingConfig(min_fps=1.0, max_fps=1.2, levels_tokens=(8,))
    seedvideo.caption(clip, model=model, dense=True, sampling=sampling)
    whole, *shots = times_s(model)
    assert 40 <= len(whole) <= 48
    assert all(0 < len(shot) <= 24 for shot in shots)


def test_a_window_is_planned_from_the_analysis_of_all(clip: Path) -> None:
    plan = seedvideo.plan(clip, start_s=Fraction(30), end_s=Fraction(33), budget_tokens=1_000)
    assert plan.decision is not None
    assert all(30 <= frame.pts < 33 for frame in plan.frames)


def test_uniform_is_unchanged_and_analyses_nothing(
    clip: Path, analysed: list[AnalysisMethod]
) -> None:
    model = ColourModel()
    with seedvideo.open(clip) as video:
        assert seedvideo.plan(video, policy="uniform") == make_plan(
            video.info, video.times, video.keyframes, source=str(clip), policy="uniform"
        )
    record = seedvideo.caption(clip, model=model, policy="uniform")
    assert record.plan is not None and record.plan.policy == "uniform"
    (shown,) = times_s(model)
    assert shown[:4] == [0.0, 1.0, 2.0, 3.1] and len(shown) == 40
    assert analysed == []


def test_a_photo_is_planned_without_an_analysis(
    photo: Path, analysed: list[AnalysisMethod]
) -> None:
    models = ColourModel(), ColourModel()
    for dense in (False, True):
        adaptive = seedvideo.caption(photo, model=models[0], dense=dense)
        uniform = seedvideo.caption(photo, model=models[1], dense=dense, policy="uniform")
        assert adaptive.plan is not None and uniform.plan is not None
        assert adaptive.plan.policy == "adaptive"
        assert replace_policy(adaptive) == replace_policy(uniform)
    for one, other in zip(*(model.seen for model in models), strict=True):
        assert repr(one) == repr(other)
    plan = seedvideo.plan(photo)
    assert plan.decision is None
    assert [frame.reason for frame in plan.frames] == ["only frame, level 640"]
    assert analysed == []


def replace_policy(record: seedvideo.Record) -> dict[str, object]:
    """Return a record without the values that differ between the runs."""
    plain = record.to_json()
    return plain | {"timing_s": {}, "plan": plain["plan"] | {"policy": ""}}


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_very_short_videos(tmp_path: Path, frames: int) -> None:
    path = paint(tmp_path / "short.mp4", ["green"], shot_s=frames / FPS)
    plan = seedvideo.plan(path)
    assert plan.policy == "adaptive"
    assert [frame.pts for frame in plan.frames] == [Fraction(n, FPS) for n in range(frames)]
    record = seedvideo.caption(path, model=ColourModel(), dense=True)
    assert record.text == "Green."


def test_progress_is_reported_while_a_video_is_analysed(clip: Path, tmp_path: Path) -> None:
    for method in ("fast", "full", "packets"):
        reported: list[float] = []
        for _ in range(2):
            with seedvideo.open(clip, progress=reported.append, cache=tmp_path) as video:
                seedvideo.plan(video, analysis=method)
                if method == "packets":
                    assert reported == []
                    continue
                # The second time the kept analysis is used.
                assert reported == sorted(reported)
                assert reported[0] < 0.2 and reported[-1] == 1.0 and reported.count(1.0) == 1
                assert len(reported) > 5


def test_an_analysis_can_be_broken_off(clip: Path) -> None:
    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with seedvideo.open(clip, progress=stop) as video:
        with pytest.raises(KeyboardInterrupt):
            seedvideo.plan(video)
        assert seedvideo.plan(video, policy="uniform").frames


def test_a_slow_analysis_has_a_hint_to_faster_options(clip: Path) -> None:
    limits = replace(DEFAULT_LIMITS, item_timeout_s=100.0)
    with seedvideo.open(clip, limits=limits) as video:
        assert video.reader._pool.first is not None
        video.reader._pool.budget.waited_s = 100.0
        with pytest.raises(seedvideo.DecodeError) as caught:
            seedvideo.plan(video)
    assert caught.value.code == "decode.timeout" and caught.value.retryable
    assert "packets" in caught.value.hint and "uniform" in caught.value.hint
