"""What every user's words must be before a model is asked: there, text, and not endless.

Knows no task but by the words that are given to it.
"""

from collections.abc import Iterable
from typing import Final

MAX_CHARACTERS: Final = 10_000
"""Most characters that a user may ask with: attention grows with their square."""


def fault_of(words: Iterable[str]) -> str | None:
    r"""What is wrong with a user's words, as the end of a sentence; None where nothing is.

    >>> fault_of(["what is it?"])
    >>> fault_of(["what", "\udcff"])
    'is not text: it holds bytes that are no UTF-8'
    """
    whole = "".join(words)
    if len(whole) > MAX_CHARACTERS:
        return f"has {len(whole):,} characters, expected at most {MAX_CHARACTERS:,}"
    try:
        whole.encode("utf-8")
    except UnicodeEncodeError:
        return "is not text: it holds bytes that are no UTF-8"
    return None
