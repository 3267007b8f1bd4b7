"""Which clips are left out before a model sees them, each for what it is by itself.

Duration and size are read from the header. Black clips are told by sixteen small pictures, taken
evenly over the time that is looked at; a frozen one also by the analysis, which looks at more.
Clips that repeat another one are left out by `seedvideo.batch.duplicates`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.batch.job import Filters
from seedvideo.media.types import Target
from seedvideo.utils.timecode import Span, seconds
from seedvideo.video import Video

MOMENTS: Final = 16
"""Pictures that are looked at."""

_SIDE_PX: Final = 32
_CELLS: Final = 3
"""Rows and columns of mean brightness that are kept of a picture."""

BLACK_LEVELS: Final = 32.0
"""A picture is black where its brightest cell is at most this, of 255 levels."""

FROZEN_LEVELS: Final = 1.0
"""A clip is frozen where no cell changes by more than this between moments."""

FROZEN_MOTION: Final = 0.5
"""And no step of the analysis moves by more than so many levels a second."""

Cells = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Refused:
    """A clip that is left out.

    Args:
        rule: the filter's name.
        message: for people.
    """

    rule: str
    message: str


def by_header(clip: Video, window: Span, rules: Filters) -> Refused | None:
    """Refuse by what the header says: duration of the time that is looked at, and sides."""
    long_s = seconds(window.end - window.start)
    side_px = min(clip.info.width_px, clip.info.height_px)
    if rules.min_duration_s is not None and long_s < rules.min_duration_s:
        return Refused("min_duration", f"{long_s:.3f} s, below {rules.min_duration_s:g} s")
    if rules.max_duration_s is not None and long_s > rules.max_duration_s:
        return Refused("max_duration", f"{long_s:.3f} s, above {rules.max_duration_s:g} s")
    if rules.min_side_px is not None and side_px < rules.min_side_px:
        return Refused("min_side", f"{side_px} px, below {rules.min_side_px} px")
    return None


def by_pictures(clip: Video, window: Span, rules: Filters) -> Refused | None:
    """Refuse by what is seen."""
    if not (rules.black or rules.frozen):
        return None
    cells = moments(clip, window)
    brightest = float(cells[:, :-2].max())
    if rules.black and brightest <= BLACK_LEVELS:
        return Refused("black", f"nothing brighter than {brightest:.0f} of 255 levels")
    if rules.frozen and is_frozen(clip, window, cells):
        return Refused("frozen", "nothing moves")
    return None


def moments(clip: Video, window: Span) -> Cells:
    """What `MOMENTS` pictures show, ``(MOMENTS, 9 + 2)``: brightness of cells, then two colours."""
    step = (window.end - window.start) / MOMENTS
    wanted = [window.start + step * place + step / 2 for place in range(MOMENTS)]
    targets = [Target(time, _SIDE_PX, _SIDE_PX) for time in wanted]
    pictures = np.stack([frame.pixels for frame in clip.reader.frames(targets)]).astype(np.float32)
    red, green, blue = (pictures[..., place] for place in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    edges = np.linspace(0, _SIDE_PX, _CELLS + 1).astype(int)
    rows = np.add.reduceat(np.add.reduceat(luma, edges[:-1], 1), edges[:-1], 2)
    areas = np.outer(np.diff(edges), np.diff(edges))
    colours = [128 + (each - luma).mean(axis=(1, 2)) / 2 for each in (red, blue)]
    means = (rows / areas).reshape(MOMENTS, -1)
    found: Cells = np.concatenate([means, np.stack(colours, axis=1)], axis=1, dtype=np.float32)
    return found


def is_frozen(clip: Video, window: Span, cells: Cells) -> bool:
    """Whether nothing moves; a single frame does not."""
    inside = [time for time in clip.times if time in window]
    if len(inside) < 2:
        return True
    if float(np.abs(np.diff(cells, axis=0)).max()) > FROZEN_LEVELS:
        return False
    signals = clip.analysis("fast").signals
    start_s, end_s = seconds(window.start), seconds(window.end)
    seen = (signals.times_s > start_s) & (signals.times_s < end_s)
    return not bool((signals.motion[seen] > FROZEN_MOTION).any())
