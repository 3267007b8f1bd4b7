"""The question task: what is asked, openly or with options, and how the answer is read.

Knows nothing of frames, models or files. The prompts are part of how a model was trained: changing
them changes what a model says. An answer that means no option, or two, is an error: no guess.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final, Self

from seedvideo.errors import AskError, ModelError
from seedvideo.tasks.think import inside_answer_marks, with_thinking
from seedvideo.tasks.words import fault_of

LETTERS: Final = ascii_uppercase
"""The labels of options, in order."""

MAX_OPTIONS: Final = len(LETTERS)
"""Most options of a question: as many as there are letters."""

_SPACES: Final = re.compile(r"\s+")
_MARKUP: Final = re.compile(r"[*`\"“”‘’]+|(?<!\w)'|'(?!\w)")
_AROUND: Final = " .,;:!?\"'“”‘’()[]*`"
_LEAD_IN: Final = re.compile(
    r"^(?:(?:so|therefore|thus),? )?"
    r"(?:the )?(?:(?:final|correct|best|right) )?(?:answer|option|choice)(?: is|:| =)+ ?",
    re.IGNORECASE,
)

# A letter is a label only if nothing makes a word, a contraction or a number of it.
_LABEL: Final = r"(?<![\w'.-])([A-Za-z])(?![\w'-]|\.\w)"
_ALONE: Final = re.compile(_LABEL)
_LEADING: Final = re.compile(
    rf"(?:option |choice )?[(\[{{<]?\s*{_LABEL}\s*(?:[.):,;\]}}>]+|[-–—] |$)", re.IGNORECASE
)
_ANNOUNCED: Final = re.compile(
    r"\b(?:answer|option|choice|choose|select|pick|go with)\b"
    rf"(?: would be| must be| is|:| =)*\s*(?:option |choice )?[(\[{{<]?\s*{_LABEL}",
    re.IGNORECASE,
)
_BRACKETED: Final = re.compile(r"[(\[{<]\s*([A-Za-z])\s*[)\]}>]")
_TRAILING: Final = re.compile(rf"{_LABEL}\W*$")
_CONNECTIVES: Final = re.compile(r" (?:and|or|because|since|as|for|which|that)\b", re.IGNORECASE)
_NEGATION: Final = re.compile(r"\b(?:not?|nor|never|neither|none|except|cannot)\b|n't\b")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that may be asked, with the options to choose from, if any. Made by `of`.

    Args:
        text: the user's words, without white space around them.
        options: none, or from 2 to `MAX_OPTIONS`, all different.
    """

    text: str
    options: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, options: Iterable[str] = ()) -> Self:
        """Check a question.

        Raises:
            AskError: ``ask.question_empty``, ``ask.question_invalid``, ``ask.options_count``,
                ``ask.option_empty`` or ``ask.option_repeated``.
        """
        text, stripped = text.strip(), tuple(option.strip() for option in options)
        if not text:
            raise AskError(
                "ask.question_empty", "the question is empty", hint="ask something about the video"
            )
        _check(stripped)
        fault = fault_of([text, *stripped])
        if fault is not None:
            whole = "the question with its options" if stripped else "the question"
            raise AskError("ask.question_invalid", f"{whole} {fault}")
        return cls(text=text, options=stripped)

    def prompt(self, *, thinking: bool = False) -> str:
        """The user's text, last in the sequence."""
        if not self.options:
            asked = f"{self.text} Answer in a few words."
        else:
            labelled = "; ".join(f"{a}. {b}" for a, b in zip(LETTERS, self.options, strict=False))
            asked = f"{self.text} Options: {labelled}. Answer with one of the options."
        return with_thinking(asked, thinking=thinking)


def _check(options: Sequence[str]) -> None:
    if len(options) == 1 or len(options) > MAX_OPTIONS:
        raise AskError(
            "ask.options_count",
            f"{len(options)} option{'s are' if options[1:] else ' is'} given,"
            f" expected none or 2 to {MAX_OPTIONS}",
            hint="give fewer options" if options[1:] else "give more options, or none",
        )
    seen: dict[str, str] = {}
    for label, option in zip(LETTERS, options, strict=False):
        if not option:
            raise AskError("ask.option_empty", f"option {label} is empty")
        if _folded(option) in seen:
            raise AskError(
                "ask.option_repeated",
                f"options {seen[_folded(option)]} and {label} are the same: {option!r}",
                hint="give each option once",
            )
        seen[_folded(option)] = label


def read_open(text: str) -> str:
    """Tidy an open answer: one line, without marks, quotes or words that only announce it.

    Args:
        text: the raw answer, its thought taken away.

    Raises:
        ModelError: ``model.empty_answer`` if it holds no letter or digit.

    >>> read_open('The answer is: "a red  ball."')
    'a red ball'
    """
    clean = _SPACES.sub(" ", inside_answer_marks(text)).strip()
    clean = _LEAD_IN.sub("", clean).strip(' "“”*`')
    if clean.endswith(".") and clean.count(".") == 1:
        clean = clean[:-1]
    if not any(character.isalnum() for character in clean):
        raise ModelError(
            "model.empty_answer",
            "the model gave an empty answer",
            hint="try another --policy or a larger --budget",
        )
    return clean.strip(' "“”*`')


