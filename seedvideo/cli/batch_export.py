"""Command ``seedvideo batch export``: the results of a job as a file, subtitles or a dataset.

Separate from `seedvideo.cli.batch`, which would exceed 500 lines with it.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final, Literal, cast

import typer

from seedvideo.cli.batch_parts import (
    JobAddress,
    OptionalFolder,
    StoreEndpoint,
    job_folder,
    require_one,
)
from seedvideo.cli.console import COULD_NOT_START, SOME_FAILED, BinaryStdout, Console
from seedvideo.cli.option_values import EXPORT_FORMATS, FILE_FORMATS, parse_export_format
from seedvideo.cli.options import Overwrite, Quiet, Verbose, with_options
from seedvideo.cli.output import ends_in_slash
from seedvideo.plugins import list_plugins
from seedvideo.utils.files import refuse_unwritable
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from seedvideo.batch.export import ExportFormat, ExportResult
    from seedvideo.datasets.export import DatasetResult
    from seedvideo.datasets.source import DatasetOptions

_MAX_SHOWN: Final = 20
"""Clips without bytes that are named on stderr; all are in the dataset."""

_PROGRESS_S: Final = 0.5
"""Time between two updates of the status line: encoding a clip may take seconds."""

_TAKES: Final = {
    "shard_gib": ("webdataset", "hf"),
    "no_bytes": ("hf",),
    "sheets": ("webdataset",),
    "licence": ("hf",),
    "cut": ("webdataset", "hf"),
}
"""Forms of datasets that have a use for an option; the other options are for all of them."""


@dataclass(frozen=True, kw_only=True)
class DatasetExportOptions:
    """What a dataset holds; each field is an option."""

    rows: Annotated[
        str | None,
        typer.Option(
            "--rows",
            metavar="TABLE",
            help="Export only the clips in this table, such as curate writes, with its other"
            " columns (datasets).",
        ),
    ] = None
    copies: Annotated[
        bool,
        typer.Option("--copies", help="Write a clip with repeats of N as N clips (datasets)."),
    ] = False
    shard_gib: Annotated[
        float | None,
        typer.Option(
            "--shard-gib",
            metavar="GIB",
            help="Close a shard at this size (webdataset, hf). [default: 1]",
        ),
    ] = None
    cut: Annotated[
        Literal["exact", "keyframes"] | None,
        typer.Option(
            "--cut",
            help="Cut clips that are windows of longer videos: encode them, or copy them from"
            " their first keyframe on (webdataset, hf). [default: refuse them]",
        ),
    ] = None
    no_bytes: Annotated[
        bool,
        typer.Option("--no-bytes", help="Store the sources of videos, not their bytes (hf)."),
    ] = False
    sheets: Annotated[
        bool,
        typer.Option("--sheets", help="Add the contact sheet of each clip (webdataset)."),
    ] = False
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            metavar="NAME",
            help="Name the licence of the data in the card (hf). [default: unknown]",
        ),
    ] = None

    def reject_unfit(self, export_format: str) -> None:
        """Reject options that a form has no use for; a form of another package gets all.

        Raises:
            typer.BadParameter: naming the option.
        """
        for each in fields(self):
            if getattr(self, each.name) == each.default:
                continue
            option = "--" + each.name.replace("_", "-")
            if export_format in FILE_FORMATS:
                raise typer.BadParameter(
                    f"{option} is for datasets (-f dataset, webdataset or hf), not for"
                    f" -f {export_format}"
                )
            forms = _TAKES.get(each.name)
            if forms is not None and export_format in EXPORT_FORMATS and export_format not in forms:
                raise typer.BadParameter(
                    f"{option} is for -f {' and -f '.join(forms)}, not for -f {export_format}"
                )

    def to_options(self, *, overwrite: bool) -> "DatasetOptions":
        """Return the options as the export takes them."""
        from seedvideo.datasets.source import DEFAULT_SHARD_GIB, DatasetOptions

        return DatasetOptions(
            overwrite=overwrite,
            shard_gib=DEFAULT_SHARD_GIB if self.shard_gib is None else self.shard_gib,
            with_bytes=not self.no_bytes,
            with_sheets=self.sheets,
            with_copies=self.copies,
            rows=None if self.rows is None else Path(self.rows),
            licence=self.licence or "unknown",
            cut=self.cut,
        )


@with_options
def export(
    folder: OptionalFolder = None,
    job: JobAddress = None,
    store_endpoint: StoreEndpoint = None,
    *,
    export_format: Annotated[
        str,
        typer.Option(
            "-f",
            "--format",
            metavar=f"<{'|'.join(EXPORT_FORMATS)}>",
            parser=parse_export_format,
            autocompletion=lambda: [
                *EXPORT_FORMATS,
                *(plugin.name for plugin in list_plugins("exporter")),
            ],
            help="Select the format, or one that another package adds.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|DIR",
            help="Write to this file or folder; srt and vtt need a folder for several clips,"
            " datasets always, html takes both. [default: stdout]",
        ),
    ] = None,
    no_timings: Annotated[
        bool,
        typer.Option("--no-timings", help="Omit the seconds spent, which differ between runs."),
    ] = False,
    dataset: DatasetExportOptions,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the results of a job in another format.

    Needs no model and works while the job runs. A file appears once it is complete, dataset.json of
    a dataset once all its files are.
    """
    console = Console(quiet=quiet, verbose=verbose)
    require_one(folder, job, store_endpoint)
    if output == "":
        raise typer.BadParameter("-o has an empty name: give a file, a folder or -")
    dataset.reject_unfit(export_format)
    source = partial(
        job_folder,
        folder,
        job,
        endpoint=store_endpoint,
        command=f"export -f {export_format}",
        sheets=export_format == "html" or dataset.sheets,
    )
    if export_format not in FILE_FORMATS:
        if output is None or output == "-":
            raise typer.BadParameter(
                f"-f {export_format} writes several files: name a folder with -o"
            )
        _export_dataset(
            source,
            export_format,
            Path(output),
            partial(dataset.to_options, overwrite=overwrite),
            console=console,
        )
        return
    form = cast("ExportFormat", export_format)
    if output is None or output == "-":
        _export_to_stdout(source, form, timings=not no_timings, console=console)
        return
    path = Path(output)
    pages = ends_in_slash(output) or os.path.isdir(path)
    with console.exit_on_error(COULD_NOT_START):
        is_folder = form in ("srt", "vtt") or (form == "html" and pages)
        if not (is_folder and os.path.isfile(path)):
            # The export itself rejects a file in place of the folder, with a hint for the format.
            refuse_unwritable(path, is_folder=is_folder)
    with console.exit_on_error(SOME_FAILED):
        from seedvideo.batch.export import export as write_export
        from seedvideo.batch.journal import Journal

        console.status(f"writing {output}")
        with source() as found, Journal.open(found, write=False) as journal:
            made = write_export(
                journal,
                form,
                path,
                pages=pages,
                timings=not no_timings,
                overwrite=overwrite,
            )
    console.clear_status()
    files = "" if made.files == 1 else f" in {made.files:,} files"
    console.info(f"{_count_clips(made.clips)}{files}: {output}{_describe_unfinished(made)}")


