"""Find the letters in an answer that stand for options, and judge how firmly each is chosen.

The rules treat all letters alike: the words around ``A`` and ``I`` tell them from the article and
the pronoun, and ``B`` in ``B vitamins`` and ``C`` in ``Team C`` likewise. A letter is a label if

1. no letter, digit or hyphen makes a word of it; Chinese, Japanese and Korean words may touch it,
2. the word before it is one that can lead to a label (``is``, ``option``, ``because``), and
3. the word after it is one that cannot follow an article (``is``, ``because``, ``fits``).

Firmness, from high to low: `Firmness`. Comparisons (``B rather than A``) and denials (``not A``,
``A is wrong``) take the label away; labels side by side (``A, C``, ``A or B``) are contested.
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from string import ascii_uppercase
from typing import Final, NamedTuple

from seedvideo.tasks.label_words import (
    AFFIRMED,
    ANNOUNCED,
    BEGINS,
    CJK,
    CJK_AFTER,
    CJK_BEFORE,
    CLOSED,
    CONTINUES,
    DENIAL,
    DENIED_AFTER,
    DENIED_BEFORE,
    FITS,
    JOINT,
    LAST_WORD,
    LETTER,
    LINKS,
    SENTENCE_START,
    SINGULAR,
    STATED,
    STATEMENT,
    SUPPOSED,
    TITLE,
)

LETTERS: Final = ascii_uppercase
"""The labels of options, in order."""


class Firmness(IntEnum):
    """How firmly an answer chooses a label."""

    DENIED = 0
    MENTIONED = 1
    """``option C``, ``(C)``, ``C shows a dog``."""

    STATED = 2
    """``it is B``, ``so B``, ``B fits best``."""

    LEADS = 3
    """``B. a red car``, ``Option B, because``: the answer begins with it."""

    ANNOUNCED = 4
    """``the answer is B``, ``I choose B``, ``B is correct``, or a last line with ``B`` alone."""

    ALONE = 5
    """``(B)``: the answer holds nothing else."""


class Label(NamedTuple):
    """One letter in an answer that stands for an option.

    Args:
        place: index of the option.
        start: index of the letter in the text.
        end: index after the letter.
        firmness: how firmly the answer chooses it.
        is_contested: whether another label stands beside it, as in ``A or B``.
    """

    place: int
    start: int
    end: int
    firmness: Firmness
    is_contested: bool


_NEAR: Final = 120
"""Characters on either side of a letter that can say how firmly it is chosen."""

_MOST_BETWEEN: Final = 40
"""Most characters between two labels that are named together."""

_OPENING: Final = " \t([{<"
_MARKS: Final = " \t\r\n.,:;!()[]{}<>-=|/"


def find_labels(text: str, texts: Sequence[str]) -> list[Label]:
    """Find the labels of options in an answer, in order.

    Args:
        text: the answer, without markup and quotes; see `choice.plain`.
        texts: the options' texts in the same form.

    Raises:
        ValueError: if there are fewer than one or more than 26 options.
    """
    if not 1 <= len(texts) <= len(LETTERS):
        raise ValueError(f"{len(texts)} options, expected 1 to {len(LETTERS)}")
    shown = _masked(text, texts)
    found = []
    for match in LETTER.finditer(shown):
        place = LETTERS.index(match[0].upper())
        if place < len(texts):
            own_end = _after_own_text(text, match.end(), texts[place])
            firmness = _firmness(shown, match.start(), match.end(), own_end)
            if firmness is not None:
                found.append((Label(place, match.start(), match.end(), firmness, False), own_end))
    return _weighed(shown, found)


def _masked(text: str, texts: Sequence[str]) -> str:
    """Hide options' texts that hold a letter on its own, such as ``Team A`` and ``A and B``."""
    for option in sorted(texts, key=len, reverse=True):
        if len(option) > 1 and LETTER.search(option):
            words = r"\s+".join(map(re.escape, option.split()))
            pattern = rf"(?<!\w){words}(?!\w)"
            text = re.sub(pattern, lambda m: "\0" * len(m[0]), text, flags=re.IGNORECASE)
    return text


def _after_own_text(text: str, end: int, option: str) -> int | None:
    """Where the option's own text ends that follows its label; None if something else follows."""
    if not option:
        return None
    words = r"\s+".join(map(re.escape, option.split()))
    match = re.compile(rf"[)\]}}>.:,\s-]*{words}(?!\w)", re.IGNORECASE).match(text, end)
    return match.end() if match else None


def _firmness(text: str, start: int, end: int, own_end: int | None) -> Firmness | None:
    """How firmly the letter at some place is chosen; None if it is no label."""
    letter, before, after = text[start:end], text[:start], text[end:]
    if not before.strip(_MARKS) and not after.strip(_MARKS):
        return Firmness.ALONE
    left = before.rstrip(_OPENING)
    near = left[-_NEAR:]
    closed = CLOSED.match(after)
    is_bracketed = closed is not None and before[-1:] in tuple("([{<")
    right = after[closed.end() :] if closed else after
    right = (right if own_end is None else text[own_end:])[:_NEAR]
    if not is_bracketed and not (
        _may_follow(near) and (own_end is not None or _may_precede(after))
    ):
        return None
    if letter.islower() and not _is_written_as_label(left, after, is_bracketed=is_bracketed):
        return None
    following = right.lstrip(" \t")
    if DENIED_BEFORE.search(near) or SUPPOSED.search(near):
        return Firmness.DENIED
    if DENIED_AFTER.match(right):
        return Firmness.DENIED
    if following.startswith("?"):
        return Firmness.MENTIONED
    if AFFIRMED.match(following) or ANNOUNCED.search(near) or _is_last_line(before, after):
        return Firmness.ANNOUNCED
    is_mark = re.match(r"[.):,;\n]| ?[\u2013\u2014-]", after) is not None
    is_statement = STATEMENT.match(following) is not None and not is_mark
    if BEGINS.match(left) and (own_end is not None or is_bracketed or not is_statement):
        return Firmness.LEADS
    if STATED.search(near) or (not is_mark and FITS.match(following)):
        return Firmness.STATED
    return Firmness.MENTIONED


