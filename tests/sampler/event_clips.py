"""Clips with what a small brief event can hide in, encoded when tests run.

A picture of 640x360 with print of four pixels is one of 1920x1080 with print of twelve, made a
third as large: thumbnails of both are the same.
"""

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tests.fixtures import ffmpeg

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

FPS: Final = 25
WIDTH_PX, HEIGHT_PX = 640, 360
FLASH_S: Final = (4.0, 4.4)
LENGTH_S: Final = 8.0
X264: Final = "-c:v libx264 -preset veryfast -pix_fmt yuv420p"
CODECS: Final = {
    "crf18": ("mp4", f"{X264} -crf 18"),
    "crf28": ("mp4", f"{X264} -crf 28"),
    "crf36": ("mp4", f"{X264} -crf 36"),
    "cbr": (
        "mp4",
        f"{X264} -b:v 800k -minrate 800k -maxrate 800k -bufsize 400k"
        " -x264-params nal-hrd=cbr:force-cfr=1",
    ),
    "intra": ("mp4", f"{X264} -crf 28 -g 1"),
    "hevc": (
        "mp4",
        "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -crf 23"
        " -x265-params log-level=none:pools=1",
    ),
    "vp9": (
        "webm",
        "-c:v libvpx-vp9 -pix_fmt yuv420p -crf 34 -b:v 0 -deadline realtime -cpu-used 8",
    ),
    "av1": ("mkv", "-c:v libsvtav1 -pix_fmt yuv420p -preset 12 -crf 38 -svtav1-params lp=1"),
}
"""Container and encoder options by name."""


def scenery(width_px: int, height_px: int, *, seed: int = 1) -> Floats:
    """A picture of soft light and coloured patches: ``(height_px, width_px, 3)``, 0 to 255."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height_px, 0:width_px] / height_px
    picture = np.stack(
        [
            90 + 60 * np.sin(3.5 * x + 2 * y),
            100 + 40 * np.cos(4 * y),
            110 + 50 * np.sin(2.7 * (x + y)),
        ],
        axis=-1,
    )
    for _ in range(30):
        left, top = int(random.integers(0, width_px)), int(random.integers(0, height_px))
        wide, high = (int(side * height_px) for side in random.uniform(0.02, 0.18, 2))
        picture[top : top + high, left : left + wide] = random.uniform(30, 220, 3)
    return picture


def plate(cap_px: int = 4) -> Floats:
    """A dark plate with six characters of this height: ``(h, w, 1)``, 0 to 255."""
    font = ImageFont.load_default(size=cap_px * 4 / 0.72)
    box = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), "KX7RTW", font=font)
    large = Image.new("L", (int(box[2]) + 4 * cap_px, int(box[3]) + 2 * cap_px), 30)
    ImageDraw.Draw(large).text((2 * cap_px, 0), "KX7RTW", font=font, fill=240)
    small = large.resize((large.width // 4, large.height // 4), Image.Resampling.BOX)
    return np.asarray(small, np.float64)[:, :, None]


def still(number: int) -> Floats:
    """Nothing happens."""
    del number
    return _scenery(WIDTH_PX)


def pan(number: int) -> Floats:
    """The camera turns by less than a pixel and a half a frame."""
    wide, place = _scenery(3 * WIDTH_PX), 1.3 * number
    left = int(place)
    share = place - left
    views = [wide[:, left + step : left + step + WIDTH_PX] for step in (0, 1)]
    return views[0] * (1 - share) + views[1] * share


def flicker(number: int) -> Floats:
    """The light changes by 6 % from frame to frame."""
    gain = float(1 + 0.06 * np.sin(2.1 * number))
    return _scenery(WIDTH_PX) * gain


def grain(number: int) -> Floats:
    """A camera with little light."""
    noise = np.random.default_rng(number).normal(0, 4, (HEIGHT_PX, WIDTH_PX, 1))
    return _scenery(WIDTH_PX) + noise


def crowd(number: int) -> Floats:
    """Forty things move about in the left half."""
    picture = _scenery(WIDTH_PX).copy()
    random = np.random.default_rng(2)
    for _ in range(40):
        x, y, speed, phase = (
            random.uniform(0, 290),
            random.uniform(0, 330),
            *random.uniform(1, 7, 2),
        )
        left = int(abs((x + speed * number) % 580 - 290))
        top = int(np.clip(y + 12 * np.sin(number / 6 + phase), 0, 340))
        picture[top : top + 18, left : left + 12] = random.uniform(20, 230, 3)
    return picture


SCENES: Final[dict[str, Callable[[int], Floats]]] = {
    "still": still,
    "pan": pan,
    "flicker": flicker,
    "grain": grain,
    "crowd": crowd,
}


def filmed(
    path: Path,
    scene: Callable[[int], Floats],
    options: str,
    *,
    flash_s: tuple[float, float] | None = FLASH_S,
    length_s: float = LENGTH_S,
) -> Path:
    """Encodes a scene, with a plate shown in its right half for a while.

    Args:
        path: of the result.
        scene: picture of each frame.
        options: ffmpeg's for the encoder.
        flash_s: when the plate is there, if at all.
        length_s: of the clip.
    """

    def frames() -> Iterator[Pixels]:
        shown = _stored(plate())
        for number, picture in enumerate(_pictures(scene, round(length_s * FPS))):
            if flash_s is not None and flash_s[0] <= number / FPS < flash_s[1]:
                picture = picture.copy()
                picture[170 : 170 + shown.shape[0], 470 : 470 + shown.shape[1]] = shown
            yield picture

    source = f"-f rawvideo -pix_fmt rgb24 -s {WIDTH_PX}x{HEIGHT_PX} -r {FPS} -i -"
    ffmpeg(*source.split(), *options.split(), path, stdin=np.stack([*frames()]).tobytes())
    return path


@cache
def _scenery(width_px: int) -> Floats:
    """A picture that is painted once; read-only."""
    picture = scenery(width_px, HEIGHT_PX)
    picture.flags.writeable = False
    return picture


@lru_cache(maxsize=1)
def _pictures(scene: Callable[[int], Floats], count: int) -> tuple[Pixels, ...]:
    """Pictures of one scene: painting takes longer than encoding, and several codecs share them."""
    return tuple(_stored(scene(number)) for number in range(count))


def _stored(picture: Floats) -> Pixels:
    return picture.clip(0, 255).astype(np.uint8)
