"""What each frame of a row shows, as a lesson beside the questions.

A question's answer says little about the twenty frames that it is drawn from. So while the branch
learns, heads that are thrown away afterwards read from the middle of the decoder, at the mark that
ends each frame, what this frame shows: then the mark holds it, with the frame's time, for any
question to find.

Notation used for tensor shapes:
    m: frames of all rows of a batch; d: width of the decoder

A second lesson, for the lower half of the answer branch's decoder: one frame at a time.

The mark that ends a frame learns to hold what the frame shows, with the heads of `sights`, before
any question is asked: frames alone are short, so many more of them are seen in the same time.

Notation used for tensor shapes:
    n: frames of a batch; s: positions of one; d: width of the decoder

A first lesson for the answer branch's adapter: what one frame shows, without any words.

Heads that are thrown away afterwards name colour, shape, number and place of what is in a frame.
Learning that through a whole decoder takes many times as long.

Notation used for tensor shapes:
    n: frames of a batch; k: visual tokens of a frame; c: values that the adapter reads of a token
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.evaluate.metrics.nouns import nouns
from seedvideo.evaluate.synthetic.dataset import POSITIONS
from seedvideo.evaluate.synthetic.world import COLOURS, MAX_AT_ONCE, MOTIONS, SHAPES, Event
from seedvideo.model.layers import Adapter, angles_1d
from seedvideo.model.metadata import FRAME_END_ID, FRAME_ID, IMAGE_ID
from seedvideo.model.seedvl import AnswerBranch
from seedvideo.sampler.geometry import timestamp_text
from seedvideo.training.answer_data import FrameId, Told
from seedvideo.training.collate import Encode
from seedvideo.training.feature_cache import Bank, Shelf, Size

_THIRDS: Final = 3
_SIZES: Final = (len(COLOURS) + 1, len(SHAPES) + 1, MAX_AT_ONCE + 1, _THIRDS, _THIRDS)
"""Colour, shape and number, each with one more for nothing; column and row of a thing alone."""

_MOST_BEGUN: Final = 6
_STORY_SIZES: Final = (_MOST_BEGUN + 1, len(MOTIONS))
"""How many things have come so far; where the thing goes, once it was seen twice."""

_UNKNOWN: Final = -1
NOUNS: Final = tuple(
    sorted(
        nouns(
            "man woman boy girl child baby person dog horse bird ball bike motorcycle car boat"
            " skateboard snowboard water pool ocean beach snow grass field park mountain hill rock"
            " tree street sidewalk building house wall fence stairs bench stage crowd player"
            " skateboarder snowboarder surfer climber cyclist soccer football basketball baseball"
            " swing slide ramp wave lake dirt sand bus truck table chair toy stick frisbee sky"
        )
    )
)
"""What photos are asked for: nouns that recur in captions."""

_PLACE_OF: Final = {noun: place for place, noun in enumerate(NOUNS)}


@dataclass(frozen=True)
class Sight:
    """What one frame shows.

    Args:
        labels: one a head; `_UNKNOWN` where it has nothing to say. None for a photo.
        nouns: of a photo's captions.
        story: the same for what one frame alone cannot tell; one a head of `_STORY_SIZES`.
    """

    labels: tuple[int, ...] | None = None
    nouns: frozenset[str] = frozenset()
    story: tuple[int, int] = (_UNKNOWN, _UNKNOWN)

    def told_in(self, begun: int, motion: str | None) -> "Sight":
        """The same frame in a row.

        Args:
            begun: things or photos that have come so far, this one with them.
            motion: where the thing goes, if that was seen by now.
        """
        way = _UNKNOWN if motion is None else MOTIONS.index(motion)
        return replace(self, story=(min(begun, _MOST_BEGUN), way))


NOTHING: Final = Sight((len(COLOURS), len(SHAPES), MAX_AT_ONCE, _UNKNOWN, _UNKNOWN))
"""A quiet frame."""


def sight_of(event: Event, progress: float) -> Sight:
    """One frame of an event."""
    column = row = _UNKNOWN
    if event.count == 1:
        ((x, y),) = event.centres(progress)
        column, row = (min(_THIRDS - 1, max(0, int(place * _THIRDS))) for place in (x, y))
    colour, shape = list(COLOURS).index(event.thing.colour), SHAPES.index(event.thing.shape)
    return Sight((colour, shape, event.count - 1, column, row))


@dataclass(frozen=True)
class Sights:
    """What several frames show, one row each.

    Args:
        labels: ``(m, heads)``, `_UNKNOWN` where a frame has nothing to say.
        story: ``(m, 2)`` likewise.
        nouns: ``(m, len(NOUNS))`` of photos.
        photos: ``(m,)`` bool, which of the frames show one.
    """

    labels: Tensor
    story: Tensor
    nouns: Tensor
    photos: Tensor

    @classmethod
    def of(cls, sights: Sequence[Sight]) -> "Sights":
        """Put them together."""
        there = np.zeros((len(sights), len(NOUNS)), dtype=bool)
        for row, sight in enumerate(sights):
            there[row, [_PLACE_OF[noun] for noun in sight.nouns if noun in _PLACE_OF]] = True
        return cls(
            labels=torch.tensor([sight.labels or (_UNKNOWN,) * len(_SIZES) for sight in sights]),
            story=torch.tensor([sight.story for sight in sights]),
            nouns=torch.from_numpy(there),
            photos=torch.tensor([sight.labels is None for sight in sights]),
        )

    def to(self, device: torch.device) -> "Sights":
        """The same on a device."""
        parts = (self.labels, self.story, self.nouns, self.photos)
        return Sights(*(part.to(device, non_blocking=True) for part in parts))


class SightHeads(nn.Module):
    """The decoder's state at the end of each frame to what the frame shows."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.things = nn.Linear(width, sum(_SIZES))
        self.nouns = nn.Linear(width, len(NOUNS))
        self.story = nn.Linear(width, sum(_STORY_SIZES))

    def loss(self, states: Tensor, later: Tensor, sights: Sights) -> Tensor:
        """How far the heads are from ``sights``.

        Args:
            states: ``(m, d)`` in the middle of the decoder.
            later: ``(m, d)`` one block on: what came before can only be counted once it is known.
            sights: one row for each.
        """
        states = self.norm(states)
        total = states.new_zeros((), dtype=torch.float32)
        # Sums over what is known, never a look at how much that is: a GPU would have to wait.
        for outputs, sizes, wanted in (
            (self.things(states), _SIZES, sights.labels),
            (self.story(self.norm(later)), _STORY_SIZES, sights.story),
        ):
            for at, told in enumerate(outputs.float().split(sizes, dim=-1)):
                each = functional.cross_entropy(
                    told, wanted[:, at], ignore_index=_UNKNOWN, reduction="sum"
                )
                total = total + each / (wanted[:, at] != _UNKNOWN).sum().clamp_min(1)
        told = self.nouns(states).float()
        each = functional.binary_cross_entropy_with_logits(
            told, sights.nouns.float(), reduction="none"
        )
        # Summed over nouns: most are absent from most photos, and a mean would say nothing.
        photos = sights.photos.float()
        return total + (each.sum(dim=1) * photos).sum() / photos.sum().clamp_min(1)


