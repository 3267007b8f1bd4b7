"""Writer of tables as CSV, JSON lines or parquet, by the suffix of the file.

Columns keep their names, order and values. JSON has no dates, bytes and infinite numbers: these
become texts. CSV has nested values as JSON. A text that a spreadsheet would run gets a quote before
it, except where the input was CSV, whose cells are written as they were. Parquet columns keep the
types of parquet files; those of other files get the type that fits all their values.

A file gets its name only when it is complete and on disk.

Separate from `seedvideo.curation.table`, which would exceed 500 lines with it.
"""

import base64
import csv
import datetime
import io
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from seedvideo.batch.export_tables import require_package
from seedvideo.batch.inputs import PATH_COLUMNS
from seedvideo.curation.table import NUMBER_COLUMNS, TableFile, TableRow
from seedvideo.curation.values import to_number, to_text
from seedvideo.errors import ConfigError, OutputError
from seedvideo.utils.addresses import is_address
from seedvideo.utils.files import refuse_existing, refuse_unwritable, writing
from seedvideo.utils.text import printable
from seedvideo.writers import neutralize_formula

OUTPUT_SUFFIXES: Final = (".csv", ".jsonl", ".parquet")
"""Suffixes of tables that can be written."""

_GROUP_ROWS: Final = 1_000
"""Rows of a row group of parquet, held in memory together."""

_TEXT_COLUMNS: Final = frozenset(
    (
        *("id", "path", "video", "source", "start", "end", "caption", "text", "question", "query"),
        *("sha256", "packets_sha256", "signature", "error"),
    )
)
"""Columns of CSV that are texts, even if all their cells are digits."""

_INTEGER: Final = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")


def check_output(path: Path, *, overwrite: bool, option: str) -> None:
    """Refuse an output that cannot be written, before any work.

    Raises:
        ConfigError: ``config.invalid`` for another suffix; ``config.package_missing``.
        OutputError: ``output.exists`` or ``output.unwritable``.
    """
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise ConfigError(
            "config.invalid",
            f"{option} is {printable(str(path))!r}, expected a name that ends in .csv, .jsonl or"
            " .parquet",
        )
    if path.suffix.lower() == ".parquet":
        require_package()
    refuse_existing(path, overwrite=overwrite)
    refuse_unwritable(path)


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


class ColumnSurvey:
    """Names of the columns of all rows, in the order in which they first occur, and their types.

    Args:
        types: whether to find types too, which takes longer.
    """

    def __init__(self, *, types: bool) -> None:
        self._types = types
        self._layouts: set[tuple[str, ...]] = set()
        self._kinds: dict[str, set[str]] = {}

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._kinds)

    def add(self, fields: Mapping[str, Any], *, is_text: bool) -> None:
        """Add a row.

        Args:
            fields: its columns.
            is_text: whether it comes from a file in which all values are texts.
        """
        names = tuple(fields)
        if names not in self._layouts:
            self._layouts.add(names)
            for name in names:
                self._kinds.setdefault(name, set())
        if self._types:
            for name, value in fields.items():
                kind = _cell_kind(name, value) if is_text else _value_kind(value)
                if kind:
                    self._kinds[name].add(kind)

    def kind(self, name: str) -> str:
        """Return the type that fits all values of a column."""
        kinds = self._kinds.get(name, set())
        if not kinds:
            return "number" if name in NUMBER_COLUMNS else "text"
        if len(kinds) == 1:
            return next(iter(kinds))
        if kinds == {"integer", "number"}:
            return "number"
        return "json" if kinds & {"json", "numbers", "texts"} else "text"


def _cell_kind(name: str, cell: str) -> str:
    if cell == "":
        return ""
    if name in _TEXT_COLUMNS:
        return "text"
    if _INTEGER.fullmatch(cell):
        return "integer"
    if _DECIMAL.fullmatch(cell):
        return "number"
    return "flag" if cell in ("true", "false") else "text"


