"""Training loop of the embedded model: resumable, distributed, equal on CPU and GPU.

The learning rate warms up, stays constant, and decays linearly from a step that may be changed
while training runs, so a run can be shortened and still end well. Evaluation uses an exponential
moving average of the weights. The stem's first blocks stay as published; the others join later,
with a smaller learning rate.

A model may also learn from teachers: the averaged predictions of other trained models for the same
image (Hinton, Vinyals and Dean 2015, arXiv 1503.02531).

State is stored in safetensors, never in pickles; ``state.json`` is for people.

``torchrun`` starts several processes that train one model together, each on its shard of a step's
rows; without it there is one process and no communication. Gradients are summed with the weights of
the shards, so a step is equal for any number of processes, up to rounding.

Separate from `seedvideo.training.__main__`, which would exceed 500 lines with it.
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
from seedvideo.training.collate import Batch, Encode, attention_mask, cache_encoding, collate
from seedvideo.training.data import CaptionRow, PhotoSampler, PhotoStore, View

Item = TypeVar("Item")


@dataclass(frozen=True)
class DistributedContext:
    """Rank of this process among those that train together.

    Args:
        rank: index of this process; process 0 writes logs and states.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> "DistributedContext":
        """Join the process group that ``torchrun`` started, if it did."""
        if "RANK" not in os.environ:
            return cls()
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    def shard(self, rows: list[Item]) -> list[Item]:
        """Return the rows of this process; there must be one for each process."""
        if len(rows) < self.size:
            raise ValueError(
                f"{len(rows)} rows for {self.size} processes, expected one each or more"
            )
        return rows[self.rank :: self.size]

    def loss_weight(self, labels: int, device: torch.device) -> float:
        """Return the weight of this process's mean loss in the sum over processes."""
        if self.size == 1:
            return 1.0
        total = torch.tensor([float(labels)], device=device)
        dist.all_reduce(total)
        return labels / float(total)

    def all_reduce_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over the processes, in one all-reduce."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        offset = 0
        for gradient in gradients:
            gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()


SINGLE_PROCESS = DistributedContext()
_FRAME_MULTIPLE = 32
"""On a GPU, frames are padded to multiples of this number, to limit the shapes cuDNN prepares
for.
"""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Hyperparameters of a training; stored with its state.

    Args:
        steps: total number of steps.
        decay_steps: steps at the end in which the learning rate falls to zero.
        warmup_steps: steps at the start in which it rises.
        photos_per_step: photos per step.
        learning_rate: peak learning rate of everything but the stem.
        stem_learning_rate: peak learning rate of the stem.
        stem_from_step: step from which the stem is trained.
        frozen_blocks: first blocks of the stem, which are never trained. They process the most
            pixels, so they cost the most, and are the most general.
        weight_decay: weight decay of matrices.
        label_smoothing: fraction of each target spread over the vocabulary.
        token_dropout: fraction of visual tokens hidden from an answer.
        ema_decay: decay of the moving average of the weights.
        teacher_fraction: fraction of the loss against the teachers, if there are any.
        seed: seed of all randomness.
    """

    steps: int
    decay_steps: int
    warmup_steps: int = 200
    photos_per_step: int = 24
    learning_rate: float = 1e-3
    stem_learning_rate: float = 1e-4
    stem_from_step: int = 1_500
    frozen_blocks: int = 15
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    token_dropout: float = 0.2
    ema_decay: float = 0.998
    teacher_fraction: float = 0.7
    seed: int = 1

    def lr_factor(self, step: int) -> float:
        """Return the factor of the learning rates at ``step``."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, (self.steps - step) / max(1, self.decay_steps))
        return max(0.0, min(rise, fall))


