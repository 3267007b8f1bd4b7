"""Which time each shown frame stands for: its bounds lie where the picture was seen to change.

Between two shown frames a model has seen nothing, but the analysis has looked at what lies between
them. Where it saw something come or go, the first frame stands for the time before that and the
second for the time after it; elsewhere they share the time between them. Knows no model. Times are
exact seconds from the video's first frame.
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
from seedvideo.sampler.novelty import PEAK
from seedvideo.utils.timecode import Span

_NEAR_S: Final = 0.6
"""Longest time from one look to the next in which a change has a moment of its own."""


@dataclass(frozen=True)
class Change:
    """A moment at which something came or went.

    Args:
        time: of the first frame that was seen to be otherwise.
        strength: how far it stands out, in robust deviations; infinite for a cut.
    """

    time: Fraction
    strength: float


def changes_of(analysis: Analysis, times: Sequence[Fraction]) -> tuple[Change, ...]:
    """What an analysis saw to change, in order of time.

    The analysis ``packets`` has seen no picture, so it tells of none.

    Args:
        analysis: of the video.
        times: of all of its frames.
    """
    if analysis.method == "packets":
        return ()
    signals = analysis.signals
    is_near = np.diff(signals.times_s, prepend=-math.inf) <= _NEAR_S
    found = {
        times[int(signals.ranks[step])]: float(signals.novelty[step])
        for step in np.flatnonzero((signals.novelty >= PEAK) & is_near)
    }
    found |= dict.fromkeys(analysis.cuts, math.inf)
    return tuple(Change(time, strength) for time, strength in sorted(found.items()))


def frame_bounds(
    shown: Sequence[Fraction], window: Span, changes: Sequence[Change] = ()
) -> tuple[Fraction, ...]:
    """The moments that part the time among the shown frames.

    Args:
        shown: times of the frames, strictly increasing.
        window: what was looked at.
        changes: in order of time.

    Returns:
        One more than there are frames, increasing, all in the window: frame ``i`` stands for
        ``[bounds[i], bounds[i + 1])`` and lies in it. Each is the strongest change between two
        frames, of equal ones that nearest to the middle, or the middle itself where nothing
        changed. The first and the last frame reach to the strongest change before and after them,
        or to the window's ends. A frame that stands in for a lost one and lies outside the window
        stands for the part of its time that is inside.
    """
    inside = [change for change in changes if window.start < change.time < window.end]
    moments = [change.time for change in inside]

    def strongest(
        after: Fraction, until: Fraction, middle: Fraction, otherwise: Fraction
    ) -> Fraction:
        between = inside[bisect_right(moments, after) : bisect_right(moments, until)]
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
