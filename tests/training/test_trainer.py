"""The training loop: it learns, it resumes bit by bit, and a team is worth one process."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seedvideo.model import DEFAULT_MODEL, WEIGHTS
from seedvideo.model.metadata import Tokenizer
from seedvideo.model.seedvl import SeedVL, SeedVLConfig
from seedvideo.training.__main__ import load_start_weights
from seedvideo.training.caption_loss import (
    STATE_FILE,
    CaptionTrainConfig,
    RenderedBatch,
    caption_recipe,
    draw_batches,
)
from seedvideo.training.data import PhotoSampler
from seedvideo.training.trainer import (
    SINGLE_PROCESS,
    DistributedContext,
    Trainer,
    lr_factor,
    read_averaged,
    train_and_log,
)
from tests.tiers import slow
from tests.training.sample_data import (
    VOCABULARY,
    encode,
    float32,
    make_model,
    make_photos,
    make_pictures,
    make_views,
)

__all__ = ["float32"]

# Nothing is dropped: each process of a team drops by random numbers of its own.
CONFIG = CaptionTrainConfig(
    steps=40,
    decay_steps=10,
    warmup_steps=2,
    photos_per_step=2,
    stem_from_step=3,
    learning_rate=1e-2,
    token_dropout=0.0,
)
PHOTOS = make_photos(8, 0)
PICTURES = make_pictures(8)
VIEWS = make_views(8, [(64, 64)])
CPU = torch.device("cpu")


def start(
    folder: Path,
    config: CaptionTrainConfig = CONFIG,
    *,
    distributed: DistributedContext = SINGLE_PROCESS,
    teachers: Sequence[SeedVL] = (),
) -> Trainer[RenderedBatch]:
    recipe = caption_recipe(make_model(VOCABULARY), config, CPU, teachers)
    return Trainer(recipe, folder, distributed)


def batches_of(run: Trainer[RenderedBatch]) -> Callable[[int], Iterator[RenderedBatch]]:
    sampler = PhotoSampler(PHOTOS, VIEWS, seed=1)
    return lambda step: draw_batches(
        step, CONFIG, sampler, PICTURES, VIEWS, encode, run.distributed
    )


def train(run: Trainer[RenderedBatch], until: int) -> list[float]:
    return [line["loss"] for line in run.fit(batches_of(run), until=until)]


@pytest.mark.usefixtures("float32")
def test_loss_falls(tmp_path: Path) -> None:
    losses = train(start(tmp_path), 12)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_resuming_equals_never_having_stopped(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole")
    expected = train(whole, 6)
    first = start(tmp_path / "parts")
    losses = train(first, 4)
    first.save()
    second = start(tmp_path / "parts")
    assert second.step == 4  # The stem is trained from step 3 on.
    losses += train(second, 6)
    assert losses == expected
    for name, value in whole.averaged().items():
        assert torch.equal(second.averaged()[name], value), name


def test_the_stem_joins_when_the_recipe_says(tmp_path: Path) -> None:
    run = start(tmp_path)
    before = {name: value.clone() for name, value in run.recipe.model.state_dict().items()}

    def changed(part: str) -> bool:
        now = run.recipe.model.state_dict()
        return any(not torch.equal(now[name], before[name]) for name in before if part in name)

    train(run, 3)
    assert not changed("stem.head") and not changed("upper_blocks")
    assert changed("decoder.blocks")
    train(run, 4)
    assert changed("stem.head") and changed("upper_blocks")
    assert not changed("lower_blocks") and not changed("stem.entry")


def test_the_recipe_says_which_blocks_never_join(tmp_path: Path) -> None:
    config = replace(CONFIG, frozen_blocks=14, stem_from_step=0)
    run = start(tmp_path, config)
    trained = {name for name in run.trained if ".stem." in name}
    assert any("lower_blocks.14." in name for name in trained)
    assert not any("lower_blocks.13." in name or "stem.entry" in name for name in trained)
    weights, step = read_averaged_after(run, tmp_path)
    assert step == 2
    for name, value in run.averaged().items():
        assert torch.equal(weights[name], value), name


def read_averaged_after(
    run: Trainer[RenderedBatch], folder: Path
) -> tuple[dict[str, torch.Tensor], int]:
    train(run, 2)
    run.save()
    return read_averaged(folder / STATE_FILE, CPU)


@pytest.mark.usefixtures("float32")
def test_a_pupil_comes_to_say_what_its_teachers_say(tmp_path: Path) -> None:
    """With the teachers' word alone, the labels count for nothing."""
    teacher = make_model(VOCABULARY).eval()
    with torch.no_grad():  # says the same token at every place
        teacher.decoder.norm.weight.zero_()
        vector = teacher.decoder.embedding.weight
        vector.zero_()
    config = replace(CONFIG, teacher_fraction=1.0)
    run = start(tmp_path, config, teachers=[teacher])
    losses = train(run, 8)
    # The teacher finds every token equally likely: nothing can be below this entropy.
    assert losses[-1] == pytest.approx(math.log(VOCABULARY), abs=0.02)
    assert losses[0] > losses[-1]


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [lr_factor(CONFIG, step) for step in range(41)]
    assert rates[0] == 0.5
    assert set(rates[1:31]) == {1.0}
    assert rates[35] == 0.5 and rates[40] == 0.0


