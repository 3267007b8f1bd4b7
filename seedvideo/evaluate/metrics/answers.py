"""From what a model wrote to the option that it chose.

The rules are those of `seedvideo.tasks.question_answering`, with one more before them: an answer
that is one option's text, to the sign, is that option, since predictions of `seedvideo ask` are
options' texts.
What means no option is no answer: it is wrong and counted as unread, where some scripts draw a
random option.

Exact match of short answers, after what does not matter is taken away; see `normalised`.

Circular options: a question counts only if it is right whichever place the answer has.

As VNBench and MMBench do it. It costs as many runs as there are options and takes away what a model
gains by liking a letter. Knows nothing of how answers are read.
"""

import re
from collections.abc import Sequence

from seedvideo.tasks.option_labels import LETTERS
from seedvideo.tasks.question_answering import AmongEquals, normalised, option_meant


def option_of(
    text: str, options: Sequence[str], *, among_equals: AmongEquals = "last"
) -> int | None:
    """Find the option that an answer chooses, as its index; None if none can be read.

    Args:
        text: what the model wrote, without its thoughts.
        options: their texts, without letters.
        among_equals: which letter counts where several are announced.

    Raises:
        ValueError: if there are fewer than one or more than 26 options.
    """
    written = text.strip()
    for place, option in enumerate(options):
        if written and option.strip() == written:
            return place
    return option_meant(text, options, among_equals=among_equals)


def without_letter(option: str, place: int) -> str:
    """An option's text without the letter before it, so that ``B. Two.`` becomes ``Two.`` alone."""
    letter = LETTERS[place] if place < len(LETTERS) else ""
    match = re.match(rf"\s*\(?{letter}[.):]\s*(?=\S)", option) if letter else None
    return option[match.end() :].strip() if match else option.strip()


def exact_match(
    answer: str, truth: str, *, number_words: bool = True, articles: bool = False
) -> bool:
    """Whether two answers are the same; an empty one is never right."""
    one, other = (
        normalised(text, number_words=number_words, articles=articles) for text in (answer, truth)
    )
    return bool(one) and one == other


def rotations(options: Sequence[str]) -> list[tuple[str, ...]]:
    """The options as they are, then turned by one place at a time: the first goes to the end."""
    return [(*options[turn:], *options[:turn]) for turn in range(len(options))]


def circular_accuracy(rights: Sequence[Sequence[bool]]) -> float:
    """Share of questions that are right in every rotation.

    Args:
        rights: for each question, whether each of its rotations was answered right.

    Raises:
        ValueError: if there is no question, or one has no rotation.
    """
    if not rights or not all(rights):
        raise ValueError("every question needs at least one rotation")
    return sum(all(each) for each in rights) / len(rights)
