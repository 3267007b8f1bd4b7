"""The training loop of the embedded model: resumable, the same on CPU and GPU.

Warm-up, a constant learning rate, and a linear decay whose start may be chosen while training runs
(so a run can be stopped for lack of time and still end well). The evaluated weights are an
exponential moving average. The stem's lower half stays as published; its upper half joins later,
with a smaller learning rate.

State is kept in safetensors, never in pickles; ``state.json`` beside it is for people.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from seedvideo.model.seedvl import SeedVL
from seedvideo.model.vit import ConvPatches
from seedvideo.train.batch import Batch, Encode, cached, collate
from seedvideo.train.samples import Row, Sampler
from seedvideo.train.team import Team
from seedvideo.train.views import View

ALONE = Team()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run does; written beside its state.

    Args:
        steps: last step.
        decay_steps: steps at the end in which the learning rate falls to zero.
        warmup_steps: steps at the start in which it rises.
        stills: photos in a step.
        learning_rate: of everything but the stem.
        stem_learning_rate: of the stem's upper half.
        stem_from_step: where the stem's upper half joins.
        weight_decay: of matrices.
        label_smoothing: share of each target spread over the vocabulary.
        drop: share of visual tokens hidden from an answer.
        average: decay of the moving average of the weights.
        seed: start of all randomness.
    """

    steps: int
    decay_steps: int
    warmup_steps: int = 200
    stills: int = 24
    learning_rate: float = 1e-3
    stem_learning_rate: float = 1e-4
    stem_from_step: int = 1_500
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    drop: float = 0.2
    average: float = 0.998
    seed: int = 1

    def rate(self, step: int) -> float:
        """Factor of the learning rates at ``step``."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, (self.steps - step) / max(1, self.decay_steps))
        return max(0.0, min(rise, fall))


class Run:
    """A model in training, with its optimiser and averaged weights."""

    def __init__(
        self,
        model: SeedVL,
        recipe: Recipe,
        folder: Path,
        device: torch.device,
        team: Team = ALONE,
    ):
        self.model, self.recipe, self.folder, self.device = model, recipe, folder, device
        self.team = team
        model.to(device)
        stem, matrices, vectors = _parameter_groups(model)
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
        self, sampler: Sampler, views: list[View], encode: Encode, *, until: int
    ) -> Iterator[dict[str, float]]:
        """Train to step ``until``.

        Yields:
            After each step: step, loss, learning-rate factor and seconds.
        """
        encode = cached(encode)
        while self.step < min(until, self.recipe.steps):
            began = time.perf_counter()
            rng = np.random.default_rng([self.recipe.seed, self.step, 1, self.team.rank])
            rows = self.team.share(self._draw(sampler))
            batch = collate(rows, views, encode, drop=self.recipe.drop, rng=rng)
            loss = self._train(batch)
            self.step += 1
            yield {
                "step": self.step,
                "loss": loss,
                "rate": self.recipe.rate(self.step),
                "frames": len(batch.grids),
                "seconds": time.perf_counter() - began,
            }

    def _draw(self, sampler: Sampler) -> list[Row]:
        return sampler.draw(self.step, stills=self.recipe.stills, least=self.team.size)

    def _train(self, batch: Batch) -> float:
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
        loss = batch_loss(
            self.model, batch, self.device, label_smoothing=self.recipe.label_smoothing
        )
        self.optimizer.zero_grad(set_to_none=True)
        (loss * self.team.weight(len(batch.labels), self.device)).backward()
        self.team.sum_gradients(self.trained.values())
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        keep = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.trained.items():
                self.average[name].lerp_(parameter, 1 - keep)
        return float(loss.detach())

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


def batch_loss(
    model: SeedVL, batch: Batch, device: torch.device, *, label_smoothing: float
) -> Tensor:
    """Mean cross-entropy of the answers' ids, in bfloat16 where that is safe."""
    patches = model.vit.patches
    if not isinstance(patches, ConvPatches):
        raise TypeError("training starts from the stem's lower half: the model has no stem")
    with torch.autocast(device.type, torch.bfloat16):
        cells = patches.stem.upper(batch.features.to(device, torch.bfloat16))
        packed = patches.embed(cells).flatten(0, 1)
        visual = model.adapter(model.vit.encode(packed, batch.grids))
        x = model.embed(batch.ids.to(device), visual)
        hidden = model.decoder(x, positions=batch.positions.to(device), mask=batch.mask.to(device))
        logits = model.decoder.logits(hidden.flatten(0, 1)[batch.sources.to(device)])
    return functional.cross_entropy(
        logits.float(), batch.labels.to(device), label_smoothing=label_smoothing
    )


def _parameter_groups(model: SeedVL) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The stem's upper half, matrices, and everything else that is trained."""
    stem: list[Tensor] = []
    matrices: list[Tensor] = []
    vectors: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if ".stem." in name:
            is_upper = "upper_blocks" in name or ".stem.head." in name
            if is_upper:
                stem.append(parameter)
            else:
                parameter.requires_grad_(False)
        elif parameter.ndim > 1:
            matrices.append(parameter)
        else:
            vectors.append(parameter)
    return stem, matrices, vectors
