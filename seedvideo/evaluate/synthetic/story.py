"""What happens in a synthetic video: things that come, stay or cross, and go again.

A story is decided before a pixel is drawn, from a seed alone, so every question about it has an
exact answer. Events never overlap in time, and each kind of thing comes once.

Units: times are exact seconds; places are shares of the frame's width and height.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, TypeAlias

import numpy as np

from seedvideo.evaluate.synthetic.things import Thing, all_things
from seedvideo.media.timeline import Span

Motion: TypeAlias = Literal["still", "left", "right", "up", "down"]
"""Where a thing goes; ``still`` stays where it is."""

Place: TypeAlias = Literal["left", "right", "top", "bottom", "middle"]
"""Where a thing is that stays."""

MOTIONS: Final[tuple[Motion, ...]] = ("still", "left", "right", "up", "down")
CENTRES: Final[dict[str, tuple[float, float]]] = {
    "left": (0.16, 0.5),
    "right": (0.84, 0.5),
    "top": (0.5, 0.24),
    "bottom": (0.5, 0.76),
    "middle": (0.5, 0.5),
}
MOST_AT_ONCE: Final = 4


@dataclass(frozen=True, kw_only=True)
class Event:
    """One kind of thing, from when it comes to when it goes.

    Args:
        thing: what.
        motion: where it goes.
        place: where it is if it stays; None if it moves or is several.
        count: how many of it are there at once, 1 to `MOST_AT_ONCE`.
        size: height of one thing as a share of the frame's height.
        shift: how far it is moved from its place, so that no two events look the same.
        span: when.
    """

    thing: Thing
    motion: Motion
    place: Place | None
    count: int
    size: float
    shift: tuple[float, float]
    span: Span

    def centres(self, progress: float) -> list[tuple[float, float]]:
        """Where the things are.

        Args:
            progress: share of the event that has passed, 0 to 1.
        """
        dx, dy = self.shift
        if self.count > 1:
            step = 0.84 / self.count
            return [
                (0.08 + step * (number + 0.5) + dx * 0.5, 0.5 + dy + 0.12 * (-1) ** number)
                for number in range(self.count)
            ]
        if self.place is not None:
            x, y = CENTRES[self.place]
            return [(x + dx, y + dy)]
        along = 0.08 + 0.84 * progress
        match self.motion:
            case "right":
                return [(along, 0.5 + 2.5 * dy)]
            case "left":
                return [(1 - along, 0.5 + 2.5 * dy)]
            case "down":
                return [(0.5 + 5 * dx, along)]
            case _:
                return [(0.5 + 5 * dx, 1 - along)]

    def described(self) -> str:
        """What can be searched for: ``a red ball moves to the left``."""
        if self.count > 1:
            return f"{COUNT_WORDS[self.count]} {self.thing.plural} appear"
        if self.motion == "still":
            return f"{article(self.thing.name)} {self.thing.name} appears"
        return f"{article(self.thing.name)} {self.thing.name} moves {MOTION_WORDS[self.motion]}"


COUNT_WORDS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
MOTION_WORDS: Final[dict[str, str]] = {
    "left": "to the left",
    "right": "to the right",
    "up": "up",
    "down": "down",
}


def article(name: str) -> str:
    """``a`` or ``an``."""
    return "an" if name[0] in "aeiou" else "a"


@dataclass(frozen=True)
class Story:
    """All that happens.

    Args:
        duration: of the video.
        events: in their order in time.
    """

    duration: Fraction
    events: tuple[Event, ...]


def draw_event(
    rng: np.random.Generator, thing: Thing, span: Span, *, may_move: bool = True
) -> Event:
    """One event of a given thing at a given time, all else at random."""
    kind = rng.random()
    motion: Motion = "still"
    place: Place | None = None
    count = 1
    if may_move and kind < 0.45:
        motion = MOTIONS[int(rng.integers(1, len(MOTIONS)))]
    elif kind < 0.65:
        count = int(rng.integers(2, MOST_AT_ONCE + 1))
    else:
        places: tuple[Place, ...] = ("left", "right", "top", "bottom", "middle")
        place = places[int(rng.integers(len(places)))]
    size = rng.uniform(0.24, 0.32) if count > 1 else rng.uniform(0.32, 0.46)
    shift = (float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.05, 0.05)))
    return Event(
        thing=thing,
        motion=motion,
        place=place,
        count=count,
        size=float(size),
        shift=shift,
        span=span,
    )


def draw_things(
    rng: np.random.Generator, count: int, *, among: Sequence[Thing] | None = None
) -> list[Thing]:
    """Different things; in half of the stories some share a colour or a shape, to be told apart."""
    pool = list(among or all_things())
    first = pool[int(rng.integers(len(pool)))]
    things = [first]
    while len(things) < count:
        near = [t for t in pool if (t.colour == first.colour) != (t.shape == first.shape)]
        choices = near if near and rng.random() < 0.3 else pool
        thing = choices[int(rng.integers(len(choices)))]
        if thing not in things:
            things.append(thing)
    return things