class Trainer:
    """A model in training, with its optimizer and averaged weights.

    Args:
        model: the model to train; moved to ``device``.
        recipe: hyperparameters.
        folder: folder of the state; an existing state is resumed.
        device: device of the training.
        distributed: rank of this process.
        teachers: models in evaluation mode, on ``device``, with the same vocabulary.
    """

    def __init__(
        self,
        model: SeedVL,
        recipe: TrainConfig,
        folder: Path,
        device: torch.device,
        distributed: DistributedContext = SINGLE_PROCESS,
        teachers: Sequence[SeedVL] = (),
    ):
        self.model, self.recipe, self.folder, self.device = model, recipe, folder, device
        self.distributed, self.teachers = distributed, teachers
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
        self.ema_weights = {name: p.detach().clone() for name, p in self.trained.items()}
        self.step = 0
        if (folder / "state.safetensors").exists():
            self._load()

    def fit(
        self,
        sampler: PhotoSampler,
        pictures: PhotoStore,
        views: list[View],
        encode: Encode,
        *,
        until: int,
        log_every: int = 1,
    ) -> Iterator[dict[str, float]]:
        """Train to step ``until``.

        Args:
            sampler: draws rows.
            pictures: all its photos, on the model's device.
            views: views by index.
            encode: text to ids.
            until: last step.
            log_every: steps between log lines; reading a loss synchronizes the GPU.

        Yields:
            After every ``log_every`` steps: step, loss, learning-rate factor, frames, seconds per
            step.
        """
        encode = cache_encoding(encode)
        began, first = time.perf_counter(), self.step
        while self.step < min(until, self.recipe.steps):
            rng = np.random.default_rng([self.recipe.seed, self.step, 1, self.distributed.rank])
            rows = self.distributed.shard(self._draw(sampler))
            batch = collate(rows, views, encode, token_dropout=self.recipe.token_dropout, rng=rng)
            frames = pictures.render_views(batch.photos, batch.mirrored, batch.size_px, rng)
            loss = self._train(frames, batch)
            self.step += 1
            if self.step % log_every == 0:
                value = float(loss)
                now = time.perf_counter()
                yield {
                    "step": self.step,
                    "loss": value,
                    "rate": self.recipe.lr_factor(self.step),
                    "frames": len(batch.grids),
                    "seconds": (now - began) / (self.step - first),
                }
                began, first = time.perf_counter(), self.step

    def _draw(self, sampler: PhotoSampler) -> list[CaptionRow]:
        return sampler.draw(
            self.step, photos_per_step=self.recipe.photos_per_step, min_rows=self.distributed.size
        )

    def _train(self, frames: Tensor, batch: Batch) -> Tensor:
        trains_stem = self.step >= self.recipe.stem_from_step
        for group in self.optimizer.param_groups:
            base = self.recipe.learning_rate
            if group["kind"] == "stem":
                base = self.recipe.stem_learning_rate
            group["lr"] = base * self.recipe.lr_factor(self.step)
        for parameter in self.stem:
            parameter.requires_grad_(trains_stem)
        self.model.train()
        torch.manual_seed((self.recipe.seed * 1_000_003 + self.step) * 64 + self.distributed.rank)
        loss = compute_loss(self.model, frames, batch, self.recipe, self.teachers)
        self.optimizer.zero_grad(set_to_none=True)
        (loss * self.distributed.loss_weight(len(batch.labels), self.device)).backward()
        self.distributed.all_reduce_gradients(self.trained.values())
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        keep = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            # Few large calls: a loop over hundreds of tensors would stall the GPU.
            averages = [self.ema_weights[name] for name in self.trained]
            torch._foreach_lerp_(averages, list(self.trained.values()), 1 - keep)
        return loss.detach()

    def averaged(self) -> dict[str, Tensor]:
        """Return all weights of the model, the trained ones averaged."""
        weights = dict(self.model.state_dict())
        weights.update(self.ema_weights)
        return weights

    def save(self) -> None:
        """Write the state atomically."""
        if self.distributed.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        for name, value in self.model.state_dict().items():
            tensors[f"model/{name}"] = value
        for name, value in self.ema_weights.items():
            tensors[f"average/{name}"] = value
        names = {id(parameter): name for name, parameter in self.trained.items()}
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                tensors[f"adam/{key}/{names[id(parameter)]}"] = value.clone()
        part = self.folder / "state.part"
        # The step is in the same file, so a kill between two renames cannot separate them.
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
        self.ema_weights = own["average"]
        for key, value in own["adam"].items():
            field, name = key.split("/", 1)
            # The step counter stays on the CPU, where the optimizer expects it.
            self.optimizer.state[self.trained[name]][field] = (
                value.cpu() if field == "step" else value
            )


def read_averaged(folder: Path, device: torch.device) -> tuple[dict[str, Tensor], int]:
    """Read all weights of a training under ``folder``, the trained ones averaged, and its step."""
    path = folder / "state.safetensors"
    weights: dict[str, Tensor] = {}
    with safe_open(path, framework="pt", device=str(device)) as state:
        step = int(state.metadata()["step"])
        for kind in ("model/", "average/"):
            for key in state.keys():  # noqa: SIM118 (no mapping)
                if key.startswith(kind):
                    weights[key.removeprefix(kind)] = state.get_tensor(key)
    return weights, step


def compute_answer_logits(model: SeedVL, frames: Tensor, batch: Batch, *, hides: bool) -> Tensor:
    """Compute the logits of every answer token, ``(a, vocabulary)``, in bfloat16.

    Args:
        model: the student or a teacher.
        frames: ``(f, h, w, 3)`` uint8, on the model's device.
        batch: the frames' sequences.
        hides: whether to apply the batch's token dropout.
    """
    device, count = frames.device, len(frames)
    if device.type == "cuda":
        # Each new number of frames costs a second of cuDNN preparation.
        spare = frames[:1].expand(-count % _FRAME_MULTIPLE, -1, -1, -1)
        frames = torch.cat((frames, spare))
    hidden = batch.hidden.to(device) if hides else None
    mask = attention_mask(batch.groups.to(device), hidden)
    with torch.autocast(device.type, torch.bfloat16):
        packed = model.vit.patches(frames)[:count].flatten(0, 1)
        visual = model.adapter(model.vit.encode(packed, batch.grids))
        x = model.embed(batch.ids.to(device), visual)
        states = model.decoder(x, positions=batch.positions.to(device), mask=mask)
        return model.decoder.logits(states.flatten(0, 1)[batch.sources.to(device)])


def compute_loss(
    model: SeedVL,
    frames: Tensor,
    batch: Batch,
    recipe: TrainConfig,
    teachers: Sequence[SeedVL] = (),
) -> Tensor:
    """Return the mean cross-entropy of the answers' ids, in part against the teachers."""
    logits = compute_answer_logits(model, frames, batch, hides=True).float()
    labels = batch.labels.to(frames.device)
    label_loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    if not teachers:
        return label_loss
    with torch.no_grad():
        expected = torch.stack(
            [
                compute_answer_logits(teacher, frames, batch, hides=False).float().softmax(dim=-1)
                for teacher in teachers
            ]
        ).mean(dim=0)
    teacher_loss = functional.cross_entropy(logits, expected)
    return torch.lerp(label_loss, teacher_loss, recipe.teacher_fraction)


def _parameter_groups(
    model: SeedVL, frozen_blocks: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return the stem's trained blocks, matrices, and all other trained parameters."""
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
