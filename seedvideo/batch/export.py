"""Exports of a journal: JSON lines, parquet, CSV, subtitles and the HTML report.

An export needs neither a model nor the videos. It reads the journal as of one moment, a clip at a
time, so its memory does not grow with the job. A file gets its name only after all of it is on
disk. The same journal gives the same bytes.

Subtitle files are named after their clips, so that players find them. Clips with the same file
name get their id appended, and a hash of the id if that is not enough. Names depend on all clips
of a job, done or not: an export of a running job gives the same ones.

Separate from `seedvideo.cli.batch`, which would exceed 500 lines with it.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, Literal, TypeAlias, get_args

from seedvideo import writers
from seedvideo.batch import export_tables, report
from seedvideo.batch.inputs import Item
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import (
    RECORD_TASKS,
    JournalEntry,
    State,
    to_record,
    to_row,
)
from seedvideo.batch.manifest import HashSet
from seedvideo.errors import ConfigError, OutputError
from seedvideo.records import Record
from seedvideo.utils.files import (
    fold_case,
    refuse_existing,
    refuse_unwritable,
    safe_stem,
    stable_name,
    sync_folder,
    write_file,
    writing,
)
from seedvideo.utils.text import printable
from seedvideo.writers import escape_name


class SubtitleNames:
    """File names for the clips of one job; about 100 bytes of memory each.

    Args:
        items: all items of the job.
        extension: extension of the files, with the dot.
    """

    def __init__(self, items: Iterable[Item], *, extension: str) -> None:
        self._extension = extension
        self._names, self._repeated = HashSet(), HashSet()
        for item in items:
            for name in self._choices(item):
                if not self._names.add(fold_case(name)):
                    self._repeated.add(fold_case(name))

    def get(self, item: Item) -> str:
        """Return the file name of a clip."""
        short, with_id, hashed = self._choices(item)
        for name in (short, with_id):
            if fold_case(name) not in self._repeated:
                return name
        return hashed

    def _choices(self, item: Item) -> tuple[str, str, str]:
        stem = safe_stem(PurePosixPath(item.source).stem)
        with_id = safe_stem(f"{stem}-{item.id}")
        hashed = stable_name(item.id, extension=self._extension)
        return f"{stem}{self._extension}", f"{with_id}{self._extension}", hashed


ExportFormat: TypeAlias = Literal["jsonl", "parquet", "csv", "srt", "vtt", "html"]
EXPORT_FORMATS: Final[tuple[ExportFormat, ...]] = get_args(ExportFormat)

NAMES_FILE: Final = "names.csv"
"""File in a folder of subtitles that maps file names to ids."""

_DONE: Final[tuple[State, ...]] = ("done",)

_SUBTITLES: Final[dict[str, Callable[[Record], str]]] = {
    "srt": writers.render_srt,
    "vtt": writers.render_vtt,
}


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """Result of an export.

    Args:
        files: number of files written.
        clips: number of clips in them.
        skipped: clips that are not done and that this format cannot hold.
    """

    files: int
    clips: int
    skipped: int = 0


def export(
    journal: Journal,
    export_format: ExportFormat,
    output: Path,
    *,
    pages: bool = False,
    timings: bool = True,
    overwrite: bool = False,
) -> ExportResult:
    """Write what a journal holds.

    ``jsonl``, ``parquet`` and ``csv`` have every clip, whatever its state, in the order of the
    input. ``srt`` and ``vtt`` have a file for each clip that is done, in a folder. ``html`` is one
    page; with ``pages`` it is a folder with as many pages as needed.

    Args:
        journal: journal opened to read; a job may still write to it.
        export_format: one of `EXPORT_FORMATS`.
        output: path of a file; of a folder for ``srt``, ``vtt`` and ``pages``.
        pages: for ``html``, whether to write several pages.
        timings: whether to include processing times, which differ in every run.
        overwrite: whether to replace existing files.

    Raises:
        ConfigError: ``config.invalid`` if this format cannot hold the job's results;
            ``config.package_missing`` if parquet needs pyarrow.
        OutputError: ``output.exists``, ``output.unwritable``, ``output.disk_full``, or
            ``output.too_large`` if one page cannot hold so many clips.
        BatchError: ``batch.journal_damaged``.
    """
    task = _check_task(journal, export_format)
    if export_format in _SUBTITLES:
        return _export_subtitles(journal, export_format, output, overwrite=overwrite)
    if export_format == "html":
        several = pages or output.is_dir()
        make = _export_pages if several else _export_page
        return make(journal, output, timings=timings, overwrite=overwrite)
    if export_format == "parquet":
        export_tables.require_package()
    if output.is_dir():
        raise OutputError(
            "output.exists",
            f"{printable(str(output))} is a folder",
            hint=f"name a file: {printable(str(output / f'clips.{export_format}'))}",
        )
    refuse_unwritable(output)
    with writing(output, overwrite=overwrite) as file:
        clips = _write_table(journal, export_format, file, task=task, timings=timings)
    return ExportResult(files=1, clips=clips)


def export_to(
    file: BinaryIO, journal: Journal, export_format: ExportFormat, *, timings: bool = True
) -> ExportResult:
    """Write what a journal holds to a stream.

    Args:
        file: open to write; it need not seek.
        journal: as for `export`.
        export_format: one of `EXPORT_FORMATS`; ``srt`` and ``vtt`` only if one clip is done.
        timings: as for `export`.

    Raises:
        ConfigError: as `export` does, and ``config.invalid`` for subtitles of several clips.
        OutputError: ``output.too_large`` if one page cannot hold so many clips.
        BatchError: ``batch.journal_damaged``.
    """
    task = _check_task(journal, export_format)
    if export_format in _SUBTITLES:
        counts = journal.counts()
        if counts.done > 1:
            raise ConfigError(
                "config.invalid",
                f"-f {export_format} writes one file per clip, and {counts.done:,} clips are done",
                hint="name a folder: -o subtitles/",
            )
        for entry in journal.entries(states=_DONE, sheets=False):
            record = to_record(entry)
            if record is not None:
                file.write(_SUBTITLES[export_format](record).encode("utf-8", "backslashreplace"))
        return ExportResult(files=1, clips=counts.done, skipped=counts.total - counts.done)
    if export_format == "html":
        clips = 0
        for page in report.render_pages(journal, timings=timings, single=True):
            clips += _write_page(file, page)
        return ExportResult(files=1, clips=clips)
    return ExportResult(
        files=1, clips=_write_table(journal, export_format, file, task=task, timings=timings)
    )


def _check_task(journal: Journal, export_format: ExportFormat) -> str:
    """Return the task of the job's records; raise an error if the format cannot hold them."""
    job = journal.job()
    task = RECORD_TASKS["caption" if job is None else job.task]
    if export_format in _SUBTITLES and task != "caption":
        raise ConfigError(
            "config.invalid",
            f"-f {export_format} is for captions, and the task of this job is {task}",
            hint="export with -f jsonl, csv, parquet or html",
        )
    return task


