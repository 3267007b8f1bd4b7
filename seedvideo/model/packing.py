"""Frames, times and the user's words, interleaved into one model-free list of parts.

    "[0.0 second]", picture, "[0.5 second]", picture, ..., "Describe the video."

As published: the time is text before each frame, the user's text comes last (Seed1.5-VL, section
2.2; official cookbook). A backend turns the list into its own tensors or request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.stamps import time_text


@dataclass(frozen=True)
class TextPart:
    """Words, read as plain text.

    Args:
        text: what is said.
    """

    text: str


@dataclass(frozen=True)
class ImagePart:
    """One frame, at the size in which the model is to see it.

    Args:
        pixels: ``(height_px, width_px, 3)`` uint8 RGB.

    Raises:
        ValueError: if the array is not of that kind.
    """

    pixels: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"a frame is {self.pixels.dtype} of shape {self.pixels.shape}, "
                "expected uint8 (height, width, 3)"
            )

    def __repr__(self) -> str:
        height_px, width_px, _ = self.pixels.shape
        return f"ImagePart({width_px}x{height_px} px)"


Part: TypeAlias = TextPart | ImagePart


def pack(frames: Sequence[tuple[Fraction, npt.NDArray[np.uint8]]], prompt: str) -> list[Part]:
    """Interleave frames with their times, then the prompt.

    Args:
        frames: pairs of true time in seconds and ``(h, w, 3)`` pixels, in time order.
        prompt: the user's words.

    Raises:
        ValueError: if there is no frame, the times do not rise, or there are no words.
    """
    if not frames:
        raise ValueError("there are no frames to pack")
    if not prompt.strip():
        raise ValueError("the prompt is empty")
    parts: list[Part] = []
    last: Fraction | None = None
    for time, pixels in frames:
        if last is not None and time <= last:
            raise ValueError(f"frame times must rise: {time} follows {last}")
        last = time
        parts += [TextPart(time_text(time)), ImagePart(pixels)]
    return [*parts, TextPart(prompt)]
