"""The tokens of the native model that are marks, not words. Imports nothing."""

from typing import Final

SPECIAL_TOKENS: Final = ("<pad>", "<end>", "<frame>", "</frame>", "<image>", "<answer>")
"""Tokens with a meaning of their own; their ids are their places here."""

PAD_ID, END_ID, FRAME_ID, FRAME_END_ID, IMAGE_ID, ANSWER_ID = range(len(SPECIAL_TOKENS))

MARKS_A_FRAME: Final = 2
"""``<frame>`` before the visual tokens of a frame, and ``</frame>`` after them."""
