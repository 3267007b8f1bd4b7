"""Training loop of the answer branch: projector and decoder learn, the encoder is frozen.

The loss covers the answers, the labels of each frame and the attention of the answers. State is
stored in safetensors and resumed, as in `trainer`.

Notation used for tensor shapes:
    b: sequences; s: longest sequence; k: visual tokens of all sequences; a: ids to predict
    q: questions; m: frames; d: width of the decoder

Separate from `seedvideo.training.answer_cli`, which would exceed 500 lines with it.
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
from seedvideo.training.answer_batches import (
    BucketedBatches,
    QuestionBatch,
    collate,
    stream_batches,
)
from seedvideo.training.answer_questions import TrainingSequence
from seedvideo.training.auxiliary_tasks import FrameLabelHeads, probe_layer
from seedvideo.training.collate import Encode, attention_mask
from seedvideo.training.feature_cache import DeviceFeatureStore


@dataclass(frozen=True)
class BatchOutput:
    """Outputs of a branch for one batch.

    Args:
        logits: ``(a, vocabulary)`` logits of every answer token.
        block_inputs: ``(b * s, d)`` states before each of the two blocks after the probe layer.
        last_states: ``(b * s, d)`` last states.
        named_logits: ``(q, m)`` logits of the reader's own pointer, if there is a reader.
        answer_logits: ``(q, m)`` logits of the pointer, if there is a reader.
    """

    logits: Tensor
    block_inputs: tuple[Tensor, Tensor]
    last_states: Tensor
    named_logits: Tensor | None = None
    answer_logits: Tensor | None = None


def forward_batch(model: AnswerBranch, batch: QuestionBatch, tokens: Tensor) -> BatchOutput:
    """Run a branch on a batch."""
    middle = probe_layer(model)
    kept: dict[int, Tensor] = {}

    def keep(index: int) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, given, states: kept.update({index: states.flatten(0, 1)})

    hooks = [
        model.decoder.blocks[index].register_forward_hook(keep(index))
        for index in (middle, middle + 1)
    ]
    device = batch.ids.device.type
    with torch.autocast(device, torch.bfloat16):
        visual = model.adapter(tokens)
        x = model.decoder.embedding(batch.ids)
        x = x.masked_scatter((batch.ids == IMAGE_ID).unsqueeze(-1), visual.to(x.dtype))
        mask = attention_mask(batch.groups, None)
        states = model.decoder(x, positions=batch.positions, mask=mask).flatten(0, 1)
        written = states[batch.sources]
    named_logits = answer_logits = None
    if model.reader is not None and model.pointer is not None:
        asked, frames = states[batch.answer_starts].float(), states[batch.frame_ends].float()
        named_logits, answer_logits = (
            model.reader.named(asked, frames),
            model.pointer(asked, frames),
        )
        evidence = model.reader.evidence(
            named_logits, answer_logits, frames, batch.same_row_mask()
        )[batch.pair_index]
        # Reasoning is generated before the frames are pointed at: no evidence yet.
        answers = (batch.sources >= batch.answer_starts[batch.pair_index]).unsqueeze(1)
        settled = model.reader(written.float(), evidence)
        written = torch.where(answers, settled, written.float())
    with torch.autocast(device, torch.bfloat16):
        logits = model.decoder.logits(written).float()
    for hook in hooks:
        hook.remove()
    return BatchOutput(
        logits, (kept[middle], kept[middle + 1]), states, named_logits, answer_logits
    )


def attention_loss(model: AnswerBranch, batch: QuestionBatch, output: BatchOutput) -> Tensor:
    """Return how little one head of each of two blocks attends to the frames that hold the answer.

    The first head's attention from the start of the answer should be on the tokens that end the
    frames of the question: in the block after the probe layer on those of the first hop, in the
    next block on those of the second. If no frame holds the answer, it should be on the token
    itself, so that the head separates present from absent. Without this loss, a decoder learns it
    only after very many questions. The loss counts the fraction among all visible tokens: with a
    loss on the order of the frames alone, the head attended elsewhere (docs/log.md).
    """
    total = output.last_states.new_zeros((), dtype=torch.float32)
    config, length = model.decoder.config, batch.ids.shape[1]
    width = config.head_channels
    turns = angles_1d(batch.positions.flatten(), width, theta=config.rope_theta)
    rows, columns, sees = (
        batch.answer_starts // length,
        batch.answer_starts % length,
        batch.visible_mask(),
    )
    itself = torch.arange(length, device=sees.device) == columns.unsqueeze(1)
    for hop, block_inputs in enumerate(output.block_inputs):
        asking = batch.hops[hop].any(dim=1) | batch.is_absent
        block = model.decoder.blocks[probe_layer(model) + 1 + hop]
        assert isinstance(block, DecoderBlock)
        states = block.attention_norm(block_inputs.float())
        query = rotate(
            block.attention.query(states[batch.answer_starts])[:, :width],
            turns[batch.answer_starts],
        )
        key = rotate(block.attention.key(states)[:, :width], turns)
        # (q, s): each question with the tokens of its own sequence
        scores = (key.view(-1, length, width)[rows] @ query.unsqueeze(2)).squeeze(2)
        scores = (scores * width**-0.5).masked_fill(~sees, -torch.inf)
        wanted = _frame_end_mask(batch.hops[hop], batch) | (itself & batch.is_absent.unsqueeze(1))
        # A question without target attends to anything visible, at no loss.
        wanted |= ~asking.unsqueeze(1)
        there = scores.masked_fill(~wanted, -torch.inf).logsumexp(dim=1)
        missed = scores.logsumexp(dim=1) - there
        total = total + missed.sum() / asking.sum().clamp_min(1)
    return total


def _frame_end_mask(frames: Tensor, batch: QuestionBatch) -> Tensor:
    """Map ``(q, m)`` frames to the tokens that end them in each question's sequence, ``(q, s)``."""
    length = batch.ids.shape[1]
    columns = torch.where(frames, batch.frame_ends % length, length)
    tokens = torch.zeros(len(frames), length + 1, dtype=torch.bool, device=frames.device)
    return tokens.scatter_(1, columns, value=True)[:, :length]


