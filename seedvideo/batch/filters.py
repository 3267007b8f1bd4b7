"""Clip filters: rules that leave a clip out before the model runs.

Duration and size come from the header. Black clips are detected on sixteen thumbnails, spread
uniformly over the window; frozen clips also by the motion signal of the analysis, which inspects
more frames. `seedvideo.batch.duplicates` leaves out clips that repeat another one.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.batch.job import Filters
from seedvideo.media.types import Target
from seedvideo.utils.timecode import Span, seconds
from seedvideo.video import Video

SAMPLED_FRAMES: Final = 16
"""Number of thumbnails per clip."""

_SIDE_PX: Final = 32
_CELLS: Final = 3
"""Rows and columns of mean brightness per thumbnail."""

MAX_BLACK_LEVEL: Final = 32.0
"""A clip is black if its brightest cell is at most this, of 255 levels; empirical."""

MAX_FROZEN_DIFF_LEVELS: Final = 1.0
"""A clip is frozen if no cell changes by more than this between thumbnails; empirical."""

MAX_FROZEN_MOTION_LEVELS_PER_S: Final = 0.5
"""Maximum motion of a frozen clip in the analysis, in levels per second; empirical."""

Cells = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rejection:
    """The reason why a clip is left out.

    Args:
        rule: name of the filter.
        message: explanation for people.
    """

    rule: str
    message: str


def check_metadata(clip: Video, window: Span, rules: Filters) -> Rejection | None:
    """Apply the rules for the duration of the window and the shorter side."""
    duration_s = seconds(window.end - window.start)
    side_px = min(clip.info.width_px, clip.info.height_px)
    if rules.min_duration_s is not None and duration_s < rules.min_duration_s:
        return Rejection("min_duration", f"{duration_s:.3f} s, below {rules.min_duration_s:g} s")
    if rules.max_duration_s is not None and duration_s > rules.max_duration_s:
        return Rejection("max_duration", f"{duration_s:.3f} s, above {rules.max_duration_s:g} s")
    if rules.min_side_px is not None and side_px < rules.min_side_px:
        return Rejection("min_side", f"{side_px} px, below {rules.min_side_px} px")
    return None


def check_frames(clip: Video, window: Span, rules: Filters) -> Rejection | None:
    """Apply the rules for black and frozen clips."""
    if not (rules.black or rules.frozen):
        return None
    cells = sample_cells(clip, window)
    brightest = float(cells[:, :-2].max())
    if rules.black and brightest <= MAX_BLACK_LEVEL:
        return Rejection("black", f"no region is brighter than {brightest:.0f} of 255 levels")
    if rules.frozen and is_frozen(clip, window, cells):
        return Rejection("frozen", "no motion")
    return None


def sample_cells(clip: Video, window: Span) -> Cells:
    """Return ``(SAMPLED_FRAMES, 9 + 2)`` values: brightness of the cells, then two colors."""
    step = (window.end - window.start) / SAMPLED_FRAMES
    wanted = [window.start + step * index + step / 2 for index in range(SAMPLED_FRAMES)]
    targets = [Target(time, _SIDE_PX, _SIDE_PX) for time in wanted]
    pictures = np.stack([frame.pixels for frame in clip.reader.frames(targets)]).astype(np.float32)
    red, green, blue = (pictures[..., index] for index in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    edges = np.linspace(0, _SIDE_PX, _CELLS + 1).astype(int)
    rows = np.add.reduceat(np.add.reduceat(luma, edges[:-1], 1), edges[:-1], 2)
    areas = np.outer(np.diff(edges), np.diff(edges))
    colours = [128 + (each - luma).mean(axis=(1, 2)) / 2 for each in (red, blue)]
    means = (rows / areas).reshape(SAMPLED_FRAMES, -1)
    cells: Cells = np.concatenate([means, np.stack(colours, axis=1)], axis=1, dtype=np.float32)
    return cells


def is_frozen(clip: Video, window: Span, cells: Cells) -> bool:
    """Return whether nothing moves; a single frame never moves."""
    inside = [time for time in clip.times if time in window]
    if len(inside) < 2:
        return True
    if float(np.abs(np.diff(cells, axis=0)).max()) > MAX_FROZEN_DIFF_LEVELS:
        return False
    signals = clip.analysis().signals
    start_s, end_s = seconds(window.start), seconds(window.end)
    seen = (signals.times_s > start_s) & (signals.times_s < end_s)
    return not bool((signals.motion[seen] > MAX_FROZEN_MOTION_LEVELS_PER_S).any())
