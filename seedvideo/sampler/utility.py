"""What each segment of a video asks of the sampler: how much happens, for how long, and how fine.

Made by the analysis, spent by the allocation; knows neither. Times are exact seconds from the
video's own first frame; spans are half-open ``[start, end)``; rates are per second; ``_tokens`` are
visual tokens of the published model.

What frames are worth: how much of a segment they are expected to show, and legibly.

The unit is a second of ordinary content seen and read in full. The model has few parameters, each
with a meaning: things last for a time (`seen`), have a size (`read`), and a brief event that stands
out is worth `EVENT_WORTH_S` of ordinary content. Knows a segment only as its `Demand`; lengths and
times are float seconds, ``_tokens`` are visual tokens a frame.

Notation: ``(...)`` is any shape; arguments are broadcast together.

Spots: the peaks of a segment as frames that could be had, and what each would be worth.

A peak is one event at one moment, so a single frame settles whether it is shown. Knows frames by
their positions, exact times, and no budget.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.utils.timecode import Span

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


Floats = npt.NDArray[np.float64]

EVENT_WORTH_S: Final = 20.0
"""Seconds of ordinary content that one brief event, seen and read, is worth at least."""

DOUBTFUL_STRENGTH: Final = 15.0
"""Strength, in robust deviations, of a peak that is as likely to be noise as to be an event."""

MOMENT_S: Final = 2.0
"""Time that a moment lasts for which someone may ask, whatever the picture does."""

MOMENTS_SHARE: Final = 0.75
"""Share of ordinary content's worth that lies in such moments and their small print, whatever was
measured, since nobody knows the question; the rest lies in the picture as a whole."""


def seen(count: npt.ArrayLike, *, length_s: float, lasting_s: float) -> Floats:
    """Share of the things in a segment that evenly spaced frames meet.

    Things last for an exponentially distributed time of mean ``lasting_s`` and begin at any moment,
    so a grid of rate ``f`` meets ``E[min(1, f d)] = f m (1 - exp(-1 / (f m)))`` of them: nearly
    ``f m`` while frames are few, then with falling gain, 1 in the end.

    Args:
        count: frames in the segment, ``(...)``, 0 or more.
        length_s: length of the segment, above 0.
        lasting_s: mean time that a thing lasts, above 0.

    Returns:
        ``(...)``, 0 to 1; increasing and concave in ``count``.
    """
    per_thing = np.asarray(count, np.float64) * (lasting_s / length_s)
    # Where there is no frame the formula would divide by zero, and nothing is seen.
    divisor = np.where(per_thing > 0, per_thing, 1.0)
    return np.asarray(-per_thing * np.expm1(-1.0 / divisor))


def read(tokens: npt.ArrayLike, *, detail_tokens: float) -> Floats:
    """Share of a picture's detail that can be read at a size: ``1 - exp(-t / need)``.

    Args:
        tokens: visual tokens of the frame, ``(...)``.
        detail_tokens: visual tokens at which 63 % can be read, above 0.

    Returns:
        ``(...)``, 0 to 1; increasing and concave in ``tokens``.
    """
    return np.asarray(-np.expm1(-np.asarray(tokens, np.float64) / detail_tokens))


@dataclass(frozen=True)
class Looks:
    """Evenly spread frames of one segment, in two sizes. Every field is ``(...)``.

    Args:
        fine: frames of the larger size.
        fine_tokens: visual tokens of each.
        coarse: frames of the smaller size, between them.
        coarse_tokens: visual tokens of each, at most ``fine_tokens``.
    """

    fine: npt.ArrayLike
    fine_tokens: npt.ArrayLike
    coarse: npt.ArrayLike = 0
    coarse_tokens: npt.ArrayLike = 0


def worth(demand: Demand, looks: Looks, *, event_worth_s: float = EVENT_WORTH_S) -> Floats:
    """Expected worth of a segment's frames, in seconds of ordinary content.

    Ordinary content is the picture as a whole, which stays what it is for a time and needs its
    measured detail; and moments of it, which last about `MOMENT_S` and need small print to be read.
    A thing counts with the best frame that meets it; in a frozen stretch any frame meets all of it.
    Events at the segment's peaks are left out: each is a matter of one frame
    (`seedvideo.sampler.utility`). Events beyond those are met by chance.

    Args:
        demand: the segment's needs.
        looks: its frames.
        event_worth_s: worth of an event that is seen and read.

    Returns:
        ``(...)``, 0 or more; never falls when a count or a size grows.
    """

    def met(lasting_s: float, detail_tokens: float) -> Floats:
        sharp, blurred = (
            read(tokens, detail_tokens=detail_tokens)
            for tokens in (looks.fine_tokens, looks.coarse_tokens)
        )
        fine, coarse = np.asarray(looks.fine), np.asarray(looks.coarse)
        if demand.is_blank:
            return np.asarray(np.minimum(fine + coarse, 1.0))  # Nothing to read, at any size.
        if demand.still is not None:
            few = np.asarray(np.minimum(fine, 1.0))
            every = np.asarray(np.minimum(fine + coarse, 1.0))
        else:
            few = seen(fine, length_s=demand.length_s, lasting_s=lasting_s)
            every = seen(fine + coarse, length_s=demand.length_s, lasting_s=lasting_s)
        return np.asarray(few * sharp + (every - few) * blurred)

    whole = met(demand.picture_s, demand.detail_tokens)
    moments = met(MOMENT_S, max(demand.detail_tokens, demand.print_tokens))
    mean = (1 - MOMENTS_SHARE) * whole + MOMENTS_SHARE * moments
    ordinary = demand.base * demand.length_s * mean
    elsewhere = demand.events_per_s * demand.length_s - len(demand.peaks)
    if elsewhere <= 0:
        return ordinary
    return np.asarray(
        ordinary + event_worth_s * elsewhere * met(demand.event_s, demand.detail_tokens)
    )


def chance_of_event(demand: Demand) -> Callable[[Peak], float]:
    """How likely each peak of a segment is an event and not noise.

    As likely as its strength says; where the rate of events speaks of fewer events than there are
    peaks, all chances shrink alike.
    """
    events = demand.events_per_s * demand.length_s
    scale = min(1.0, events / max(1, len(demand.peaks)))
    return lambda peak: scale * likely(peak.strength)


def likely(strength: float) -> float:
    """Chance that a peak of this strength is no noise: one half at `DOUBTFUL_STRENGTH`."""
    return strength**2 / (strength**2 + DOUBTFUL_STRENGTH**2)


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
