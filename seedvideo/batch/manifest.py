"""Rows of manifests (text, CSV, JSON lines, parquet), read as a stream.

Each row comes with its position and its columns, or with an error. A row of any size takes bounded
memory. `seedvideo.batch.inputs` interprets the columns.

`HashSet` is a set by 64-bit hashes, 16 to 32 bytes per entry. Two different values of a million
are taken for equal with a probability of 1 in 36 million. Python's hash uses a secret key per
process, so rows cannot be crafted to collide.
"""

import codecs
import csv
import io
import json
import os
from array import array
from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from seedvideo.errors import BatchError, ConfigError, InputError
from seedvideo.utils.text import printable

MAX_ROW_BYTES: Final = 1 << 20
"""Maximum length of a row."""

MANIFEST_SUFFIXES: Final = (".txt", ".csv", ".jsonl", ".parquet")
"""Suffixes of files that are lists of videos."""

_MAX_PARQUET_ROWS: Final = 1_000
_MAX_PARQUET_BYTES: Final = 64 << 20
"""Approximate maximum size of the rows of one step."""

_HEAD_BYTES: Final = 1 << 16
_MAX_REREAD_BYTES: Final = 16 * MAX_ROW_BYTES

RowFields: TypeAlias = Mapping[str, Any]
RowError: TypeAlias = str
RawRow: TypeAlias = tuple[str, RowFields | RowError]
"""Position of a row, and its columns or its error."""


def read_manifest(path: Path, *, display_name: str, suffix: str | None = None) -> Iterator[RawRow]:
    """Yield the rows of a file, by its suffix; empty rows are skipped.

    Args:
        path: path of the file.
        display_name: name of the file in messages and in the positions of rows.
        suffix: suffix of the list if its path has another one.

    Raises:
        InputError: ``input.not_found`` or ``input.unreadable``.
        BatchError: ``batch.manifest_invalid`` if the content does not match the suffix.
        ConfigError: ``config.package_missing`` if parquet cannot be read.
    """
    suffix = path.suffix.lower() if suffix is None else suffix
    with _open_file(path, display_name) as file:
        if suffix == ".parquet":
            yield from _iter_parquet(file, display_name)
        elif suffix == ".csv":
            yield from _iter_csv(file, display_name)
        elif suffix == ".jsonl":
            yield from _iter_json_lines(file, display_name)
        else:
            yield from read_path_list(file, display_name)


def read_columns(path: Path, *, display_name: str) -> list[str]:
    """Return the column names of a CSV or parquet file; none if it is empty.

    Raises:
        InputError: as `read_manifest` does; so `BatchError` and `ConfigError`.
    """
    with _open_file(path, display_name) as file:
        if path.suffix.lower() == ".parquet":
            with _translate_parquet_errors(display_name):
                return [str(name) for name in _parquet_file(file).schema_arrow.names]
        lines = _CsvLines(file, display_name)
        lines.begin_row()
        try:
            header = next(filter(None, csv.reader(lines, strict=True)), [])
        except csv.Error as error:
            raise _manifest_error(display_name, f"{lines.where}: no CSV: {error}") from error
    return _parse_header(header, display_name)


@contextmanager
def _open_file(path: Path, display_name: str) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            "input.not_found", f"{display_name}: no such file", hint="check the name and the folder"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError("input.unreadable", f"{display_name}: {reason.lower()}") from error


def read_path_list(file: IO[bytes], display_name: str) -> Iterator[RawRow]:
    """Yield one path per line; names that end with NUL (``find -print0``) may hold newlines."""
    # Editors on Windows write a byte order mark before the first name.
    head = file.read(_HEAD_BYTES).removeprefix(codecs.BOM_UTF8)
    ends_in_nul = b"\0" in head
    if ends_in_nul:
        rows = _iter_nul_names(head, file, display_name)
    else:
        rows = _iter_lines(io.BufferedReader(_PrefixedStream(head, file)), display_name)
    for where, line in rows:
        if isinstance(line, str):
            yield where, line
        elif line if ends_in_nul else line.strip():
            yield where, {"path": os.fsdecode(line)}


def _iter_json_lines(file: IO[bytes], display_name: str) -> Iterator[RawRow]:
    for where, line in _iter_lines(file, display_name):
        if isinstance(line, str):
            yield where, line
            continue
        if not line.strip():
            continue
        try:
            # Not "utf-8-sig": that codec takes as long as the rest of the row.
            value = json.loads(line.decode("utf-8").removeprefix("\ufeff"))
        except (ValueError, RecursionError) as error:
            yield where, f"no JSON: {error}"
            continue
        yield where, value if isinstance(value, dict) else "not a JSON object"


class _CsvLines:
    """Lines for the CSV reader; those of the current row can be read again."""

    def __init__(self, file: IO[bytes], display_name: str) -> None:
        self._lines = _iter_lines(file, display_name)
        self._pushed_back: deque[tuple[str, bytes | RowError]] = deque()
        self._row: list[tuple[str, bytes | RowError]] = []
        self._row_bytes = self._reread_bytes = 0

    def begin_row(self) -> None:
        self._row.clear()
        self._row_bytes = 0

    @property
    def where(self) -> str:
        """Position of the start of the row."""
        return self._row[0][0] if self._row else ""

    @property
    def row_error(self) -> RowError:
        """Error of the first unreadable line of the row; empty if there is none."""
        return next((line for _, line in self._row if isinstance(line, str)), "")

    def skip_row(self) -> bool:
        """Skip the row's first line only: the next ones may be rows of their own.

        Returns:
            False if too much was read again, since such a file would take forever.
        """
        self._reread_bytes += self._row_bytes
        if self._reread_bytes > _MAX_REREAD_BYTES:
            return False
        self._pushed_back.extendleft(reversed(self._row[1:]))
        return True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        where, line = self._pushed_back.popleft() if self._pushed_back else next(self._lines)
        self._row.append((where, line))
        if isinstance(line, str):
            return "\n"
        self._row_bytes += len(line)
        if self._row_bytes > MAX_ROW_BYTES:
            raise csv.Error(f"a row over {MAX_ROW_BYTES} bytes, is a quote left open?")
        return line.decode("utf-8", "surrogateescape").removeprefix("\ufeff") + "\n"


