"""One record, many formats: a table of writers.

A writer turns one record into text and knows nothing of where the text goes; `files` puts bytes on
a disk and knows nothing of records. Text and JSON are for records of every task, the others for
captions.

Records for people: captions with a head line a video, bare answers, bare spans.

Knows nothing of terminals: plain text in, plain text out. Seconds have one decimal.

Captions for programs: JSON lines, one object a video. Failed videos are objects too.

Captions as CSV: a line a caption, for spreadsheets and data frames.

A spreadsheet runs a cell that begins like a formula, and a caption may begin with anything: such a
cell gets an apostrophe in front. Times are seconds to the millisecond. Knows nothing of files.

Captions as subtitles: SubRip (SRT) and WebVTT.

Times are rounded to the nearest millisecond and never reach 1000 ms. A cue is one line of text:
nothing inside it can end it, open another or start a tag. Knows nothing of files.

Captions as chapters: the metadata file that FFmpeg reads (``FFMETADATA1``), a chapter a caption.

    ffmpeg -i clip.mp4 -i clip.ffmeta -map 0 -map_chapters 1 -c copy chapters.mp4

Times are whole milliseconds and follow one another. A title is one line: nothing inside it can end
it or open another section. Knows nothing of files.

Shots as text, JSON and CSV; the CSV is the scene list that users of PySceneDetect know.

In the CSV frames count from 1, a shot's end frame is its last one, its end time is where the next
shot starts, and a first line lists the cuts. Times are the video's true ones. Knows nothing of how
shots are found.
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

COLUMNS: Final = ("start_s", "end_s", "text", "confident")

_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""


def render_csv(record: "Record") -> str:
    """The names of the columns, and a line a caption. A failed record has the names alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for event in record.events:
        confident = "true" if event.confident else "false"
        writer.writerow([f"{event.start_s:.3f}", f"{event.end_s:.3f}", cell(event.text), confident])
    return text.getvalue()


def cell(text: str) -> str:
    """A text that no spreadsheet runs.

    >>> cell("=1+1")
    "'=1+1"
    """
    return _inert(one_line(text))


def name_cell(name: str) -> str:
    r"""A name that no spreadsheet runs; what is not printable in it is spelled out.

    >>> name_cell("@a\nb.mp4")
    "'@a\\nb.mp4"
    """
    return _inert(printable(name))


def _inert(shown: str) -> str:
    # Blanks before the sign do not stop every spreadsheet.
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA_SIGNS) else shown


def render_text(record: "Record") -> str:
    """The lines of one video; a failed one has a single line with its code.

    ::

        bikes.mp4  (10.0 s)
           0.0 - 10.0 s  A man rides a bike down a street.

    With several shots the head line carries the caption of the whole clip. An answer and spans
    stand alone, see `render_answer` and `render_spans`: one question is asked of one video.
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
    return "\n".join([head, *(_line(event, width) for event in record.events)]) + "\n"


def render_answer(answer: "AnswerRecord") -> str:
    """The answer, then the options there were with their probabilities.

    ::

        blue
          A  0.03  red
          B  0.97  blue
    """
    lines = [one_line(answer.answer)]
    for option in answer.options:
        share = "" if option.probability is None else f"  {option.probability:.2f}"
        lines.append(f"  {option.label}{share}  {one_line(option.text)}")
    return "\n".join(lines) + "\n"


def render_spans(grounding: "GroundingRecord") -> str:
    """A line a span, the best first, with its score if there is one; or "not found".

    ::

         4.00 -  8.00 s  0.83
        12.04 - 13.50 s  0.10
    """
    if not grounding.found:
        share = grounding.not_found_probability
        return "not found\n" if share is None else f"not found  {share:.2f}\n"
    width = max(len(f"{span.end_s:.2f}") for span in grounding.spans)
    lines = []
    for span in grounding.spans:
        score = "" if span.score is None else f"  {span.score:.2f}"
        lines.append(f"{span.start_s:{width}.2f} - {span.end_s:{width}.2f} s{score}")
    return "\n".join(lines) + "\n"


def _line(event: "Event", width: int) -> str:
    times = f"  {event.start_s:{width}.1f} - {event.end_s:{width}.1f} s"
    return f"{times}  {one_line(event.text)}"


def render_json(record: "Record") -> str:
    """One line of ASCII JSON (see `Record.json_line`) and its line end."""
    return record.json_line() + "\n"


MIN_CHAPTER_MS: Final = 1
"""Shortest chapter. A still image has no length, and a chapter may not end where it starts."""

_SPECIAL: Final = str.maketrans({sign: f"\\{sign}" for sign in "\\=;#\n"})


def render_chapters(record: "Record") -> str:
    """The head line, and a section a chapter. A failed record has the head line alone."""
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

    def __len__(self) -> int:
        return len(self.shots)

    def __iter__(self) -> Iterator[Span]:
        return iter(self.shots)

    def frames(self, shot: Span) -> tuple[int, int]:
        """Places ``[first, end)`` of a shot's frames, from 0."""
        return bisect_left(self.times, shot.start), bisect_left(self.times, shot.end)


def render_shots_text(listed: ShotList) -> str:
    """A head line, and one line a shot."""
    count = len(listed.shots)
    lines = [f"{printable(listed.source)}: {count} shot{'s' * (count != 1)} ({listed.analysis})"]
    for number, shot in enumerate(listed.shots, start=1):
        first, end = listed.frames(shot)
        length = f"{float(shot.duration):.3f} s, {end - first} frames"
        lines.append(f"{number:4d}  {timecode(shot.start)} - {timecode(shot.end)}  {length}")
    return "\n".join(lines) + "\n"


def render_shots_json(listed: ShotList) -> str:
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


def render_shots_csv(listed: ShotList) -> str:
    """The list of cuts, the names of the columns, and one line a shot."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Timecode List:", *(timecode(shot.start) for shot in listed.shots[1:])])
    writer.writerow(SHOT_COLUMNS)
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


@dataclass(frozen=True, kw_only=True)
class Writer:
    """How one format is made."""

    extension: str
    """Of a file in this format, with the dot."""
    render: Callable[["Record"], str]
    """The text of one record, ending in a line end."""
    between: str | None
    """What stands between two videos in one output; None where a file can hold only one video."""
    shows_failed: bool
    """Whether a failed video has a place in this format."""


WRITERS: Final[dict[str, Writer]] = {
    "text": Writer(extension=".txt", render=render_text, between="\n", shows_failed=False),
    "json": Writer(extension=".json", render=render_json, between="", shows_failed=True),
    "srt": Writer(extension=".srt", render=render_srt, between=None, shows_failed=False),
    "vtt": Writer(extension=".vtt", render=render_vtt, between=None, shows_failed=False),
    "csv": Writer(extension=".csv", render=render_csv, between=None, shows_failed=False),
    "chapters": Writer(
        extension=".ffmeta", render=render_chapters, between=None, shows_failed=False
    ),
}
