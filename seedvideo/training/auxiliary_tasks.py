"""Auxiliary tasks of the answer branch: classify each frame, before and during question training.

A question's answer is weak supervision for the many frames that it depends on. While the branch
trains, temporary heads in the middle of the decoder classify each frame from the state of the token
that ends it. This state, which includes the frame's time, then represents the frame for any
question.

Two pretraining stages come first. `pretrain_adapter` trains the projector to name colour, shape,
number and place in a frame, without any text; through a whole decoder this takes many times as
long. `pretrain_decoder` trains the lower half of the decoder on single frames with the same labels;
single frames are short sequences, so many more fit in the same time.

Notation used for tensor shapes:
    m: frames of a batch of questions; n: frames of a pretraining batch; s: positions of one frame
    d: width of the decoder; k: visual tokens of a frame; c: the projector's inputs per token
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
from seedvideo.training.answer_data import FrameId, PhotoAnnotations
from seedvideo.training.collate import Encode
from seedvideo.training.feature_cache import DeviceFeatureStore, FeatureCache, Size
from seedvideo.training.trainer import mixed_precision
from seedvideo.utils.timecode import timestamp_text

_GRID_CELLS: Final = 3
_SIZES: Final = (len(COLOURS) + 1, len(SHAPES) + 1, MAX_AT_ONCE + 1, _GRID_CELLS, _GRID_CELLS)
"""Classes of colour, shape and number, each with one for "nothing"; column and row of a single
thing.
"""

_MAX_STARTED: Final = 6
_STORY_SIZES: Final = (_MAX_STARTED + 1, len(MOTIONS))
"""Classes of the number of things so far, and of the motion of a thing seen at least twice."""

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
"""Nouns that recur in captions: the labels of photos."""

_NOUN_INDEX: Final = {noun: i for i, noun in enumerate(NOUNS)}


@dataclass(frozen=True)
class FrameLabels:
    """Labels of one frame.

    Args:
        labels: one class per head; `_UNKNOWN` if undefined. None for a photo.
        nouns: nouns of a photo's captions.
        story: classes of `_STORY_SIZES`, which depend on earlier frames.
    """

    labels: tuple[int, ...] | None = None
    nouns: frozenset[str] = frozenset()
    story: tuple[int, int] = (_UNKNOWN, _UNKNOWN)

    def in_sequence(self, started: int, motion: str | None) -> "FrameLabels":
        """Return the labels of the frame within a sequence.

        Args:
            started: number of things or photos so far, including this one.
            motion: motion of the thing; None if it is not visible yet.
        """
        way = _UNKNOWN if motion is None else MOTIONS.index(motion)
        return replace(self, story=(min(started, _MAX_STARTED), way))


EMPTY_LABELS: Final = FrameLabels((len(COLOURS), len(SHAPES), MAX_AT_ONCE, _UNKNOWN, _UNKNOWN))
"""Labels of a quiet frame."""


def label_frame(event: Event, progress: float) -> FrameLabels:
    """Return the labels of one frame of an event."""
    column = row = _UNKNOWN
    if event.count == 1:
        ((x, y),) = event.centres(progress)
        column, row = (min(_GRID_CELLS - 1, max(0, int(center * _GRID_CELLS))) for center in (x, y))
    colour, shape = list(COLOURS).index(event.thing.colour), SHAPES.index(event.thing.shape)
    return FrameLabels((colour, shape, event.count - 1, column, row))


@dataclass(frozen=True)
class FrameLabelBatch:
    """Labels of several frames, one row each.

    Args:
        labels: ``(m, heads)``, `_UNKNOWN` if undefined.
        story: ``(m, 2)``, `_UNKNOWN` if undefined.
        nouns: ``(m, len(NOUNS))`` bool, for photos.
        photos: ``(m,)`` bool, whether a frame shows a photo.
    """

    labels: Tensor
    story: Tensor
    nouns: Tensor
    photos: Tensor

    @classmethod
    def of(cls, frame_labels: Sequence[FrameLabels]) -> "FrameLabelBatch":
        """Stack labels."""
        there = np.zeros((len(frame_labels), len(NOUNS)), dtype=bool)
        for row, sight in enumerate(frame_labels):
            there[row, [_NOUN_INDEX[noun] for noun in sight.nouns if noun in _NOUN_INDEX]] = True
        return cls(
            labels=torch.tensor(
                [sight.labels or (_UNKNOWN,) * len(_SIZES) for sight in frame_labels]
            ),
            story=torch.tensor([sight.story for sight in frame_labels]),
            nouns=torch.from_numpy(there),
            photos=torch.tensor([sight.labels is None for sight in frame_labels]),
        )

    def to(self, device: torch.device) -> "FrameLabelBatch":
        """Copy the labels to a device."""
        parts = (self.labels, self.story, self.nouns, self.photos)
        return FrameLabelBatch(*(part.to(device, non_blocking=True) for part in parts))


class FrameLabelHeads(nn.Module):
    """Classification heads: the decoder's state at the end of each frame to the frame's labels."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.things = nn.Linear(width, sum(_SIZES))
        self.nouns = nn.Linear(width, len(NOUNS))
        self.story = nn.Linear(width, sum(_STORY_SIZES))

    def loss(self, states: Tensor, later: Tensor, frame_labels: FrameLabelBatch) -> Tensor:
        """Return the classification loss.

        Args:
            states: ``(m, d)`` states at the probe layer.
            later: ``(m, d)`` states one block later: earlier frames can be counted only once they
                are classified.
            frame_labels: labels, one row per frame.
        """
        states = self.norm(states)
        total = states.new_zeros((), dtype=torch.float32)
        # Divide by a count on the device: reading it would synchronize the GPU.
        for outputs, sizes, wanted in (
            (self.things(states), _SIZES, frame_labels.labels),
            (self.story(self.norm(later)), _STORY_SIZES, frame_labels.story),
        ):
            for at, logits in enumerate(outputs.float().split(sizes, dim=-1)):
                each = functional.cross_entropy(
                    logits, wanted[:, at], ignore_index=_UNKNOWN, reduction="sum"
                )
                total = total + each / (wanted[:, at] != _UNKNOWN).sum().clamp_min(1)
        logits = self.nouns(states).float()
        each = functional.binary_cross_entropy_with_logits(
            logits, frame_labels.nouns.float(), reduction="none"
        )
        # Sum over nouns: most are absent from most photos, so a mean would vanish.
        photos = frame_labels.photos.float()
        return total + (each.sum(dim=1) * photos).sum() / photos.sum().clamp_min(1)


