"""Captions as subtitles: SubRip (SRT) and WebVTT.

Times are rounded to the nearest millisecond and never reach 1000 ms. A cue is one line of text:
nothing inside it can end it, open another or start a tag. Knows nothing of files.
"""

import re
from typing import TYPE_CHECKING, Final

from seedvideo.writers.inert import one_line

if TYPE_CHECKING:
    from seedvideo.records import Event, Record

MIN_CUE_MS: Final = 1
"""Shortest cue. A still image has no length, and players drop cues that end where they start."""

_ARROW: Final = re.compile(r"-{2,}>")
# SRT has no escapes, and players read <i> as a tag and {\an8} as a place: look-alikes stay text.
_SRT_LOOKALIKES: Final = str.maketrans("<>{}", "\u2039\u203a()")
_VTT_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def render_srt(record: "Record") -> str:
    """One numbered cue an event. A failed record has no cues."""
    cues = []
    for number, event in enumerate(record.events, start=1):
        text = _ARROW.sub("->", one_line(event.text)).translate(_SRT_LOOKALIKES)
        cues.append(f"{number}\n{_times(event, decimal=',')}\n{text}\n")
    return "\n".join(cues)


def render_vtt(record: "Record") -> str:
    """The header, then one cue an event. A failed record has the header alone."""
    cues = [
        f"{_times(event, decimal='.')}\n{one_line(event.text).translate(_VTT_ESCAPES)}\n"
        for event in record.events
    ]
    return "\n".join(["WEBVTT\n", *cues])


def clock(milliseconds: int, *, decimal: str) -> str:
    """``HH:MM:SS`` and three digits after the decimal mark; hours grow beyond two digits.

    >>> clock(3_723_004, decimal=",")
    '01:02:03,004'
    """
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{decimal}{milliseconds:03d}"


def _times(event: "Event", *, decimal: str) -> str:
    start_ms = int(event.start_s * 1000 + 0.5)
    end_ms = max(int(event.end_s * 1000 + 0.5), start_ms + MIN_CUE_MS)
    return f"{clock(start_ms, decimal=decimal)} --> {clock(end_ms, decimal=decimal)}"
