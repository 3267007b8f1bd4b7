"""The public functions that are not one task on one video: shots, and many videos as a job."""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest

import seedvideo
from seedvideo import pipeline
from seedvideo.batch import scheduler
from seedvideo.batch.journal import Journal
from tests.batch.stage_doubles import ENTRYPOINTS
from tests.synthetic_clips import ColourModel, paint


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of red, two of green, two of blue."""
    return paint(tmp_path_factory.mktemp("clips") / "three.mp4", ["red", "green", "blue"], shot_s=2)


def test_no_public_function_has_the_name_of_a_subpackage() -> None:
    package = Path(seedvideo.__file__).parent
    assert not {path.name for path in package.iterdir() if path.is_dir()} & {*seedvideo.__all__}


def test_shots_of_a_path_and_of_an_open_video(clip: Path) -> None:
    found = seedvideo.shots(clip)
    assert [(float(shot.start), float(shot.end)) for shot in found] == [(0, 2), (2, 4), (4, 6)]
    assert (found.source, found.analysis, len(found)) == (str(clip), "fast", 3)
    assert found.frames(found.shots[1]) == (20, 40)
    with seedvideo.open(clip) as video:
        full = seedvideo.shots(video, analysis="full")
        assert (list(full), full.analysis) == (list(found), "full")
    with pytest.raises(seedvideo.ConfigError, match="expected one of packets, auto, fast, full"):
        seedvideo.shots(clip, analysis="most")  # type: ignore[arg-type]  # that it is refused is the test


def test_clips_of_a_path_and_of_an_open_video(clip: Path) -> None:
    found = seedvideo.split(clip, seedvideo.SplitOptions(min_s=0.5, crop_s=0))
    assert [(float(each.span.start), each.frames) for each in found.windows] == [
        (0, range(20)),
        (2, range(20, 40)),
        (4, range(40, 60)),
    ]
    with seedvideo.open(clip) as video:
        assert seedvideo.split(video).windows == ()
    with pytest.raises(seedvideo.ConfigError, match="SplitOptions"):
        seedvideo.split(clip, {"min_s": 1})  # type: ignore[arg-type]  # that it is refused is the test


def test_a_batch_runs_and_resumes(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "Runner", partial(scheduler.Runner, entrypoints=ENTRYPOINTS))
    monkeypatch.setattr(pipeline, "load_costs", lambda name="nano", options=None: ColourModel())
    run = partial(seedvideo.run_batch, [clip, str(tmp_path / "none.mp4")], tmp_path / "out")
    window = seedvideo.SamplingConfig(start_s=Fraction(0), end_s=Fraction(2))
    result = run(sampling=window, max_frames=4, filters={"min_duration_s": 0.5})
    assert result.is_complete
    assert (result.counts.done, result.counts.failed) == (1, 1)
    assert [(code, count) for code, _, count in result.failures] == [("input.not_found", 1)]
    with Journal.open(tmp_path / "out", write=False) as journal:
        job = journal.job()
        assert job is not None and job.sampling == replace(window, max_frames=4)
        records = [entry.record for entry in journal.entries() if entry.record is not None]
    assert [seedvideo.Record.model_validate_json(record).text for record in records] == ["Red."]
    assert run(sampling=window, max_frames=4, filters={"min_duration_s": 0.5}) == result


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"task": "ask"}, "ask.question_empty"),
        ({"filters": {"colour": "red"}}, "config.invalid"),
        ({"workers": 0}, "config.invalid"),
        ({"sampling": 5}, "config.type"),
        ({"policy": "uniform", "coverage": 0.5}, "plan.invalid"),
    ],
)
def test_a_batch_refuses_wrong_options(
    clip: Path, tmp_path: Path, options: dict[str, object], code: str
) -> None:
    with pytest.raises(seedvideo.SeedVideoError) as caught:
        seedvideo.run_batch(clip, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert not (tmp_path / "out").exists()


def test_every_public_name_exists() -> None:
    assert all(getattr(seedvideo, name) is not None for name in seedvideo.__all__)
    assert set(seedvideo.__all__) <= set(dir(seedvideo))
