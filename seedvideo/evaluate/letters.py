"""From what a model wrote to the option that it chose.

The rules are those of `seedvideo.tasks.choice`, with one more before them: an answer that is one
option's text, to the sign, is that option, since predictions of `seedvideo ask` are options' texts.
What means no option is no answer: it is wrong and counted as unread, where some scripts draw a
random option.
"""

import re
from collections.abc import Sequence

from seedvideo.tasks.choice import AmongEquals, option_meant
from seedvideo.tasks.labels import LETTERS


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
