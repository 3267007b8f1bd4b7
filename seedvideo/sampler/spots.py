"""Spots: the peaks of a segment as frames that could be had, and what each would be worth.

A peak is one event at one moment, so a single frame settles whether it is shown. Knows frames by
their positions, exact times, and no budget.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from seedvideo.sampler.demand import Demand, Peak
from seedvideo.sampler.utility import chance_of_event


@dataclass(frozen=True)
class Spot:
    """One peak.

    Args:
        peak: what was found.
        shown: positions of the frames that show it, at least one.
        position: the frame that would be taken for it: one of the coverage grid where that shows
            it, else the middle one.
        is_covered: whether a coverage frame shows it.
        worth_s: what it is worth when it is seen and read, in seconds of ordinary content.
        detail_tokens: visual tokens at which 63 % of it can be read.
    """

    peak: Peak
    shown: range
    position: int
    is_covered: bool
    worth_s: float
    detail_tokens: float

    def told(self) -> str:
        """The peak in words."""
        peak = self.peak
        lasting = "" if peak.end is None else f" for {float(peak.end - peak.time):.2f} s"
        return f"something new{lasting}, {peak.strength:.0f}x the usual change"


def find_spots(
    demand: Demand,
    *,
    times: Sequence[Fraction],
    span: range,
    coverage: Sequence[int],
    room: int,
    event_worth_s: float,
) -> tuple[Spot, ...]:
    """The peaks of a segment that are worth a frame, in order of time.

    Args:
        demand: the segment.
        times: times of all frames of the video.
        span: positions of the frames that lie in the segment.
        coverage: positions of the coverage frames that lie in it.
        room: most frames that may be added for spots; the strongest are kept.
        event_worth_s: worth of an event that is seen and read.
    """
    chance = chance_of_event(demand)
    found: dict[int, Spot] = {}
    for peak in sorted(demand.peaks, key=lambda peak: (-peak.strength, peak.time)):
        if not span or demand.events_per_s == 0:
            break
        shown = _shown(peak, times, span, lasting_s=demand.event_s)
        middle = _middle(peak, times, shown)
        known = coverage[bisect_left(coverage, shown.start) : bisect_left(coverage, shown.stop)]
        position = min(known, key=lambda each: (abs(each - middle), each), default=middle)
        added = sum(not spot.is_covered for spot in found.values())
        # One frame serves one peak, the strongest; so what is worth most is never shut out.
        if position in found or (not known and added >= room):
            continue
        found[position] = Spot(
            peak=peak,
            shown=shown,
            position=position,
            is_covered=bool(known),
            worth_s=event_worth_s * chance(peak),
            detail_tokens=demand.detail_tokens,
        )
    return tuple(spot for _, spot in sorted(found.items()))


def _shown(peak: Peak, times: Sequence[Fraction], span: range, *, lasting_s: float) -> range:
    """The frames of a segment that show a peak. An end that was not seen is guessed."""
    first = min(bisect_left(times, peak.time, lo=span.start, hi=span.stop), span.stop - 1)
    if peak.end is not None:
        after = bisect_left(times, peak.end, lo=first, hi=span.stop)
    else:
        after = bisect_left(times, float(peak.time) + lasting_s, lo=first, hi=span.stop)
    return range(first, max(after, first + 1))


def _middle(peak: Peak, times: Sequence[Fraction], shown: range) -> int:
    """The middle frame of a peak whose end was seen, else the first: the rest is a guess."""
    if peak.end is None:
        return shown.start
    half = (peak.time + peak.end) / 2
    return max(shown.start, bisect_right(times, half, lo=shown.start, hi=shown.stop) - 1)
