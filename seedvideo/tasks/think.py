"""Thinking: how a model is asked to think before it answers, and how its thought is taken away.

As published: ``<think>thought</think>answer`` (Seed1.5-VL, appendix B.4). Knows no task. The suffix
is part of how a model was trained: changing it changes what a model says.
"""

import re
from typing import Final

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
