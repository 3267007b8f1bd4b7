"""What the sampling benchmark asks of a loader, and what a loader gives. Imports nothing heavy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

TOKEN_AREA_PX: Final = 28 * 28
"""Pixels that one visual token of the budget covers."""


@dataclass(frozen=True)
class Job:
    """What is asked of a loader.

    Args:
        way: which of `LOADERS`.
        path: the file.
        fps: the file's own frame rate.
        frames: how many frames the file has.
        numbers: of the frames that are asked for; empty where the loader chooses.
        width_px: of each frame that is asked for.
        height_px: of each frame that is asked for.
        budget_tokens: for the frames that a loader chooses.
        cuts: numbers of the first frames after a cut, if a loader searches for cuts.
    """

    way: str
    path: str
    fps: int
    frames: int
    numbers: tuple[int, ...] = ()
    width_px: int = 0
    height_px: int = 0
    budget_tokens: int = 0
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Got:
    """What a loader gave.

    Args:
        pictures: the frames as ``(H, W, 3)`` RGB; empty where it gives patches only.
        times_s: the time that it reports for each frame.
        size_bytes: of the result as it goes to a model.
        pixels: of all frames together.
        facts: further facts that it reports.
    """

    pictures: Sequence[Any] = ()
    times_s: Sequence[float] = ()
    size_bytes: int = 0
    pixels: int = 0
    facts: dict[str, float] = field(default_factory=dict)


Work: TypeAlias = Callable[[], Got]


def got_pictures(pictures: Sequence[Any], times_s: Sequence[float]) -> Got:
    """The result of a loader that gives pictures of bytes."""
    size_bytes = sum(picture.nbytes for picture in pictures)
    return Got(pictures, times_s, size_bytes, size_bytes // 3)
