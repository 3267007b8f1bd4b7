"""From what a model wrote to the option that it chose.

Models answer ``B``, ``(B) because ...``, ``The best option is B.`` or with the option's own words.
The rules, of which the highest that any letter meets decides:

1. The answer is one option's text, whatever the case and punctuation.
2. Nothing but a letter is there.
3. It is announced: ``answer is B``, ``option B``, ``I choose (B)``.
4. It leads, with a mark after it: ``B. a red car``.
5. It comes last: ``... so it must be B.``
6. It stands in round brackets.
7. A full stop, colon or bracket follows it.
8. It is a capital on its own.
9. The answer holds exactly one option's words.

Among letters that meet the same rule the last one counts, as in lmms-eval; EgoSchema's script takes
the first. An article or pronoun that begins a sentence (``A dog runs``) is no letter. What meets no
rule is no answer: it is wrong and counted as unread, where some scripts draw a random option.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from seedvideo.evaluate.exact import normalised

AmongEquals: TypeAlias = Literal["last", "first"]
"""Which letter counts where several meet the same rule."""

ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Names of options, in order."""

_LETTER: Final = re.compile(r"(?<![\w'’])[A-Za-z](?![\w'’])")
_ANNOUNCED: Final = re.compile(
    r"""
    \b(?:answer|option|choice|choose|select|pick)s?\b
    [\s:("'*]*
    (?:(?:is|are|was|would\ be|should\ be|must\ be)\b)?
    [\s:]*
    (?:(?:the\ )?(?:option|choice|letter)\b)?
    [\s:(\["'*]*$
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MARKS: Final = " \t\r\n.,:;!()[]{}*\"'`_-"
"""What may stand around a letter without being a word."""

_BARE, _SAID, _LEADS, _LAST, _BRACKETS, _MARKED, _CAPITAL = range(7, 0, -1)


def letter_of(text: str, *, count: int, among_equals: AmongEquals = "last") -> int | None:
    """Which letter an answer names, as the place of its option; None if none can be read.

    Args:
        text: what the model wrote, without its thoughts.
        count: how many options there are; letters beyond them are no answers.
        among_equals: which letter counts where several meet the same rule.

    Raises:
        ValueError: if there are fewer than one or more than 26 options.
    """
    if not 1 <= count <= len(ALPHABET):
        raise ValueError(f"{count} options, expected 1 to {len(ALPHABET)}")
    best, chosen = 0, None
    for match in _LETTER.finditer(text):
        place = ALPHABET.index(match[0].upper())
        rank = _rank(match[0], text[: match.start()], text[match.end() :])
        if place < count and (rank > best or (rank == best > 0 and among_equals == "last")):
            best, chosen = rank, place
    return chosen


def option_of(
    text: str,
    options: Sequence[str],
    *,
    among_equals: AmongEquals = "last",
    by_words: bool = True,
) -> int | None:
    """Which option an answer chooses, as its place; None if none can be read.

    Args:
        text: what the model wrote, without its thoughts.
        options: their texts, without letters.
        among_equals: see `letter_of`.
        by_words: whether rule 9 counts.
    """
    written = normalised(text)
    plain = [normalised(option) for option in options]
    if written and written in plain:
        return plain.index(written)
    chosen = letter_of(text, count=len(options), among_equals=among_equals)
    if chosen is not None or not by_words:
        return chosen
    held = [place for place, option in enumerate(plain) if option and _holds(written, option)]
    return held[0] if len(held) == 1 else None


def without_letter(option: str, place: int) -> str:
    """An option's text without the letter before it, so that ``B. Two.`` becomes ``Two.`` alone."""
    letter = ALPHABET[place] if place < len(ALPHABET) else ""
    match = re.match(rf"\s*\(?{letter}[.):]\s*(?=\S)", option) if letter else None
    return option[match.end() :].strip() if match else option.strip()


def _rank(letter: str, before: str, after: str) -> int:
    """The rule that a letter meets, by where it stands; 0 for none."""
    brackets = before.endswith("(") and after.startswith(")")
    marked = after[:1] in tuple(".:),") or not after.strip(_MARKS)
    if not before.strip(_MARKS) and not after.strip(_MARKS):
        return _BARE
    if not brackets and _is_word(letter, before, after):
        return 0
    if _ANNOUNCED.search(before) and (letter.isupper() or marked):
        return _SAID
    if letter.islower():
        return _BRACKETS if brackets else 0
    if not before.strip(_MARKS) and (brackets or after[:1] in tuple(".:),\n*")):
        return _LEADS
    if not after.strip(_MARKS):
        return _LAST
    if brackets:
        return _BRACKETS
    return _MARKED if after[:1] in tuple(".:)") else _CAPITAL


def _is_word(letter: str, before: str, after: str) -> bool:
    """Whether a letter is an article or a pronoun: English has ``a``, ``A`` and ``I``."""
    followed = re.match(r"[ \t]+[a-z]", after) is not None
    if letter == "A":
        begins = before.rstrip()
        return followed and (not begins or begins[-1] in ".!?:\n")
    return followed and letter in "aI"


def _holds(text: str, words: str) -> bool:
    return f" {words} " in f" {text} "
