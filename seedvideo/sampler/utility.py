"""What frames are worth: how much of a segment they are expected to show, and legibly.

The unit is a second of ordinary content seen and read in full. The model has few parameters, each
with a meaning: things last for a time (`seen`), have a size (`read`), and a brief event that stands
out is worth `EVENT_WORTH_S` of ordinary content. Knows a segment only as its `Demand`; lengths and
times are float seconds, ``_tokens`` are visual tokens a frame.

Notation: ``(...)`` is any shape; arguments are broadcast together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.demand import Demand, Peak

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
    (`seedvideo.sampler.spots`). Events beyond those are met by chance.

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
