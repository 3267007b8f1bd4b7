"""What every model must offer, whoever made it: one Protocol and the values it exchanges.

The sampler asks a backend for geometry and text costs, so a plan's count of tokens is the model's
own. Knows nothing of any particular model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from seedvideo.model.packing import Part
from seedvideo.sampler.geometry import TokenGeometry


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, counted by the model that gave it.

    Args:
        visual_tokens: tokens of all frames.
        prompt_tokens: all tokens of the sequence before the answer, visual ones included.
        output_tokens: tokens of the answer.
    """

    visual_tokens: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Generation:
    """One answer.

    Args:
        text: as the model wrote it.
        confident: false where the frames look unlike anything that the model was trained on.
        familiarity: how alike they look, from -1 to 1; None where a model cannot tell.
        usage: tokens spent.
    """

    text: str
    confident: bool
    familiarity: float | None
    usage: Usage


class Backend(Protocol):
    """A model that answers about frames."""

    @property
    def name(self) -> str:
        """Short name, as in ``--model``."""
        ...

    @property
    def sha256(self) -> str:
        """Hash that changes when a weight does."""
        ...

    @property
    def geometry(self) -> TokenGeometry:
        """Sizes of frames, levels and default budget."""
        ...

    def count_text_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone."""
        ...

    def frame_text_tokens(self, time_text: str) -> int:
        """Tokens that a frame costs beside its visual ones: its time and its two marks."""
        ...

    def generate(
        self, parts: Sequence[Part], *, max_new_tokens: int = 96, beams: int = 32
    ) -> Generation:
        """Answer a packed sequence.

        Raises:
            ValueError: if the parts hold no picture or a size that the geometry does not allow.
            ModelError: if the model gives no usable answer.
        """
        ...
