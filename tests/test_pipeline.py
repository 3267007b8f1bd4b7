"""The joints: a frame travels from a real file through the plan to the model's words."""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import pytest

import seedvideo
from seedvideo.model.backends.base import ImagePart, TextPart, TimePart
from tests.resource_checks import children
from tests.synthetic_clips import ColourModel, nearest, paint


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of red, two of green, two of blue."""
    return paint(tmp_path_factory.mktemp("clips") / "three.mp4", ["red", "green", "blue"], shot_s=2)


def test_open_returns_facts_and_times(clip: Path) -> None:
    with seedvideo.open(clip) as video:
        assert (video.info.width_px, video.info.height_px) == (160, 96)
        assert video.info.duration == 6
        assert video.times == tuple(Fraction(n, 10) for n in range(60))
        assert video.keyframes[0] == 0
        assert repr(video) == f"Video({str(clip)!r}, 6.0 s, 160x96 px, 60 frames)"
    video.close()


def test_open_refuses_missing_files(tmp_path: Path) -> None:
    with pytest.raises(seedvideo.InputError) as caught:
        seedvideo.open(tmp_path / "none.mp4")
    assert caught.value.code == "input.not_found"


def test_plan_without_a_model_is_for_the_published_one(clip: Path) -> None:
    plan = seedvideo.plan(clip)
    assert (plan.policy, plan.budget_tokens, plan.geometry.name) == ("adaptive", 81_920, "seed")
    assert plan.decision is not None
    assert plan.source == str(clip)
    assert all(frame.text_tokens == 8 for frame in plan.frames)


def test_plan_with_a_model_is_its_own(clip: Path) -> None:
    model = ColourModel()
    plan = seedvideo.plan(clip, model=model)
    assert plan.decision is not None
    assert plan.geometry == model.geometry
    assert plan.budget_tokens == 512
    assert plan.charged_tokens == plan.totals.tokens <= 512
    assert all(frame.text_tokens == 4 for frame in plan.frames)


def test_plan_takes_an_open_video_and_leaves_it_open(clip: Path) -> None:
    with seedvideo.open(clip) as video:
        assert seedvideo.plan(video, fps=2.0) == seedvideo.plan(video, fps=2.0)
        assert len(video.times) == 60


def test_caption_follows_the_frames(clip: Path) -> None:
    model = ColourModel()
    record = seedvideo.caption(clip, model=model)
    assert record.status == "done"
    assert record.text == "Red then green then blue."
    assert record.confident is True
    (event,) = record.events
    assert (event.start_s, event.end_s, event.text) == (0.0, 6.0, record.text)
    assert record.model is not None
    assert record.model.name == "colours"
    (parts,) = model.seen
    assert parts[0] == TimePart(Fraction(0))
    assert isinstance(parts[1], ImagePart)
    assert parts[-1] == TextPart("Describe the video.")


def test_the_record_has_the_signals_of_its_window(clip: Path) -> None:
    whole = seedvideo.caption(clip, model=ColourModel())
    part = seedvideo.caption(clip, model=ColourModel(), start_s=1, end_s=2.5, analysis="full")
    assert whole.quality is not None and part.quality is not None
    assert (whole.quality.duration_s, whole.quality.fps) == (6.0, 10.0)
    assert whole.quality.model_dump() == asdict(seedvideo.quality(clip))
    expected = seedvideo.quality(clip, start_s=1, end_s=2.5, analysis="full")
    assert part.quality.model_dump() == asdict(expected)
    assert (expected.duration_s, expected.shots) == (1.5, 2)


def test_without_an_analysis_only_header_and_packets_are_measured(clip: Path) -> None:
    record = seedvideo.caption(clip, model=ColourModel(), policy="uniform")
    assert record.quality is not None
    assert record.quality.model_dump() == asdict(seedvideo.quality(clip, analysis="packets"))
    assert record.quality.bits_per_px is not None and record.quality.motion_mean is None


def test_a_window_without_frames_has_no_signals(clip: Path) -> None:
    with pytest.raises(seedvideo.PlanError) as caught:
        seedvideo.quality(clip, start_s=50)
    assert caught.value.code == "plan.invalid"
    with pytest.raises(seedvideo.ConfigError):
        seedvideo.quality(clip, analysis="deep")  # type: ignore[arg-type]


def test_the_record_counts_what_the_model_read(clip: Path) -> None:
    record = seedvideo.caption(clip, model=ColourModel())
    assert record.plan is not None
    assert record.usage is not None
    assert record.usage.visual_tokens == record.plan.visual_tokens
    assert record.plan.tokens <= record.plan.budget_tokens
    assert set(record.timing_s) == {"open", "plan", "decode", "model", "total"}
    assert record.timing_s["total"] >= record.timing_s["decode"]
    json.loads(record.json_line())


def test_dense_captions_each_shot_with_its_times(clip: Path) -> None:
    model = ColourModel()
    record = seedvideo.caption(clip, model=model, dense=True)
    assert record.text == "Red then green then blue."
    assert [event.text for event in record.events] == ["Red.", "Green.", "Blue."]
    assert [(event.start_s, event.end_s) for event in record.events] == [(0, 2), (2, 4), (4, 6)]
    assert record.usage is not None
    assert record.plan is not None
    assert record.usage.visual_tokens <= 2 * record.plan.budget_tokens
    assert len(model.seen) == 4


def test_dense_of_one_shot_asks_once(tmp_path: Path) -> None:
    model = ColourModel()
    record = seedvideo.caption(paint(tmp_path / "one.mp4", ["red"]), model=model, dense=True)
    assert len(model.seen) == 1
    assert [event.text for event in record.events] == ["Red."]


def test_dense_on_a_small_budget_has_fewer_shots(clip: Path) -> None:
    record = seedvideo.caption(clip, model=ColourModel(), dense=True, budget_tokens=24)
    assert len(record.events) == 2
    assert (record.events[0].start_s, record.events[-1].end_s) == (0.0, 6.0)


def test_unsure_shots_are_marked(tmp_path: Path) -> None:
    path = paint(tmp_path / "dark.mp4", ["red", "black", "green"], shot_s=2)
    record = seedvideo.caption(path, model=ColourModel(), dense=True)
    assert record.confident is False
    assert [event.confident for event in record.events] == [True, False, True]


def test_a_budget_too_small_is_a_plan_error(clip: Path) -> None:
    with pytest.raises(seedvideo.PlanError) as caught:
        seedvideo.caption(clip, model=ColourModel(), budget_tokens=3)
    assert caught.value.code == "plan.over_budget"


def test_an_empty_answer_is_a_model_error(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.synthetic_clips.nearest", lambda picture: " . ")
    with pytest.raises(seedvideo.ModelError) as caught:
        seedvideo.caption(clip, model=ColourModel())
    assert caught.value.code == "model.empty_answer"


def test_one_frame_has_a_caption(tmp_path: Path) -> None:
    path = paint(tmp_path / "still.mp4", ["green"], shot_s=0.1)
    record = seedvideo.caption(path, model=ColourModel(), dense=True)
    assert record.text == "Green."
    (event,) = record.events
    assert event.end_s > event.start_s == 0.0


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(seedvideo.ModelError) as caught:
        seedvideo.load("no-such-model")
    assert caught.value.code == "model.unknown"


def test_a_video_gives_the_frames_of_a_plan(clip: Path) -> None:
    with seedvideo.open(clip) as video:
        plan = seedvideo.plan(video, policy="uniform", budget_tokens=2_000)
        pairs = list(video.frames(plan))
    assert [planned.pts for planned, _ in pairs] == [frame.pts for _, frame in pairs]
    assert all(f.pixels.shape == (p.height_px, p.width_px, 3) for p, f in pairs)
    assert {nearest(f.pixels) for p, f in pairs if p.pts < 2} == {"red"}


def test_frames_of_a_path_are_those_of_the_open_video(clip: Path) -> None:
    made = seedvideo.plan(clip, policy="uniform", budget_tokens=4_000)
    with seedvideo.open(clip) as video:
        expected = [(planned, frame.pts) for planned, frame in seedvideo.frames(video, made)]
        assert len(video.times) > 1  # It is still open.
    assert [(planned, frame.pts) for planned, frame in seedvideo.frames(clip, made)] == expected
    assert [planned for planned, _ in expected] == list(made.frames)


def test_frames_that_are_left_early_leave_nothing_behind(clip: Path) -> None:
    made = seedvideo.plan(clip, policy="uniform", budget_tokens=4_000)
    for _ in seedvideo.frames(clip, made):
        break
    assert children() == []


def test_a_plan_of_another_video_is_refused(clip: Path, tmp_path: Path) -> None:
    other = paint(tmp_path / "other.mp4", ["red", "green", "blue"], shot_s=3)
    made = seedvideo.plan(other, policy="uniform", budget_tokens=4_000)
    with pytest.raises(seedvideo.PlanError) as caught:
        next(seedvideo.frames(clip, made))
    assert caught.value.code == "plan.invalid"
    assert "another video" in caught.value.message
