"""Writers: convert a record, or a list of shots, to text in one of several formats.

`WRITERS` is the table of formats. Text and JSON support records of every task; SRT, WebVTT, CSV and
chapters support captions only. A failed video has a text in JSON only.

- Text: a head line per video; bare answers and spans. Seconds have one decimal.
- JSON: one object per line and video.
- CSV: one line per caption. Spreadsheets run cells that begin like a formula, so such a cell gets
  an apostrophe in front. Times are seconds to the millisecond.
- SRT and WebVTT: times are rounded to the nearest millisecond. A cue is one line of text, in which
  nothing can end the cue, open another or start a tag.
- Chapters: the metadata file of FFmpeg (``FFMETADATA1``), one chapter per caption::

      ffmpeg -i clip.mp4 -i clip.ffmeta -map 0 -map_chapters 1 -c copy chapters.mp4

- Shots: text, JSON, and the CSV scene list of PySceneDetect. In the CSV frames count from 1, the
  end frame of a shot is its last one, its end time is the start of the next shot, and a first line
  lists the cuts. Times are the timestamps of the video.
"""

import csv
import io
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from seedvideo.utils.text import one_line, printable
from seedvideo.utils.timecode import Span, seconds

if TYPE_CHECKING:
    from seedvideo.records import AnswerRecord, Event, GroundingRecord, Record

__all__ = [
    "SHOT_COLUMNS",
    "WRITERS",
    "ShotList",
    "Writer",
    "escape_cell",
    "escape_name",
    "format_clock",
    "format_timecode",
    "render_shots_csv",
    "render_shots_json",
    "render_shots_text",
    "render_srt",
    "render_vtt",
]

CSV_COLUMNS: Final = ("start_s", "end_s", "text", "confident")

FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a formula in spreadsheets (OWASP, CSV injection)."""


def render_csv(record: "Record") -> str:
    """Render column names and one line per caption; a failed record has the names only."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for event in record.events:
        confident = "true" if event.confident else "false"
        writer.writerow(
            [f"{event.start_s:.3f}", f"{event.end_s:.3f}", escape_cell(event.text), confident]
        )
    return text.getvalue()


def escape_cell(text: str) -> str:
    """Convert text to a cell that no spreadsheet runs.

    >>> escape_cell("=1+1")
    "'=1+1"
    """
    return neutralize_formula(one_line(text))


def escape_name(name: str) -> str:
    r"""Convert a name to a cell that no spreadsheet runs, with unprintable characters escaped.

    >>> escape_name("@a\nb.mp4")
    "'@a\\nb.mp4"
    """
    return neutralize_formula(printable(name))


def neutralize_formula(text: str) -> str:
    """Put a quote before text that a spreadsheet would run."""
    # Some spreadsheets ignore blanks before the sign.
    return f"'{text}" if text.lstrip().startswith(FORMULA_SIGNS) else text


def render_text(record: "Record") -> str:
    """Render the lines of one video; a failed one has a single line with its code.

    ::

        bikes.mp4  (10.0 s)
           0.0 - 10.0 s  A man rides a bike down a street.

    With several shots the head line has the caption of the complete clip. Answers and spans have no
    head line, see `render_answer` and `render_spans`.
    """
    name = printable(record.source)
    if record.status == "failed":
        reason = "" if record.error is None else f"{record.error.code}: {record.error.message}"
        return f"{name}  failed  {printable(reason)}\n"
    if record.answer is not None:
        return render_answer(record.answer)
    if record.grounding is not None:
        return render_spans(record.grounding)
    length = "" if record.media is None else f"  ({record.media.duration_s:.1f} s)"
    head = f"{name}{length}"
    if len(record.events) > 1 and record.text:
        head = f"{head}  {one_line(record.text)}"
    width = max((len(f"{event.end_s:.1f}") for event in record.events), default=0)
    return "\n".join([head, *(_event_line(event, width) for event in record.events)]) + "\n"


