"""Videos that a command names, and the loop that processes them one after another.

Arguments are resolved as in ``batch``. A failed video is reported on stderr; the others continue.
"""

import os
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.console import COULD_NOT_START, SOME_FAILED, WRONG_USAGE, Console
from seedvideo.cli.output import NULL_SINK, OutputSink
from seedvideo.cli.remote_options import SourceOptions
from seedvideo.errors import BatchError, ConfigError, InputError, SeedVideoError
from seedvideo.utils.addresses import is_address, safe_name
from seedvideo.utils.files import absolute_path
from seedvideo.utils.text import printable
from seedvideo.utils.timecode import seconds

if TYPE_CHECKING:
    from seedvideo.records import Record, RecordTask
    from seedvideo.remote.fetching import Fetcher


@dataclass(frozen=True)
class UnresolvedInput:
    """An argument, or a row of a list, that cannot be resolved to a video.

    Args:
        name: the argument, or the position of the row.
        error: the reason.
    """

    name: str
    error: SeedVideoError


Row: TypeAlias = Item | UnresolvedInput

Videos = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO...",
        help="Videos, folders, quoted globs, lists (.txt, .csv, .jsonl, .parquet) or tars of"
        " clips; also addresses (s3://, gs://, az://, https://, hf://); - reads paths from stdin.",
    ),
]

VideoOrList = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO",
        help="Video, folder, quoted glob, list (.txt, .csv, .jsonl, .parquet) or tar of clips; also"
        " an address (s3://, gs://, az://, https://, hf://); - reads paths from stdin.",
    ),
]


def read_rows(words: Sequence[str], *, console: Console, remote: SourceOptions) -> list[Row]:
    """Resolve the arguments of a command to videos, each once, in order.

    Args:
        words: the arguments.
        console: the console of the command.
        remote: how addresses are reached.

    Raises:
        typer.BadParameter: if no video is named.
        typer.Exit: with 3 if a list cannot be read, with 2 if a list is invalid.
    """
    rows: dict[Hashable, Row] = {}
    with console.exit_on_error(COULD_NOT_START):
        for word in words:
            for row in _iter_rows(word, remote.fetcher):
                if isinstance(row, Item):
                    path = row.source if is_address(row.source) else absolute_path(row.source)
                    rows.setdefault((path, repr(row.words)), row)
                else:
                    rows[row.name] = row
    if not rows:
        raise typer.BadParameter("no video was named: give at least one file, folder or list")
    for row in rows.values():
        if isinstance(row, Item):
            remote.fetcher.expect(row.source)
    return list(rows.values())


def _iter_rows(word: str, fetcher: "Fetcher") -> Iterator[Row]:
    """Yield the rows of one argument; an empty list yields none."""
    from seedvideo.batch import inputs
    from seedvideo.batch.manifest import MANIFEST_SUFFIXES

    try:
        for row in inputs.read_inputs([word], stdin=sys.stdin.buffer, fetcher=fetcher):
            if isinstance(row, Item):
                yield row
            elif not row.is_repeat:
                message = row.message
                if row.where not in message:
                    message = f"{row.where}: {message}"
                yield UnresolvedInput(row.where, SeedVideoError(row.code, message))
    except BatchError as error:
        if error.code != "batch.no_input":
            raise
        word = safe_name(word)
        display_name = printable(word)
        if os.path.isdir(word):
            message = f"{display_name}: no video in this folder"
            yield UnresolvedInput(word, InputError("input.not_a_file", message, hint=error.hint))
        elif not (word == "-" or word.lower().endswith(MANIFEST_SUFFIXES)):
            message = f"{display_name}: no file matches"
            yield UnresolvedInput(
                word, InputError("input.not_found", message, hint="check the name and the folder")
            )


def row_name(row: Row) -> str:
    """Return the name of the video, or the unresolved argument or list position."""
    return row.source if isinstance(row, Item) else row.name


def _name_with_window(row: Row) -> str:
    """Return the name of the video, and the window that is processed: ``film.mp4@2.5-7``."""
    name = row_name(row)
    if not isinstance(row, Item) or row.start_s is row.end_s is None:
        return name
    start, end = (
        "" if time is None else f"{seconds(time):.10g}" for time in (row.start_s, row.end_s)
    )
    return f"{name}@{start or 0}-{end}"


def run_each(
    console: Console,
    rows: Sequence[Row],
    work: Callable[[int, Item], str],
    *,
    sink: OutputSink = NULL_SINK,
    render_failed: Callable[[str, Exception, float], str] = lambda *_: "",
) -> None:
    """Process each video and write its result; continue after a failure.

    Args:
        console: the console of the command.
        rows: the videos.
        work: returns the text of a result, given the index and the video.
        sink: destination of the texts.
        render_failed: returns the text for a failed video, given its name, the error and the
            seconds spent. An empty text is not written.

    Raises:
        typer.Exit: with 1 if a video failed; with 2 if all failures are invalid options.
    """
    errors: list[Exception] = []
    with console.exit_on_error(SOME_FAILED), sink:
        for index, _ in enumerate(console.iter_items([_name_with_window(row) for row in rows])):
            name = row_name(rows[index])
            started = perf_counter()
            try:
                text = _process(index, rows[index], work, sink)
            except BrokenPipeError:
                raise  # the reader of stdout left while an answer was streamed
            except Exception as error:  # noqa: BLE001
                # A bad video, or a bug that it triggers, must not stop the others.
                errors.append(error)
                console.error(error, source=name)
                text = render_failed(name, error, perf_counter() - started)
                console.clear_status()
                sink.write_failed(index, text)
            else:
                console.clear_status()
                # An error here ends the run: results cannot be written.
                sink.write(index, text)
    if errors:
        if len(rows) > 1:
            console.info(f"{len(errors)} of {len(rows)} videos failed")
        is_usage = all(isinstance(error, ConfigError) for error in errors)
        raise typer.Exit(WRONG_USAGE if is_usage else SOME_FAILED)


def _process(index: int, row: Row, work: Callable[[int, Item], str], sink: OutputSink) -> str:
    if isinstance(row, UnresolvedInput):
        raise row.error
    sink.check(index)
    return work(index, row)


def failed_record(
    source: str, error: Exception, *, spent_s: float, task: "RecordTask" = "caption"
) -> "Record":
    """Build the record of a failed video."""
    from seedvideo.records import Record

    return Record.failed(source, error, timing_s={"total": round(spent_s, 4)}, task=task)