_HEADS = (len(COLOURS), len(SHAPES), MAX_AT_ONCE, len(POSITIONS))
_BATCH_FRAMES = 128
_NOISE = 0.05


class ThingClassifier(nn.Module):
    """Projected tokens of one frame to colour, shape, number and place, by attention pooling."""

    def __init__(self, width: int):
        super().__init__()
        self.weigh = nn.Linear(width, len(_HEADS))
        self.name = nn.ModuleList(nn.Linear(width, size) for size in _HEADS)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Map ``(n, k, width)`` to logits of each head."""
        fractions = self.weigh(tokens).softmax(dim=1)
        return [
            head((tokens * fractions[..., index : index + 1]).sum(dim=1))
            for index, head in enumerate(self.name)
        ]


def pretrain_adapter(
    adapter: Adapter,
    cache: FeatureCache,
    store: DeviceFeatureStore,
    *,
    steps: int,
    seed: int = 1,
    rate: float = 1e-3,
) -> Iterator[Tensor]:
    """Train the projector on cached frames with events; yield each step's loss."""
    torch.manual_seed(seed)
    heads = ThingClassifier(adapter.second.out_features).to(store.device)
    parameters = [*adapter.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02, fused=True)
    examples, rng = _adapter_examples(cache), np.random.default_rng([seed, 13])
    sizes = sorted(examples)
    fractions = np.array([len(examples[size]) for size in sizes], dtype=float)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        group_of = examples[sizes[int(rng.choice(len(sizes), p=fractions / fractions.sum()))]]
        batch = [group_of[int(index)] for index in rng.integers(len(group_of), size=_BATCH_FRAMES)]
        tokens = store.gather(store.layout.token_indices([frame for frame, _ in batch]))
        tokens = tokens.view(len(batch), -1, tokens.shape[1])
        labels = torch.tensor([wanted for _, wanted in batch]).to(store.device)
        with mixed_precision(store.device):
            logits = heads(adapter(tokens + torch.randn_like(tokens) * _NOISE))
        loss = torch.stack(
            [
                functional.cross_entropy(
                    each.float(), labels[:, at], ignore_index=_UNKNOWN, reduction="sum"
                )
                / (labels[:, at] != _UNKNOWN).sum().clamp_min(1)
                for at, each in enumerate(logits)
            ]
        ).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield loss.detach()


