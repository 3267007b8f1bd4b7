"""Training of the answer branch: adapter and decoder learn to answer, the encoder stays as it is.

Only answers are learned, and beside them what each frame shows and where answers look. State is
kept in safetensors and taken up again, as in ``fit``.

Notation used for tensor shapes:
    b: rows; s: longest sequence; k: visual tokens of all rows; a: ids to predict

What the answer branch makes of a batch, and how wrong it is about where to look.

Notation used for tensor shapes:
    b: rows; s: longest sequence; a: ids to predict; q: questions; m: frames; d: width of the
    decoder
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.model.language_model import DecoderBlock
from seedvideo.model.layers import angles_1d, rotate
from seedvideo.model.metadata import IMAGE_ID
from seedvideo.model.seedvl import AnswerBranch
from seedvideo.training.answer_batches import Pools, QuizBatch, collate, stream
from seedvideo.training.answer_questions import QuizRow
from seedvideo.training.auxiliary_tasks import SightHeads, middle_block
from seedvideo.training.collate import Encode, attention_mask
from seedvideo.training.feature_cache import Shelf


@dataclass(frozen=True)
class Reading:
    """What a branch makes of a batch.

    Args:
        expected: ``(a, vocabulary)`` logits at every place of every answer.
        before: ``(b * s, d)`` states before each of the two blocks after the middle.
        final: ``(b * s, d)`` last states.
        named: ``(q, m)`` the reader's logits, where there is one.
        held: ``(q, m)`` the pointer's, where there is a reader.
    """

    expected: Tensor
    before: tuple[Tensor, Tensor]
    final: Tensor
    named: Tensor | None = None
    held: Tensor | None = None


def read(model: AnswerBranch, batch: QuizBatch, tokens: Tensor) -> Reading:
    """Run a branch."""
    middle = middle_block(model)
    kept: dict[int, Tensor] = {}

    def keep(place: int) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, given, states: kept.update({place: states.flatten(0, 1)})

    hooks = [
        model.decoder.blocks[place].register_forward_hook(keep(place))
        for place in (middle, middle + 1)
    ]
    device = batch.ids.device.type
    with torch.autocast(device, torch.bfloat16):
        visual = model.adapter(tokens)
        x = model.decoder.embedding(batch.ids)
        x = x.masked_scatter((batch.ids == IMAGE_ID).unsqueeze(-1), visual.to(x.dtype))
        mask = attention_mask(batch.groups, None)
        states = model.decoder(x, positions=batch.positions, mask=mask).flatten(0, 1)
        written = states[batch.sources]
    named = held = None
    if model.reader is not None and model.pointer is not None:
        asked, frames = states[batch.asks].float(), states[batch.ends].float()
        named, held = model.reader.named(asked, frames), model.pointer(asked, frames)
        evidence = model.reader.evidence(named, held, frames, batch.beside())[batch.pair_of]
        # A thought is written before what it leads to is pointed at.
        answers = (batch.sources >= batch.asks[batch.pair_of]).unsqueeze(1)
        settled = model.reader(written.float(), evidence)
        written = torch.where(answers, settled, written.float())
    with torch.autocast(device, torch.bfloat16):
        expected = model.decoder.logits(written).float()
    for hook in hooks:
        hook.remove()
    return Reading(expected, (kept[middle], kept[middle + 1]), states, named, held)


def looking_loss(model: AnswerBranch, batch: QuizBatch, reading: Reading) -> Tensor:
    """How little one head of each of two blocks looks at the frames that hold the answer.

    The first head's attention from where an answer begins should lie on the marks that end the
    frames that its question is about: in the block after the middle on the first look's, in the
    next one on the second look's; and on the token itself where no frame holds it, so that the
    head tells what is there from what is not. Left alone, a decoder finds this out only after very
    many questions. What counts is the share among all tokens that the head sees: asked for the
    right order of frames alone, it looked elsewhere (docs/log.md).
    """
    total = reading.final.new_zeros((), dtype=torch.float32)
    config, length = model.decoder.config, batch.ids.shape[1]
    width = config.head_channels
    turns = angles_1d(batch.positions.flatten(), width, theta=config.rope_theta)
    rows, columns, sees = batch.asks // length, batch.asks % length, batch.visible()
    itself = torch.arange(length, device=sees.device) == columns.unsqueeze(1)
    for hop, before in enumerate(reading.before):
        asking = batch.hops[hop].any(dim=1) | batch.nowhere
        block = model.decoder.blocks[middle_block(model) + 1 + hop]
        assert isinstance(block, DecoderBlock)
        states = block.attention_norm(before.float())
        query = rotate(block.attention.query(states[batch.asks])[:, :width], turns[batch.asks])
        key = rotate(block.attention.key(states)[:, :width], turns)
        # (q, s): each question beside the tokens of its own row
        scores = (key.view(-1, length, width)[rows] @ query.unsqueeze(2)).squeeze(2)
        scores = (scores * width**-0.5).masked_fill(~sees, -torch.inf)
        wanted = _at_ends(batch.hops[hop], batch) | (itself & batch.nowhere.unsqueeze(1))
        # A question that looks nowhere in particular wants all that it sees, which costs nothing.
        wanted |= ~asking.unsqueeze(1)
        there = scores.masked_fill(~wanted, -torch.inf).logsumexp(dim=1)
        missed = scores.logsumexp(dim=1) - there
        total = total + missed.sum() / asking.sum().clamp_min(1)
    return total


def _at_ends(frames: Tensor, batch: QuizBatch) -> Tensor:
    """From ``(q, m)`` frames to the tokens of each question's row that end them, ``(q, s)``."""
    length = batch.ids.shape[1]
    columns = torch.where(frames, batch.ends % length, length)
    tokens = torch.zeros(len(frames), length + 1, dtype=torch.bool, device=frames.device)
    return tokens.scatter_(1, columns, value=True)[:, :length]


