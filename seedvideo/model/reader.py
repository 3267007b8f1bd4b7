"""What an answer is written from: the frames that a question points at, read again.

A question may name one thing to ask about another: "what appears right after the red circle?" One
pointer says which frames show what is named, another which ones hold the answer. The last states
of these frames, how sure both pointers are and which of them points later are added to the states
from which words are chosen. Attention alone was left to find this out and did not (docs/log.md).

Notation used for tensor shapes:
    q: questions; m: frames; d: width of the decoder; e: values of the evidence
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.model.pointer import Pointer

_FACTS = 4
"""Values of the evidence that are no frame's state."""

_SUREST = 8.0
"""Logits beyond this say no more."""


class Reader(nn.Module):
    """Adds what was pointed at to the states from which an answer is written.

    Args:
        width: of the decoder, d.
    """

    def __init__(self, width: int):
        super().__init__()
        self.named = Pointer(width)
        self.mix = nn.Linear(3 * width + _FACTS, width)
        self.out = nn.Linear(width, width)

    def evidence(self, named: Tensor, held: Tensor, frames: Tensor, beside: Tensor) -> Tensor:
        """What the frames say that are pointed at.

        Args:
            named: ``(q, m)`` logits that a frame shows what the question names.
            held: ``(q, m)`` logits that a frame holds the answer.
            frames: ``(m, d)`` last states at the marks that end the frames, in time order.
            beside: ``(q, m)`` bool, the frames that belong to the question's video; one at least.

        Returns:
            ``(q, e)``.
        """
        order = torch.cumsum(beside, dim=1).to(frames.dtype)
        states, facts, places = [], [], []
        for logits in (named, held):
            inside = logits.masked_fill(~beside, -torch.inf)
            shares = inside.softmax(dim=1)
            states.append(shares @ frames)
            facts.append(inside.amax(dim=1).clamp(-_SUREST, _SUREST) / _SUREST)
            places.append((shares * order).sum(dim=1))
        later = places[1] - places[0]
        facts += [torch.tanh(later), later / order[:, -1]]
        return torch.cat((*states, torch.stack(facts, dim=1)), dim=1)

    def forward(self, states: Tensor, evidence: Tensor) -> Tensor:
        """Map ``(q, d)`` last states and their ``(q, e)`` evidence to ``(q, d)``.

        One row of evidence goes with all states.
        """
        evidence = evidence.to(states.dtype).expand(states.shape[0], -1)
        hidden: Tensor = self.mix(torch.cat((states, evidence), dim=1))
        return states + self.out(functional.silu(hidden))
