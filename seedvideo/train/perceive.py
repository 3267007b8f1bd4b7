"""A first lesson for the answer branch's adapter: what one frame shows, without any words.

Heads that are thrown away afterwards name colour, shape, number and place of what is in a frame.
Learning that through a whole decoder takes many times as long.

Notation used for tensor shapes:
    n: frames of a batch; k: visual tokens of a frame; c: values that the adapter reads of a token
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.evaluate.synthetic.questions import PLACES
from seedvideo.evaluate.synthetic.story import MOST_AT_ONCE, Event
from seedvideo.evaluate.synthetic.things import COLOURS, SHAPES
from seedvideo.model.adapter import Adapter
from seedvideo.model.thumbnails import scaled
from seedvideo.train.bank import Bank, FrameId

_HEADS = (len(COLOURS), len(SHAPES), MOST_AT_ONCE, len(PLACES) + 1)
_BATCH = 128
_NOISE = 0.05


@dataclass(frozen=True)
class Lesson:
    """How well frames are told after an epoch.

    Args:
        loss: of the last hundred batches.
        right: share of frames whose colour, shape, number and place are each named right.
    """

    loss: float
    right: tuple[float, ...]


class Heads(nn.Module):
    """Adapter outputs of one frame to colour, shape, number and place, by attention over tokens."""

    def __init__(self, width: int):
        super().__init__()
        self.weigh = nn.Linear(width, len(_HEADS))
        self.name = nn.ModuleList(nn.Linear(width, size) for size in _HEADS)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Map ``(n, k, width)`` to logits of each head."""
        shares = self.weigh(tokens).softmax(dim=1)
        return [
            head((tokens * shares[..., index : index + 1]).sum(dim=1))
            for index, head in enumerate(self.name)
        ]


def teach(
    adapter: Adapter, bank: Bank, held: Bank, *, epochs: int, seed: int = 1, rate: float = 1e-3
) -> Iterator[Lesson]:
    """Train an adapter on the frames of a bank; after each epoch tell how it does on another."""
    torch.manual_seed(seed)
    heads = Heads(adapter.second.out_features)
    parameters = [*adapter.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02)
    examples, rng = _examples(bank), np.random.default_rng([seed, 13])
    for epoch in range(epochs):
        losses: list[float] = []
        batches = list(_batches(examples, rng))
        for index, batch in enumerate(batches):
            done = (epoch + index / len(batches)) / epochs
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - done)
            tokens, labels = _tensors(bank, batch)
            with torch.autocast("cpu", torch.bfloat16):
                told = heads(adapter(tokens + torch.randn_like(tokens) * _NOISE))
            parts = [
                functional.cross_entropy(each.float(), labels[:, at], ignore_index=-1)
                for at, each in enumerate(told)
            ]
            loss = torch.stack(parts).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        yield Lesson(float(np.mean(losses[-100:])), _score(adapter, heads, held))


@torch.inference_mode()
def _score(adapter: Adapter, heads: Heads, bank: Bank) -> tuple[float, ...]:
    hits = np.zeros(len(_HEADS))
    counted = np.zeros(len(_HEADS))
    for batch in _batches(_examples(bank), np.random.default_rng(0)):
        tokens, labels = _tensors(bank, batch)
        for at, each in enumerate(heads(adapter(tokens))):
            known = labels[:, at] >= 0
            hits[at] += int((each.argmax(-1) == labels[:, at])[known].sum())
            counted[at] += int(known.sum())
    return tuple(float(value) for value in hits / counted)


def _examples(bank: Bank) -> dict[tuple[int, int], list[tuple[FrameId, tuple[int, ...]]]]:
    """Frames with an event, by size, each with its labels; -1 where a head has nothing to say."""
    found: dict[tuple[int, int], list[tuple[FrameId, tuple[int, ...]]]] = {}
    for scene in bank.scenes:
        for each in scene.events:
            labels = _labels(each.event)
            for group in each.frames:
                for frame in group:
                    found.setdefault(frame[:2], []).append((frame, labels))
    return found


def _labels(event: Event) -> tuple[int, ...]:
    place = -1
    if event.place is not None:
        place = PLACES.index(event.place)
    return (
        list(COLOURS).index(event.thing.colour),
        SHAPES.index(event.thing.shape),
        event.count - 1,
        place,
    )


def _batches(
    examples: dict[tuple[int, int], list[tuple[FrameId, tuple[int, ...]]]],
    rng: np.random.Generator,
) -> Iterator[list[tuple[FrameId, tuple[int, ...]]]]:
    """All examples in batches of one size, in random order."""
    batches = []
    for group in examples.values():
        order = rng.permutation(len(group))
        for first in range(0, len(order), _BATCH):
            batches.append([group[int(index)] for index in order[first : first + _BATCH]])
    for index in rng.permutation(len(batches)):
        yield batches[int(index)]


def _tensors(bank: Bank, batch: list[tuple[FrameId, tuple[int, ...]]]) -> tuple[Tensor, Tensor]:
    """What the adapter reads, ``(n, k, c)``, and the labels ``(n, heads)``."""
    size = batch[0][0][:2]
    rows = torch.tensor([frame[2] for frame, _ in batch])
    tokens, thumbs = bank.tokens[size][rows].float(), scaled(bank.thumbs[size][rows])
    return torch.cat((tokens, thumbs), dim=-1), torch.tensor([labels for _, labels in batch])
