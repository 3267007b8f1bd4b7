"""Progress of a running job and status of a job folder.

`Progress` reports a run on stderr: as one line that is updated, as a line every few seconds, or as
JSON events. Its rates are those of this run. `get_status` reads the journal, possibly while
another process writes it. Wall-clock times are for display only, because clocks jump. Rates are in
clips per minute.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from seedvideo.batch import journal_schema
from seedvideo.batch.asked import count_asked_again
from seedvideo.batch.inputs import BadRow
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import STATES, Counts, JournalEntry, ProcessKind, State
from seedvideo.batch.journal_schema import LockOwner, get_lock_owner

FAILED_STATES: tuple[State, ...] = ("failed", "quarantined")


def iter_entries(
    folder: Path, *, states: Collection[State] = STATES, code: str | None = None
) -> Iterator[JournalEntry]:
    """Yield clips in the order of the input, without their contact sheets.

    Args:
        folder: folder of the job.
        states: only clips in these states.
        code: only clips that failed with this code.

    Raises:
        BatchError: as `Journal.open` and `Journal.entries` do.
    """
    with Journal.open(folder, write=False) as journal:
        for entry in journal.entries(states=states, sheets=False):
            if code is None or entry.code == code:
                yield entry


def entry_to_dict(entry: JournalEntry) -> dict[str, Any]:
    """Return a clip as JSON values; those that do not apply are None.

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


def entry_to_cells(entry: JournalEntry) -> tuple[str, ...]:
    """Return a clip as cells: state, id, code or rule, line, message."""
    code = entry.code or entry.rule or ""
    return (entry.state, entry.item.id, code, entry.item.origin, entry.message or "")


def prefix_id(item_id: str, message: str) -> str:
    """Return a message that names its clip: with the id in front unless it contains the id."""
    match = re.search(rf"(?<![\w.-]){re.escape(item_id)}(?![\w.-])", message)
    return message if match else f"{item_id}: {message}"


def format_failure(entry: JournalEntry) -> str:
    """Return a failed clip on one line: name, message, code and line of the list."""
    message, origin = entry.message or "", entry.item.origin
    named = prefix_id(entry.item.id, message)
    where = f" ({origin})" if origin and origin not in named else ""
    return f"{named} [{entry.code}]{where}"


RECENT_CLIPS: Final = 200
"""Clips that the throughput is averaged over: enough to be smooth, few enough to be recent."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Status of a job.

    Args:
        counts: number of clips in each state.
        failures: (code, stage, clips), the most frequent first.
        clips_per_min: recent throughput without idle time; None before the first clip.
        lock_owner: process that runs the job now.
        job: description of the job for people.
        restarts: number of process restarts by kind.
        asked_again: clips that a server is asked about twice, because the run or its model process
            ended while the first request was under way.
    """

    counts: Counts
    failures: Sequence[tuple[str, str, int]]
    clips_per_min: float | None
    lock_owner: LockOwner | None
    job: str
    restarts: Mapping[ProcessKind, int]
    asked_again: int = 0

    @property
    def left_s(self) -> float | None:
        """Seconds that the remaining clips take at this rate; None if unknown."""
        remaining = self.counts.pending + self.counts.running
        if not remaining:
            return 0.0
        return None if self.clips_per_min is None else 60 * remaining / self.clips_per_min

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        left_s = self.left_s
        return {
            "job": self.job,
            "total": self.counts.total,
            "counts": asdict(self.counts),
            "clips_per_min": None if self.clips_per_min is None else round(self.clips_per_min, 3),
            "left_s": None if left_s is None else round(left_s, 1),
            "failures": [
                {"code": code, "stage": stage, "count": count}
                for code, stage, count in self.failures
            ],
            "restarts": dict(self.restarts),
            "asked_again": self.asked_again,
            "holder": None if self.lock_owner is None else asdict(self.lock_owner),
        }


def get_status(folder: Path) -> Status:
    """Return the status of the job in a folder.

    Raises:
        BatchError: ``batch.journal_missing``, ``batch.journal_damaged``, ``batch.journal_newer``.
    """
    lock_owner = get_lock_owner(folder)
    with Journal.open(folder, write=False) as journal:
        return Status(
            counts=journal.counts(),
            failures=journal.failures(),
            clips_per_min=throughput(folder),
            lock_owner=lock_owner,
            job=describe_job(journal),
            restarts=journal.restarts(),
            asked_again=count_asked_again(journal, is_running=lock_owner is not None),
        )


