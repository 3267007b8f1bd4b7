"""A question's prompt is the trained one; its answer means one option, or is an error."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.errors import AskError, ModelError
from seedvideo.tasks.option_labels import OPTION_LABELS
from seedvideo.tasks.question_answering import Question, parse_open_answer, require_choice

OPTIONS = ("red", "blue", "dark blue", "a dog")


def test_the_prompts_are_the_trained_ones() -> None:
    assert Question.of(" What colour is it? ").prompt() == (
        "What colour is it? Answer in a few words."
    )
    question = Question.of("Which colour", ["red ", "blue", "green"])
    assert question.prompt() == (
        "Which colour Options: A. red; B. blue; C. green. Answer with one of the options."
    )
    assert question.prompt(thinking=True) == (
        question.prompt() + " First think, between <think> and </think>."
    )


@pytest.mark.parametrize("count", [2, 26])
def test_so_many_options(count: int) -> None:
    question = Question.of("Which?", [f"option {n}" for n in range(count)])
    assert f"{OPTION_LABELS[count - 1]}. option {count - 1}. Answer" in question.prompt()


@pytest.mark.parametrize(
    ("text", "options", "code", "message"),
    [
        ("", (), "ask.question_empty", "the question is empty"),
        (" \n ", ("a", "b"), "ask.question_empty", "empty"),
        ("What?", ("a",), "ask.options_count", "1 option is given, expected none or 2 to 26"),
        ("What?", ("a",) * 300, "ask.options_count", "300 options are given"),
        ("What?", map(str, range(27)), "ask.options_count", "27 options"),
        ("What?", ("a", " ", "c"), "ask.option_empty", "option B is empty"),
        ("What?", ("a dog", "b", "A  Dog "), "ask.option_repeated", "options A and C are the same"),
        ("x" * 10_001, (), "ask.question_invalid", "the question has 10,001 characters"),
        ("x", ("a" * 9_999, "b"), "ask.question_invalid", "with its options has 10,001"),
        ("caf\udce9", (), "ask.question_invalid", "is not text"),
    ],
)
def test_invalid_questions_are_refused(
    text: str, options: tuple[str, ...], code: str, message: str
) -> None:
    with pytest.raises(AskError) as caught:
        Question.of(text, options)
    assert caught.value.code == code
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        # labels
        ("B", "B"),
        ("b", "B"),
        ("(b)", "B"),
        ("[B]", "B"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B)", "B"),
        ("b) blue is right", "B"),
        ("B. blue", "B"),
        ("B: blue", "B"),
        ("B - blue", "B"),
        ("(B) blue", "B"),
        ("B, because it is.", "B"),
        ("Option B", "B"),
        ("A", "A"),
        ("\\boxed{B}", "B"),
        ("<answer>B</answer>", "B"),
        # labels that are announced
        ("The answer is B", "B"),
        ("The answer is (B).", "B"),
        ("the answer is: b", "B"),
        ("Answer: B", "B"),
        ("The best answer is B. blue", "B"),
        ("The correct option is B", "B"),
        ("The ball is red, no: so the answer is B because it is.", "B"),
        ("First I took option A, but the answer is B", "B"),
        ("I choose B", "B"),
        ("It must be (B) here", "B"),
        ("I think that it's B.", "B"),
        # words
        ("blue", "B"),
        ("Blue.", "B"),
        ("'blue'", "B"),
        ('"Dark  blue"', "C"),
        ("a dog", "D"),
        ("A dog", "D"),
        ("The answer is a dog", "D"),
        ("It is blue.", "B"),
        ("It looks dark blue to me", "C"),
        ("Blue, I think", "B"),
        ("blue\n\nBecause the sky is.", "B"),
    ],
)
def test_which_option_is_meant(text: str, letter: str) -> None:
    assert OPTION_LABELS[require_choice(text, OPTIONS)] == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "E",
        "none",
        "None of the options",
        "A man is here",
        "a small cat",
        "A or B",
        "A, B",
        "B and C",
        "Both A and B",
        "(A) and (B)",
        "B. red",
        "blue or red",
        "Blue, or red",
        "It is not blue",
        "It isn't B",
        "The answer is not B",
        "greenish-blues",
    ],
)
def test_what_means_no_option_is_an_error_with_the_raw_text(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        require_choice(text, OPTIONS)
    assert caught.value.code == "model.answer_unparsable"
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("text", "options", "place"),
    [
        ("No, it isn't.", ("yes", "no"), 1),
        ("Yes", ("yes", "no"), 0),
        ("There is no dog", ("yes", "no"), 1),
        (".5", ("5", ".5"), 1),
        ("5", ("5", ".5"), 0),
        ("C++", ("C", "C++"), 1),
        ("I", (*"stuvwxyz", "i"), 8),
        ("I think it is C", (*"stuvwxyz", "q"), 2),
        ("?", ("!", "?"), 1),
    ],
)
def test_options_of_odd_kinds(text: str, options: tuple[str, ...], place: int) -> None:
    assert require_choice(text, options) == place


def test_a_letter_that_is_also_another_options_text_means_nothing_sure() -> None:
    with pytest.raises(ModelError):
        require_choice("B", ("B", "A"))
    assert require_choice("A", ("A", "B")) == 0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("red", "red"),
        ("red.", "red"),
        ('The answer is: "a red  ball."', "a red ball"),
        ("Answer: U.S.", "U.S."),
        ("3.5 s.", "3.5 s."),
        (" a\n b", "a b"),
        ("**red**", "red"),
        ("<answer>red</answer>", "red"),
        ("The answer depends.", "The answer depends"),
    ],
)
def test_an_open_answer(text: str, answer: str) -> None:
    assert parse_open_answer(text) == answer


@pytest.mark.parametrize("text", ["", " . ", '""', "The answer is: ", "?!"])
def test_an_empty_answer_is_an_error(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_open_answer(text)
    assert caught.value.code == "model.empty_answer"


@given(
    st.text() | st.lists(st.sampled_from([*"ABab.,:()", "blue", "not", "is", " "])).map(" ".join)
)
def test_any_text_means_an_option_or_is_an_error(text: str) -> None:
    with suppress(ModelError):
        assert 0 <= require_choice(text, OPTIONS) < len(OPTIONS)


@given(
    st.integers(0, 3), st.sampled_from(["{l}", "({l})", "{l}. {t}", "{t}", "The answer is {l}."])
)
def test_what_we_would_write_ourselves_is_read(place: int, form: str) -> None:
    text = form.format(l=OPTION_LABELS[place], t=OPTIONS[place])
    assert require_choice(text, OPTIONS) == place
