"""Utility model of frames: what segments need, and how much of it a set of frames shows.

The unit is one second of ordinary content that is seen and read in full. The model has few
parameters. Content lasts for a time (`coverage_fraction`) and has a size (`legible_fraction`), and
a brief event that stands out has the value of `EVENT_VALUE_S` of ordinary content. A peak is one
event at one moment, so a single frame decides whether it is shown (`find_peak_candidates`).

Times are exact seconds from the first frame of the video, or float seconds where only lengths
matter. Spans are half-open ``[start, end)``; rates are per second; ``_tokens`` are visual tokens
per frame in the published model. Notation: ``(...)`` is any shape; arguments are broadcast
together.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.utils.timecode import Span

PRINT_TOKENS: Final = 400.0
"""Visual tokens per frame at which small print (12 px in 1080p) becomes legible."""


@dataclass(frozen=True)
class Peak:
    """A moment at which something new appears or disappears.

    Args:
        time: presentation time of the first frame that shows it.
        strength: prominence in robust deviations; above 0.
        end: presentation time at which it is over, if the analysis saw the end.
        last: presentation time of the last frame that the analysis saw to show it, if it saw the
            end. Between ``last`` and ``end`` it disappears, at an unknown time.
        in_busy_time: whether it lies in busy time, where no event is prominent.

    Raises:
        ValueError: if the strength is not above 0, the end is not after the time, or ``last`` does
            not lie between them.
    """

    time: Fraction
    strength: float
    end: Fraction | None = None
    last: Fraction | None = None
    in_busy_time: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength > 0):
            raise ValueError(f"a peak's strength is {self.strength}, expected a value above 0")
        if self.end is not None and self.end <= self.time:
            raise ValueError(f"a peak at {self.time} s ends at {self.end} s")
        if self.last is not None and not (
            self.end is not None and self.time <= self.last < self.end
        ):
            raise ValueError(
                f"a peak at {self.time} s is last seen at {self.last} s and ends at {self.end} s"
            )


@dataclass(frozen=True)
class StillPicture:
    """One picture that a complete segment shows.

    Args:
        is_blank: whether the picture is blank, so that it has no detail to read.
        core: span in which the analysis saw the picture. Frames of the segment outside the core may
            still show the previous picture or already the next one. None if no frame is certain.
    """

    is_blank: bool
    core: Span | None = None

    def clip(self, start: Fraction, end: Fraction) -> "StillPicture":
        """Return the same picture restricted to ``[start, end)``."""
        if self.core is None:
            return self
        start, end = max(start, self.core.start), min(end, self.core.end)
        return replace(self, core=Span(start, end) if start < end else None)


@dataclass(frozen=True)
class SegmentDemand:
    """Demand of one segment: how much happens, how long things last, how fine the detail is.

    Args:
        start: start of the segment.
        end: end of the segment, exclusive.
        base: value of one second of the segment without events; above 0 (usually 1).
        events_per_s: rate of brief events that stand out locally, including those at ``peaks``; 0
            in calm content.
        event_s: mean length of an event, or the time in which the picture changes; above 0.
        detail_tokens: visual tokens per frame, of 28x28 px each, at which about 63% of the detail
            is legible; above 0.
        peaks: moments that deserve a frame, in order of time.
        density: ``(time, weight)`` pairs in order of time. From ``time`` to the next pair or
            ``end``, one second of the segment has this weight (novelty, 0 or more) in frame
            placement. The first time is ``start``.
        starts_shot: whether a cut lies at ``start``.
        change_s: time in which the ordinary picture changes, if it differs from ``event_s``: a calm
            scene with brief events has both.
        print_tokens: visual tokens per frame at which about 63% of small print is legible, in case
            the picture has any; above 0.
        still: the picture that the complete segment shows, if it is a frozen or blank stretch.
        rest_fraction: fraction of the picture and the time that does not change for a moment or
            longer; 0 if it was not measured.
        rests: number of frames that show all of that, one in each rest; 1 or more.
        texture: fraction of the tokens for detail and print that the picture can need at most;
            low for soft pictures.

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
    still: StillPicture | None = None
    rest_fraction: float = 0.0
    rests: float = 1.0
    texture: float = 1.0

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
        if not (0 <= self.rest_fraction <= 1 and self.rests >= 1 and 0 < self.texture <= 1):
            raise ValueError(
                f"rest is {self.rest_fraction} in {self.rests} rests and texture {self.texture},"
                " expected 0 to 1, at least 1, and above 0 to 1"
            )
        times = [peak.time for peak in self.peaks]
        if any(later < earlier for earlier, later in pairwise(times)) or not all(
            self.start <= time < self.end for time in times
        ):
            raise ValueError(
                f"the peaks of {self.start} to {self.end} s are out of order or outside it"
            )
        steps = [time for time, _ in self.density]
        if steps and steps[0] != self.start:
            raise ValueError(f"density starts at {steps[0]} s, its segment at {self.start} s")
        if any(later <= earlier for earlier, later in pairwise(steps)) or steps[-1:] >= [self.end]:
            raise ValueError(f"the density of {self.start} to {self.end} s is out of order")
        if not all(math.isfinite(weight) and weight >= 0 for _, weight in self.density):
            raise ValueError("a weight in density is below 0 or not finite, expected 0 or above")

    @property
    def length_s(self) -> float:
        """Return the length of the segment in seconds."""
        return float(self.end - self.start)

    def without_rest(self) -> "SegmentDemand":
        """Return the same demand as if rest and texture had not been measured."""
        return replace(self, rest_fraction=0.0, rests=1.0, texture=1.0)

    @property
    def is_calm(self) -> bool:
        """Return whether the segment has no event that stands out."""
        return not (self.events_per_s or self.peaks)

    @property
    def is_blank(self) -> bool:
        """Return whether the complete segment is blank."""
        return self.still is not None and self.still.is_blank

    @property
    def picture_s(self) -> float:
        """Return the time in which the ordinary picture changes, in seconds."""
        return self.event_s if self.change_s is None else self.change_s


