"""Backdrops of flashbench videos, and the script of a video: backdrops and overlays by frame.

Every backdrop is a loop: its last frame leads back to its first, whichever variant follows. So a
loop is encoded once and repeated many times without a jump. Grain differs from frame to frame and
from variant to variant. Pictures are ``I420`` arrays ``(3 * height_px / 2, width_px)`` of 8 bits,
as encoders take them. Frames count from 0; their times are exact.
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
from seedvideo.evaluate.flashbench.spec import DifficultyConfig, MixedStyle, Style

Picture = npt.NDArray[np.uint8]
Brightness = npt.NDArray[np.int16]
"""Brightness of a picture before grain and clipping."""


BLACK: Final = 16
WHITE: Final = 235
TILE_SPARE_PX: Final = 64
"""Maximum random shift of the tile of grain from frame to frame."""


@dataclass(frozen=True)
class Scene:
    """A backdrop: its style, and the seed of its appearance."""

    style: Style
    seed: int


@dataclass(frozen=True)
class Canvas:
    """Number of frames of one loop, and their size."""

    frames: int
    width_px: int
    height_px: int


def paint(scene: Scene, canvas: Canvas, *, variant: int) -> Iterator[Picture]:
    """Yield the frames of one loop of a backdrop; the caller may draw on each array.

    Args:
        scene: the backdrop.
        canvas: frames and size; width and height are multiples of 2 and 4.
        variant: variants differ in their grain and in what moves; all start and end alike.
    """
    fixed_rng = np.random.default_rng([scene.seed, 1])
    variant_rng = np.random.default_rng([scene.seed, 2, variant])
    luma, grain = PAINTERS[scene.style](canvas, fixed_rng, variant_rng)
    tints = fixed_rng.integers(112, 145, 2)
    height, width = canvas.height_px, canvas.width_px
    tile_shape = (height + TILE_SPARE_PX, width + TILE_SPARE_PX)
    tile = np.rint(variant_rng.normal(0, 1, tile_shape) * grain).astype(np.int16)
    for number in range(canvas.frames):
        picture = np.empty((height * 3 // 2, width), np.uint8)
        down, right = variant_rng.integers(0, TILE_SPARE_PX, 2)
        grainy = luma(number) + tile[down : down + height, right : right + width]
        picture[:height] = np.clip(grainy, BLACK, WHITE)
        chroma(picture)[:] = tints[:, None, None]
        yield picture


def chroma(picture: Picture) -> Picture:
    """Return the chroma planes of an ``I420`` picture, ``(2, height_px / 2, width_px / 2)``.

    The result is a view: writing to it changes the picture.
    """
    rows, width = picture.shape
    return picture[rows * 2 // 3 :].reshape(2, rows // 3, width // 2)


BrightnessCurve = Callable[[int], Brightness]
"""Brightness of a frame by its number in the loop, before grain."""

Painter = Callable[
    [Canvas, np.random.Generator, np.random.Generator], tuple[BrightnessCurve, float]
]
"""From the canvas, the scene's rng and the variant's rng to brightness and strength of grain."""


def draw_texture(
    rng: np.random.Generator, height_px: int, width_px: int, *, cells: int, spread: float = 45
) -> Brightness:
    """Draw a smooth random texture around middle grey."""
    columns = max(2, round(cells * width_px / height_px))
    coarse = rng.normal(0, 1, (max(2, cells), columns)).astype(np.float32)
    image = Image.fromarray(coarse).resize((width_px, height_px), Image.Resampling.BICUBIC)
    texture: Brightness = (
        np.rint(115 + spread * np.asarray(image) / 1.5).clip(30, 205).astype(np.int16)
    )
    return texture


def draw_room(canvas: Canvas, fixed_rng: np.random.Generator) -> Brightness:
    """Draw a still room: a soft ground and some furniture with hard edges."""
    height, width = canvas.height_px, canvas.width_px
    ground = draw_texture(fixed_rng, height, width, cells=6, spread=30)
    for _ in range(14):
        high, wide = (int(fixed_rng.integers(side // 20, side // 4)) for side in (height, width))
        top, left = (
            int(fixed_rng.integers(0, height - high)),
            int(fixed_rng.integers(0, width - wide)),
        )
        ground[top : top + high, left : left + wide] += int(fixed_rng.integers(-50, 51))
    # Surfaces have a texture; without one, encoders take grain for new content.
    fine = fixed_rng.normal(0, 7, (height // 2, width // 2))
    ground += np.rint(np.kron(fine, np.ones((2, 2)))).astype(np.int16)
    return ground.clip(30, 205).astype(np.int16)


def _calm(
    canvas: Canvas, fixed_rng: np.random.Generator, variant_rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a still room in which one soft disc sways a little."""
    room = draw_room(canvas, fixed_rng)
    radius = canvas.height_px // 12
    home = fixed_rng.uniform(0.25, 0.75, 2) * (canvas.height_px, canvas.width_px)
    sway = variant_rng.choice([1, 2]) * variant_rng.choice([-1, 1])

    def luma(number: int) -> Brightness:
        turn = 2 * np.pi * sway * number / canvas.frames
        shift = radius * np.array([0.3 * np.sin(turn), 1 - np.cos(turn)])
        picture = room.copy()
        _add_disc(picture, home + shift, radius, 35)
        return picture

    return luma, 1.5


