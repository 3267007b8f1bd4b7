"""Exact match of short answers, after what does not matter is taken away.

Case, punctuation at the ends of words, articles and runs of blanks do not matter; whether a number
is written in digits or in words does not either, up to twenty. Everything else does, combining
marks too; canonically equivalent texts are the same.
"""

import re
from typing import Final

from seedvideo.tasks.scripts import letters_only

_SMALL_NUMBERS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
)
_NUMBERS: Final = {word: str(number) for number, word in enumerate(_SMALL_NUMBERS.split())}
_ARTICLES: Final = frozenset({"a", "an", "the"})
_WORD: Final = re.compile(r"[^\W_]+(?:['’.:/-][^\W_]+)*")


def normalised(answer: str, *, number_words: bool = True, articles: bool = False) -> str:
    """An answer as it is compared.

    Args:
        answer: as written.
        number_words: whether ``three`` and ``3`` are the same.
        articles: whether articles count.
    """
    composed, shape = letters_only(answer.lower())
    found = [composed[match.start() : match.end()] for match in _WORD.finditer(shape)]
    words = [word.replace("’", "'") for word in found]
    if not articles:
        # An answer that is nothing but an article is a letter or a word in itself.
        words = [word for word in words if word not in _ARTICLES] or words
    if number_words:
        words = [_NUMBERS.get(word, word) for word in words]
    return " ".join(words)


def exact_match(
    answer: str, truth: str, *, number_words: bool = True, articles: bool = False
) -> bool:
    """Whether two answers are the same; an empty one is never right."""
    one, other = (
        normalised(text, number_words=number_words, articles=articles) for text in (answer, truth)
    )
    return bool(one) and one == other
