"""Rows and clips of a job, as an exporter receives them: one of seedvideo, or of another package.

All reads are as of one moment, in the order of the inputs, and one clip at a time.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

from seedvideo.batch.export_tables import CSV_COLUMNS
from seedvideo.batch.extra_columns import format_extra, parse_extra
from seedvideo.batch.inputs import KNOWN_COLUMNS, Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import JournalEntry
from seedvideo.batch.manifest import read_manifest
from seedvideo.batch.parts import settings_sha256
from seedvideo.clips.cutting import Cut
from seedvideo.datasets.clips import ClipFile, ClipOpener, is_window
from seedvideo.datasets.rows import (
    FILE_COLUMNS,
    RowBuilder,
    arrow_row,
    copy_id,
    copy_row,
    cut_row,
    encodable,
    json_row,
)
from seedvideo.datasets.schema import COLUMNS, arrow_schema
from seedvideo.errors import BatchError, ConfigError
from seedvideo.records import Record
from seedvideo.utils.addresses import safe_name
from seedvideo.utils.files import short_hash
from seedvideo.utils.text import printable
from seedvideo.writers import escape_name

DEFAULT_SHARD_GIB: Final = 1.0
"""Size at which a shard is closed; 0.5 to 3 GiB suit most loaders."""

_KNOWN: Final = frozenset((*KNOWN_COLUMNS, *COLUMNS, *CSV_COLUMNS, *Record.model_fields))
"""Columns of a table of chosen clips that the job has itself."""

_CHOSEN: Final = frozenset(
    ("domain", "concepts", "repeats", "keep_reason", "duplicate_of", "duplicate_distance")
)
"""Columns that curation adds, which are used although a dataset has them too."""


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """What a dataset holds.

    Args:
        overwrite: replace an earlier dataset.
        shard_gib: size at which a shard is closed.
        with_bytes: store the bytes of clips, in a form that can also hold their addresses.
        with_sheets: store the contact sheets of clips.
        with_copies: write a clip with ``repeats`` of N as N clips.
        rows: table of the clips to export, such as ``seedvideo curate`` writes; None for all.
        licence: licence of the data, for the card on the Hub.
        cut: how clips that are windows of longer videos become files; None to refuse them.

    Raises:
        ConfigError: ``config.invalid`` if the size of shards is not above zero.
    """

    overwrite: bool = False
    shard_gib: float = DEFAULT_SHARD_GIB
    with_bytes: bool = True
    with_sheets: bool = False
    with_copies: bool = False
    rows: Path | None = None
    licence: str = "unknown"
    cut: Cut | None = None

    def __post_init__(self) -> None:
        if not 0 < self.shard_gib < float("inf"):
            raise ConfigError(
                "config.invalid", f"shard_gib is {self.shard_gib}, expected a number above 0"
            )

    @property
    def shard_bytes(self) -> int:
        """Size at which a shard is closed, in bytes."""
        return int(self.shard_gib * 2**30)


@dataclass(frozen=True, kw_only=True)
class DatasetClip:
    """One clip of a job.

    Args:
        row: its columns, as `seedvideo.datasets.schema.COLUMNS` lists them.
        entry: its entry in the journal.
        opener: opens its file.
    """

    row: Mapping[str, Any]
    entry: JournalEntry
    opener: ClipOpener

    def arrow_row(self) -> dict[str, Any]:
        """Return the row as `DatasetSource.arrow_schema` takes it."""
        return arrow_row(self.row, COLUMNS)

    @property
    def is_done(self) -> bool:
        """Whether it has a result."""
        return self.entry.state == "done"

    @property
    def is_window(self) -> bool:
        """Whether it is a window of a longer video, and has no file of its own."""
        return is_window(self.opener.job, self.entry.item)

    @property
    def sheet(self) -> bytes | None:
        """Contact sheet as JPEG, if the job has one and it was asked for."""
        return self.entry.sheet

    @property
    def key(self) -> str:
        """Name of its files, which depends on its id only; ids may hold dots and slashes."""
        return short_hash(self.row["id"])

    def open(self) -> AbstractContextManager[ClipFile]:
        """Open its file; use it in a ``with`` statement.

        Raises:
            SeedVideoError: if it cannot be read; ``input.changed`` if it was replaced.
        """
        return self.opener.open(self.entry, sha256=self.row["source_sha256"])

    def stored_row(self, file: ClipFile) -> dict[str, Any]:
        """Return its row for a dataset that holds this file, all of which was read.

        The row of a whole file gets its hash and size. That of a file that was cut states the
        window that it holds, and all times in it are those of the file.
        """
        if file.cut_facts is None:
            return {
                **self.row,
                **dict(zip(FILE_COLUMNS, (file.sha256, file.size_bytes), strict=True)),
            }
        return cut_row(self.row, file.cut_facts)


@dataclass
class Tally:
    """Counts and hash over the rows of a dataset."""

    rows: int = 0
    states: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    models: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row."""
        self.rows += 1
        self.states[row["state"]] += 1
        if row["filtered"] is not None:
            self.filtered[row["filtered"]["rule"]] += 1
        if row["error"] is not None:
            self.failures[row["error"]["code"]] += 1
        if row["model"] is not None:
            self.models[row["model"]] = row["model_sha256"]
        self._hash.update(json_row(row) + b"\n")

    def to_values(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "rows": self.rows,
            "rows_sha256": self._hash.hexdigest(),
            "states": dict(sorted(self.states.items())),
            "filtered": dict(sorted(self.filtered.items())),
            "failures": dict(sorted(self.failures.items())),
            "models": dict(sorted(self.models.items())),
        }


