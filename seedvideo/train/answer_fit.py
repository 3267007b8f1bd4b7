"""Training of the answer branch: adapter and decoder learn to answer, the encoder stays as it is.

Only answers are learned, and beside them what each frame shows and where answers look. State is
kept in safetensors and taken up again, as in ``fit``.

Notation used for tensor shapes:
    b: rows; s: longest sequence; k: visual tokens of all rows; a: ids to predict
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.model.seedvl import AnswerBranch
from seedvideo.train.bank import Bank
from seedvideo.train.batch import Encode, cached
from seedvideo.train.quiz import Quiz, QuizRow
from seedvideo.train.quiz_batch import QuizBatch, collate
from seedvideo.train.reading import looking_loss, pointing_loss, read
from seedvideo.train.sights import SightHeads

_POOL = 96
"""Rows that are drawn together and sorted by length, so that little is padded."""


@dataclass(frozen=True)
class Stage:
    """What rows are like for a while.

    Args:
        until: share of the recipe's steps at which the stage ends.
        lengths: most frames of a row, with the share of rows.
        stories: share of rows that tell a story of the synthetic world; the others show photos.
        thinking: share of their questions that are thought about before they are answered.
    """

    until: float
    lengths: dict[int, float]
    stories: float
    thinking: float


STAGES = (
    Stage(0.15, {1: 0.4, 3: 0.4, 6: 0.2}, 0.8, 0.0),
    Stage(0.4, {2: 0.15, 5: 0.35, 8: 0.3, 12: 0.2}, 0.72, 0.03),
    Stage(1.0, {2: 0.1, 6: 0.25, 12: 0.3, 24: 0.25, 48: 0.07, 84: 0.03}, 0.56, 0.06),
)
"""Short videos first: what one frame shows must be known before when it was shown. More photos at
last: where they were fewer, answers about them were drowned (docs/log.md)."""


@dataclass(frozen=True, kw_only=True)
class AnswerRecipe:
    """What a run does; written beside its state.

    Args:
        steps: last step.
        decay_steps: steps at the end in which the learning rate falls to zero.
        warmup_steps: steps at the start in which it rises.
        batch_tokens: positions of a step, padding included.
        learning_rate: at its highest.
        weight_decay: of matrices.
        label_smoothing: share of each target spread over the vocabulary.
        sight_share: how much it counts what each frame shows, beside the answers.
        look_share: how much it counts where answers look, beside the answers.
        point_share: how much it counts which frames the pointer names, beside the answers.
        noise: deviation of what is added to the encoder's tokens, against overfitting.
        average: decay of the moving average of the weights.
        seed: start of all randomness.
    """

    steps: int
    decay_steps: int
    warmup_steps: int = 200
    batch_tokens: int = 2_500
    learning_rate: float = 8e-4
    weight_decay: float = 0.02
    label_smoothing: float = 0.02
    sight_share: float = 0.2
    look_share: float = 0.5
    point_share: float = 2.0
    noise: float = 0.05
    average: float = 0.998
    seed: int = 1

    def rate(self, step: int) -> float:
        """Factor of the learning rate at ``step``."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, (self.steps - step) / max(1, self.decay_steps))
        return max(0.0, min(rise, fall))


