"""Which of the shown frames a question is about: one score a frame.

Both ends are the decoder's last states: at the mark that ends a frame, and where the answer is to
begin. Causal attention keeps the first from knowing the question, so the second must ask: two
projections, whose product says how well they fit.

Notation used for tensor shapes:
    q: questions; m: frames; d: width of the decoder; w: width of the comparison
"""

import torch
from torch import Tensor, nn

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
