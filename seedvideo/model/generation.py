"""Choosing among given answers: which of them would the model write?

The candidates' ids make a trie, so that what several begin with is read once. It is walked from the
first token down, all of one depth in one call: the nodes follow the prompt in one row of the cache,
and a mask lets each see the prompt and its own ancestors alone. Nothing is copied for a branch. Up
to ``width`` nodes of a depth are kept, so up to ``width`` candidates are all scored, exactly; of
more, those whose beginnings are likeliest.

Works on vectors and token ids; knows nothing of text, frames or files.

Notation used for tensor shapes:
    s: positions of the prompt; d: width of the decoder; n: nodes of one depth; v: vocabulary
    p: positions that a node may see or not see: the prompt's and those of all nodes read so far

Writing answers: greedy or beam search over a cache of keys and values.

Works on vectors and token ids; knows nothing of text, frames or files. The same inputs give the
same ids on the same kind of machine.

Notation used for tensor shapes:
    b: rows; s: positions of the prompt; d: width of the decoder; v: vocabulary; m: beams

A thought before the answer: written greedily between two marks, and ended where it grows long.

    <think>0.0: a dog. 2.0: a dog, a ball.</think>a ball

The marks are plain text to the vocabulary, of several tokens each. The opening one is put there for
the model, so that it thinks where it is asked to; so is the closing one where the thought ends
without it.

Knows nothing of frames. Shapes are those of ``generate``.

Which of several answers says most of what the others say too.

The likeliest answer of a beam search is often an odd one out; the one that agrees with the rest is
wrong less often. This is minimum Bayes risk decoding (Kumar and Byrne 2004, NAACL) with the beams
as the sample: an answer's worth is its mean likeness to all answers, each counted by how likely it
is. Likeness is the F1 of common runs of one to four tokens.

Works on token ids; knows nothing of text or models.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor

from seedvideo.model.language_model import Decoder, KVCache
from seedvideo.model.metadata import (
    ANSWER_ID,
    END_ID,
    FRAME_END_ID,
    FRAME_ID,
    IMAGE_ID,
    PAD_ID,
    Tokenizer,
)

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


WIDTH: Final = 128
"""Nodes of one depth that are kept: all of up to as many candidates.

