"""Time: exact seconds and half-open spans. The one place that handles them.

Every time inside seedvideo is a ``Fraction`` of a second. Floats appear only at the edges, made by
`seconds`. Knows nothing of files, frames or tokens.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

# Bounded, so that no number is too long to be read.
_MOMENT: Final = re.compile(r"([0-9]{1,4}:){0,2}[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True)
class Span:
    """A half-open stretch of time ``[start, end)``, in seconds.

    Raises:
        ValueError: if the span starts before zero or does not end after it starts.
    """

    start: Fraction
    end: Fraction

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ValueError(f"span starts at {self.start} s, expected 0 or later")
        if self.end <= self.start:
            raise ValueError(f"span ends at {self.end} s, expected after its start {self.start} s")

    @property
    def duration(self) -> Fraction:
        """Length in seconds."""
        return self.end - self.start

    def __contains__(self, time: Fraction) -> bool:
        return self.start <= time < self.end


def seconds(time: Fraction) -> float:
    """Return a time as float seconds for output, rounded to microseconds."""
    return float(round(time, 6))


def parse_timecode(text: str) -> Fraction:
    """Read a moment: seconds such as ``90`` or ``12.5``, or ``1:30`` or ``1:02:03.5``, exact.

    Raises:
        ValueError: if it is none of these.
    """
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a time such as 90, 12.5, 1:30 or 1:02:03.5")
    moment = Fraction(0)
    for word in text.split(":"):
        moment = moment * 60 + Fraction(word)
    return moment


def strictly_increasing(times: Iterable[Fraction]) -> bool:
    """Return whether each time is later than the one before it."""
    previous: Fraction | None = None
    for time in times:
        if previous is not None and time <= previous:
            return False
        previous = time
    return True
