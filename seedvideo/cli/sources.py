"""Several videos in one command: which there are, and one after another, each on its own.

The words of a command line are read as ``batch`` reads them. A video that fails gets its lines on
stderr, and the others go on. Imports nothing heavy.
"""

import os
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.console import COULD_NOT_START, SOME_FAILED, WRONG_USAGE, Talk
from seedvideo.cli.output import NOWHERE, Sink
from seedvideo.errors import BatchError, ConfigError, InputError, SeedVideoError
from seedvideo.utils.files import absolute_path
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from seedvideo.records import Record, Task


@dataclass(frozen=True)
class NoVideo:
    """A word, or a row of a list, that names no video.

    Args:
        name: the word, or where the row is.
        error: why.
    """

    name: str
    error: SeedVideoError


Row: TypeAlias = Item | NoVideo

Videos = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO...",
        help="Videos, folders, globs in quotes, lists (.txt .csv .jsonl .parquet); - reads a list"
        " from stdin.",
    ),
]

VideoOrList = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO",
        help="A video, folder, glob in quotes or list (.txt .csv .jsonl .parquet); - reads a list"
        " from stdin.",
    ),
]


def read_rows(words: Sequence[str], *, talk: Talk) -> list[Row]:
    """Find the videos that a command line names, each once, in order.

    Raises:
        typer.BadParameter: if there is none.
        typer.Exit: with 3 if a list cannot be read, with 2 if it is wrong as a whole.
    """
    rows: dict[Hashable, Row] = {}
    with talk.guarded(COULD_NOT_START):
        for word in words:
            for row in _rows_of(word):
                if isinstance(row, Item):
                    rows.setdefault((absolute_path(row.source), repr(row.words)), row)
                else:
                    rows[row.name] = row
    if not rows:
        raise typer.BadParameter("no video was named")
    return list(rows.values())


def _rows_of(word: str) -> Iterator[Row]:
    """What one word names; where that is nothing, an empty list yields nothing."""
    from seedvideo.batch import inputs
    from seedvideo.batch.manifest import MANIFEST_SUFFIXES

    try:
        for row in inputs.read_inputs([word], stdin=sys.stdin.buffer):
            if isinstance(row, Item):
                yield row
            elif not row.is_repeat:
                yield NoVideo(row.where, BatchError(row.code, f"{row.where}: {row.message}"))
    except BatchError as error:
        if error.code != "batch.no_input":
            raise
        shown = printable(word)
        if os.path.isdir(word):
            message = f"{shown}: no video in this folder"
            yield NoVideo(word, InputError("input.not_a_file", message, hint=error.hint))
        elif not (word == "-" or word.lower().endswith(MANIFEST_SUFFIXES)):
            message = f"{shown}: no file has a name like this"
            yield NoVideo(
                word, InputError("input.not_found", message, hint="check the name and the folder")
            )


def name_of(row: Row) -> str:
    """The video as it was named, or the word or the place in a list that names none."""
    return row.source if isinstance(row, Item) else row.name


def run_each(
    talk: Talk,
    rows: Sequence[Row],
    work: Callable[[int, Item], str],
    *,
    sink: Sink = NOWHERE,
    failed: Callable[[str, Exception, float], str] = lambda *_: "",
) -> None:
    """Do the work for each video, write its result, and go on where one fails.

    Args:
        talk: the command's voice.
        rows: the videos.
        work: makes the text of a video's result from its index and the video.
        sink: takes the texts.
        failed: makes the text of a video that failed, from its name, the error and the seconds
            spent. An empty text leaves it out.

    Raises:
        typer.Exit: with 1 if a video failed; with 2 if all that failed did so for a wrong setting.
    """
    errors: list[Exception] = []
    names = [name_of(row) for row in rows]
    with talk.guarded(SOME_FAILED), sink:
        for index, name in enumerate(talk.progress(names)):
            started = perf_counter()
            try:
                text = _done(index, rows[index], work, sink)
            except Exception as error:  # noqa: BLE001
                # One bad video, or a bug that it wakes, must not take the others with it.
                errors.append(error)
                talk.error(error, source=name)
                text = failed(name, error, perf_counter() - started)
                talk.clear()
                sink.put_failed(index, text)
            else:
                talk.clear()
                # Not guarded: where results cannot be written the run is over.
                sink.put(index, text)
    if errors:
        if len(rows) > 1:
            talk.note(f"{len(errors)} of {len(rows)} videos failed")
        is_usage = all(isinstance(error, ConfigError) for error in errors)
        raise typer.Exit(WRONG_USAGE if is_usage else SOME_FAILED)


def _done(index: int, row: Row, work: Callable[[int, Item], str], sink: Sink) -> str:
    if isinstance(row, NoVideo):
        raise row.error
    sink.check(index)
    return work(index, row)


def failed_record(
    source: str, error: Exception, *, spent_s: float, task: "Task" = "caption"
) -> "Record":
    """Make the record of a video that gave no result."""
    from seedvideo.records import Record

    return Record.failed(source, error, timing_s={"total": round(spent_s, 4)}, task=task)