Spans between the times of some hundred frames begin with that many times. So while those are told
apart all are kept, and with them a short answer of another kind, however unlikely it looks.
"""


@dataclass(frozen=True)
class Scored:
    """One candidate and how likely it is.

    Args:
        index: its place among the candidates.
        log_probability: of the model writing exactly this, the end mark included, where it may
            write anything.
        log_share: log of the probability that it writes exactly this, given that it writes one of
            the candidates that were scored. The shares of all that come back add up to 1.
    """

    index: int
    log_probability: float
    log_share: float


class Trie:
    """The candidates' common beginnings. Node 0 is before the first token.

    Args:
        candidates: token ids of each, without the end mark.

    Raises:
        ValueError: if there are none, one is empty or holds a mark, or two are the same.
    """

    def __init__(self, candidates: Sequence[Sequence[int]]):
        if not candidates:
            raise ValueError("there are no candidates to choose from")
        self.children: list[dict[int, int]] = [{}]
        self.ends: list[int | None] = [None]
        for index, ids in enumerate(candidates):
            if not ids:
                raise ValueError(f"candidate {index} is empty")
            if not {*NEVER_WRITTEN, END_ID}.isdisjoint(ids):
                raise ValueError(f"candidate {index} holds a mark, which is no text")
            node = 0
            for token in ids:
                node = self.children[node].setdefault(token, len(self.children))
                if node == len(self.children):
                    self.children.append({})
                    self.ends.append(None)
            first = self.ends[node]
            if first is not None:
                raise ValueError(f"candidates {first} and {index} are the same")
            self.ends[node] = index


@torch.inference_mode()
def rank_candidates(
    decoder: Decoder,
    prompt: Tensor,
    candidates: Sequence[Sequence[int]],
    *,
    width: int = WIDTH,
    reading: Reading = as_it_is,
) -> list[Scored]:
    """Score candidates as continuations of a prompt.

    Args:
        decoder: the language model, in evaluation mode.
        prompt: ``(1, s, d)`` vectors.
        candidates: token ids of each, without the end mark.
        width: nodes of one depth that are kept. With no more candidates than that, every one is
            scored; with more, those that the search drops on the way are not in the result, and
            the others share the whole probability.
        reading: what the prompt does to the states that words are chosen from.

    Returns:
        Best first; of equal ones, in the candidates' order.

    Raises:
        ValueError: if the candidates are unfit (see ``Trie``) or ``width`` is below one.
    """
    if width < 1:
        raise ValueError(f"width is {width}, expected 1 or more")
    trie = Trie(candidates)
    length, longest = prompt.shape[1], max(len(ids) for ids in candidates)
    capacity = length + min(len(trie.children) - 1, width * longest)
    cache = KVCache(decoder.config, rows=1, capacity=capacity, like=prompt)
    found: dict[int, float] = {}
    nodes, totals = [0], torch.zeros(1, dtype=torch.float64, device=prompt.device)
    sees = torch.ones(1, length, dtype=torch.bool, device=prompt.device)  # (n, p)
    states = decoder(prompt, cache=cache)
    settled = reading(states)
    hidden = states[0, -1:]  # (n, d)
    while True:
        scores = log_probabilities(decoder, settled(hidden)).double()  # (n, v)
        scores += totals.unsqueeze(1)
        for place, node in enumerate(nodes):
            ended = trie.ends[node]
            if ended is not None:
                found[ended] = float(scores[place, END_ID])
        steps = [
            (place, token, child)
            for place, node in enumerate(nodes)
            for token, child in trie.children[node].items()
        ]
        if not steps:
            break
        parents, tokens = torch.tensor(
            [(place, token) for place, token, _ in steps], device=prompt.device
        ).unbind(1)
        totals = scores[parents, tokens]
        if len(steps) > width:
            kept = totals.topk(width).indices.sort().values
            parents, tokens, totals = parents[kept], tokens[kept], totals[kept]
            steps = [steps[place] for place in kept.tolist()]
        nodes = [child for _, _, child in steps]
        own = torch.eye(len(nodes), dtype=torch.bool, device=prompt.device)
        sees = torch.cat((sees[parents], own), dim=1)
        # A node stands as far from the start as it would if its answer were written alone.
        positions = sees.sum(dim=1, keepdim=True).T - 1
        x = decoder.embedding(tokens).unsqueeze(0)
        hidden = decoder(x, positions=positions, mask=sees.unsqueeze(0), cache=cache)[0]
    return _ranked(found)


def _ranked(found: dict[int, float]) -> list[Scored]:
    order = sorted(found, key=lambda index: (-found[index], index))
    scores = torch.tensor([found[index] for index in order], dtype=torch.float64)
    shares = scores.log_softmax(dim=0).tolist()
    return [Scored(index, found[index], share) for index, share in zip(order, shares, strict=True)]


THINK: Final = "<think>"
"""What a thought begins with."""

THINK_END: Final = "</think>"
"""What a thought ends with; the answer follows at once."""

STEP: Final = "; "
"""What parts the steps of a thought, in the order of time."""

MAX_THINKING_TOKENS: Final = 256
"""Most tokens of a thought, its closing mark included where the model writes it."""


@dataclass(frozen=True)
class Thought:
    """What was written before the answer.

    Args:
        ids: of the thought with both marks.
        text: what stands between the marks.
    """

    ids: tuple[int, ...]
    text: str


@torch.inference_mode()
def think(
    decoder: Decoder, prompt: Tensor, tokenizer: Tokenizer, *, max_tokens: int = MAX_THINKING_TOKENS
) -> Thought:
    """Write a thought after a prompt.

    Args:
        decoder: the language model, in evaluation mode.
        prompt: ``(1, s, d)`` vectors.
        tokenizer: its vocabulary.
        max_tokens: most tokens after the opening mark. A thought that is longer is cut off there;
            the closing mark then comes on top, as it does after a model's own end mark.

    Raises:
        ValueError: if ``max_tokens`` is below one.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}, expected 1 or more")
    opening = tokenizer.encode(THINK)
    length = prompt.shape[1] + len(opening) + max_tokens
    cache = KVCache(decoder.config, rows=1, capacity=length, like=prompt)
    x = torch.cat((prompt, vectors(decoder, opening)), dim=1)
    ids: list[int] = []
    text = ""
    while len(ids) < max_tokens and THINK_END not in text:
        token = int(log_probabilities(decoder, decoder(x, cache=cache)[:, -1]).argmax())
        if token == END_ID:
            break
        ids.append(token)
        # Read as text, since a mark may be spelt with several rows of tokens.
        text = tokenizer.decode(ids)
        x = vectors(decoder, [token])
    if THINK_END not in text:
        ids += tokenizer.encode(THINK_END)
    return Thought((*opening, *ids), text.partition(THINK_END)[0].strip())


def vectors(decoder: Decoder, ids: list[int] | tuple[int, ...]) -> Tensor:
    """Ids as ``(1, s, d)`` vectors, to go after a prompt."""
    device = decoder.embedding.weight.device
    found: Tensor = decoder.embedding(torch.tensor([ids], device=device))
    return found


MAX_ORDER: Final = 4
"""Longest run of tokens that is compared."""

TEMPERATURE: Final = 1.0
"""How evenly the answers count: high for all alike, low for the likeliest alone."""


def most_agreed(answers: Sequence[Written], *, temperature: float = TEMPERATURE) -> Written:
    """The answer with the highest mean likeness to all; of equal ones, the first.

    Args:
        answers: one or more.
        temperature: divides the ranks before they become weights.

    Raises:
        ValueError: if there is no answer.
    """
    if not answers:
        raise ValueError("there are no answers to choose from")
    best_rank = max(answer.rank for answer in answers)
    weights = [math.exp((answer.rank - best_rank) / temperature) for answer in answers]
    counts = [_runs(answer.ids) for answer in answers]
    worth = [
        math.fsum(
            weight * _likeness(own, other) for weight, other in zip(weights, counts, strict=True)
        )
        for own in counts
    ]
    return answers[worth.index(max(worth))]


def _runs(ids: Sequence[int]) -> list[Counter[tuple[int, ...]]]:
    """How often each run of tokens occurs, by its length."""
    return [
        Counter(tuple(ids[at : at + order]) for at in range(len(ids) - order + 1))
        for order in range(1, MAX_ORDER + 1)
    ]


def _likeness(one: list[Counter[tuple[int, ...]]], other: list[Counter[tuple[int, ...]]]) -> float:
    """Mean over the lengths of twice what is common over what there is; 0 to 1."""
    total = 0.0
    for mine, theirs in zip(one, other, strict=True):
        size = mine.total() + theirs.total()
        if size:
            total += 2 * (mine & theirs).total() / size
    return total / MAX_ORDER
