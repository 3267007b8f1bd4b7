"""Decoding: beam search, constrained scoring, reasoning and minimum Bayes risk selection.

They share one key-value cache and one way to turn states into log-probabilities. All of them work
on vectors and token ids, without text, frames or files. Equal inputs give equal ids on the same
kind of machine.

`score_candidates` ranks given answers by their probability. The candidates' ids form a trie, so a
common prefix is decoded once. The search proceeds by depth: all nodes of one depth are decoded in
one call, and a mask lets each node attend to the prompt and its own ancestors only, so that
branches need no copies of the cache. It keeps up to ``width`` nodes of a depth. Up to ``width``
candidates are therefore scored exactly; of more, only those with the likeliest prefixes.

`generate_reasoning` writes reasoning before the answer, greedily, between two tags:

    <think>0.0: a dog. 2.0: a dog, a ball.</think>a ball

The tags are plain text to the vocabulary, of several tokens each. The opening tag is forced, and so
is the closing tag where the reasoning reaches its limit without it.

`mbr_select` chooses the hypothesis that agrees best with all others. The likeliest output of a beam
search is often an outlier; the consensus is wrong less often. This is minimum Bayes risk decoding
(Kumar and Byrne 2004, NAACL) with the beams as the sample: the utility of a hypothesis is its mean
similarity to all hypotheses, weighted by their probability. Similarity is the F1 of common n-grams
of one to four tokens.

Notation used for tensor shapes:
    b: rows; s: positions of the prompt; d: width of the decoder; v: vocabulary; m: beams
    n: trie nodes of one depth; p: positions that a node may attend to: the prompt and all nodes
    decoded so far
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

SUPPRESSED_TOKENS = (PAD_ID, FRAME_ID, FRAME_END_ID, IMAGE_ID, ANSWER_ID)
"""Special tokens of a prompt, which are never generated."""

StateHook: TypeAlias = Callable[[Tensor], Callable[[Tensor], Tensor]]
"""Maps the last states ``(b, s, d)`` of a prompt to a function that is applied to each later state
``(n, d)``, and to the prompt's own last one, before the logits are computed.
"""


def identity(states: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the hook that changes nothing."""
    return lambda hidden: hidden


@dataclass(frozen=True)
class Hypothesis:
    """One generated sequence.

    Args:
        ids: token ids without the end token.
        log_probability: sum over the ids and the end token.
        score: log-probability divided by the length to the power of the length penalty; higher is
            better.
    """

    ids: tuple[int, ...]
    log_probability: float
    score: float


@torch.inference_mode()
def generate(
    decoder: Decoder,
    prompt: Tensor,
    *,
    max_new_tokens: int,
    beams: int = 5,
    length_penalty: float = 0.7,
    state_hook: StateHook = identity,
) -> list[list[Hypothesis]]:
    """Continue each row of ``prompt`` up to the end token; one beam is greedy decoding.

    Args:
        decoder: the language model, in evaluation mode.
        prompt: ``(b, s, d)`` vectors; all rows have one length.
        max_new_tokens: maximum number of ids per row; a row truncated there has no end token.
        beams: hypotheses kept in parallel.
        length_penalty: exponent of the length; above 0 favours longer sequences.
        state_hook: transforms the states before the logits, given the prompt.

    Returns:
        The finished hypotheses of each row, best score first; the best truncated one if none
        finished.

    Raises:
        ValueError: if ``beams`` or ``max_new_tokens`` is below one.
    """
    if beams < 1 or max_new_tokens < 1:
        raise ValueError(f"beams is {beams}, max_new_tokens {max_new_tokens}: expected 1 or more")
    rows, length, _ = prompt.shape
    device = prompt.device
    cache = KVCache(decoder.config, rows=rows, capacity=length + max_new_tokens, like=prompt)
    # (b, v): all beams of a row start from one prefix
    states = decoder(prompt, cache=cache)
    hook = state_hook(states)
    first = log_probabilities(decoder, hook(states[:, -1]))
    scores, ids = first.topk(beams, dim=-1)
    cache.select(torch.arange(rows, device=device).repeat_interleave(beams))
    sequences = ids.unsqueeze(-1)
    finished: list[list[Hypothesis]] = [[] for _ in range(rows)]
    for step in range(max_new_tokens):
        scores = _finish_beams(sequences, scores, finished, length_penalty)
        if step == max_new_tokens - 1 or _is_done(scores, finished):
            break
        x = decoder.embedding(sequences[:, :, -1].reshape(rows * beams, 1))
        step_scores = log_probabilities(decoder, hook(decoder(x, cache=cache)[:, -1]))
        total = scores.unsqueeze(-1) + step_scores.view(rows, beams, -1)
        vocabulary = total.shape[-1]
        scores, flat = total.flatten(1).topk(beams, dim=-1)
        parents, ids = flat // vocabulary, flat % vocabulary
        offsets = torch.arange(rows, device=device).unsqueeze(-1) * beams
        cache.select((parents + offsets).flatten())
        kept = sequences.gather(1, parents.unsqueeze(-1).expand(-1, -1, sequences.shape[-1]))
        sequences = torch.cat((kept, ids.unsqueeze(-1)), dim=-1)
    return [
        sorted(done, key=lambda answer: answer.score, reverse=True)
        or [_truncate(sequences[row], scores[row], length_penalty)]
        for row, done in enumerate(finished)
    ]


