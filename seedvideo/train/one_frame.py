"""A second lesson, for the lower half of the answer branch's decoder: one frame at a time.

The mark that ends a frame learns to hold what the frame shows, with the heads of `sights`, before
any question is asked: frames alone are short, so many more of them are seen in the same time.

Notation used for tensor shapes:
    n: frames of a batch; s: positions of one; d: width of the decoder
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from seedvideo.model.marks import FRAME_END_ID, FRAME_ID, IMAGE_ID
from seedvideo.model.rope import angles_1d
from seedvideo.model.seedvl import AnswerBranch
from seedvideo.sampler.stamps import time_text
from seedvideo.train.bank import Bank, Shelf
from seedvideo.train.batch import Encode
from seedvideo.train.captioned import Told
from seedvideo.train.scenes import FrameId
from seedvideo.train.sights import NOTHING, Sight, SightHeads, Sights, sight_of

_BATCH = 128
_NOISE = 0.05

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
                *encode(time_text(Fraction(int(tenths), 10))),
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