def clip_demands(
    demands: Sequence[SegmentDemand], start: Fraction, end: Fraction
) -> tuple[SegmentDemand, ...]:
    """Restrict demands to the window ``[start, end)`` and drop those outside it."""
    kept = []
    for demand in demands:
        first, last = max(demand.start, start), min(demand.end, end)
        if first >= last:
            continue
        if (first, last) == (demand.start, demand.end):
            kept.append(demand)
            continue
        steps = [(max(time, first), weight) for time, weight in demand.density if time < last]
        # Of the steps before the window, the last one applies at its start.
        density = [step for step, after in pairwise([*steps, (last, 0.0)]) if step[0] < after[0]]
        kept.append(
            replace(
                demand,
                start=first,
                end=last,
                peaks=tuple(peak for peak in demand.peaks if first <= peak.time < last),
                density=tuple(density),
                starts_shot=demand.starts_shot and first == demand.start,
                still=demand.still and demand.still.clip(first, last),
            )
        )
    return tuple(kept)


Floats = npt.NDArray[np.float64]

MIN_LEGIBLE: Final = 0.45
"""Fraction of an event's detail that is legible at the size to which its frame is enlarged.

For small print this is level 256: the print of signs is legible there (flashbench, dev seeds).
"""

MORE_DETAIL_WORTH: Final = 0.25
"""Value of more detail of an event that is legible, as a fraction of that of reading it."""

EVENT_VALUE_S: Final = 20.0
"""Minimum value of one brief event that is seen and read, in seconds of ordinary content."""

HALF_CONFIDENCE_STRENGTH: Final = 15.0
"""Strength, in robust deviations, at which a peak is equally likely to be noise or an event."""

MOMENT_S: Final = 2.0
"""Length of a moment that a question may be about, however slowly the picture changes."""

DETAIL_QUESTION_FRACTION: Final = 0.75
"""Fraction of the value of ordinary content that lies in such moments and their small print.

The question is unknown during sampling, so this fraction is fixed. The rest lies in the picture as
it stays for its usual time.
"""


def coverage_fraction(count: npt.ArrayLike, *, length_s: float, lasting_s: float) -> Floats:
    """Return the expected fraction of a segment's content that evenly spaced frames meet.

    Content lasts for an exponentially distributed time of mean ``lasting_s`` and begins at any
    moment. A grid of rate ``f`` then meets ``E[min(1, f d)] = f m (1 - exp(-1 / (f m)))`` of it:
    nearly ``f m`` while frames are few, then with falling gain towards 1.

    Args:
        count: number of frames in the segment, ``(...)``, 0 or more.
        length_s: length of the segment in seconds, above 0.
        lasting_s: mean time in seconds that content lasts, above 0.

    Returns:
        ``(...)``, 0 to 1; increasing and concave in ``count``.
    """
    per_thing = np.asarray(count, np.float64) * (lasting_s / length_s)
    # Without a frame the formula would divide by zero; the fraction is 0 there.
    divisor = np.where(per_thing > 0, per_thing, 1.0)
    return np.asarray(-per_thing * np.expm1(-1.0 / divisor))


