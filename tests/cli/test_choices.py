"""A wrong value of a choice is answered with the nearest right one, on every way in."""

from pathlib import Path
from typing import Any

import pytest

import seedvideo
from seedvideo.media.reader import open_video
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        ("plan x.mp4 --policy adaptve", "adaptive"),
        ("plan x.mp4 --policy seed", "seed1.5"),
        ("plan x.mp4 --analysis pakets", "packets"),
        ("plan x.mp4 --decoder PyAV", "pyav"),
        ("plan x.mp4 --rate-preset moton", "motion"),
        ("plan x.mp4 --task moton", "motion"),
        ("plan x.mp4 -f jsn", "json"),
        ("caption x.mp4 --format chapter", "chapters"),
        ("ask x.mp4 what -f txt", "text"),
        ("shots x.mp4 --analysis ful", "full"),
        ("inspect x.mp4 -f parkuet", "parquet"),
        ("eval flashbnch", "flashbench"),
        ("batch run x.mp4 -o y --task capton", "caption"),
        ("batch run x.mp4 -o y --rate-preset details", "detail"),
        ("batch run x.mp4 -o y --sampling details", "detail"),
        ("batch export x -f jsonlines -o y", "jsonl"),
    ],
)
def test_the_command_line_suggests_the_nearest(run: Run, words: str, nearest: str) -> None:
    code, out, err = run(*words.split())
    first, second = err.splitlines()
    assert (code, out) == (2, "")
    assert first.endswith("[usage]") and "Value error" not in first
    assert second.startswith(f"  hint: did you mean {nearest!r}? see seedvideo ")


def test_a_value_unlike_every_choice_gets_no_suggestion(run: Run) -> None:
    _, _, err = run("plan", "x.mp4", "--policy", "\x1b[2J'quoted' is not one of us")
    assert err.splitlines()[1] == "  hint: see seedvideo plan --help"
    assert "\x1b" not in err


@pytest.mark.parametrize("command", ["caption", "plan", "ask"])
def test_names_of_models(run: Run, clips: Path, command: str) -> None:
    words = ["what"] if command == "ask" else []
    code, _, err = run(command, clips / "red.mp4", *words, "--model", "Nanno")
    assert code == 3
    assert err.splitlines()[1].startswith("  hint: did you mean 'nano'? choose one of: ")


@pytest.mark.parametrize(
    ("options", "code", "nearest"),
    [
        ({"policy": "adaptve"}, "plan.invalid", "adaptive"),
        ({"rate_preset": "movement"}, "plan.invalid", None),
        ({"rate_preset": "Motion"}, "plan.invalid", "motion"),
        ({"analysis": "fsat"}, "config.invalid", "fast"),
        ({"model": "nono"}, "model.unknown", "nano"),
    ],
)
def test_python_suggests_the_nearest(
    clips: Path, options: dict[str, Any], code: str, nearest: str | None
) -> None:
    with pytest.raises(seedvideo.SeedVideoError) as caught:
        seedvideo.plan(clips / "red.mp4", **options)
    assert caught.value.code == code
    assert ("did you mean" in caught.value.hint) == (nearest is not None)
    assert nearest is None or f"did you mean {nearest!r}?" in caught.value.hint


def test_a_reader_suggests_the_nearest_decoder(clips: Path) -> None:
    wrong: Any = "decrod"
    with pytest.raises(seedvideo.ConfigError, match="did you mean 'decord'"):
        open_video(clips / "red.mp4", decoder=wrong)


@pytest.mark.parametrize(
    ("line", "expected", "nearest"),
    [
        ("task = 'capton'", "task is 'capton', expected ", "caption"),
        ("policy = 'Uniform'", "policy is 'Uniform', expected ", "uniform"),
        ("analysis = 'ful'", "analysis is 'ful', expected ", "full"),
        ("decoder = 3", "decoder is 3, expected ", None),
    ],
)
def test_a_job_file_suggests_the_nearest(
    run: Run, tmp_path: Path, line: str, expected: str, nearest: str | None
) -> None:
    job = tmp_path / "job.toml"
    job.write_text(f"inputs = ['x.mp4']\n{line}\n")
    code, _, err = run("batch", "run", job, "-o", tmp_path / "out")
    first, second = err.splitlines()
    assert code == 2
    assert expected in first and "Input should be" not in first
    assert ("did you mean" in second) == (nearest is not None)
    assert nearest is None or f"did you mean {nearest!r}?" in second
