"""Table of clips in a file: CSV, JSON lines or parquet, by the suffix of its name.

Rows may have different columns, and the columns of a table are known only after its last row. So
rows wait in a temporary file, and the table is written from it at the end, whole or not at all.
Memory depends on the number of columns, not on that of rows.

The tables are lists that `seedvideo.batch.inputs` reads again: no cell is changed, so names that
are not valid UTF-8 survive in CSV and JSON lines.

Separate from `seedvideo.cli.split`, as it knows nothing of clips.
"""

import csv
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Final, Self

from seedvideo.errors import ConfigError, OutputError
from seedvideo.utils.files import refuse_existing, refuse_unwritable, writing
from seedvideo.utils.text import printable

ROW_SUFFIXES: Final = (".csv", ".jsonl", ".parquet")
"""Suffixes of tables that can be written."""

_GROUP_ROWS: Final = 10_000
"""Rows of a row group of parquet, held in memory together."""

_PLAIN: Final = (bool, int, float, str)
"""Types with a column type of their own; other values are written as JSON."""


class RowTable:
    """A table that is written when the ``with`` block ends, also by an error: finished rows stay.

    Args:
        path: name of the file; its suffix selects the form.
        overwrite: whether an existing file may be replaced.

    Raises:
        ConfigError: ``config.invalid`` for another suffix, ``config.package_missing`` if parquet
            cannot be written.
        OutputError: ``output.exists`` or ``output.unwritable``, before any work.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._suffix = path.suffix.lower()
        if self._suffix not in ROW_SUFFIXES:
            raise ConfigError(
                "config.invalid",
                f"{printable(str(path))}: the suffix is {printable(self._suffix)!r}, expected one"
                f" of {', '.join(ROW_SUFFIXES)}",
                hint="name the table rows.csv, rows.jsonl or rows.parquet",
            )
        if self._suffix == ".parquet":
            _import_arrow("pyarrow")
        refuse_existing(path, overwrite=overwrite)
        refuse_unwritable(path)
        self._path = path
        self._overwrite = overwrite
        self._kinds: dict[str, set[type]] = {}
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
                with writing(self._path, overwrite=self._overwrite) as file:
                    self._write(file)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of JSON values; its new columns come after those of the rows before."""
        for name, value in row.items():
            kinds = self._kinds.setdefault(name, set())
            if value is not None:
                kinds.add(type(value))
        self._spool.write(json.dumps(row, ensure_ascii=True).encode("ascii") + b"\n")
        self.count += 1

    def _rows(self) -> Iterator[dict[str, Any]]:
        self._spool.seek(0)
        for line in self._spool:
            yield json.loads(line)

    def _write(self, file: BinaryIO) -> None:
        if self._suffix == ".jsonl":
            self._spool.seek(0)
            while data := self._spool.read(1 << 20):
                file.write(data)
        elif self._suffix == ".csv":
            self._write_csv(file)
        else:
            self._write_parquet(file)

    def _write_csv(self, file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._kinds)
        for row in self._rows():
            writer.writerow(_cell(row.get(name)) for name in self._kinds)
        text.flush()
        text.detach()

    def _write_parquet(self, file: BinaryIO) -> None:
        arrow, parquet = _import_arrow("pyarrow"), _import_arrow("pyarrow.parquet")
        types = {name: _column_type(kinds) for name, kinds in self._kinds.items()}
        names = {
            bool: arrow.bool_(),
            int: arrow.int64(),
            float: arrow.float64(),
            str: arrow.string(),
        }
        schema = arrow.schema([(name, names[kind]) for name, kind in types.items()])
        rows = self._rows()
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            while group := list(islice(rows, _GROUP_ROWS)):
                columns = {
                    name: [_typed(row.get(name), kind) for row in group]
                    for name, kind in types.items()
                }
                try:
                    writer.write_table(arrow.table(columns, schema=schema))
                except (UnicodeEncodeError, OverflowError) as error:
                    raise OutputError(
                        "output.unwritable",
                        f"{printable(str(self._path))} cannot be written: parquet cannot hold a"
                        f" value: {printable(str(error))}",
                        hint="write the rows as .jsonl, which holds any name",
                    ) from error


def _cell(value: Any) -> str:
    """Return a value as text: a string as it is, any other as JSON, None as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _column_type(kinds: set[type]) -> type:
    """Return the type of a column from those of its values; a mixed column is text."""
    if kinds == {int, float}:
        return float
    (kind,) = kinds if len(kinds) == 1 else (str,)
    return kind if kind in _PLAIN else str


def _typed(value: Any, kind: type) -> Any:
    if value is None:
        return None
    return _cell(value) if kind is str else kind(value)


def _import_arrow(name: str) -> Any:  # pyarrow has no annotations
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            "config.package_missing",
            "writing parquet needs the package pyarrow",
            hint="pip install 'seedvideo[parquet]', or write the rows as .jsonl",
        ) from error
