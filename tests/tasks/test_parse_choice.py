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

OPTIONS = ("a red car", "a blue car", "two dogs", "nothing")
NEUTRAL = tuple(f"thing number {n}" for n in range(100, 126))
"""As many options as there are letters; no case below holds their words."""

CHOSEN = {
    "alone": ["B", " b\n", "(B)", "[B]", "{B}", "<B>", "B.", "B)", "B:", "(b)", "b)", "b."],
    "quotes and markup": [
        "'B'",
        '"B"',
        "\u2018B\u2019",
        "\u201cB\u201d",
        "`B`",
        "_B_",
        "__B__",
        "*B*",
        "**B**",
        "***B***",
        "**(B)**",
        "**B.**",
        "<b>B</b>",
        "The answer is 'B'.",
        "The answer is _B_",
        "The answer is **B**.",
        "**Answer:** B",
        "**Answer: B**",
        "### Answer\nB",
        "~~A~~ B",
    ],
    "machine forms": [
        '{"answer": "B"}',
        "{'answer': 'B'}",
        '{"answer": "B", "reason": "option C would need two dogs"}',
        '{"reason": "A is not seen", "answer": "B"}',
        "<answer>B</answer>",
        "<think>A or C? The answer is C.</think>B",
        "<answer>(B)</answer>",
        "<answer>B. a blue car</answer>",
        "Option A is tempting. <answer>B</answer>",
        "\\boxed{B}",
        "$\\boxed{B}$",
        "\\boxed{\\text{B}}",
        "So the answer is $\\boxed{\\textbf{(B)}}$.",
        "Option A and option C are out. \\boxed{B}",
        "$B$",
        "answer = B",
        "answer: b",
        "Answer_B",
        "option_B",
    ],
    "leading": [
        "B. a blue car",
        "B) a blue car",
        "(B) a blue car",
        "B: a blue car",
        "B - a blue car",
        "B \u2013 a blue car",
        "B, a blue car",
        "B a blue car",
        "B\na blue car",
        "B, because it is seen.",
        "B because it is seen",
        "B since the car is blue",
        "(B) since the car is blue",
        "B as shown at the end",
        "B due to the colour",
        "B in my view",
        "Option B",
        "Option B: a blue car",
        "Option (B)",
        "Choice B.",
        "Answer B",
        "The answer B",
        "B: because A. is not there",
    ],
    "announced": [
        "The answer is B",
        "The answer is (B).",
        "the answer is: b",
        "Answer: B",
        "Answer - B",
        "Answer:\nB",
        "Answer: B because it is shown.",
        "Final answer: B is right",
        "My final answer is: **B**",
        "The best option is B",
        "The correct option is B.",
        "The most accurate choice would be B.",
        "The correct answer is option B.",
        "The correct answer is the letter B",
        "The answer to the question is B.",
        "The best choice based on the video is (B) here.",
        "I choose B",
        "I choose option B",
        "I would pick B.",
        "I'll go with B",
        "I am going with B here",
        "I'd select B",
        "I'm leaning towards B.",
        "My guess is B",
        "B is correct.",
        "B is the correct answer.",
        "B is the correct answer because it is shown.",
        "B is correct because it is shown",
        "B is clearly right",
        "B is the best answer",
        "B is the answer",
        "B seems right",
        "B must be correct",
        "B would be the best choice",
        "Option B is correct",
        "(B) is correct",
        "B's right",
        "So the answer is B, I think",
    ],
    "stated": [
        "It is B",
        "It's B.",
        "I think B",
        "I think that it's B.",
        "I believe it is B",
        "I would say B",
        "It must be B",
        "It must be (B) here",
        "It should be B, not A",
        "It shows (B) here",
        "Therefore, B",
        "Hence B.",
        "Thus B is left",
        "Clearly B",
        "B fits best",
        "B best describes the scene",
        "Only B fits",
    ],
    "others are rebutted": [
        "The correct answer is B. Options A, C and D are incorrect.",
        "B. Options A, C and D are incorrect.",
        "**B. a blue car**\n\nExplanation: option C would need two dogs.",
        "The answer is B. The other options (A, C, D) do not match.",
        "Answer: B\nExplanation: option C is about dogs.",
        "B. Option A shows a red car, option C two dogs.",
        "B\n\nA is wrong, since no red car is seen.",
        "B. a blue car\n\nExplanation:\nA. The red car never appears.\nC. There are dogs.",
        "The answer is B. The other options are A, C and D.",
        "B is correct, while A, C and D are not.",
        "The answer is B; A, C and D are wrong.",
        "The answer is B. It is not A.",
        "B. It can't be A because the car is blue.",
        "I was going to say A, but B is right.",
        "Option B is right; options A and C are wrong.",
        "The answer is B because A was ruled out.",
        "B, since A contradicts the video",
        "(B) because (A) is wrong",
    ],
    "the end decides": [
        "First I took option A, but the answer is B",
        "Both A. and C. look right, but the answer is B",
        "A. could be, but the answer is B",
        "A man walks in, then a car; so it must be B.",
        "A is wrong, and C too. The answer is D, no: the answer is B",
        "Let me think. A shows a red car, C shows dogs.\n\nB",
        "Let me think. A shows a red car, C shows dogs.\n**(B)**",
        "A or B? The answer is B",
        "Step 1: look at A. Step 2: look at B.\nFinal answer: B",
        "A: not seen. B: seen. C: not seen. Answer: B",
        "You might think A, but it is B.",
        "The answer is A. Wait, actually B.",
        "A and C are wrong, so B",
        "After eliminating A, C and D, B remains.",
        "There is no doubt that the answer is B",
    ],
    "compared and denied": [
        "B rather than A",
        "B instead of A",
        "B is better than A",
        "B is more likely than A",
        "B over A",
        "I prefer B over C",
        "B, not A",
        "not A but B",
        "It is not A but B",
        "It is B, not A",
        "It can't be A, it must be B",
        "The answer is not A, it is B",
        "The answer is B and A is wrong",
        "B unlike A shows it",
        "Neither A nor C, so B",
        "Instead of A, I choose B",
        "None other than B",
        "The wrong answer is A, so B",
        "A isn't seen; it is B",
        "I don't think it is A. It is B.",
    ],
    "verdicts": [
        "A: no; B: yes",
        "A: no\nB: yes\nC: no\nD: no",
        "A: wrong. B: correct. C: wrong.",
        "A \u2717\nB \u2713\nC \u2717",
        "A \u274c\nB \u2705",
        "A - incorrect\nB - correct",
        "A) false\nB) true",
        "A) a red car: no\nB) a blue car: yes\nC) two dogs: no\nD) nothing: no",
        "Option A is incorrect because no red car is seen. Option B is correct.",
        "A, C, D are wrong. B",
        "Not A; B.",
        "It might be A, but B is more likely.",
        "It could be A. But B is better.",
        "It could be A or C, but I think B.",
    ],
    "other writing": [
        "\uff22",  # full width
        "\uff08\uff22\uff09",
        "\u3010B\u3011",
        "\u300cB\u300d",
        "\u24b7",  # circled
        "答案是B",  # the answer is B
        "答案是\uff22\u3002",
        "答案\uff1aB",
        "答案B",
        "正确答案是B\u3002",
        "答案应该是B\uff0c因为车是蓝色的",
        "选B",  # choose B
        "我选择B\u3002",
        "應選B",
        "选项B正确",  # option B is right
        "选项B是正确的",
        "不是A\uff0c答案是B",  # not A, the answer is B
        "B是对的\uff0cA是错的",  # B is right, A is wrong
        "应该选B而不是A",  # choose B rather than A
        "选B吧",  # let us choose B
        "B才是正确答案",  # only B is the right answer
        "B比A更好",  # B is better than A
        "A和C都不对\uff0c选B",  # A and C are both wrong, choose B
        "정답은 B입니다",  # the right answer is B
        "정답은 B",
        "정답: B",
        "답은 B입니다.",
        "정답은 B라고 생각합니다",  # I think that the answer is B
        "정답은 B예요",
        "B로 하겠습니다",  # I take B
        "A가 아니라 B입니다",  # not A but B
        "A보다 B가 맞습니다",  # B is right rather than A
        "B가 정답입니다",
        "答えはBです",  # the answer is B
        "正解はBです\u3002",
        "選択肢Bが正しい",  # option B is right
        "Bです",
        "B번",  # number B
        "Bが正解です",
        "答えはBになります",
        "AではなくBです",  # not A but B
        "Bの方が正しい",  # B is the right one of the two
        "La respuesta es B",
        "Die Antwort ist B.",
        "La r\u00e9ponse est B",
        "A resposta \u00e9 B",
        "\u041e\u0442\u0432\u0435\u0442: B",
    ],
}
"""Answers that choose B, by kind; with every other letter in its place they choose that one."""

