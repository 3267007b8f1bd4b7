"""Writing answers: greedy or beam search over a cache of keys and values.

Works on vectors and token ids; knows nothing of text, frames or files. The same inputs give the
same ids on the same kind of machine.

Notation used for tensor shapes:
    b: rows; s: positions of the prompt; d: width of the decoder; v: vocabulary; m: beams
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from seedvideo.model.decoder import Decoder, KVCache
from seedvideo.model.marks import ANSWER_ID, END_ID, FRAME_END_ID, FRAME_ID, IMAGE_ID, PAD_ID

NEVER_WRITTEN = (PAD_ID, FRAME_ID, FRAME_END_ID, IMAGE_ID, ANSWER_ID)
"""Marks that belong to a prompt and are no text."""

Reading: TypeAlias = Callable[[Tensor], Callable[[Tensor], Tensor]]
"""From the last states ``(b, s, d)`` of a prompt to what is done to each state ``(n, d)`` that
follows, and to the prompt's own last one, before words are chosen from it."""


def as_it_is(states: Tensor) -> Callable[[Tensor], Tensor]:
    """The reading that changes nothing."""
    return lambda hidden: hidden


@dataclass(frozen=True)
class Written:
    """One answer.

    Args:
        ids: token ids without the end mark.
        log_probability: sum over the ids and the end mark.
        rank: log-probability over the length to the power of the length penalty; more is better.
    """

    ids: tuple[int, ...]
    log_probability: float
    rank: float


@torch.inference_mode()
def write(
    decoder: Decoder,
    prompt: Tensor,
    *,
    max_new_tokens: int,
    beams: int = 5,
    length_penalty: float = 0.7,
    reading: Reading = as_it_is,
) -> list[list[Written]]:
    """Continue each row of ``prompt`` until the end mark; one beam is greedy decoding.

    Args:
        decoder: the language model, in evaluation mode.
        prompt: ``(b, s, d)`` vectors; all rows have one length.
        max_new_tokens: most ids to write in a row; a row cut off there has no end mark.
        beams: answers kept in parallel.
        length_penalty: exponent of the length; above 0 favours longer answers.
        reading: what the prompt does to the states that words are chosen from.

    Returns:
        For each row its finished answers, best rank first; the best one that was cut off if none
        was finished.

    Raises:
        ValueError: if ``beams`` or ``max_new_tokens`` is below one.
    """
    if beams < 1 or max_new_tokens < 1:
        raise ValueError(f"beams is {beams}, max_new_tokens {max_new_tokens}: expected 1 or more")
    rows, length, _ = prompt.shape
    device = prompt.device
    cache = KVCache(decoder.config, rows=rows, capacity=length + max_new_tokens, like=prompt)
    # (b, v): the beams of a row start as one
    states = decoder(prompt, cache=cache)
    settled = reading(states)
    first = log_probabilities(decoder, settled(states[:, -1]))
    scores, ids = first.topk(beams, dim=-1)
    cache.select(torch.arange(rows, device=device).repeat_interleave(beams))
    written = ids.unsqueeze(-1)
    finished: list[list[Written]] = [[] for _ in range(rows)]
    for step in range(max_new_tokens):
        scores = _retire(written, scores, finished, length_penalty)
        if step == max_new_tokens - 1 or _is_settled(scores, finished):
            break
        x = decoder.embedding(written[:, :, -1].reshape(rows * beams, 1))
        step_scores = log_probabilities(decoder, settled(decoder(x, cache=cache)[:, -1]))
        total = scores.unsqueeze(-1) + step_scores.view(rows, beams, -1)
        vocabulary = total.shape[-1]
        scores, flat = total.flatten(1).topk(beams, dim=-1)
        parents, ids = flat // vocabulary, flat % vocabulary
        offsets = torch.arange(rows, device=device).unsqueeze(-1) * beams
        cache.select((parents + offsets).flatten())
        kept = written.gather(1, parents.unsqueeze(-1).expand(-1, -1, written.shape[-1]))
        written = torch.cat((kept, ids.unsqueeze(-1)), dim=-1)
    return [
        sorted(done, key=lambda answer: answer.rank, reverse=True)
        or [_cut_off(written[row], scores[row], length_penalty)]
        for row, done in enumerate(finished)
    ]


def log_probabilities(decoder: Decoder, hidden: Tensor) -> Tensor:
    """``(b, d)`` to ``(b, v)`` float32, with tokens that are no text ruled out."""
    logits = decoder.logits(hidden).float()
    logits[:, list(NEVER_WRITTEN)] = -torch.inf
    return logits.log_softmax(dim=-1)


def _retire(
    written: Tensor,
    scores: Tensor,
    finished: list[list[Written]],
    length_penalty: float,
) -> Tensor:
    """Move beams that just wrote the end mark to ``finished`` and bar them from going on.

    A row with as many finished answers as beams is settled and takes no more, so that it does not
    matter which other rows keep the search going.
    """
    ended = (written[:, :, -1] == END_ID) & scores.isfinite()
    for row, beam in ended.nonzero().tolist():
        if len(finished[row]) < scores.shape[1]:
            ids = tuple(written[row, beam, :-1].tolist())
            finished[row].append(_answer(ids, float(scores[row, beam]), length_penalty))
    return scores.masked_fill(ended, -torch.inf)


def _is_settled(scores: Tensor, finished: list[list[Written]]) -> bool:
    """Whether every row has as many finished answers as beams, or nothing left to go on with."""
    beams = scores.shape[1]
    alive = scores.isfinite().any(dim=1).tolist()
    return all(len(done) >= beams or not going for done, going in zip(finished, alive, strict=True))


def _cut_off(written: Tensor, scores: Tensor, length_penalty: float) -> Written:
    """The best unfinished answer of a row."""
    beam = int(scores.argmax())
    return _answer(tuple(written[beam].tolist()), float(scores[beam]), length_penalty)


def _answer(ids: tuple[int, ...], log_probability: float, length_penalty: float) -> Written:
    rank = log_probability / max(len(ids), 1) ** length_penalty
    return Written(ids, log_probability, rank)