def render_answer(answer: "AnswerRecord") -> str:
    """Render the answer, then the options with their probabilities.

    ::

        blue
          A  0.03  red
          B  0.97  blue
    """
    lines = [one_line(answer.answer)]
    for option in answer.options:
        probability_text = "" if option.probability is None else f"  {option.probability:.2f}"
        lines.append(f"  {option.label}{probability_text}  {one_line(option.text)}")
    return "\n".join(lines) + "\n"


def render_spans(grounding: "GroundingRecord") -> str:
    """Render one line per span, the best first, with its score if known; or "not found".

    ::

         4.00 -  8.00 s  0.83
        12.04 - 13.50 s  0.10
    """
    if not grounding.found:
        probability_text = grounding.not_found_probability
        return "not found\n" if probability_text is None else f"not found  {probability_text:.2f}\n"
    width = max(len(f"{span.end_s:.2f}") for span in grounding.spans)
    lines = []
    for span in grounding.spans:
        score = "" if span.score is None else f"  {span.score:.2f}"
        lines.append(f"{span.start_s:{width}.2f} - {span.end_s:{width}.2f} s{score}")
    return "\n".join(lines) + "\n"


def _event_line(event: "Event", width: int) -> str:
    times = f"  {event.start_s:{width}.1f} - {event.end_s:{width}.1f} s"
    return f"{times}  {one_line(event.text)}"


def render_json(record: "Record") -> str:
    """Render one line of ASCII JSON (see `Record.json_line`) with its line end."""
    return record.json_line() + "\n"


MIN_CHAPTER_MS: Final = 1
"""Minimum length of a chapter: a still image has none, and a chapter must end after its start."""

_SPECIAL: Final = str.maketrans({sign: f"\\{sign}" for sign in "\\=;#\n"})


def render_chapters(record: "Record") -> str:
    """Render the head line and one section per chapter; a failed record has the head line only."""
    sections = [";FFMETADATA1\n"]
    for event in record.events:
        start_ms = int(event.start_s * 1000 + 0.5)
        end_ms = max(int(event.end_s * 1000 + 0.5), start_ms + MIN_CHAPTER_MS)
        title = one_line(event.text).translate(_SPECIAL)
        sections.append(
            f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start_ms}\nEND={end_ms}\ntitle={title}\n"
        )
    return "\n".join(sections)


MIN_CUE_MS: Final = 1
"""Minimum length of a cue: a still image has none, and players drop empty cues."""

_ARROW: Final = re.compile(r"-{2,}>")
# SRT has no escapes. Players read <i> as a tag and {\an8} as a position; similar characters are
# plain text.
_SRT_LOOKALIKES: Final = str.maketrans("<>{}", "\u2039\u203a()")
_VTT_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def render_srt(record: "Record") -> str:
    """Render one numbered cue per event; a failed record has none."""
    cues = []
    for number, event in enumerate(record.events, start=1):
        text = _ARROW.sub("->", one_line(event.text)).translate(_SRT_LOOKALIKES)
        cues.append(f"{number}\n{_times(event, decimal=',')}\n{text}\n")
    return "\n".join(cues)


def render_vtt(record: "Record") -> str:
    """Render the header and one cue per event; a failed record has the header only."""
    cues = [
        f"{_times(event, decimal='.')}\n{one_line(event.text).translate(_VTT_ESCAPES)}\n"
        for event in record.events
    ]
    return "\n".join(["WEBVTT\n", *cues])


def format_clock(milliseconds: int, *, decimal: str) -> str:
    """Format a time as ``HH:MM:SS`` with three decimals; hours may have more than two digits.

    >>> format_clock(3_723_004, decimal=",")
    '01:02:03,004'
    """
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{decimal}{milliseconds:03d}"


def _times(event: "Event", *, decimal: str) -> str:
    start_ms = int(event.start_s * 1000 + 0.5)
    end_ms = max(int(event.end_s * 1000 + 0.5), start_ms + MIN_CUE_MS)
    return f"{format_clock(start_ms, decimal=decimal)} --> {format_clock(end_ms, decimal=decimal)}"


