"""Coloured shapes: what appears in synthetic videos, and how it is drawn.

Everything is drawn here, from nothing: no font, no picture of others. Knows nothing of time.

Units: places and sizes are shares of the frame's width and height, so that a thing looks the same
at every size of frame.

What happens in a synthetic video: things that come, stay or cross, and go again.

A story is decided before a pixel is drawn, from a seed alone, so every question about it has an
exact answer. Events never overlap in time, and each kind of thing comes once.

Units: times are exact seconds; places are shares of the frame's width and height.

Pictures of a story: a quiet background, and the things of one moment on it.

Units: pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import cos, pi, sin
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from seedvideo.utils.timecode import Span

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (214, 32, 36),
    "orange": (245, 140, 20),
    "yellow": (250, 222, 40),
    "green": (36, 160, 60),
    "blue": (36, 82, 214),
    "purple": (140, 50, 170),
    "white": (248, 248, 248),
    "black": (18, 18, 18),
}
SHAPES: Final = ("ball", "square", "triangle", "star", "heart", "ring", "cross", "moon")

_SCALE: Final = 4
"""Things are drawn so many times larger and shrunk, for smooth edges."""


@dataclass(frozen=True)
class Thing:
    """One kind of thing.

    Args:
        colour: one of `COLOURS`.
        shape: one of `SHAPES`.

    Raises:
        ValueError: if there is no such colour or shape.
    """

    colour: str
    shape: str

    def __post_init__(self) -> None:
        if self.colour not in COLOURS or self.shape not in SHAPES:
            raise ValueError(f"there is no {self.colour} {self.shape}")

    @property
    def name(self) -> str:
        """``red ball``."""
        return f"{self.colour} {self.shape}"

    @property
    def plural(self) -> str:
        """``red balls``."""
        return f"{self.colour} {plural(self.shape)}"


def plural(shape: str) -> str:
    """Several of a shape: ``balls``, ``crosses``."""
    return shape + ("es" if shape.endswith("s") else "s")


def all_things() -> tuple[Thing, ...]:
    """Every colour of every shape."""
    return tuple(Thing(colour, shape) for colour in COLOURS for shape in SHAPES)


HELD_OUT: Final = frozenset(
    {
        Thing("red", "star"),
        Thing("orange", "ring"),
        Thing("yellow", "heart"),
        Thing("green", "moon"),
        Thing("blue", "cross"),
        Thing("purple", "ball"),
        Thing("white", "square"),
        Thing("black", "triangle"),
    }
)
"""Never shown in training, though their colours and shapes are: each colour and shape once."""


def sprite(thing: Thing, size_px: int) -> Image.Image:
    """A square RGBA picture of a thing, with a thin rim that sets it off from any background."""
    side = size_px * _SCALE
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    _fill(draw, thing.shape, side, inset=0.0)
    rim = Image.new("RGB", (side, side), _rim_colour(thing.colour))
    inner = Image.new("L", (side, side))
    _fill(ImageDraw.Draw(inner), thing.shape, side, inset=0.045)
    rim.paste(COLOURS[thing.colour], (0, 0), inner)
    rim.putalpha(mask)
    return rim.resize((size_px, size_px), Image.Resampling.LANCZOS)


def _rim_colour(colour: str) -> tuple[int, int, int]:
    return (230, 230, 230) if colour == "black" else (20, 20, 20)


def _fill(draw: ImageDraw.ImageDraw, shape: str, side: int, *, inset: float) -> None:
    """Fill a shape in white; ``inset`` is the share of the side that it is smaller on each edge."""

    def scaled(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        shrink = 1 - 2.4 * inset
        middle = sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
        return [
            (
                (middle[0] + (x - middle[0]) * shrink) * side,
                (middle[1] + (y - middle[1]) * shrink) * side,
            )
            for x, y in points
        ]

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
        edges = (left + inset, top + inset, right - inset, bottom - inset)
        return tuple(edge * side for edge in edges)

    match shape:
        case "ball":
            draw.ellipse(box(0.02, 0.02, 0.98, 0.98), fill=255)
        case "square":
            draw.rectangle(box(0.08, 0.08, 0.92, 0.92), fill=255)
        case "triangle":
            draw.polygon(scaled([(0.5, 0.03), (0.98, 0.92), (0.02, 0.92)]), fill=255)
        case "star":
            draw.polygon(scaled(_star()), fill=255)
        case "heart":
            draw.polygon(scaled(_heart()), fill=255)
        case "ring":
            draw.ellipse(box(0.02, 0.02, 0.98, 0.98), fill=255)
            hole = (0.3 - inset, 0.3 - inset, 0.7 + inset, 0.7 + inset)
            draw.ellipse(tuple(edge * side for edge in hole), fill=0)
        case "cross":
            draw.rectangle(box(0.34, 0.03, 0.66, 0.97), fill=255)
            draw.rectangle(box(0.03, 0.34, 0.97, 0.66), fill=255)
        case "moon":
            draw.ellipse(box(0.02, 0.02, 0.98, 0.98), fill=255)
            bite = (0.36 - inset, 0.0 - inset, 1.12 + inset, 0.76 + inset)
            draw.ellipse(tuple(edge * side for edge in bite), fill=0)


def _star() -> list[tuple[float, float]]:
    points = []
    for corner in range(10):
        radius = 0.5 if corner % 2 == 0 else 0.21
        angle = -pi / 2 + corner * pi / 5
        points.append((0.5 + radius * cos(angle), 0.52 + radius * sin(angle)))
    return points


def _heart() -> list[tuple[float, float]]:
    points = []
    for step in range(64):
        t = 2 * pi * step / 64
        x = 16 * sin(t) ** 3
        y = 13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)
        points.append((0.5 + x / 34, 0.46 - y / 34))
    return points


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


Pixels = NDArray[np.uint8]
"""``(height_px, width_px, 3)`` RGB."""

_COARSEST = 3
_OCTAVES = 4


def background(rng: np.random.Generator, *, height_px: int, width_px: int) -> Pixels:
    """A soft, dull landscape of colours: noise of several sizes between three muted tones."""
    field = np.zeros((height_px, width_px))
    for octave in range(_OCTAVES):
        cells = _COARSEST * 2**octave
        noise = rng.standard_normal((cells, cells)).astype(np.float32)
        smooth = Image.fromarray(noise).resize((width_px, height_px), Image.Resampling.BICUBIC)
        field += np.asarray(smooth) / 2**octave
    field = (field - field.min()) / max(1e-6, float(np.ptp(field)))
    tones = rng.uniform(60, 190, (3, 1)) + rng.uniform(-28, 28, (3, 3))
    below = np.clip(field * 2, 0, 1)[..., None]
    above = np.clip(field * 2 - 1, 0, 1)[..., None]
    picture = tones[0] + (tones[1] - tones[0]) * below + (tones[2] - tones[1]) * above
    picture += rng.standard_normal((height_px, width_px, 1)) * 3
    pixels: Pixels = np.clip(picture, 0, 255).astype(np.uint8)
    return pixels


def show(base: Pixels, event: Event | None, progress: float) -> Pixels:
    """A background with the things of one moment on it.

    Args:
        base: the background, left as it is.
        event: what is there; nothing if None.
        progress: share of the event that has passed.
    """
    if event is None:
        return base
    height_px, width_px, _ = base.shape
    image = Image.fromarray(base)
    picture = sprite(event.thing, max(8, round(event.size * height_px)))
    for x, y in event.centres(progress):
        left = round(x * width_px - picture.width / 2)
        top = round(y * height_px - picture.height / 2)
        image.paste(picture, (left, top), picture)
    return np.asarray(image)
