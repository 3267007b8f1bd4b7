"""Backdrops of the mixed settings: several within one GOP, and some that never rest.

Other than the loops of `scenes`, a backdrop may begin and end at any frame of a GOP, so a cut need
not meet a keyframe. Frames are painted by their number in the loop. A backdrop of ``cycle`` loops
moves on from loop to loop and repeats after that many. Pictures are ``I420`` arrays of 8 bits.

Separate from `scenes`, whose pixels must not change: other results are compared with theirs.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from seedvideo.evaluate.flashbench.codes import draw_text_plate, random_code
from seedvideo.evaluate.flashbench.scenes import (
    BLACK,
    PAINTERS,
    TILE_SPARE_PX,
    WHITE,
    Brightness,
    BrightnessCurve,
    Canvas,
    MixedScene,
    Painter,
    Picture,
    ShotList,
    chroma,
    draw_room,
    draw_texture,
    stamp,
)
from seedvideo.evaluate.flashbench.spec import MixedStyle

Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""

_PAN_PX: Final = 2
"""Pixels per frame of the slow pan."""
_TICKER_PX: Final = 4
"""Pixels per frame of the news ticker, at 540 lines."""
_MAX_ZOOM: Final = 1.35
_NIGHT: Final = 0.3
"""Brightness of the night, as a fraction of the day's."""
_BLINK_FRAMES: Final = 12
"""Frames for which a cursor is visible, and for which it is not."""


def paint_shots(shot_list: ShotList, canvas: Canvas, *, variant: int) -> Iterator[Picture]:
    """Yield the frames of one GOP; the caller may draw on each array.

    Args:
        shot_list: backdrops with their numbers of frames, together as many as the canvas has.
        canvas: frames and size of the GOP.
        variant: number of the loop; each backdrop takes it modulo its cycle.
    """
    number = 0
    for frames, scene in shot_list.shots:
        # The last GOP may be shorter than a loop; backdrops are painted for full loops only.
        film = _film(scene, variant % scene.cycle, canvas.width_px, canvas.height_px)
        for _ in range(frames):
            yield film(number % LOOP_FRAMES)
            number += 1


LOOP_FRAMES: Final = 125
"""Frames of a loop of every backdrop."""


