"""Rows of manifests as they stand in their files: where each is, and its columns or its fault.

Text, CSV, JSON lines and parquet, read as a stream: a row of any size takes bounded memory. Knows
nothing of what the columns mean.

A set of what was met, by hashes of 64 bits: 16 to 32 bytes of memory each, however long it is.

Two different ones of a million are taken for one with a chance of 1 in 36 million. Python's own
hash has a secret key that changes with every process, so nobody can write rows that collide.
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
"""Longest row."""

SUFFIXES: Final = (".txt", ".csv", ".jsonl", ".parquet")
"""Of files that are lists of videos, not videos."""

_PARQUET_ROWS: Final = 1_000
_PARQUET_BYTES: Final = 64 << 20
"""About what the rows of one step may take."""

_HEAD_BYTES: Final = 1 << 16
_MOST_REREAD_BYTES: Final = 16 * MAX_ROW_BYTES

Fields: TypeAlias = Mapping[str, Any]
Fault: TypeAlias = str
RawRow: TypeAlias = tuple[str, Fields | Fault]
"""Where the row is, and its columns or what is wrong with it."""


def read_manifest(path: Path, *, shown: str) -> Iterator[RawRow]:
    """Rows of a file, by its suffix; rows without anything are passed over.

    Args:
        path: of the file.
        shown: how it is called where a row of it is.

    Raises:
        InputError: ``input.not_found`` or ``input.unreadable``.
        BatchError: ``batch.manifest_invalid`` if the file as a whole is not what its suffix says.
        ConfigError: ``config.package_missing`` if parquet cannot be read here.
    """
    suffix = path.suffix.lower()
    with _opened(path, shown) as file:
        if suffix == ".parquet":
            yield from _parquet(file, shown)
        elif suffix == ".csv":
            yield from _csv(file, shown)
        elif suffix == ".jsonl":
            yield from _json_lines(file, shown)
        else:
            yield from listed(file, shown)


def columns_of(path: Path, *, shown: str) -> list[str]:
    """Names of the columns of a CSV or parquet file; none if it is empty.

    Raises:
        InputError: as `read_manifest` does; so `BatchError` and `ConfigError`.
    """
    with _opened(path, shown) as file:
        if path.suffix.lower() == ".parquet":
            with _told_of_parquet(shown):
                return [str(name) for name in _parquet_file(file).schema_arrow.names]
        lines = _CsvLines(file, shown)
        lines.begin_row()
        try:
            header = next(filter(None, csv.reader(lines, strict=True)), [])
        except csv.Error as error:
            raise _invalid(shown, f"{lines.where}: no CSV: {error}") from error
    return _header(header, shown)


@contextmanager
def _opened(path: Path, shown: str) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            "input.not_found", f"{shown}: no such file", hint="check the name and the folder"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError("input.unreadable", f"{shown}: {reason.lower()}") from error


def listed(file: IO[bytes], shown: str) -> Iterator[RawRow]:
    """A path a line; names that end in NUL bytes (``find -print0``) may hold line ends."""
    # Editors on Windows put a mark of UTF-8 before the first name.
    head = file.read(_HEAD_BYTES).removeprefix(codecs.BOM_UTF8)
    ends_in_nul = b"\0" in head
    if ends_in_nul:
        rows = _names(head, file, shown)
    else:
        rows = _lines(io.BufferedReader(_Rejoined(head, file)), shown)
    for where, line in rows:
        if isinstance(line, str):
            yield where, line
        elif line if ends_in_nul else line.strip():
            yield where, {"path": os.fsdecode(line)}


def _json_lines(file: IO[bytes], shown: str) -> Iterator[RawRow]:
    for where, line in _lines(file, shown):
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
    """Lines for the CSV reader; those of the row that it reads now can be had again."""

    def __init__(self, file: IO[bytes], shown: str) -> None:
        self._fresh = _lines(file, shown)
        self._again: deque[tuple[str, bytes | Fault]] = deque()
        self._row: list[tuple[str, bytes | Fault]] = []
        self._row_bytes = self._reread_bytes = 0

    def begin_row(self) -> None:
        self._row.clear()
        self._row_bytes = 0

    @property
    def where(self) -> str:
        """Where the row has begun."""
        return self._row[0][0] if self._row else ""

    @property
    def fault(self) -> Fault:
        """Of a line of the row that is none."""
        return next((line for _, line in self._row if isinstance(line, str)), "")

    def give_up_row(self) -> bool:
        """Only the row's first line is lost: what followed it may be rows of their own.

        Returns whether this is done: a file in which it happens all the time would take forever.
        """
        self._reread_bytes += self._row_bytes
        if self._reread_bytes > _MOST_REREAD_BYTES:
            return False
        self._again.extendleft(reversed(self._row[1:]))
        return True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        where, line = self._again.popleft() if self._again else next(self._fresh)
        self._row.append((where, line))
        if isinstance(line, str):
            return "\n"
        self._row_bytes += len(line)
        if self._row_bytes > MAX_ROW_BYTES:
            raise csv.Error(f"a row over {MAX_ROW_BYTES} bytes, is a quote left open?")
        return line.decode("utf-8", "surrogateescape").removeprefix("\ufeff") + "\n"


def _csv(file: IO[bytes], shown: str) -> Iterator[RawRow]:
    """Comma-separated with a header; a quoted field may run over several lines."""
    lines = _CsvLines(file, shown)
    rows = csv.reader(lines, strict=True)
    header: list[str] = []
    while True:
        lines.begin_row()
        try:
            cells = next(rows, None)
        except csv.Error as error:
            if not (header and lines.give_up_row()):
                raise _invalid(shown, f"{lines.where}: no CSV: {error}") from error
            yield lines.where, f"no CSV: {error}"
            continue
        if cells is None:
            return
        if lines.fault:
            yield lines.where, lines.fault
        elif cells and not header:
            header = _header(cells, shown)
        elif cells:
            yield lines.where, _columns(header, cells)


def _header(cells: list[str], shown: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(set(names)) != len(names):
        raise _invalid(shown, "two columns have one name")
    return names


def _columns(header: list[str], cells: list[str]) -> Fields | Fault:
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
def _told_of_parquet(shown: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # pyarrow is loaded only where parquet is read.
        if not type(error).__module__.startswith("pyarrow"):
            raise
        first = str(error).partition("\n")[0]
        raise _invalid(shown, f"no parquet: {printable(first)}") from error


def _parquet(file: IO[bytes], shown: str) -> Iterator[RawRow]:
    number = 0
    with _told_of_parquet(shown):
        table = _parquet_file(file)
        size_bytes = sum(
            table.metadata.row_group(index).total_byte_size
            for index in range(table.metadata.num_row_groups)
        )
        a_row_bytes = size_bytes // max(1, table.metadata.num_rows) + 1
        count = max(1, min(_PARQUET_ROWS, _PARQUET_BYTES // a_row_bytes))
        for batch in table.iter_batches(batch_size=count):
            for values in batch.to_pylist():
                number += 1
                yield f"{shown} row {number}", values


class _Rejoined(io.RawIOBase):
    """A stream, its head put back; what was read of a pipe cannot be read again."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        super().__init__()
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        """Says that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer, first from the head."""
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _lines(file: IO[bytes], shown: str) -> Iterator[tuple[str, bytes | Fault]]:
    """Lines without their ends; one that is too long is skipped, and told, in bounded memory."""
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        where = f"{shown} line {number}"
        if len(line) > MAX_ROW_BYTES:
            while not line.endswith(b"\n") and (line := file.readline(MAX_ROW_BYTES)):
                pass
            yield where, f"a row over {MAX_ROW_BYTES} bytes"
        else:
            yield where, line.removesuffix(b"\n").removesuffix(b"\r")