def legible_fraction(tokens: npt.ArrayLike, *, detail_tokens: float) -> Floats:
    """Return the fraction of a picture's detail that is legible at a size: ``1 - exp(-t / need)``.

    Args:
        tokens: visual tokens of the frame, ``(...)``.
        detail_tokens: visual tokens at which 63% is legible, above 0.

    Returns:
        ``(...)``, 0 to 1; increasing and concave in ``tokens``.
    """
    return np.asarray(-np.expm1(-np.asarray(tokens, np.float64) / detail_tokens))


@dataclass(frozen=True)
class FrameCounts:
    """Counts of evenly spread frames of one segment in two sizes. Every field is ``(...)``.

    Args:
        fine: number of frames of the larger size.
        fine_tokens: visual tokens of each.
        coarse: number of frames of the smaller size, placed between them.
        coarse_tokens: visual tokens of each, at most ``fine_tokens``.
    """

    fine: npt.ArrayLike
    fine_tokens: npt.ArrayLike
    coarse: npt.ArrayLike = 0
    coarse_tokens: npt.ArrayLike = 0


def expected_utility(
    demand: SegmentDemand, counts: FrameCounts, *, event_value_s: float = EVENT_VALUE_S
) -> Floats:
    """Return the expected utility of a segment's frames, in seconds of ordinary content.

    Ordinary content has two parts. The picture as a whole stays for a time and needs its measured
    detail. Moments of it last about `MOMENT_S` and need small print to be legible. Content counts
    with the best frame that meets it. In a frozen stretch any frame meets all of it. What rests is
    met by one frame in each rest.

    Events at the peaks of the segment are excluded, because `PeakCandidate` values each of them.
    Further events are met by chance.

    Args:
        demand: the demand of the segment.
        counts: numbers and sizes of its frames.
        event_value_s: value of an event that is seen and read, in seconds of ordinary content.

    Returns:
        ``(...)``, 0 or more; never falls when a count or a size grows.
    """

    def met_fraction(lasting_s: float, detail_tokens: float) -> Floats:
        sharp, blurred = (
            legible_fraction(tokens, detail_tokens=detail_tokens)
            for tokens in (counts.fine_tokens, counts.coarse_tokens)
        )
        fine, coarse = np.asarray(counts.fine), np.asarray(counts.coarse)
        if demand.is_blank:
            return np.asarray(np.minimum(fine + coarse, 1.0))  # No detail to read at any size.
        if demand.still is not None:
            few = np.asarray(np.minimum(fine, 1.0))
            every = np.asarray(np.minimum(fine + coarse, 1.0))
        else:
            few, every = (_met_fraction(demand, each, lasting_s) for each in (fine, fine + coarse))
        return np.asarray(few * sharp + (every - few) * blurred)

    detail_tokens = demand.texture * demand.detail_tokens
    print_tokens = demand.texture * max(demand.detail_tokens, demand.print_tokens)
    overall = met_fraction(demand.picture_s, detail_tokens)
    moments = met_fraction(MOMENT_S, print_tokens)
    mean = (1 - DETAIL_QUESTION_FRACTION) * overall + DETAIL_QUESTION_FRACTION * moments
    ordinary = demand.base * demand.length_s * mean
    elsewhere = demand.events_per_s * demand.length_s - len(demand.peaks)
    if elsewhere <= 0:
        return ordinary
    return np.asarray(
        ordinary + event_value_s * elsewhere * met_fraction(demand.event_s, demand.detail_tokens)
    )


def _met_fraction(demand: SegmentDemand, count: npt.ArrayLike, lasting_s: float) -> Floats:
    """Return the expected fraction of a segment's content that evenly spaced frames meet."""
    changing = coverage_fraction(count, length_s=demand.length_s, lasting_s=lasting_s)
    if not demand.rest_fraction:
        return changing
    resting = np.minimum(1.0, np.asarray(count, np.float64) / demand.rests)
    return np.asarray(demand.rest_fraction * resting + (1 - demand.rest_fraction) * changing)


def peak_probability(demand: SegmentDemand, peak: Peak) -> float:
    """Return the probability that a peak of a segment is an event and not noise.

    The strength of the peak decides it. If the event rate implies fewer events than there are
    peaks, all probabilities shrink by the same factor.
    """
    events = demand.events_per_s * demand.length_s
    scale = min(1.0, events / max(1, len(demand.peaks)))
    return scale * event_probability(peak.strength)


def event_probability(strength: float) -> float:
    """Return the probability that a peak of this strength is not noise.

    It is one half at `HALF_CONFIDENCE_STRENGTH`.
    """
    return strength**2 / (strength**2 + HALF_CONFIDENCE_STRENGTH**2)


