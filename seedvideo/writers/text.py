"""Records for people: captions with a head line a video, bare answers, bare spans.

Knows nothing of terminals: plain text in, plain text out. Seconds have one decimal.
"""

from typing import TYPE_CHECKING

from seedvideo.writers.inert import one_line, printable

if TYPE_CHECKING:
    from seedvideo.records import AnswerRecord, Event, GroundingRecord, Record


def render(record: "Record") -> str:
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