def describe_job(journal: Journal) -> str:
    """Return a job in a few words: task, model, policy, budget, shard."""
    job = journal.job()
    return "not planned yet" if job is None else describe_settings(job)


def describe_settings(job: Job) -> str:
    """Return settings in a few words."""
    what = {"caption": "captions", "dense": "dense captions", "ask": "answers", "ground": "moments"}
    words = [f"{what[job.task]} by {job.model}", f"policy {job.sampling.policy}"]
    if job.sampling.budget_tokens is not None:
        words.append(f"{job.sampling.budget_tokens:,} tokens per clip")
    if job.shard is not None:
        words.append(f"shard {job.shard}")
    return ", ".join(words)


def throughput(folder: Path) -> float | None:
    """Return clips per minute of the last `RECENT_CLIPS`; idle time is left out."""
    connection = journal_schema.connect(folder, write=False)
    try:
        with journal_schema.translate_errors(folder):
            spans = connection.execute(
                "SELECT started_at, finished_at FROM items WHERE place IS NOT NULL AND state IN"
                " ('done', 'filtered', 'failed', 'quarantined') AND finished_at > started_at"
                " ORDER BY finished_at DESC LIMIT ?",
                (RECENT_CLIPS,),
            ).fetchall()
    finally:
        connection.close()
    busy_s = union_length_s(spans)
    return 60 * len(spans) / busy_s if busy_s > 0 else None


def union_length_s(spans: Sequence[tuple[float, float]]) -> float:
    """Return the total length that spans cover together.

    >>> union_length_s([(0, 2), (1, 3), (10, 11)])
    4.0
    """
    total, covered_until_s = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, covered_until_s))
        covered_until_s = max(covered_until_s, end)
    return total


LINE_INTERVAL_S: Final = 10.0
"""Seconds between two lines without a terminal."""

_STATUS_INTERVAL_S: Final = 0.5

WriteLine = Callable[[str], None]


