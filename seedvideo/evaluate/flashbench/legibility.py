"""At how many tokens print of a given size can be read: the table, and the oracle that uses it.

The table holds how often an OCR program read a code in decoded frames of the benchmark's videos,
resized as a model would be given them. `benchmarks/flashbench.py --table` makes it; it stands in
for the OCR program where none is installed. Knows no times.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from seedvideo.evaluate.flashbench.truth import Event, Item

_TABLE: Final = "legibility.json"


@dataclass(frozen=True)
class Reads:
    """How often a code was read.

    Args:
        read: codes that were read exactly.
        shown: codes that were shown.
    """

    read: int
    shown: int

    @property
    def share(self) -> float:
        """Share of the codes that was read."""
        return self.read / self.shown


Key = tuple[str, int, int]
"""Contrast, cap height at 1,080 px, level in tokens."""


@cache
def load_table() -> Mapping[Key, Reads]:
    """The table that comes with the package."""
    text = files("seedvideo.evaluate.flashbench").joinpath(_TABLE).read_text(encoding="utf-8")
    return read_table(text)


def read_table(text: str) -> Mapping[Key, Reads]:
    """Read a table from its JSON form."""
    return {
        (row["contrast"], row["cap_height_px"], row["level_tokens"]): Reads(
            row["read"], row["shown"]
        )
        for row in json.loads(text)["rows"]
    }


def table_need(
    table: Mapping[Key, Reads], *, cap_height_px: int, contrast: str, levels: Sequence[int]
) -> int | None:
    """The lowest level from which on at least half of the codes of a size are read, or None.

    Raises:
        KeyError: if the table doesn't know this size and contrast.
    """
    need: int | None = None
    for level in sorted(levels, reverse=True):
        if table[contrast, cap_height_px, level].share < 0.5:
            break
        need = level
    return need


def needs_by_table(
    item: Item, *, tokens_of_level: Mapping[int, int], table: Mapping[Key, Reads] | None = None
) -> dict[Event, int | None]:
    """What every event with print needs, in visual tokens, by the table.

    Args:
        item: the truth.
        tokens_of_level: visual tokens of a frame of this video at each level.
        table: another table than the package's.
    """
    table = load_table() if table is None else table
    needs: dict[Event, int | None] = {}
    for event in item.events:
        if event.cap_height_px is not None:
            level = table_need(
                table,
                cap_height_px=event.cap_height_px,
                contrast=event.contrast,
                levels=list(tokens_of_level),
            )
            needs[event] = None if level is None else tokens_of_level[level]
    return needs