def test_no_pickle_is_written(tmp_path: Path) -> None:
    run = start(tmp_path)
    train(run, 1)
    run.save()
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", "state.safetensors"}


def test_lines_come_at_multiples_and_at_the_end_of_a_stopped_training_too(tmp_path: Path) -> None:
    def log(steps: int) -> list[int]:
        run = start(tmp_path, replace(CONFIG, steps=steps))
        train_and_log(run, batches_of(run), tmp_path / "log.jsonl", save_every=3, log_every=2)
        assert json.loads((tmp_path / "state.json").read_text())["step"] == steps
        lines = (tmp_path / "log.jsonl").read_text().splitlines()
        return [json.loads(line)["step"] for line in lines]

    assert log(3) == [2, 3]
    assert log(6) == [2, 3, 4, 6]
    assert log(6) == [2, 3, 4, 6]


def test_rows_must_go_round() -> None:
    assert DistributedContext(1, 2).shard([1, 2, 3]) == [2]
    with pytest.raises(ValueError, match="expected one each or more"):
        DistributedContext(0, 2).shard([1])


_MEMBER = """
import json, sys, torch
from pathlib import Path
from seedvideo.training.trainer import DistributedContext
from tests.training.test_trainer import CPU, first_gradients, start
torch.set_num_threads(1)
distributed = DistributedContext.join(CPU)
gradients = first_gradients(start(Path(sys.argv[1]), distributed=distributed))
if distributed.rank == 0:
    print(json.dumps(gradients))
"""


def first_gradients(run: Trainer[RenderedBatch]) -> dict[str, float]:
    train(run, 1)
    return {
        name: parameter.grad.double().norm().item()
        for name, parameter in run.trained.items()
        if parameter.grad is not None
    }


@slow
def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    script = tmp_path / "member.py"
    script.write_text(_MEMBER)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    together: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    alone = first_gradients(start(tmp_path))
    assert alone.keys() == together.keys()
    # bfloat16 has 8 bits: sums over other rows differ by a few per cent.
    for name, value in alone.items():
        assert together[name] == pytest.approx(value, rel=0.1, abs=1e-3), name


def test_a_training_starts_from_the_shipped_model() -> None:
    tokenizer = Tokenizer.from_file(WEIGHTS / DEFAULT_MODEL / "tokenizer.json")
    model = SeedVL(SeedVLConfig.nano(vocabulary=tokenizer.size))
    weights = load_start_weights(DEFAULT_MODEL)
    model.load_state_dict(weights)
    assert set(weights) == set(model.state_dict())
