"""From what a model wrote to the option that it chose.

Models answer ``B``, ``(B) because ...``, ``The best option is B.`` or with the option's own words.
The rules, of which the highest that is met decides:

1. The answer is one option's text: to the sign, else whatever the case, else whatever the marks
   around it, else as short answers are compared (`normalised`).
2. Nothing but a letter is there.
3. It is announced: ``answer is B``, ``option B``, ``I choose (B)``.
4. It leads, with a mark after it: ``B. a red car``.
5. The answer begins with one option's words and a mark, and names no other option: ``No, since B``.
6. A letter comes last: ``... so it must be B.``
7. It stands in round brackets.
8. A full stop, colon or bracket follows it.
9. It is a capital on its own.
10. The answer holds exactly one option's words, and denies nothing.

Among letters that meet the same rule the last one counts, as in lmms-eval; EgoSchema's script takes
the first. An article or pronoun that begins a sentence (``A dog runs``) is no letter. `letter_of`
is these published rules of letters alone. `option_of` goes beyond them where they read a choice
that nobody made: a letter that is denied (``not B``, ``B is wrong``) is passed over, and one out
of several that are named in one breath (``A or B``) is no answer.

What meets no rule is no answer: it is wrong and counted as unread, where some scripts draw a random
option.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from seedvideo.evaluate.exact import normalised

AmongEquals: TypeAlias = Literal["last", "first"]
"""Which letter counts where several meet the same rule."""

ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Names of options, in order."""

_LETTER: Final = re.compile(r"(?<![\w'’])[A-Za-z](?![\w'’+#])")
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

_AROUND: Final = " .,:;!?*\"'`“”‘’"
"""What may stand around an option's text without changing it, unlike a sign such as ``-``."""

_SEVERAL: Final = re.compile(
    r"""
    (?:\([A-Za-z]\) | (?<![\w'’(])[A-Z](?![\w'’+#]))
    (?:
        [\s)\].:*"'`]* (?:,\s*)? (?:(?i:and|n?or)\b | [,/&])
        [\s(\[*"'`]* (?:(?i:option|letter)\s+)? [(\[*"'`]*
        (?<![\w'’])[A-Z](?![\w'’+#])
    )+
    """,
    re.VERBOSE,
)
"""Letters side by side, with nothing but joints between them."""

_JOINT: Final = re.compile(r"\b(?:and|n?or)\b|[/&]", re.IGNORECASE)
_NEW_CLAUSE: Final = re.compile(r"\s+(?:is|was|has|does|can|isn|wasn|hasn|doesn)\b")
"""After ``B and A``: the ``and`` joins clauses and not letters, as in ``B and A is wrong``."""

