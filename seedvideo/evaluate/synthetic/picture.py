"""Pictures of a story: a quiet background, and the things of one moment on it.

Units: pixels.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedvideo.evaluate.synthetic.story import Event
from seedvideo.evaluate.synthetic.things import sprite

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