class AnswerRun:
    """An answer branch in training, with its optimiser and averaged weights.

    Args:
        model: what is trained.
        recipe: how.
        folder: where the state is kept; a state that is there is taken up.
    """

    def __init__(self, model: AnswerBranch, recipe: AnswerRecipe, folder: Path):
        self.model, self.recipe, self.folder = model, recipe, folder
        self.heads = SightHeads(model.decoder.config.width)
        every = [*model.parameters(), *self.heads.parameters()]
        matrices = [p for p in every if p.ndim > 1]
        vectors = [p for p in every if p.ndim == 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": recipe.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
        )
        self.start_average()
        self.step = 0
        if (folder / "answer.safetensors").exists():
            self._load()

    def start_average(self) -> None:
        """Let the averaged weights be those that the model has now."""
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def fit(
        self, quiz: Quiz, bank: Bank, encode: Encode, *, until: int
    ) -> Iterator[dict[str, Any]]:
        """Train to step ``until``; yields a line for each step."""
        encode = cached(encode)
        while self.step < min(until, self.recipe.steps):
            for rows in self._groups(quiz, bank):
                began = time.perf_counter()
                batch = collate(rows, bank, encode)
                told = self._train(batch)
                self.step += 1
                yield {
                    "step": self.step,
                    **told,
                    "rows": len(rows),
                    "positions": batch.ids.numel(),
                    "seconds": time.perf_counter() - began,
                }
                if self.step >= until:
                    return

    def _groups(self, quiz: Quiz, bank: Bank) -> list[list[QuizRow]]:
        rng = np.random.default_rng([self.recipe.seed, self.step, 11])
        stage = next(each for each in STAGES if self.step < each.until * self.recipe.steps)
        lengths, shares = list(stage.lengths), list(stage.lengths.values())
        first = int(rng.integers(1 << 40))
        rows = [
            quiz.draw(
                first + index,
                most_frames=int(rng.choice(lengths, p=shares)),
                stories=stage.stories,
                thinking=stage.thinking,
            )
            for index in range(_POOL)
        ]
        rows = [row for row in rows if row.pairs]
        rows.sort(key=lambda row: _length(row, bank))
        groups: list[list[QuizRow]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * _length(row, bank) > self.recipe.batch_tokens:
                groups.append([])
            groups[-1].append(row)
        return [groups[int(index)] for index in rng.permutation(len(groups))]

    def _train(self, batch: QuizBatch) -> dict[str, float]:
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * recipe.rate(self.step)
        self.model.train()
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        tokens = batch.tokens + torch.randn_like(batch.tokens) * recipe.noise
        reading = read(self.model, batch, tokens)
        each = functional.cross_entropy(
            reading.expected, batch.labels, label_smoothing=recipe.label_smoothing, reduction="none"
        )
        # A long answer counts for more than a short one, but not in proportion to its length.
        weights = batch.pair_of.bincount()[batch.pair_of].float() ** -0.5
        loss = (each * weights).sum() / weights.sum()
        middle, later = (states[batch.ends] for states in reading.before)
        sights = self.heads.loss(middle, later, batch.sights)
        looking = looking_loss(self.model, batch, reading)
        pointing = pointing_loss(self.model, batch, reading)
        self.optimizer.zero_grad(set_to_none=True)
        beside = recipe.sight_share * sights + recipe.look_share * looking
        (loss + beside + recipe.point_share * pointing).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        keep = min(recipe.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            current: list[Tensor] = list(self.model.parameters())
            torch._foreach_lerp_(list(self.average.values()), current, 1 - keep)
        right = (reading.expected.argmax(-1) == batch.labels).float().mean()
        return {
            "loss": float(loss.detach()),
            "sights": float(sights.detach()),
            "looking": float(looking.detach()),
            "pointing": float(pointing.detach()),
            "right": float(right),
        }

    def save(self) -> None:
        """Write the state; what was there stays until the new one is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        tensors |= {f"heads/{name}": value for name, value in self.heads.state_dict().items()}
        names = {id(parameter): name for name, parameter in self._named().items()}
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                tensors[f"adam/{key}/{names[id(parameter)]}"] = value.clone()
        part = self.folder / "answer.part"
        stored = {key: value.contiguous() for key, value in tensors.items()}
        save_file(stored, part, metadata={"step": str(self.step)})
        part.rename(self.folder / "answer.safetensors")
        recipe = json.dumps({"step": self.step, "recipe": asdict(self.recipe)}, indent=2)
        (self.folder / "answer.json").write_text(recipe + "\n", encoding="utf-8")

    def _named(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by the names of the file."""
        heads = {f"heads.{name}": each for name, each in self.heads.named_parameters()}
        return {**dict(self.model.named_parameters()), **heads}

    def _load(self) -> None:
        path = self.folder / "answer.safetensors"
        with safe_open(path, framework="pt") as state:
            self.step = int(state.metadata()["step"])
        parameters = dict(self.model.named_parameters())
        own: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "heads": {}}
        for key, value in load_file(path).items():
            kind, name = key.split("/", 1)
            if kind == "adam":
                field, name = name.split("/", 1)
                self.optimizer.state[self._named()[name]][field] = value
            else:
                own[kind][name] = value
        self.model.load_state_dict(own["model"])
        self.heads.load_state_dict(own["heads"])
        # In the model's order, which the file does not keep.
        self.average = {name: own["average"][name] for name in parameters}


def read_averaged(folder: Path) -> tuple[dict[str, Tensor], int]:
    """The averaged weights of a branch in training, and its step."""
    path = folder / "answer.safetensors"
    with safe_open(path, framework="pt") as state:
        step = int(state.metadata()["step"])
    return {
        key.removeprefix("average/"): value
        for key, value in load_file(path).items()
        if key.startswith("average/")
    }, step


def _length(row: QuizRow, bank: Bank) -> int:
    """About how many positions a row takes."""
    frames = sum(bank.tokens[frame[:2]].shape[1] + 10 for frame in row.frames)
    return frames + 42 * len(row.pairs)


@torch.inference_mode()
def exactness(
    model: AnswerBranch, rows: Sequence[QuizRow], bank: Bank, encode: Encode
) -> dict[str, tuple[float, int]]:
    """Share of answers that greedy decoding would give exactly, and their number, by kind.

    A moment counts as right where the pointer names its frames and no others.
    """
    model.eval()
    right: dict[str, list[bool]] = {}
    for row in rows:
        batch = collate([row], bank, encode)
        reading = read(model, batch, batch.tokens)
        hits = reading.expected.argmax(-1) == batch.labels
        assert model.pointer is not None
        ends = reading.final[batch.ends].float()
        named = model.pointer(reading.final[batch.asks].float(), ends) > 0
        same = (named == batch.points).all(dim=1)
        for number, kind in enumerate(batch.kinds):
            told = bool(hits[batch.pair_of == number].all())
            is_moment = kind.endswith("when")
            right.setdefault(kind, []).append(bool(same[number]) if is_moment else told)
    return {kind: (sum(hits) / len(hits), len(hits)) for kind, hits in sorted(right.items())}
