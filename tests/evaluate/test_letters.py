"""Answers as models write them, each with the option that a reader would see in it."""

import pytest

from seedvideo.evaluate.circular import circular_accuracy, rotations
from seedvideo.evaluate.letters import letter_of, option_of, without_letter

OPTIONS = ("a red car", "a blue car", "two dogs", "nothing")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" b\n", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B. a blue car", "B"),
        ("B) a blue car", "B"),
        ("B: because A. is not there", "B"),
        ("(B) since the car is blue", "B"),
        ("The best option is B", "B"),  # these two stand in a list of VLMEvalKit without a comma
        ("The correct option is B.", "B"),
        ("The answer is B because A was ruled out.", "B"),
        ("Answer: B", "B"),
        ("answer: (b)", "B"),
        ("My final answer is: **B**", "B"),
        ("I choose option B", "B"),
        ("Both A. and C. look right, but the answer is B", "B"),
        ("A. could be, but the answer is B", "B"),
        ("A man walks in, then a car; so it must be B.", "B"),
        ("A is wrong, and C too. The answer is D, no: the answer is B", "B"),
        ("It shows (B) here", "B"),
        ("A dog runs", None),
        ("a", "A"),
        ("A", "A"),
        ("I see a dog", None),
        ("The answer is a dog", None),
        ("The answer is: A dog", None),
        ("E", None),  # there is no fifth option
        ("Vitamin B1", None),
        ("It's the dog's", None),
        ("", None),
        ("no idea", None),
    ],
)
def test_letters(text: str, letter: str | None) -> None:
    found = letter_of(text, count=4)
    assert (None if found is None else "ABCD"[found]) == letter


def test_among_equals() -> None:
    text = "Perhaps (A) or (C), who knows"
    assert letter_of(text, count=4, among_equals="first") == 0
    assert letter_of(text, count=4) == 2


def test_how_many_options() -> None:
    assert letter_of("Z", count=26) == 25
    assert letter_of("I", count=9) == 8
    assert letter_of("I think so", count=9) is None
    for count in (0, 27):
        with pytest.raises(ValueError, match="options"):
            letter_of("A", count=count)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a blue car", 1),
        ("A blue car.", 1),
        ("Blue car", 1),  # articles do not matter
        ("2 dogs", 2),
        ("D", 3),
        ("I think it is two dogs that run", 2),
        ("a red car or a blue car", None),  # two are named: none is chosen
        ("C, since a blue car is seen", 2),  # a letter beats words
        ("a green car", None),
        ("", None),
    ],
)
def test_options(text: str, place: int | None) -> None:
    assert option_of(text, OPTIONS) == place


@pytest.mark.parametrize(
    ("text", "options", "place"),
    [
        ("-5 degrees", ("5 degrees", "-5 degrees"), 1),
        ("5 degrees.", ("5 degrees", "-5 degrees"), 0),
        ("It is -5 degrees here", ("5 degrees", "-5 degrees"), 1),
        ("five degrees", ("5 degrees", "-5 degrees"), None),  # as near to one as to the other
        ("C++", ("C", "C++"), 1),
        ("c++.", ("C", "C++"), 1),
        ("C++ because it is fast", ("C", "C++", "C#"), 1),  # no letter C
        ("10%", ("10", "10%"), 1),
        ("About 10% of it", ("10", "10%"), 1),
        ("+", ("-", "+"), 1),
        ("pm", ("PM", "pm"), 1),
        ("Pm", ("PM", "pm"), None),
        ("It is dark blue", ("blue", "dark blue"), 1),
        ("15.5", ("5", "15"), None),
        ("Red", ("red", "red", "blue"), 0),  # the same option twice
    ],
)
def test_options_that_differ_in_little(
    text: str, options: tuple[str, ...], place: int | None
) -> None:
    assert option_of(text, options) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("It is not B", None),
        ("The answer is not B", None),
        ("It isn't (B)", None),
        ("I don't think it is B", None),
        ("Because B is wrong", None),
        ("Neither A nor B", None),
        ("Neither A, B nor C", None),
        ("A or B", None),
        ("The answer is A or B", None),
        ("A, B or C", None),
        ("(A) and (B)", None),
        ("A/B", None),
        ("Either A or B is right", None),
        ("It is not a red car", None),
        ("A red car, or a blue car", None),
        # What is denied or named beside the answer takes nothing from it.
        ("It is A, not B", 0),
        ("It is not B but A", 0),
        ("It can't be A, it must be B", 1),
        ("The answer is B and A is wrong", 1),
        ("There is no doubt that the answer is B", 1),
        ("A or B? The answer is B", 1),
    ],
)
def test_what_is_denied_or_left_open_is_no_choice(text: str, place: int | None) -> None:
    assert option_of(text, OPTIONS) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Yes, because B is wrong", 0),
        ("No, it does not", 1),
        ("No. I see neither A nor B", 1),
        ("Yes, or no", None),
        ("Yes, so the answer is B", 1),  # an announced letter is surer
    ],
)
def test_leading_words(text: str, place: int | None) -> None:
    assert option_of(text, ("yes", "no")) == place


def test_words_can_be_left_out() -> None:
    assert option_of("I think it is two dogs that run", OPTIONS, by_words=False) is None
    assert option_of("Yes, I think", ("yes", "no"), by_words=False) is None


def test_an_option_that_is_a_letter() -> None:
    assert option_of("B", ("C", "B", "A")) == 1  # its text, not its place


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
