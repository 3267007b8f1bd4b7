"""Jobs of small clips for tests, run through real processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from seedvideo.batch.execution import Hands
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import Entry
from seedvideo.batch.progress import Progress
from seedvideo.batch.scheduler import Runner
from seedvideo.records import Record
from tests.batch.stage_doubles import HANDS, load

Make: TypeAlias = Callable[..., list[Item]]

JOB = Job(model="colours", timeout_s=60, workers=1)


def run(
    folder: Path, items: list[Item], job: Job = JOB, *, hands: Hands = HANDS, **options: Any
) -> dict[str, Entry]:
    """Plan and run a job to its end; the entries by id, in order."""
    prices = load(job.model)
    with Journal.open(folder, write=True) as journal:
        journal.plan(items, job, prices.sha256)
        runner = Runner(journal, job, prices, progress=Progress(), hands=hands, **options)
        assert runner.run()
        assert journal.counts().pending == journal.counts().running == 0
        return {entry.item.id: entry for entry in journal.entries()}


def told(entries: dict[str, Entry]) -> dict[str, Any]:
    """What must be the same in every run."""
    return {
        name: (entry.state, entry.code, entry.rule, entry.sheet, record_of(entry))
        for name, entry in entries.items()
    }


def record_of(entry: Entry) -> Record | None:
    """Its record without what no two runs share."""
    if entry.record is None:
        return None
    return Record.model_validate_json(entry.record).model_copy(update={"timing_s": {}})
