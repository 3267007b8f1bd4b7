"""The HTML report of a job: pages made from its journal, one clip at a time, and their files.

A page holds up to `MAX_PAGE_CLIPS` clips with all their pictures; a longer job has more pages, each
complete in itself. The head needs the totals, so the journal is read twice, both times as of one
moment. `report_html` renders the pages.

Several pages appear in their folder together or not at all. They are written to a temporary folder
inside it first. Only when all are safely on disk do they get their names, the index last; the index
of an earlier report is removed before that. So where there is an index, its pages exist.

Separate from `seedvideo.batch.export`, which would exceed 500 lines with it.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Final

from seedvideo.batch.inputs import Item
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import JournalEntry, to_record
from seedvideo.batch.progress import describe_job, format_duration, throughput
from seedvideo.batch.report_html import INDEX, Overview, Page, displayed_state, render_page
from seedvideo.errors import OutputError
from seedvideo.utils.files import make_folder, refuse_existing, sync_folder, write_error

MAX_PAGE_CLIPS: Final = 500
"""Maximum clips on one page: with contact sheets of about 50 kB each, a full page has 35 MB."""

_TITLES: Final = {
    "caption": "Captions",
    "dense": "Captions of every shot",
    "ask": "Answers",
    "ground": "Moments",
}
"""Title of a report, by the task of its job."""


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """One page of a report.

    Args:
        name: its file name.
        clips: number of clips on it.
        parts: its HTML, piece by piece.
    """

    name: str
    clips: int
    parts: Iterator[str]


@dataclass
class _Totals:
    """Totals over the clips."""

    clips: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    failures: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0
    frames: int = 0
    visual_tokens: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    model: str = ""

    def add(self, entry: JournalEntry) -> None:
        self.clips += 1
        state = displayed_state(entry.state)
        self.counts[state] = self.counts.get(state, 0) + 1
        if state in ("failed", "quarantined"):
            key = (entry.code or "", entry.stage or "")
            self.failures[key] = self.failures.get(key, 0) + 1
        record = to_record(entry)
        if record is None:
            return
        if record.media is not None:
            self.seconds += _window_s(entry.item, record.media.duration_s)
        if record.plan is not None:
            self.frames += record.plan.frames
        if record.usage is not None:
            self.visual_tokens += record.usage.visual_tokens
            self.prompt_tokens += record.usage.prompt_tokens
            self.output_tokens += record.usage.output_tokens
        if record.model is not None:
            self.model = f"{record.model.name} {record.model.sha256[:12]}"


def _window_s(item: Item, duration_s: float) -> float:
    """Return the length of the window of a row, in seconds."""
    end_s = duration_s if item.end_s is None else min(float(item.end_s), duration_s)
    return max(0.0, end_s - float(item.start_s or 0))


def render_pages(journal: Journal, *, timings: bool, single: bool = False) -> Iterator[ReportPage]:
    """Yield the pages of a report; write each one before asking for the next.

    Args:
        journal: open to read.
        timings: whether to show processing times, numbers of tries and the pace.
        single: refuse a job that does not fit on one page.

    Raises:
        OutputError: ``output.too_large``.
    """
    # Opened first and kept open: SQLite then shows both readings the journal of this moment.
    entries = journal.entries()
    first = next(entries, None)
    totals = _Totals()
    for entry in journal.entries(sheets=False):
        totals.add(entry)
    if single and totals.clips > MAX_PAGE_CLIPS:
        raise OutputError(
            "output.too_large",
            f"one page holds {MAX_PAGE_CLIPS} clips, and the job has {totals.clips:,}",
            hint="name a folder for several pages: -f html -o report/",
        )
    overview = _overview(
        journal, totals, clips_per_min=throughput(journal.folder) if timings else None
    )
    numbered = enumerate(chain([] if first is None else [first], entries), start=1)
    count = max(1, -(-totals.clips // MAX_PAGE_CLIPS))
    for number in range(1, count + 1):
        before = (number - 1) * MAX_PAGE_CLIPS
        page = Page(
            number=number,
            of=count,
            first=min(totals.clips, before + 1),
            last=min(totals.clips, before + MAX_PAGE_CLIPS),
            total=totals.clips,
        )
        clips = islice(numbered, MAX_PAGE_CLIPS)
        parts = render_page(overview, page, clips, timings=timings)
        yield ReportPage(name=page.name(), clips=page.last - before, parts=parts)


@contextmanager
def atomic_directory(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder for the pages; when the block ends, move them to ``folder``.

    An error inside the block leaves ``folder`` as it was. Pages of an earlier report that the new
    one does not replace are removed; other files stay.

    Args:
        folder: created if it is missing.
        overwrite: whether to replace an earlier report.

    Raises:
        OutputError: as `seedvideo.utils.files.writing` does.
    """
    refuse_existing(folder / INDEX, overwrite=overwrite)
    make_folder(folder)
    try:
        earlier = sorted(name for name in os.listdir(folder) if _is_page(name))
        for name in earlier:
            refuse_existing(folder / name, overwrite=overwrite)
        temporary = folder / f".seedvideo-{secrets.token_hex(8)}.tmp"
        temporary.mkdir()
        try:
            yield temporary
            _move(temporary, folder, earlier)
        finally:
            shutil.rmtree(temporary)
    except OSError as error:
        raise write_error(folder, error) from error


def _move(temporary: Path, folder: Path, earlier: list[str]) -> None:
    # In reverse order the index comes last.
    names = sorted(os.listdir(temporary), reverse=True)
    for name in (INDEX, *earlier):
        (folder / name).unlink(missing_ok=True)
    for name in names:
        if name == INDEX:
            sync_folder(folder)
        (temporary / name).replace(folder / name)
    sync_folder(folder)


def _is_page(name: str) -> bool:
    """Return whether a file name is that of a page of a report."""
    return name == INDEX or re.fullmatch(r"page-\d{4,}\.html", name, re.ASCII) is not None


def _overview(journal: Journal, totals: _Totals, *, clips_per_min: float | None) -> Overview:
    job = journal.job()
    task = "caption" if job is None else job.task
    about = [describe_job(journal)]
    if job is not None:
        about += [f"\u201c{text}\u201d" for text in (job.question, job.query) if text]
    facts = []
    if totals.seconds:
        facts.append(("video", f"{format_duration(totals.seconds)} in clips that are done"))
    if totals.frames:
        facts.append(("shown", f"{totals.frames:,} frames, {totals.visual_tokens:,} visual tokens"))
        facts.append(("read", f"{totals.prompt_tokens:,} prompt tokens"))
        facts.append(("written", f"{totals.output_tokens:,} output tokens"))
    if clips_per_min is not None:
        facts.append(("pace", f"{clips_per_min:,.1f} clips per minute"))
    if totals.model:
        facts.append(("weights", totals.model))
    failures = [(code, stage, count) for (code, stage), count in totals.failures.items()]
    return Overview(
        title=_TITLES[task],
        about=about,
        counts=totals.counts,
        failures=sorted(failures, key=lambda failure: (-failure[2], failure)),
        facts=facts,
    )
