"""The caption task: what is asked, and how the answer becomes a sentence.

Knows nothing of frames, models or files. The prompt is part of how a model was trained: changing it
changes what a model says.

Thinking: how a model is asked to think before it answers, and how its thought is taken away.

As published: ``<think>thought</think>answer`` (Seed1.5-VL, appendix B.4). Knows no task. The suffix
is part of how a model was trained: changing it changes what a model says.

What every user's words must be before a model is asked: there, text, and not endless.

Knows no task but by the words that are given to it.
"""

import re
from collections.abc import Iterable
from typing import Final

from seedvideo.errors import ModelError

CAPTION_PROMPT: Final = "Describe the video."
"""The user's text, last in the sequence, for one caption of everything shown."""

THEN: Final = ", then "
"""What joins the parts of a caption that tells of several scenes, in their order."""

_SPACES: Final = re.compile(r"\s+")
_SPACE_BEFORE_STOP: Final = re.compile(r"\s+([.,;:!?])")
_SENTENCE_ENDS: Final = (".", "!", "?")


def parse_caption(text: str) -> str:
    """Make one clean sentence of a model's raw answer.

    White space becomes single spaces, the first letter a capital, and the sentence ends in a stop.
    A scene told twice in a row is told once.

    Args:
        text: the raw answer.

    Returns:
        The sentence, never empty.

    Raises:
        ModelError: ``model.empty_answer`` if the answer holds no letter or digit.

    >>> parse_caption(" a man  rides a bike . ")
    'A man rides a bike.'
    """
    clean = _SPACE_BEFORE_STOP.sub(r"\1", _SPACES.sub(" ", text).strip())
    if not any(character.isalnum() for character in clean):
        raise ModelError(
            "model.empty_answer",
            "the model gave an empty answer",
            hint="try another --policy or a larger --budget",
            retryable=False,
        )
    clean = _without_repeats(clean)
    clean = clean[0].upper() + clean[1:]
    return clean if clean.endswith(_SENTENCE_ENDS) else clean + "."


def _without_repeats(text: str) -> str:
    told: list[str] = []
    for scene in text.split(THEN):
        if not told or _bare(scene) != _bare(told[-1]):
            told.append(scene)
    return THEN.join(told)


def _bare(scene: str) -> str:
    return scene.casefold().strip(" " + "".join(_SENTENCE_ENDS))


THINK_SUFFIX: Final = " First think, between <think> and </think>."
"""Follows any prompt when thinking is on."""

_OPEN: Final = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_CLOSE: Final = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_ANSWER: Final = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.IGNORECASE | re.DOTALL)


def with_thinking(prompt: str, *, thinking: bool) -> str:
    """A prompt, with the wish to think first if there is one."""
    return prompt + THINK_SUFFIX if thinking else prompt


def without_thinking(prompt: str) -> str:
    """The prompt that `with_thinking` was given."""
    return prompt.removesuffix(THINK_SUFFIX)


def split_thought(text: str) -> tuple[str | None, str]:
    """Take a model's thought from its answer.

    The answer is what follows the last closing mark: a thought may quote the marks. The opening
    mark may be missing, because some models are given it in their prompt. A thought that was never
    closed was cut off: it has no answer.

    Args:
        text: as the model wrote it.

    Returns:
        The thought, None where there is none or it is empty, and the answer.

    >>> split_thought("<think>It is red.</think>A. red")
    ('It is red.', 'A. red')
    >>> split_thought("A. red")
    (None, 'A. red')
    """
    closed = list(_CLOSE.finditer(text))
    if closed:
        thought, answer = text[: closed[-1].start()], text[closed[-1].end() :]
    else:
        opened = _OPEN.search(text)
        if opened is None:
            return None, text.strip()
        thought, answer = text[opened.end() :], text[: opened.start()]
    thought = _CLOSE.sub(" ", _OPEN.sub(" ", thought)).strip()
    return thought or None, answer.strip()


def inside_answer_marks(text: str) -> str:
    """What stands between ``<answer>`` and ``</answer>``, or all of it where no mark stands.

    >>> inside_answer_marks("So: <answer>12.5 to 17.8</answer>")
    '12.5 to 17.8'
    """
    marked = _ANSWER.findall(text)
    return (marked[-1] if marked else text).strip()


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
