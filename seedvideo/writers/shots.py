"""Shots as text, JSON and CSV; the CSV is the scene list that users of PySceneDetect know.

In the CSV frames count from 1, a shot's end frame is its last one, its end time is where the next
shot starts, and a first line lists the cuts. Times are the video's true ones. Knows nothing of how
shots are found.
"""

import csv
import io
import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from seedvideo.media.timeline import Span, seconds
from seedvideo.writers.inert import printable

COLUMNS: Final = (
    "Scene Number",
    "Start Frame",
    "Start Timecode",
    "Start Time (seconds)",
    "End Frame",
    "End Timecode",
    "End Time (seconds)",
    "Length (frames)",
    "Length (timecode)",
    "Length (seconds)",
)


@dataclass(frozen=True)
class ShotList:
    """The shots of one video.

    Args:
        source: name of the video.
        analysis: name of the analysis that found them.
        shots: spans that follow one another.
        times: of all frames of the video.
        notes: what was looked at, for people.
    """

    source: str
    analysis: str
    shots: Sequence[Span]
    times: Sequence[Fraction]
    notes: Sequence[str] = ()

    def frames(self, shot: Span) -> tuple[int, int]:
        """Places ``[first, end)`` of a shot's frames, from 0."""
        return bisect_left(self.times, shot.start), bisect_left(self.times, shot.end)


def render_text(listed: ShotList) -> str:
    """A head line, and one line a shot."""
    count = len(listed.shots)
    lines = [f"{printable(listed.source)}: {count} shot{'s' * (count != 1)} ({listed.analysis})"]
    for number, shot in enumerate(listed.shots, start=1):
        first, end = listed.frames(shot)
        length = f"{float(shot.duration):.3f} s, {end - first} frames"
        lines.append(f"{number:4d}  {timecode(shot.start)} - {timecode(shot.end)}  {length}")
    return "\n".join(lines) + "\n"


def render_json(listed: ShotList) -> str:
    """One object on one line."""
    shots: list[dict[str, Any]] = []
    for shot in listed.shots:
        first, end = listed.frames(shot)
        times = {"start_s": seconds(shot.start), "end_s": seconds(shot.end)}
        shots.append({**times, "first_frame": first, "frames": end - first})
    whole = {
        "source": listed.source,
        "analysis": listed.analysis,
        "shots": shots,
        "notes": list(listed.notes),
    }
    return json.dumps(whole, ensure_ascii=True, allow_nan=False) + "\n"


def render_csv(listed: ShotList) -> str:
    """The list of cuts, the names of the columns, and one line a shot."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Timecode List:", *(timecode(shot.start) for shot in listed.shots[1:])])
    writer.writerow(COLUMNS)
    for number, shot in enumerate(listed.shots, start=1):
        first, end = listed.frames(shot)
        writer.writerow(
            [
                number,
                first + 1,
                timecode(shot.start),
                f"{float(shot.start):.3f}",
                end,
                timecode(shot.end),
                f"{float(shot.end):.3f}",
                end - first,
                timecode(shot.duration),
                f"{float(shot.duration):.3f}",
            ]
        )
    return text.getvalue()


def timecode(time: Fraction) -> str:
    """A time as ``HH:MM:SS.mmm``, rounded to the millisecond."""
    whole_s, millis = divmod(round(time * 1000), 1000)
    minutes, second = divmod(whole_s, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}.{millis:03d}"
