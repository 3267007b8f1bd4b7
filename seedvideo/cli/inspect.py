"""Command ``seedvideo inspect``: the signals of videos, as text or as a table. It needs no model.

A table is written a row at a time. Interrupted, it has the rows of the finished clips.
"""

import json
import sys
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, Literal, Self, cast

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.console import COULD_NOT_START, BinaryStdout, Console, reject_closed_stdout
from seedvideo.cli.options import (
    Analysis,
    AsJson,
    CacheOption,
    Output,
    Overwrite,
    Quiet,
    SourceFps,
    Verbose,
    rate_to_fraction,
    resolve_format,
    with_options,
)
from seedvideo.cli.output import ends_in_slash, reject_inputs
from seedvideo.cli.remote_options import SourceOptions
from seedvideo.cli.sources import Row, Videos, read_rows, row_name, run_each
from seedvideo.utils.files import refuse_existing, refuse_unwritable, writing
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from seedvideo.batch.signal_table import SignalReader
    from seedvideo.media.source import VideoInput
    from seedvideo.video import ProgressCallback

Format = Literal["text", "json", "csv", "jsonl", "parquet"]

_FORMATS: Final[dict[str, Format]] = {
    ".txt": "text",
    ".json": "json",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
}
"""Format of a file by its suffix."""


