"""How texts are compared: words of any script, and short answers without what does not matter.

In short answers case, punctuation at the ends of words, articles and runs of blanks do not matter;
whether a number is written in digits or in words does not either, up to twenty. Everything else
does. Regular expressions treat combining marks (vowels of Indic scripts, tones of Thai, accents in
decomposed form) as no letters: without them different words would be the same.
"""

import re
import unicodedata
from typing import Final

_JOINERS: Final = "\u200c\u200d"
"""Shape the letters beside them in Indic and Arabic scripts."""

_LETTER: Final = "x"

_SMALL_NUMBERS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
)
_NUMBERS: Final = {word: str(number) for number, word in enumerate(_SMALL_NUMBERS.split())}
_ARTICLES: Final = frozenset({"a", "an", "the"})
_WORD: Final = re.compile(r"[^\W_]+(?:['’.:/-][^\W_]+)*")


def letters_only(text: str) -> tuple[str, str]:
    """Compose a text (NFC), and make a shape of it in which marks after letters are letters.

    Returns:
        The composed text and its shape, equally long: what is found in the shape has the same place
        in the text.
    """
    if text.isascii():
        return text, text
    composed = unicodedata.normalize("NFC", text)
    shape: list[str] = []
    for character in composed:
        is_mark = character in _JOINERS or unicodedata.category(character)[0] == "M"
        shape.append(_LETTER if is_mark and shape and shape[-1].isalnum() else character)
    return composed, "".join(shape)


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
