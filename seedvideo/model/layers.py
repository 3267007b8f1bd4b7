"""Small layers of the model: RoPE, projector, frame pointer and evidence fusion.

Rotary position embedding (Su et al. 2021, arXiv 2104.09864) rotates queries and keys by angles
proportional to their positions, so their product depends only on the difference. In two dimensions,
the first half of a head's channels is rotated by row and the second half by column (Seed1.5-VL,
section 2.1: 2D RoPE in the vision encoder).

`Adapter` is the two-layer MLP from visual tokens to the language model (Seed1.5-VL, section 2.1).
The report gives neither its hidden width nor its activation: the width is configurable, the
activation is GELU.

`FramePointer` scores how likely a question is about each frame. Both inputs are last states of the
decoder: at the token that ends a frame, and where the answer begins. Causal attention hides the
question from the frames, so the score is a product of two projections.

`EvidenceFusion` adds the states of the frames that a question points at to the states from which
the answer is generated. A question may name one thing and ask about another ("what appears right
after the red circle?"), so one pointer locates the thing named and another the answer. Attention
alone did not learn this (docs/log.md).

Notation used for tensor shapes:
    s: positions; h_d: channels of one head; q: questions; m: frames; d: width of the decoder
    w: width of the pointer's projections; e: values of the evidence
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_DEPTH = 1_000
"""Maximum number of blocks in a configuration: bounds what a checkpoint file can allocate."""

THETA = 10_000.0
"""Base of the wavelengths, as in the RoPE paper."""


def angles_1d(positions: Tensor, head_channels: int, *, theta: float = THETA) -> Tensor:
    """Return the rotation angles of positions along one axis.

    Args:
        positions: ``(..., s)`` of any real dtype.
        head_channels: channels to rotate; must be even.
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
    """Return the rotation angles of grid positions: half of the channels by row, half by column.

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
    """Rotate each pair of channels ``(i, i + h_d / 2)`` by its angle.

    Args:
        x: ``(..., s, h_d)``.
        angles: broadcastable to ``(..., s, h_d / 2)``.

    Returns:
        The rotated ``x``, in its own dtype.
    """
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class Adapter(nn.Module):
    """Projector from visual tokens to the width of the language model.

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
"""Width of the pointer's query and key projections, w."""


class FramePointer(nn.Module):
    """Score of each frame for each question, as logits."""

    def __init__(self, width: int):
        super().__init__()
        self.query = nn.Linear(width, POINTER_WIDTH)
        self.key = nn.Linear(width, POINTER_WIDTH)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, asked: Tensor, frames: Tensor) -> Tensor:
        """Map ``(q, d)`` and ``(m, d)`` states to ``(q, m)`` logits."""
        return self.query(asked) @ self.key(frames).T * POINTER_WIDTH**-0.5 + self.bias


_SCALARS = 4
"""Scalars in the evidence, besides the frames' states."""

_MAX_LOGIT = 8.0
"""Pointer logits are clamped to this magnitude: beyond it the probability hardly changes."""


class EvidenceFusion(nn.Module):
    """Add the frames pointed at to the states from which an answer is generated.

    Args:
        width: width of the decoder, d.
    """

    def __init__(self, width: int):
        super().__init__()
        self.named = FramePointer(width)
        self.mix = nn.Linear(3 * width + _SCALARS, width)
        self.out = nn.Linear(width, width)

    def evidence(
        self, named_logits: Tensor, answer_logits: Tensor, frames: Tensor, is_own: Tensor
    ) -> Tensor:
        """Summarize the frames that are pointed at.

        Args:
            named_logits: ``(q, m)`` logits that a frame shows what the question names.
            answer_logits: ``(q, m)`` logits that a frame holds the answer.
            frames: ``(m, d)`` last states at the tokens that end the frames, in time order.
            is_own: ``(q, m)`` bool, whether a frame belongs to the question's video; at least one
                does.

        Returns:
            ``(q, e)``.
        """
        order = torch.cumsum(is_own, dim=1).to(frames.dtype)
        states, scalars, indices = [], [], []
        for logits in (named_logits, answer_logits):
            own = logits.masked_fill(~is_own, -torch.inf)
            weights = own.softmax(dim=1)
            states.append(weights @ frames)
            scalars.append(own.amax(dim=1).clamp(-_MAX_LOGIT, _MAX_LOGIT) / _MAX_LOGIT)
            indices.append((weights * order).sum(dim=1))
        later = indices[1] - indices[0]
        scalars += [torch.tanh(later), later / order[:, -1]]
        return torch.cat((*states, torch.stack(scalars, dim=1)), dim=1)

    def forward(self, states: Tensor, evidence: Tensor) -> Tensor:
        """Map ``(q, d)`` last states and their ``(q, e)`` evidence to ``(q, d)``.

        One row of evidence is broadcast to all states.
        """
        evidence = evidence.to(states.dtype).expand(states.shape[0], -1)
        hidden: Tensor = self.mix(torch.cat((states, evidence), dim=1))
        return states + self.out(functional.silu(hidden))
