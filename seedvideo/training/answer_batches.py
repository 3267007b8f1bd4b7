"""Rows of questions to tensors: questions side by side after the frames of their row.

A mask lets each question see the frames and itself alone, so that frames are read once for all:

    [0.0 second] <frame> <image>... </frame> | question <answer> red | question <answer> two
    group 0                                  | group 1               | group 2

Notation used for tensor shapes:
    b: rows; s: longest sequence; k: visual tokens of all rows; a: ids to predict; m: frames of all
    rows; q: questions of all rows

Batches of questions for training, in order, drawn by as many processes as there are.

Rows of several steps are drawn together, sorted by length and cut into equally costly batches, one
a step, so that little is padded. Each pool is fixed by the seed and its number: a training that
goes on at some step sees what it would have seen.
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
from seedvideo.sampler.geometry import timestamp_text
from seedvideo.training.answer_questions import Quiz, QuizRow
from seedvideo.training.auxiliary_tasks import Sights
from seedvideo.training.collate import Encode
from seedvideo.training.feature_cache import Layout


@dataclass(frozen=True)
class QuizBatch:
    """One step's input.

    Args:
        places: ``(k,)`` where the visual tokens lie on the shelf.
        ids: ``(b, s)``.
        positions: ``(b, s)``; every question goes on from the frames.
        groups: ``(b, s)``: 0 for frames, 1 and up for questions, -1 for padding.
        sources: ``(a,)`` places in the flattened ``(b, s)`` whose next id is to be predicted.
        labels: ``(a,)`` those ids.
        pair_of: ``(a,)`` number of the pair that each id belongs to.
        weights: ``(a,)`` how much each id counts: a long answer for more than a short one, but not
            in proportion to its length.
        kinds: of every pair.
        ends: ``(m,)`` places in the flattened ``(b, s)`` of the mark that ends each frame.
        sights: what each of these frames shows.
        asks: ``(q,)`` places before which every answer begins.
        hops: ``(2, q, m)`` bool, the frames that are looked at, one look after the other; none
            where a look has no stretch of its own.
        nowhere: ``(q,)`` bool, whether what is asked about is in no frame.
        points: ``(q, m)`` bool, the frames that the question is about.
        pointed: ``(q,)`` bool, whether that has a meaning.
    """

    places: Tensor
    ids: Tensor
    positions: Tensor
    groups: Tensor
    sources: Tensor
    labels: Tensor
    pair_of: Tensor
    weights: Tensor
    kinds: list[str]
    ends: Tensor
    sights: Sights
    asks: Tensor
    hops: Tensor
    nowhere: Tensor
    points: Tensor
    pointed: Tensor

    def to(self, device: torch.device) -> "QuizBatch":
        """The same on a device."""
        moved: dict[str, Any] = {"sights": self.sights.to(device)}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                moved[field.name] = value.to(device, non_blocking=True)
        return replace(self, **moved)

    def beside(self) -> Tensor:
        """``(q, m)`` bool, all frames of the row that each question is about."""
        length = self.ids.shape[1]
        return (self.asks // length).unsqueeze(1) == (self.ends // length).unsqueeze(0)

    def visible(self) -> Tensor:
        """``(q, s)`` bool, the tokens of its row that each question's answer may look at."""
        length = self.ids.shape[1]
        groups = self.groups[self.asks // length]
        own = self.groups.flatten()[self.asks].unsqueeze(1)
        past = torch.arange(length, device=groups.device) <= (self.asks % length).unsqueeze(1)
        return past & ((groups == 0) | (groups == own))


def sequence(row: QuizRow, counts: Sequence[int], encode: Encode) -> tuple[list[int], ...]:
    """Ids, positions, groups and, for ids of answers, one plus the number of their pair."""
    ids: list[int] = []
    for moment, count in zip(row.times, counts, strict=True):
        ids += [*encode(timestamp_text(moment)), FRAME_ID, *[IMAGE_ID] * count, FRAME_END_ID]
    prefix = len(ids)
    positions, groups, learned = list(range(prefix)), [0] * prefix, [0] * prefix
    for number, (prompt, thought, answer) in enumerate(row.pairs, start=1):
        asked = [*encode(prompt), ANSWER_ID]
        # The opening mark is put there for the model; see `model.thinking`.
        opening = list(encode(THINK)) if thought else []
        told = [*encode(thought.removeprefix(THINK)), *encode(answer), END_ID]
        ids += asked + opening + told
        length = len(asked) + len(opening) + len(told)
        positions += range(prefix, prefix + length)
        groups += [number] * length
        learned += [0] * (length - len(told)) + [number] * len(told)
    return ids, positions, groups, learned


def collate(rows: Sequence[QuizRow], layout: Layout, encode: Encode) -> QuizBatch:
    """Put rows together."""
    sequences = [
        sequence(row, [layout.counts[frame[:2]] for frame in row.frames], encode) for row in rows
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
    names, pair_of, lengths = np.unique(
        learned.ravel()[targets], return_inverse=True, return_counts=True
    )
    kinds = [rows[name // 100].kinds[name % 100 - 1] for name in names.tolist()]
    weights = lengths.astype(np.float32)[pair_of] ** -0.5
    return QuizBatch(
        places=layout.places([frame for row in rows for frame in row.frames]),
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        groups=torch.from_numpy(groups),
        sources=torch.from_numpy(targets - 1),
        labels=torch.from_numpy(ids.ravel()[targets]),
        pair_of=torch.from_numpy(pair_of),
        weights=torch.from_numpy(weights / weights.sum()),
        kinds=kinds,
        ends=torch.from_numpy(np.flatnonzero(ids == FRAME_END_ID)),
        sights=Sights.of([sight for row in rows for sight in row.sights]),
        **_looks(rows, ids, encode),
    )


def _looks(rows: Sequence[QuizRow], ids: NDArray[np.int64], encode: Encode) -> dict[str, Tensor]:
    """Where answers begin, and the frames that their questions look at."""
    starts = np.concatenate(([0], np.cumsum([len(row.frames) for row in rows])))
    count = sum(len(row.pairs) for row in rows)
    asks: list[int] = []
    hops = np.zeros((2, count, starts[-1]), bool)
    points, pointed = np.zeros((count, starts[-1]), bool), np.zeros(count, bool)
    for index, row in enumerate(rows):
        places = index * ids.shape[1] + np.flatnonzero(ids[index] == ANSWER_ID)
        for place, look, (_, thought, _) in zip(places.tolist(), row.looks, row.pairs, strict=True):
            at = len(asks)
            if thought:
                place += len(encode(THINK)) + len(encode(thought.removeprefix(THINK)))
            asks.append(place)
            for hop, stretch in enumerate(look.hops):
                if stretch is not None:
                    first, last = stretch
                    hops[hop, at, starts[index] + first : starts[index] + last + 1] = True
            if look.points is not None:
                pointed[at] = True
                points[at, [starts[index] + frame for frame in look.points]] = True
    return {
        "nowhere": torch.from_numpy(pointed & ~points.any(axis=1)),
        "asks": torch.tensor(asks, dtype=torch.int64),
        "hops": torch.from_numpy(hops),
        "points": torch.from_numpy(points),
        "pointed": torch.from_numpy(pointed),
    }


POOL_STEPS = 8
"""Steps whose rows are drawn together."""

_FILLED = 0.85
"""Share of a pool's positions that is no padding, about."""

_PAIR_POSITIONS = 42
"""About how many positions a question takes with its answer."""


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
    Stage(0.1, {1: 0.3, 3: 0.4, 6: 0.3}, 0.75, 0.0),
    Stage(0.3, {3: 0.2, 6: 0.3, 12: 0.3, 24: 0.2}, 0.65, 0.03),
    Stage(1.0, {2: 0.1, 6: 0.18, 12: 0.22, 24: 0.25, 48: 0.17, 128: 0.08}, 0.6, 0.05),
)
"""Short videos first: what one frame shows must be known before when it was shown. More photos at
last: where they were fewer, answers about them were drowned (docs/log.md)."""


class Pools(Dataset[list[QuizBatch]]):
    """The batches of `POOL_STEPS` steps, by the number of their pool.

    Args:
        quiz: draws rows.
        layout: of the frames that it draws from.
        encode: text to ids.
        steps: of the whole recipe.
        batch_tokens: positions of a step, padding included, about.
        seed: start of all randomness.
    """

    def __init__(
        self,
        quiz: Quiz,
        layout: Layout,
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

    def __getitem__(self, number: int) -> list[QuizBatch]:
        rng = np.random.default_rng([self._seed, number, 11])
        done = number / len(self)
        stage = next(each for each in STAGES if done < each.until)
        lengths, shares = list(stage.lengths), list(stage.lengths.values())
        first, drawn, room = number << 32, 0, POOL_STEPS * self._batch_tokens * _FILLED
        rows: list[QuizRow] = []
        while room > 0 or len(rows) < POOL_STEPS:
            row = self._quiz.draw(
                first + drawn,
                most_frames=int(rng.choice(lengths, p=shares)),
                stories=stage.stories,
                thinking=stage.thinking,
            )
            drawn += 1
            if row.pairs:
                rows.append(row)
                room -= self._length(row)
        rows.sort(key=self._length)
        groups = _cut([self._length(row) for row in rows])
        order = rng.permutation(POOL_STEPS).tolist()
        return [collate(rows[slice(*groups[at])], self._layout, self._encode) for at in order]

    def _length(self, row: QuizRow) -> int:
        """About how many positions a row takes."""
        frames = sum(self._layout.counts[frame[:2]] + 10 for frame in row.frames)
        return frames + _PAIR_POSITIONS * len(row.pairs)


def stream(pools: Pools, *, step: int, workers: int) -> Iterator[QuizBatch]:
    """One batch for each step from ``step`` on.

    Args:
        pools: where batches come from.
        step: the first.
        workers: processes that draw; none to draw in this one.
    """
    number, place = divmod(step, POOL_STEPS)
    loader = DataLoader(
        pools,
        batch_size=None,
        sampler=range(number, len(pools)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    for batches in loader:
        yield from batches[place:]
        place = 0


def _cut(lengths: list[int]) -> list[tuple[int, int]]:
    """Cut rows, the shortest first, into `POOL_STEPS` groups that cost about the same, padded.

    The dearest of them costs as little as it may; each has a row at least.
    """
    low, high = lengths[-1], lengths[-1] * len(lengths)
    while low < high:
        middle = (low + high) // 2
        if len(_within(lengths, middle)) <= POOL_STEPS:
            high = middle
        else:
            low = middle + 1
    groups = _within(lengths, low)
    while len(groups) < POOL_STEPS:
        widest = max(range(len(groups)), key=lambda at: groups[at][1] - groups[at][0])
        first, last = groups[widest]
        groups[widest : widest + 1] = [(first, (first + last) // 2), ((first + last) // 2, last)]
    return groups


def _within(lengths: list[int], limit: int) -> list[tuple[int, int]]:
    """The fewest groups of neighbours none of which costs more than a limit."""
    groups: list[tuple[int, int]] = []
    first = 0
    for at, length in enumerate(lengths):
        if at > first and (at + 1 - first) * length > limit:
            groups.append((first, at))
            first = at
    return [*groups, (first, len(lengths))]
