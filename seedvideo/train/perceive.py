"""A first lesson for the answer branch's adapter: what one frame shows, without any words.

Heads that are thrown away afterwards name colour, shape, number and place of what is in a frame.
Learning that through a whole decoder takes many times as long.

Notation used for tensor shapes:
    n: frames of a batch; k: visual tokens of a frame; c: values that the adapter reads of a token
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.evaluate.synthetic.questions import PLACES
from seedvideo.evaluate.synthetic.story import MOST_AT_ONCE, Event
from seedvideo.evaluate.synthetic.things import COLOURS, SHAPES
from seedvideo.model.adapter import Adapter
from seedvideo.train.bank import Bank, Shelf, Size
from seedvideo.train.scenes import FrameId

_HEADS = (len(COLOURS), len(SHAPES), MOST_AT_ONCE, len(PLACES))
_BATCH = 128
_NOISE = 0.05
_UNKNOWN = -1


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
    adapter: Adapter, bank: Bank, shelf: Shelf, *, steps: int, seed: int = 1, rate: float = 1e-3
) -> Iterator[Tensor]:
    """Train an adapter on the frames of a bank that show something; yields each step's loss."""
    torch.manual_seed(seed)
    heads = Heads(adapter.second.out_features).to(shelf.device)
    parameters = [*adapter.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02, fused=True)
    examples, rng = _examples(bank), np.random.default_rng([seed, 13])
    sizes = sorted(examples)
    shares = np.array([len(examples[size]) for size in sizes], dtype=float)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        group_of = examples[sizes[int(rng.choice(len(sizes), p=shares / shares.sum()))]]
        batch = [group_of[int(index)] for index in rng.integers(len(group_of), size=_BATCH)]
        tokens = shelf.read(shelf.layout.places([frame for frame, _ in batch]))
        tokens = tokens.view(len(batch), -1, tokens.shape[1])
        labels = torch.tensor([wanted for _, wanted in batch]).to(shelf.device)
        with torch.autocast(shelf.device.type, torch.bfloat16):
            told = heads(adapter(tokens + torch.randn_like(tokens) * _NOISE))
        loss = torch.stack(
            [
                functional.cross_entropy(
                    each.float(), labels[:, at], ignore_index=_UNKNOWN, reduction="sum"
                )
                / (labels[:, at] != _UNKNOWN).sum().clamp_min(1)
                for at, each in enumerate(told)
            ]
        ).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield loss.detach()


def _examples(bank: Bank) -> dict[Size, list[tuple[FrameId, tuple[int, ...]]]]:
    """Frames with an event, by size, each with its labels."""
    found: dict[Size, list[tuple[FrameId, tuple[int, ...]]]] = {}
    for scene in bank.scenes:
        for each in scene.events:
            labels = _labels(each.event)
            for group in each.frames:
                for frame in group:
                    found.setdefault(frame[:2], []).append((frame, labels))
    return found


def _labels(event: Event) -> tuple[int, ...]:
    return (
        list(COLOURS).index(event.thing.colour),
        SHAPES.index(event.thing.shape),
        event.count - 1,
        _UNKNOWN if event.place is None else PLACES.index(event.place),
    )
