"""Choice parsing for benchmarks, and exact match of short answers.

Choices are parsed by the rules of `seedvideo.tasks.question_answering`, with one more before them:
an answer that equals one option's text exactly is that option, since predictions of `seedvideo ask`
are options' texts. An answer without an option is wrong and counted as unparsed; some published
scripts draw a random option instead.

Separate from that module because only benchmarks have options with letters in them.
"""

import re
from collections.abc import Sequence

from seedvideo.tasks import question_answering
from seedvideo.tasks.option_labels import OPTION_LABELS
from seedvideo.tasks.question_answering import TieBreak, normalize_answer


def parse_choice(
    text: str, options: Sequence[str], *, among_equals: TieBreak = "last"
) -> int | None:
    """Return the index of the option that an answer chooses, or None if no rule finds one.

    Args:
        text: text that the model generated, without its reasoning.
        options: texts of the options, without letters.
        among_equals: which letter counts if several are announced.

    Raises:
        ValueError: if there are fewer than 1 or more than 26 options.
    """
    stripped = text.strip()
    for i, option in enumerate(options):
        if stripped and option.strip() == stripped:
            return i
    return question_answering.parse_choice(text, options, tie_break=among_equals)


def strip_option_letter(option: str, index: int) -> str:
    """Remove the letter before the text of the option of this index: ``B. Two.`` -> ``Two.``."""
    letter = OPTION_LABELS[index] if index < len(OPTION_LABELS) else ""
    match = re.match(rf"\s*\(?{letter}[.):]\s*(?=\S)", option) if letter else None
    return option[match.end() :].strip() if match else option.strip()


def exact_match(
    answer: str, truth: str, *, number_words: bool = True, articles: bool = False
) -> bool:
    """Return whether two answers are equal once normalised; an empty one is never right."""
    one, other = (
        normalize_answer(text, number_words=number_words, articles=articles)
        for text in (answer, truth)
    )
    return bool(one) and one == other
