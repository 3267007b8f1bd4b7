"""A clip as one line of CSV, for people with a spreadsheet: flat, short, and inert.

Seconds to the millisecond. Knows one entry, no file.
"""

import csv
import io
from collections.abc import Sequence
from typing import Final

from seedvideo.batch.rows import record_of
from seedvideo.batch.verdict import Entry
from seedvideo.records import GroundingRecord, Record
from seedvideo.writers.csv import cell, name_cell

COLUMNS: Final = (
    "id",
    "state",
    "source",
    "task",
    "text",
    "confident",
    "events",
    "question",
    "answer",
    "query",
    "found",
    "duration_s",
    "width_px",
    "height_px",
    "policy",
    "frames",
    "budget_tokens",
    "charged_tokens",
    "visual_tokens",
    "prompt_tokens",
    "output_tokens",
    "warnings",
    "code",
    "stage",
    "message",
    "hint",
    "retryable",
    "tries",
    "rule",
    "extra",
    "total_s",
)
"""Of the table; ``total_s`` only with timings."""


def header(*, timings: bool) -> str:
    """The line with the names of the columns."""
    return _line(_kept(timings=timings))


def line_of(entry: Entry, *, task: str, timings: bool) -> str:
    """The line of one clip; what does not apply to it is empty."""
    record = record_of(entry)
    values = {
        "id": name_cell(entry.item.id),
        "state": entry.state,
        "source": name_cell(entry.item.source),
        "task": task,
        # One line of ASCII that begins with a brace: inert as it is.
        "extra": entry.item.extra,
    }
    if record is not None:
        values |= _of_record(record)
    else:
        values |= {
            "code": name_cell(entry.code or ""),
            "stage": name_cell(entry.stage or ""),
            "message": cell(entry.message or ""),
            "hint": cell(entry.hint or ""),
            "retryable": _yes(entry.retryable),
            "rule": name_cell(entry.rule or ""),
        }
        if entry.state in ("failed", "quarantined"):
            values["tries"] = str(entry.tries)
    return _line([values.get(name, "") for name in _kept(timings=timings)])


def _kept(*, timings: bool) -> Sequence[str]:
    return COLUMNS if timings else COLUMNS[:-1]


def _of_record(record: Record) -> dict[str, str]:
    values = {
        "text": cell(record.text or ""),
        "confident": _yes(record.confident),
        "events": cell(" | ".join(f"{_span(e.start_s, e.end_s)} {e.text}" for e in record.events)),
    }
    if record.answer is not None:
        values["question"] = cell(record.answer.question)
        values["answer"] = cell(record.answer.answer)
    if record.grounding is not None:
        values |= _of_grounding(record.grounding)
    if record.media is not None:
        values["duration_s"] = f"{record.media.duration_s:.3f}"
        values["width_px"] = str(record.media.width_px)
        values["height_px"] = str(record.media.height_px)
        values["warnings"] = name_cell(" ".join(each.code for each in record.media.warnings))
    if record.plan is not None:
        values["policy"] = name_cell(record.plan.policy)
        for name in ("frames", "budget_tokens", "charged_tokens"):
            values[name] = str(getattr(record.plan, name))
    if record.usage is not None:
        for name in ("visual_tokens", "prompt_tokens", "output_tokens"):
            values[name] = str(getattr(record.usage, name))
    if "total" in record.timing_s:
        values["total_s"] = f"{record.timing_s['total']:.3f}"
    return values


def _of_grounding(grounding: GroundingRecord) -> dict[str, str]:
    spans = []
    for span in grounding.spans:
        score = "" if span.score is None else f" ({span.score:.3f})"
        spans.append(f"{_span(span.start_s, span.end_s)}{score}")
    return {
        "query": cell(grounding.query),
        "found": _yes(grounding.found),
        "events": " | ".join(spans),
    }


def _span(start_s: float, end_s: float) -> str:
    return f"{start_s:.3f}-{end_s:.3f}"


def _yes(value: bool | None) -> str:  # noqa: FBT001  # the value itself
    return "" if value is None else "true" if value else "false"


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
