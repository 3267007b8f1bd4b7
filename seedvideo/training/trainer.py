"""The training loop of the embedded model: resumable, the same on CPU and GPU.

Warm-up, a constant learning rate, and a linear decay whose start may be chosen while training runs
(so a run can be stopped for lack of time and still end well). The evaluated weights are an
exponential moving average. The stem's first blocks stay as published; the others join later, with a
smaller learning rate.

A model may learn from teachers too: from what other trained models, all together, would say of the
same picture (Hinton, Vinyals and Dean 2015, arXiv 1503.02531).

State is kept in safetensors, never in pickles; ``state.json`` beside it is for people.

Several processes that train one model together, each on its share of a step's rows.

Started by ``torchrun``; without it there is a team of one and nothing is exchanged. Gradients are
summed by weight, so that a step is the same for one process or several up to rounding.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from seedvideo.model.seedvl import SeedVL
from seedvideo.model.vision_encoder import ConvPatches
from seedvideo.training.collate import Batch, Encode, attention_mask, cached, collate
from seedvideo.training.data import Pictures, Row, Sampler, View

Item = TypeVar("Item")


@dataclass(frozen=True)
class Team:
    """This process's place among those that train together.

    Args:
        rank: number of this process, from 0; process 0 writes logs and states.
        size: processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> "Team":
        """Meet the others that ``torchrun`` started, if it did."""
        if "RANK" not in os.environ:
            return cls()
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    def share(self, rows: list[Item]) -> list[Item]:
        """The rows that fall to this process; there must be one for each."""
        if len(rows) < self.size:
            raise ValueError(f"{len(rows)} rows do not go round {self.size} processes")
        return rows[self.rank :: self.size]

    def weight(self, labels: int, device: torch.device) -> float:
        """What this process's mean loss counts in the sum over processes."""
        if self.size == 1:
            return 1.0
        total = torch.tensor([float(labels)], device=device)
        dist.all_reduce(total)
        return labels / float(total)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over the processes, in one exchange."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        offset = 0
        for gradient in gradients:
            gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()


ALONE = Team()
_FRAMES_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run does; written beside its state.

    Args:
        steps: last step.
        decay_steps: steps at the end in which the learning rate falls to zero.
        warmup_steps: steps at the start in which it rises.
        stills: photos in a step.
        learning_rate: of everything but the stem.
        stem_learning_rate: of the stem.
        stem_from_step: where the stem joins.
        frozen_blocks: blocks of the stem, from the first, that never join. The first ones see the
            most pixels, so that they cost the most and are the most general.
        weight_decay: of matrices.
        label_smoothing: share of each target spread over the vocabulary.
        drop: share of visual tokens hidden from an answer.
        average: decay of the moving average of the weights.
        teacher_share: share of the loss that compares with the teachers, if there are any.
        seed: start of all randomness.
    """

    steps: int
    decay_steps: int
    warmup_steps: int = 200
    stills: int = 24
    learning_rate: float = 1e-3
    stem_learning_rate: float = 1e-4
    stem_from_step: int = 1_500
    frozen_blocks: int = 15
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    drop: float = 0.2
    average: float = 0.998
    teacher_share: float = 0.7
    seed: int = 1

    def rate(self, step: int) -> float:
        """Factor of the learning rates at ``step``."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, (self.steps - step) / max(1, self.decay_steps))
        return max(0.0, min(rise, fall))


