"""``seedvideo plan`` and ``seedvideo frames``: what would be shown, in words, JSON and pictures."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedvideo.sampler.plan import Plan
from tests.cli.conftest import Run
from tests.synthetic_clips import nearest


def test_plan_without_a_model(run: Run, clips: Path) -> None:
    code, out, err = run("plan", clips / "two.mp4", "--json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert plan["policy"] == "adaptive"
    assert plan["decision"]["analysis"] == "auto"
    assert plan["budget_tokens"] == 81_920
    assert {"schema_version", "source", "geometry", "charged_tokens", "media", "segments"} < set(
        plan
    )
    assert plan["totals"]["frames"] == len(plan["frames"])
    assert Plan.from_json(plan).to_json() == plan


@pytest.mark.usefixtures("model")
def test_plan_with_a_model(run: Run, clips: Path) -> None:
    _, out, _ = run("plan", clips / "two.mp4", "--json", "--model", "nano")
    plan = json.loads(out)
    assert plan["policy"] == "adaptive"
    assert plan["budget_tokens"] == 512
    assert plan["totals"]["tokens"] == plan["charged_tokens"] <= 512


def test_text_and_explanation(run: Run, clips: Path) -> None:
    _, short, _ = run("plan", clips / "two.mp4")
    _, long, _ = run("plan", clips / "two.mp4", "--explain")
    assert str(clips / "two.mp4") in short
    assert len(long.splitlines()) > len(short.splitlines()) + 15


def test_an_adaptive_plan(run: Run, clips: Path, tmp_path: Path) -> None:
    words = ("plan", clips / "two.mp4", "--budget", "2k")
    code, out, err = run(*words, "--explain", "--plot", tmp_path / "plan.png")
    assert (code, err) == (0, "")
    assert "analysis  auto" in out
    assert "blank picture" in out  # One colour after the other.
    with Image.open(tmp_path / "plan.png") as picture:
        assert picture.size == (1800, 930)
    assert run(*words, "--plot", tmp_path / "plan.png").code == 3
    assert run(*words, "--plot", tmp_path / "plan.png", "--overwrite").code == 0
    _, out, _ = run(*words, "--json", "--analysis", "packets", "--coverage", "0.3")
    plan = json.loads(out)
    assert plan["decision"]["analysis"] == "packets"
    assert plan["totals"]["tokens"] == plan["charged_tokens"] <= 2000
    assert Plan.from_json(plan).to_json() == plan


def test_a_window_at_chosen_levels(run: Run, clips: Path) -> None:
    words = ("--start", "0:01", "--end", "3", "--levels", "160,128", "--max-frames", "4")
    _, out, _ = run("plan", clips / "two.mp4", "--policy", "uniform", "--json", *words)
    plan = json.loads(out)
    times = [frame["pts_s"] for frame in plan["frames"]]
    assert len(times) == 4
    assert times[0] == 1 and 2 < times[-1] < 3
    assert {segment["level_tokens"] for segment in plan["segments"]} <= {160, 128}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("--policy", "uniform", "--max-fps", "2"),
            "--max-fps cannot be used with --policy uniform",
        ),
        (
            ("--policy", "seed1.5", "--levels", "640"),
            "--levels cannot be used with --policy seed1.5",
        ),
        (("--min-fps", "3", "--max-fps", "2"), "min_fps is 3, above max_fps 2"),
        (("--start", "5", "--end", "4"), "the window ends at 4 s"),
        (("--coverage", "2"), "not a fraction from 0 to 1"),
        (("--levels", "640;128"), "--levels '640;128' is not a list of levels"),
        (("--start", "1:2:3:4"), "is not a time such as"),
        (("--max-frames", "0"), "max-frames"),
    ],
)
def test_options_that_make_no_sense(
    run: Run, clips: Path, words: tuple[str, ...], expected: str
) -> None:
    code, out, err = run("plan", clips / "two.mp4", *words)
    assert (code, out) == (2, "")
    assert expected in err
    assert "[usage]" in err


def test_what_a_video_cannot_give(run: Run, clips: Path) -> None:
    code, _, err = run("plan", clips / "two.mp4", "--start", "900")
    assert code == 1
    assert "no frame of" in err and "begins at 900 s or later" in err
    code, _, err = run("plan", clips / "two.mp4", "--policy", "uniform", "--levels", "7")
    assert code == 2
    assert "a level is 7, expected one of 640" in err
    code, _, err = run("plan", clips / "two.mp4", "--min-fps", "20", "--budget", "1k")
    assert code == 1
    assert "[plan.over_budget]" in err and "min_fps 20 needs" in err


def test_adaptive_frames_come_with_a_picture_of_the_plan(
    run: Run, clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "frames"
    words = ("frames", clips / "two.mp4", "-o", out, "--budget", "800")
    assert run(*words).code == 0
    with Image.open(out / "plan.png") as picture:
        assert picture.size == (1800, 930)
    assert run(*words).code == 3
    assert run(*words, "--overwrite").code == 0


def test_a_bad_file_is_one_line(run: Run, clips: Path) -> None:
    code, out, err = run("plan", clips / "text.mp4")
    assert (code, out) == (1, "")
    assert "[media.not_video]" in err.splitlines()[0]


def test_a_budget_too_small(run: Run, clips: Path) -> None:
    code, _, err = run("plan", clips / "two.mp4", "--budget", "2")
    assert code == 1
    assert "[plan.over_budget]" in err


def test_frames_are_pictures_named_by_position_and_time(
    run: Run, clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "frames"
    words = ("frames", clips / "two.mp4", "-o", out, "--policy", "uniform", "--budget", "400")
    code, _, err = run(*words)
    assert code == 0
    assert "contact_sheet.png" in err
    plan = json.loads((out / "plan.json").read_text())
    names = sorted(name for name in os.listdir(out) if name[0].isdigit())
    assert names == [
        f"{number:04d}_{frame['pts_s']:.3f}s.png"
        for number, frame in enumerate(plan["frames"], start=1)
    ]
    for name, frame in zip(names, plan["frames"], strict=True):
        with Image.open(out / name) as picture:
            assert picture.size == (frame["width_px"], frame["height_px"])
            colour = "red" if frame["pts_s"] < 2 else "blue"
            assert nearest(np.asarray(picture)) == colour
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.size[0] > 100


def test_frames_leave_a_used_folder_alone(run: Run, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "0007_9.000s.png").write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = run("frames", clips / "red.mp4", "-o", tmp_path)
    assert code == 3
    assert "[output.exists]" in err
    assert (tmp_path / "0007_9.000s.png").exists()
    assert run("frames", clips / "text.mp4", "-o", tmp_path, "--overwrite").code == 1
    assert (tmp_path / "0007_9.000s.png").exists()
    assert run("frames", clips / "red.mp4", "-o", tmp_path, "--overwrite", "-q").code == 0
    assert not (tmp_path / "0007_9.000s.png").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
