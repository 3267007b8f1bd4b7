"""Words of any script for regular expressions, which treat combining marks as no letters.

Vowels of Indic scripts, tones of Thai and accents in decomposed form are marks: without them
different words would be the same.
"""

import unicodedata
from typing import Final

_JOINERS: Final = "\u200c\u200d"
"""Shape the letters beside them in Indic and Arabic scripts."""

_LETTER: Final = "x"


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