_DENIED_BEFORE: Final = re.compile(
    r"""
    (?:\b(?:not|nor|neither|never|except|cannot)\b | n['’]t\b)
    (?:
        [\s(\[*"'`]+
        (?:the|be|been|is|was|it|it['’]s|that|this|think|believe|say|choose|pick|select|answer
           |option|choice|letter|correct|right|best|either|to|go|with|would|should|could)\b
    )*
    [\s(\[*"'`]*$
    """,
    re.IGNORECASE | re.VERBOSE,
)
_DENIED_AFTER: Final = re.compile(
    r"""
    [)\]*"'`]* \s+
    (?:
        (?:is|was|can|could|does|did|would|seems|looks)
        (?:n['’]t | \s+(?:not|never|wrong|incorrect|false|ruled|excluded|impossible))
        | can['’]t | cannot
    )\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_DENIAL: Final = re.compile(r"\b(?:not?|nor|never|neither|none|except|cannot)\b|n't\b")

_TAKEN: Final = "\0"
"""Stands where an option's words stood."""

_BARE, _SAID, _LEADS, _LAST, _BRACKETS, _MARKED, _CAPITAL = range(7, 0, -1)


class _Letter(NamedTuple):
    """A letter in an answer that stands for an option, and the rule that it meets; 0 for none."""

    rank: int
    place: int
    start: int
    end: int


def letter_of(text: str, *, count: int, among_equals: AmongEquals = "last") -> int | None:
    """Which letter an answer names, as the place of its option; None if none can be read.

    Args:
        text: what the model wrote, without its thoughts.
        count: how many options there are; letters beyond them are no answers.
        among_equals: which letter counts where several meet the same rule.

    Raises:
        ValueError: if there are fewer than one or more than 26 options.
    """
    chosen = _highest(_letters(text, count=count), among_equals)
    return None if chosen is None else chosen.place


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
        by_words: whether rules 5 and 10 count.
    """
    whole = _whole(text, options)
    if whole is not None:
        return whole
    letters = [one for one in _letters(text, count=len(options)) if not _is_denied(text, one)]
    chosen = _highest(letters, among_equals)
    if by_words and (chosen is None or chosen.rank < _LEADS):
        leading = _leading(text, options)
        if leading:
            return _only(leading, options)
    if chosen is not None:
        return None if _is_one_of_several(text, chosen) else chosen.place
    if not by_words:
        return None
    meant, rest = _mentioned(text, options)
    return None if _DENIAL.search(rest) else _only(meant, options)


def without_letter(option: str, place: int) -> str:
    """An option's text without the letter before it, so that ``B. Two.`` becomes ``Two.`` alone."""
    letter = ALPHABET[place] if place < len(ALPHABET) else ""
    match = re.match(rf"\s*\(?{letter}[.):]\s*(?=\S)", option) if letter else None
    return option[match.end() :].strip() if match else option.strip()


def _letters(text: str, *, count: int) -> Iterator[_Letter]:
    if not 1 <= count <= len(ALPHABET):
        raise ValueError(f"{count} options, expected 1 to {len(ALPHABET)}")
    for match in _LETTER.finditer(text):
        place = ALPHABET.index(match[0].upper())
        rank = _rank(match[0], text[: match.start()], text[match.end() :])
        if place < count and rank:
            yield _Letter(rank, place, match.start(), match.end())


def _highest(letters: Iterable[_Letter], among: AmongEquals) -> _Letter | None:
    found = list(letters)
    # `max` takes the first of equal ones.
    in_order = found if among == "first" else found[::-1]
    return max(in_order, key=lambda letter: letter.rank, default=None)


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


def _is_denied(text: str, letter: _Letter) -> bool:
    """Whether the words next to a letter say that it is not the answer."""
    before, after = text[: letter.start], text[letter.end :]
    return bool(_DENIED_BEFORE.search(before) or _DENIED_AFTER.match(after))


def _is_one_of_several(text: str, letter: _Letter) -> bool:
    """Whether a letter is named in one breath with others: ``A or B``, ``A, B and C``."""
    for match in _SEVERAL.finditer(text):
        joints = {joint.lower() for joint in _JOINT.findall(match[0])}
        if joints == {"and"} and _NEW_CLAUSE.match(text, match.end()):
            continue
        if joints and match.start() <= letter.start < match.end():
            return True
    return False


def _whole(text: str, options: Sequence[str]) -> int | None:
    """The option whose text the answer is; None if it is none's, or several differ too little."""
    forms: tuple[Callable[[str], str], ...] = (str.strip, _folded, _bare, normalised)
    for form in forms:
        written = form(text)
        equal = [
            place for place, option in enumerate(options) if written and form(option) == written
        ]
        if equal:
            # A looser form could only fit more.
            return _only(equal, options)
    return None


def _leading(text: str, options: Sequence[str]) -> set[int]:
    """Options whose words begin the answer, a mark after them, and all that it names then."""
    begun = _folded(text).lstrip(_AROUND)
    led = {
        place
        for place, option in enumerate(options)
        if (words := _bare(option)) and re.match(rf"{re.escape(words)} ?[.,;:!](?!\w)", begun)
    }
    return led | _mentioned(text, options)[0] if led else set()


def _mentioned(text: str, options: Sequence[str]) -> tuple[set[int], str]:
    """Options whose words occur, and the words that are left.

    Words that are part of a longer option's do not count: ``dark blue`` does not mention ``blue``.
    """
    found: set[int] = set()
    rest = _folded(text)
    # As written first, since signs may be all that tells options apart.
    for form in (_bare, normalised):
        by_words: dict[str, list[int]] = {}
        for place, option in enumerate(options):
            by_words.setdefault(form(option), []).append(place)
        if form is normalised:
            rest = f" {_TAKEN} ".join(normalised(part) for part in rest.split(_TAKEN))
        for words in sorted(by_words, key=len, reverse=True):
            # A letter alone would be found in every article.
            if not words or (form is _bare and len(words) == 1 and words.isalpha()):
                continue
            rest, count = re.subn(_as_words(words), _TAKEN, rest)
            if count:
                found.update(by_words[words])
    return found, rest


def _as_words(words: str) -> str:
    """A pattern of words that are not part of longer ones, such as ``5`` of ``3.5``."""
    return rf"(?<!\w)(?<!\w['’.:/-]){re.escape(words)}(?!\w)(?!['’.:/-]\w)"


def _only(places: Collection[int], options: Sequence[str]) -> int | None:
    """The only option meant; options with the same text are one."""
    texts = {options[place].strip() for place in places}
    return min(places) if len(texts) == 1 else None


def _folded(text: str) -> str:
    """For comparing: lower case and single spaces."""
    return " ".join(text.casefold().split())


def _bare(text: str) -> str:
    """For comparing: also without marks around."""
    return _folded(text).strip(_AROUND)
