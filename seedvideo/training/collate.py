"""Rows to tensors: one packed sequence a row, several answers side by side.

All answers of a row follow its frames and prompt in one sequence; a mask lets each answer see the
frames, the prompt and itself. So the frames are encoded once for all of them.

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
from seedvideo.sampler.geometry import POOL, timestamp_text
from seedvideo.training.data import Row, View

Encode: TypeAlias = Callable[[str], Sequence[int]]
"""Text to token ids."""

_PAD_GROUP = -1


@dataclass(frozen=True)
class Batch:
    """One training step's input.

    Args:
        photos: photo shown in each of the ``f`` frames.
        mirrored: whether it is shown left to right.
        size_px: height and width of all frames.
        grids: the frames' patch grids.
        ids: ``(b, s)``.
        positions: ``(b, s)``; every answer goes on from the prompt.
        groups: ``(b, s)``: 0 for frames and prompt, 1 and up for the answers, -1 for padding.
        hidden: ``(b, s)`` bool, visual tokens that no answer may see.
        sources: ``(a,)`` places in the flattened ``(b, s)`` whose next id is to be predicted.
        labels: ``(a,)`` those ids.
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


def prefix_ids(row: Row, visual_tokens: int, encode: Encode) -> list[int]:
    """Ids of the frames, with their times, and of the prompt."""
    ids: list[int] = []
    for time in row.times:
        ids += [*encode(timestamp_text(time)), FRAME_ID, *[IMAGE_ID] * visual_tokens, FRAME_END_ID]
    return [*ids, *encode(row.prompt)]


def collate(
    rows: Sequence[Row],
    views: Sequence[View],
    encode: Encode,
    *,
    drop: float,
    rng: np.random.Generator,
) -> Batch:
    """Put rows together.

    Args:
        rows: all of whose frames have one size.
        views: what the rows' view indices mean.
        encode: text to ids.
        drop: share of visual tokens that no answer may see, against overfitting.
        rng: chooses them.
    """
    frames = [frame for row in rows for frame in row.frames]
    size_px = views[frames[0][1]].size_px
    grid = (size_px[0] // STEM_STRIDE_PX, size_px[1] // STEM_STRIDE_PX)
    visual_tokens = grid[0] * grid[1] // POOL**2
    sequences = [_sequence(row, visual_tokens, encode) for row in rows]
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
    hidden = (ids_array == IMAGE_ID) & (rng.random(ids_array.shape) < drop)
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


def _sequence(
    row: Row, visual_tokens: int, encode: Encode
) -> tuple[list[int], list[int], list[int]]:
    """Ids, positions and groups of one row."""
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
    """Where a query may look: back in time, in its own answer or the prefix, always at itself.

    Args:
        groups: ``(b, s)``, see ``Batch``.
        hidden: ``(b, s)`` bool, places that only they themselves see.

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


def cached(encode: Encode) -> Encode:
    """``encode`` with a memory: captions return every epoch."""

    @lru_cache(maxsize=200_000)
    def encode_once(text: str) -> tuple[int, ...]:
        return tuple(encode(text))

    return encode_once