SHOT_COLUMNS: Final = (
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
        analysis: name of the analysis that found the shots.
        shots: consecutive spans.
        times: presentation times of all frames of the video, in seconds.
        notes: messages about the analysis.
    """

    source: str
    analysis: str
    shots: Sequence[Span]
    times: Sequence[Fraction]
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.shots)

    def __iter__(self) -> Iterator[Span]:
        return iter(self.shots)

    def frames(self, shot: Span) -> tuple[int, int]:
        """Return the indices ``[first, end)`` of the frames of a shot."""
        return bisect_left(self.times, shot.start), bisect_left(self.times, shot.end)


def render_shots_text(shot_list: ShotList) -> str:
    """Render a head line and one line per shot."""
    count = len(shot_list.shots)
    lines = [
        f"{printable(shot_list.source)}: {count} shot{'s' * (count != 1)} ({shot_list.analysis})"
    ]
    for number, shot in enumerate(shot_list.shots, start=1):
        first, end = shot_list.frames(shot)
        length = f"{float(shot.duration):.3f} s, {end - first} frames"
        lines.append(
            f"{number:4d}  {format_timecode(shot.start)} - {format_timecode(shot.end)}  {length}"
        )
    return "\n".join(lines) + "\n"


def render_shots_json(shot_list: ShotList) -> str:
    """Render one JSON object on one line."""
    shots: list[dict[str, Any]] = []
    for shot in shot_list.shots:
        first, end = shot_list.frames(shot)
        times = {"start_s": seconds(shot.start), "end_s": seconds(shot.end)}
        shots.append({**times, "first_frame": first, "frames": end - first})
    document = {
        "source": shot_list.source,
        "analysis": shot_list.analysis,
        "shots": shots,
        "notes": list(shot_list.notes),
    }
    return json.dumps(document, ensure_ascii=True, allow_nan=False) + "\n"


def render_shots_csv(shot_list: ShotList) -> str:
    """Render the list of cuts, the column names and one line per shot."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["Timecode List:", *(format_timecode(shot.start) for shot in shot_list.shots[1:])]
    )
    writer.writerow(SHOT_COLUMNS)
    for number, shot in enumerate(shot_list.shots, start=1):
        first, end = shot_list.frames(shot)
        writer.writerow(
            [
                number,
                first + 1,
                format_timecode(shot.start),
                f"{float(shot.start):.3f}",
                end,
                format_timecode(shot.end),
                f"{float(shot.end):.3f}",
                end - first,
                format_timecode(shot.duration),
                f"{float(shot.duration):.3f}",
            ]
        )
    return text.getvalue()


def format_timecode(time: Fraction) -> str:
    """Format a time as ``HH:MM:SS.mmm``, rounded to the millisecond."""
    whole_s, millis = divmod(round(time * 1000), 1000)
    minutes, second = divmod(whole_s, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}.{millis:03d}"


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Properties of an output format."""

    extension: str
    """File extension, with the dot."""
    render: Callable[["Record"], str]
    """Renders one record as text that ends in a line end."""
    separator: str | None
    """Text between two videos in one output; None if a file holds one video only."""
    writes_failed: bool
    """Whether a failed video has a text in this format."""


WRITERS: Final[dict[str, Writer]] = {
    "text": Writer(extension=".txt", render=render_text, separator="\n", writes_failed=False),
    "json": Writer(extension=".json", render=render_json, separator="", writes_failed=True),
    "srt": Writer(extension=".srt", render=render_srt, separator=None, writes_failed=False),
    "vtt": Writer(extension=".vtt", render=render_vtt, separator=None, writes_failed=False),
    "csv": Writer(extension=".csv", render=render_csv, separator=None, writes_failed=False),
    "chapters": Writer(
        extension=".ffmeta", render=render_chapters, separator=None, writes_failed=False
    ),
}
