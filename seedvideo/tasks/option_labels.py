"""Option labels in free text: find the letters that stand for options, and grade their firmness.

Separate from `question_answering` to keep both modules short. All letters are treated alike: the
words around ``A`` and ``I`` distinguish them from the article and the pronoun, and likewise ``B``
in ``B vitamins`` and ``C`` in ``Team C``. A letter is a label if

1. no letter, digit or hyphen joins it to a word; Chinese, Japanese and Korean words may touch it,
2. the word before it can precede a label (``is``, ``option``, ``because``), and
3. the word after it cannot follow an article (``is``, ``because``, ``fits``).

`Firmness` lists the grades. Comparisons (``B rather than A``) and denials (``not A``, ``A is
wrong``) deny a label; labels named together (``A, C``, ``A or B``) are contested.
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

OPTION_LABELS: Final = ascii_uppercase
"""Labels of options, in order."""


class Firmness(IntEnum):
    """How firmly an answer chooses a label, from low to high."""

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
    """``(B)``: the answer contains nothing else."""


class Label(NamedTuple):
    """One letter in an answer that stands for an option.

    Args:
        option_index: index of the option.
        start: index of the letter in the text.
        end: index after the letter.
        firmness: how firmly the answer chooses it.
        is_contested: whether it is named together with another label, as in ``A or B``.
    """

    option_index: int
    start: int
    end: int
    firmness: Firmness
    is_contested: bool


_CONTEXT_CHARACTERS: Final = 120
"""Characters on either side of a letter that are inspected: about a sentence."""

_MAX_GAP_CHARACTERS: Final = 40
"""Maximum characters between two labels that are named together."""

_OPENING_BRACKETS: Final = " \t([{<"
_PUNCTUATION: Final = " \t\r\n.,:;!()[]{}<>-=|/"


def find_labels(text: str, texts: Sequence[str]) -> list[Label]:
    """Find the labels of options in an answer, in order.

    Args:
        text: the answer, without markup and quotes; see `question_answering.strip_markup`.
        texts: the options' texts in the same form.

    Raises:
        ValueError: if there are fewer than one or more than 26 options.
    """
    if not 1 <= len(texts) <= len(OPTION_LABELS):
        raise ValueError(f"{len(texts)} options, expected 1 to {len(OPTION_LABELS)}")
    shown = _mask_options(text, texts)
    matches = []
    for match in LETTER.finditer(shown):
        option_index = OPTION_LABELS.index(match[0].upper())
        if option_index < len(texts):
            own_end = _end_of_own_text(text, match.end(), texts[option_index])
            firmness = _classify(shown, match.start(), match.end(), own_end)
            if firmness is not None:
                matches.append(
                    (Label(option_index, match.start(), match.end(), firmness, False), own_end)
                )
    return _resolve_groups(shown, matches)


def _mask_options(text: str, texts: Sequence[str]) -> str:
    """Mask options' texts that contain a single letter, such as ``Team A`` and ``A and B``."""
    for option in sorted(texts, key=len, reverse=True):
        if len(option) > 1 and LETTER.search(option):
            words = r"\s+".join(map(re.escape, option.split()))
            pattern = rf"(?<!\w){words}(?!\w)"
            text = re.sub(pattern, lambda m: "\0" * len(m[0]), text, flags=re.IGNORECASE)
    return text


def _end_of_own_text(text: str, end: int, option: str) -> int | None:
    """Return where the option's own text after its label ends; None if other text follows."""
    if not option:
        return None
    words = r"\s+".join(map(re.escape, option.split()))
    match = re.compile(rf"[)\]}}>.:,\s-]*{words}(?!\w)", re.IGNORECASE).match(text, end)
    return match.end() if match else None


def _classify(text: str, start: int, end: int, own_end: int | None) -> Firmness | None:
    """Return how firmly the letter at ``start`` is chosen; None if it is not a label."""
    letter, before, after = text[start:end], text[:start], text[end:]
    if not before.strip(_PUNCTUATION) and not after.strip(_PUNCTUATION):
        return Firmness.ALONE
    left = before.rstrip(_OPENING_BRACKETS)
    near = left[-_CONTEXT_CHARACTERS:]
    closed = CLOSED.match(after)
    is_bracketed = closed is not None and before[-1:] in tuple("([{<")
    right = after[closed.end() :] if closed else after
    right = (right if own_end is None else text[own_end:])[:_CONTEXT_CHARACTERS]
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
    """Return whether a label may follow these words: a name such as ``Team A`` is not one."""
    if not left or not left[-1].isalnum():
        return not TITLE.search(left)
    word = LAST_WORD.search(left)
    if word is None:
        return CJK_BEFORE.search(left) is not None
    if len(word[0]) == 1 and word[0].isupper():
        return True
    return word[0].lower() in LINKS or word[0].lower().endswith("ly")


