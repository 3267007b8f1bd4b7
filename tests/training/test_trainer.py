"""The training loop: it learns, it resumes bit by bit, and a team is worth one process."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seedvideo.training.data import PhotoSampler
from seedvideo.training.trainer import DistributedContext, TrainConfig, Trainer, read_averaged
from tests.training.sample_data import (
    VOCABULARY,
    encode,
    make_model,
    make_photos,
    make_pictures,
    make_views,
)

# Nothing is dropped: each process of a team drops by random numbers of its own.
RECIPE = TrainConfig(
    steps=40,
    decay_steps=10,
    warmup_steps=2,
    photos_per_step=4,
    stem_from_step=3,
    learning_rate=3e-3,
    token_dropout=0.0,
)
PHOTOS = make_photos(8, 0)
PICTURES = make_pictures(8)
VIEWS = make_views(8, [(64, 64)])
CPU = torch.device("cpu")


def train(run: Trainer, until: int) -> list[float]:
    sampler = PhotoSampler(PHOTOS, VIEWS, seed=1)
    return [line["loss"] for line in run.fit(sampler, PICTURES, VIEWS, encode, until=until)]


def test_loss_falls(tmp_path: Path) -> None:
    losses = train(Trainer(make_model(VOCABULARY), RECIPE, tmp_path, CPU), 40)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_resuming_equals_never_having_stopped(tmp_path: Path) -> None:
    whole = Trainer(make_model(VOCABULARY), RECIPE, tmp_path / "whole", CPU)
    expected = train(whole, 8)
    first = Trainer(make_model(VOCABULARY), RECIPE, tmp_path / "parts", CPU)
    losses = train(first, 5)
    first.save()
    second = Trainer(make_model(VOCABULARY), RECIPE, tmp_path / "parts", CPU)
    assert second.step == 5
    losses += train(second, 8)
    assert losses == expected
    for name, value in whole.averaged().items():
        assert torch.equal(second.averaged()[name], value), name


def test_the_stem_joins_when_the_recipe_says(tmp_path: Path) -> None:
    run = Trainer(make_model(VOCABULARY), RECIPE, tmp_path, CPU)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}

    def changed(part: str) -> bool:
        now = run.model.state_dict()
        return any(not torch.equal(now[name], before[name]) for name in before if part in name)

    train(run, 3)
    assert not changed("stem.head") and not changed("upper_blocks")
    assert changed("decoder.blocks")
    train(run, 4)
    assert changed("stem.head") and changed("upper_blocks")
    assert not changed("lower_blocks") and not changed("stem.entry")


def test_the_recipe_says_which_blocks_never_join(tmp_path: Path) -> None:
    recipe = replace(RECIPE, frozen_blocks=14, stem_from_step=0)
    run = Trainer(make_model(VOCABULARY), recipe, tmp_path, CPU)
    trained = {name for name in run.trained if ".stem." in name}
    assert any("lower_blocks.14." in name for name in trained)
    assert not any("lower_blocks.13." in name or "stem.entry" in name for name in trained)
    weights, step = read_averaged_after(run, tmp_path)
    assert step == 2
    for name, value in run.averaged().items():
        assert torch.equal(weights[name], value), name


def read_averaged_after(run: Trainer, folder: Path) -> tuple[dict[str, torch.Tensor], int]:
    train(run, 2)
    run.save()
    return read_averaged(folder, CPU)


def test_a_pupil_comes_to_say_what_its_teachers_say(tmp_path: Path) -> None:
    """With the teachers' word alone, the labels count for nothing."""
    teacher = make_model(VOCABULARY).eval()
    with torch.no_grad():  # says the same token at every place
        teacher.decoder.norm.weight.zero_()
        vector = teacher.decoder.embedding.weight
        vector.zero_()
    recipe = replace(RECIPE, teacher_fraction=1.0)
    run = Trainer(make_model(VOCABULARY), recipe, tmp_path, CPU, teachers=[teacher])
    losses = train(run, 40)
    # The teacher finds every token equally likely: nothing can be below this entropy.
    assert losses[-1] == pytest.approx(math.log(VOCABULARY), abs=0.02)
    assert losses[0] > losses[-1]


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [RECIPE.lr_factor(step) for step in range(41)]
    assert rates[0] == 0.5
    assert set(rates[1:31]) == {1.0}
    assert rates[35] == 0.5 and rates[40] == 0.0


def test_no_pickle_is_written(tmp_path: Path) -> None:
    run = Trainer(make_model(VOCABULARY), RECIPE, tmp_path, CPU)
    train(run, 1)
    run.save()
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", "state.safetensors"}


def test_rows_must_go_round() -> None:
    assert DistributedContext(1, 2).shard([1, 2, 3]) == [2]
    with pytest.raises(ValueError, match="expected one each or more"):
        DistributedContext(0, 2).shard([1])


_MEMBER = """
import json, sys, torch
from pathlib import Path
from seedvideo.training.trainer import DistributedContext, Trainer
from tests.training.sample_data import VOCABULARY, make_model
from tests.training.test_trainer import CPU, RECIPE, train
torch.set_num_threads(1)
distributed = DistributedContext.join(CPU)
run = Trainer(make_model(VOCABULARY), RECIPE, Path(sys.argv[1]), CPU, distributed)
train(run, 1)
grads = {n: p.grad.double().norm().item() for n, p in run.trained.items() if p.grad is not None}
if distributed.rank == 0:
    print(json.dumps(grads))
"""


def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    def run(arguments: list[str]) -> dict[str, float]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, *arguments, str(tmp_path)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        grads: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
        return grads

    script = tmp_path / "member.py"
    script.write_text(_MEMBER)
    alone = run([str(script)])
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    together = run([*launcher, str(script)])
    assert alone.keys() == together.keys()
    # bfloat16 has 8 bits: sums over other rows differ by a few per cent.
    for name, value in alone.items():
        assert together[name] == pytest.approx(value, rel=0.1, abs=1e-3), name
