"""The question task: what is asked, openly or with options, and how the answer is read.

Knows nothing of frames, models or files. The prompts are part of how a model was trained: changing
them changes what a model says. An answer that means no option, or two, is an error: no guess.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from seedvideo.errors import AskError, ModelError
from seedvideo.tasks.choice import option_meant
from seedvideo.tasks.labels import LETTERS
from seedvideo.tasks.think import inside_answer_marks, with_thinking, without_thinking
from seedvideo.tasks.words import fault_of

MAX_OPTIONS: Final = len(LETTERS)
"""Most options of a question: as many as there are letters."""

_OPEN_SUFFIX: Final = " Answer in a few words."

_SPACES: Final = re.compile(r"\s+")
_LEAD_IN: Final = re.compile(
    r"^(?:(?:so|therefore|thus),? )?"
    r"(?:the )?(?:(?:final|correct|best|right) )?(?:answer|option|choice)(?: is|:| =)+ ?",
    re.IGNORECASE,
)


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
            asked = self.text + _OPEN_SUFFIX
        else:
            labelled = "; ".join(f"{a}. {b}" for a, b in zip(LETTERS, self.options, strict=False))
            asked = f"{self.text} Options: {labelled}. Answer with one of the options."
        return with_thinking(asked, thinking=thinking)


def open_question(prompt: str) -> str | None:
    """The question of a prompt that `Question.prompt` made; None where it has options.

    >>> open_question(Question.of("What is it?").prompt(thinking=True))
    'What is it?'
    """
    words = without_thinking(prompt)
    return words.removesuffix(_OPEN_SUFFIX) if words.endswith(_OPEN_SUFFIX) else None


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
    """Find which option an answer means; see `seedvideo.tasks.choice`.

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
    meant = option_meant(text, options)
    if meant is not None:
        return meant
    raise ModelError(
        "model.answer_unparsable",
        f"the answer means no option, or several: {text!r}",
        hint="ask without options to read what the model has to say",
    )


def _folded(text: str) -> str:
    """For comparing: lower case and single spaces."""
    return _SPACES.sub(" ", text).casefold()
