"""Pictures for the sampling benchmark: twelve kinds of content, six of them calm and six busy.

A scene is a function from the number of a frame to its picture, ``(H, W, 3)`` RGB of 8 bits. The
same seed gives the same pictures.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Picture: TypeAlias = npt.NDArray[np.uint8]
Scene: TypeAlias = Callable[[int], Picture]
Maker: TypeAlias = Callable[[np.random.Generator, int, int], Scene]

FPS: Final = 30
PAGE_EVERY: Final = 4 * FPS
"""Number of frames of a page of `calm_slides`."""
VIEW_EVERY: Final = FPS // 2
"""Number of frames of a view of `busy_cuts`."""
_MARGIN_PX: Final = 256
"""Pixels by which the picture exceeds the window that moves over it."""


def calm_camera(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """A fixed camera with sensor noise; every four seconds a square crosses the picture."""
    still = _texture(rng, width_px, height_px)
    noise = _noise(rng, width_px, height_px, strength=3)
    side_px = height_px // 6

    def paint(number: int) -> Picture:
        picture = still + _window(noise, *_noise_offset(number), width_px, height_px)
        position = number % (4 * FPS)
        if position < FPS:
            left = position * (width_px - side_px) // FPS
            picture[height_px // 2 : height_px // 2 + side_px, left : left + side_px] = 210
        return picture

    return paint


def calm_desktop(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """A still page of text with a moving pointer."""
    page = _page(rng, width_px, height_px)
    side_px = max(height_px // 45, 4)

    def paint(number: int) -> Picture:
        picture = page.copy()
        left = (width_px - side_px) * (1 + np.sin(number / 31)) / 2
        top = (height_px - side_px) * (1 + np.cos(number / 47)) / 2
        picture[int(top) : int(top) + side_px, int(left) : int(left) + side_px] = (200, 30, 30)
        return picture

    return paint


def calm_scroll(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """Text that scrolls for one second of every four."""
    page = _page(rng, width_px, height_px + 4 * _MARGIN_PX)
    step_px = max(height_px // 180, 1)

    def paint(number: int) -> Picture:
        cycle, position = divmod(number, 4 * FPS)
        top = (cycle * FPS + min(position, FPS)) * step_px % (4 * _MARGIN_PX)
        return page[top : top + height_px]

    return paint


def calm_slides(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """Pages of text, a new one every four seconds."""
    pages = [_page(rng, width_px, height_px) for _ in range(5)]
    return lambda number: pages[number // PAGE_EVERY % len(pages)]


def calm_still(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """One picture."""
    still = _texture(rng, width_px, height_px)
    return lambda number: still


def calm_talker(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """A nodding head with a moving mouth in front of a wall."""
    wall = _texture(rng, width_px, height_px, smooth=2.4)
    face = _texture(rng, width_px, height_px, smooth=2.0)
    y, x = np.mgrid[0:height_px, 0:width_px]

    def paint(number: int) -> Picture:
        middle_y = height_px * (0.5 + 0.01 * np.sin(number / 9))
        middle_x = width_px * (0.5 + 0.006 * np.sin(number / 14))
        far = ((y - middle_y) / (0.3 * height_px)) ** 2 + ((x - middle_x) / (0.22 * height_px)) ** 2
        picture = np.where((far < 1)[..., None], face, wall)
        top, left = int(middle_y + 0.12 * height_px), int(middle_x - 0.06 * height_px)
        open_px = int(height_px * (0.01 + 0.02 * (1 + np.sin(number / 2.3))))
        picture[top : top + open_px, left : left + int(0.12 * height_px)] = (90, 30, 40)
        return picture

    return paint


def busy_crowd(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """Forty textured squares, each with a direction and speed of its own."""
    still = _texture(rng, width_px, height_px)
    textures = _texture(rng, width_px, height_px, smooth=0.9)
    side_px = height_px // 9
    room = np.array([height_px - side_px, width_px - side_px])
    starts, steps = rng.uniform(0, 1, (40, 2)) * room, rng.uniform(-0.012, 0.012, (40, 2))

    def paint(number: int) -> Picture:
        picture = still.copy()
        # Back and forth between the edges.
        positions = np.abs((starts + number * steps * height_px + room) % (2 * room) - room).astype(
            int
        )
        for top, left in positions:
            texture = textures[left % room[0] :, top % room[1] :][:side_px, :side_px]
            picture[top : top + side_px, left : left + side_px] = texture
        return picture

    return paint


def busy_cuts(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """Another moving view every half second."""
    views = [busy_pan(rng, width_px, height_px) for _ in range(4)]
    return lambda number: views[number // VIEW_EVERY % len(views)](number)


def busy_grain(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """Coarse film grain over a still picture."""
    still = _texture(rng, width_px, height_px)
    noise = _noise(rng, width_px, height_px, strength=12)
    return lambda number: still + _window(noise, *_noise_offset(number), width_px, height_px)


def busy_pan(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """A fast pan to the right and back."""
    wide = _texture(rng, width_px + _MARGIN_PX, height_px + _MARGIN_PX, smooth=1.1)
    step_px = max(height_px // 90, 1)

    def paint(number: int) -> Picture:
        left = abs((number * step_px + _MARGIN_PX) % (2 * _MARGIN_PX) - _MARGIN_PX)
        return _window(wide, left // 2, left, width_px, height_px)

    return paint


def busy_shake(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """A shaking hand-held camera with sensor noise."""
    wide = _texture(rng, width_px + _MARGIN_PX, height_px + _MARGIN_PX, smooth=1.2)
    noise = _noise(rng, width_px, height_px, strength=4)
    reach = _MARGIN_PX / 2 - 1

    def paint(number: int) -> Picture:
        sway = np.sin([number / 5.3, number / 3.1]) + 0.4 * np.sin([number / 1.7, number / 1.3])
        top, left = (reach * (1 + sway / 2)).astype(int)
        grain = _window(noise, *_noise_offset(number), width_px, height_px)
        return _window(wide, top, left, width_px, height_px) + grain

    return paint


def busy_zoom(rng: np.random.Generator, width_px: int, height_px: int) -> Scene:
    """A zoom into a picture and out again."""
    wide = _texture(rng, width_px, height_px, smooth=1.2)
    rows, columns = (np.linspace(-0.5, 0.5, side) for side in (height_px, width_px))

    def paint(number: int) -> Picture:
        fraction = 0.65 + 0.34 * np.sin(number / 40)
        taken_rows = ((0.5 + fraction * rows) * (height_px - 1)).astype(int)
        taken_columns = ((0.5 + fraction * columns) * (width_px - 1)).astype(int)
        return wide[taken_rows][:, taken_columns]

    return paint


CALM: Final[tuple[Maker, ...]] = (
    calm_camera,
    calm_desktop,
    calm_scroll,
    calm_slides,
    calm_still,
    calm_talker,
)
BUSY: Final[tuple[Maker, ...]] = (
    busy_crowd,
    busy_cuts,
    busy_grain,
    busy_pan,
    busy_shake,
    busy_zoom,
)
CUT_EVERY: Final[dict[Maker, int]] = {calm_slides: PAGE_EVERY, busy_cuts: VIEW_EVERY}
"""Frames from one cut to the next inside a scene; the other kinds have none."""
MIXED: Final = tuple(kind for pair in zip(CALM, BUSY, strict=True) for kind in pair)


def scene(maker: Maker, *, width_px: int, height_px: int, seed: int) -> Scene:
    """A scene of one kind."""
    painted = maker(np.random.default_rng(seed), width_px, height_px)
    return partial(_contiguous, painted)


def _contiguous(painted: Scene, number: int) -> Picture:
    return np.ascontiguousarray(painted(number))


def _texture(
    rng: np.random.Generator, width_px: int, height_px: int, *, smooth: float = 1.4
) -> Picture:
    """Colour noise whose spectrum falls as in photographs, from 24 to 216: room for grain."""
    rows, columns = np.fft.fftfreq(height_px)[:, None], np.fft.rfftfreq(width_px)[None, :]
    fall = np.maximum(np.hypot(rows, columns), 1 / max(width_px, height_px)) ** -smooth
    layers = []
    for _ in range(3):
        white = np.fft.rfft2(rng.standard_normal((height_px, width_px)))
        layers.append(np.fft.irfft2(white * fall, (height_px, width_px)))
    grey, *tints = (layer / layer.std() for layer in layers)
    colours = np.stack([grey + tints[0] / 3, grey, grey + tints[1] / 3], axis=-1)
    return (120 + 40 * colours).clip(24, 216).astype(np.uint8)


def _page(rng: np.random.Generator, width_px: int, height_px: int) -> Picture:
    """Lines of dark rectangles of the size of letters on a light page."""
    page = np.full((height_px, width_px, 3), 236, np.uint8)
    line_px, letter_px = 20, 8
    for top in range(line_px, height_px - 2 * line_px, line_px):
        letters = rng.random(((line_px - 8) // 2, width_px // letter_px * 4)) < 0.5
        letters[:, np.repeat(rng.random(letters.shape[1] // 4) < 0.2, 4)] = False
        ink = letters.repeat(2, axis=0).repeat(2, axis=1)[:, : width_px - 2 * line_px]
        page[top : top + ink.shape[0], line_px : line_px + ink.shape[1]][ink] = 40
    return page


def _noise(rng: np.random.Generator, width_px: int, height_px: int, *, strength: int) -> Picture:
    """Grey noise, larger than a frame, from 0 to six times its deviation."""
    shape = (height_px + _MARGIN_PX, width_px + _MARGIN_PX, 1)
    grain = (strength * (3 + rng.standard_normal(shape, np.float32))).clip(0, min(6 * strength, 39))
    return grain.astype(np.uint8)


def _noise_offset(number: int) -> tuple[int, int]:
    """Return a different offset for each frame, so that noise does not repeat soon."""
    return number * 97 % _MARGIN_PX, number * 61 % _MARGIN_PX


def _window(picture: Picture, top: int, left: int, width_px: int, height_px: int) -> Picture:
    return picture[top : top + height_px, left : left + width_px]
