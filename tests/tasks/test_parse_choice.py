"""Answers as models write them, each with the option that a reader would see in it."""

import itertools
import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.tasks.option_labels import OPTION_LABELS
from seedvideo.tasks.question_answering import parse_choice
from tests.tasks.written_choices import CHOSEN, NOT_CHOSEN

OPTIONS = ("a red car", "a blue car", "two dogs", "nothing")
NEUTRAL = tuple(f"thing number {n}" for n in range(100, 126))
"""As many options as there are letters; no case below holds their words."""


def chosen(text: str, options: Sequence[str] = NEUTRAL) -> str | None:
    place = parse_choice(text, options)
    return None if place is None else OPTION_LABELS[place]


@pytest.mark.parametrize("text", list(itertools.chain(*CHOSEN.values())))
def test_what_a_reader_sees(text: str) -> None:
    place = parse_choice(text, OPTIONS)
    assert place is not None and OPTION_LABELS[place] == "B"


@pytest.mark.parametrize("text", list(itertools.chain(*NOT_CHOSEN.values())))
def test_where_a_reader_sees_no_choice(text: str) -> None:
    assert parse_choice(text, OPTIONS) is None


_LABEL = r"(?<![A-Za-z])(?:[A-DI]|(?<![</])b)(?![A-Za-z]|'d|'ll)|[\uff22\u24b7]"
_OFFSETS = {"b": ord("a"), "\uff22": 0xFF21, "\u24b7": 0x24B6}


def relabelled(text: str, letter: str) -> str:
    """The text with another letter in the place of B, and B in the place of that letter."""

    def swap(match: re.Match[str]) -> str:
        if match[0] in _OFFSETS:
            return chr(_OFFSETS[match[0]] + OPTION_LABELS.index(letter))
        # The pronoun stays.
        is_pronoun = match[0] == "I" and letter != "B"
        swapped = {"B": letter, letter: "B"}.get(match[0], match[0])
        return "I" if is_pronoun else swapped

    return re.sub(_LABEL, swap, text)


def read_as(text: str, letter: str) -> str | None:
    """What is read in a text with another letter in the place of B, and so among the options."""
    place = OPTION_LABELS.index(letter)
    options = [*OPTIONS, *NEUTRAL[len(OPTIONS) : place + 1]]
    options[1], options[place] = options[place], options[1]
    return chosen(relabelled(text, letter), options)


CHOOSING = list(itertools.chain(*CHOSEN.values()))
OTHERS = list(itertools.chain(*NOT_CHOSEN.values()))


@pytest.mark.parametrize("letter", "ACDI")
def test_every_case_holds_for_other_letters(letter: str) -> None:
    assert [text for text in CHOOSING if read_as(text, letter) != letter] == []
    assert [text for text in OTHERS if read_as(text, letter) is not None] == []


@given(st.sampled_from(CHOOSING), st.sampled_from(OTHERS), st.sampled_from(OPTION_LABELS))
def test_every_letter_is_read_like_every_other(text: str, other: str, letter: str) -> None:
    assert read_as(text, letter) == letter
    assert read_as(other, letter) is None


WORDS = (
    *("the", "answer", "is", "not", "option", "correct", "because", "or", "and", "than", "wrong"),
    *("so", "team", "dog", "choose", "rather", "better", "but", "it", "yes", "no", "if"),
    *(".", ",", ";", ":", "?", "(", ")", "-", "**", "\n", "final"),
)


@given(
    st.lists(st.sampled_from(WORDS) | st.integers(0, 3), max_size=12),
    st.permutations(range(26)),
    st.sampled_from([" ", "\n"]),
)
def test_renaming_the_letters_renames_the_answer(
    parts: list[str | int], order: list[int], gap: str
) -> None:
    def answer(of: Sequence[int]) -> int | None:
        words = [OPTION_LABELS[of[part]] if isinstance(part, int) else part for part in parts]
        return parse_choice(gap.join(words), NEUTRAL)

    first = answer(range(26))
    assert answer(order) == (None if first is None else order[first])


@pytest.mark.parametrize(
    ("text", "options", "place"),
    [
        ("a blue car", OPTIONS, 1),
        ("A blue car.", OPTIONS, 1),
        ("Blue car", OPTIONS, 1),  # articles do not matter
        ("**A blue car.**", OPTIONS, 1),
        ("The answer is a blue car.", OPTIONS, 1),
        ("Answer: a blue car", OPTIONS, 1),
        ("\\boxed{\\text{a blue car}}", OPTIONS, 1),
        ("<answer>a blue car</answer>", OPTIONS, 1),
        ('{"answer": "a blue car"}', OPTIONS, 1),
        ("答案是蓝色", ("红色", "蓝色"), 1),
        ("정답: 파랑", ("빨강", "파랑"), 1),
        ("2 dogs", OPTIONS, 2),
        ("I think it is two dogs that run", OPTIONS, 2),
        ("A blue car, I think", OPTIONS, 1),
        ("a blue car\n\nBecause it is blue.", OPTIONS, 1),
        ("a blue car. Option A shows red, option C dogs.", OPTIONS, 1),
        ("a red car or a blue car", OPTIONS, None),
        ("A red car, or a blue car", OPTIONS, None),
        ("It is not a red car", OPTIONS, None),
        ("a green car", OPTIONS, None),
        ("C, since a blue car is seen", OPTIONS, 2),  # a letter is surer than words
        ("B. a red car", OPTIONS, None),  # one option's letter, another's words
        ("(B) two dogs.", OPTIONS, None),
        ("The answer is B: two dogs", OPTIONS, None),
        ("B. A red car is not what is seen", OPTIONS, 1),
        ("yes", ("yes", "no"), 0),
        ("No, it does not", ("yes", "no"), 1),
        ("No. I see neither A nor B", ("yes", "no"), 1),
        ("Yes, because B is wrong", ("yes", "no"), 0),
        ("Yes, or no", ("yes", "no"), None),
        ("Yes, so the answer is B", ("yes", "no"), 1),  # an announced letter is surer
        ("B. No", ("yes", "no"), 1),
        ("B: no", ("yes", "no"), 1),  # its own text, not a verdict
        ("A. No", ("yes", "no"), None),
        ("There is no dog", ("yes", "no"), 1),
    ],
)
def test_words_of_options(text: str, options: tuple[str, ...], place: int | None) -> None:
    assert parse_choice(text, options) == place


