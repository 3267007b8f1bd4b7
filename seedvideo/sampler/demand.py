"""What each segment of a video asks of the sampler: how much happens, for how long, and how fine.

Made by the analysis, spent by the allocation; knows neither. Times are exact seconds from the
video's own first frame; spans are half-open ``[start, end)``; rates are per second; ``_tokens`` are
visual tokens of the published model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

from seedvideo.media.timeline import Span

PRINT_TOKENS: Final = 400.0
"""Visual tokens a frame that small print needs: print of twelve pixels in 1080 lines about this."""


@dataclass(frozen=True)
class Peak:
    """A moment at which something new appears or ends.

    Args:
        time: presentation time of the frame that shows it.
        strength: how far it stands out, in robust deviations; above 0.
        end: presentation time at which it is over, if the analysis saw that.

    Raises:
        ValueError: if the strength is not above 0 or the end not after the time.
    """

    time: Fraction
    strength: float
    end: Fraction | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength > 0):
            raise ValueError(f"a peak's strength is {self.strength}, expected a value above 0")
        if self.end is not None and self.end <= self.time:
            raise ValueError(f"a peak at {self.time} s ends at {self.end} s")


@dataclass(frozen=True)
class Still:
    """One picture that a whole segment shows.

    Args:
        is_blank: whether there is nothing to read in it.
        core: time in which the analysis saw that picture; the frames beside it, up to the
            segment's ends, may still show the one before or already the one after. None if no
            frame is certain.
    """

    is_blank: bool
    core: Span | None = None

    def within(self, start: Fraction, end: Fraction) -> "Still":
        """Return the same picture in ``[start, end)`` only."""
        if self.core is None:
            return self
        start, end = max(start, self.core.start), min(end, self.core.end)
        return replace(self, core=Span(start, end) if start < end else None)


@dataclass(frozen=True)
class Demand:
    """One segment's needs.

    Args:
        start: where it starts.
        end: where it ends, exclusive.
        base: worth of a second of it whatever happens; above 0 (1 is usual).
        events_per_s: rate of brief events that stand out locally, those at `peaks` among them; 0 in
            calm content.
        event_s: how long things stay: mean length of an event, or the time in which the picture
            changes; above 0.
        detail_tokens: visual tokens a frame, of 28x28 px each, at which about 63 % of its detail
            can be read; above 0.
        peaks: moments that deserve a frame, in order of time.
        density: ``(time, weight)`` pairs in order of time: from ``time`` on, to the next pair or
            ``end``, a second of the segment weighs ``weight`` (novelty; 0 or more) when frames are
            placed. The first time is ``start``.
        starts_shot: whether a cut lies at ``start``.
        change_s: time in which the ordinary picture changes, where that is not ``event_s``: a calm
            scene with brief events in it has both.
        print_tokens: visual tokens a frame at which about 63 % of the small print that may be in
            any picture can be read; above 0.
        still: the picture that all of it shows, if it is a frozen or blank stretch.

    Raises:
        ValueError: if a value is out of range or out of order.
    """

    start: Fraction
    end: Fraction
    base: float
    events_per_s: float
    event_s: float
    detail_tokens: float
    peaks: tuple[Peak, ...] = ()
    density: tuple[tuple[Fraction, float], ...] = ()
    starts_shot: bool = False
    change_s: float | None = None
    print_tokens: float = PRINT_TOKENS
    still: Still | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a segment runs from {self.start} to {self.end} s")
        above = {
            "base": self.base,
            "event_s": self.event_s,
            "detail_tokens": self.detail_tokens,
            "print_tokens": self.print_tokens,
        }
        if self.change_s is not None:
            above["change_s"] = self.change_s
        for name, value in above.items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, expected a finite value above 0")
        if not (math.isfinite(self.events_per_s) and self.events_per_s >= 0):
            raise ValueError(f"events_per_s is {self.events_per_s}, expected 0 or above")
        times = [peak.time for peak in self.peaks]
        if any(later < earlier for earlier, later in pairwise(times)) or not all(
            self.start <= time < self.end for time in times
        ):
            raise ValueError(f"the peaks of {self.start} to {self.end} s are out of place")
        steps = [time for time, _ in self.density]
        if steps and steps[0] != self.start:
            raise ValueError(f"density starts at {steps[0]} s, its segment at {self.start} s")
        if any(later <= earlier for earlier, later in pairwise(steps)) or steps[-1:] >= [self.end]:
            raise ValueError(f"the density of {self.start} to {self.end} s is out of order")
        if not all(math.isfinite(weight) and weight >= 0 for _, weight in self.density):
            raise ValueError("density weighs a second 0 or more")

    @property
    def length_s(self) -> float:
        """Its length."""
        return float(self.end - self.start)

    @property
    def is_calm(self) -> bool:
        """Whether nothing was found in it that stands out."""
        return not (self.events_per_s or self.peaks)

    @property
    def is_blank(self) -> bool:
        """Whether all of it is blank."""
        return self.still is not None and self.still.is_blank

    @property
    def picture_s(self) -> float:
        """Time in which the ordinary picture changes."""
        return self.event_s if self.change_s is None else self.change_s


def within(demands: Sequence[Demand], start: Fraction, end: Fraction) -> tuple[Demand, ...]:
    """What the demands ask for in the window ``[start, end)``; those outside are left out."""
    kept = []
    for demand in demands:
        first, last = max(demand.start, start), min(demand.end, end)
        if first >= last:
            continue
        if (first, last) == (demand.start, demand.end):
            kept.append(demand)
            continue
        steps = [(max(time, first), weight) for time, weight in demand.density if time < last]
        # Of the steps that lie before the window, the last one holds at its start.
        density = [step for step, after in pairwise([*steps, (last, 0.0)]) if step[0] < after[0]]
        kept.append(
            replace(
                demand,
                start=first,
                end=last,
                peaks=tuple(peak for peak in demand.peaks if first <= peak.time < last),
                density=tuple(density),
                starts_shot=demand.starts_shot and first == demand.start,
                still=demand.still and demand.still.within(first, last),
            )
        )
    return tuple(kept)
