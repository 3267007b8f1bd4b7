"""Training loop of any model: optimizer, schedule, averaged weights, state, log, processes.

A `Recipe` holds what differs between trainings: model, parameter groups, loss, hyperparameters.
The recipes are `caption_loss` and `answer_loss`.

The learning rate warms up, stays constant, and decays linearly from a step that may be changed
while training runs, so a run can be shortened and still end well. Evaluation uses an exponential
moving average of the weights.

State is stored in safetensors, never in pickles; the JSON file beside it is for people. A training
that is stopped and resumed computes the same numbers as one that is never stopped.

``torchrun`` starts several processes that train one model together, each on its shard of a step's
rows; without it there is one process and no communication. Gradients are summed with the weights of
the shards, so a step is equal for any number of processes, up to rounding.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Item = TypeVar("Item")
StepBatch = TypeVar("StepBatch")
"""Input of one step, as the recipe's loss takes it."""

_BETAS = (0.9, 0.98)
"""Decay rates of AdamW's first and second moments."""

_MAX_GRADIENT_NORM = 1.0
"""Gradients of a larger norm, over all trained parameters of the model, are scaled down to it."""


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


def mixed_precision(device: torch.device) -> torch.autocast:
    """Return a context for forward passes: bfloat16 where the device has instructions for it.

    Other CPUs emulate bfloat16: their convolutions take twenty times as long as in float32.
    """
    is_native = device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=is_native)


class TrainConfig(Protocol):
    """Hyperparameters that every training has; each recipe's dataclass has more."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def steps(self) -> int:
        """Return the total number of steps."""

    @property
    def decay_steps(self) -> int:
        """Return the number of steps at the end in which the learning rate falls to zero."""

    @property
    def warmup_steps(self) -> int:
        """Return the number of steps at the start in which it rises."""

    @property
    def ema_decay(self) -> float:
        """Return the decay of the moving average of the weights."""

    @property
    def seed(self) -> int:
        """Return the seed of all randomness."""


def lr_factor(config: TrainConfig, step: int) -> float:
    """Return the factor of the learning rates at ``step``."""
    rise = min(1.0, (step + 1) / config.warmup_steps)
    fall = min(1.0, (config.steps - step) / max(1, config.decay_steps))
    return max(0.0, min(rise, fall))


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are trained alike.

    Args:
        parameters: the parameters.
        learning_rate: peak learning rate.
        weight_decay: weight decay.
        from_step: step from which they are trained.
    """

    parameters: list[Tensor]
    learning_rate: float
    weight_decay: float = 0.0
    from_step: int = 0


@dataclass(frozen=True)
class StepLoss:
    """Loss of one step.

    Args:
        loss: the scalar to minimize, a mean over the labels.
        label_count: number of these labels: the weight of this process among several.
        logged: values for the log, tensors without gradient.
    """

    loss: Tensor
    label_count: int
    logged: Mapping[str, Tensor | int]


@dataclass(frozen=True, kw_only=True)
class Recipe(Generic[StepBatch]):
    """Everything that differs between trainings.

    Args:
        config: hyperparameters; stored with the state.
        model: the model to train, on the device of the training.
        groups: its trained parameters, and those of ``heads``. All others need no gradient.
        compute_loss: loss of a step's batch, with the model in training mode.
        summarize: values of a log line, from the number of steps done and from what was logged in
            the steps since the line before.
        state_file: name of the state file, ending in ``.safetensors``.
        heads: modules that exist only in training, on the same device. They are trained and stored
            with the model, but neither averaged nor clipped.
        fused: whether the optimizer updates all parameters in one kernel; None for PyTorch's
            default.
        seeds_per_step: distance of the seeds of two steps; each process adds its rank.
    """

    config: TrainConfig
    model: nn.Module
    groups: Sequence[ParameterGroup]
    compute_loss: Callable[[StepBatch], StepLoss]
    summarize: Callable[[int, Sequence[Mapping[str, Tensor | int]]], dict[str, float]]
    state_file: str
    heads: nn.Module | None = None
    fused: bool | None = None
    seeds_per_step: int = 1


