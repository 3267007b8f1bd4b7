"""The text that tells a model when a frame was shown, and what it is taken to cost.

One function makes it for the plan and for the packed sequence, so the two cannot differ.
Times are exact seconds. Knows no tokenizer: the caller brings one, or the assumed price is used.
"""

from fractions import Fraction

from seedvideo.units import FRAME_TEXT_TOKENS


def time_text(pts: Fraction) -> str:
    """The text before a frame, in the published form: ``[12.5 second]``.

    Args:
        pts: time of the frame from the start of the video, in seconds.

    Raises:
        ValueError: if the time is below zero.
    """
    return f"[{stamp(pts)} second]"


def stamp(pts: Fraction) -> str:
    """The number in that text: ``12.5``. Prompts and answers write times like this too.

    One decimal; exact halves go up, so that 0.25 s reads 0.3 on every machine.

    Args:
        pts: time of the frame from the start of the video, in seconds.

    Raises:
        ValueError: if the time is below zero.
    """
    if pts < 0:
        raise ValueError(f"a frame's time is {pts}, expected 0 or later")
    # floor(10 * pts + 1/2), in whole numbers.
    tenths = (20 * pts.numerator + pts.denominator) // (2 * pts.denominator)
    return f"{tenths // 10}.{tenths % 10}"


def assumed_text_tokens(text: str) -> int:
    """Price of a frame's time text and its two marks where no tokenizer tells: 8 tokens."""
    del text
    return FRAME_TEXT_TOKENS
