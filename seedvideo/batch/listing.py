"""Clips of a job one by one, for people and programs: what became of each, and where it is from."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from seedvideo.batch.journal import Journal
from seedvideo.batch.verdict import STATES, Entry, State

FAILED: tuple[State, ...] = ("failed", "quarantined")


def listed(
    folder: Path, *, states: Collection[State] = STATES, code: str | None = None
) -> Iterator[Entry]:
    """Clips in the order of the input, without their contact sheets.

    Args:
        folder: of the job.
        states: only clips in these states.
        code: only clips that failed with it.

    Raises:
        BatchError: as `Journal.open` and `Journal.entries` do.
    """
    with Journal.open(folder, write=False) as journal:
        for entry in journal.entries(states=states, sheets=False):
            if code is None or entry.code == code:
                yield entry


def values_of(entry: Entry) -> dict[str, Any]:
    """A clip as plain JSON values; what does not apply is None.

    ``line`` is the line of the list that the clip is from.
    """
    return {
        "id": entry.item.id,
        "state": entry.state,
        "source": entry.item.source,
        "line": entry.item.origin or None,
        "code": entry.code,
        "rule": entry.rule,
        "message": entry.message,
        "hint": entry.hint or None,
        "stage": entry.stage,
        "retryable": entry.retryable,
        "tries": entry.tries,
    }


def cells_of(entry: Entry) -> tuple[str, ...]:
    """A clip as cells: state, id, code or rule, line, message."""
    code = entry.code or entry.rule or ""
    return (entry.state, entry.item.id, code, entry.item.origin, entry.message or "")


def naming(item_id: str, message: str) -> str:
    """Return a message that names its clip: with the id before it, unless it holds the id."""
    held = re.search(rf"(?<![\w.-]){re.escape(item_id)}(?![\w.-])", message)
    return message if held else f"{item_id}: {message}"


def sentence_of(entry: Entry) -> str:
    """A failed clip on one line: its name, what went wrong, the code and the line."""
    message, origin = entry.message or "", entry.item.origin
    named = naming(entry.item.id, message)
    where = f" ({origin})" if origin and origin not in named else ""
    return f"{named} [{entry.code}]{where}"
