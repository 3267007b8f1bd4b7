"""Rows, records and journals for the tests of the batch."""

import json
from collections.abc import Sequence
from pathlib import Path

from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal

MODEL = "a" * 64
CONTENT = Content(size=10, mtime_ns=1_000, sha256="b" * 64)


def items(count: int) -> list[Item]:
    return [Item(id=f"clip{place:05}.mp4", source=f"clip{place:05}.mp4") for place in range(count)]


def record_of(item: Item, text: str = "A dog runs.") -> str:
    return json.dumps({"schema_version": 1, "source": item.source, "text": text})


def planned(folder: Path, rows: Sequence[Item | BadRow], job: Job | None = None) -> Journal:
    journal = Journal.open(folder, write=True)
    journal.plan(rows, Job() if job is None else job, MODEL)
    return journal


def finish(journal: Journal, item: Item, *, content: Content = CONTENT) -> bool:
    return journal.mark_done(
        item.id, f"fp-{item.id}", content, record_of(item), b"sheet of " + b"x" * 9
    )
