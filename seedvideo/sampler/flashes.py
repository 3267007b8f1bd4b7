"""Flashes: pictures that fill everything for a moment, after which it is as it was before.

Novelty (`seedvideo.sampler.signals`) is of parts of the picture: it leaves aside what all blocks do
alike, and a cut is no event. So a picture that comes between two like ones, for two seconds or
less, is found here, from the jumps of all blocks together. Knows no file, no tokens and no plan.
Times are float seconds; exact ones belong to the ranks.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from seedvideo.sampler.signals import Event, Floats

_JUMP_LEVELS: Final = 8.0
"""Least mean change of all blocks that makes another picture."""

_JUMP: Final = 4.0
"""By how much a jump exceeds the changes between the looks before it."""

_BEFORE: Final = 8
"""Looks before a jump with which it is compared."""

_BACK: Final = 0.3
"""Share of a jump up to which the picture counts as it was before."""

_BACK_S: Final = 2.0
"""Longest time after which a picture that comes back makes what was between a flash."""

_FAR_S: Final = 0.6
"""Time from which the look before is no neighbour: nobody knows when the picture changed."""

_FLOOR_LEVELS: Final = 0.3
"""Least usual change: below it lies rounding."""


@dataclass(frozen=True, eq=False)
class _Jump:
    """One jump: the first look after it, its time, its size, and the means just before."""

    rank: int
    time_s: float
    levels: float
    strength: float
    before: Floats


class FlashFinder:
    """Finds flashes in looks as they come; `events` grows as they do."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._last: Floats | None = None
        self._last_s = float("-inf")
        self._moved: deque[float] = deque(maxlen=_BEFORE)
        self._open: _Jump | None = None

    def see(self, rank: int, time_s: float, means: Floats) -> None:
        """Takes one look.

        Args:
            rank: of the frame.
            time_s: of the frame.
            means: of its blocks.
        """
        before, self._last = self._last, means
        elapsed_s, self._last_s = time_s - self._last_s, time_s
        if before is None or elapsed_s > _FAR_S:
            self._open = None
            self._moved.clear()
            return
        moved = float(np.abs(means - before).mean())
        usual = max(float(np.median(self._moved)) if self._moved else 0.0, _FLOOR_LEVELS)
        self._moved.append(moved)
        jumps = moved > max(_JUMP_LEVELS, _JUMP * usual)
        started = self._open
        if started is not None and time_s - started.time_s <= _BACK_S:
            if float(np.abs(means - started.before).mean()) < _BACK * started.levels:
                self.events.append(Event(started.rank, started.strength, rank, 1.0))
                self._open = None
            return
        self._open = _Jump(rank, time_s, moved, moved / usual, before) if jumps else None


def with_flashes(events: list[Event], flashes: list[Event]) -> list[Event]:
    """Events and flashes in order, without what was new only because a flash came and went.

    Args:
        events: what is new in parts of the picture, in order.
        flashes: those found, with their ends, in order.
    """
    kept = [
        event
        for event in events
        if not any(flash.rank <= event.rank <= (flash.end_rank or 0) for flash in flashes)
    ]
    return sorted([*kept, *flashes], key=lambda event: event.rank)