def log_probabilities(decoder: Decoder, hidden: Tensor) -> Tensor:
    """Map ``(b, d)`` to ``(b, v)`` float32 log-probabilities, with special tokens suppressed."""
    logits = decoder.logits(hidden).float()
    logits[:, list(SUPPRESSED_TOKENS)] = -torch.inf
    return logits.log_softmax(dim=-1)


def _finish_beams(
    sequences: Tensor,
    scores: Tensor,
    finished: list[list[Hypothesis]],
    length_penalty: float,
) -> Tensor:
    """Move beams that just generated the end token to ``finished``, and stop them.

    A row with as many finished hypotheses as beams accepts no more. Its result is therefore
    independent of the other rows that keep the search going.
    """
    ended = (sequences[:, :, -1] == END_ID) & scores.isfinite()
    for row, beam in ended.nonzero().tolist():
        if len(finished[row]) < scores.shape[1]:
            ids = tuple(sequences[row, beam, :-1].tolist())
            finished[row].append(_make_hypothesis(ids, float(scores[row, beam]), length_penalty))
    return scores.masked_fill(ended, -torch.inf)


def _is_done(scores: Tensor, finished: list[list[Hypothesis]]) -> bool:
    """Return whether every row has as many finished hypotheses as beams, or no live beam."""
    beams = scores.shape[1]
    alive = scores.isfinite().any(dim=1).tolist()
    return all(len(done) >= beams or not going for done, going in zip(finished, alive, strict=True))


def _truncate(sequences: Tensor, scores: Tensor, length_penalty: float) -> Hypothesis:
    """Return the best unfinished hypothesis of a row."""
    beam = int(scores.argmax())
    return _make_hypothesis(tuple(sequences[beam].tolist()), float(scores[beam]), length_penalty)


def _make_hypothesis(
    ids: tuple[int, ...], log_probability: float, length_penalty: float
) -> Hypothesis:
    score = log_probability / max(len(ids), 1) ** length_penalty
    return Hypothesis(ids, log_probability, score)


MAX_TRIE_WIDTH: Final = 128
"""Maximum number of nodes kept per depth: up to as many candidates are scored exactly.

Spans between the times of some hundred frames begin with as many different times. At this width all
of them are kept, and with them a short answer of another kind, however unlikely its first token.
"""


@dataclass(frozen=True)
class CandidateScore:
    """One candidate and its probability.

    Args:
        index: index of the candidate.
        log_probability: log-probability of generating exactly this sequence and the end token,
            without constraints.
        normalized_log_probability: log-probability given that one of the scored candidates is
            generated. The probabilities of all results sum to 1.
    """

    index: int
    log_probability: float
    normalized_log_probability: float