def read_option(text: str, options: Sequence[str]) -> int:
    """Find which option an answer means: the first of `_SIGNS` that is there decides.

    Args:
        text: the raw answer, its thought taken away.
        options: at least two, all different.

    Returns:
        The option's place.

    Raises:
        ModelError: ``model.answer_unparsable`` if the answer means none of them, or several; the
            raw text stands in the message.

    >>> read_option("(b)", ["red", "blue"])
    1
    """
    clean = _SPACES.sub(" ", _MARKUP.sub("", inside_answer_marks(text))).strip()
    clean = _LEAD_IN.sub("", clean)
    for sign in _SIGNS:
        meant = sign(clean, options)
        if len(meant) == 1:
            return meant.pop()
        if meant:
            break
    raise ModelError(
        "model.answer_unparsable",
        f"the answer means no option, or several: {text!r}",
        hint="ask without options to read what the model has to say",
    )


def _whole(text: str, options: Sequence[str]) -> set[int]:
    """The answer is an option's text; one letter may be a label too, which has to agree."""
    meant = _equal(text, options)
    label = _place(_bare(text), len(options))
    if meant and label is not None:
        meant.add(label)
    return meant


def _leading_label(text: str, options: Sequence[str]) -> set[int]:
    """``B``, ``(b)``, ``B. blue``: what follows may not be another option, or another label."""
    found = _LEADING.match(text)
    label = None if found is None else _place(found[1], len(options))
    if found is None or label is None:
        return set()
    rest = text[found.end() :]
    other = _place(re.sub(r"\b(?:and|or)\b|\W", "", rest), len(options))
    return {label, *_equal(rest, options), *(() if other is None else (other,))}


def _announced_label(text: str, options: Sequence[str]) -> set[int]:
    """Announced, as in "so the answer is B": the last one counts."""
    return set(list(_labels(_ANNOUNCED, text, options))[-1:])


def _bracketed_label(text: str, options: Sequence[str]) -> set[int]:
    """In brackets, as in "it must be (B) here"."""
    return set(_labels(_BRACKETED, text, options))


def _leading_words(text: str, options: Sequence[str]) -> set[int]:
    """An option's text and then a stop, as in "No, it does not"."""
    led = [
        place
        for place, option in enumerate(options)
        if re.match(rf"{re.escape(_folded(option))} ?[.,;:!]", _folded(text))
    ]
    longest = max(led, key=lambda place: len(options[place]), default=None)
    return set() if longest is None else {longest, *_mentioned(text, options)[0]}


def _trailing_label(text: str, options: Sequence[str]) -> set[int]:
    """At the end, as in "I think that it is B": no other label may stand anywhere."""
    found = _TRAILING.search(text)
    if found is None or not found[1].isupper() or _NEGATION.search(text.casefold()):
        return set()
    return set(_labels(_ALONE, text, options))


def _mentioned_words(text: str, options: Sequence[str]) -> set[int]:
    """In the words, as in "it looks blue to me": told which it is, not which it is not."""
    meant, rest = _mentioned(text, options)
    return set() if _NEGATION.search(rest) else meant


_SIGNS: Final[tuple[Callable[[str, Sequence[str]], set[int]], ...]] = (
    _whole,
    _leading_label,
    _announced_label,
    _leading_words,
    _bracketed_label,
    _trailing_label,
    _mentioned_words,
)
"""Signs of what an answer means, the surest first. Each gives the places of the options meant."""


def _folded(text: str) -> str:
    """For comparing: lower case and single spaces."""
    return _SPACES.sub(" ", text).casefold()


def _bare(text: str) -> str:
    """For comparing: also without punctuation around."""
    return _folded(text).strip(_AROUND)


def _equal(text: str, options: Sequence[str]) -> set[int]:
    """Options that a text is, with its punctuation if that tells them apart."""
    for alike in (_folded, _bare):
        equal = {
            place
            for place, option in enumerate(options)
            if alike(option) == alike(text.strip()) != ""
        }
        if equal:
            return equal
    return set()


def _labels(form: re.Pattern[str], text: str, options: Sequence[str]) -> Iterator[int]:
    """Places of the labels in a text that stand in some form and are no words."""
    for found in form.finditer(text):
        place = _place(found[1], len(options))
        if place is not None and not _is_word(found[1], text[found.end(1) :]):
            yield place


def _is_word(letter: str, rest: str) -> bool:
    """Whether "a" is an article and "I" is somebody, by what follows."""
    is_followed = re.match(r" \w", rest) is not None and not _CONNECTIVES.match(rest)
    return is_followed and (letter in "AI" or letter.islower())


def _place(letter: str, count: int) -> int | None:
    """The place that a label stands for, where there are so many options."""
    place = LETTERS.find(letter.upper()) if len(letter) == 1 else -1
    return place if 0 <= place < count else None


def _mentioned(text: str, options: Sequence[str]) -> tuple[set[int], str]:
    """Options whose words occur, and the words that are left.

    Words that are part of a longer option's do not count: "dark blue" does not mention "blue".
    """
    rest, found = _folded(text), set()
    for place in sorted(range(len(options)), key=lambda place: -len(options[place])):
        words = re.escape(_bare(options[place]) or options[place])
        rest, count = re.subn(rf"(?<!\w){words}(?!\w)", "\0", rest)
        if count:
            found.add(place)
    return found, rest
