"""The two-layer MLP that turns visual tokens into the language model's vectors.

Seed1.5-VL, section 2.1. The report gives neither the hidden width nor the activation: the hidden
width is the configuration's, the activation is GELU; both are ours.
"""

from torch import Tensor, nn


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
