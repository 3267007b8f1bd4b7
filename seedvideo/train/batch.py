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

from seedvideo.model.seedvl import ANSWER_ID, END_ID, FRAME_END_ID, FRAME_ID, IMAGE_ID, PAD_ID
from seedvideo.model.vit import Grid
from seedvideo.sampler.stamps import time_text
from seedvideo.tasks.caption import CAPTION_PROMPT
from seedvideo.train.samples import Row
from seedvideo.train.views import View
from seedvideo.units import POOL

Encode: TypeAlias = Callable[[str], Sequence[int]]
"""Text to token ids."""

_PAD_GROUP = -1
_STRIDES_RATIO = 2  # cells of the stem's lower half to a patch


@dataclass(frozen=True)
class Batch:
    """One training step's input.

    Args:
        features: ``(f, 120, h / 16, w / 16)`` outputs of the stem's lower half.
        grids: the frames' patch grids.
        ids: ``(b, s)``.
        positions: ``(b, s)``; every answer goes on from the prompt.
        mask: ``(b, s, s)`` bool, true where a query may look.
        sources: ``(a,)`` places in the flattened ``(b, s)`` whose next id is to be predicted.
        labels: ``(a,)`` those ids.
    """

    features: Tensor
    grids: list[Grid]
    ids: Tensor
    positions: Tensor
    mask: Tensor
    sources: Tensor
    labels: Tensor


def prefix_ids(row: Row, visual_tokens: int, encode: Encode) -> list[int]:
    """Ids of the frames, with their times, and of the prompt."""
    ids: list[int] = []
    for time in row.times:
        ids += [*encode(time_text(time)), FRAME_ID, *[IMAGE_ID] * visual_tokens, FRAME_END_ID]
    return [*ids, *encode(CAPTION_PROMPT)]


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
    features = np.stack([views[view].features[photo] for row in rows for photo, view in row.frames])
    grid = (features.shape[2] // _STRIDES_RATIO, features.shape[3] // _STRIDES_RATIO)
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
        features=torch.from_numpy(features),
        grids=[grid] * len(features),
        ids=torch.from_numpy(ids_array),
        positions=torch.from_numpy(positions),
        mask=torch.from_numpy(_mask(groups, hidden)),
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


def _mask(groups: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """``(b, s, s)``: back in time, in one's own group or the prefix, and always to oneself."""
    length = groups.shape[1]
    keys, queries = groups[:, None, :], groups[:, :, None]
    is_past = np.tri(length, dtype=np.bool_)
    mask = is_past & ((keys == 0) | (keys == queries)) & ~hidden[:, None, :]
    return mask | np.eye(length, dtype=np.bool_)


def cached(encode: Encode) -> Encode:
    """``encode`` with a memory: captions return every epoch."""

    @lru_cache(maxsize=200_000)
    def encode_once(text: str) -> tuple[int, ...]:
        return tuple(encode(text))

    return encode_once
