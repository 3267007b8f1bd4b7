"""Export a job as a dataset: one table, webdataset shards, or a folder for the Hugging Face Hub.

A form of another package is an entry point of the group ``seedvideo.exporters``
(docs/guides/datasets.md). The same job gives the same bytes.

Separate from `seedvideo.cli.batch_export`, so that programs can use it.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from seedvideo.batch.journal import Journal
from seedvideo.batch.run_job import make_fetcher
from seedvideo.clips.cutting import require_encoder
from seedvideo.datasets.clips import ClipOpener, not_cut_error
from seedvideo.datasets.folder import CARD_NAME, REST_NAME, DatasetFolder, HashedFile
from seedvideo.datasets.hub_shards import HubShards, render_card
from seedvideo.datasets.rows import (
    CUT_COLUMNS,
    CUT_EXTRA,
    FILE_COLUMNS,
    arrow_row,
    filled_columns,
    json_row,
    unreadable_row,
)
from seedvideo.datasets.schema import (
    COLUMNS,
    EXTRA,
    SCHEMA_VERSION,
    arrow_schema,
    hub_columns,
    import_arrow,
    schema_sha256,
)
from seedvideo.datasets.source import DatasetClip, DatasetOptions, DatasetSource, Tally
from seedvideo.datasets.tar_shards import TarShards
from seedvideo.environment import __version__
from seedvideo.errors import (
    BatchError,
    DecodeError,
    InputError,
    MediaError,
    OutputError,
    SeedVideoError,
)
from seedvideo.plugins import find_plugin
from seedvideo.utils.text import printable

DatasetFormat: TypeAlias = Literal["dataset", "webdataset", "hf"]
DATASET_FORMATS: Final[tuple[DatasetFormat, ...]] = get_args(DatasetFormat)

TABLE_NAME: Final = "captions.parquet"
GROUP_ROWS: Final = 10_000
"""Rows of a row group of the table."""

_HOLDS_BYTES: Final = ("webdataset", "hf")


@dataclass(frozen=True, kw_only=True)
class DatasetResult:
    """Result of an export.

    Args:
        clips: number of clips in the dataset.
        files: number of files; 0 for a form of another package.
        others: number of clips without a result, which are only listed.
        unknown: number of rows of the table of chosen clips that are not of clips of the job.
        unreadable: error of each done clip whose bytes could not be read, by id.
    """

    clips: int
    files: int = 0
    others: int = 0
    unknown: int = 0
    unreadable: dict[str, SeedVideoError] = field(default_factory=dict)


def export_dataset(
    journal: Journal,
    export_format: str,
    output: Path,
    options: DatasetOptions,
    *,
    on_progress: Callable[[int], None] = lambda count: None,
) -> DatasetResult:
    """Export a job as a dataset.

    Args:
        journal: journal opened to read; a job may still write to it.
        export_format: one of `DATASET_FORMATS`, or the name of a plugin.
        output: folder, which must be new, empty, or an earlier dataset to replace.
        options: what the dataset holds.
        on_progress: called with the number of clips so far.

    Raises:
        BatchError: ``batch.clips_not_cut`` if clips are windows of longer videos, and the options
            do not state how to cut them; ``batch.rows_unknown``; ``batch.journal_damaged``.
        ConfigError: ``config.package_missing`` if parquet needs pyarrow;
            ``config.plugin_invalid``.
        OutputError: ``output.exists``, ``output.unwritable``, ``output.disk_full``.
    """
    job = journal.job()
    if job is None:
        raise BatchError(
            "batch.no_input",
            f"{printable(str(journal.folder))} has no list of clips yet",
            hint="run the job first: seedvideo batch run INPUT... -o OUT",
        )
    with ExitStack() as stack:
        fetcher = stack.enter_context(make_fetcher(job))
        stack.enter_context(journal.snapshot())
        opener = stack.enter_context(ClipOpener(job, fetcher, cut=options.cut))
        source = DatasetSource(journal, job, opener, options)
        if export_format not in DATASET_FORMATS:
            made = _export_by_plugin(source, export_format, output)
        else:
            if export_format in _HOLDS_BYTES and options.with_bytes:
                _check_windows(source)
            write = {"dataset": _write_table, "webdataset": _write_tars, "hf": _write_hub}
            made = write[export_format](source, output, on_progress)
        return replace(made, unknown=source.unknown_rows)


def _export_by_plugin(source: DatasetSource, name: str, output: Path) -> DatasetResult:
    plugin = find_plugin("exporter", name)
    assert plugin is not None
    if os.path.lexists(output) and not source.options.overwrite:
        raise OutputError(
            "output.exists",
            f"{printable(str(output))} already exists",
            hint="choose another name, or allow it with --overwrite",
        )
    clips = plugin.call(plugin.load(), source, output)
    if isinstance(clips, bool) or not isinstance(clips, int) or clips < 0:
        raise plugin.error(f"returned {clips!r:.100}, expected the number of clips")
    return DatasetResult(clips=clips)


def _check_windows(source: DatasetSource) -> None:
    """Refuse windows of longer videos unless they are to be cut, which must be possible."""
    windows = source.windows()
    first = next(windows, None)
    if first is None:
        return
    if source.options.cut is not None:
        if source.options.cut == "exact":
            require_encoder()
        return
    raise not_cut_error(1 + sum(1 for _ in windows), first)


def _write_table(
    source: DatasetSource, output: Path, on_progress: Callable[[int], None]
) -> DatasetResult:
    """Write all rows, without videos, to one Parquet file."""
    arrow, parquet = import_arrow(), import_arrow("pyarrow.parquet")
    schema, tally = arrow_schema(), Tally()
    with DatasetFolder(output, overwrite=source.options.overwrite) as folder:
        with (
            folder.file(TABLE_NAME) as file,
            parquet.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            rows = source.rows()
            while group := list(islice(rows, GROUP_ROWS)):
                for row in group:
                    tally.add(row)
                values = [arrow_row(row, COLUMNS) for row in group]
                writer.write_table(arrow.Table.from_pylist(values, schema=schema))
                file.rows += len(group)
                on_progress(tally.rows)
        _finish(folder, source, tally, "dataset", COLUMNS)
    return DatasetResult(clips=tally.rows, files=len(folder.files) + 1)


def _write_tars(
    source: DatasetSource, output: Path, on_progress: Callable[[int], None]
) -> DatasetResult:
    """Write the clips that are done to tars, with their rows and captions."""
    options = source.options
    with DatasetFolder(output, overwrite=options.overwrite) as folder:
        with (
            folder.file(REST_NAME) as rest,
            TarShards.writing(folder, max_bytes=options.shard_bytes) as shards,
        ):
            collector = _Collector(rest, on_progress)
            for clip in source.clips():
                collector.add(clip, shards.add)
        _finish(folder, source, collector.tally, "webdataset", COLUMNS)
    return collector.result(folder)


def _write_hub(
    source: DatasetSource, output: Path, on_progress: Callable[[int], None]
) -> DatasetResult:
    """Write the clips that are done to Parquet shards, and a card."""
    import_arrow()
    options = source.options
    columns = _find_hub_columns(source)
    with DatasetFolder(output, overwrite=options.overwrite) as folder:
        with (
            folder.file(REST_NAME) as rest,
            HubShards.writing(folder, columns, max_bytes=options.shard_bytes) as shards,
        ):
            collector = _Collector(rest, on_progress)
            for clip in source.clips():
                collector.add(clip, partial(shards.add, with_bytes=options.with_bytes))
        card = render_card(
            collector.clips,
            collector.tally,
            licence=options.licence,
            with_bytes=options.with_bytes,
        )
        with folder.file(CARD_NAME) as file:
            file.write(card.encode("utf-8"))
        _finish(folder, source, collector.tally, "hf", columns)
    return collector.result(folder)


def _find_hub_columns(source: DatasetSource) -> dict[str, Any]:
    """Return the columns in which any clip that is done will have a value."""
    filled: set[str] = set()
    extra_names: set[str] = set()
    for clip in source.clips():
        if not clip.is_done:
            continue
        filled.update(filled_columns(clip.row))
        extra_names.update(clip.row[EXTRA])
        if source.options.with_bytes and clip.is_window:
            filled.update(CUT_COLUMNS)
            extra_names.update(CUT_EXTRA)
        elif source.options.with_bytes:
            filled.update(FILE_COLUMNS)
    return hub_columns(filled, extra_names)


class _Collector:
    """Adds the clips that are done to shards, and lists the others.

    Args:
        rest: file of the list.
        on_progress: called with the number of clips so far.
    """

    def __init__(self, rest: HashedFile, on_progress: Callable[[int], None]) -> None:
        self._rest, self._on_progress = rest, on_progress
        self._unreadable: dict[str, SeedVideoError] = {}
        self.clips = 0
        self.tally = Tally()

    def add(self, clip: DatasetClip, write: Callable[[DatasetClip], object]) -> None:
        """Write a clip to the shards, or list it if it has no result or cannot be read."""
        row = clip.row
        if clip.is_done:
            try:
                write(clip)
            except (InputError, MediaError, DecodeError) as error:
                row = unreadable_row(row, error)
                self._unreadable[row["id"]] = error
            else:
                self.clips += 1
        self.tally.add(row)
        if row["state"] != "done":
            self._rest.write(json_row(row) + b"\n")
            self._rest.rows += 1
        self._on_progress(self.tally.rows)

    def result(self, folder: DatasetFolder) -> DatasetResult:
        """Return what was done; `dataset.json` is one more file."""
        return DatasetResult(
            clips=self.clips,
            files=len(folder.files) + 1,
            others=self.tally.rows - self.clips - len(self._unreadable),
            unreadable=self._unreadable,
        )


def _finish(
    folder: DatasetFolder,
    source: DatasetSource,
    tally: Tally,
    form: str,
    columns: Mapping[str, Any],
) -> None:
    """Write `dataset.json`: the dataset is complete."""
    facts = {
        "format": form,
        "schema_version": SCHEMA_VERSION,
        "schema_sha256": schema_sha256(columns),
        "seedvideo": __version__,
        **source.facts(),
        **tally.to_values(),
    }
    folder.finish(facts)