NOT_CHOSEN = {
    "nothing said": ["", "  ", "no idea", "None of the options", "?", "..."],
    "words, not labels": [
        "A man walks",
        "A dog runs",
        "The answer is a dog",
        "The answer is: A dog",
        "B team",
        "B vitamins are good",
        "I see a dog",
        "Vitamin B1",
        "Vitamin B",
        "It is Team B",
        "The answer is Team B",
        "Serie B",
        "Mr. B",
        "Washington B.C.",
        "the D.B. cooper case",
        "plan B",
        "R&B music",
        "a B/W picture",
        "group B wins",
        "B-roll",
        "a B-side",
        "It's the dog's",
        "B队赢了",  # team B won
        "B比赛很精彩",  # match B is exciting
        "B로봇",  # robot B
        "维生素B",  # vitamin B
    ],
    "several": [
        "A or B",
        "A, B",
        "A B",
        "A, C",
        "A; C",
        "A/B",
        "A & B",
        "(A) and (B)",
        "(A)(B)",
        "A, B, C, D",
        "A, B or C",
        "A or maybe B",
        "Both A and B",
        "Either A or B is right",
        "The answer is A or B",
        "The answer is A and B",
        "The answer is A, B",
        "A and B are correct",
        "A and B is correct",
        "Answer: A, C",
        "I choose A or B",
        "A. a red car B. a blue car",
        "A. a red car\nB. a blue car\nC. two dogs\nD. nothing",
        "(A) a red car, (B) a blue car",
        "Perhaps (A) or (C), who knows",
        "It shows (A) here and (C) there",
        "A shows a car, B shows a car.",
        "A或B",
        "A、B都对",  # A and B are both right
        "答案是A和B",
    ],
    "denied": [
        "It is not B",
        "The answer is not B",
        "It isn't (B)",
        "I don't think it is B",
        "Because B is wrong",
        "B is incorrect",
        "B is not correct",
        "B can't be right",
        "B: no",
        "Neither A nor B",
        "Neither A, B nor C",
        "A and B are wrong",
        "Options A, B and C are incorrect.",
        "Anything but B",
        "The wrong answer is B",
        "I would rule out B",
        "不是B",
        "B是错的",
    ],
    "in doubt": [
        "<think>The answer is B",
        "A to D",
        "A: B",
        "B>A>C>D",
        "A is possible but so is B",
        "The answer could be A. The answer could be B.",
        "I can't tell whether it is A or B",
        "选A还是选B",  # choose A or choose B
        "Is it B or C?",
        "If B is correct, the car is blue",
        "\u0042\u0042",
    ],
}


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