class Trie:
    """Prefix tree of the candidates. Node 0 is the root, before the first token.

    Args:
        candidates: token ids of each, without the end token.

    Raises:
        ValueError: if there are no candidates, one is empty or holds a special token, or two are
            equal.
    """

    def __init__(self, candidates: Sequence[Sequence[int]]):
        if not candidates:
            raise ValueError("there are no candidates to choose from")
        self.children: list[dict[int, int]] = [{}]
        self.ends: list[int | None] = [None]
        for index, ids in enumerate(candidates):
            if not ids:
                raise ValueError(f"candidate {index} is empty")
            if not {*SUPPRESSED_TOKENS, END_ID}.isdisjoint(ids):
                raise ValueError(f"candidate {index} contains a special token")
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
def score_candidates(
    decoder: Decoder,
    prompt: Tensor,
    candidates: Sequence[Sequence[int]],
    *,
    width: int = MAX_TRIE_WIDTH,
    state_hook: StateHook = identity,
) -> list[CandidateScore]:
    """Score candidates as continuations of a prompt.

    Args:
        decoder: the language model, in evaluation mode.
        prompt: ``(1, s, d)`` vectors.
        candidates: token ids of each, without the end token.
        width: maximum number of nodes kept per depth. With no more candidates than this, all are
            scored. With more, pruned candidates are missing from the result and the others share
            the whole probability.
        state_hook: transforms the states before the logits, given the prompt.

    Returns:
        Scores, best first; ties in the candidates' order.

    Raises:
        ValueError: if the candidates are invalid (see ``Trie``) or ``width`` is below one.
    """
    if width < 1:
        raise ValueError(f"width is {width}, expected 1 or more")
    trie = Trie(candidates)
    length, longest = prompt.shape[1], max(len(ids) for ids in candidates)
    capacity = length + min(len(trie.children) - 1, width * longest)
    cache = KVCache(decoder.config, rows=1, capacity=capacity, like=prompt)
    found: dict[int, float] = {}
    nodes, totals = [0], torch.zeros(1, dtype=torch.float64, device=prompt.device)
    visible = torch.ones(1, length, dtype=torch.bool, device=prompt.device)  # (n, p)
    states = decoder(prompt, cache=cache)
    hook = state_hook(states)
    hidden = states[0, -1:]  # (n, d)
    while True:
        scores = log_probabilities(decoder, hook(hidden)).double()  # (n, v)
        scores += totals.unsqueeze(1)
        for i, node in enumerate(nodes):
            ended = trie.ends[node]
            if ended is not None:
                found[ended] = float(scores[i, END_ID])
        steps = [
            (i, token, child)
            for i, node in enumerate(nodes)
            for token, child in trie.children[node].items()
        ]
        if not steps:
            break
        parents, tokens = torch.tensor(
            [(i, token) for i, token, _ in steps], device=prompt.device
        ).unbind(1)
        totals = scores[parents, tokens]
        if len(steps) > width:
            kept = totals.topk(width).indices.sort().values
            parents, tokens, totals = parents[kept], tokens[kept], totals[kept]
            steps = [steps[i] for i in kept.tolist()]
        nodes = [child for _, _, child in steps]
        own = torch.eye(len(nodes), dtype=torch.bool, device=prompt.device)
        visible = torch.cat((visible[parents], own), dim=1)
        # A node has the position that it would have if its answer were generated alone.
        positions = visible.sum(dim=1, keepdim=True).T - 1
        x = decoder.embedding(tokens).unsqueeze(0)
        hidden = decoder(x, positions=positions, mask=visible.unsqueeze(0), cache=cache)[0]
    return _sort_scores(found)


def _sort_scores(found: dict[int, float]) -> list[CandidateScore]:
    order = sorted(found, key=lambda index: (-found[index], index))
    scores = torch.tensor([found[index] for index in order], dtype=torch.float64)
    normalized = scores.log_softmax(dim=0).tolist()
    return [
        CandidateScore(index, found[index], log_probability_among)
        for index, log_probability_among in zip(order, normalized, strict=True)
    ]


THINK: Final = "<think>"
"""Opening tag of the reasoning."""

THINK_END: Final = "</think>"
"""Closing tag of the reasoning; the answer follows immediately."""

