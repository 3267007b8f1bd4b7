"""Recipe of the answer branch: hyperparameters and losses; the encoder is frozen.

Projector and decoder learn. The loss covers the answers, the labels of each frame, the attention of
the answers and the pointers. `trainer` trains by this recipe.

Notation used for tensor shapes:
    b: sequences; s: longest sequence; k: visual tokens of all sequences; a: ids to predict
    q: questions; m: frames; d: width of the decoder
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.model.language_model import DecoderBlock
from seedvideo.model.layers import angles_1d, rotate
from seedvideo.model.metadata import IMAGE_ID
from seedvideo.model.seedvl import AnswerBranch
from seedvideo.training.answer_batches import QuestionBatch
from seedvideo.training.auxiliary_tasks import FrameLabelHeads, probe_layer
from seedvideo.training.collate import attention_mask
from seedvideo.training.feature_cache import DeviceFeatureStore
from seedvideo.training.trainer import ParameterGroup, Recipe, StepLoss, mixed_precision

STATE_FILE: Final = "answer.safetensors"
"""Name of the state file of an answer branch's training."""


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
    device = batch.ids.device
    with mixed_precision(device):
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
    with mixed_precision(device):
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


def answer_recipe(
    model: AnswerBranch,
    heads: FrameLabelHeads,
    config: AnswerTrainConfig,
    store: DeviceFeatureStore,
) -> Recipe[QuestionBatch]:
    """Make the recipe of an answer branch's training.

    Args:
        model: the branch to train; moved to the device of the features.
        heads: heads of the frame-label loss; moved likewise.
        config: hyperparameters.
        store: cached features; training runs on their device.
    """
    model.to(store.device)
    heads.to(store.device)
    parameters = [*model.parameters(), *heads.parameters()]
    return Recipe(
        config=config,
        model=model,
        groups=[
            ParameterGroup(
                [p for p in parameters if p.ndim > 1],
                config.learning_rate,
                weight_decay=config.weight_decay,
            ),
            ParameterGroup([p for p in parameters if p.ndim == 1], config.learning_rate),
        ],
        compute_loss=partial(compute_loss, model, heads, config, store),
        summarize=_summarize,
        state_file=STATE_FILE,
        heads=heads,
        fused=True,
    )


def compute_loss(
    model: AnswerBranch,
    heads: FrameLabelHeads,
    config: AnswerTrainConfig,
    store: DeviceFeatureStore,
    batch: QuestionBatch,
) -> StepLoss:
    """Compute the weighted sum of the losses of one step."""
    batch = batch.to(store.device)
    tokens = store.gather(batch.token_indices)
    tokens += torch.randn_like(tokens) * config.noise
    output = forward_batch(model, batch, tokens)
    each = functional.cross_entropy(
        output.logits, batch.labels, label_smoothing=config.label_smoothing, reduction="none"
    )
    loss = (each * batch.weights).sum()
    middle, later = (states[batch.frame_ends] for states in output.block_inputs)
    frame_labels = heads.loss(middle, later, batch.frame_labels)
    attention = attention_loss(model, batch, output)
    pointing = pointing_loss(model, batch, output)
    auxiliary = config.label_loss_weight * frame_labels + config.attention_loss_weight * attention
    # The keys are those of the logs of earlier trainings.
    losses = {"loss": loss, "sights": frame_labels, "looking": attention, "pointing": pointing}
    return StepLoss(
        loss=loss + auxiliary + config.pointer_loss_weight * pointing,
        label_count=len(batch.labels),
        logged={
            **{name: value.detach() for name, value in losses.items()},
            "right": (output.logits.detach().argmax(-1) == batch.labels).float().mean(),
            "rows": len(batch.ids),
        },
    )


def _summarize(step: int, logged: Sequence[Mapping[str, Tensor | int]]) -> dict[str, float]:
    """Return the mean of each value."""
    del step
    return {name: float(sum(values[name] for values in logged)) / len(logged) for name in logged[0]}
