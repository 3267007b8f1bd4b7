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
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from seedvideo.model.decoder import Decoder, KVCache
from seedvideo.model.generate import NEVER_WRITTEN, Reading, as_it_is, log_probabilities
from seedvideo.model.marks import END_ID

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