class Progress:
    """Reporter of one run.

    Args:
        info: writes a line that stays.
        status: writes a line that the next one replaces; None without a terminal.
        event: writes a line of JSON; if given, nothing else is written.
        listen: called with each event, whatever is written.
    """

    def __init__(
        self,
        *,
        info: WriteLine | None = None,
        status: WriteLine | None = None,
        event: WriteLine | None = None,
        listen: Callable[[dict[str, Any]], None] = lambda event: None,
    ) -> None:
        self._listen = listen
        self._write_info, self._write_status, self._write_event = info, status, event
        self._started_s = self._last_report_s = time.monotonic()
        self._finished = self._tokens = self._deferred = 0

    def report_start(self, counts: Counts, *, deferred: int = 0, **facts: Any) -> None:
        """Report the start of the run.

        Args:
            counts: counts of all clips.
            deferred: number of pending clips that this run leaves for a later one.
            facts: further values of the event.
        """
        self._started_s = time.monotonic()
        self._finished = self._tokens = 0  # Of a job of parts, each part is a run.
        self._deferred = deferred
        self._emit("started", counts=asdict(counts), **facts)

    def report_bad_row(self, row: BadRow) -> None:
        """Report a bad row, after its outcome is on disk."""
        message = f"{row.where}: {row.message}"
        self._emit("item", id=row.id, state="failed", code=row.code, message=message)
        self._report_failure("failed", message, row.code)

    def report_split(self, name: str, *, clips: int, shots: int, left_out: int) -> None:
        """Report the clips of a video that was split.

        Args:
            name: id of the video.
            clips: number of its clips.
            shots: number of its shots.
            left_out: number of shots, or rests of them, that are too short.
        """
        self._emit("split", id=name, clips=clips, shots=shots, left_out=left_out)
        if self._write_info is not None and self._write_event is None:
            short = f", {left_out:,} too short" if left_out else ""
            self._write_info(f"{name}: {clips:,} clips from {shots:,} shots{short}")

    def report_item(
        self,
        item_id: str,
        state: str,
        *,
        code: str | None = None,
        visual_tokens: int = 0,
        spent_s: float = 0.0,
        message: str = "",
    ) -> None:
        """Report the outcome of an item, after it is on disk."""
        self._finished += 1
        self._tokens += visual_tokens
        facts = {} if code is None else {"message": message}
        self._emit(
            "item",
            id=item_id,
            state=state,
            code=code,
            visual_tokens=visual_tokens,
            seconds=round(spent_s, 3),
            **facts,
        )
        if code is not None:
            named = prefix_id(item_id, message)
            self._report_failure(state, named, code)

    def report_restart(self, process: ProcessKind, how: str, item_id: str | None) -> None:
        """Report that a process died or was killed and is started again."""
        self._emit("restarted", process=process, how=how, id=item_id)
        if self._write_info is not None and self._write_event is None:
            name = "the model process" if process == "model" else "a decode process"
            where = "" if item_id is None else f" while it worked on {item_id}"
            self._write_info(f"{name} {how}{where}; started again")

    def report_part(
        self, part: int, outcome: str, *, committed: int, parts: int, **facts: int
    ) -> None:
        """Report that a part has a commit, of this runner or of another one."""
        self._emit("part", part=part, outcome=outcome, committed=committed, parts=parts, **facts)
        if self._write_info is not None and self._write_event is None:
            whose = "" if outcome == "committed" else " by another runner"
            self._write_info(f"part {part} committed{whose}; {committed:,} of {parts:,} parts")

    def report_runner(self, host: str, how: str, part: int | None = None) -> None:
        """Report that a runner on another machine started, died or ended."""
        self._emit("runner", host=host, how=how, part=part)
        if self._write_info is not None and self._write_event is None:
            where = "" if part is None else f" in part {part}"
            self._write_info(f"a runner on {host} {how}{where}")

    def report_waiting(self, waiting: int, runners: int) -> None:
        """Report runners for which the cluster has no room yet."""
        self._emit("waiting", waiting=waiting, runners=runners)
        if self._write_info is not None and self._write_event is None:
            self._write_info(f"{waiting} of {runners} runners wait for room in the cluster")

    def report_difference(self, part: int, runner: str) -> None:
        """Report that another runner committed other results of the same part."""
        self._emit("difference", part=part, runner=runner)
        if self._write_info is not None and self._write_event is None:
            self._write_info(
                f"warning: part {part} was committed by {runner} with other results; they count."
                " Machines of one kind give the same words"
            )

    def tick(self, counts: Counts) -> None:
        """Report the progress if enough time has passed since the last report."""
        every_s = (
            LINE_INTERVAL_S
            if self._write_status is None or self._write_event
            else _STATUS_INTERVAL_S
        )
        now_s = time.monotonic()
        if now_s - self._last_report_s < every_s:
            return
        self._last_report_s = now_s
        rates = self.rates(counts)
        self._emit("progress", counts=asdict(counts), **rates)
        if self._write_event is not None:
            return
        write = self._write_status or self._write_info
        if write is not None:
            write(format_progress(counts, rates))

    def report_finish(self, counts: Counts, **facts: Any) -> None:
        """Report the end of the run."""
        self._emit("finished", counts=asdict(counts), **self.rates(counts), **facts)
        if self._write_info is not None and self._write_event is None:
            self._write_info(format_progress(counts, self.rates(counts)))

    def rates(self, counts: Counts) -> dict[str, float | None]:
        """Return clips per minute, visual tokens per second, and the remaining seconds."""
        spent_s = max(time.monotonic() - self._started_s, 1e-9)
        to_do = counts.pending + counts.running - self._deferred
        left_s = to_do * spent_s / self._finished if self._finished else None
        return {
            "clips_per_min": round(60 * self._finished / spent_s, 2),
            "visual_tokens_per_s": round(self._tokens / spent_s, 1),
            "left_s": None if left_s is None else round(left_s, 1),
        }

    def _report_failure(self, state: str, message: str, code: str) -> None:
        if self._write_info is not None and self._write_event is None:
            self._write_info(f"{state}: {message} [{code}]")

    def _emit(self, kind: str, **values: Any) -> None:
        self._listen({"event": kind, **values})
        if self._write_event is not None:
            self._write_event(json.dumps({"event": kind, **values}, ensure_ascii=True))


def format_progress(counts: Counts, rates: dict[str, float | None]) -> str:
    """Return the progress of a run for people."""
    parts = [
        f"{counts.finished:,} of {counts.total:,} clips",
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
        parts.append(f"{format_duration(left_s)} left")
    return ", ".join(parts)


def format_duration(spent_s: float) -> str:
    """Return a duration for people, such as ``2 h 05 min``."""
    minutes, left_s = divmod(round(spent_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {left_s:02} s" if minutes else f"{left_s} s"