class Run:
    """A model in training, with its optimiser and averaged weights.

    Args:
        model: what is trained; moved to ``device``.
        recipe: how.
        folder: where the state is kept; a state that is there is taken up.
        device: where.
        team: this process's place among those that train together.
        teachers: models in evaluation mode, on ``device``, of the same vocabulary.
    """

    def __init__(
        self,
        model: SeedVL,
        recipe: Recipe,
        folder: Path,
        device: torch.device,
        team: Team = ALONE,
        teachers: Sequence[SeedVL] = (),
    ):
        self.model, self.recipe, self.folder, self.device = model, recipe, folder, device
        self.team, self.teachers = team, teachers
        model.to(device)
        for parameter in model.parameters():
            if parameter.ndim == 4:  # frames come with their channels last
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        stem, matrices, vectors = _parameter_groups(model, recipe.frozen_blocks)
        self.stem = stem
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": recipe.weight_decay, "kind": "matrices"},
                {"params": vectors, "weight_decay": 0.0, "kind": "vectors"},
                {"params": stem, "weight_decay": recipe.weight_decay, "kind": "stem"},
            ],
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
        )
        self.trained = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self.average = {name: p.detach().clone() for name, p in self.trained.items()}
        self.step = 0
        if (folder / "state.safetensors").exists():
            self._load()

    def fit(
        self,
        sampler: Sampler,
        pictures: Pictures,
        views: list[View],
        encode: Encode,
        *,
        until: int,
        log_every: int = 1,
    ) -> Iterator[dict[str, float]]:
        """Train to step ``until``.

        Args:
            sampler: chooses rows.
            pictures: all its photos, on the model's device.
            views: what the rows' view numbers mean.
            encode: text to ids.
            until: last step.
            log_every: steps from one line to the next; reading a loss stops a GPU's queue.

        Yields:
            After every ``log_every`` steps: step, loss, learning-rate factor,
            frames, seconds a step.
        """
        encode = cached(encode)
        began, first = time.perf_counter(), self.step
        while self.step < min(until, self.recipe.steps):
            rng = np.random.default_rng([self.recipe.seed, self.step, 1, self.team.rank])
            rows = self.team.share(self._draw(sampler))
            batch = collate(rows, views, encode, drop=self.recipe.drop, rng=rng)
            frames = pictures.look(batch.photos, batch.mirrored, batch.size_px, rng)
            loss = self._train(frames, batch)
            self.step += 1
            if self.step % log_every == 0:
                value = float(loss)
                now = time.perf_counter()
                yield {
                    "step": self.step,
                    "loss": value,
                    "rate": self.recipe.rate(self.step),
                    "frames": len(batch.grids),
                    "seconds": (now - began) / (self.step - first),
                }
                began, first = time.perf_counter(), self.step

    def _draw(self, sampler: Sampler) -> list[Row]:
        return sampler.draw(self.step, stills=self.recipe.stills, least=self.team.size)

    def _train(self, frames: Tensor, batch: Batch) -> Tensor:
        trains_stem = self.step >= self.recipe.stem_from_step
        for group in self.optimizer.param_groups:
            base = self.recipe.learning_rate
            if group["kind"] == "stem":
                base = self.recipe.stem_learning_rate
            group["lr"] = base * self.recipe.rate(self.step)
        for parameter in self.stem:
            parameter.requires_grad_(trains_stem)
        self.model.train()
        torch.manual_seed((self.recipe.seed * 1_000_003 + self.step) * 64 + self.team.rank)
        loss = batch_loss(self.model, frames, batch, self.recipe, self.teachers)
        self.optimizer.zero_grad(set_to_none=True)
        (loss * self.team.weight(len(batch.labels), self.device)).backward()
        self.team.sum_gradients(self.trained.values())
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        keep = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            # In few large calls: a GPU waits for no loop over hundreds of tensors.
            averages = [self.average[name] for name in self.trained]
            torch._foreach_lerp_(averages, list(self.trained.values()), 1 - keep)
        return loss.detach()

    def averaged(self) -> dict[str, Tensor]:
        """All weights of the model, the trained ones averaged."""
        weights = dict(self.model.state_dict())
        weights.update(self.average)
        return weights

    def save(self) -> None:
        """Write the state; what was there stays until the new one is whole."""
        if self.team.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        for name, value in self.model.state_dict().items():
            tensors[f"model/{name}"] = value
        for name, value in self.average.items():
            tensors[f"average/{name}"] = value
        names = {id(parameter): name for name, parameter in self.trained.items()}
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                tensors[f"adam/{key}/{names[id(parameter)]}"] = value.clone()
        part = self.folder / "state.part"
        # The step lies in the same file: a kill between two renames can't part it from its weights.
        stored = {key: value.contiguous() for key, value in tensors.items()}
        save_file(stored, part, metadata={"step": str(self.step)})
        part.rename(self.folder / "state.safetensors")
        recipe = json.dumps({"step": self.step, "recipe": asdict(self.recipe)}, indent=2)
        (self.folder / "state.json").write_text(recipe + "\n", encoding="utf-8")

    def _load(self) -> None:
        path = self.folder / "state.safetensors"
        with safe_open(path, framework="pt") as state:
            self.step = int(state.metadata()["step"])
        tensors = load_file(path, device=str(self.device))
        own: dict[str, Any] = {"model": {}, "average": {}, "adam": {}}
        for key, value in tensors.items():
            kind, name = key.split("/", 1)
            own[kind][name] = value
        self.model.load_state_dict(own["model"])
        self.average = own["average"]
        for key, value in own["adam"].items():
            field, name = key.split("/", 1)
            # The step counter stays on the CPU, as the optimiser itself keeps it.
            self.optimizer.state[self.trained[name]][field] = (
                value.cpu() if field == "step" else value
            )


