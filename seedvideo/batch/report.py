"""The HTML report of a job: pages made from its journal, a clip at a time.

A page bears `MAX_PAGE_CLIPS`, with all their pictures in it; a longer job has more pages, each
whole in itself. The head needs the totals, so the journal is read twice, both times as it stood at
one moment. Knows the journal; how things look is `report_page` and `report_clip`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

from seedvideo.batch.inputs import Item
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import Entry, record_of
from seedvideo.batch.progress import about, duration, pace_of
from seedvideo.batch.report_clip import render_clip, verdict
from seedvideo.batch.report_page import Overview, Page, render_end, render_start
from seedvideo.errors import OutputError

MAX_PAGE_CLIPS: Final = 500
"""Clips on one page: with contact sheets of some 50 kB each it has 35 MB."""

_TITLES: Final = {
    "caption": "Captions",
    "dense": "Captions of every shot",
    "ask": "Answers",
    "ground": "Moments",
}
"""Of a report, by the task of its job."""


@dataclass
class _Sums:
    """What the clips come to."""

    clips: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    failures: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0
    frames: int = 0
    visual_tokens: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    model: str = ""

    def add(self, entry: Entry) -> None:
        self.clips += 1
        state = verdict(entry.state)
        self.counts[state] = self.counts.get(state, 0) + 1
        if state in ("failed", "quarantined"):
            key = (entry.code or "", entry.stage or "")
            self.failures[key] = self.failures.get(key, 0) + 1
        record = record_of(entry)
        if record is None:
            return
        if record.media is not None:
            self.seconds += _looked_at_s(entry.item, record.media.duration_s)
        if record.plan is not None:
            self.frames += record.plan.frames
        if record.usage is not None:
            self.visual_tokens += record.usage.visual_tokens
            self.prompt_tokens += record.usage.prompt_tokens
            self.output_tokens += record.usage.output_tokens
        if record.model is not None:
            self.model = f"{record.model.name} {record.model.sha256[:12]}"


def _looked_at_s(item: Item, duration_s: float) -> float:
    """Seconds of a video that its row asks about."""
    end_s = duration_s if item.end_s is None else min(float(item.end_s), duration_s)
    return max(0.0, end_s - float(item.start_s or 0))


def pages(
    journal: Journal, *, timings: bool, single: bool = False
) -> Iterator[tuple[str, Iterator[str]]]:
    """The pages of a report, each a file name and its parts: the start, the clips, the end.

    Args:
        journal: open to read.
        timings: whether seconds spent and the pace are told.
        single: refuse a job that one page cannot bear.

    Raises:
        OutputError: ``output.too_large``.
    """
    # Opened first and kept open: SQLite then shows both readings the journal of this moment.
    entries = journal.entries()
    first = next(entries, None)
    sums = _Sums()
    for entry in journal.entries(sheets=False):
        sums.add(entry)
    if single and sums.clips > MAX_PAGE_CLIPS:
        raise OutputError(
            "output.too_large",
            f"one page bears {MAX_PAGE_CLIPS} clips, and the job has {sums.clips:,}",
            hint="name a folder for several pages: -f html -o report/",
        )
    overview = _overview(journal, sums, pace=pace_of(journal.folder) if timings else None)
    whole = enumerate(chain([] if first is None else [first], entries), start=1)
    count = max(1, -(-sums.clips // MAX_PAGE_CLIPS))
    for number in range(1, count + 1):
        page = Page(
            number=number,
            of=count,
            first=min(sums.clips, (number - 1) * MAX_PAGE_CLIPS + 1),
            last=min(sums.clips, number * MAX_PAGE_CLIPS),
            total=sums.clips,
        )
        yield page.name(), _parts(overview, page, islice(whole, MAX_PAGE_CLIPS), timings=timings)


def _parts(
    overview: Overview, page: Page, clips: Iterator[tuple[int, Entry]], *, timings: bool
) -> Iterator[str]:
    yield render_start(overview, page)
    for number, entry in clips:
        yield render_clip(entry, number=number, timings=timings)
    yield render_end(page)


def _overview(journal: Journal, sums: _Sums, *, pace: float | None) -> Overview:
    job = journal.job()
    task = "caption" if job is None else job.task
    told = [about(journal)]
    if job is not None:
        told += [f"\u201c{text}\u201d" for text in (job.question, job.query) if text]
    facts = []
    if sums.seconds:
        facts.append(("video", f"{duration(sums.seconds)} in clips that are done"))
    if sums.frames:
        facts.append(("shown", f"{sums.frames:,} frames, {sums.visual_tokens:,} visual tokens"))
        facts.append(("read", f"{sums.prompt_tokens:,} prompt tokens"))
        facts.append(("written", f"{sums.output_tokens:,} output tokens"))
    if pace is not None:
        facts.append(("pace", f"{pace:,.1f} clips a minute"))
    if sums.model:
        facts.append(("weights", sums.model))
    failures = [(code, stage, count) for (code, stage), count in sums.failures.items()]
    return Overview(
        title=_TITLES[task],
        about=told,
        counts=sums.counts,
        failures=sorted(failures, key=lambda failure: (-failure[2], failure)),
        facts=facts,
    )