def _noise(
    canvas: Canvas, fixed_rng: np.random.Generator, variant_rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint noise: everything changes all of the time, equally everywhere."""
    del fixed_rng
    height, width = canvas.height_px, canvas.width_px
    fields = [draw_texture(variant_rng, height, width, cells=18, spread=16) for _ in range(24)]
    order = variant_rng.integers(0, len(fields), canvas.frames)
    return (lambda number: fields[int(order[number])]), 0.5


def _pan(
    canvas: Canvas, fixed_rng: np.random.Generator, variant_rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a long wall past which the camera turns, once per loop."""
    del variant_rng
    around = 8 * canvas.frames
    wall = draw_room(Canvas(1, around, canvas.height_px), fixed_rng)
    copies = -(-canvas.width_px // around) + 1
    twice = np.concatenate([wall] * copies, axis=1)

    def luma(number: int) -> Brightness:
        left = around * number // canvas.frames
        return twice[:, left : left + canvas.width_px]

    return luma, 1.5


def _flicker(
    canvas: Canvas, fixed_rng: np.random.Generator, variant_rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a still room whose light changes from frame to frame, sometimes strongly."""
    room = draw_room(canvas, fixed_rng)
    light = 1 + variant_rng.normal(0, 0.05, canvas.frames)
    light[variant_rng.random(canvas.frames) < 0.08] += 0.25
    gains = np.rint(256 * light).astype(np.int32)

    def luma(number: int) -> Brightness:
        lit: Brightness = (room.astype(np.int32) * gains[number] >> 8).astype(np.int16)
        return lit

    return luma, 1.0


def _grain(
    canvas: Canvas, fixed_rng: np.random.Generator, variant_rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a still room on coarse film."""
    del variant_rng
    room = draw_room(canvas, fixed_rng)
    return (lambda number: room), 3.5


def _crowd(
    canvas: Canvas, fixed_rng: np.random.Generator, variant_rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a crowd of textured boxes on closed paths, each at its own speed."""
    room = draw_room(canvas, fixed_rng)
    height, width = canvas.height_px, canvas.width_px
    count = 60
    sizes = fixed_rng.integers(height // 20, height // 7, (count, 2))
    textures = [draw_texture(fixed_rng, int(high), int(wide), cells=5) for high, wide in sizes]
    homes = fixed_rng.uniform(0, 1, (count, 2)) * (height, width)
    reach = fixed_rng.uniform(0.05, 0.25, (count, 2)) * (height, width)
    laps = variant_rng.integers(1, 4, (count, 2)) * variant_rng.choice([-1, 1], (count, 2))

    def luma(number: int) -> Brightness:
        picture = room.copy()
        corners = homes + reach * np.sin(2 * np.pi * laps * number / canvas.frames)
        for (top, left), texture in zip(np.rint(corners).astype(int), textures, strict=True):
            stamp(picture, int(top), int(left), texture)
        return picture

    return luma, 1.0


def _dissolve(
    canvas: Canvas, fixed_rng: np.random.Generator, variant_rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a room that fades slowly into another one and back."""
    here, there = draw_room(canvas, fixed_rng), draw_room(canvas, variant_rng)

    def luma(number: int) -> Brightness:
        weight = round(128 * (1 - np.cos(2 * np.pi * number / canvas.frames)))
        sum_of_both = here.astype(np.int32) * (256 - weight) + there.astype(np.int32) * weight
        mixed: Brightness = (sum_of_both >> 8).astype(np.int16)
        return mixed

    return luma, 1.0


def _deck(
    canvas: Canvas, fixed_rng: np.random.Generator, variant_rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint the even ground of a screen for slides."""
    del fixed_rng, variant_rng
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


def stamp(picture: Brightness, top: int, left: int, texture: Brightness) -> None:
    """Put a texture on a picture; parts outside the picture are cut off."""
    height, width = picture.shape
    high, wide = texture.shape
    above, before = max(0, -top), max(0, -left)
    below, after = min(high, height - top), min(wide, width - left)
    if above < below and before < after:
        picture[top + above : top + below, left + before : left + after] = texture[
            above:below, before:after
        ]


PAINTERS: Final[Mapping[Style, Painter]] = {
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
class MixedScene:
    """A backdrop of the mixed settings; see `mixture_scenes`.

    Args:
        style: its style.
        seed: seed of its appearance.
        cycle: number of loops until it repeats; its variant is the position in the cycle.
    """

    style: MixedStyle
    seed: int
    cycle: int = 3


@dataclass(frozen=True)
class ShotList:
    """Backdrops that follow one another within one GOP, each with its number of frames."""

    shots: tuple[tuple[int, MixedScene], ...]


@dataclass(frozen=True)
class BackdropLoop:
    """One loop of a backdrop, which is one GOP of the file.

    Args:
        scene: the backdrop, or several within the GOP.
        variant: number of its variant.
        first: its first frame.
        frames: number of frames.
        step: seconds from frame to frame.
    """

    scene: Scene | ShotList
    variant: int
    first: int
    frames: int
    step: Fraction


@dataclass(frozen=True, eq=False)
class Overlay:
    """A picture on top of the backdrop from frame ``first`` to before ``stop``.

    Args:
        first: first frame that shows it.
        stop: first frame that no longer shows it.
        left: its left edge in frame ``first``, in pixels; even.
        top: its top edge in frame ``first``, in pixels; even.
        luma: its brightness.
        tints: its two chroma components; 128 and 128 are grey.
        drift_px: pixels per frame by which it moves, right and down; even.
    """

    first: int
    stop: int
    left: int
    top: int
    luma: Luma
    tints: tuple[int, int] = (128, 128)
    drift_px: tuple[int, int] = (0, 0)

    def draw(self, picture: Picture, frame: int) -> None:
        """Draw it at its position in a frame; parts outside the picture are cut off."""
        height, width = picture.shape[0] * 2 // 3, picture.shape[1]
        left = self.left + (frame - self.first) * self.drift_px[0]
        top = self.top + (frame - self.first) * self.drift_px[1]
        high, wide = self.luma.shape
        above, before = max(0, -top), max(0, -left)
        below, after = min(high, height - top), min(wide, width - left)
        if above >= below or before >= after:
            return
        rows, columns = (
            slice(top + above, top + below),
            slice(left + before, left + after),
        )
        picture[rows, columns] = self.luma[above:below, before:after]
        half_rows = slice(rows.start // 2, (rows.stop + 1) // 2)
        half_columns = slice(columns.start // 2, (columns.stop + 1) // 2)
        planes = chroma(picture[: height * 3 // 2])
        planes[:, half_rows, half_columns] = np.array(self.tints, np.uint8)[:, None, None]


@dataclass(frozen=True)
class Script:
    """Everything that is needed to paint a video.

    Args:
        loops: backdrops, one after another.
        overlays: pictures on top; later ones cover earlier ones.
        times: time of every frame, and of the end.
    """

    loops: tuple[BackdropLoop, ...]
    overlays: tuple[Overlay, ...]
    times: tuple[Fraction, ...]

    def overlays_of(self, loop: BackdropLoop) -> tuple[tuple[int, Overlay], ...]:
        """Return the overlays that are visible in a loop, each with its index."""
        stop = loop.first + loop.frames
        return tuple(
            (i, each)
            for i, each in enumerate(self.overlays)
            if each.first < stop and each.stop > loop.first
        )


def make_loops(
    scenes: list[tuple[Scene, int]], difficulty: DifficultyConfig
) -> tuple[BackdropLoop, ...]:
    """Make one loop per backdrop and variant; each becomes one GOP.

    The last one is cut at the end of the video. With a variable rate, every second loop has half
    the frames.
    """
    step = 1 / difficulty.fps
    loops: list[BackdropLoop] = []
    left = round(difficulty.duration_s * difficulty.fps)  # steps, not frames
    first = 0
    for i, (scene, variant) in enumerate(scenes):
        steps = min(difficulty.gop_frames, left)
        pace = 2 if difficulty.vfr and i % 2 and steps % 2 == 0 else 1
        loops.append(BackdropLoop(scene, variant, first, steps // pace, pace * step))
        first, left = first + steps // pace, left - steps
    if left or any(loop.frames < 1 for loop in loops):
        raise ValueError(f"{len(scenes)} loops do not fill {difficulty.duration_s} s")
    return tuple(loops)


def count_loops(difficulty: DifficultyConfig) -> int:
    """Return the number of loops of a video."""
    return -(-round(difficulty.duration_s * difficulty.fps) // difficulty.gop_frames)


def frame_times(loops: tuple[BackdropLoop, ...]) -> tuple[Fraction, ...]:
    """Return the time of every frame, and of the end after the last one."""
    steps = (loop.step for loop in loops for _ in range(loop.frames))
    return (Fraction(0), *accumulate(steps))


def frame_at(times: tuple[Fraction, ...], moment: Fraction) -> int:
    """Return the index of the first frame at a moment or after it."""
    return bisect_left(times, moment)