def _adapter_examples(cache: FeatureCache) -> dict[Size, list[tuple[FrameId, tuple[int, ...]]]]:
    """Return the frames with events by size, each with its labels."""
    found: dict[Size, list[tuple[FrameId, tuple[int, ...]]]] = {}
    for scene in cache.scenes:
        for each in scene.events:
            labels = _thing_labels(each.event)
            for group in each.frames:
                for frame in group:
                    found.setdefault(frame[:2], []).append((frame, labels))
    return found


def _thing_labels(event: Event) -> tuple[int, ...]:
    return (
        list(COLOURS).index(event.thing.colour),
        SHAPES.index(event.thing.shape),
        event.count - 1,
        _UNKNOWN if event.position is None else POSITIONS.index(event.position),
    )


Example = tuple[FrameId, FrameLabels]


def probe_layer(branch: AnswerBranch) -> int:
    """Return the index of the block after which a frame's end token should represent it."""
    return (len(branch.decoder.blocks) - 1) // 2


def pretrain_decoder(
    branch: AnswerBranch,
    heads: FrameLabelHeads,
    cache: FeatureCache,
    store: DeviceFeatureStore,
    annotations: Sequence[PhotoAnnotations],
    encode: Encode,
    *,
    steps: int,
    seed: int = 1,
    rate: float = 1e-3,
) -> Iterator[Tensor]:
    """Train the lower half of the decoder on single frames; yield each step's loss."""
    rng = np.random.default_rng([seed, 17])
    torch.manual_seed(seed)
    parameters = [*branch.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=rate, weight_decay=0.02, betas=(0.9, 0.98), fused=True
    )
    examples = _labelled_frames(cache, annotations)
    sizes = sorted(examples)
    fractions = np.array([len(examples[size]) for size in sizes], dtype=float)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50, (steps - step) / (0.3 * steps))
        group_of = examples[sizes[int(rng.choice(len(sizes), p=fractions / fractions.sum()))]]
        batch = [group_of[int(index)] for index in rng.integers(len(group_of), size=_BATCH_FRAMES)]
        states = frame_end_states(branch, store, [frame for frame, _ in batch], encode, rng)
        frame_labels = FrameLabelBatch.of([sight for _, sight in batch]).to(store.device)
        loss = heads.loss(states, states, frame_labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        yield loss.detach()


def frame_end_states(
    branch: AnswerBranch,
    store: DeviceFeatureStore,
    frames: Sequence[FrameId],
    encode: Encode,
    rng: np.random.Generator,
) -> Tensor:
    """Return the probe layer's state at the end of each frame of one size, ``(n, d)``."""
    tokens = store.gather(store.layout.token_indices(frames))
    tokens += torch.randn_like(tokens) * _NOISE
    count = len(tokens) // len(frames)
    # Times with equally many digits give sequences of one length, without padding.
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
    ).to(store.device)
    decoder = branch.decoder
    angles = angles_1d(
        torch.arange(ids.shape[1], device=store.device).unsqueeze(0),
        decoder.config.head_channels,
        theta=decoder.config.rope_theta,
    )
    mask = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool, device=store.device).tril()
    with mixed_precision(store.device):
        visual = branch.adapter(tokens)
        x = decoder.embedding(ids)
        x = x.masked_scatter((ids == IMAGE_ID).unsqueeze(-1), visual.to(x.dtype))
        for index in range(probe_layer(branch) + 1):
            x = decoder.blocks[index](x, angles, mask, None, index)
    return x[:, -1]


def _labelled_frames(
    cache: FeatureCache, annotations: Sequence[PhotoAnnotations]
) -> dict[tuple[int, int], list[Example]]:
    """Return every cached frame by size, with its labels."""
    found: dict[tuple[int, int], list[Example]] = {}

    def add(frame: FrameId, sight: FrameLabels) -> None:
        found.setdefault(frame[:2], []).append((frame, sight))

    for scene in cache.scenes:
        for frame in scene.quiet:
            add(frame, EMPTY_LABELS)
        for each in scene.events:
            for phases in each.frames:
                for i, frame in enumerate(phases):
                    add(frame, label_frame(each.event, (i + 0.5) / len(phases)))
    for slide in cache.slides:
        for frame, _ in slide.views:
            add(frame, FrameLabels(nouns=annotations[slide.photo].main_nouns))
    return found
