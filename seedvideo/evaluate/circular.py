"""Circular options: a question counts only if it is right whichever place the answer has.

As VNBench and MMBench do it. It costs as many runs as there are options and takes away what a model
gains by liking a letter. Knows nothing of how answers are read.
"""

from collections.abc import Sequence


def rotations(options: Sequence[str]) -> list[tuple[str, ...]]:
    """The options as they are, then turned by one place at a time: the first goes to the end."""
    return [(*options[turn:], *options[:turn]) for turn in range(len(options))]


def circular_accuracy(rights: Sequence[Sequence[bool]]) -> float:
    """Share of questions that are right in every rotation.

    Args:
        rights: for each question, whether each of its rotations was answered right.

    Raises:
        ValueError: if there is no question, or one has no rotation.
    """
    if not rights or not all(rights):
        raise ValueError("every question needs at least one rotation")
    return sum(all(each) for each in rights) / len(rights)