TEAMS = ("Team B", "Team A", "Team C", "Team D")


@pytest.mark.parametrize(
    ("text", "options", "place"),
    [
        ("It is Team A", TEAMS, 1),
        ("Team A", TEAMS, 1),
        ("The answer is Team A.", TEAMS, 1),
        ("I would say team a wins", TEAMS, 1),
        ("C. Team C", TEAMS, 2),
        ("A", TEAMS, 0),
        ("B. Team A", TEAMS, 1),
        ("A. Team A", TEAMS, None),
        ("It plays in Serie A", ("Serie B", "Serie A"), 1),
        ("Oranges hold vitamin C", ("vitamin C", "vitamin A", "vitamin B"), 0),
        ("That is Mr. B.", ("Mr. A", "Mr. C", "Mr. B"), 2),
        ("He lives in Washington D.C.", ("New York", "Washington D.C.", "Boston", "Rome"), 1),
        ("Both A and B", ("red", "blue", "both A and B", "none"), 2),
        ("The answer is both A and B.", ("red", "blue", "both A and B", "none"), 2),
        ("C. Both A and B", ("red", "blue", "both A and B", "none"), 2),
        ("C++", ("C", "C++"), 1),
        ("c++.", ("C", "C++"), 1),
        ("C++ because it is fast", ("C", "C++", "C#"), 1),
        ("C#", ("C", "C++", "C#"), 2),
        ("I", (*"stuvwxyz", "i"), 8),
        ("I think it is C", (*"stuvwxyz", "q"), 2),
        ("B", ("C", "B", "A"), 1),  # its text and its letter
        ("B", ("B", "A"), None),  # one option's text, another's letter
        ("b.", ("B", "A"), None),
        ("\u0915\u0940 \u0939\u0948", ("\u0915", "\u0915\u0940"), 1),  # Hindi, a mark apart
        ("cafe\u0301", ("cafe", "caf\u00e9"), 1),
        ("at the cafe\u0301 there", ("cafe", "caf\u00e9"), 1),
    ],
)
def test_letters_within_options(text: str, options: tuple[str, ...], place: int | None) -> None:
    assert parse_choice(text, options) == place


@pytest.mark.parametrize(
    ("text", "options", "place"),
    [
        ("-5 degrees", ("5 degrees", "-5 degrees"), 1),
        ("5 degrees.", ("5 degrees", "-5 degrees"), 0),
        ("It is -5 degrees here", ("5 degrees", "-5 degrees"), 1),
        ("five degrees", ("5 degrees", "-5 degrees"), None),  # as near to one as to the other
        ("10%", ("10", "10%"), 1),
        ("About 10% of it", ("10", "10%"), 1),
        ("$5", ("5", "$5"), 1),
        ("+", ("-", "+"), 1),
        ("pm", ("PM", "pm"), 1),
        ("Pm", ("PM", "pm"), None),
        ("It is dark blue", ("blue", "dark blue"), 1),
        ("15.5", ("5", "15"), None),
        ("Red", ("red", "red", "blue"), 0),  # the same option twice
        ("A or B", ("red", "red", "blue"), None),
    ],
)
def test_options_that_differ_in_little(
    text: str, options: tuple[str, ...], place: int | None
) -> None:
    assert parse_choice(text, options) == place


def test_among_announced_ones_the_last_counts_unless_the_first_is_asked_for() -> None:
    text = "The answer is A. No, the answer is C."
    assert parse_choice(text, OPTIONS) == 2
    assert parse_choice(text, OPTIONS, tie_break="first") == 0


def test_how_many_options() -> None:
    assert chosen("Z") == "Z"
    assert chosen("Z", NEUTRAL[:25]) is None
    assert chosen("E", NEUTRAL[:4]) is None
    assert chosen("I", NEUTRAL[:9]) == "I"
    assert chosen("I think so", NEUTRAL[:9]) is None
    for count in (0, 27):
        with pytest.raises(ValueError, match="options"):
            parse_choice("A", [f"thing {n}" for n in range(count)])


@pytest.mark.parametrize(
    "piece",
    [
        "A or ",
        "likely ",
        "the answer is ",
        "and ",
        "not the ",
        "B. ",
        "(",
        "'",
        "the answer ",
        "\\boxed{",
    ],
)
def test_long_answers_are_read_at_once(piece: str) -> None:
    began = time.process_time()
    parse_choice(piece * (3000 // len(piece)) + "B", OPTIONS)
    assert time.process_time() - began < 2
