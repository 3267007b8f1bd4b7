"""The caption task: what is asked, and how the answer becomes a sentence.

Knows nothing of frames, models or files. The prompt is part of how a model was trained: changing it
changes what a model says.
"""

import re
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
