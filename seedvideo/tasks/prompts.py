"""Prompts and clean-up that the tasks share: captions, reasoning tags, checks of user text.

Every prompt text is written in this folder: the caption prompt and the request for reasoning here,
those of questions and queries in `question_answering` and `grounding`, which add this request.

Reasoning follows the published format ``<think>reasoning</think>answer`` (Seed1.5-VL, appendix
B.4). Prompts and suffixes are part of how a model was trained: a changed word changes its output.
"""

import re
from typing import Final

from seedvideo.errors import ModelError

CAPTION_PROMPT: Final = "Describe the video."
"""The prompt for one caption of all frames."""

SENTENCE_JOINER: Final = ", then "
"""Joins the parts of a caption of several scenes, in order."""

_SPACES: Final = re.compile(r"\s+")
_SPACE_BEFORE_PUNCTUATION: Final = re.compile(r"\s+([.,;:!?])")
_SENTENCE_ENDS: Final = (".", "!", "?")


def parse_caption(text: str) -> str:
    """Turn a model's raw answer into one clean sentence.

    White space is collapsed, the first letter capitalized and a full stop added. A scene repeated
    immediately is removed.

    Args:
        text: the raw answer.

    Returns:
        The sentence, never empty.

    Raises:
        ModelError: ``model.empty_answer`` if the answer has no letter or digit.

    >>> parse_caption(" a man  rides a bike . ")
    'A man rides a bike.'
    """
    clean = _SPACE_BEFORE_PUNCTUATION.sub(r"\1", _SPACES.sub(" ", text).strip())
    if not any(character.isalnum() for character in clean):
        raise ModelError(
            "model.empty_answer",
            "the model returned an empty answer",
            hint="try another --policy or a larger --budget",
            retryable=False,
        )
    clean = _remove_repeats(clean)
    clean = clean[0].upper() + clean[1:]
    return clean if clean.endswith(_SENTENCE_ENDS) else clean + "."


def _remove_repeats(text: str) -> str:
    """Remove scenes that repeat the one before."""
    kept: list[str] = []
    for scene in text.split(SENTENCE_JOINER):
        if not kept or _comparison_form(scene) != _comparison_form(kept[-1]):
            kept.append(scene)
    return SENTENCE_JOINER.join(kept)


def _comparison_form(scene: str) -> str:
    """Fold case and strip punctuation, for comparing scenes."""
    return scene.casefold().strip(" " + "".join(_SENTENCE_ENDS))


THINK_SUFFIX: Final = " First think, between <think> and </think>."
"""Suffix of any prompt that requests reasoning."""

_OPEN_TAG: Final = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_CLOSE_TAG: Final = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_ANSWER_TAGS: Final = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.IGNORECASE | re.DOTALL)


def add_think_suffix(prompt: str, *, thinking: bool) -> str:
    """Return the prompt, with the request for reasoning if ``thinking`` is set."""
    return prompt + THINK_SUFFIX if thinking else prompt


def remove_think_suffix(prompt: str) -> str:
    """Remove the suffix that `add_think_suffix` added."""
    return prompt.removesuffix(THINK_SUFFIX)


def split_reasoning(text: str) -> tuple[str | None, str]:
    """Split a model's output into reasoning and answer.

    The answer follows the last closing tag: reasoning may quote the tags. The opening tag may be
    missing, because some models get it in their prompt. Reasoning without a closing tag was
    truncated and has no answer.

    Args:
        text: raw output of the model.

    Returns:
        The reasoning, None if missing or empty, and the answer.

    >>> split_reasoning("<think>It is red.</think>A. red")
    ('It is red.', 'A. red')
    >>> split_reasoning("A. red")
    (None, 'A. red')
    """
    closed = list(_CLOSE_TAG.finditer(text))
    if closed:
        thought, answer = text[: closed[-1].start()], text[closed[-1].end() :]
    else:
        opened = _OPEN_TAG.search(text)
        if opened is None:
            return None, text.strip()
        thought, answer = text[opened.end() :], text[: opened.start()]
    thought = _CLOSE_TAG.sub(" ", _OPEN_TAG.sub(" ", thought)).strip()
    return thought or None, answer.strip()


def strip_answer_tags(text: str) -> str:
    """Return the text between ``<answer>`` and ``</answer>``, or all of it if there are no tags.

    >>> strip_answer_tags("So: <answer>12.5 to 17.8</answer>")
    '12.5 to 17.8'
    """
    marked = _ANSWER_TAGS.findall(text)
    return (marked[-1] if marked else text).strip()
