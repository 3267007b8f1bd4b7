"""Where a job stands: what is done, how fast it goes, how long it takes still, what failed and why.

Reads the journal while another process writes it. Times of day are for people only, since clocks
jump; nothing is decided by them. Units: seconds, clips a minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from seedvideo.batch import journal_schema
from seedvideo.batch.journal import Journal
from seedvideo.batch.lock import Holder, holder_of
from seedvideo.batch.verdict import Counts, Process

RECENT: Final = 200
"""Clips whose times tell the pace: enough to be even, few enough to be of now."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a job stands.

    Args:
        counts: clips in each state.
        failures: (code, stage, clips), the most frequent first.
        pace: clips a minute lately, time in which nothing ran left out; None before the first.
        holder: the process that works on it now.
        about: what the job is, for people.
        restarts: how often processes were started again, by kind.
    """

    counts: Counts
    failures: Sequence[tuple[str, str, int]]
    pace: float | None
    holder: Holder | None
    about: str
    restarts: Mapping[Process, int]

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest takes at this pace; None where it is not known."""
        rest = self.counts.pending + self.counts.running
        if not rest:
            return 0.0
        return None if self.pace is None else 60 * rest / self.pace

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        left_s = self.left_s
        return {
            "job": self.about,
            "total": self.counts.total,
            "counts": asdict(self.counts),
            "clips_per_min": None if self.pace is None else round(self.pace, 3),
            "left_s": None if left_s is None else round(left_s, 1),
            "failures": [
                {"code": code, "stage": stage, "count": count}
                for code, stage, count in self.failures
            ],
            "restarts": dict(self.restarts),
            "holder": None if self.holder is None else asdict(self.holder),
        }


def status_of(folder: Path) -> Status:
    """Where the job of a folder stands now.

    Raises:
        BatchError: ``batch.journal_missing``, ``batch.journal_damaged``, ``batch.journal_newer``.
    """
    with Journal.open(folder, write=False) as journal:
        return Status(
            counts=journal.counts(),
            failures=journal.failures(),
            pace=pace_of(folder),
            holder=holder_of(folder),
            about=about(journal),
            restarts=journal.restarts(),
        )


def about(journal: Journal) -> str:
    """A job in a few words: what is done by what."""
    job = journal.job()
    if job is None:
        return "not planned yet"
    what = {"caption": "captions", "dense": "dense captions", "ask": "answers", "ground": "moments"}
    words = [f"{what[job.task]} by {job.model}", f"policy {job.policy}"]
    if job.budget_tokens is not None:
        words.append(f"{job.budget_tokens:,} tokens a clip")
    if job.shard is not None:
        words.append(f"shard {job.shard}")
    return ", ".join(words)


def pace_of(folder: Path) -> float | None:
    """Clips a minute of the `RECENT` last ones; time in which nothing was worked on is left out."""
    connection = journal_schema.connect(folder, write=False)
    try:
        with journal_schema.guarded(folder):
            spans = connection.execute(
                "SELECT started_at, finished_at FROM items WHERE place IS NOT NULL AND state IN"
                " ('done', 'filtered', 'failed', 'quarantined') AND finished_at > started_at"
                " ORDER BY finished_at DESC LIMIT ?",
                (RECENT,),
            ).fetchall()
    finally:
        connection.close()
    busy_s = united(spans)
    return 60 * len(spans) / busy_s if busy_s > 0 else None


def united(spans: Sequence[tuple[float, float]]) -> float:
    """Length of what spans cover together.

    >>> united([(0, 2), (1, 3), (10, 11)])
    4.0
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
