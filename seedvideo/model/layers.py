"""Rotary position embedding in one and two dimensions (Su et al. 2021, arXiv 2104.09864).

A query and a key are turned by angles that grow with their positions, so their product depends on
the difference of positions alone. In two dimensions the first half of a head's channels turns with
the row, the second half with the column (Seed1.5-VL, section 2.1: 2D RoPE in the vision encoder).

Notation used for tensor shapes:
    s: positions; h_d: channels of one head

The two-layer MLP that turns visual tokens into the language model's vectors.

Seed1.5-VL, section 2.1. The report gives neither the hidden width nor the activation: the hidden
width is the configuration's, the activation is GELU; both are ours.

Which of the shown frames a question is about: one score a frame.

Both ends are the decoder's last states: at the mark that ends a frame, and where the answer is to
begin. Causal attention keeps the first from knowing the question, so the second must ask: two
projections, whose product says how well they fit.

Notation used for tensor shapes:
    q: questions; m: frames; d: width of the decoder; w: width of the comparison

What an answer is written from: the frames that a question points at, read again.

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

THETA = 10_000.0
"""Base of the wavelengths, as in the paper."""


def angles_1d(positions: Tensor, head_channels: int, *, theta: float = THETA) -> Tensor:
    """Angles for positions along one axis.

    Args:
        positions: ``(..., s)`` of any real type.
        head_channels: channels that these angles turn; must be even.
        theta: base of the wavelengths.

    Returns:
        ``(..., s, head_channels / 2)`` float32.

    Raises:
        ValueError: if ``head_channels`` is odd.
    """
    if head_channels % 2:
        raise ValueError(f"head_channels is {head_channels}, expected an even number")
    pairs = torch.arange(0, head_channels, 2, device=positions.device, dtype=torch.float32)
    frequencies = theta ** (-pairs / head_channels)
    return positions.to(torch.float32).unsqueeze(-1) * frequencies


def angles_2d(rows: Tensor, columns: Tensor, head_channels: int) -> Tensor:
    """Angles for positions on a grid: half of the channels turn by row, half by column.

    Args:
        rows: ``(s,)`` row of each position.
        columns: ``(s,)`` column of each position.
        head_channels: channels of one head; must be a multiple of four.

    Returns:
        ``(s, head_channels / 2)`` float32.
    """
    half = head_channels // 2
    return torch.cat((angles_1d(rows, half), angles_1d(columns, half)), dim=-1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn each pair of channels ``(i, i + h_d / 2)`` by its angle.

    Args:
        x: ``(..., s, h_d)``.
        angles: broadcastable to ``(..., s, h_d / 2)``.

    Returns:
        The turned ``x``, in its own type.
    """
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class Adapter(nn.Module):
    """Visual tokens to the width of the language model.

    Args:
        vision_width: channels of a visual token.
        hidden: channels between the two layers.
        text_width: channels of the language model.
    """

    def __init__(self, vision_width: int, hidden: int, text_width: int):
        super().__init__()
        self.first = nn.Linear(vision_width, hidden)
        self.activation = nn.GELU()
        self.second = nn.Linear(hidden, text_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(k, vision_width)`` to ``(k, text_width)``."""
        return self.second(self.activation(self.first(tokens)))


POINTER_WIDTH = 64


class Pointer(nn.Module):
    """Questions and frames to logits that the one is about the other."""

    def __init__(self, width: int):
        super().__init__()
        self.query = nn.Linear(width, POINTER_WIDTH)
        self.key = nn.Linear(width, POINTER_WIDTH)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, asked: Tensor, frames: Tensor) -> Tensor:
        """Map ``(q, d)`` and ``(m, d)`` states to ``(q, m)`` logits."""
        return self.query(asked) @ self.key(frames).T * POINTER_WIDTH**-0.5 + self.bias


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
