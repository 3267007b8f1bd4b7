"""Times: exact seconds, half-open spans, timecodes, and the timestamp text before a frame.

Every time inside seedvideo is a ``Fraction`` of a second. Floats appear only in output, made by
`seconds`. `timestamp_text` is the only source of the text before a frame, so the plan and the
packed sequence agree.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

# Bounded lengths, so that every number can be parsed.
_TIMECODE: Final = re.compile(r"([0-9]{1,4}:){0,2}[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_FLOAT: Final = re.compile(
    r"(?P<minutes>([0-9]{1,4}:){0,2})"
    r"(?P<number>([0-9]{1,30}\.?[0-9]{0,60}|\.[0-9]{1,60})([eE][-+]?[0-9]{1,3})?)",
    re.ASCII,
)
_FRACTION: Final = re.compile(r"[0-9]{1,19}/0{0,18}[1-9][0-9]{0,18}", re.ASCII)

_MAX_DECIMALS: Final = 9
"""Maximum decimals of a time that is written as a decimal number; they are exact."""

_FLOAT_PRECISION: Final = Fraction(1, 2**48)
"""Maximum error of a float as a fraction of its value, after a few additions."""

_MAX_FLOAT_DENOMINATOR: Final = 10**5
"""Maximum denominator of the time that a number with more decimals stands for. Time bases of videos
have smaller ones, so the float of the time of a frame gives that time again."""

_MAX_SECONDS: Final = 10**9


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


def format_exact(time: Fraction) -> str:
    """Return an exact time as text that `parse_timecode` reads: ``12.5``, or ``1001/30``.

    A time that nine decimals cannot express is a fraction.

    >>> format_exact(Fraction(25, 2)), format_exact(Fraction(1001, 30))
    ('12.5', '1001/30')
    """
    scaled = time * 10**_MAX_DECIMALS
    if scaled.denominator != 1:
        return str(time)
    whole, decimals = divmod(scaled.numerator, 10**_MAX_DECIMALS)
    return f"{whole}.{decimals:0{_MAX_DECIMALS}d}".rstrip("0").rstrip(".")


def parse_timecode(text: str) -> Fraction:
    """Parse a timecode exactly: seconds such as ``90`` or ``12.5``, ``1:30`` or ``1:02:03.5``.

    Seconds may also be a fraction, such as ``1001/30``, as `format_exact` writes them, or a float.
    A number of more than nine decimals is the float of a time: of a decimal one, or of one with a
    denominator up to 100,000. Others are rounded to nanoseconds.

    >>> parse_timecode(str(0.1 * 3)), parse_timecode(str(1001 / 30))
    (Fraction(3, 10), Fraction(1001, 30))

    Raises:
        ValueError: if the text has another format.
    """
    text = text.strip()
    if _FRACTION.fullmatch(text):
        return Fraction(text)
    if _TIMECODE.fullmatch(text):
        return _add_minutes(text.split(":"))
    found = _FLOAT.fullmatch(text)
    if found is not None:
        time = _add_minutes([*found["minutes"].split(":")[:-1], found["number"]])
        if time < _MAX_SECONDS:
            return _round_decimals(time)
    raise ValueError(f"{text[:40]!r} is not a time such as 90, 12.5, 1:30 or 1:02:03.5")


def _add_minutes(words: Iterable[str]) -> Fraction:
    time = Fraction(0)
    for word in words:
        time = time * 60 + Fraction(word)
    return time


def _round_decimals(time: Fraction) -> Fraction:
    """Return the time that a number with many decimals stands for; others are unchanged."""
    nanosecond = Fraction(1, 10**_MAX_DECIMALS)
    rounded = round(time / nanosecond) * nanosecond
    if abs(rounded - time) <= time * _FLOAT_PRECISION:
        return rounded
    simple = time.limit_denominator(_MAX_FLOAT_DENOMINATOR)
    return simple if abs(simple - time) <= nanosecond / 2 else rounded


def timestamp_text(pts: Fraction) -> str:
    """Return the text before a frame, in the published form: ``[12.5 second]``.

    Args:
        pts: time of the frame from the start of the video, in seconds.

    Raises:
        ValueError: if the time is below zero.
    """
    return f"[{format_timestamp(pts)} second]"


def format_timestamp(pts: Fraction) -> str:
    """Format a time as in that text: ``12.5``. Prompts and answers use the same form.

    One decimal; exact halves are rounded up, so that 0.25 s gives 0.3 on every machine.

    Args:
        pts: time of the frame from the start of the video, in seconds.

    Raises:
        ValueError: if the time is below zero.
    """
    if pts < 0:
        raise ValueError(f"a frame's time is {pts}, expected 0 or later")
    # floor(10 * pts + 1/2), in whole numbers.
    tenths = (20 * pts.numerator + pts.denominator) // (2 * pts.denominator)
    return f"{tenths // 10}.{tenths % 10}"


def strictly_increasing(times: Iterable[Fraction]) -> bool:
    """Return whether each time is later than the one before it."""
    previous: Fraction | None = None
    for time in times:
        if previous is not None and time <= previous:
            return False
        previous = time
    return True
