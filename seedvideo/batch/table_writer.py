"""Writer of tables of clips as CSV, JSON lines or parquet, by the suffix of the file.

The tables are lists that `seedvideo.batch.inputs` reads again. Columns keep their names, order and
values. JSON has no dates, bytes and infinite numbers: these become texts. CSV has nested values as
JSON. There a text that a spreadsheet would run gets a quote before it, and a path ``./``; cells
that come from CSV can be kept. Parquet has typed columns: the type of a column fits all its values
(`ColumnSurvey`), and bytes of a name that are not UTF-8 are escaped.

A file gets its name only when it is complete and on disk.
"""

import base64
import csv
import datetime
import io
import json
import math
import re
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Final, Self

from seedvideo.batch.export_tables import require_package
from seedvideo.batch.inputs import PATH_COLUMNS
from seedvideo.errors import ConfigError
from seedvideo.sampler.quality import QUALITY_FIELDS
from seedvideo.utils.files import refuse_existing, refuse_unwritable, writing
from seedvideo.utils.text import printable
from seedvideo.utils.values import to_number, to_text
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

    @property
    def columns(self) -> dict[str, str]:
        """Names of the columns, each with its kind."""
        return {name: self.kind(name) for name in self._kinds}

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
            return "number" if name in QUALITY_FIELDS else "text"
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


class RowWriter:
    """Writes the rows of one table to an open file; `writing_table` makes one for a path.

    Args:
        file: receives the table.
        suffix: ``.csv``, ``.jsonl`` or ``.parquet``.
        columns: names of the columns, each with its kind: ``text``, ``json``, ``integer``,
            ``number``, ``flag``, ``numbers``, ``texts``, or a type of pyarrow. Only parquet has
            kinds.
    """

    def __init__(self, file: BinaryIO, suffix: str, columns: Mapping[str, Any]) -> None:
        self._file = file
        self._suffix = suffix
        self._columns = columns
        self._group: list[dict[str, Any]] = []
        if suffix == ".csv":
            self._file.write(_csv_line(columns))
        elif suffix == ".parquet":
            self._open_parquet()

    def write(self, fields: Mapping[str, Any], *, kept: Container[str] = ()) -> None:
        """Write a row.

        Args:
            fields: its columns; missing ones are empty.
            kept: columns that come from CSV, whose cells stay as they are in CSV.
        """
        if self._suffix == ".jsonl":
            values = {
                name: _to_json_value(fields[name]) for name in self._columns if name in fields
            }
            line = json.dumps(values, ensure_ascii=True, allow_nan=False)
            self._file.write(line.encode("ascii") + b"\n")
        elif self._suffix == ".csv":
            cells = (_to_cell(fields.get(name), name, keep=name in kept) for name in self._columns)
            self._file.write(_csv_line(cells))
        else:
            self._group.append({name: fields.get(name) for name in self._columns})
            if len(self._group) == _GROUP_ROWS:
                self._write_group()

    def finish(self) -> None:
        """Write what is left. Without it a table of parquet is incomplete."""
        if self._suffix == ".parquet":
            self._write_group()
            self._parquet.close()

    def abandon(self) -> None:
        """Release an incomplete table, which is discarded."""
        if self._suffix == ".parquet":
            with suppress(OSError):
                self._parquet.close()

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
        self._schema = pyarrow.schema(
            [
                (name, types[kind] if isinstance(kind, str) else kind)
                for name, kind in self._columns.items()
            ]
        )
        self._parquet = pyarrow.parquet.ParquetWriter(self._file, self._schema, compression="zstd")

    def _write_group(self) -> None:
        import pyarrow

        if not self._group:
            return
        kinds = self._columns
        rows = [
            {
                name: _to_typed(value, kinds[name]) if isinstance(kinds[name], str) else value
                for name, value in row.items()
            }
            for row in self._group
        ]
        self._parquet.write_table(pyarrow.Table.from_pylist(rows, schema=self._schema))
        self._group.clear()


@contextmanager
def writing_table(
    path: Path, columns: Mapping[str, Any], *, overwrite: bool = False
) -> Iterator[RowWriter]:
    """Open a table; it gets its name when the block ends without an error.

    Args:
        path: file to write; its suffix selects the form.
        columns: as for `RowWriter`.
        overwrite: whether to replace an existing file.

    Raises:
        OutputError: if it cannot be written.
    """
    with writing(path, overwrite=overwrite) as file:
        table = RowWriter(file, path.suffix.lower(), columns)
        try:
            yield table
        except BaseException:
            table.abandon()
            raise
        table.finish()


class SpooledTable:
    """A table whose columns are known only after its last row.

    Rows wait in a temporary file, so memory depends on the number of columns, not on that of rows.
    The table is written when the ``with`` block ends, also by an error: finished rows stay.

    Args:
        path: file to write; its suffix selects the form.
        overwrite: whether to replace an existing file.

    Raises:
        ConfigError: as `check_output` does; so `OutputError`, before any work.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        check_output(path, overwrite=overwrite, option="-o")
        self._path = path
        self._overwrite = overwrite
        self._survey = ColumnSurvey(types=path.suffix.lower() == ".parquet")
        self._spool: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self.count = 0
        """Number of rows so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._spool:
            if self.count or error is None:
                self._spool.seek(0)
                columns = self._survey.columns
                with writing_table(self._path, columns, overwrite=self._overwrite) as table:
                    for line in self._spool:
                        table.write(json.loads(line))

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of JSON values; its new columns come after those of the rows before."""
        self._survey.add(row, is_text=False)
        self._spool.write(json.dumps(row, ensure_ascii=True).encode("ascii") + b"\n")
        self.count += 1


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