def pointing_loss(model: AnswerBranch, batch: QuizBatch, reading: Reading) -> Tensor:
    """How wrong the pointers are about the frames of a row, in bits of a frame."""
    if model.pointer is None:
        return reading.final.new_zeros((), dtype=torch.float32)
    held = reading.held
    if held is None:
        held = model.pointer(reading.final[batch.asks].float(), reading.final[batch.ends].float())
    total = _misplaced(held, batch.points, batch, batch.pointed)
    if reading.named is not None:
        has_name = batch.hops[0].any(dim=1) | batch.nowhere
        total = total + _misplaced(reading.named, batch.hops[0], batch, has_name)
    return total


def _misplaced(scores: Tensor, wanted: Tensor, batch: QuizBatch, asking: Tensor) -> Tensor:
    """Binary cross-entropy over the frames of the rows whose questions point."""
    counted = batch.beside() & asking.unsqueeze(1)
    each = functional.binary_cross_entropy_with_logits(scores, wanted.float(), reduction="none")
    return (each * counted).sum() / counted.sum().clamp_min(1)


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
    learning_rate: float = 1e-3
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
        shelf: what the encoder saw; everything happens on its device.
    """

    def __init__(self, model: AnswerBranch, recipe: AnswerRecipe, folder: Path, shelf: Shelf):
        self.recipe, self.folder, self.shelf = recipe, folder, shelf
        self.model = model.to(shelf.device)
        self.heads = SightHeads(model.decoder.config.width).to(shelf.device)
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
            fused=True,
        )
        self.start_average()
        self.step = 0
        self.is_new = not (folder / "answer.safetensors").exists()
        """Whether no state was taken up."""
        if not self.is_new:
            self._load()

    def start_average(self) -> None:
        """Let the averaged weights be those that the model has now."""
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def fit(
        self, pools: Pools, *, until: int, workers: int = 0, log_every: int = 1
    ) -> Iterator[dict[str, float]]:
        """Train to step ``until``.

        Args:
            pools: what is asked.
            until: last step.
            workers: processes that draw questions; none to draw them in this one.
            log_every: steps from one line to the next; reading a loss stops a GPU's queue.

        Yields:
            After every ``log_every`` steps: the step and means over these steps.
        """
        until = min(until, self.recipe.steps)
        batches = stream(pools, step=self.step, workers=workers)
        parts: list[dict[str, Tensor]] = []
        rows, began = 0, time.perf_counter()
        while self.step < until:
            batch = next(batches)
            rows += len(batch.ids)
            parts.append(self._train(batch.to(self.shelf.device)))
            self.step += 1
            if len(parts) < log_every and self.step < until:
                continue
            means = {
                name: float(sum(part[name] for part in parts)) / len(parts) for name in parts[0]
            }
            seconds = (time.perf_counter() - began) / len(parts)
            yield {"step": self.step, **means, "rows": rows / len(parts), "seconds": seconds}
            parts, rows, began = [], 0, time.perf_counter()

    def _train(self, batch: QuizBatch) -> dict[str, Tensor]:
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * recipe.rate(self.step)
        self.model.train()
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        tokens = self.shelf.read(batch.places)
        tokens += torch.randn_like(tokens) * recipe.noise
        reading = read(self.model, batch, tokens)
        each = functional.cross_entropy(
            reading.expected, batch.labels, label_smoothing=recipe.label_smoothing, reduction="none"
        )
        loss = (each * batch.weights).sum()
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
        losses = {"loss": loss, "sights": sights, "looking": looking, "pointing": pointing}
        return {name: value.detach() for name, value in losses.items()} | {"right": right}

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
        for key, value in load_file(path, device=str(self.shelf.device)).items():
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


@torch.inference_mode()
def exactness(
    model: AnswerBranch, rows: Sequence[QuizRow], shelf: Shelf, encode: Encode
) -> dict[str, tuple[float, int]]:
    """Share of answers that greedy decoding would give exactly, and their number, by kind.

    A moment counts as right where the pointer names its frames and no others.
    """
    model.eval()
    right: dict[str, list[bool]] = {}
    for row in rows:
        batch = collate([row], shelf.layout, encode).to(shelf.device)
        reading = read(model, batch, shelf.read(batch.places))
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