def _export_dataset(
    source: Callable[[], AbstractContextManager[Path]],
    export_format: str,
    path: Path,
    make_options: Callable[[], "DatasetOptions"],
    *,
    console: Console,
) -> None:
    """Write a dataset.

    Raises:
        typer.Exit: with 1 if the bytes of a clip could not be read, or the export failed.
    """
    shown = 0.0

    def show(count: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _PROGRESS_S:
            shown = time.monotonic()
            console.status(f"writing {path}: {_count_clips(count)}")

    with console.exit_on_error(COULD_NOT_START):
        options = make_options()
        # Another package may write a file.
        refuse_unwritable(path, is_folder=export_format in EXPORT_FORMATS)
    with console.exit_on_error(SOME_FAILED):
        from seedvideo.batch.journal import Journal
        from seedvideo.datasets.export import export_dataset

        with source() as found, Journal.open(found, write=False) as journal:
            made = export_dataset(journal, export_format, path, options, on_progress=show)
    console.clear_status()
    _report_dataset(made, path, rows=options.rows, console=console)
    if made.unreadable:
        raise typer.Exit(SOME_FAILED)


def _report_dataset(
    made: "DatasetResult", path: Path, *, rows: Path | None, console: Console
) -> None:
    for number, (clip_id, error) in enumerate(made.unreadable.items()):
        if number == _MAX_SHOWN:
            console.info(f"{len(made.unreadable) - number:,} more: see {path / 'rest.jsonl'}")
            break
        console.info(f"{printable(clip_id)}: {error.message} [{error.code}]")
    files = f" in {made.files:,} files" if made.files else ""
    notes = []
    if made.others:
        notes.append(f"{made.others:,} without a result")
    if made.unreadable:
        notes.append(f"{len(made.unreadable):,} that cannot be read")
    left = f"; not in it: {', '.join(notes)}" if notes else ""
    console.info(f"{_count_clips(made.clips)}{files}: {path}{left}")
    if made.unknown:
        are = "row is not a clip" if made.unknown == 1 else "rows are not clips"
        console.info(f"{made.unknown:,} {are} of this job: {rows}")


def _export_to_stdout(
    source: Callable[[], AbstractContextManager[Path]],
    export_format: "ExportFormat",
    *,
    timings: bool,
    console: Console,
) -> None:
    if export_format == "parquet" and sys.stdout.isatty():
        raise typer.BadParameter("parquet cannot be written to a terminal: name a file with -o")
    with console.exit_on_error(SOME_FAILED):
        from seedvideo.batch.export import export_to
        from seedvideo.batch.journal import Journal

        out = cast(BinaryIO, BinaryStdout())
        with source() as found, Journal.open(found, write=False) as journal:
            made = export_to(out, journal, export_format, timings=timings)
    if made.skipped:
        console.info(f"{_count_clips(made.clips)}{_describe_unfinished(made)}")


def _count_clips(count: int) -> str:
    return f"{count:,} clip{'s' * (count != 1)}"


def _describe_unfinished(made: "ExportResult") -> str:
    are = "is" if made.skipped == 1 else "are"
    return f"; {made.skipped:,} {are} not done and not exported" if made.skipped else ""