def _write_table(
    journal: Journal, export_format: ExportFormat, file: BinaryIO, *, task: str, timings: bool
) -> int:
    """Write one row per clip and return the number of rows."""
    count = 0

    def entries() -> Iterator[JournalEntry]:
        nonlocal count
        for entry in journal.entries(sheets=False):
            count += 1
            yield entry

    if export_format == "parquet":
        rows = (to_row(entry, task=task, timings=timings) for entry in entries())
        export_tables.write_rows(file, rows, timings=timings)
    elif export_format == "csv":
        file.write(export_tables.csv_header(timings=timings).encode())
        for entry in entries():
            file.write(export_tables.csv_row(entry, task=task, timings=timings).encode())
    else:
        for entry in entries():
            file.write(json_line(to_row(entry, task=task, timings=timings)))
    return count


def json_line(row: dict[str, Any]) -> bytes:
    """Return a row as a line of ASCII JSON: safe in a terminal, and any name round-trips."""
    return json.dumps(row, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"


def _export_subtitles(
    journal: Journal, export_format: str, folder: Path, *, overwrite: bool
) -> ExportResult:
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(
            "output.exists",
            f"{printable(str(folder))} is not a folder",
            hint=f"-f {export_format} writes one file per clip: name a folder with -o",
        )
    refuse_unwritable(folder, is_folder=True)
    render = _SUBTITLES[export_format]
    # Checked first, so that a folder of an earlier export is refused before anything is written.
    refuse_existing(folder / NAMES_FILE, overwrite=overwrite)
    items = (entry.item for entry in journal.entries(sheets=False))
    file_names = SubtitleNames(items, extension=f".{export_format}")
    done = 0
    # The list is written last: if it exists, so do all the files that it names.
    with writing(folder / NAMES_FILE, overwrite=overwrite) as names:
        names.write(b"file,id\n")
        for entry in journal.entries(states=_DONE, sheets=False):
            record = to_record(entry)
            if record is None:
                continue
            name = file_names.get(entry.item)
            data = render(record).encode("utf-8", "backslashreplace")
            write_file(folder / name, data, overwrite=overwrite, sync_name=False)
            names.write(_names_line(name, entry.item.id))
            done += 1
        sync_folder(folder)
    counts = journal.counts()
    return ExportResult(files=done + 1, clips=done, skipped=max(0, counts.total - done))


def _names_line(name: str, item_id: str) -> bytes:
    cells = (escape_name(text).replace('"', '""') for text in (name, item_id))
    return ",".join(f'"{text}"' for text in cells).encode() + b"\n"


def _export_page(journal: Journal, path: Path, *, timings: bool, overwrite: bool) -> ExportResult:
    refuse_unwritable(path)
    clips = 0
    with writing(path, overwrite=overwrite) as file:
        for page in report.render_pages(journal, timings=timings, single=True):
            clips += _write_page(file, page)
    return ExportResult(files=1, clips=clips)


def _export_pages(
    journal: Journal, folder: Path, *, timings: bool, overwrite: bool
) -> ExportResult:
    clips = 0
    with report.atomic_directory(folder, overwrite=overwrite) as temporary:
        for page in report.render_pages(journal, timings=timings):
            with writing(temporary / page.name, sync_name=False) as file:
                clips += _write_page(file, page)
        files = len(os.listdir(temporary))
    return ExportResult(files=files, clips=clips)


def _write_page(file: BinaryIO, page: report.ReportPage) -> int:
    """Write one page of the report and return its number of clips."""
    for part in page.parts:
        file.write(part.encode("utf-8"))
    return page.clips