@lru_cache(maxsize=12)
def _film(
    scene: MixedScene, variant: int, width_px: int, height_px: int
) -> Callable[[int], Picture]:
    """Return a function from a frame's number in the loop to its picture."""
    canvas = Canvas(LOOP_FRAMES, width_px, height_px)
    fixed_rng = np.random.default_rng([scene.seed, 1])
    variant_rng = np.random.default_rng([scene.seed, 2, variant])
    if scene.style in _MIXED_PAINTERS:
        luma, grain = _MIXED_PAINTERS[scene.style](scene, canvas, variant, fixed_rng)
    else:
        luma, grain = _LOOP_PAINTERS[scene.style](canvas, fixed_rng, variant_rng)
    tints = np.random.default_rng([scene.seed, 3]).integers(112, 145, 2)
    tile_shape = (height_px + TILE_SPARE_PX, width_px + TILE_SPARE_PX)
    tile = np.rint(variant_rng.normal(0, 1, tile_shape) * grain).astype(np.int16)
    shifts = variant_rng.integers(0, TILE_SPARE_PX, (LOOP_FRAMES, 2))

    def picture(number: int) -> Picture:
        down, right = shifts[number]
        made = np.empty((height_px * 3 // 2, width_px), np.uint8)
        bright = luma(number)
        if grain:
            bright = bright + tile[down : down + height_px, right : right + width_px]
        np.clip(bright, BLACK, WHITE, out=made[:height_px], casting="unsafe")
        chroma(made)[:] = tints[:, None, None]
        return made

    return picture


def restless_boxes(style: MixedStyle, seed: int, width_px: int, height_px: int) -> tuple[Box, ...]:
    """Return the parts of the picture that never rest, if the rest of it does.

    Args:
        style: style of the backdrop.
        seed: seed of the backdrop, 100 per video.
        width_px: width of the picture.
        height_px: height of the picture.
    """
    draw = seed // 100
    if style == "corner":
        wide, high = width_px // 3 // 4 * 4, height_px // 3 // 4 * 4
        left, top = (draw % 2) * (width_px - wide), (draw // 2 % 2) * (height_px - high)
        return ((left, top, wide, high),)
    if style == "band":
        high = height_px // 6 // 2 * 2
        top = height_px * (draw % 5) // 6 // 2 * 2
        return ((0, top, width_px, high),)
    if style == "ticker":
        strip, board = _ticker_print(seed, height_px)
        strip_high, (board_high, board_wide) = strip.shape[0], board[0].shape
        edge = height_px // 27 // 2 * 2
        return (
            (0, height_px - edge - strip_high, width_px, strip_high),
            (edge, edge, board_wide, board_high),
        )
    return ()


def _corner(
    scene: MixedScene, canvas: Canvas, variant: int, rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a still room, one corner of which is a crowd."""
    room = draw_room(canvas, rng)
    ((left, top, wide, high),) = restless_boxes(
        scene.style, scene.seed, canvas.width_px, canvas.height_px
    )
    variant_rng = np.random.default_rng([scene.seed, 4, variant])
    crowd, _ = PAINTERS["crowd"](Canvas(canvas.frames, wide, high), rng, variant_rng)

    def luma(number: int) -> Brightness:
        picture = room.copy()
        picture[top : top + high, left : left + wide] = crowd(number)
        return picture

    return luma, 1.5


def _band(
    scene: MixedScene, canvas: Canvas, variant: int, rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a still room with a road across the picture on which cars never stop."""
    room = draw_room(canvas, rng)
    ((_, top, width, high),) = restless_boxes(
        scene.style, scene.seed, canvas.width_px, canvas.height_px
    )
    room[top : top + high] = 80
    lanes, around = 2, width + high * 4
    cars = []
    for lane in range(lanes):
        for _ in range(8):
            texture = draw_texture(rng, high // 3, int(rng.integers(high // 2, high * 2)), cells=4)
            pace = int(rng.integers(1, 4)) * (1 if lane else -1)
            cars.append((float(rng.uniform(0, around)), pace, lane, texture))

    def luma(number: int) -> Brightness:
        picture = room.copy()
        part = (variant * canvas.frames + number) / (scene.cycle * canvas.frames)
        for home, pace, lane, texture in cars:
            left = round((home + pace * part * around) % around) - high * 2
            stamp(picture, top + high * lane // lanes + high // 12, left, texture)
        return picture

    return luma, 1.5


@lru_cache(maxsize=4)
def _ticker_print(seed: int, height_px: int) -> tuple[Brightness, tuple[Brightness, ...]]:
    """Draw the strip of a news ticker, and the plates of a scoreboard's clock."""
    rng = np.random.default_rng([seed, 5])

    def plate(cap_height_px: int) -> Brightness:
        drawn = draw_text_plate(
            random_code(rng), cap_height_px=cap_height_px, picture_height_px=height_px
        )
        return drawn.luma.astype(np.int16)

    strip = np.concatenate([plate(26) for _ in range(14)], axis=1)
    clock = [plate(22) for _ in range(15)]
    wide = max(each.shape[1] for each in clock)
    padded = [np.pad(each, ((0, 0), (0, wide - each.shape[1])), mode="edge") for each in clock]
    return strip, tuple(padded)


def _ticker(
    scene: MixedScene, canvas: Canvas, variant: int, rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a still room with a news ticker, and a scoreboard whose clock changes every second."""
    room = draw_room(canvas, rng)
    strip, clock = _ticker_print(scene.seed, canvas.height_px)
    below, board = restless_boxes(scene.style, scene.seed, canvas.width_px, canvas.height_px)
    pace = max(1, round(_TICKER_PX * canvas.height_px / 540))
    around = pace * scene.cycle * canvas.frames
    copies = -(-(around + canvas.width_px) // strip.shape[1]) + 1
    once = np.concatenate([strip] * copies, axis=1)[:, :around]
    line = np.concatenate([once, once, once][: 1 + -(-canvas.width_px // around)], axis=1)
    second = canvas.frames // 5

    def luma(number: int) -> Brightness:
        picture = room.copy()
        now = variant * canvas.frames + number
        left = pace * now % around
        stamp(picture, below[1], 0, line[:, left : left + canvas.width_px])
        stamp(picture, board[1], board[0], clock[now // second % len(clock)])
        return picture

    return luma, 1.5


def _screen(
    scene: MixedScene, canvas: Canvas, variant: int, rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a page of lines on a screen, with a cursor that blinks about once per second."""
    del scene, variant
    height, width = canvas.height_px, canvas.width_px
    page = np.full((height, width), 225, np.int16)
    line = max(4, height // 24)
    for top in range(line, height - 2 * line, line):
        left, stop = width // 24, int(rng.integers(width // 4, width * 3 // 4))
        while left < stop:
            word = int(rng.integers(line // 2, 4 * line))
            page[top : top + line // 2, left : min(left + word, stop)] = 90
            left += word + line // 3
    page[:, : width // 40] = 60
    top = int(rng.integers(2, 20)) * line
    left = int(rng.integers(width // 4, width * 3 // 4))
    rows, columns = slice(top, top + line * 3 // 4), slice(left, left + max(2, height // 180))

    def luma(number: int) -> Brightness:
        if number // _BLINK_FRAMES % 2:
            return page
        picture = page.copy()
        picture[rows, columns] = 30
        return picture

    return luma, 0.0


def _slow_pan(
    scene: MixedScene, canvas: Canvas, variant: int, rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a long wall past which the camera turns slowly, once per cycle."""
    around = _PAN_PX * scene.cycle * canvas.frames
    wall = draw_room(Canvas(1, around, canvas.height_px), rng)
    line = np.concatenate([wall] * (1 + -(-canvas.width_px // around)), axis=1)

    def luma(number: int) -> Brightness:
        left = _PAN_PX * (variant * canvas.frames + number)
        return line[:, left : left + canvas.width_px]

    return luma, 1.5


def _zoom(
    scene: MixedScene, canvas: Canvas, variant: int, rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a room into which the camera zooms slowly, and out again, once per cycle."""
    size = canvas.width_px, canvas.height_px
    room = Image.fromarray(draw_room(canvas, rng).astype(np.uint8))

    def luma(number: int) -> Brightness:
        part = (variant * canvas.frames + number) / (scene.cycle * canvas.frames)
        scale = _MAX_ZOOM ** ((1 - np.cos(2 * np.pi * part)) / 2)
        spare = [(side - side / scale) / 2 for side in size]
        box = (spare[0], spare[1], size[0] - spare[0], size[1] - spare[1])
        return np.asarray(room.resize(size, Image.Resampling.BILINEAR, box=box)).astype(np.int16)

    return luma, 1.5


def _dusk(
    scene: MixedScene, canvas: Canvas, variant: int, rng: np.random.Generator
) -> tuple[BrightnessCurve, float]:
    """Paint a room that goes from day to night within one cycle."""
    room = draw_room(canvas, rng).astype(np.int32)

    def luma(number: int) -> Brightness:
        part = (variant * canvas.frames + number) / (scene.cycle * canvas.frames)
        gain = round(1024 * (1 - (1 - _NIGHT) * part))
        lit: npt.NDArray[np.int16] = (room * gain >> 10).astype(np.int16)
        return lit

    return luma, 1.5


_MixedPainter = Callable[
    [MixedScene, Canvas, int, np.random.Generator], tuple[BrightnessCurve, float]
]
"""From scene, canvas, position in the cycle and the scene's rng to brightness and grain."""

_MIXED_PAINTERS: Final[Mapping[MixedStyle, _MixedPainter]] = {
    "corner": _corner,
    "band": _band,
    "ticker": _ticker,
    "screen": _screen,
    "slow pan": _slow_pan,
    "zoom": _zoom,
    "dusk": _dusk,
}

_LOOP_PAINTERS: Final[Mapping[MixedStyle, Painter]] = {
    "calm": PAINTERS["calm"],
    "crowd": PAINTERS["crowd"],
    "flicker": PAINTERS["flicker"],
    "grain": PAINTERS["grain"],
}
