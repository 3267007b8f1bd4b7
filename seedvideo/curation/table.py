"""Rows of the tables that curation reads: lists of videos with any columns, and exports of jobs.

A table is one or more files (CSV, JSON lines, parquet, text), read as a stream, as often as needed.
Columns may be nested, as in an export: ``duration_s`` is also found in ``quality`` or ``media``,
and a column of the user in ``extra``; ``plan.frames`` names a field of another column. The caption
of a clip is ``caption`` or ``text``.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import Any, Final, NamedTuple

from seedvideo.batch.container_rows import is_local_container
from seedvideo.batch.export_tables import EVENT_COUNT
from seedvideo.batch.inputs import PATH_COLUMNS
from seedvideo.batch.manifest import (
    MANIFEST_SUFFIXES,
    HashSet,
    read_columns,
    read_manifest,
)
from seedvideo.batch.manifest_check import validate_manifest
from seedvideo.errors import ConfigError, InputError, OutputError, suggestion
from seedvideo.sampler.quality import QUALITY_FIELDS
from seedvideo.utils.addresses import is_address
from seedvideo.utils.text import printable
from seedvideo.utils.values import is_empty, to_text

NESTED_COLUMNS: Final = ("quality", "media", "extra")
"""Columns whose fields are found by their own names, in this order."""

CAPTION_COLUMNS: Final = ("caption", "text")
"""Columns of the caption of a clip; each is found by the other's name too."""

NUMBER_COLUMNS: Final = QUALITY_FIELDS
"""Numbers that ``seedvideo inspect`` adds to a table."""

_NUMBERS: Final = frozenset(NUMBER_COLUMNS)

EVENTS: Final = "events"
"""Signal with the name of another column of an export: its captions."""

SIGNAL_COLUMNS: Final = frozenset((*NUMBER_COLUMNS, "sha256", "packets_sha256", "signature"))
"""All columns that ``seedvideo inspect`` adds to a table."""

_FAILED_STATES: Final = ("failed", "quarantined", "filtered")
"""States of the rows of an export that have no result."""

_SHOWN_TABLES: Final = 5
_SHOWN_COLUMNS: Final = 20
"""Numbers of tables and columns that a hint names."""

_MAX_LAYOUTS: Final = 256
"""Maximum number of remembered sets of column names."""


class Layout(NamedTuple):
    """Names of the columns with a meaning in one kind of row; empty if it has none.

    Args:
        paths: names of all columns that may hold the path.
        id: name of the column of the id.
        start: name of the column of the start of the window.
        end: name of the column of its end.
    """

    paths: tuple[str, ...]
    id: str
    start: str
    end: str