STEP_SEPARATOR: Final = "; "
"""Separator between the steps of the reasoning, which are in order of time."""

MAX_THINKING_TOKENS: Final = 256
"""Maximum tokens of the reasoning, including a closing tag that the model writes itself."""


@dataclass(frozen=True)
class Reasoning:
    """Text generated before the answer.

    Args:
        ids: token ids, including both tags.
        text: text between the tags.
    """

    ids: tuple[int, ...]
    text: str


@torch.inference_mode()
def generate_reasoning(
    decoder: Decoder, prompt: Tensor, tokenizer: Tokenizer, *, max_tokens: int = MAX_THINKING_TOKENS
) -> Reasoning:
    """Generate reasoning after a prompt, greedily.

    Args:
        decoder: the language model, in evaluation mode.
        prompt: ``(1, s, d)`` vectors.
        tokenizer: its vocabulary.
        max_tokens: maximum tokens after the opening tag. Longer reasoning is truncated there. The
            closing tag is then added on top, as it is after the model's own end token.

    Raises:
        ValueError: if ``max_tokens`` is below one.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}, expected 1 or more")
    opening = tokenizer.encode(THINK)
    length = prompt.shape[1] + len(opening) + max_tokens
    cache = KVCache(decoder.config, rows=1, capacity=length, like=prompt)
    x = torch.cat((prompt, embed_ids(decoder, opening)), dim=1)
    ids: list[int] = []
    text = ""
    while len(ids) < max_tokens and THINK_END not in text:
        token = int(log_probabilities(decoder, decoder(x, cache=cache)[:, -1]).argmax())
        if token == END_ID:
            break
        ids.append(token)
        # Compared as text: a tag may be tokenized in several ways.
        text = tokenizer.decode(ids)
        x = embed_ids(decoder, [token])
    if THINK_END not in text:
        ids += tokenizer.encode(THINK_END)
    return Reasoning((*opening, *ids), text.partition(THINK_END)[0].strip())


def embed_ids(decoder: Decoder, ids: list[int] | tuple[int, ...]) -> Tensor:
    """Return the ``(1, s, d)`` embeddings of ids, to append to a prompt."""
    device = decoder.embedding.weight.device
    found: Tensor = decoder.embedding(torch.tensor([ids], device=device))
    return found


MAX_NGRAM: Final = 4
"""Longest n-gram compared, in tokens, as in BLEU."""

TEMPERATURE: Final = 1.0
"""Softmax temperature of the hypotheses' scores: high values weight all equally."""


def mbr_select(answers: Sequence[Hypothesis], *, temperature: float = TEMPERATURE) -> Hypothesis:
    """Return the hypothesis with the highest mean similarity to all; the first of equal ones.

    Args:
        answers: one or more hypotheses.
        temperature: divides the scores before the softmax.

    Raises:
        ValueError: if there are no hypotheses.
    """
    if not answers:
        raise ValueError("there are no answers to choose from")
    best_score = max(answer.score for answer in answers)
    weights = [math.exp((answer.score - best_score) / temperature) for answer in answers]
    counts = [_ngram_counts(answer.ids) for answer in answers]
    utilities = [
        math.fsum(
            weight * _ngram_f1(own, other) for weight, other in zip(weights, counts, strict=True)
        )
        for own in counts
    ]
    return answers[utilities.index(max(utilities))]


def _ngram_counts(ids: Sequence[int]) -> list[Counter[tuple[int, ...]]]:
    """Count the n-grams of each length."""
    return [
        Counter(tuple(ids[at : at + order]) for at in range(len(ids) - order + 1))
        for order in range(1, MAX_NGRAM + 1)
    ]


def _ngram_f1(one: list[Counter[tuple[int, ...]]], other: list[Counter[tuple[int, ...]]]) -> float:
    """Return the mean n-gram F1 over all lengths, from 0 to 1."""
    total = 0.0
    for mine, theirs in zip(one, other, strict=True):
        size = mine.total() + theirs.total()
        if size:
            total += 2 * (mine & theirs).total() / size
    return total / MAX_NGRAM
