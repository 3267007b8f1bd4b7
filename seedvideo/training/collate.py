"""Collation of caption rows: one packed sequence per row, with several answers in parallel.

All answers of a row follow its frames and prompt in one sequence. A mask lets each answer attend to
the frames, the prompt and itself only, so the frames are encoded once for all answers.

    [0.0 second] <frame> <image>... </frame> prompt | <answer> a dog runs | <answer> a brown dog ...
    group 0                                         | group 1             | group 2

Notation used for tensor shapes:
    b: rows; s: longest sequence; f: frames of all rows; a: ids to predict
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from seedvideo.model.metadata import ANSWER_ID, END_ID, FRAME_END_ID, FRAME_ID, IMAGE_ID, PAD_ID
from seedvideo.model.vision_encoder import STEM_STRIDE_PX, Grid
from seedvideo.sampler.geometry import POOL
from seedvideo.training.data import CaptionRow, View
from seedvideo.utils.timecode import timestamp_text

Encode: TypeAlias = Callable[[str], Sequence[int]]
"""Text to token ids."""

_PAD_GROUP = -1


@dataclass(frozen=True)
class Batch:
    """Input of one training step.

    Args:
        photos: index of the photo in each of the ``f`` frames.
        mirrored: whether each frame is mirrored.
        size_px: height and width of all frames.
        grids: patch grids of the frames.
        ids: ``(b, s)`` token ids.
        positions: ``(b, s)``; every answer continues from the prompt.
        groups: ``(b, s)``: 0 for frames and prompt, 1 and up for answers, -1 for padding.
        hidden: ``(b, s)`` bool, visual tokens that no answer may attend to.
        sources: ``(a,)`` indices in the flattened ``(b, s)`` whose next id is to be predicted.
        labels: ``(a,)`` those next ids.
    """

    photos: list[int]
    mirrored: list[bool]
    size_px: tuple[int, int]
    grids: list[Grid]
    ids: Tensor
    positions: Tensor
    groups: Tensor
    hidden: Tensor
    sources: Tensor
    labels: Tensor


def prefix_ids(row: CaptionRow, visual_tokens: int, encode: Encode) -> list[int]:
    """Return the ids of the frames, with their times, and of the prompt."""
    ids: list[int] = []
    for time in row.times:
        ids += [*encode(timestamp_text(time)), FRAME_ID, *[IMAGE_ID] * visual_tokens, FRAME_END_ID]
    return [*ids, *encode(row.prompt)]


def collate(
    rows: Sequence[CaptionRow],
    views: Sequence[View],
    encode: Encode,
    *,
    token_dropout: float,
    rng: np.random.Generator,
) -> Batch:
    """Collate rows into one batch.

    Args:
        rows: rows whose frames have one size.
        views: views by index.
        encode: text to ids.
        token_dropout: fraction of visual tokens hidden from all answers, against overfitting.
        rng: source of the dropout.
    """
    frames = [frame for row in rows for frame in row.frames]
    size_px = views[frames[0][1]].size_px
    grid = (size_px[0] // STEM_STRIDE_PX, size_px[1] // STEM_STRIDE_PX)
    visual_tokens = grid[0] * grid[1] // POOL**2
    sequences = [_build_sequence(row, visual_tokens, encode) for row in rows]
    length = max(len(ids) for ids, _, _ in sequences)
    ids_array = np.full((len(rows), length), PAD_ID)
    positions = np.zeros((len(rows), length), dtype=np.int64)
    groups = np.full((len(rows), length), _PAD_GROUP)
    for index, (row_ids, row_positions, row_groups) in enumerate(sequences):
        ids_array[index, : len(row_ids)] = row_ids
        positions[index, : len(row_ids)] = row_positions
        groups[index, : len(row_ids)] = row_groups
    is_source = (groups > 0) & (ids_array != END_ID)
    sources = np.flatnonzero(is_source)
    hidden = (ids_array == IMAGE_ID) & (rng.random(ids_array.shape) < token_dropout)
    return Batch(
        photos=[photo for photo, _ in frames],
        mirrored=[bool(views[view].flips[photo]) for photo, view in frames],
        size_px=size_px,
        grids=[grid] * len(frames),
        ids=torch.from_numpy(ids_array),
        positions=torch.from_numpy(positions),
        groups=torch.from_numpy(groups),
        hidden=torch.from_numpy(hidden),
        sources=torch.from_numpy(sources),
        labels=torch.from_numpy(ids_array.ravel()[sources + 1]),
    )


def _build_sequence(
    row: CaptionRow, visual_tokens: int, encode: Encode
) -> tuple[list[int], list[int], list[int]]:
    """Return ids, positions and groups of one row."""
    ids = prefix_ids(row, visual_tokens, encode)
    prefix = len(ids)
    positions, groups = list(range(prefix)), [0] * prefix
    for number, answer in enumerate(row.answers, start=1):
        answer_ids = [ANSWER_ID, *encode(answer), END_ID]
        ids += answer_ids
        positions += range(prefix, prefix + len(answer_ids))
        groups += [number] * len(answer_ids)
    return ids, positions, groups


def attention_mask(groups: Tensor, hidden: Tensor | None) -> Tensor:
    """Return the mask: causal, own answer and prefix only, and always the token itself.

    Args:
        groups: ``(b, s)``, see ``Batch``.
        hidden: ``(b, s)`` bool, positions that only they themselves attend to.

    Returns:
        ``(b, s, s)`` bool.
    """
    length = groups.shape[1]
    keys, queries = groups.unsqueeze(1), groups.unsqueeze(2)
    itself = torch.eye(length, dtype=torch.bool, device=groups.device)
    mask = ((keys == 0) | (keys == queries)) & torch.ones_like(itself).tril()
    if hidden is not None:
        mask &= ~hidden.unsqueeze(1)
    return mask | itself


def cache_encoding(encode: Encode) -> Encode:
    """Return ``encode`` with a cache: captions recur every epoch."""

    @lru_cache(maxsize=200_000)
    def encode_once(text: str) -> tuple[int, ...]:
        return tuple(encode(text))

    return encode_once
