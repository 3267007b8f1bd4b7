"""Words of a caption, for comparisons and concepts.

Case, punctuation and the way in which accents are stored do not matter. Scripts that put no spaces
between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer) have a word for each character.
"""

import re
import unicodedata
from typing import Final

_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Japanese, Chinese
    "\U00020000-\U0003ffff"
)
_PLAIN_WORD: Final = re.compile(r"\w+")
_WORD: Final = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+")


def split_words(text: str) -> list[str]:
    """Return the words of a text in small letters.

    >>> split_words("Two dogs, RUNNING!"), split_words("一只狗 runs")
    (['two', 'dogs', 'running'], ['一', '只', '狗', 'runs'])
    """
    if text.isascii():
        return _PLAIN_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
