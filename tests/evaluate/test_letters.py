"""What benchmarks add to reading an option: its own text first, and options without letters.

Answers as models write them are read in tests/tasks/test_choice.py.
"""

import pytest

from seedvideo.evaluate.metrics.answers import (
    circular_accuracy,
    option_of,
    rotations,
    without_letter,
)

OPTIONS = ("a red car", "a blue car", "two dogs", "nothing")


@pytest.mark.parametrize(
    ("text", "options", "place"),
    [
        ("B", ("B", "A"), 0),  # its text, as an answer of `seedvideo ask` is
        (" B\n", ("B", "A"), 0),
        ("b", ("B", "A"), None),  # not to the sign: its text or its letter
        ("B", ("C", "B", "A"), 1),
        ("red", ("red", "red", "blue"), 0),
        ("", ("", "red"), None),
        ("B. a blue car", OPTIONS, 1),
        ("The correct answer is B. Options A, C and D are incorrect.", OPTIONS, 1),
        ("A, B", OPTIONS, None),
    ],
)
def test_an_options_own_text_goes_before_all_else(
    text: str, options: tuple[str, ...], place: int | None
) -> None:
    assert option_of(text, options) == place


def test_among_equals() -> None:
    text = "The answer is A. The answer is C."
    assert option_of(text, OPTIONS) == 2
    assert option_of(text, OPTIONS, among_equals="first") == 0


@pytest.mark.parametrize(
    "form", ["{} is correct because it is shown.", "{}", "Answer: {} is right"]
)
def test_always_right_scores_all_in_every_rotation(form: str) -> None:
    right = "a blue car"
    each = []
    for rotated in rotations(OPTIONS):
        place = rotated.index(right)
        each.append(option_of(form.format("ABCD"[place]), rotated) == place)
    assert circular_accuracy([each]) == 1


def test_letters_before_options() -> None:
    assert without_letter("B. Two.", 1) == "Two."
    assert without_letter("(B) Two.", 1) == "Two."
    assert without_letter("A. Two.", 1) == "A. Two."  # another letter is part of the text
    assert without_letter("B.", 1) == "B."
    assert without_letter("B vitamins", 1) == "B vitamins"


def test_circular() -> None:
    assert rotations(("x", "y", "z")) == [("x", "y", "z"), ("y", "z", "x"), ("z", "x", "y")]
    assert circular_accuracy([[True, True], [True, False], [False, False]]) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="rotation"):
        circular_accuracy([])
    with pytest.raises(ValueError, match="rotation"):
        circular_accuracy([[]])
