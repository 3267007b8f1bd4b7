"""Signals of single pictures: brightness, colour, black pictures and black bars.

They are measured in the thumbnails of the analysis, so they cost no further decoding, at most ten
times a second and wherever the picture changes. Luma and chroma are used as stored; those of an HDR
video are not mapped to a display first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.block_features import Floats

BLACK_LUMA: Final = 38
"""Maximum luma of a black pixel: a tenth of the way from black (16) to white (235), as in FFmpeg's
``blackdetect``."""

_BLACK_FRACTION: Final = 0.98
"""Minimum fraction of black pixels in a black picture, as in ``blackdetect``."""

_MAX_BLACK_LEVEL: Final = _BLACK_FRACTION * BLACK_LUMA + (1 - _BLACK_FRACTION) * 255
"""Maximum mean luma of a black picture."""

_MAX_BAR_RANGE: Final = 8
"""Maximum difference of luma within a row or column of a bar: codecs change black a little."""

_INTERVAL_S: Final = 0.1
"""Minimum time between two measurements while the picture stays similar."""

_CHANGE_LEVELS: Final = 12.0
"""Mean change of a picture's blocks, in grey levels, that makes it another picture, which is
measured at once."""

_COLOUR_INTERVAL_S: Final = 0.5
"""Minimum time between two measurements of colour while the picture stays similar."""

_BLACK, _WHITE = 16, 235
"""Luma of black and white in video (ITU-R BT.601)."""


@dataclass(frozen=True, eq=False)
class PictureSignals:
    """Signals of single pictures, one row for each measured thumbnail, and the flashes.

    Args:
        times_s: time of each measurement in seconds, float64, rising; at least one.
        brightness: mean luma from 0 (black) to 1 (white).
        colour: colourfulness, see `colourfulness`.
        black: 1 for a black picture, else 0.
        bars: fraction of the picture that black bars cover, 0 to 1; NaN for a black picture.
        flashes_s: time of each flash in seconds, float64, rising.
    """

    times_s: npt.NDArray[np.float64]
    brightness: Floats
    colour: Floats
    black: Floats
    bars: Floats
    flashes_s: npt.NDArray[np.float64]


class PictureTracker:
    """Streaming measurement of single pictures."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, float, float, float]] = []
        self._colour = 0.0
        self._colour_s = float("-inf")
        self._colour_levels = 0.0

    def update(self, time_s: float, planes: npt.NDArray[np.uint8], *, moved_levels: float) -> None:
        """Add one thumbnail, in order of time.

        Args:
            time_s: time of the frame.
            planes: ``(H * 3 // 2, W)`` of I420.
            moved_levels: mean change of its blocks since the previous thumbnail, in grey levels.
        """
        self._colour_levels += moved_levels
        is_new = not self._rows or moved_levels >= _CHANGE_LEVELS
        # Times such as 0.3 and 0.4 differ by a little less than 0.1.
        if not is_new and time_s - self._rows[-1][0] < _INTERVAL_S - 1e-6:
            return
        luma = planes[: planes.shape[0] * 2 // 3]
        is_similar = self._colour_levels < _CHANGE_LEVELS
        if is_new or not is_similar or time_s - self._colour_s >= _COLOUR_INTERVAL_S:
            self._colour, self._colour_s = colourfulness(planes), time_s
            self._colour_levels = 0.0
        level = _mean_level(luma)
        brightness = (level - _BLACK) / (_WHITE - _BLACK)
        is_black = level <= _MAX_BLACK_LEVEL and (
            np.count_nonzero(luma <= BLACK_LUMA) >= _BLACK_FRACTION * luma.size
        )
        self._rows.append(
            (
                time_s,
                min(max(brightness, 0.0), 1.0),
                self._colour,
                float(is_black),
                float("nan") if is_black else bars_fraction(luma),
            )
        )

    def finish(self, flashes_s: Iterable[float]) -> PictureSignals:
        """Return the signals, with the times of the flashes."""
        table = np.asarray(self._rows, np.float64).reshape(-1, 5)
        brightness, colour, black, bars = table[:, 1:].T.astype(np.float32)
        return PictureSignals(
            times_s=table[:, 0],
            brightness=brightness,
            colour=colour,
            black=black,
            bars=bars,
            flashes_s=np.asarray(list(flashes_s), np.float64),
        )


def _mean_level(luma: npt.NDArray[np.uint8]) -> float:
    """Return the mean of luma ``(H, W)``; several times faster than numpy's."""
    import cv2  # Heavy; only needed for decoded pictures.

    return float(cv2.mean(luma)[0])


def colourfulness(planes: npt.NDArray[np.uint8]) -> float:
    """Return how colourful a picture is: 0 for grey, about 45 on average, above 100 if vivid.

    Spread and mean of the differences red - green and yellow - blue, in levels of 0 to 255; see
    Hasler and Suesstrunk, Measuring colourfulness in natural images (2003). Both follow from chroma
    alone (ITU-R BT.601).

    Args:
        planes: ``(H * 3 // 2, W)`` of I420.
    """
    height_px, width_px = planes.shape[0] * 2 // 3, planes.shape[1]
    chroma = planes[height_px:].reshape(2, height_px // 2, width_px // 2).astype(np.float32) - 128
    blue, red = chroma
    red_green = 2.409 * red + 0.392 * blue
    yellow_blue = 0.3915 * red - 2.213 * blue
    spread = float(np.hypot(red_green.std(), yellow_blue.std()))
    return spread + 0.3 * float(np.hypot(red_green.mean(), yellow_blue.mean()))


def bars_fraction(luma: npt.NDArray[np.uint8]) -> float:
    """Return the fraction of a picture that black bars at opposite edges cover.

    A bar is dark and of one colour. Bars at opposite edges count as far as the narrower one
    reaches: a dark sky has no counterpart below. So bars with subtitles count only in part.

    Args:
        luma: ``(H, W)``, not of a black picture.
    """
    left = 1.0
    for axis in (1, 0):
        first_edge, last_edge = (luma.take(place, axis=1 - axis) for place in (0, -1))
        if max(first_edge.max(), last_edge.max()) > BLACK_LUMA:
            continue  # As in most pictures; the rest takes longer.
        low, high = luma.min(axis=axis), luma.max(axis=axis)
        is_picture = (high > BLACK_LUMA) | (high - low > _MAX_BAR_RANGE)
        first, last = int(is_picture.argmax()), int(is_picture[::-1].argmax())
        left *= 1 - 2 * min(first, last) / len(is_picture)
    return 1 - left
