"""Times: exact seconds, half-open spans and timecodes.

Every time inside seedvideo is a ``Fraction`` of a second. Floats appear only in output, made by
`seconds`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

# Bounded lengths, so that every number can be parsed.
_TIMECODE: Final = re.compile(r"([0-9]{1,4}:){0,2}[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True)
class Span:
    """A half-open interval of time ``[start, end)``, in seconds.

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
    """Parse a timecode exactly: seconds such as ``90`` or ``12.5``, ``1:30`` or ``1:02:03.5``.

    Raises:
        ValueError: if the text has another format.
    """
    if not _TIMECODE.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a time such as 90, 12.5, 1:30 or 1:02:03.5")
    time = Fraction(0)
    for word in text.split(":"):
        time = time * 60 + Fraction(word)
    return time


def strictly_increasing(times: Iterable[Fraction]) -> bool:
    """Return whether each time is later than the one before it."""
    previous: Fraction | None = None
    for time in times:
        if previous is not None and time <= previous:
            return False
        previous = time
    return True