def _may_follow(left: str) -> bool:
    """Whether a label may stand after these words: a name such as ``Team A`` is none."""
    if not left or not left[-1].isalnum():
        return not TITLE.search(left)
    word = LAST_WORD.search(left)
    if word is None:
        return CJK_BEFORE.search(left) is not None
    if len(word[0]) == 1 and word[0].isupper():
        return True
    return word[0].lower() in LINKS or word[0].lower().endswith("ly")


def _may_precede(after: str) -> bool:
    """Whether a label may stand before these words: ``A man`` and ``B team`` hold none."""
    following = after.lstrip(" \t")
    if not following or not following[0].isalnum():
        return True
    if re.match(rf"[{CJK}]", following):
        return CJK_AFTER.match(following) is not None
    if LETTER.match(following) and following[0].isupper():
        return True
    return not following[0].isascii() or CONTINUES.match(following) is not None


def _is_written_as_label(left: str, after: str, *, is_bracketed: bool) -> bool:
    """Whether a small letter is a label: in brackets, before a mark, or announced."""
    marked = after[:1] in tuple(".):") or not after.strip(_MARKS)
    announced = (
        ANNOUNCED.search(left[-_NEAR:])
        or AFFIRMED.match(after.lstrip())
        or re.search(r"\b(?:option|choice|letter)\Z", left, re.I)
    )
    return is_bracketed or (marked and not left.strip(_MARKS)) or bool(announced)


def _is_last_line(before: str, after: str) -> bool:
    """Whether the letter is all that the last line holds."""
    line = before.rpartition("\n")
    return bool(line[1]) and not line[2].strip(_MARKS) and not after.strip(_MARKS)


def _weighed(text: str, found: Sequence[tuple[Label, int | None]]) -> list[Label]:
    """Labels, with those side by side judged together."""
    labels = [label for label, _ in found]
    group: list[int] = []
    for at in range(len(found) + 1):
        if at < len(found) and group and _are_joined(text, found[group[-1]], found[at]):
            group.append(at)
            continue
        _judge(text, labels, group)
        group = [at]
    for at, label in enumerate(labels):
        if label.firmness is Firmness.LEADS and _is_argued(text, labels, at, found[at][1]):
            labels[at] = label._replace(firmness=Firmness.MENTIONED)
    return labels


def _are_joined(text: str, one: tuple[Label, int | None], other: tuple[Label, int | None]) -> bool:
    """Whether two labels are named together: ``A or B``, or ``A. red B. blue``."""
    if one[1] is not None and other[1] is not None and one[0].firmness < Firmness.ANNOUNCED:
        is_listed = one[1] <= other[0].start and not text[one[1] : other[0].start].strip(_MARKS)
        if is_listed and re.match(r"[ \t]*(?:[.,;:|)\n]|\Z)", text[other[1] :]):
            return True
    between = text[one[0].end : other[0].start]
    if ";" in between and (
        one[0].firmness is Firmness.DENIED
        or re.match(r"[ \t]*(?:;|\Z)", text[other[0].end :]) is None
    ):
        return False  # It is a clause of its own.
    return len(between) <= _MOST_BETWEEN and JOINT.match(between) is not None


def _judge(text: str, labels: list[Label], group: list[int]) -> None:
    """Judge labels that are named together: all denied, contested, or two clauses after all."""
    if len(group) < 2:
        return
    first, last = labels[group[0]], labels[group[-1]]
    joint = text[labels[group[-2]].end : last.start]
    is_clause = SINGULAR.match(text, last.end) and not re.search(r"\bn?or\b|/", joint)
    if is_clause:
        has_and = re.search(r"\band\b|&", joint) is not None
        is_strong = first.firmness in (Firmness.ANNOUNCED, Firmness.DENIED)
        if not has_and or is_strong or last.firmness is Firmness.DENIED:
            _judge(text, labels, group[:-1])
            return
    if Firmness.DENIED in (first.firmness, last.firmness):
        for at in group:
            labels[at] = labels[at]._replace(firmness=Firmness.DENIED)
    elif len({labels[at].place for at in group}) > 1:
        for at in group:
            firmness = labels[at].firmness
            if firmness is Firmness.LEADS:
                firmness = Firmness.MENTIONED
            labels[at] = labels[at]._replace(firmness=firmness, is_contested=True)


def _is_argued(text: str, labels: Sequence[Label], at: int, own_end: int | None) -> bool:
    """Whether a leading label only begins a list, as in ``A: not seen there. B: seen there``."""
    for other in labels[at + 1 :]:
        if other.place != labels[at].place and SENTENCE_START.search(
            text[max(other.start - _MOST_BETWEEN, 0) : other.start]
        ):
            clause = text[own_end or labels[at].end : other.start]
            return DENIAL.search(clause) is not None
    return False
