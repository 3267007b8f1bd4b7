"""Batches of questions: collation under an attention mask, curriculum, and length buckets.

All questions of a sequence follow its frames. A mask lets each question attend to the frames and
itself only, so the frames are encoded once for all questions:

    [0.0 second] <frame> <image>... </frame> | question <answer> red | question <answer> two
    group 0                                  | group 1               | group 2

`BucketedBatches` draws the sequences of several steps together, sorts them by length and splits
them into batches of equal cost, one per step, to limit padding. Each pool depends only on the seed
and its index, so a resumed training sees the same batches.

Notation used for tensor shapes:
    b: sequences; s: longest sequence; k: visual tokens of all sequences; a: ids to predict
    m: frames of all sequences; q: questions of all sequences
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seedvideo.model.generation import THINK
from seedvideo.model.metadata import ANSWER_ID, END_ID, FRAME_END_ID, FRAME_ID, IMAGE_ID, PAD_ID
from seedvideo.training.answer_questions import QuestionSampler, TrainingSequence
from seedvideo.training.auxiliary_tasks import FrameLabelBatch
from seedvideo.training.collate import Encode
from seedvideo.training.feature_cache import TokenLayout
from seedvideo.utils.timecode import timestamp_text


@dataclass(frozen=True)
class QuestionBatch:
    """Input of one training step.

    Args:
        token_indices: ``(k,)`` indices of the visual tokens in the `DeviceFeatureStore`.
        ids: ``(b, s)`` token ids.
        positions: ``(b, s)``; every question continues from the frames.
        groups: ``(b, s)``: 0 for frames, 1 and up for questions, -1 for padding.
        sources: ``(a,)`` indices in the flattened ``(b, s)`` whose next id is to be predicted.
        labels: ``(a,)`` those next ids.
        pair_index: ``(a,)`` index of the question-answer pair of each id.
        weights: ``(a,)`` loss weights: an answer's total weight is the square root of its length.
        kinds: kind of every pair.
        frame_ends: ``(m,)`` indices in the flattened ``(b, s)`` of the token that ends each frame.
        frame_labels: labels of each of these frames.
        answer_starts: ``(q,)`` indices of the last token before each answer.
        hops: ``(2, q, m)`` bool, the frames to attend to in each of two hops; none if a hop has no
            target.
        is_absent: ``(q,)`` bool, whether the thing asked about is in no frame.
        pointed_frames: ``(q, m)`` bool, the frames that the question is about.
        has_target: ``(q,)`` bool, whether ``pointed_frames`` is defined.
    """

    token_indices: Tensor
    ids: Tensor
    positions: Tensor
    groups: Tensor
    sources: Tensor
    labels: Tensor
    pair_index: Tensor
    weights: Tensor
    kinds: list[str]
    frame_ends: Tensor
    frame_labels: FrameLabelBatch
    answer_starts: Tensor
    hops: Tensor
    is_absent: Tensor
    pointed_frames: Tensor
    has_target: Tensor

    def to(self, device: torch.device) -> "QuestionBatch":
        """Copy the batch to a device."""
        moved: dict[str, Any] = {"frame_labels": self.frame_labels.to(device)}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                moved[field.name] = value.to(device, non_blocking=True)
        return replace(self, **moved)

    def same_row_mask(self) -> Tensor:
        """Return the ``(q, m)`` mask of the frames in each question's own sequence."""
        length = self.ids.shape[1]
        return (self.answer_starts // length).unsqueeze(1) == (self.frame_ends // length).unsqueeze(
            0
        )

    def visible_mask(self) -> Tensor:
        """Return the ``(q, s)`` mask of the tokens that each question's answer may attend to."""
        length = self.ids.shape[1]
        groups = self.groups[self.answer_starts // length]
        own = self.groups.flatten()[self.answer_starts].unsqueeze(1)
        past = torch.arange(length, device=groups.device) <= (
            self.answer_starts % length
        ).unsqueeze(1)
        return past & ((groups == 0) | (groups == own))


def build_sequence(
    row: TrainingSequence, counts: Sequence[int], encode: Encode
) -> tuple[list[int], ...]:
    """Return ids, positions, groups and, for ids of answers, one plus the index of their pair."""
    ids: list[int] = []
    for moment, count in zip(row.times, counts, strict=True):
        ids += [*encode(timestamp_text(moment)), FRAME_ID, *[IMAGE_ID] * count, FRAME_END_ID]
    prefix = len(ids)
    positions, groups, learned = list(range(prefix)), [0] * prefix, [0] * prefix
    for number, (prompt, reasoning, answer) in enumerate(row.pairs, start=1):
        asked = [*encode(prompt), ANSWER_ID]
        # The opening tag is forced, not learned; see `generate_reasoning`.
        opening = list(encode(THINK)) if reasoning else []
        learned_ids = [*encode(reasoning.removeprefix(THINK)), *encode(answer), END_ID]
        ids += asked + opening + learned_ids
        length = len(asked) + len(opening) + len(learned_ids)
        positions += range(prefix, prefix + length)
        groups += [number] * length
        learned += [0] * (length - len(learned_ids)) + [number] * len(learned_ids)
    return ids, positions, groups, learned


def collate(rows: Sequence[TrainingSequence], layout: TokenLayout, encode: Encode) -> QuestionBatch:
    """Collate sequences into one batch."""
    sequences = [
        build_sequence(row, [layout.counts[frame[:2]] for frame in row.frames], encode)
        for row in rows
    ]
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
    names, pair_index, lengths = np.unique(
        learned.ravel()[targets], return_inverse=True, return_counts=True
    )
    kinds = [rows[name // 100].kinds[name % 100 - 1] for name in names.tolist()]
    weights = lengths.astype(np.float32)[pair_index] ** -0.5
    return QuestionBatch(
        token_indices=layout.token_indices([frame for row in rows for frame in row.frames]),
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        groups=torch.from_numpy(groups),
        sources=torch.from_numpy(targets - 1),
        labels=torch.from_numpy(ids.ravel()[targets]),
        pair_index=torch.from_numpy(pair_index),
        weights=torch.from_numpy(weights / weights.sum()),
        kinds=kinds,
        frame_ends=torch.from_numpy(np.flatnonzero(ids == FRAME_END_ID)),
        frame_labels=FrameLabelBatch.of([sight for row in rows for sight in row.frame_labels]),
        **_answer_targets(rows, ids, encode),
    )


def _answer_targets(
    rows: Sequence[TrainingSequence], ids: NDArray[np.int64], encode: Encode
) -> dict[str, Tensor]:
    """Locate the answers, and the frames that their questions are about."""
    starts = np.concatenate(([0], np.cumsum([len(row.frames) for row in rows])))
    count = sum(len(row.pairs) for row in rows)
    answer_starts: list[int] = []
    hops = np.zeros((2, count, starts[-1]), bool)
    points, has_target = np.zeros((count, starts[-1]), bool), np.zeros(count, bool)
    for index, row in enumerate(rows):
        row_starts = index * ids.shape[1] + np.flatnonzero(ids[index] == ANSWER_ID)
        for position, target, (_, reasoning, _) in zip(
            row_starts.tolist(), row.targets, row.pairs, strict=True
        ):
            at = len(answer_starts)
            if reasoning:
                position += len(encode(THINK)) + len(encode(reasoning.removeprefix(THINK)))
            answer_starts.append(position)
            for hop, stretch in enumerate(target.hops):
                if stretch is not None:
                    first, last = stretch
                    hops[hop, at, starts[index] + first : starts[index] + last + 1] = True
            if target.pointed_frames is not None:
                has_target[at] = True
                points[at, [starts[index] + frame for frame in target.pointed_frames]] = True
    return {
        "is_absent": torch.from_numpy(has_target & ~points.any(axis=1)),
        "answer_starts": torch.tensor(answer_starts, dtype=torch.int64),
        "hops": torch.from_numpy(hops),
        "pointed_frames": torch.from_numpy(points),
        "has_target": torch.from_numpy(has_target),
    }


POOL_STEPS = 8
"""Steps whose sequences are drawn together."""

_FILL_FRACTION = 0.85
"""Approximate fraction of a pool's positions that are not padding."""

_POSITIONS_PER_PAIR = 42
"""Approximate positions of a question with its answer."""


@dataclass(frozen=True)
class CurriculumPhase:
    """Distribution of the sequences in one phase of the training.

    Args:
        until: fraction of the steps at which the phase ends.
        lengths: maximum frames per sequence, with the fraction of sequences.
        stories: fraction of sequences from synthetic scenes; the others show photos.
        thinking: fraction of their questions that are answered after reasoning.
    """

    until: float
    lengths: dict[int, float]
    stories: float
    thinking: float


CURRICULUM = (
    CurriculumPhase(0.1, {1: 0.3, 3: 0.4, 6: 0.3}, 0.75, 0.0),
    CurriculumPhase(0.3, {3: 0.2, 6: 0.3, 12: 0.3, 24: 0.2}, 0.65, 0.03),
    CurriculumPhase(1.0, {2: 0.1, 6: 0.18, 12: 0.22, 24: 0.25, 48: 0.17, 128: 0.08}, 0.6, 0.05),
)
"""Short videos first: the model must know what one frame shows before when it was shown. The
fraction of photos rises, because answers about them got lost when there were fewer
(docs/log.md).
"""


class BucketedBatches(Dataset[list[QuestionBatch]]):
    """The batches of `POOL_STEPS` steps, by the index of their pool.

    Args:
        quiz: draws sequences.
        layout: token layout of the frames.
        encode: text to ids.
        steps: steps of the whole training.
        batch_tokens: approximate positions per step, including padding.
        seed: seed of all randomness.
    """

    def __init__(
        self,
        quiz: QuestionSampler,
        layout: TokenLayout,
        encode: Encode,
        *,
        steps: int,
        batch_tokens: int,
        seed: int,
    ):
        self._quiz, self._layout, self._encode = quiz, layout, encode
        self._steps, self._batch_tokens, self._seed = steps, batch_tokens, seed

    def __len__(self) -> int:
        return -(-self._steps // POOL_STEPS)

    def __getitem__(self, number: int) -> list[QuestionBatch]:
        rng = np.random.default_rng([self._seed, number, 11])
        done = number / len(self)
        stage = next(each for each in CURRICULUM if done < each.until)
        lengths, fractions = list(stage.lengths), list(stage.lengths.values())
        first, drawn, room = number << 32, 0, POOL_STEPS * self._batch_tokens * _FILL_FRACTION
        rows: list[TrainingSequence] = []
        while room > 0 or len(rows) < POOL_STEPS:
            row = self._quiz.draw(
                first + drawn,
                max_frames=int(rng.choice(lengths, p=fractions)),
                stories=stage.stories,
                thinking=stage.thinking,
            )
            drawn += 1
            if row.pairs:
                rows.append(row)
                room -= self._length(row)
        rows.sort(key=self._length)
        groups = _split_equally([self._length(row) for row in rows])
        order = rng.permutation(POOL_STEPS).tolist()
        return [collate(rows[slice(*groups[at])], self._layout, self._encode) for at in order]

    def _length(self, row: TrainingSequence) -> int:
        """Estimate the positions of a sequence."""
        frames = sum(self._layout.counts[frame[:2]] + 10 for frame in row.frames)
        return frames + _POSITIONS_PER_PAIR * len(row.pairs)


def stream_batches(pools: BucketedBatches, *, step: int, workers: int) -> Iterator[QuestionBatch]:
    """Yield one batch for each step from ``step`` on.

    Args:
        pools: source of the batches.
        step: index of the first step.
        workers: number of processes that draw; 0 to draw in this process.
    """
    number, position = divmod(step, POOL_STEPS)
    loader = DataLoader(
        pools,
        batch_size=None,
        sampler=range(number, len(pools)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    for batches in loader:
        yield from batches[position:]
        position = 0


def _split_equally(lengths: list[int]) -> list[tuple[int, int]]:
    """Split lengths, shortest first, into `POOL_STEPS` groups of about equal padded cost.

    The cost of the largest group is minimal; each group has at least one sequence.
    """
    low, high = lengths[-1], lengths[-1] * len(lengths)
    while low < high:
        middle = (low + high) // 2
        if len(_group_within(lengths, middle)) <= POOL_STEPS:
            high = middle
        else:
            low = middle + 1
    groups = _group_within(lengths, low)
    while len(groups) < POOL_STEPS:
        widest = max(range(len(groups)), key=lambda at: groups[at][1] - groups[at][0])
        first, last = groups[widest]
        groups[widest : widest + 1] = [(first, (first + last) // 2), ((first + last) // 2, last)]
    return groups


def _group_within(lengths: list[int], limit: int) -> list[tuple[int, int]]:
    """Return the fewest groups of neighbours whose cost stays within a limit."""
    groups: list[tuple[int, int]] = []
    first = 0
    for at, length in enumerate(lengths):
        if at > first and (at + 1 - first) * length > limit:
            groups.append((first, at))
            first = at
    return [*groups, (first, len(lengths))]
