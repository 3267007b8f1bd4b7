"""What benchmarks add to reading an option: its own text first, and options without letters.

Answers as models write them are read in tests/tasks/test_parse_choice.py.
"""

import pytest

from seedvideo.evaluate.metrics.answers import (
    parse_choice,
    strip_option_letter,
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
    assert parse_choice(text, options) == place


def test_among_equals() -> None:
    text = "The answer is A. The answer is C."
    assert parse_choice(text, OPTIONS) == 2
    assert parse_choice(text, OPTIONS, among_equals="first") == 0


def test_letters_before_options() -> None:
    assert strip_option_letter("B. Two.", 1) == "Two."
    assert strip_option_letter("(B) Two.", 1) == "Two."
    assert strip_option_letter("A. Two.", 1) == "A. Two."  # another letter is part of the text
    assert strip_option_letter("B.", 1) == "B."
    assert strip_option_letter("B vitamins", 1) == "B vitamins"
