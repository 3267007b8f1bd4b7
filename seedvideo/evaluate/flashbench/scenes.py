"""Backdrops: what fills the picture while nothing is asked about.

Every backdrop is a loop: its last frame leads back to its first, whichever variant follows, so that
parts of a video can be encoded once and shown many times without a jump between them. Grain differs
from frame to frame and from variant to variant. Pictures are ``I420`` arrays ``(3 * height_px / 2,
width_px)`` of 8 bits, as encoders take them. Knows no events and no files.

The script of a video: which backdrop fills which frames, and what lies on top when.

Frames are counted from 0; their times are exact. Knows no tasks and no encoder.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from seedvideo.evaluate.flashbench.codes import Luma
from seedvideo.evaluate.flashbench.spec import Knobs, Style

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


BrightnessCurve = Callable[[int], Brightness]
"""Brightness of a frame by its number in the loop, before grain."""

Painter = Callable[
    [Canvas, np.random.Generator, np.random.Generator], tuple[BrightnessCurve, float]
]
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
) -> tuple[BrightnessCurve, float]:
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
) -> tuple[BrightnessCurve, float]:
    """Everything changes all of the time, everywhere as much."""
    del look
    height, width = canvas.height_px, canvas.width_px
    fields = [_soft(change, height, width, cells=18, spread=16) for _ in range(24)]
    order = change.integers(0, len(fields), canvas.frames)
    return (lambda number: fields[int(order[number])]), 0.5


def _pan(
    canvas: Canvas, look: np.random.Generator, change: np.random.Generator
) -> tuple[BrightnessCurve, float]:
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
) -> tuple[BrightnessCurve, float]:
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
) -> tuple[BrightnessCurve, float]:
    """A still place on coarse film."""
    del change
    room = _room(canvas, look)
    return (lambda number: room), 3.5


def _crowd(
    canvas: Canvas, look: np.random.Generator, change: np.random.Generator
) -> tuple[BrightnessCurve, float]:
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
) -> tuple[BrightnessCurve, float]:
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
) -> tuple[BrightnessCurve, float]:
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


@dataclass(frozen=True)
class Part:
    """One loop of a backdrop, which is one group of pictures of the file.

    Args:
        scene: the backdrop.
        variant: which of its loops.
        first: its first frame.
        frames: how many.
        step: seconds from frame to frame.
    """

    scene: Scene
    variant: int
    first: int
    frames: int
    step: Fraction


@dataclass(frozen=True, eq=False)
class Overlay:
    """Something on top of the backdrop from frame ``first`` to before ``stop``.

    Args:
        first: first frame that shows it.
        stop: first frame that no longer does.
        left: its left edge in frame ``first``; even.
        top: its top edge in frame ``first``; even.
        luma: its brightness.
        tints: its two colour components; 128 and 128 are grey.
        drift_px: pixels that it moves a frame, right and down; even.
    """

    first: int
    stop: int
    left: int
    top: int
    luma: Luma
    tints: tuple[int, int] = (128, 128)
    drift_px: tuple[int, int] = (0, 0)

    def draw(self, picture: Picture, frame: int) -> None:
        """Draw it where it lies in a frame; what lies outside the picture is cut off."""
        height, width = picture.shape[0] * 2 // 3, picture.shape[1]
        left = self.left + (frame - self.first) * self.drift_px[0]
        top = self.top + (frame - self.first) * self.drift_px[1]
        high, wide = self.luma.shape
        above, beside = max(0, -top), max(0, -left)
        below, beyond = min(high, height - top), min(wide, width - left)
        if above >= below or beside >= beyond:
            return
        rows, columns = slice(top + above, top + below), slice(left + beside, left + beyond)
        picture[rows, columns] = self.luma[above:below, beside:beyond]
        half_rows = slice(rows.start // 2, (rows.stop + 1) // 2)
        half_columns = slice(columns.start // 2, (columns.stop + 1) // 2)
        planes = chroma(picture[: height * 3 // 2])
        planes[:, half_rows, half_columns] = np.array(self.tints, np.uint8)[:, None, None]


@dataclass(frozen=True)
class Script:
    """Everything that is needed to paint a video.

    Args:
        parts: backdrops, one after another.
        overlays: what lies on top, the later ones above the earlier.
        times: time of every frame, and of the end.
    """

    parts: tuple[Part, ...]
    overlays: tuple[Overlay, ...]
    times: tuple[Fraction, ...]

    def over(self, part: Part) -> tuple[tuple[int, Overlay], ...]:
        """The overlays that show in a part, each with its place in the list."""
        stop = part.first + part.frames
        return tuple(
            (place, each)
            for place, each in enumerate(self.overlays)
            if each.first < stop and each.stop > part.first
        )


def lay_out(scenes: list[tuple[Scene, int]], knobs: Knobs) -> tuple[Part, ...]:
    """Parts of these backdrops and variants, one group of pictures each.

    The last is cut where the video ends. With variable rate, every other part has half the frames.
    """
    step = 1 / knobs.fps
    parts: list[Part] = []
    left = round(knobs.duration_s * knobs.fps)  # steps, not frames
    first = 0
    for place, (scene, variant) in enumerate(scenes):
        steps = min(knobs.gop_frames, left)
        pace = 2 if knobs.vfr and place % 2 and steps % 2 == 0 else 1
        parts.append(Part(scene, variant, first, steps // pace, pace * step))
        first, left = first + steps // pace, left - steps
    if left or any(part.frames < 1 for part in parts):
        raise ValueError(f"{len(scenes)} parts do not make {knobs.duration_s} s")
    return tuple(parts)


def part_count(knobs: Knobs) -> int:
    """How many parts a video has."""
    return -(-round(knobs.duration_s * knobs.fps) // knobs.gop_frames)


def frame_times(parts: tuple[Part, ...]) -> tuple[Fraction, ...]:
    """Time of every frame, and of the end after the last."""
    steps = (part.step for part in parts for _ in range(part.frames))
    return (Fraction(0), *accumulate(steps))


def frame_at(times: tuple[Fraction, ...], moment: Fraction) -> int:
    """The first frame at a moment or after it."""
    return bisect_left(times, moment)