@lru_cache(maxsize=_MAX_LAYOUTS)
def find_layout(names: tuple[str, ...]) -> Layout:
    """Return the columns with a meaning, also in other cases and between blanks."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name if name in PATH_COLUMNS else name.strip().lower(), name)
    paths = tuple(found[name] for name in PATH_COLUMNS if name in found)
    return Layout(paths, *(found.get(name, "") for name in ("id", "start", "end")))


@dataclass(frozen=True)
class TableFile:
    """One file of a table.

    Args:
        path: its path.
        name: its name as given, for people.
    """

    path: Path
    name: str

    @property
    def suffix(self) -> str:
        """Suffix in small letters, with the dot."""
        return self.path.suffix.lower()

    @property
    def is_text(self) -> bool:
        """Whether all values are texts."""
        return self.suffix in (".csv", ".txt")

    @property
    def state(self) -> tuple[int, int]:
        """Size in bytes and time of the last change in nanoseconds; -1 without the file."""
        try:
            found = os.stat(self.path)
        except OSError:
            return -1, -1
        return found.st_size, found.st_mtime_ns


class TableRow(NamedTuple):
    """One row of a table.

    Args:
        file: file that holds it.
        where: its position, for people.
        fields: its columns; empty if it is unreadable.
        layout: its columns with a meaning.
        error: why it is unreadable; empty if it is valid.
    """

    file: TableFile
    where: str
    fields: Mapping[str, Any]
    layout: Layout
    error: str = ""

    @property
    def path_column(self) -> str:
        """Name of the column that holds the path."""
        return next(name for name in self.layout.paths if not is_empty(self.fields[name]))

    @property
    def path(self) -> str:
        """Path or address of the video, as written."""
        return str(self.fields[self.path_column])

    @property
    def id(self) -> str:
        """Identity of the clip: its id, or its path with its window."""
        own = self.fields.get(self.layout.id)
        if not is_empty(own):
            return to_text(own)
        start, end = self.window
        return self.path if not (start or end) else f"{self.path}@{start}-{end}"

    @property
    def window(self) -> tuple[str, str]:
        """Start and end of the window as written; empty without one."""
        return self._text(self.layout.start), self._text(self.layout.end)

    def _text(self, name: str) -> str:
        value = self.fields.get(name)
        return "" if is_empty(value) else to_text(value)

    def get(self, name: str) -> Any:
        """Return the value of a column; None if it is empty or missing."""
        found = find_value(self.fields, name)
        return None if found is MISSING else found


MISSING: Final = object()
"""Value of a column that a row does not have."""


def find_value(fields: Mapping[str, Any], name: str) -> Any:
    """Return the value of a column of a row, nested or not; `MISSING` if it has none."""
    found = _find_signal(fields, name) if name in _NUMBERS else fields.get(name, MISSING)
    if found is not MISSING:
        return found
    for outer in NESTED_COLUMNS:
        inner = fields.get(outer)
        if inner:
            found = _to_mapping(inner).get(name, MISSING)
            if found is not MISSING:
                return found
    outer, dot, rest = name.partition(".")
    if dot and outer in fields:
        return find_value(_to_mapping(fields[outer]), rest)
    if name in CAPTION_COLUMNS:
        other = CAPTION_COLUMNS[1 - CAPTION_COLUMNS.index(name)]
        return fields.get(other, MISSING)
    return MISSING


def _find_signal(fields: Mapping[str, Any], name: str) -> Any:
    """Return a signal; in an export of a job the columns of its name may be something else.

    ``quality`` has the signals of the clip, where the table has the duration of the file, and its
    captions as ``events``. The export as CSV names their number ``event_count``.
    """
    inner = fields.get("quality")
    if inner:
        found = _to_mapping(inner).get(name, MISSING)
        if found is not MISSING:
            return found
    if name == EVENTS and EVENT_COUNT in fields:
        return fields[EVENT_COUNT]
    found = fields.get(name, MISSING)
    return MISSING if isinstance(found, list) else found


def _to_mapping(value: Any) -> Mapping[str, Any]:
    """Return a nested column as a mapping: maps of parquet are pairs, those of CSV are JSON."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, str) and value.startswith("{"):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return {}
        return parsed if isinstance(parsed, dict) else {}
    if isinstance(value, list) and all(
        isinstance(each, tuple) and len(each) == 2 for each in value
    ):
        return dict(value)
    return {}


def open_tables(names: Sequence[str]) -> list[TableFile]:
    """Check the files of a table as a whole.

    Args:
        names: paths of the files.

    Raises:
        ConfigError: ``config.invalid`` if one is not a table on this machine;
            ``config.package_missing`` if parquet cannot be read.
        InputError: ``input.not_found`` or ``input.not_a_file``.
        BatchError: ``batch.manifest_invalid``.
    """
    files = []
    for name in names:
        path, display_name = Path(name), printable(name)
        if path.suffix.lower() not in MANIFEST_SUFFIXES or is_local_container(name):
            raise ConfigError(
                "config.invalid",
                f"{display_name} is not a table of clips, expected .csv, .jsonl, .parquet or .txt",
                hint=f"make one: seedvideo inspect {quote(display_name)} -f jsonl -o clips.jsonl",
            )
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise InputError(
                "input.not_found",
                f"{display_name}: no such file",
                hint="check the name and the folder",
            ) from error
        if not stat.S_ISREG(mode):
            raise InputError(
                "input.not_a_file",
                f"{display_name} is not a regular file; a table is read twice",
                hint="save the stream to a file first",
            )
        validate_manifest(path, display_name=display_name, path_columns=PATH_COLUMNS)
        files.append(TableFile(path, display_name))
    return files


def iter_rows(files: Sequence[TableFile]) -> Iterator[TableRow]:
    """Yield all rows of a table in their order.

    Rows that cannot be used have an error: unreadable ones, those without a path, and those whose
    id was there before. A repeated path without an id gets ``#2``, ``#3`` appended, as in a job.
    """
    ids = HashSet()
    repeats: dict[str, int] = {}
    for file in files:
        for where, fields in read_manifest(file.path, display_name=file.name):
            if isinstance(fields, str):
                yield TableRow(file, where, {}, Layout((), "", "", ""), printable(fields))
                continue
            layout = find_layout(tuple(fields))
            row = TableRow(file, where, fields, layout)
            error = _find_problem(row)
            if not error and not ids.add(row.id):
                if not is_empty(fields.get(layout.id)):
                    error = f"the id {printable(row.id[:200])} was there before"
                else:
                    row = _with_free_id(row, ids, repeats)
            yield row._replace(error=error) if error else row


def _find_problem(row: TableRow) -> str:
    count = sum(not is_empty(row.fields[name]) for name in row.layout.paths)
    if count != 1:
        return f"{count} of the columns path, video, source have a value, expected one"
    if not isinstance(row.fields[row.path_column], str):
        return f"{row.path_column} is not a text"
    return ""


def _with_free_id(row: TableRow, ids: HashSet, repeats: dict[str, int]) -> TableRow:
    name = row.id
    while True:
        repeats[name] = repeats.get(name, 1) + 1
        free = f"{name}#{repeats[name]}"
        if ids.add(free):
            fields = {"id": free, **{key: row.fields[key] for key in row.fields if key != "id"}}
            return row._replace(fields=fields, layout=find_layout(tuple(fields)))


def missing_column_error(files: Sequence[TableFile], name: str, option: str) -> ConfigError:
    """Return the error for a column that no row of a table has.

    Args:
        files: files of the table.
        name: name of the column.
        option: option that needs it.
    """
    named = ", ".join(file.name for file in files[:3]) + (", ..." if len(files) > 3 else "")
    existing = _columns_of(files[0])
    if name.rpartition(".")[2] in SIGNAL_COLUMNS:
        tables = " ".join(quote(file.name) for file in files[:_SHOWN_TABLES])
        more = " ..." if len(files) > _SHOWN_TABLES else ""
        hint = f"add it: seedvideo inspect {tables}{more} -f jsonl -o inspected.jsonl"
    elif name in CAPTION_COLUMNS:
        hint = "caption the clips first: seedvideo batch run, then batch export -f jsonl"
    else:
        hint = suggestion(name, {*SIGNAL_COLUMNS, *existing}) or (
            f"name one of {', '.join(map(printable, existing[:_SHOWN_COLUMNS]))}"
        )
    return ConfigError(
        "config.column_missing",
        f"{option} needs the column {printable(name)!r}, which {named} does not have",
        hint=hint,
    )


def _columns_of(file: TableFile) -> list[str]:
    """Return the names of the columns of a file, those of JSON lines from its first row."""
    if file.suffix in (".csv", ".parquet"):
        return read_columns(file.path, display_name=file.name)
    for _, fields in read_manifest(file.path, display_name=file.name):
        if not isinstance(fields, str):
            return list(fields)
    return []


def parquet_types(files: Sequence[TableFile]) -> dict[str, Any]:
    """Return the types of the columns of parquet files; none if they do not fit together.

    Args:
        files: files of a table; there are no types if one of them is not parquet.
    """
    if not all(file.suffix == ".parquet" for file in files):
        return {}
    import pyarrow
    import pyarrow.parquet

    schemas = [pyarrow.parquet.read_schema(file.path) for file in files]
    try:
        unified = pyarrow.unify_schemas(schemas, promote_options="permissive")
    except pyarrow.ArrowException:
        return {}
    return {field.name: field.type for field in unified}


def find_failure(row: TableRow) -> str:
    """Return why the clip of a row has no result, by its own columns; empty if it has one."""
    error = row.fields.get("error")
    state = row.fields.get("state")
    reason = error if error else row.fields.get("filtered")
    if isinstance(reason, Mapping):
        reason = " ".join(
            str(reason[name]) for name in ("code", "rule", "message") if reason.get(name)
        )
    if error:
        return printable(to_text(reason))
    if state in _FAILED_STATES:
        return f"{state}: {printable(to_text(reason))}" if reason else str(state)
    return ""


def parse_domains(value: Any) -> Sequence[str]:
    """Return the domains of a value: those of a list, or the value itself; none if it is empty."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return (value,)
    if isinstance(value, list | tuple):
        return [to_text(each) for each in value if not is_empty(each)]
    return () if is_empty(value) else (to_text(value),)


def refuse_same_paths(tables: Sequence[str], outputs: Mapping[str, Path | None]) -> None:
    """Refuse two outputs with one path, and an output that would replace a table.

    Args:
        tables: files that are read.
        outputs: files that are written, by their options; None for those that are not.

    Raises:
        OutputError: ``output.is_input``.
        ConfigError: ``config.invalid``.
    """
    taken: dict[str, str] = {}
    read = {os.path.realpath(table) for table in tables}
    for option, path in outputs.items():
        if path is None:
            continue
        real = os.path.realpath(path)
        if real in read:
            raise OutputError(
                "output.is_input",
                f"{option} {printable(str(path))} is one of the tables",
                hint="name another file for the result",
            )
        if real in taken:
            raise ConfigError(
                "config.invalid",
                f"{taken[real]} and {option} name the same file, {printable(str(path))}",
                hint="name one file for each",
            )
        taken[real] = option


def relocate(row: TableRow, output: Path) -> Mapping[str, Any]:
    """Return the columns of a row with a path that holds in the folder of another table."""
    source, target = row.file.path.parent, output.parent
    path = row.path
    if os.path.isabs(path) or is_address(path) or _is_same(source, target):
        return row.fields
    moved = os.path.relpath(os.path.join(os.path.abspath(source), path), os.path.abspath(target))
    return {**row.fields, row.path_column: moved}


def _is_same(one: Path, other: Path) -> bool:
    return one == other or os.path.abspath(one) == os.path.abspath(other)