_HEADS = (len(COLOURS), len(SHAPES), MAX_AT_ONCE, len(POSITIONS))
_BATCH = 128
_NOISE = 0.05


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
    examples, rng = _adapter_examples(bank), np.random.default_rng([seed, 13])
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


def _adapter_examples(bank: Bank) -> dict[Size, list[tuple[FrameId, tuple[int, ...]]]]:
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
        _UNKNOWN if event.position is None else POSITIONS.index(event.position),
    )


Example = tuple[FrameId, Sight]


def middle_block(branch: AnswerBranch) -> int:
    """The block after which the mark of a frame should hold what it shows."""
    return (len(branch.decoder.blocks) - 1) // 2


def teach_frames(
    branch: AnswerBranch,
    heads: SightHeads,
    bank: Bank,
    shelf: Shelf,
    told: Sequence[Told],
    encode: Encode,
    *,
    steps: int,
    seed: int = 1,
    rate: float = 1e-3,
) -> Iterator[Tensor]:
    """Train the lower half of the decoder on single frames; yields the loss of each step."""
    rng = np.random.default_rng([seed, 17])
    torch.manual_seed(seed)
    parameters = [*branch.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=rate, weight_decay=0.02, betas=(0.9, 0.98), fused=True
    )
    examples = _examples(bank, told)
    sizes = sorted(examples)
    shares = np.array([len(examples[size]) for size in sizes], dtype=float)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50, (steps - step) / (0.3 * steps))
        group_of = examples[sizes[int(rng.choice(len(sizes), p=shares / shares.sum()))]]
        batch = [group_of[int(index)] for index in rng.integers(len(group_of), size=_BATCH)]
        states = ends(branch, shelf, [frame for frame, _ in batch], encode, rng)
        sights = Sights.of([sight for _, sight in batch]).to(shelf.device)
        loss = heads.loss(states, states, sights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        yield loss.detach()


def ends(
    branch: AnswerBranch,
    shelf: Shelf,
    frames: Sequence[FrameId],
    encode: Encode,
    rng: np.random.Generator,
) -> Tensor:
    """The middle of the decoder at the end of each of some frames of one size, ``(n, d)``."""
    tokens = shelf.read(shelf.layout.places(frames))
    tokens += torch.randn_like(tokens) * _NOISE
    count = len(tokens) // len(frames)
    # Of one length, so that nothing is padded: times with as many digits.
    low, high = ((0, 100), (100, 1000))[int(rng.integers(2))]
    ids = torch.tensor(
        [
            [
                *encode(timestamp_text(Fraction(int(tenths), 10))),
                FRAME_ID,
                *[IMAGE_ID] * count,
                FRAME_END_ID,
            ]
            for tenths in rng.integers(low, high, size=len(frames))
        ]
    ).to(shelf.device)
    decoder = branch.decoder
    angles = angles_1d(
        torch.arange(ids.shape[1], device=shelf.device).unsqueeze(0),
        decoder.config.head_channels,
        theta=decoder.config.rope_theta,
    )
    mask = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool, device=shelf.device).tril()
    with torch.autocast(shelf.device.type, torch.bfloat16):
        visual = branch.adapter(tokens)
        x = decoder.embedding(ids)
        x = x.masked_scatter((ids == IMAGE_ID).unsqueeze(-1), visual.to(x.dtype))
        for index in range(middle_block(branch) + 1):
            x = decoder.blocks[index](x, angles, mask, None, index)
    return x[:, -1]


def _examples(bank: Bank, told: Sequence[Told]) -> dict[tuple[int, int], list[Example]]:
    """Every frame of a bank by its size, with what it shows; scenes' and photos' alike."""
    found: dict[tuple[int, int], list[Example]] = {}

    def add(frame: FrameId, sight: Sight) -> None:
        found.setdefault(frame[:2], []).append((frame, sight))

    for scene in bank.scenes:
        for frame in scene.quiet:
            add(frame, NOTHING)
        for each in scene.events:
            for phases in each.frames:
                for place, frame in enumerate(phases):
                    add(frame, sight_of(each.event, (place + 0.5) / len(phases)))
    for slide in bank.slides:
        for frame, _ in slide.views:
            add(frame, Sight(nouns=told[slide.photo].main))
    return found