def read_averaged(folder: Path, device: torch.device) -> tuple[dict[str, Tensor], int]:
    """All weights of a training under ``folder``, the trained ones averaged, and its step."""
    path = folder / "state.safetensors"
    weights: dict[str, Tensor] = {}
    with safe_open(path, framework="pt", device=str(device)) as state:
        step = int(state.metadata()["step"])
        for kind in ("model/", "average/"):
            for key in state.keys():  # noqa: SIM118 (no mapping)
                if key.startswith(kind):
                    weights[key.removeprefix(kind)] = state.get_tensor(key)
    return weights, step


def answer_logits(model: SeedVL, frames: Tensor, batch: Batch, *, hides: bool) -> Tensor:
    """What a model expects at every place of every answer, ``(a, vocabulary)``, in bfloat16.

    Args:
        model: any.
        frames: ``(f, h, w, 3)`` uint8, on the model's device.
        batch: the frames' sequences.
        hides: whether the batch's hidden visual tokens are hidden from it.
    """
    device, count = frames.device, len(frames)
    if device.type == "cuda":
        # Each number of frames not seen before costs a GPU a second of preparation.
        spare = frames[:1].expand(-count % _FRAMES_AT_ONCE, -1, -1, -1)
        frames = torch.cat((frames, spare))
    hidden = batch.hidden.to(device) if hides else None
    mask = attention_mask(batch.groups.to(device), hidden)
    with torch.autocast(device.type, torch.bfloat16):
        packed = model.vit.patches(frames)[:count].flatten(0, 1)
        visual = model.adapter(model.vit.encode(packed, batch.grids))
        x = model.embed(batch.ids.to(device), visual)
        states = model.decoder(x, positions=batch.positions.to(device), mask=mask)
        return model.decoder.logits(states.flatten(0, 1)[batch.sources.to(device)])


def batch_loss(
    model: SeedVL, frames: Tensor, batch: Batch, recipe: Recipe, teachers: Sequence[SeedVL] = ()
) -> Tensor:
    """Mean cross-entropy of the answers' ids, in part against what the teachers expect."""
    logits = answer_logits(model, frames, batch, hides=True).float()
    labels = batch.labels.to(frames.device)
    told = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    if not teachers:
        return told
    with torch.no_grad():
        expected = torch.stack(
            [
                answer_logits(teacher, frames, batch, hides=False).float().softmax(dim=-1)
                for teacher in teachers
            ]
        ).mean(dim=0)
    taught = functional.cross_entropy(logits, expected)
    return torch.lerp(told, taught, recipe.teacher_share)


def _parameter_groups(
    model: SeedVL, frozen_blocks: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The stem's trained blocks, matrices, and everything else that is trained."""
    stem: list[Tensor] = []
    matrices: list[Tensor] = []
    vectors: list[Tensor] = []
    if isinstance(model.vit.patches, ConvPatches):
        convolutions = model.vit.patches.stem
        stem += convolutions.head.parameters()
        blocks = [*convolutions.lower_blocks, *convolutions.upper_blocks]
        for index, block in enumerate([convolutions.entry, *blocks]):
            if index > frozen_blocks:
                stem += block.parameters()
            else:
                block.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if ".stem." in name:
            continue
        if parameter.ndim > 1:
            matrices.append(parameter)
        else:
            vectors.append(parameter)
    return stem, matrices, vectors
