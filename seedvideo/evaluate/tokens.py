"""From a caption to the words that the measures compare.

The rule, close to the Penn Treebank tokens of COCO caption evaluation, without its Java program:

1. Lower case; a typographic apostrophe counts as ``'``.
2. A token is a run of letters, digits and combining marks. Hyphens between two runs bind them
   (``tri-colored``), and so do ``.``, ``,`` and ``:`` between digits (``3.5``, ``10:30``,
   ``3.5-inch``). Letters with marks are composed first (NFC).
3. The second part of a contraction is a token of its own: ``dog's`` is ``dog`` and ``'s``,
   ``don't`` is ``do`` and ``n't``. Written with a space, as in Flickr8k, it gives the same tokens.
4. Everything else (punctuation, quotes, brackets, symbols) is dropped.

Where COCO's tokens differ (37 of 17,505 captions of ActivityNet): it keeps the symbols ``#``,
``&``, ``%`` and ``$``, joins ``black/white``, ``o'clock``, ``'90s``, ``u.s.a.``, ``a.m.`` and
``mr.``, splits ``cannot`` and ``gonna``, and leaves ``-lrb-`` in the place of a bracket.
"""

import re
from collections.abc import Sequence
from typing import Final

from seedvideo.tasks.comparing import letters_only

Tokens = tuple[str, ...]
"""The words of one caption, in order."""

_TOKEN: Final = re.compile(
    r"""
      \d+(?:[.,:]\d+)+(?:-[^\W_]+)*  # 3.5, 1,000, 10:30, 3.5-inch
    | n't\b
    | '(?:s|m|d|re|ve|ll)\b
    | [^\W_]+?(?=n't\b)         # what stands before n't
    | [^\W_]+(?:-[^\W_]+)*
    """,
    re.VERBOSE,
)


def tokenize(text: str) -> Tokens:
    """Split a caption into its tokens by the rule above; without letters and digits, none."""
    composed, shape = letters_only(text.lower().replace("\u2019", "'"))
    return tuple(composed[match.start() : match.end()] for match in _TOKEN.finditer(shape))


def ngrams(tokens: Tokens, order: int) -> list[Tokens]:
    """All runs of ``order`` tokens, in order, with repeats."""
    return [tokens[i : i + order] for i in range(len(tokens) - order + 1)]


def tokenize_pairs(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> list[tuple[Tokens, list[Tokens]]]:
    """Tokenize captions and, beside each, the references of the same item.

    Args:
        candidates: one caption an item.
        references: for each item, in the same order, one or more captions by people.

    Returns:
        For each item the tokens of the caption and of each reference.

    Raises:
        ValueError: if there is no item, the two differ in length or an item has no reference.
        TypeError: if an item's references are one string instead of a list of strings.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates but references for {len(references)} items")
    if not candidates:
        raise ValueError("no candidates to score")
    for i, item in enumerate(references):
        if isinstance(item, str):
            raise TypeError(f"references of item {i} are one string, expected a list of strings")
        if not item:
            raise ValueError(f"item {i} has no references")
    return [
        (tokenize(candidate), [tokenize(reference) for reference in item])
        for candidate, item in zip(candidates, references, strict=True)
    ]
