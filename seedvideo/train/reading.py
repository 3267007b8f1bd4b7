"""What the answer branch makes of a batch, and how wrong it is about where to look.

Notation used for tensor shapes:
    b: rows; s: longest sequence; a: ids to predict; q: questions; m: frames; d: width of the
    decoder
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.model.decoder import DecoderBlock
from seedvideo.model.marks import IMAGE_ID
from seedvideo.model.rope import angles_1d, rotate
from seedvideo.model.seedvl import AnswerBranch
from seedvideo.train.batch import attention_mask
from seedvideo.train.one_frame import middle_block
from seedvideo.train.quiz_batch import QuizBatch


@dataclass(frozen=True)
class Reading:
    """What a branch makes of a batch.

    Args:
        expected: ``(a, vocabulary)`` logits at every place of every answer.
        before: ``(b * s, d)`` states before each of the two blocks after the middle.
        final: ``(b * s, d)`` last states.
        named: ``(q, m)`` the reader's logits, where there is one.
        held: ``(q, m)`` the pointer's, where there is a reader.
    """

    expected: Tensor
    before: tuple[Tensor, Tensor]
    final: Tensor
    named: Tensor | None = None
    held: Tensor | None = None


def read(model: AnswerBranch, batch: QuizBatch, tokens: Tensor) -> Reading:
    """Run a branch."""
    middle = middle_block(model)
    kept: dict[int, Tensor] = {}

    def keep(place: int) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, given, states: kept.update({place: states.flatten(0, 1)})

    hooks = [
        model.decoder.blocks[place].register_forward_hook(keep(place))
        for place in (middle, middle + 1)
    ]
    device = batch.ids.device.type
    with torch.autocast(device, torch.bfloat16):
        visual = model.adapter(tokens)
        x = model.decoder.embedding(batch.ids)
        x = x.masked_scatter((batch.ids == IMAGE_ID).unsqueeze(-1), visual.to(x.dtype))
        mask = attention_mask(batch.groups, None)
        states = model.decoder(x, positions=batch.positions, mask=mask).flatten(0, 1)
        written = states[batch.sources]
    named = held = None
    if model.reader is not None and model.pointer is not None:
        asked, frames = states[batch.asks].float(), states[batch.ends].float()
        named, held = model.reader.named(asked, frames), model.pointer(asked, frames)
        evidence = model.reader.evidence(named, held, frames, batch.beside())[batch.pair_of]
        # A thought is written before what it leads to is pointed at.
        answers = (batch.sources >= batch.asks[batch.pair_of]).unsqueeze(1)
        settled = model.reader(written.float(), evidence)
        written = torch.where(answers, settled, written.float())
    with torch.autocast(device, torch.bfloat16):
        expected = model.decoder.logits(written).float()
    for hook in hooks:
        hook.remove()
    return Reading(expected, (kept[middle], kept[middle + 1]), states, named, held)


def looking_loss(model: AnswerBranch, batch: QuizBatch, reading: Reading) -> Tensor:
    """How little one head of each of two blocks looks at the frames that hold the answer.

    The first head's attention from where an answer begins should lie on the marks that end the
    frames that its question is about: in the block after the middle on the first look's, in the
    next one on the second look's; and on the token itself where no frame holds it, so that the
    head tells what is there from what is not. Left alone, a decoder finds this out only after very
    many questions. What counts is the share among all tokens that the head sees: asked for the
    right order of frames alone, it looked elsewhere (docs/log.md).
    """
    total = reading.final.new_zeros((), dtype=torch.float32)
    config, length = model.decoder.config, batch.ids.shape[1]
    width = config.head_channels
    turns = angles_1d(batch.positions.flatten(), width, theta=config.rope_theta)
    rows, columns, sees = batch.asks // length, batch.asks % length, batch.visible()
    itself = torch.arange(length, device=sees.device) == columns.unsqueeze(1)
    for hop, before in enumerate(reading.before):
        asking = batch.hops[hop].any(dim=1) | batch.nowhere
        block = model.decoder.blocks[middle_block(model) + 1 + hop]
        assert isinstance(block, DecoderBlock)
        states = block.attention_norm(before.float())
        query = rotate(block.attention.query(states[batch.asks])[:, :width], turns[batch.asks])
        key = rotate(block.attention.key(states)[:, :width], turns)
        # (q, s): each question beside the tokens of its own row
        scores = (key.view(-1, length, width)[rows] @ query.unsqueeze(2)).squeeze(2)
        scores = (scores * width**-0.5).masked_fill(~sees, -torch.inf)
        wanted = _at_ends(batch.hops[hop], batch) | (itself & batch.nowhere.unsqueeze(1))
        # A question that looks nowhere in particular wants all that it sees, which costs nothing.
        wanted |= ~asking.unsqueeze(1)
        there = scores.masked_fill(~wanted, -torch.inf).logsumexp(dim=1)
        missed = scores.logsumexp(dim=1) - there
        total = total + missed.sum() / asking.sum().clamp_min(1)
    return total


def _at_ends(frames: Tensor, batch: QuizBatch) -> Tensor:
    """From ``(q, m)`` frames to the tokens of each question's row that end them, ``(q, s)``."""
    length = batch.ids.shape[1]
    columns = torch.where(frames, batch.ends % length, length)
    tokens = torch.zeros(len(frames), length + 1, dtype=torch.bool, device=frames.device)
    return tokens.scatter_(1, columns, value=True)[:, :length]


def pointing_loss(model: AnswerBranch, batch: QuizBatch, reading: Reading) -> Tensor:
    """How wrong the pointers are about the frames of a row, in bits of a frame."""
    if model.pointer is None:
        return reading.final.new_zeros((), dtype=torch.float32)
    held = reading.held
    if held is None:
        held = model.pointer(reading.final[batch.asks].float(), reading.final[batch.ends].float())
    total = _misplaced(held, batch.points, batch, batch.pointed)
    if reading.named is not None:
        has_name = batch.hops[0].any(dim=1) | batch.nowhere
        total = total + _misplaced(reading.named, batch.hops[0], batch, has_name)
    return total


def _misplaced(scores: Tensor, wanted: Tensor, batch: QuizBatch, asking: Tensor) -> Tensor:
    """Binary cross-entropy over the frames of the rows whose questions point."""
    counted = batch.beside() & asking.unsqueeze(1)
    each = functional.binary_cross_entropy_with_logits(scores, wanted.float(), reduction="none")
    return (each * counted).sum() / counted.sum().clamp_min(1)
