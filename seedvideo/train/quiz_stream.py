"""Batches of questions for training, in order, drawn by as many processes as there are.

Rows of several steps are drawn together, sorted by length and cut into equally costly batches, one
a step, so that little is padded. Each pool is fixed by the seed and its number: a training that
goes on at some step sees what it would have seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import DataLoader, Dataset

from seedvideo.train.bank import Layout
from seedvideo.train.batch import Encode
from seedvideo.train.quiz import Quiz, QuizRow
from seedvideo.train.quiz_batch import QuizBatch, collate

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