def _names(start: bytes, file: IO[bytes], shown: str) -> Iterator[tuple[str, bytes | Fault]]:
    number = 0
    while start:
        *names, start = start.split(b"\0")
        for name in names:
            number += 1
            yield f"{shown} name {number}", name
        if len(start) > MAX_ROW_BYTES:
            raise _invalid(shown, f"a name over {MAX_ROW_BYTES} bytes")
        more = file.read(1 << 16)
        if not more:
            break
        start += more
    if start:
        yield f"{shown} name {number + 1}", start


def _invalid(shown: str, why: str) -> BatchError:
    return BatchError(
        "batch.manifest_invalid",
        f"{shown}: {why}",
        hint="docs/guides/batch.md shows the forms of a manifest",
    )


_START_SLOTS: Final = 1 << 12
_EMPTY: Final = 0


class Seen:
    """Texts, or tuples with texts, in an open-addressed table that is at most half full."""

    def __init__(self) -> None:
        self._slots = array("q", bytes(8 * _START_SLOTS))
        self._count = 0

    def add(self, met: Hashable) -> bool:
        """Returns whether this is met for the first time."""
        value = hash(met) or 1
        place = self._place(self._slots, value)
        if self._slots[place] == value:
            return False
        self._slots[place] = value
        self._count += 1
        if 2 * self._count > len(self._slots):
            self._grow()
        return True

    def __contains__(self, met: Hashable) -> bool:
        value = hash(met) or 1
        return self._slots[self._place(self._slots, value)] == value

    @staticmethod
    def _place(slots: "array[int]", value: int) -> int:
        """Where the value is, or the empty place where it belongs."""
        mask = len(slots) - 1
        place = value & mask
        while (there := slots[place]) != value and there != _EMPTY:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        larger = array("q", bytes(16 * len(self._slots)))
        for value in self._slots:
            if value != _EMPTY:
                larger[self._place(larger, value)] = value
        self._slots = larger