def _iter_csv(file: IO[bytes], display_name: str) -> Iterator[RawRow]:
    """Yield rows of comma-separated values with a header; a quoted field may span lines."""
    lines = _CsvLines(file, display_name)
    rows = csv.reader(lines, strict=True)
    header: list[str] = []
    while True:
        lines.begin_row()
        try:
            cells = next(rows, None)
        except csv.Error as error:
            if not (header and lines.skip_row()):
                raise _manifest_error(display_name, f"{lines.where}: no CSV: {error}") from error
            yield lines.where, f"no CSV: {error}"
            continue
        if cells is None:
            return
        if lines.row_error:
            yield lines.where, lines.row_error
        elif cells and not header:
            header = _parse_header(cells, display_name)
        elif cells:
            yield lines.where, _to_fields(header, cells)


def _parse_header(cells: list[str], display_name: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(set(names)) != len(names):
        raise _manifest_error(display_name, "two columns have the same name")
    return names


def _to_fields(header: list[str], cells: list[str]) -> RowFields | RowError:
    if len(cells) != len(header):
        return f"{len(cells)} cells, the header has {len(header)}"
    return dict(zip(header, cells, strict=True))


def _parquet_file(file: IO[bytes]) -> Any:  # pyarrow has no annotations
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ConfigError(
            "config.package_missing",
            "reading parquet needs the package pyarrow",
            hint="pip install 'seedvideo[parquet]', or give the rows as .jsonl",
        ) from error
    return pyarrow.parquet.ParquetFile(file)


@contextmanager
def _translate_parquet_errors(display_name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # pyarrow is loaded only where parquet is read.
        if not type(error).__module__.startswith("pyarrow"):
            raise
        first = str(error).partition("\n")[0]
        raise _manifest_error(display_name, f"invalid parquet: {printable(first)}") from error


def _iter_parquet(file: IO[bytes], display_name: str) -> Iterator[RawRow]:
    number = 0
    with _translate_parquet_errors(display_name):
        table = _parquet_file(file)
        size_bytes = sum(
            table.metadata.row_group(index).total_byte_size
            for index in range(table.metadata.num_row_groups)
        )
        row_bytes = size_bytes // max(1, table.metadata.num_rows) + 1
        count = max(1, min(_MAX_PARQUET_ROWS, _MAX_PARQUET_BYTES // row_bytes))
        for batch in table.iter_batches(batch_size=count):
            for values in batch.to_pylist():
                number += 1
                yield f"{display_name} row {number}", values


class _PrefixedStream(io.RawIOBase):
    """Stream with bytes put back at its start: a pipe cannot be read twice."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        super().__init__()
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, first from the prefix."""
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _iter_lines(file: IO[bytes], display_name: str) -> Iterator[tuple[str, bytes | RowError]]:
    """Yield lines without line endings; skip and report one that is too long, in bounded memory."""
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        where = f"{display_name} line {number}"
        if len(line) > MAX_ROW_BYTES:
            while not line.endswith(b"\n") and (line := file.readline(MAX_ROW_BYTES)):
                pass
            yield where, f"a row over {MAX_ROW_BYTES} bytes"
        else:
            yield where, line.removesuffix(b"\n").removesuffix(b"\r")


def _iter_nul_names(
    start: bytes, file: IO[bytes], display_name: str
) -> Iterator[tuple[str, bytes | RowError]]:
    number = 0
    while start:
        *names, start = start.split(b"\0")
        for name in names:
            number += 1
            yield f"{display_name} name {number}", name
        if len(start) > MAX_ROW_BYTES:
            raise _manifest_error(display_name, f"a name over {MAX_ROW_BYTES} bytes")
        more = file.read(1 << 16)
        if not more:
            break
        start += more
    if start:
        yield f"{display_name} name {number + 1}", start


def _manifest_error(display_name: str, why: str) -> BatchError:
    return BatchError(
        "batch.manifest_invalid",
        f"{display_name}: {why}",
        hint="see the list formats in docs/guides/batch.md",
    )


_INITIAL_SLOTS: Final = 1 << 12
_EMPTY: Final = 0


class HashSet:
    """Set of strings, or tuples with strings, as an open-addressed table, at most half full."""

    def __init__(self) -> None:
        self._slots = array("q", bytes(8 * _INITIAL_SLOTS))
        self._count = 0

    def add(self, value: Hashable) -> bool:
        """Add a value and return whether it is new."""
        value = hash(value) or 1
        slot = self._find_slot(self._slots, value)
        if self._slots[slot] == value:
            return False
        self._slots[slot] = value
        self._count += 1
        if 2 * self._count > len(self._slots):
            self._grow()
        return True

    def __contains__(self, value: Hashable) -> bool:
        value = hash(value) or 1
        return self._slots[self._find_slot(self._slots, value)] == value

    @staticmethod
    def _find_slot(slots: "array[int]", value: int) -> int:
        """Return the slot of a value, or the empty slot where it belongs."""
        mask = len(slots) - 1
        slot = value & mask
        while (stored := slots[slot]) != value and stored != _EMPTY:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        larger = array("q", bytes(16 * len(self._slots)))
        for value in self._slots:
            if value != _EMPTY:
                larger[self._find_slot(larger, value)] = value
        self._slots = larger