class Trainer(Generic[StepBatch]):
    """A model in training, with its optimizer and averaged weights.

    Args:
        recipe: model, loss and hyperparameters.
        folder: folder of the state; an existing state is resumed.
        distributed: rank of this process.
    """

    def __init__(
        self,
        recipe: Recipe[StepBatch],
        folder: Path,
        distributed: DistributedContext = SINGLE_PROCESS,
    ):
        self.recipe, self.distributed = recipe, distributed
        self.state_file = folder / recipe.state_file
        self.device = next(recipe.model.parameters()).device
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": group.parameters,
                    "lr": group.learning_rate,
                    "weight_decay": group.weight_decay,
                    "peak_lr": group.learning_rate,
                    "from_step": group.from_step,
                }
                for group in recipe.groups
            ],
            betas=_BETAS,
            fused=recipe.fused,
        )
        self.trained = {
            name: parameter
            for name, parameter in recipe.model.named_parameters()
            if parameter.requires_grad
        }
        """Trained parameters of the model by name; they are averaged and clipped."""
        heads = {} if recipe.heads is None else dict(recipe.heads.named_parameters())
        self._optimized = self.trained | {f"heads.{name}": p for name, p in heads.items()}
        self.init_ema()
        self.step = 0
        self.is_new = not self.state_file.exists()
        """Whether no state was resumed."""
        if not self.is_new:
            self._load()

    def init_ema(self) -> None:
        """Reset the averaged weights to the current ones."""
        self.ema_weights = {name: p.detach().clone() for name, p in self.trained.items()}

    def fit(
        self,
        batches_from: Callable[[int], Iterator[StepBatch]],
        *,
        until: int,
        log_every: int = 1,
    ) -> Iterator[dict[str, float]]:
        """Train to step ``until``, at most to the last step.

        Args:
            batches_from: batches of the steps from the given one on.
            until: number of steps done at the end.
            log_every: steps between log lines; reading a loss synchronizes the GPU.

        Yields:
            At each multiple of ``log_every`` steps, and at the end: the number of steps done, the
            recipe's values, and the mean seconds per step since the line before.
        """
        until = min(until, self.recipe.config.steps)
        batches = batches_from(self.step)
        logged: list[Mapping[str, Tensor | int]] = []
        began = time.perf_counter()
        while self.step < until:
            logged.append(self._train(next(batches)))
            self.step += 1
            if self.step % log_every and self.step < until:
                continue
            values = self.recipe.summarize(self.step, logged)
            seconds = (time.perf_counter() - began) / len(logged)
            yield {"step": self.step, **values, "seconds": seconds}
            logged, began = [], time.perf_counter()

    def _train(self, batch: StepBatch) -> Mapping[str, Tensor | int]:
        """Take one step; return its values for the log."""
        recipe, config = self.recipe, self.recipe.config
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * lr_factor(config, self.step)
            for parameter in group["params"]:
                parameter.requires_grad_(self.step >= group["from_step"])
        recipe.model.train()
        seed = (config.seed * 1_000_003 + self.step) * recipe.seeds_per_step
        torch.manual_seed(seed + self.distributed.rank)
        result = recipe.compute_loss(batch)
        weight = self.distributed.loss_weight(result.label_count, self.device)
        self.optimizer.zero_grad(set_to_none=True)
        (result.loss * weight).backward()
        self.distributed.all_reduce_gradients(self._optimized.values())
        torch.nn.utils.clip_grad_norm_(self.trained.values(), _MAX_GRADIENT_NORM)
        self.optimizer.step()
        keep = min(config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            # Few large calls: a loop over hundreds of tensors would stall the GPU.
            averages = [self.ema_weights[name] for name in self.trained]
            torch._foreach_lerp_(averages, list(self.trained.values()), 1 - keep)
        return result.logged

    def averaged(self) -> dict[str, Tensor]:
        """Return all weights of the model, the trained ones averaged."""
        return {**self.recipe.model.state_dict(), **self.ema_weights}

    def save(self) -> None:
        """Write the state atomically; only process 0 writes."""
        if self.distributed.rank:
            return
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        heads = self.recipe.heads
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": self.recipe.model.state_dict(),
            "average": self.ema_weights,
            "heads": {} if heads is None else heads.state_dict(),
        }
        tensors = {
            f"{kind}/{name}": value for kind, part in parts.items() for name, value in part.items()
        }
        names = {id(parameter): name for name, parameter in self._optimized.items()}
        for parameter, state in self.optimizer.state.items():
            for field, value in state.items():
                tensors[f"adam/{field}/{names[id(parameter)]}"] = value.clone()
        stored = {key: value.contiguous() for key, value in tensors.items()}
        partial_file = self.state_file.with_suffix(".part")
        # The step is in the same file, so a kill between two renames cannot separate them.
        save_file(stored, partial_file, metadata={"step": str(self.step)})
        partial_file.rename(self.state_file)
        readable = json.dumps({"step": self.step, "recipe": asdict(self.recipe.config)}, indent=2)
        self.state_file.with_suffix(".json").write_text(readable + "\n", encoding="utf-8")

    def _load(self) -> None:
        self.step = _read_step(self.state_file)
        own: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "heads": {}, "adam": {}}
        for key, value in load_file(self.state_file, device=str(self.device)).items():
            kind, name = key.split("/", 1)
            own[kind][name] = value
        self.recipe.model.load_state_dict(own["model"])
        if self.recipe.heads is not None:
            self.recipe.heads.load_state_dict(own["heads"])
        self.ema_weights = own["average"]
        for key, value in own["adam"].items():
            field, name = key.split("/", 1)
            # Only a fused optimizer expects the step counter on the device.
            on_cpu = field == "step" and not self.recipe.fused
            self.optimizer.state[self._optimized[name]][field] = value.cpu() if on_cpu else value


def train_and_log(
    trainer: Trainer[StepBatch],
    batches_from: Callable[[int], Iterator[StepBatch]],
    log_file: Path,
    *,
    save_every: int,
    log_every: int,
) -> None:
    """Train to the last step; append to a log and save the state.

    Args:
        trainer: the training; nothing is done if it has ended.
        batches_from: as for `Trainer.fit`.
        log_file: JSON lines, one per log line.
        save_every: steps between saves; rounded up to a log line.
        log_every: steps between log lines.
    """
    steps = trainer.recipe.config.steps
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("a", encoding="utf-8") as log:
        for line in trainer.fit(batches_from, until=steps, log_every=log_every):
            log.write(json.dumps(line) + "\n")
            log.flush()
            if trainer.step % save_every < log_every or trainer.step == steps:
                trainer.save()


def read_averaged(state_file: Path, device: torch.device) -> tuple[dict[str, Tensor], int]:
    """Read all weights of a training, the trained ones averaged, and the number of steps done."""
    weights: dict[str, Tensor] = {}
    with safe_open(state_file, framework="pt", device=str(device)) as state:
        for kind in ("model/", "average/"):
            for key in state.keys():  # noqa: SIM118 (no mapping)
                if key.startswith(kind):
                    weights[key.removeprefix(kind)] = state.get_tensor(key)
    return weights, _read_step(state_file)


def _read_step(state_file: Path) -> int:
    with safe_open(state_file, framework="pt") as state:
        return int(state.metadata()["step"])
