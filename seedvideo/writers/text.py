"""Captions for people: a head line a video, then one line of times and words a caption.

Knows nothing of terminals: plain text in, plain text out. Seconds have one decimal.
"""

from typing import TYPE_CHECKING

from seedvideo.writers.inert import one_line, printable

if TYPE_CHECKING:
    from seedvideo.records import Event, Record


def render(record: "Record") -> str:
    """The lines of one video; a failed one has a single line with its code.

    ::

        bikes.mp4  (10.0 s)
           0.0 - 10.0 s  A man rides a bike down a street.

    With several shots the head line carries the caption of the whole clip.
    """
    name = printable(record.source)
    if record.status == "failed":
        reason = "" if record.error is None else f"{record.error.code}: {record.error.message}"
        return f"{name}  failed  {printable(reason)}\n"
    length = "" if record.media is None else f"  ({record.media.duration_s:.1f} s)"
    head = f"{name}{length}"
    if len(record.events) > 1 and record.text:
        head = f"{head}  {one_line(record.text)}"
    width = max((len(f"{event.end_s:.1f}") for event in record.events), default=0)
    return "\n".join([head, *(_line(event, width) for event in record.events)]) + "\n"


def _line(event: "Event", width: int) -> str:
    times = f"  {event.start_s:{width}.1f} - {event.end_s:{width}.1f} s"
    return f"{times}  {one_line(event.text)}"