@dataclass(frozen=True)
class PeakCandidate:
    """One peak, with the fixed frame that shows it, which may be enlarged.

    Fixed frames are those of the coverage grid and those that were bought for events.

    Args:
        peak: the peak.
        visible: positions of the frames that certainly show it, at least one.
        position: position of the fixed frame that shows it, otherwise of its middle frame.
        shown_tokens: visual tokens of that fixed frame; 0 if none shows it.
        own_tokens: visual tokens of that frame, if it was bought for an event; otherwise 0.
        utility_s: value of the peak when it is seen and read, in seconds of ordinary content.
        detail_s: value of what a larger frame shows of it in addition.
        detail_tokens: visual tokens at which 63% of it is legible.
    """

    peak: Peak
    visible: range
    position: int
    shown_tokens: int
    own_tokens: int
    utility_s: float
    detail_s: float
    detail_tokens: float

    def value_s(self, tokens: npt.ArrayLike) -> Floats:
        """Return the value of frames of so many tokens that show it."""
        own = legible_fraction(self.own_tokens, detail_tokens=self.detail_tokens)
        legible = legible_fraction(tokens, detail_tokens=self.detail_tokens)
        more = np.maximum(legible - own, 0)
        return np.asarray(self.utility_s * np.minimum(legible, own) + self.detail_s * more)

    def describe(self) -> str:
        """Return the reason for taking a frame here."""
        peak = self.peak
        lasting = "" if peak.end is None else f" for {float(peak.end - peak.time):.2f} s"
        return f"something new{lasting}, {peak.strength:.0f}x the usual change"


def find_peak_candidates(
    demand: SegmentDemand,
    *,
    times: Sequence[Fraction],
    span: range,
    coverage: Mapping[int, int],
    own: Mapping[int, int],
    event_value_s: float,
) -> tuple[PeakCandidate, ...]:
    """Find the peaks of a segment and the fixed frames that show them, in order of position.

    Args:
        demand: the demand of the segment.
        times: times of all frames of the video.
        span: positions of the frames that lie in the segment.
        coverage: visual tokens of the coverage frames that lie in it, by position.
        own: visual tokens of the frames in it that were bought for events, by position.
        event_value_s: value of an event that is seen and read, in seconds of ordinary content.
    """
    fixed = sorted({*coverage, *own})
    found: dict[int, PeakCandidate] = {}
    for peak in sorted(demand.peaks, key=lambda peak: (-peak.strength, peak.time)):
        if not span or demand.events_per_s == 0:
            break
        visible = visible_frames(peak, times, span, lasting_s=demand.event_s)
        middle = middle_frame(peak, times, visible)
        known = fixed[bisect_left(fixed, visible.start) : bisect_left(fixed, visible.stop)]
        position = min(
            known, key=lambda each: (each not in own, abs(each - middle), each), default=middle
        )
        # One frame serves one peak, the strongest.
        if position in found:
            continue
        own_tokens = own.get(position, 0)
        probability = peak_probability(demand, peak)
        utility_s = detail_s = event_value_s * probability
        # Little more is to be read where the print is legible at the size that was bought.
        if legible_fraction(own_tokens, detail_tokens=demand.detail_tokens) >= MIN_LEGIBLE:
            detail_s *= MORE_DETAIL_WORTH
        found[position] = PeakCandidate(
            peak=peak,
            visible=visible,
            position=position,
            shown_tokens=max(own_tokens, coverage.get(position, 0)),
            own_tokens=own_tokens,
            utility_s=utility_s,
            detail_s=detail_s,
            detail_tokens=demand.detail_tokens,
        )
    return tuple(candidate for _, candidate in sorted(found.items()))


def visible_frames(
    peak: Peak, times: Sequence[Fraction], span: range, *, lasting_s: float
) -> range:
    """Return the frames of a segment that show a peak: the certain ones if its last one is known.

    If its end was not seen, estimate it.
    """
    first = min(bisect_left(times, peak.time, lo=span.start, hi=span.stop), span.stop - 1)
    if peak.last is not None:
        after = bisect_right(times, peak.last, lo=first, hi=span.stop)
    elif peak.end is not None:
        after = bisect_left(times, peak.end, lo=first, hi=span.stop)
    else:
        after = bisect_left(times, float(peak.time) + lasting_s, lo=first, hi=span.stop)
    return range(first, max(after, first + 1))


def middle_frame(peak: Peak, times: Sequence[Fraction], visible: range) -> int:
    """Return the middle frame of a peak with a known end, otherwise its first frame."""
    last = peak.end if peak.last is None else peak.last
    if last is None:
        return visible.start
    half = (peak.time + last) / 2
    return max(visible.start, bisect_right(times, half, lo=visible.start, hi=visible.stop) - 1)
