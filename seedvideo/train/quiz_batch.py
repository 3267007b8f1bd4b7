"""Rows of questions to tensors: questions side by side after the frames of their row.

A mask lets each question see the frames and itself alone, so that frames are read once for all:

    [0.0 second] <frame> <image>... </frame> | question <answer> red | question <answer> two
    group 0                                  | group 1               | group 2

Notation used for tensor shapes:
    b: rows; s: longest sequence; k: visual tokens of all rows; a: ids to predict; m: frames of all
    rows; q: questions that look at one stretch of frames; d: width of the encoder
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedvideo.model.marks import ANSWER_ID, END_ID, FRAME_END_ID, FRAME_ID, IMAGE_ID, PAD_ID
from seedvideo.model.thumbnails import scaled
from seedvideo.sampler.stamps import time_text
from seedvideo.train.bank import Bank
from seedvideo.train.batch import Encode
from seedvideo.train.quiz import QuizRow
from seedvideo.train.sights import Sight


@dataclass(frozen=True)
class QuizBatch:
    """One step's input.

    Args:
        tokens: ``(k, d)`` of the encoder, with each token's thumbnail behind it.
        ids: ``(b, s)``.
        positions: ``(b, s)``; every question goes on from the frames.
        groups: ``(b, s)``: 0 for frames, 1 and up for questions, -1 for padding.
        sources: ``(a,)`` places in the flattened ``(b, s)`` whose next id is to be predicted.
        labels: ``(a,)`` those ids.
        pair_of: ``(a,)`` number of the pair that each id belongs to.
        kinds: of every pair.
        ends: ``(m,)`` places in the flattened ``(b, s)`` of the mark that ends each frame.
        sights: what each of these frames shows.
        asks: ``(q,)`` places where an answer begins whose question looks at one stretch of frames.
        looked_at: ``(q, m)`` bool, the frames of this stretch.
        beside: ``(q, m)`` bool, all frames of the same row.
    """

    tokens: Tensor
    ids: Tensor
    positions: Tensor
    groups: Tensor
    sources: Tensor
    labels: Tensor
    pair_of: Tensor
    kinds: list[str]
    ends: Tensor
    sights: list[Sight]
    asks: Tensor
    looked_at: Tensor
    beside: Tensor


def sequence(row: QuizRow, counts: Sequence[int], encode: Encode) -> tuple[list[int], ...]:
    """Ids, positions, groups and, for ids of answers, one plus the number of their pair."""
    ids: list[int] = []
    for moment, count in zip(row.times, counts, strict=True):
        ids += [*encode(time_text(moment)), FRAME_ID, *[IMAGE_ID] * count, FRAME_END_ID]
    prefix = len(ids)
    positions, groups, learned = list(range(prefix)), [0] * prefix, [0] * prefix
    for number, (prompt, answer) in enumerate(row.pairs, start=1):
        asked = [*encode(prompt), ANSWER_ID]
        told = [*encode(answer), END_ID]
        ids += asked + told
        positions += range(prefix, prefix + len(asked) + len(told))
        groups += [number] * (len(asked) + len(told))
        learned += [0] * len(asked) + [number] * len(told)
    return ids, positions, groups, learned


def collate(rows: Sequence[QuizRow], bank: Bank, encode: Encode) -> QuizBatch:
    """Put rows together."""
    parts, sequences = [], []
    for row in rows:
        seen = [bank.look(frame) for frame in row.frames]
        parts += [torch.cat((tokens.float(), scaled(thumbs)), dim=1) for tokens, thumbs in seen]
        sequences.append(sequence(row, [len(tokens) for tokens, _ in seen], encode))
    length = max(len(ids) for ids, *_ in sequences)
    shape = (len(rows), length)
    arrays = [
        np.full(shape, PAD_ID),
        np.zeros(shape, int),
        np.full(shape, -1),
        np.zeros(shape, int),
    ]
    for index, values in enumerate(sequences):
        for array, value in zip(arrays, values, strict=True):
            array[index, : len(value)] = value
    ids, positions, groups, learned = arrays
    learned += (learned > 0) * np.arange(len(rows))[:, None] * 100
    targets = np.flatnonzero(learned)
    names, pair_of = np.unique(learned.ravel()[targets], return_inverse=True)
    kinds = [rows[name // 100].kinds[name % 100 - 1] for name in names.tolist()]
    return QuizBatch(
        tokens=torch.cat(parts),
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        groups=torch.from_numpy(groups),
        sources=torch.from_numpy(targets - 1),
        labels=torch.from_numpy(ids.ravel()[targets]),
        pair_of=torch.from_numpy(pair_of),
        kinds=kinds,
        ends=torch.from_numpy(np.flatnonzero(ids == FRAME_END_ID)),
        sights=[sight for row in rows for sight in row.sights],
        **_looks(rows, ids),
    )


def _looks(rows: Sequence[QuizRow], ids: NDArray[np.int64]) -> dict[str, Tensor]:
    """Where answers begin, and the frames that their questions look at."""
    counts = [len(row.frames) for row in rows]
    starts = np.concatenate(([0], np.cumsum(counts)))
    asks, looked_at, beside = [], [], []
    for index, row in enumerate(rows):
        places = index * ids.shape[1] + np.flatnonzero(ids[index] == ANSWER_ID)
        for place, look in zip(places.tolist(), row.looks, strict=True):
            if look is None:
                continue
            own, wanted = np.zeros(starts[-1], bool), np.zeros(starts[-1], bool)
            own[starts[index] : starts[index + 1]] = True
            wanted[starts[index] + look[0] : starts[index] + look[1] + 1] = True
            asks.append(place)
            looked_at.append(wanted)
            beside.append(own)
    shape = (len(asks), int(starts[-1]))
    return {
        "asks": torch.tensor(asks, dtype=torch.int64),
        "looked_at": torch.from_numpy(np.array(looked_at, dtype=bool).reshape(shape)),
        "beside": torch.from_numpy(np.array(beside, dtype=bool).reshape(shape)),
    }
