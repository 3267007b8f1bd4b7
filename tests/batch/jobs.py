"""Jobs of small clips for tests, run through real processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from seedvideo.batch.execution import Entrypoints
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import JournalEntry
from seedvideo.batch.progress import Progress
from seedvideo.batch.scheduler import Runner
from seedvideo.records import Record
from tests.batch.stage_doubles import ENTRYPOINTS, load

Make: TypeAlias = Callable[..., list[Item]]

JOB = Job(model="colours", timeout_s=60, workers=1)


def run(
    folder: Path,
    items: list[Item],
    job: Job = JOB,
    *,
    entrypoints: Entrypoints = ENTRYPOINTS,
    **options: Any,
) -> dict[str, JournalEntry]:
    """Plan and run a job to its end; the entries by id, in order."""
    prices = load(job.model)
    with Journal.open(folder, write=True) as journal:
        journal.plan(items, job, prices.sha256)
        runner = Runner(
            journal, job, prices, progress=Progress(), entrypoints=entrypoints, **options
        )
        assert runner.run()
        assert journal.counts().pending == journal.counts().running == 0
        return {entry.item.id: entry for entry in journal.entries()}


def outcomes(entries: dict[str, JournalEntry]) -> dict[str, Any]:
    """What must be the same in every run."""
    return {
        name: (entry.state, entry.code, entry.rule, entry.sheet, record_of(entry))
        for name, entry in entries.items()
    }


def record_of(entry: JournalEntry) -> Record | None:
    """Its record without what no two runs share."""
    if entry.record is None:
        return None
    return Record.model_validate_json(entry.record).model_copy(update={"timing_s": {}})
