"""Time boundaries of shown frames: the span of video time that each frame stands for.

A model sees nothing between two shown frames, but the analysis has inspected that time. If it found
a change there, the first frame stands for the time before the change and the second for the time
after it. Otherwise, and in time that was not inspected, they divide the time in the middle. Times
are exact seconds from the first frame of the video.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np

from seedvideo.sampler.analysis import Analysis
from seedvideo.sampler.events import EVENT_THRESHOLD
from seedvideo.utils.timecode import Span

_MAX_GAP_S: Final = 0.6
"""Maximum time between two thumbnails that locates a change."""


@dataclass(frozen=True)
class Change:
    """A time at which something appeared or disappeared.

    Args:
        time: time of the first frame that differs.
        strength: prominence in robust deviations; infinite for a cut.
    """

    time: Fraction
    strength: float


def find_changes(analysis: Analysis, times: Sequence[Fraction]) -> tuple[Change, ...]:
    """Return the changes that an analysis found, in order of time.

    The method ``packets`` decodes nothing and yields none.

    Args:
        analysis: analysis of the video.
        times: times of all frames of the video.
    """
    if analysis.method == "packets":
        return ()
    signals = analysis.signals
    is_near = np.diff(signals.times_s, prepend=-math.inf) <= _MAX_GAP_S
    found = {
        times[int(signals.frame_indices[step])]: float(signals.novelty[step])
        for step in np.flatnonzero((signals.novelty >= EVENT_THRESHOLD) & is_near)
    }
    found |= dict.fromkeys(analysis.cuts, math.inf)
    return tuple(Change(time, strength) for time, strength in sorted(found.items()))


def frame_bounds(
    shown: Sequence[Fraction], window: Span, changes: Sequence[Change] = ()
) -> tuple[Fraction, ...]:
    """Return the times that divide the window among the shown frames.

    Each boundary is the strongest change between two frames; of equal ones, the one nearest to the
    middle. Without a change it is the middle. The first and the last frame extend to the strongest
    change before and after them, or to the ends of the window. A stand-in for a lost frame that
    lies outside the window stands for the part of its time inside.

    Args:
        shown: times of the frames, strictly increasing.
        window: the analysed part of the video.
        changes: changes in order of time.

    Returns:
        One more time than there are frames, increasing, all in the window: frame ``i`` lies in
        ``[bounds[i], bounds[i + 1])`` and stands for it.
    """
    inside = [change for change in changes if window.start < change.time < window.end]
    times = [change.time for change in inside]

    def strongest(
        after: Fraction, until: Fraction, middle: Fraction, otherwise: Fraction
    ) -> Fraction:
        between = inside[bisect_right(times, after) : bisect_right(times, until)]
        best = max(
            between, key=lambda each: (each.strength, -abs(each.time - middle)), default=None
        )
        return otherwise if best is None else best.time

    first, last = shown[0], shown[-1]
    pairs = [(a, b, (a + b) / 2) for a, b in pairwise(shown)]
    bounds = (
        strongest(window.start, first, first, window.start),
        *(strongest(a, b, middle, middle) for a, b, middle in pairs),
        strongest(last, window.end, last, window.end),
    )
    return tuple(min(max(bound, window.start), window.end) for bound in bounds)
