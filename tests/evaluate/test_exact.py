"""Short answers that are the same, and some that are not."""

import pytest

from seedvideo.evaluate.metrics.answers import exact_match
from seedvideo.tasks.question_answering import normalize_answer


def test_exact_match() -> None:
    assert exact_match("A red car.", "red car")
    assert exact_match("Three", "3")
    assert not exact_match("Three", "3", number_words=False)
    assert not exact_match("a red car", "red car", articles=True)
    assert not exact_match("", "")
    assert not exact_match("red", "red car")
    assert normalize_answer("The  man's 3.5-inch DISK!") == "man's 3.5-inch disk"
    assert normalize_answer("A") == "a"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u0915\u093f", "\u0915\u0940"),  # Hindi ki, kii
        ("\u0926\u093f\u0928", "\u0926\u0940\u0928"),  # Hindi: day, poor
        ("\u0e44\u0e21\u0e48", "\u0e44\u0e21\u0e49"),  # Thai: not, wood
        ("\u0bae\u0bb2\u0bc8", "\u0bae\u0bbe\u0bb2\u0bc8"),  # Tamil: mountain, evening
        ("\u09ac\u09be\u09b2", "\u09ac\u09b2"),  # Bengali
        ("\u0643\u064e\u062a\u064e\u0628", "\u0643\u064f\u062a\u0650\u0628"),  # Arabic, vowelled
        ("cafe\u0301", "cafe"),
        ("A\u030angstro\u0308m", "angstrom"),
        ("\u304b\u3099", "\u304b"),  # kana ga in decomposed form, ka
    ],
)
def test_combining_marks_distinguish_words(one: str, other: str) -> None:
    assert not exact_match(one, other)
    assert exact_match(one, f" {one}!")
    assert exact_match(other, f"'{other}'.")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("\u304b\u3099", "\u304c"),
        ("\u1112\u1161\u11ab", "\ud55c"),  # Korean: jamo, syllable
        ("\u0958", "\u0915\u093c"),  # Hindi qa
        ("CAFE\u0301.", "caf\u00e9"),
    ],
)
def test_equivalent_forms_are_the_same(one: str, other: str) -> None:
    assert exact_match(one, other)


def test_marks_on_no_letter_do_not_matter() -> None:
    assert exact_match("\u2764\ufe0f red", "red")
    assert not exact_match("\u0301", "\u0301")
