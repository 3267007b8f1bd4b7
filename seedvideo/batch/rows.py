"""One clip of a journal as a row: what JSON lines, parquet and CSV have in common.

A done clip is its record with ``id`` and ``state`` before it; any other says why it has none. What
its list said beyond our columns is ``extra``. Knows the journal's entries and the record, no file
and no format.
"""

import json
from typing import Any

from seedvideo.batch.extra import extra_of
from seedvideo.batch.verdict import Entry
from seedvideo.records import Record


def row_of(entry: Entry, *, task: str, timings: bool) -> dict[str, Any]:
    """Plain JSON values: ``id``, ``state``, ``extra``, the record, ``error`` or ``filtered``.

    Args:
        entry: a clip of the journal.
        task: of the job's records, for clips that have none to say it.
        timings: whether ``timing_s`` is kept, which no two runs share.
    """
    row: dict[str, Any] = {"id": entry.item.id, "state": entry.state}
    if entry.item.extra:
        row["extra"] = extra_of(entry.item.extra)
    if entry.record is not None:
        row |= json.loads(entry.record)
        if not timings:
            row.pop("timing_s", None)
        return row
    row |= {"source": entry.item.source, "task": task}
    if entry.state in ("failed", "quarantined"):
        row["error"] = {
            "code": entry.code,
            "stage": entry.stage,
            "message": entry.message,
            "hint": entry.hint,
            "retryable": entry.retryable,
            "tries": entry.tries,
        }
    elif entry.state == "filtered":
        row["filtered"] = {"rule": entry.rule, "message": entry.message}
    return row


def record_of(entry: Entry) -> Record | None:
    """The record of a done clip, checked; None for any other."""
    return None if entry.record is None else Record.from_json(json.loads(entry.record))