@with_options
def inspect(
    videos: Videos,
    analysis: Annotated[
        Analysis,
        typer.Option(
            help="Set the analysis depth: packets (no decoding, and no signals of pictures), auto"
            " (decode where packets are inconclusive, in long videos within a bound), fast (without"
            " a bound), full (every frame)."
        ),
    ] = "auto",
    no_signature: Annotated[
        bool,
        typer.Option(
            "--no-signature",
            help="Leave out the signature for near-duplicates, which decodes each clip once more.",
        ),
    ] = False,
    *,
    remote: SourceOptions,
    cache: CacheOption = None,
    source_fps: SourceFps = None,
    output_format: Annotated[
        Format | None,
        typer.Option(
            "-f",
            "--format",
            help="Select the output format. [default: by the suffix of -o, else text]",
        ),
    ] = None,
    as_json: AsJson = False,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure the signals of videos: motion, detail, shots, black, stills, bars, and more.

    A table has one row per clip: the columns of its list, the signals, hashes of the file and of
    its video packets, and the signature for near-duplicates; text has the signals only. A table is
    a list too, for batch run and for curation.
    """
    console = Console(quiet=quiet, verbose=verbose)
    if output == "":
        raise typer.BadParameter("-o has an empty name: give a file or -")
    path = None if output in (None, "-") else Path(str(output))
    suffix = "" if path is None else path.suffix.lower()
    format_name = resolve_format(
        output_format, as_json=as_json, default=_FORMATS.get(suffix, "text")
    )
    if output is not None and ends_in_slash(output):
        raise typer.BadParameter("-o names a folder: inspect writes one table, name a file")
    if path is None and format_name == "parquet" and sys.stdout.isatty():
        raise typer.BadParameter("parquet cannot be written to a terminal: name a file with -o")
    rows = read_rows(videos, console=console, remote=remote)
    with console.exit_on_error(COULD_NOT_START):
        if cache is not None:
            refuse_unwritable(Path(cache), is_folder=True)
        if path is None:
            reject_closed_stdout()
        else:
            reject_inputs([path], [row_name(row) for row in rows])
            refuse_existing(path, overwrite=overwrite)
            refuse_unwritable(path)
        sink = _TableSink(rows, format_name, path, overwrite=overwrite)
        from seedvideo.config import SamplingConfig

    sampling = SamplingConfig(analysis=analysis)
    clips = _OpenClip(rate_to_fraction(source_fps), cache, console.update_progress)

    def work(_index: int, item: Item) -> str:
        with remote.locate(item) as located:
            window = sampling.with_window(start_s=item.start_s, end_s=item.end_s)
            reader = clips.open(item.source, located)
            row = reader.measure(window)
            if format_name != "text":
                row |= reader.identify(window, with_signature=not no_signature)
            return json.dumps(row)

    with closing(clips):
        run_each(console, rows, work, sink=sink, render_failed=_render_failed)


def _render_failed(_name: str, error: Exception, _spent_s: float) -> str:
    from seedvideo.records import error_record

    failed = error_record(error)
    return json.dumps({"error": f"{failed.code}: {failed.message}"})


class _OpenClip:
    """The video that was opened last: rows with windows of one video follow one another.

    Args:
        source_fps: frame rate of a raw stream without timestamps.
        cache: folder of cached analyses.
        progress: receives the analysed fraction.
    """

    def __init__(
        self, source_fps: Fraction | None, cache: str | None, progress: "ProgressCallback"
    ) -> None:
        self._source_fps, self._cache, self._progress = source_fps, cache, progress
        self._opened = ExitStack()
        self._source: str | None = None
        self._reader: SignalReader | None = None

    def open(self, source: str, located: "VideoInput") -> "SignalReader":
        """Open a video, unless it is open already.

        Args:
            source: name of the video.
            located: what is opened.
        """
        from seedvideo import api
        from seedvideo.batch.signal_table import SignalReader

        if self._reader is None or source != self._source:
            self.close()
            clip = self._opened.enter_context(
                api.open(
                    located,
                    source_fps=self._source_fps,
                    cache=self._cache,
                    progress=self._progress,
                )
            )
            self._source, self._reader = source, SignalReader(clip)
        return self._reader

    def close(self) -> None:
        """Close the video."""
        self._source = self._reader = None
        self._opened.close()


class _TableSink:
    """Table of all clips, to stdout or to a file that gets its name when the work ends.

    Results come as JSON objects of the signals.

    Args:
        rows: the clips.
        format_name: format of the table.
        path: the file; None for stdout.
        overwrite: replace an existing file.
    """

    def __init__(
        self, rows: list[Row], format_name: str, path: Path | None, *, overwrite: bool
    ) -> None:
        from seedvideo.batch import export_tables, signal_table

        folder = None if path is None else str(path.parent.resolve())
        self._places = [
            signal_table.place_row(row, folder=folder)
            if isinstance(row, Item)
            else {"id": row.name}
            for row in rows
        ]
        if path is None and sys.stdout.isatty():
            self._places = [
                {
                    printable(name): printable(value) if isinstance(value, str) else value
                    for name, value in row.items()
                }
                for row in self._places
            ]
        self._suffix = ".jsonl" if format_name == "json" else f".{format_name}"
        is_parquet = format_name == "parquet"
        if is_parquet:
            export_tables.require_package()
        self._columns = signal_table.columns_of(self._places, types=is_parquet)
        self._path, self._overwrite = path, overwrite
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        from seedvideo.batch.signal_table import TextTable
        from seedvideo.batch.table_writer import RowWriter

        if self._path is None:
            file = cast(BinaryIO, BinaryStdout())
        else:
            file = self._stack.enter_context(writing(self._path, overwrite=self._overwrite))
        self._table: TextTable | RowWriter
        if self._suffix == ".text":
            self._table = TextTable(file)
        else:
            self._table = RowWriter(file, self._suffix, self._columns)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After Ctrl-C the finished rows are kept; after any other error the file is incomplete.
        if error is None or isinstance(error, KeyboardInterrupt):
            with self._stack:
                self._table.finish()
        else:
            self._table.abandon()
            self._stack.__exit__(kind, error, trace)

    def check(self, index: int) -> None:
        """Accept every result."""

    def write(self, index: int, text: str) -> None:
        """Write the row of a clip."""
        signals: dict[str, Any] = json.loads(text)
        self._table.write({**dict.fromkeys(self._columns), **self._places[index], **signals})

    def write_failed(self, index: int, text: str) -> None:
        """Write the row of a failed clip: its place and its error."""
        self.write(index, text)
