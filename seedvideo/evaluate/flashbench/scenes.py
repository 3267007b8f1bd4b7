"""Backdrops: what fills the picture while nothing is asked about.

Every backdrop is a loop: its last frame leads back to its first, whichever variant follows, so that
parts of a video can be encoded once and shown many times without a jump between them. Grain differs
from frame to frame and from variant to variant. Pictures are ``I420`` arrays ``(3 * height_px / 2,
width_px)`` of 8 bits, as encoders take them. Knows no events and no files.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from seedvideo.evaluate.flashbench.truth import Style

Picture = npt.NDArray[np.uint8]
Brightness = npt.NDArray[np.int16]
"""Brightness of a picture before grain and clipping."""


_BLACK: Final = 16
_WHITE: Final = 235
_TILE_SPARE_PX: Final = 64
"""How far the tile of grain is moved at random from frame to frame."""


@dataclass(frozen=True)
class Scene:
    """A backdrop: its style, and the seed of its look."""

    style: Style
    seed: int


@dataclass(frozen=True)
class Canvas:
    """What is painted: the frames of one loop and their size."""

    frames: int
    width_px: int
    height_px: int


def paint(scene: Scene, canvas: Canvas, *, variant: int) -> Iterator[Picture]:
    """The frames of one loop of a backdrop; each is a fresh array that the caller may draw on.

    Args:
        scene: which backdrop.
        canvas: frames and size; width and height are multiples of 2 and 4.
        variant: variants differ in their grain and in what moves; all start and end alike.
    """
    look = np.random.default_rng([scene.seed, 1])
    change = np.random.default_rng([scene.seed, 2, variant])
    luma, grain = _STYLES[scene.style](canvas, look, change)
    tints = look.integers(112, 145, 2)
    height, width = canvas.height_px, canvas.width_px
    tile_shape = (height + _TILE_SPARE_PX, width + _TILE_SPARE_PX)
    tile = np.rint(change.normal(0, 1, tile_shape) * grain).astype(np.int16)
    for number in range(canvas.frames):
        picture = np.empty((height * 3 // 2, width), np.uint8)
        down, right = change.integers(0, _TILE_SPARE_PX, 2)
        grainy = luma(number) + tile[down : down + height, right : right + width]
        picture[:height] = np.clip(grainy, _BLACK, _WHITE)
        chroma(picture)[:] = tints[:, None, None]
        yield picture


def chroma(picture: Picture) -> Picture:
    """The colour planes of an ``I420`` picture, ``(2, height_px / 2, width_px / 2)``, as a view."""
    rows, width = picture.shape
    return picture[rows * 2 // 3 :].reshape(2, rows // 3, width // 2)


Luma = Callable[[int], Brightness]
"""Brightness of a frame by its number in the loop, before grain."""

Painter = Callable[[Canvas, np.random.Generator, np.random.Generator], tuple[Luma, float]]
"""From the canvas, the scene's chance and the variant's, to brightness and strength of grain."""


def _soft(
    chance: np.random.Generator, height_px: int, width_px: int, *, cells: int, spread: float = 45
) -> Brightness:
    """A smooth random texture around middle grey."""
    columns = max(2, round(cells * width_px / height_px))
    coarse = chance.normal(0, 1, (max(2, cells), columns)).astype(np.float32)
    image = Image.fromarray(coarse).resize((width_px, height_px), Image.Resampling.BICUBIC)
    texture: Brightness = (
        np.rint(115 + spread * np.asarray(image) / 1.5).clip(30, 205).astype(np.int16)
    )
    return texture


def _room(canvas: Canvas, look: np.random.Generator) -> Brightness:
    """A still place: a soft ground and some furniture with hard edges."""
    height, width = canvas.height_px, canvas.width_px
    ground = _soft(look, height, width, cells=6, spread=30)
    for _ in range(14):
        high, wide = (int(look.integers(side // 20, side // 4)) for side in (height, width))
        top, left = int(look.integers(0, height - high)), int(look.integers(0, width - wide))
        ground[top : top + high, left : left + wide] += int(look.integers(-50, 51))
    # Surfaces have a texture; without one, encoders take grain for new content.
    fine = look.normal(0, 7, (height // 2, width // 2))
    ground += np.rint(np.kron(fine, np.ones((2, 2)))).astype(np.int16)
    return ground.clip(30, 205).astype(np.int16)


def _calm(
    canvas: Canvas, look: np.random.Generator, change: np.random.Generator
) -> tuple[Luma, float]:
    """A still place in which one soft thing sways a little."""
    room = _room(canvas, look)
    radius = canvas.height_px // 12
    home = look.uniform(0.25, 0.75, 2) * (canvas.height_px, canvas.width_px)
    sway = change.choice([1, 2]) * change.choice([-1, 1])

    def luma(number: int) -> Brightness:
        turn = 2 * np.pi * sway * number / canvas.frames
        shift = radius * np.array([0.3 * np.sin(turn), 1 - np.cos(turn)])
        picture = room.copy()
        _add_disc(picture, home + shift, radius, 35)
        return picture

    return luma, 1.5


def _noise(
    canvas: Canvas, look: np.random.Generator, change: np.random.Generator
) -> tuple[Luma, float]:
    """Everything changes all of the time, everywhere as much."""
    del look
    height, width = canvas.height_px, canvas.width_px
    fields = [_soft(change, height, width, cells=18, spread=16) for _ in range(24)]
    order = change.integers(0, len(fields), canvas.frames)
    return (lambda number: fields[int(order[number])]), 0.5


def _pan(
    canvas: Canvas, look: np.random.Generator, change: np.random.Generator
) -> tuple[Luma, float]:
    """The camera turns past a long wall, once around a loop."""
    del change
    around = 8 * canvas.frames
    wall = _room(Canvas(1, around, canvas.height_px), look)
    copies = -(-canvas.width_px // around) + 1
    twice = np.concatenate([wall] * copies, axis=1)

    def luma(number: int) -> Brightness:
        left = around * number // canvas.frames
        return twice[:, left : left + canvas.width_px]

    return luma, 1.5


def _flicker(
    canvas: Canvas, look: np.random.Generator, change: np.random.Generator
) -> tuple[Luma, float]:
    """The light of a still place changes from frame to frame, sometimes strongly."""
    room = _room(canvas, look)
    light = 1 + change.normal(0, 0.05, canvas.frames)
    light[change.random(canvas.frames) < 0.08] += 0.25
    gains = np.rint(256 * light).astype(np.int32)

    def luma(number: int) -> Brightness:
        lit: Brightness = (room.astype(np.int32) * gains[number] >> 8).astype(np.int16)
        return lit

    return luma, 1.0


def _grain(
    canvas: Canvas, look: np.random.Generator, change: np.random.Generator
) -> tuple[Luma, float]:
    """A still place on coarse film."""
    del change
    room = _room(canvas, look)
    return (lambda number: room), 3.5


def _crowd(
    canvas: Canvas, look: np.random.Generator, change: np.random.Generator
) -> tuple[Luma, float]:
    """Many textured things on closed paths, each at its own speed."""
    room = _room(canvas, look)
    height, width = canvas.height_px, canvas.width_px
    count = 60
    sizes = look.integers(height // 20, height // 7, (count, 2))
    textures = [_soft(look, int(high), int(wide), cells=5) for high, wide in sizes]
    homes = look.uniform(0, 1, (count, 2)) * (height, width)
    reach = look.uniform(0.05, 0.25, (count, 2)) * (height, width)
    laps = change.integers(1, 4, (count, 2)) * change.choice([-1, 1], (count, 2))

    def luma(number: int) -> Brightness:
        picture = room.copy()
        spots = homes + reach * np.sin(2 * np.pi * laps * number / canvas.frames)
        for (top, left), texture in zip(np.rint(spots).astype(int), textures, strict=True):
            _stamp(picture, int(top), int(left), texture)
        return picture

    return luma, 1.0


def _dissolve(
    canvas: Canvas, look: np.random.Generator, change: np.random.Generator
) -> tuple[Luma, float]:
    """One place fades slowly into another and back."""
    here, there = _room(canvas, look), _room(canvas, change)

    def luma(number: int) -> Brightness:
        share = round(128 * (1 - np.cos(2 * np.pi * number / canvas.frames)))
        sum_of_both = here.astype(np.int32) * (256 - share) + there.astype(np.int32) * share
        mixed: Brightness = (sum_of_both >> 8).astype(np.int16)
        return mixed

    return luma, 1.0


def _deck(
    canvas: Canvas, look: np.random.Generator, change: np.random.Generator
) -> tuple[Luma, float]:
    """The even ground of a screen on which slides are shown."""
    del look, change
    ground = np.full((canvas.height_px, canvas.width_px), 60, np.int16)
    return (lambda number: ground), 0.0


def _add_disc(
    picture: Brightness, centre: npt.NDArray[np.float64], radius: int, brightness: int
) -> None:
    top, left = round(float(centre[0])) - radius, round(float(centre[1])) - radius
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside = np.clip(1.2 - np.hypot(rows, columns) / radius, 0, 0.5) * 2 * brightness
    area = picture[max(0, top) : top + 2 * radius + 1, max(0, left) : left + 2 * radius + 1]
    area += inside[-area.shape[0] :, -area.shape[1] :].astype(np.int16)


def _stamp(picture: Brightness, top: int, left: int, texture: Brightness) -> None:
    """Put a texture on a picture; what lies outside is cut off."""
    height, width = picture.shape
    high, wide = texture.shape
    above, beside = max(0, -top), max(0, -left)
    below, beyond = min(high, height - top), min(wide, width - left)
    if above < below and beside < beyond:
        picture[top + above : top + below, left + beside : left + beyond] = texture[
            above:below, beside:beyond
        ]


_STYLES: Final[Mapping[Style, Painter]] = {
    "calm": _calm,
    "noise": _noise,
    "pan": _pan,
    "flicker": _flicker,
    "grain": _grain,
    "crowd": _crowd,
    "dissolve": _dissolve,
    "deck": _deck,
}
