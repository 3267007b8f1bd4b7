"""Frames, times and words in one list."""

from fractions import Fraction

import numpy as np
import pytest

from seedvideo.model.backends.base import ImagePart, interleave

GREY = np.full((28, 56, 3), 127, dtype=np.uint8)


def test_time_before_each_frame_and_the_words_last() -> None:
    parts = interleave([(Fraction(0), GREY), (Fraction(25, 2), GREY)], "Describe the video.")
    assert ["picture" if isinstance(part, ImagePart) else part.text for part in parts] == [
        "[0.0 second]",
        "picture",
        "[12.5 second]",
        "picture",
        "Describe the video.",
    ]


@pytest.mark.parametrize(
    ("frames", "prompt", "message"),
    [
        ([], "Describe.", "no frames"),
        ([(Fraction(0), GREY)], "  ", "prompt is empty"),
        ([(Fraction(1), GREY), (Fraction(1), GREY)], "Describe.", "must increase"),
        ([(Fraction(2), GREY), (Fraction(1), GREY)], "Describe.", "must increase"),
    ],
)
def test_senseless_lists_are_refused(
    frames: list[tuple[Fraction, np.ndarray]], prompt: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        interleave(frames, prompt)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((28, 28, 3), dtype=np.float32),
        np.zeros((28, 28, 4), dtype=np.uint8),
        np.zeros((28, 28), dtype=np.uint8),
    ],
)
def test_other_arrays_are_no_frames(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        ImagePart(pixels)


def test_repr_shows_the_size_not_the_pixels() -> None:
    assert repr(ImagePart(GREY)) == "ImagePart(56x28 px)"