def pointing_loss(model: AnswerBranch, batch: QuestionBatch, output: BatchOutput) -> Tensor:
    """Return the cross-entropy of the pointers over the frames of each sequence."""
    if model.pointer is None:
        return output.last_states.new_zeros((), dtype=torch.float32)
    answer_logits = output.answer_logits
    if answer_logits is None:
        answer_logits = model.pointer(
            output.last_states[batch.answer_starts].float(),
            output.last_states[batch.frame_ends].float(),
        )
    total = _frame_cross_entropy(answer_logits, batch.pointed_frames, batch, batch.has_target)
    if output.named_logits is not None:
        has_name = batch.hops[0].any(dim=1) | batch.is_absent
        total = total + _frame_cross_entropy(output.named_logits, batch.hops[0], batch, has_name)
    return total


def _frame_cross_entropy(
    scores: Tensor, wanted: Tensor, batch: QuestionBatch, asking: Tensor
) -> Tensor:
    """Return the binary cross-entropy over the frames of questions with a pointer target."""
    counted = batch.same_row_mask() & asking.unsqueeze(1)
    each = functional.binary_cross_entropy_with_logits(scores, wanted.float(), reduction="none")
    return (each * counted).sum() / counted.sum().clamp_min(1)


@dataclass(frozen=True, kw_only=True)
class AnswerTrainConfig:
    """Hyperparameters of a training; stored with its state.

    Args:
        steps: total number of steps.
        decay_steps: steps at the end in which the learning rate falls to zero.
        warmup_steps: steps at the start in which it rises.
        batch_tokens: positions per step, including padding.
        learning_rate: peak learning rate.
        weight_decay: weight decay of matrices.
        label_smoothing: fraction of each target spread over the vocabulary.
        label_loss_weight: weight of the frame-label loss.
        attention_loss_weight: weight of the attention loss.
        pointer_loss_weight: weight of the pointer loss.
        noise: standard deviation of noise added to the encoder's tokens, against overfitting.
        ema_decay: decay of the moving average of the weights.
        seed: seed of all randomness.
    """

    steps: int
    decay_steps: int
    warmup_steps: int = 200
    batch_tokens: int = 2_500
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.02
    label_loss_weight: float = 0.2
    attention_loss_weight: float = 0.5
    pointer_loss_weight: float = 2.0
    noise: float = 0.05
    ema_decay: float = 0.998
    seed: int = 1

    def lr_factor(self, step: int) -> float:
        """Return the factor of the learning rate at ``step``."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, (self.steps - step) / max(1, self.decay_steps))
        return max(0.0, min(rise, fall))


class AnswerTrainer:
    """An answer branch in training, with its optimizer and averaged weights.

    Args:
        model: the branch to train.
        recipe: hyperparameters.
        folder: folder of the state; an existing state is resumed.
        store: cached features; training runs on their device.
    """

    def __init__(
        self,
        model: AnswerBranch,
        recipe: AnswerTrainConfig,
        folder: Path,
        store: DeviceFeatureStore,
    ):
        self.recipe, self.folder, self.store = recipe, folder, store
        self.model = model.to(store.device)
        self.heads = FrameLabelHeads(model.decoder.config.width).to(store.device)
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
        self.init_ema()
        self.step = 0
        self.is_new = not (folder / "answer.safetensors").exists()
        """Whether no state was taken up."""
        if not self.is_new:
            self._load()

    def init_ema(self) -> None:
        """Reset the averaged weights to the current ones."""
        self.ema_weights = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def fit(
        self, pools: BucketedBatches, *, until: int, workers: int = 0, log_every: int = 1
    ) -> Iterator[dict[str, float]]:
        """Train to step ``until``.

        Args:
            pools: source of the batches.
            until: last step.
            workers: number of processes that draw questions; 0 to draw in this process.
            log_every: steps between log lines; reading a loss synchronizes the GPU.

        Yields:
            After every ``log_every`` steps: the step and means over these steps.
        """
        until = min(until, self.recipe.steps)
        batches = stream_batches(pools, step=self.step, workers=workers)
        parts: list[dict[str, Tensor]] = []
        rows, began = 0, time.perf_counter()
        while self.step < until:
            batch = next(batches)
            rows += len(batch.ids)
            parts.append(self._train(batch.to(self.store.device)))
            self.step += 1
            if len(parts) < log_every and self.step < until:
                continue
            means = {
                name: float(sum(part[name] for part in parts)) / len(parts) for name in parts[0]
            }
            seconds = (time.perf_counter() - began) / len(parts)
            yield {"step": self.step, **means, "rows": rows / len(parts), "seconds": seconds}
            parts, rows, began = [], 0, time.perf_counter()

    def _train(self, batch: QuestionBatch) -> dict[str, Tensor]:
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * recipe.lr_factor(self.step)
        self.model.train()
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        tokens = self.store.gather(batch.token_indices)
        tokens += torch.randn_like(tokens) * recipe.noise
        output = forward_batch(self.model, batch, tokens)
        each = functional.cross_entropy(
            output.logits, batch.labels, label_smoothing=recipe.label_smoothing, reduction="none"
        )
        loss = (each * batch.weights).sum()
        middle, later = (states[batch.frame_ends] for states in output.block_inputs)
        frame_labels = self.heads.loss(middle, later, batch.frame_labels)
        looking = attention_loss(self.model, batch, output)
        pointing = pointing_loss(self.model, batch, output)
        self.optimizer.zero_grad(set_to_none=True)
        auxiliary = recipe.label_loss_weight * frame_labels + recipe.attention_loss_weight * looking
        (loss + auxiliary + recipe.pointer_loss_weight * pointing).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        keep = min(recipe.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            current: list[Tensor] = list(self.model.parameters())
            torch._foreach_lerp_(list(self.ema_weights.values()), current, 1 - keep)
        right = (output.logits.argmax(-1) == batch.labels).float().mean()
        losses = {"loss": loss, "sights": frame_labels, "looking": looking, "pointing": pointing}
        return {name: value.detach() for name, value in losses.items()} | {"right": right}

    def save(self) -> None:
        """Write the state atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.ema_weights.items()}
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
        """Return all trained parameters by their names in the state file."""
        heads = {f"heads.{name}": each for name, each in self.heads.named_parameters()}
        return {**dict(self.model.named_parameters()), **heads}

    def _load(self) -> None:
        path = self.folder / "answer.safetensors"
        with safe_open(path, framework="pt") as state:
            self.step = int(state.metadata()["step"])
        parameters = dict(self.model.named_parameters())
        own: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "heads": {}}
        for key, value in load_file(path, device=str(self.store.device)).items():
            kind, name = key.split("/", 1)
            if kind == "adam":
                field, name = name.split("/", 1)
                self.optimizer.state[self._named()[name]][field] = value
            else:
                own[kind][name] = value
        self.model.load_state_dict(own["model"])
        self.heads.load_state_dict(own["heads"])
        # In the model's order, which the file does not preserve.
        self.ema_weights = {name: own["average"][name] for name in parameters}


