"""Make text that came from a file or a model harmless where it is shown.

A file name or a caption may hold characters that move a cursor, clear a screen, turn the direction
of reading or end a subtitle cue. Here they lose that power. Knows nothing of records or formats.
"""

import unicodedata
from typing import Final

_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ACTIVE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories of control characters, lone surrogates, line and paragraph separators."""


def _is_active(character: str) -> bool:
    return character in _BIDI or unicodedata.category(character) in _ACTIVE


def printable(name: str) -> str:
    r"""A name on one line, what is not printable spelled out, so that the file can still be found.

    >>> printable("a\x1b[2J\nb.mp4")
    'a\\x1b[2J\\nb.mp4'
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii") if _is_active(character) else character
        for character in name
    )


def printable_lines(text: str) -> str:
    """Several lines, each made `printable`."""
    return "\n".join(printable(line) for line in text.split("\n"))


def one_line(text: str) -> str:
    r"""Prose on one line: what is not printable goes, any run of white space becomes one space.

    >>> one_line("a dog\n\n runs\x1b[31m")
    'a dog runs[31m'
    """
    spaced = (" " if character.isspace() else character for character in text)
    return " ".join("".join(c for c in spaced if not _is_active(c)).split())


def format_fraction(part: int, whole: int) -> str:
    """Format a part of a whole: ``1,234 of 5,000 (24.7%)``."""
    return f"{part:,} of {whole:,} ({100 * part / whole:.1f}%)"
