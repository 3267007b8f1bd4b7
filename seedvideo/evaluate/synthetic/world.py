"""The world of synthetic videos: coloured shapes, events in time, and their rendering.

A story is decided before a pixel is drawn, from a seed alone, so every question about it has an
exact answer. Events never overlap in time, and each coloured shape appears once. Everything is
drawn here, without fonts or pictures from elsewhere.

Units: times are exact seconds; positions and sizes are fractions of the frame's width and height,
so that a shape looks the same at every size of frame.
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
"""Factor of oversampling, for smooth edges."""


@dataclass(frozen=True)
class ColouredShape:
    """A shape in a colour.

    Args:
        colour: a name in `COLOURS`.
        shape: a name in `SHAPES`.

    Raises:
        ValueError: if the colour or the shape is unknown.
    """

    colour: str
    shape: str

    def __post_init__(self) -> None:
        if self.colour not in COLOURS or self.shape not in SHAPES:
            raise ValueError(
                f"unknown colour or shape: {self.colour} {self.shape}, expected a colour of"
                f" {', '.join(COLOURS)} and a shape of {', '.join(SHAPES)}"
            )

    @property
    def name(self) -> str:
        """``red ball``."""
        return f"{self.colour} {self.shape}"

    @property
    def plural(self) -> str:
        """``red balls``."""
        return f"{self.colour} {plural(self.shape)}"


def plural(shape: str) -> str:
    """Return the plural of a shape's name: ``balls``, ``crosses``."""
    return shape + ("es" if shape.endswith("s") else "s")


def all_coloured_shapes() -> tuple[ColouredShape, ...]:
    """Return every shape in every colour."""
    return tuple(ColouredShape(colour, shape) for colour in COLOURS for shape in SHAPES)


HELD_OUT: Final = frozenset(
    {
        ColouredShape("red", "star"),
        ColouredShape("orange", "ring"),
        ColouredShape("yellow", "heart"),
        ColouredShape("green", "moon"),
        ColouredShape("blue", "cross"),
        ColouredShape("purple", "ball"),
        ColouredShape("white", "square"),
        ColouredShape("black", "triangle"),
    }
)
"""Held out of training, though their colours and shapes are not: each colour and shape once."""


def sprite(thing: ColouredShape, size_px: int) -> Image.Image:
    """Draw a square RGBA picture of a shape, with a thin rim against any background."""
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
    """Fill a shape in white, reduced by ``inset`` on each edge, a fraction of the side."""

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
"""Direction of motion."""

Position: TypeAlias = Literal["left", "right", "top", "bottom", "middle"]
"""Position of a shape that does not move."""

MOTIONS: Final[tuple[Motion, ...]] = ("still", "left", "right", "up", "down")
CENTRES: Final[dict[str, tuple[float, float]]] = {
    "left": (0.16, 0.5),
    "right": (0.84, 0.5),
    "top": (0.5, 0.24),
    "bottom": (0.5, 0.76),
    "middle": (0.5, 0.5),
}
MAX_AT_ONCE: Final = 4


@dataclass(frozen=True, kw_only=True)
class Event:
    """The appearance of one coloured shape, once or several times at once.

    Args:
        thing: the coloured shape.
        motion: direction of motion.
        position: its position if it is single and still; otherwise None.
        count: number of copies at once, 1 to `MAX_AT_ONCE`.
        size: height of one copy, as a fraction of the frame's height.
        shift: random offset from its position, so that no two events are equal.
        span: span of the event, in seconds.
    """

    thing: ColouredShape
    motion: Motion
    position: Position | None
    count: int
    size: float
    shift: tuple[float, float]
    span: Span

    def centres(self, progress: float) -> list[tuple[float, float]]:
        """Return the centre of each copy, as fractions of the frame's width and height.

        Args:
            progress: fraction of the event that has passed, 0 to 1.
        """
        dx, dy = self.shift
        if self.count > 1:
            step = 0.84 / self.count
            return [
                (0.08 + step * (number + 0.5) + dx * 0.5, 0.5 + dy + 0.12 * (-1) ** number)
                for number in range(self.count)
            ]
        if self.position is not None:
            x, y = CENTRES[self.position]
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

    def describe(self) -> str:
        """Describe the event as a grounding query: ``a red ball moves to the left``."""
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
    """Return ``a`` or ``an``."""
    return "an" if name[0] in "aeiou" else "a"


@dataclass(frozen=True)
class Story:
    """The events of one video.

    Args:
        duration: length of the video, in seconds.
        events: events in order of time.
    """

    duration: Fraction
    events: tuple[Event, ...]


def draw_event(
    rng: np.random.Generator, thing: ColouredShape, span: Span, *, may_move: bool = True
) -> Event:
    """Draw an event of a given shape at a given time, with everything else at random."""
    kind = rng.random()
    motion: Motion = "still"
    position: Position | None = None
    count = 1
    if may_move and kind < 0.45:
        motion = MOTIONS[int(rng.integers(1, len(MOTIONS)))]
    elif kind < 0.65:
        count = int(rng.integers(2, MAX_AT_ONCE + 1))
    else:
        positions: tuple[Position, ...] = ("left", "right", "top", "bottom", "middle")
        position = positions[int(rng.integers(len(positions)))]
    size = rng.uniform(0.24, 0.32) if count > 1 else rng.uniform(0.32, 0.46)
    shift = (float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.05, 0.05)))
    return Event(
        thing=thing,
        motion=motion,
        position=position,
        count=count,
        size=float(size),
        shift=shift,
        span=span,
    )


def draw_coloured_shapes(
    rng: np.random.Generator, count: int, *, among: Sequence[ColouredShape] | None = None
) -> list[ColouredShape]:
    """Draw different shapes; often some have the same colour or form, so that both matter."""
    pool = list(among or all_coloured_shapes())
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

_COARSEST_CELLS = 3
_OCTAVES = 4


def background(rng: np.random.Generator, *, height_px: int, width_px: int) -> Pixels:
    """Draw a background of muted colours: noise of several sizes between three tones."""
    field = np.zeros((height_px, width_px))
    for octave in range(_OCTAVES):
        cells = _COARSEST_CELLS * 2**octave
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


def render_event(base: Pixels, event: Event | None, progress: float) -> Pixels:
    """Draw an event on a background.

    Args:
        base: the background; it is not changed.
        event: the event; None returns the background.
        progress: fraction of the event that has passed, 0 to 1.
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