def _value_kind(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**63 else "text"
    if isinstance(value, float):
        return "number"
    if isinstance(value, list) and value:
        if all(isinstance(each, float) for each in value):
            return "numbers"
        if all(isinstance(each, str) for each in value):
            return "texts"
    return "json" if isinstance(value, list | dict) else "text"


class TableWriter:
    """Writes the rows of one table; use it in a ``with`` statement.

    Args:
        path: file to write; its suffix selects the form.
        survey: columns of the rows.
        added: columns that are written besides, with their types: ``text``, ``integer``,
            ``number`` or ``texts``.
        sources: files that the rows come from.
        overwrite: whether to replace an existing file.
    """

    def __init__(
        self,
        path: Path,
        survey: ColumnSurvey,
        *,
        added: Mapping[str, str],
        sources: Sequence[TableFile] = (),
        overwrite: bool = False,
    ) -> None:
        self._path = path
        self._survey = survey
        self._added = added
        self._sources = sources
        self._first = [name for name in ("id",) if name in added]
        self._names = list(dict.fromkeys([*self._first, *survey.names, *added]))
        self._overwrite = overwrite
        self._group: list[dict[str, Any]] = []
        self._suffix = path.suffix.lower()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            file = writing(self._path, overwrite=self._overwrite)
            self._stream = stack.enter_context(file)
            if self._suffix == ".csv":
                self._stream.write(_csv_line(self._names))
            elif self._suffix == ".parquet":
                self._open_parquet()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            with self._stack:
                if self._suffix == ".parquet":
                    self._write_group()
                    self._parquet.close()
            return
        if self._suffix == ".parquet":
            # The file is discarded; what its end meets does not matter.
            with suppress(OSError):
                self._parquet.close()
        self._stack.__exit__(kind, error, trace)

    def write(self, fields: Mapping[str, Any], *, is_text: bool = False) -> None:
        """Write a row.

        Args:
            fields: its columns; missing ones are empty.
            is_text: whether it comes from CSV.
        """
        if self._suffix == ".jsonl":
            values = {name: _to_json_value(fields[name]) for name in self._names if name in fields}
            line = json.dumps(values, ensure_ascii=True, allow_nan=False)
            self._stream.write(line.encode("ascii") + b"\n")
        elif self._suffix == ".csv":
            added = self._added
            self._stream.write(
                _csv_line(
                    _to_cell(fields.get(name), name, keep=is_text and name not in added)
                    for name in self._names
                )
            )
        else:
            self._group.append({name: fields.get(name) for name in self._names})
            if len(self._group) == _GROUP_ROWS:
                self._write_group()

    def _open_parquet(self) -> None:
        import pyarrow
        import pyarrow.parquet

        types = {
            "text": pyarrow.string(),
            "json": pyarrow.string(),
            "integer": pyarrow.int64(),
            "number": pyarrow.float64(),
            "numbers": pyarrow.list_(pyarrow.float64()),
            "texts": pyarrow.list_(pyarrow.string()),
            "flag": pyarrow.bool_(),
        }
        stored = {}
        if self._sources and all(file.suffix == ".parquet" for file in self._sources):
            schemas = [pyarrow.parquet.read_schema(file.path) for file in self._sources]
            try:
                unified = pyarrow.unify_schemas(schemas, promote_options="permissive")
            except pyarrow.ArrowException:
                # Types that do not fit together are written as texts.
                unified = pyarrow.schema([])
            stored = {field.name: field.type for field in unified}
        self._kinds = {
            name: self._added.get(name, self._survey.kind(name))
            for name in self._names
            if name in self._added or name not in stored
        }
        schema = pyarrow.schema(
            [
                (name, types[self._kinds[name]] if name in self._kinds else stored[name])
                for name in self._names
            ]
        )
        self._schema = schema
        self._parquet = pyarrow.parquet.ParquetWriter(self._stream, schema, compression="zstd")

    def _write_group(self) -> None:
        import pyarrow

        if not self._group:
            return
        rows = [
            {
                name: _to_typed(value, self._kinds[name]) if name in self._kinds else value
                for name, value in row.items()
            }
            for row in self._group
        ]
        self._parquet.write_table(pyarrow.Table.from_pylist(rows, schema=self._schema))
        self._group.clear()


def _csv_line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _to_cell(value: Any, name: str, *, keep: bool) -> str:
    """Return a value as a cell; ``keep`` is for cells that came from CSV."""
    if value is None:
        return ""
    if keep:
        return str(value)
    if isinstance(value, str):
        if to_number(value) is not None:
            return value
        if name in PATH_COLUMNS and neutralize_formula(value) != value:
            return f"./{value}"
        return neutralize_formula(value)
    if isinstance(value, bool | int | float):
        return to_text(value)
    plain = _to_json_value(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=True)


def _to_json_value(value: Any) -> Any:
    """Convert a value to JSON types."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): _to_json_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        if value and all(isinstance(each, tuple) and len(each) == 2 for each in value):
            # A map of parquet.
            return {str(name): _to_json_value(each) for name, each in value}
        return [_to_json_value(each) for each in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _to_typed(value: Any, kind: str) -> Any:
    """Convert a value to the type of its column of parquet."""
    if value is None or (value == "" and kind not in ("text", "json")):
        return None
    if kind == "integer":
        return int(value)
    if kind == "number":
        return float(value)
    if kind == "flag":
        return value == "true" if isinstance(value, str) else value
    if kind in ("numbers", "texts"):
        return value
    plain = _to_json_value(value)
    if not isinstance(plain, str):
        is_nested = isinstance(plain, list | dict)
        is_json = kind == "json" or is_nested
        plain = json.dumps(plain, ensure_ascii=True) if is_json else to_text(plain)
    return plain.encode("utf-8", "backslashreplace").decode("utf-8")


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