def read_averaged(folder: Path) -> tuple[dict[str, Tensor], int]:
    """Read the averaged weights of a branch in training, and its step."""
    path = folder / "answer.safetensors"
    with safe_open(path, framework="pt") as state:
        step = int(state.metadata()["step"])
    return {
        key.removeprefix("average/"): value
        for key, value in load_file(path).items()
        if key.startswith("average/")
    }, step


@torch.inference_mode()
def exact_match_rates(
    model: AnswerBranch, rows: Sequence[TrainingSequence], store: DeviceFeatureStore, encode: Encode
) -> dict[str, tuple[float, int]]:
    """Return the fraction of exact greedy answers, and their number, by kind.

    A moment counts as right if the pointer selects exactly its frames.
    """
    model.eval()
    right: dict[str, list[bool]] = {}
    for row in rows:
        batch = collate([row], store.layout, encode).to(store.device)
        output = forward_batch(model, batch, store.gather(batch.token_indices))
        hits = output.logits.argmax(-1) == batch.labels
        assert model.pointer is not None
        frame_ends = output.last_states[batch.frame_ends].float()
        named_logits = (
            model.pointer(output.last_states[batch.answer_starts].float(), frame_ends) > 0
        )
        same = (named_logits == batch.pointed_frames).all(dim=1)
        for number, kind in enumerate(batch.kinds):
            is_exact = bool(hits[batch.pair_index == number].all())
            is_moment = kind.endswith("when")
            right.setdefault(kind, []).append(bool(same[number]) if is_moment else is_exact)
    return {kind: (sum(hits) / len(hits), len(hits)) for kind, hits in sorted(right.items())}
