"""Requests of the sampling benchmark to a loader, and results. Imports nothing heavy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

TOKEN_AREA_PX: Final = 28 * 28
"""Pixels that one visual token of the budget covers."""


@dataclass(frozen=True)
class Job:
    """Request to a loader.

    Args:
        way: name of the loader in `LOADERS`.
        path: the file.
        fps: frame rate of the file.
        frames: number of frames of the file.
        numbers: indices of the requested frames; empty if the loader selects them.
        width_px: width of each requested frame.
        height_px: height of each requested frame.
        budget_tokens: budget of the frames that a loader selects.
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
class LoaderResult:
    """Result of a loader.

    Args:
        pictures: frames as ``(H, W, 3)`` RGB; empty if the loader returns only patches.
        times_s: reported time of each frame.
        size_bytes: size of the result in the form that a model takes.
        pixels: pixels of all frames together.
        facts: further reported values.
    """

    pictures: Sequence[Any] = ()
    times_s: Sequence[float] = ()
    size_bytes: int = 0
    pixels: int = 0
    facts: dict[str, float] = field(default_factory=dict)


Work: TypeAlias = Callable[[], LoaderResult]


def pictures_result(pictures: Sequence[Any], times_s: Sequence[float]) -> LoaderResult:
    """Make the result of a loader that returns pictures of bytes."""
    size_bytes = sum(picture.nbytes for picture in pictures)
    return LoaderResult(pictures, times_s, size_bytes, size_bytes // 3)