def _may_precede(after: str) -> bool:
    """Return whether a label may precede these words: ``A man`` and ``B team`` contain none."""
    following = after.lstrip(" \t")
    if not following or not following[0].isalnum():
        return True
    if re.match(rf"[{CJK}]", following):
        return CJK_AFTER.match(following) is not None
    if LETTER.match(following) and following[0].isupper():
        return True
    return not following[0].isascii() or CONTINUES.match(following) is not None


def _is_written_as_label(left: str, after: str, *, is_bracketed: bool) -> bool:
    """Return whether a small letter is a label: bracketed, before punctuation, or announced."""
    marked = after[:1] in tuple(".):") or not after.strip(_PUNCTUATION)
    announced = (
        ANNOUNCED.search(left[-_CONTEXT_CHARACTERS:])
        or AFFIRMED.match(after.lstrip())
        or re.search(r"\b(?:option|choice|letter)\Z", left, re.I)
    )
    return is_bracketed or (marked and not left.strip(_PUNCTUATION)) or bool(announced)


def _is_last_line(before: str, after: str) -> bool:
    """Return whether the letter is the whole last line."""
    line = before.rpartition("\n")
    return bool(line[1]) and not line[2].strip(_PUNCTUATION) and not after.strip(_PUNCTUATION)


def _resolve_groups(text: str, matches: Sequence[tuple[Label, int | None]]) -> list[Label]:
    """Resolve labels that are named together, and labels that only begin list items."""
    labels = [label for label, _ in matches]
    group: list[int] = []
    for at in range(len(matches) + 1):
        if at < len(matches) and group and _are_joined(text, matches[group[-1]], matches[at]):
            group.append(at)
            continue
        _resolve_group(text, labels, group)
        group = [at]
    for at, label in enumerate(labels):
        if label.firmness is Firmness.LEADS and _is_list_item(text, labels, at, matches[at][1]):
            labels[at] = label._replace(firmness=Firmness.MENTIONED)
    return labels


def _are_joined(text: str, one: tuple[Label, int | None], other: tuple[Label, int | None]) -> bool:
    """Return whether two labels are named together: ``A or B``, or ``A. red B. blue``."""
    if one[1] is not None and other[1] is not None and one[0].firmness < Firmness.ANNOUNCED:
        is_listed = one[1] <= other[0].start and not text[one[1] : other[0].start].strip(
            _PUNCTUATION
        )
        if is_listed and re.match(r"[ \t]*(?:[.,;:|)\n]|\Z)", text[other[1] :]):
            return True
    between = text[one[0].end : other[0].start]
    if ";" in between and (
        one[0].firmness is Firmness.DENIED
        or re.match(r"[ \t]*(?:;|\Z)", text[other[0].end :]) is None
    ):
        return False  # a separate clause
    return len(between) <= _MAX_GAP_CHARACTERS and JOINT.match(between) is not None


def _resolve_group(text: str, labels: list[Label], group: list[int]) -> None:
    """Resolve labels named together: all denied, contested, or two separate clauses."""
    if len(group) < 2:
        return
    first, last = labels[group[0]], labels[group[-1]]
    joint = text[labels[group[-2]].end : last.start]
    is_clause = SINGULAR.match(text, last.end) and not re.search(r"\bn?or\b|/", joint)
    if is_clause:
        has_and = re.search(r"\band\b|&", joint) is not None
        is_strong = first.firmness in (Firmness.ANNOUNCED, Firmness.DENIED)
        if not has_and or is_strong or last.firmness is Firmness.DENIED:
            _resolve_group(text, labels, group[:-1])
            return
    if Firmness.DENIED in (first.firmness, last.firmness):
        for at in group:
            labels[at] = labels[at]._replace(firmness=Firmness.DENIED)
    elif len({labels[at].option_index for at in group}) > 1:
        for at in group:
            firmness = labels[at].firmness
            if firmness is Firmness.LEADS:
                firmness = Firmness.MENTIONED
            labels[at] = labels[at]._replace(firmness=firmness, is_contested=True)


def _is_list_item(text: str, labels: Sequence[Label], at: int, own_end: int | None) -> bool:
    """Return whether a leading label only begins a list: ``A: not seen there. B: seen there``."""
    for other in labels[at + 1 :]:
        if other.option_index != labels[at].option_index and SENTENCE_START.search(
            text[max(other.start - _MAX_GAP_CHARACTERS, 0) : other.start]
        ):
            clause = text[own_end or labels[at].end : other.start]
            return DENIAL.search(clause) is not None
    return False