class DatasetSource:
    """The clips of a job and their rows.

    Args:
        journal: journal opened to read, inside `Journal.snapshot`.
        job: settings of the job.
        opener: opens the files of clips.
        options: what the dataset holds.

    Raises:
        SeedVideoError: if the table of chosen clips cannot be read.
    """

    def __init__(
        self, journal: Journal, job: Job, opener: ClipOpener, options: DatasetOptions
    ) -> None:
        self._journal, self._opener = journal, opener
        self._builder = RowBuilder(job)
        self._chosen = None if options.rows is None else _ChosenRows(options.rows, journal)
        self._taken = _find_copy_ids(journal) if options.with_copies else frozenset()
        self.job = job
        self.options = options

    @property
    def unknown_rows(self) -> int:
        """Rows of the table of chosen clips that are not of clips of this job."""
        return 0 if self._chosen is None else self._chosen.unknown

    def clips(self) -> Iterator[DatasetClip]:
        """Yield the clips in the order of the inputs, whatever their states; copies follow.

        Raises:
            BatchError: ``batch.journal_damaged``.
        """
        for entry in self._journal.entries(sheets=self.options.with_sheets):
            for row in self._rows(entry):
                yield DatasetClip(row=row, entry=entry, opener=self._opener)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows alone."""
        return (clip.row for clip in self.clips())

    def arrow_schema(self) -> Any:
        """Return the columns as a pyarrow schema.

        Raises:
            ConfigError: ``config.package_missing`` without pyarrow.
        """
        return arrow_schema()

    def windows(self) -> Iterator[str]:
        """Yield the ids of chosen clips that are done and are windows of longer videos."""
        for entry in self._journal.entries(sheets=False):
            if (
                entry.state == "done"
                and is_window(self.job, entry.item)
                and self._is_chosen(entry.item)
            ):
                yield entry.item.id

    def facts(self) -> dict[str, Any]:
        """Return JSON values that identify the job: hashes of its settings and its weights."""
        model_sha256 = self._journal.get_meta("model_sha256") or ""
        return {
            "task": self.job.task,
            "settings_sha256": settings_sha256(self.job, model_sha256),
            "model_sha256": model_sha256,
        }

    def _is_chosen(self, item: Item) -> bool:
        return self._chosen is None or bool(self._chosen.rows_of(item.id))

    def _rows(self, entry: JournalEntry) -> Iterator[dict[str, Any]]:
        """Yield the rows of an entry: none if it was not chosen, several for copies."""
        if self._chosen is None:
            yield from self._copies(self._builder.build(entry))
            return
        chosen = self._chosen.rows_of(entry.item.id)
        for number, added in chosen:
            row = self._builder.build(entry, parse_extra(added))
            if len(chosen) == number == 1:
                yield from self._copies(row)
            else:
                # The table has its copies as rows.
                yield copy_row(row, copy_id(row["id"], number))

    def _copies(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not self.options.with_copies or row["state"] != "done":
            yield row
            return
        names = (copy_id(row["id"], number) for number in count(1))
        free = (name for name in names if name == row["id"] or name not in self._taken)
        for name in islice(free, row["repeats"]):
            yield copy_row(row, name)


class _ChosenRows:
    """Rows of a table of chosen clips, by the clips of the job that they are of.

    A row is of the clip with its id. If there is none, it is a copy of the clip whose id it has
    without ``~`` and a number. Parquet and CSV escape what they cannot hold, or should not run, in
    an id (`encodable`, `seedvideo.writers.escape_name`): that is the same id.

    Args:
        path: the table.
        journal: journal of the job.

    Raises:
        BatchError: ``batch.rows_unknown`` if no row is of a clip of the job.
        SeedVideoError: as `_read_chosen` does.
    """

    def __init__(self, path: Path, journal: Journal) -> None:
        table = _read_chosen(path)
        ids = {name: name for name in table}
        ids |= {found["id"]: found["id"] for found in map(_COPY_ID.fullmatch, table) if found}
        clips: dict[str, str] = {}
        for entry in journal.entries(sheets=False):
            clip_id = entry.item.id
            if clip_id in ids:
                clips[clip_id] = clip_id
                continue
            for spelled in (encodable(clip_id), escape_name(clip_id)):
                if spelled in ids:
                    clips.setdefault(spelled, clip_id)
        self._rows: dict[str, list[tuple[int, str]]] = {}
        self.unknown = 0
        for name, added in table.items():
            number, found = 1, clips.get(name)
            if found is None and (copy := _COPY_ID.fullmatch(name)):
                number, found = int(copy["number"]), clips.get(copy["id"])
            if found is None:
                self.unknown += 1
            else:
                self._rows.setdefault(found, []).append((number, added))
        for rows in self._rows.values():
            rows.sort()
        if not self._rows:
            raise BatchError(
                "batch.rows_unknown",
                f"none of the {len(table):,} ids in {printable(str(path))} is a clip of the job",
                hint="name a table with the job's own ids, such as one that was made from:"
                " seedvideo batch export OUT -f jsonl",
            )

    def rows_of(self, clip_id: str) -> Sequence[tuple[int, str]]:
        """Return the rows of a clip: number of the copy, from 1, and further columns as JSON."""
        return self._rows.get(clip_id, ())


_COPY_ID: Final = re.compile(r"(?P<id>.+)~(?P<number>[1-9][0-9]{0,8})", re.DOTALL)


def _find_copy_ids(journal: Journal) -> frozenset[str]:
    """Return the ids of a job that look like those of copies."""
    ids = (entry.item.id for entry in journal.entries(sheets=False))
    return frozenset(each for each in ids if _COPY_ID.fullmatch(each))


def _read_chosen(path: Path) -> dict[str, str]:
    """Return the columns of each chosen clip as JSON, by id.

    Raises:
        BatchError: ``batch.manifest_invalid``, or ``batch.rows_invalid`` naming the line.
        InputError: ``input.not_found`` or ``input.unreadable``.
        ConfigError: ``config.package_missing`` if parquet cannot be read.
    """
    chosen: dict[str, str] = {}
    for where, row in read_manifest(path, display_name=printable(str(path))):
        clip_id = row if isinstance(row, str) else row.get("id")
        if isinstance(row, str) or not isinstance(clip_id, str | int) or clip_id == "":
            why = row if isinstance(row, str) else "it has no id"
            raise BatchError(
                "batch.rows_invalid",
                f"{where}: {printable(why)}",
                hint="each row of --rows needs the id of a clip of the job",
            )
        added = {
            name: value
            for name, value in row.items()
            # An empty cell says nothing about a column that the job's list has.
            if value not in (None, "") and (name in _CHOSEN or name not in _KNOWN)
        }
        name = safe_name(str(clip_id))
        if name in chosen:
            raise BatchError(
                "batch.rows_invalid",
                f"{where}: the id {printable(name[:200])} is there twice",
                hint=f"give a copy an id of its own: {printable(copy_id(name[:200], 2))}",
            )
        chosen[name] = format_extra(added)
    return chosen
