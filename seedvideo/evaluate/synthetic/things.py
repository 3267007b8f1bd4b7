"""Coloured shapes: what appears in synthetic videos, and how it is drawn.

Everything is drawn here, from nothing: no font, no picture of others. Knows nothing of time.

Units: places and sizes are shares of the frame's width and height, so that a thing looks the same
at every size of frame.
"""

from dataclasses import dataclass
from math import cos, pi, sin
from typing import Final

from PIL import Image, ImageDraw

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
