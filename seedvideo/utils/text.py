"""Escaping of untrusted text from files and models for display.

A file name or a caption may contain characters that move a cursor, clear a screen, change the
reading direction or end a subtitle cue. They are escaped or removed here.
"""

import unicodedata
from collections.abc import Iterable
from typing import Final

_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ACTIVE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories of control characters, lone surrogates, line and paragraph separators."""


def _is_active(character: str) -> bool:
    return character in _BIDI or unicodedata.category(character) in _ACTIVE


def printable(name: str) -> str:
    r"""Return a name on one line, unprintable characters escaped, so that the file can be found.

    >>> printable("a\x1b[2J\nb.mp4")
    'a\\x1b[2J\\nb.mp4'
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii") if _is_active(character) else character
        for character in name
    )


def printable_lines(text: str) -> str:
    """Apply `printable` to each line of a text."""
    return "\n".join(printable(line) for line in text.split("\n"))


def one_line(text: str) -> str:
    r"""Return prose on one line, without unprintable characters, white space collapsed.

    >>> one_line("a dog\n\n runs\x1b[31m")
    'a dog runs[31m'
    """
    spaced = (" " if character.isspace() else character for character in text)
    return " ".join("".join(c for c in spaced if not _is_active(c)).split())


def format_fraction(part: int, whole: int) -> str:
    """Format a count and its fraction of a total: ``1,234 of 5,000 (24.7%)``."""
    return f"{part:,} of {whole:,} ({100 * part / whole:.1f}%)"


MAX_USER_CHARACTERS: Final = 10_000
"""Maximum characters of a user's text: attention grows with the square of its length."""


def find_problem(words: Iterable[str]) -> str | None:
    r"""Return what is wrong with a user's text, as the end of a sentence; None if it is valid.

    >>> find_problem(["what is it?"])
    >>> find_problem(["what", "\udcff"])
    'is not text: it contains bytes that are not valid UTF-8'
    """
    joined = "".join(words)
    if len(joined) > MAX_USER_CHARACTERS:
        return f"has {len(joined):,} characters, expected at most {MAX_USER_CHARACTERS:,}"
    try:
        joined.encode("utf-8")
    except UnicodeEncodeError:
        return "is not text: it contains bytes that are not valid UTF-8"
    return None
