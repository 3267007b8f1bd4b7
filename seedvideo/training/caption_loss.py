"""Recipe of the embedded model's captioning: hyperparameters, batches, loss.

The stem's first blocks stay as published; the others join later, with a smaller learning rate.
A model may also learn from teachers: the averaged predictions of other trained models for the same
image (Hinton, Vinyals and Dean 2015, arXiv 1503.02531). `trainer` trains by this recipe.

Separate from `seedvideo.training.__main__`, which would exceed 500 lines with it.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from seedvideo.model.seedvl import SeedVL
from seedvideo.model.vision_encoder import ConvPatches
from seedvideo.training.collate import Batch, Encode, attention_mask, cache_encoding, collate
from seedvideo.training.data import PhotoSampler, PhotoStore, View
from seedvideo.training.trainer import (
    DistributedContext,
    ParameterGroup,
    Recipe,
    StepLoss,
    lr_factor,
    mixed_precision,
)

STATE_FILE: Final = "state.safetensors"
"""Name of the state file of a captioning training."""

_FRAME_MULTIPLE = 32
"""On a GPU, frames are padded to multiples of this number, to limit the shapes cuDNN prepares
for.
"""

_SEEDS_PER_STEP = 64
"""Distance of the seeds of two steps. A process adds its rank: seeds differ for up to 64 processes.
"""


@dataclass(frozen=True)
class RenderedBatch:
    """Input of one training step.

    Args:
        frames: ``(f, h, w, 3)`` uint8, on the model's device.
        batch: the frames' sequences.
    """

    frames: Tensor
    batch: Batch


@dataclass(frozen=True, kw_only=True)
class CaptionTrainConfig:
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


def caption_recipe(
    model: SeedVL,
    config: CaptionTrainConfig,
    device: torch.device,
    teachers: Sequence[SeedVL] = (),
) -> Recipe[RenderedBatch]:
    """Make the recipe of a captioning training.

    Args:
        model: the model to train; moved to ``device``.
        config: hyperparameters.
        device: device of the training.
        teachers: models in evaluation mode, on ``device``, with the same vocabulary.
    """
    model.to(device)
    for parameter in model.parameters():
        if parameter.ndim == 4:  # frames come with their channels last
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return Recipe(
        config=config,
        model=model,
        groups=_parameter_groups(model, config),
        compute_loss=partial(compute_loss, model, config, teachers),
        summarize=partial(_summarize, config),
        state_file=STATE_FILE,
        seeds_per_step=_SEEDS_PER_STEP,
    )


def draw_batches(
    first_step: int,
    config: CaptionTrainConfig,
    sampler: PhotoSampler,
    pictures: PhotoStore,
    views: Sequence[View],
    encode: Encode,
    distributed: DistributedContext,
) -> Iterator[RenderedBatch]:
    """Yield this process's batch of each step, without end.

    Args:
        first_step: index of the first step.
        config: hyperparameters.
        sampler: draws rows.
        pictures: all its photos, on the model's device.
        views: views by index.
        encode: text to ids.
        distributed: rank of this process.
    """
    encode = cache_encoding(encode)
    for step in itertools.count(first_step):
        rng = np.random.default_rng([config.seed, step, 1, distributed.rank])
        rows = distributed.shard(
            sampler.draw(step, photos_per_step=config.photos_per_step, min_rows=distributed.size)
        )
        batch = collate(rows, views, encode, token_dropout=config.token_dropout, rng=rng)
        frames = pictures.render_views(batch.photos, batch.mirrored, batch.size_px, rng)
        yield RenderedBatch(frames, batch)


def _summarize(
    config: CaptionTrainConfig, step: int, logged: Sequence[Mapping[str, Tensor | int]]
) -> dict[str, float]:
    """Return loss and frames of the last step, and the learning-rate factor of the next."""
    last = logged[-1]
    return {
        "loss": float(last["loss"]),
        "rate": lr_factor(config, step),
        "frames": int(last["frames"]),
    }


def compute_loss(
    model: SeedVL,
    config: CaptionTrainConfig,
    teachers: Sequence[SeedVL],
    rendered: RenderedBatch,
) -> StepLoss:
    """Compute the mean cross-entropy of the answers' ids, in part against the teachers."""
    logits = compute_answer_logits(model, rendered, hides=True).float()
    labels = rendered.batch.labels.to(logits.device)
    loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    if teachers:
        with torch.no_grad():
            predictions = [
                compute_answer_logits(teacher, rendered, hides=False).float().softmax(dim=-1)
                for teacher in teachers
            ]
            expected = torch.stack(predictions).mean(dim=0)
        teacher_loss = functional.cross_entropy(logits, expected)
        loss = torch.lerp(loss, teacher_loss, config.teacher_fraction)
    return StepLoss(
        loss=loss,
        label_count=len(labels),
        logged={"loss": loss.detach(), "frames": len(rendered.frames)},
    )


def compute_answer_logits(model: SeedVL, rendered: RenderedBatch, *, hides: bool) -> Tensor:
    """Compute the logits of every answer token, ``(a, vocabulary)``, in bfloat16.

    Args:
        model: the student or a teacher.
        rendered: frames and their sequences.
        hides: whether to apply the batch's token dropout.
    """
    frames, batch = rendered.frames, rendered.batch
    device, count = frames.device, len(frames)
    if device.type == "cuda":
        # Each new number of frames costs a second of cuDNN preparation.
        spare = frames[:1].expand(-count % _FRAME_MULTIPLE, -1, -1, -1)
        frames = torch.cat((frames, spare))
    hidden = batch.hidden.to(device) if hides else None
    mask = attention_mask(batch.groups.to(device), hidden)
    with mixed_precision(device):
        packed = model.vit.patches(frames)[:count].flatten(0, 1)
        visual = model.adapter(model.vit.encode(packed, batch.grids))
        x = model.embed(batch.ids.to(device), visual)
        states = model.decoder(x, positions=batch.positions.to(device), mask=mask)
        return model.decoder.logits(states.flatten(0, 1)[batch.sources.to(device)])


def _parameter_groups(model: SeedVL, config: CaptionTrainConfig) -> list[ParameterGroup]:
    """Group the trained parameters: matrices, vectors, stem; freeze the stem's first blocks."""
    stem: list[Tensor] = []
    matrices: list[Tensor] = []
    vectors: list[Tensor] = []
    if isinstance(model.vit.patches, ConvPatches):
        convolutions = model.vit.patches.stem
        stem += convolutions.head.parameters()
        blocks = [*convolutions.lower_blocks, *convolutions.upper_blocks]
        for index, block in enumerate([convolutions.entry, *blocks]):
            if index > config.frozen_blocks:
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
    return [
        ParameterGroup(matrices, config.learning_rate, weight_decay=config.weight_decay),
        ParameterGroup(vectors, config.learning_rate),
        ParameterGroup(
            stem,
            config.stem_learning_rate,
            weight_decay=config.weight_decay,
            from_step=config.stem_from_step,
        ),
    ]
