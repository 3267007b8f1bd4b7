"""What a running job says: one line that renews itself, a line now and then, or JSON events.

All of it goes to stderr. Rates are of this run alone. Knows no process and no journal but counts.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from seedvideo.batch.item import BadRow
from seedvideo.batch.listing import naming
from seedvideo.batch.verdict import Counts, Process

LINE_EVERY_S: Final = 10.0
"""Time between two lines where there is no terminal."""

_STATUS_EVERY_S: Final = 0.5

Say = Callable[[str], None]


class Progress:
    """The voice of one run.

    Args:
        note: says a line that stays.
        status: says a line that the next one replaces; None where there is no terminal.
        event: takes a line of JSON; with it nothing else is said.
    """

    def __init__(
        self, *, note: Say | None = None, status: Say | None = None, event: Say | None = None
    ) -> None:
        self._note, self._status, self._event = note, status, event
        self._began_s = self._said_s = time.monotonic()
        self._settled = self._tokens = self._later = 0

    def started(self, counts: Counts, *, later: int = 0, **facts: Any) -> None:
        """The run begins.

        Args:
            counts: of all clips.
            later: pending clips that this run does not do.
            facts: others to tell programs.
        """
        self._began_s = time.monotonic()
        self._later = later
        self._say_event("started", counts=asdict(counts), **facts)

    def refused(self, row: BadRow) -> None:
        """A row of a list makes no clip; its verdict is safe."""
        message = f"{row.where}: {row.message}"
        self._say_event("item", id=row.id, state="failed", code=row.code, message=message)
        self._say_failure("failed", message, row.code)

    def item(
        self,
        item_id: str,
        state: str,
        *,
        code: str | None = None,
        visual_tokens: int = 0,
        spent_s: float = 0.0,
        message: str = "",
    ) -> None:
        """An item has its verdict, and the verdict is safe."""
        self._settled += 1
        self._tokens += visual_tokens
        facts = {} if code is None else {"message": message}
        self._say_event(
            "item",
            id=item_id,
            state=state,
            code=code,
            visual_tokens=visual_tokens,
            seconds=round(spent_s, 3),
            **facts,
        )
        if code is not None:
            named = naming(item_id, message)
            self._say_failure(state, named, code)

    def restarted(self, process: Process, how: str, item_id: str | None) -> None:
        """A process died, or had to be ended; another takes its place."""
        self._say_event("restarted", process=process, how=how, id=item_id)
        if self._note is not None and self._event is None:
            name = "the model's process" if process == "model" else "a decoding process"
            where = "" if item_id is None else f" while it worked on {item_id}"
            self._note(f"{name} {how}{where}; started again")

    def tick(self, counts: Counts) -> None:
        """Time has passed: says where the run stands, if it is time to."""
        every_s = LINE_EVERY_S if self._status is None or self._event else _STATUS_EVERY_S
        now_s = time.monotonic()
        if now_s - self._said_s < every_s:
            return
        self._said_s = now_s
        rates = self.rates(counts)
        self._say_event("progress", counts=asdict(counts), **rates)
        if self._event is not None:
            return
        say = self._status or self._note
        if say is not None:
            say(line(counts, rates))

    def finished(self, counts: Counts, **facts: Any) -> None:
        """The run is over."""
        self._say_event("finished", counts=asdict(counts), **self.rates(counts), **facts)
        if self._note is not None and self._event is None:
            self._note(line(counts, self.rates(counts)))

    def rates(self, counts: Counts) -> dict[str, float | None]:
        """Clips a minute, visual tokens a second, and seconds that are left."""
        spent_s = max(time.monotonic() - self._began_s, 1e-9)
        to_do = counts.pending + counts.running - self._later
        left_s = to_do * spent_s / self._settled if self._settled else None
        return {
            "clips_per_min": round(60 * self._settled / spent_s, 2),
            "visual_tokens_per_s": round(self._tokens / spent_s, 1),
            "left_s": None if left_s is None else round(left_s, 1),
        }

    def _say_failure(self, state: str, message: str, code: str) -> None:
        if self._note is not None and self._event is None:
            self._note(f"{state}: {message} [{code}]")

    def _say_event(self, kind: str, **values: Any) -> None:
        if self._event is not None:
            self._event(json.dumps({"event": kind, **values}, ensure_ascii=True))


def line(counts: Counts, rates: dict[str, float | None]) -> str:
    """Where a run stands, for people."""
    parts = [
        f"{counts.settled:,} of {counts.total:,} clips",
        f"{rates['clips_per_min']:.1f} clips/min",
        f"{rates['visual_tokens_per_s']:,.0f} visual tokens/s",
    ]
    bad = counts.failed + counts.quarantined
    if bad:
        parts.append(f"{bad:,} failed")
    if counts.filtered:
        parts.append(f"{counts.filtered:,} filtered")
    left_s = rates["left_s"]
    if left_s:
        parts.append(f"{duration(left_s)} left")
    return ", ".join(parts)


def duration(spent_s: float) -> str:
    """A time for people, such as ``2 h 05 min``."""
    minutes, left_s = divmod(round(spent_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {left_s:02} s" if minutes else f"{left_s} s"
