"""The recipe of the answer branch as a user runs it: every command, one after the other."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import seedvideo
from seedvideo.model.backends.base import SupportsPointing
from seedvideo.training.answer_cli import app
from tests.synthetic_clips import paint
from tests.tiers import slow
from tests.training.sample_data import make_data

SPLITS = ["train"] * 6 + ["dev"] * 6 + ["test"] * 5


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


@slow
def test_from_photos_to_a_checkpoint_that_answers(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", SPLITS)
    train, dev, folder = tmp_path / "train.bank", tmp_path / "dev.bank", tmp_path / "run"
    run("bank", "--data", data, "--out", train, "--scenes", 1)
    run("bank", "--data", data, "--out", dev, "--scenes", 1, "--split", "dev", "--seed", 2)
    lessons = ("--thing-steps", 2, "--frame-steps", 2)
    steps = ("--steps", 3, "--decay-steps", 1, "--batch-tokens", 600)
    run("fit", "--data", data, "--run", folder, "--bank", train, *lessons, *steps)
    run("fit", "--data", data, "--run", folder, "--bank", train, *lessons, *steps)  # is done
    log = (folder / "answer-log.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["step"] for line in log.splitlines()] == [1, 2, 3]

    scored = json.loads(run("score", "--data", data, "--run", folder, "--bank", dev, "--count", 3))
    assert scored["step"] == 3 and scored["exact"]

    out = tmp_path / "model"
    made = json.loads(run("export", "--run", folder, "--out", out))
    measured = json.loads(run("measure", "--data", data, "--model", out, "--slideshows", 1))
    assert measured["sentences"] <= 4 and 0 <= measured["mean_iou"] <= 1

    model = seedvideo.load(str(out))
    assert model.sha256 == made["sha256"] != seedvideo.load("nano").sha256
    assert isinstance(model, SupportsPointing) and model.can_point
    clip = paint(tmp_path / "clip.mp4", ["red", "green"])
    answer = seedvideo.ask(clip, "Which?", options=["red", "blue"], model=model).answer
    assert answer is not None
    total = sum(option.probability or 0.0 for option in answer.options)
    assert total == pytest.approx(1.0, abs=1e-4)
