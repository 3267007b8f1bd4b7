"""Signals of clips as the rows of a table: what ``seedvideo inspect`` writes and curation reads.

A row has ``path``, ``start``, ``end`` and ``id``, the other columns of its list, the signals
(`seedvideo.sampler.quality.Quality`), and

    sha256           hash of the file
    packets_sha256   hash of the packets of the clip's frames, the same in another container
    signature        signature of the clip (`seedvideo.batch.similarity`), in hexadecimal
    error            code and message of a clip without signals

A signal that was not measured is empty. Columns of the list with the name of one of ours are
replaced, so a table can be inspected again. The table is a list, and can be given wherever one is
taken: relative paths start from its folder.

Separate from `seedvideo.cli.inspect`, which knows formats and files but no columns.
"""

import csv
import io
import json
import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from functools import cached_property
from importlib import import_module
from typing import Any, BinaryIO, Final, Protocol, get_args

from seedvideo.batch.export_tables import require_package
from seedvideo.batch.extra_columns import format_value, parse_extra
from seedvideo.batch.inputs import Item
from seedvideo.batch.similarity import compute_signature
from seedvideo.config import SamplingConfig
from seedvideo.pipeline import clip_window, measure
from seedvideo.records import QualityRecord
from seedvideo.utils.addresses import is_address
from seedvideo.utils.text import printable
from seedvideo.utils.timecode import format_exact
from seedvideo.video import Video
from seedvideo.writers import escape_name

Row = dict[str, Any]
"""One row: names of columns and JSON values; None for an empty cell."""

PLACE_COLUMNS: Final = ("path", "start", "end", "id")
WORD_COLUMNS: Final = ("question", "options", "query")
"""Columns of a list for a task; they stay if any row has them."""

SIGNAL_COLUMNS: Final = (
    *QualityRecord.model_fields,
    *("sha256", "packets_sha256", "signature", "error"),
)

_UNITS: Final = {
    "duration_s": "s",
    "width_px": "px",
    "height_px": "px",
    "fps": "frames/s",
    "motion_mean": "grey levels/s",
    "motion_max": "grey levels/s",
    "detail_mean": "grey levels",
    "novelty_max": "deviations",
}
"""Units in the text, of signals that have one."""

_NAME_CHARS: Final = max(len(name) for name in QualityRecord.model_fields)
_MAX_INTEGER: Final = (1 << 63) - 1

_GROUP_ROWS: Final = 1_000
"""Rows of a row group of parquet, held in memory together."""


class SignalReader:
    """Measurement of the windows of one open video.

    Args:
        clip: the open video.
    """

    def __init__(self, clip: Video) -> None:
        self._clip = clip

    def measure(self, sampling: SamplingConfig) -> Row:
        """Return the signals of a window; decodes no more than the analysis.

        Args:
            sampling: analysis and window.

        Raises:
            PlanError: ``plan.invalid`` if no frame is in the window.
            SeedVideoError: if the file cannot be used.
        """
        return asdict(measure(self._clip, sampling))

    def identify(self, sampling: SamplingConfig, *, with_signature: bool) -> Row:
        """Return the hashes of the file and of the packets of a window, and its signature.

        Args:
            sampling: window, with at least one frame.
            with_signature: whether to compute the signature, which decodes the window once more.

        Raises:
            SeedVideoError: if the file cannot be used.
        """
        clip, window = self._clip, clip_window(self._clip, sampling)
        first, end = (bisect_left(clip.times, time) for time in (window.start, window.end))
        row = {"sha256": self._sha256, "packets_sha256": clip.reader.packets_sha256(first, end)}
        if with_signature:
            row["signature"] = compute_signature(clip, window).to_bytes().hex()
        return row

    @cached_property
    def _sha256(self) -> str:
        return self._clip.reader.digest("sha256")


def place_row(item: Item, *, folder: str | None) -> Row:
    """Return the columns of a clip that are known before it is opened.

    Args:
        item: the clip.
        folder: folder of the table, from which relative paths start; None for the working folder.
    """
    path = item.source
    if folder is not None and not is_address(path) and not os.path.isabs(path):
        parent, name = os.path.split(path)
        # Links are resolved: ".." after one would lead elsewhere.
        path = os.path.relpath(os.path.join(os.path.realpath(parent), name), folder)
    words = {"question": item.question, "options": list(item.options), "query": item.query}
    return {
        "path": path,
        "start": _seconds(item.start_s),
        "end": _seconds(item.end_s),
        "id": item.id,
        **{name: value for name, value in words.items() if value},
        **parse_extra(item.extra),
    }


def _seconds(time: Fraction | None) -> float | str | None:
    """Return a time of a list as a number, or as exact text if its decimals are not exact."""
    if time is None:
        return None
    number = float(time)
    return number if Fraction(repr(number)) == time else format_exact(time)


def columns_of(places: Iterable[Row]) -> list[str]:
    """Return the columns of a table, in order, given the known ones of each row."""
    own = dict.fromkeys(name for row in places for name in row)
    ours = {*PLACE_COLUMNS, *SIGNAL_COLUMNS}
    return [*PLACE_COLUMNS, *(name for name in own if name not in ours), *SIGNAL_COLUMNS]


class TableFormat(Protocol):
    """Format of a table: converts rows to bytes."""

    def begin(self, file: BinaryIO) -> None:
        """Write what is before the first row."""
        ...

    def write(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        """Write a row, at once or with later ones."""
        ...

    def finish(self, file: BinaryIO) -> None:
        """Write the rest."""
        ...


class JsonLines:
    """One object on each line of ASCII JSON, with every column."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def begin(self, file: BinaryIO) -> None:
        """Write nothing."""

    def write(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        """Write the line of a row."""
        values = {name: row.get(name) for name in self._columns}
        file.write(json.dumps(values, ensure_ascii=True, allow_nan=False).encode() + b"\n")

    def finish(self, file: BinaryIO) -> None:
        """Write nothing."""


class CsvTable:
    """Comma-separated values with a header. No cell is a formula, and none has control characters.

    A number is written as it is, also as text: a spreadsheet does not run ``-0.5``.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def begin(self, file: BinaryIO) -> None:
        """Write the header."""
        self._write_line(file, [escape_name(name) for name in self._columns])

    def write(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        """Write the line of a row."""
        self._write_line(file, [_csv_cell(row.get(name)) for name in self._columns])

    def finish(self, file: BinaryIO) -> None:
        """Write nothing."""

    @staticmethod
    def _write_line(file: BinaryIO, cells: Sequence[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        file.write(text.getvalue().encode("utf-8", "backslashreplace"))


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    text = format_value(value)
    return text if _is_number(text) else escape_name(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isprintable()


class TextTable:
    """For people: a line with the name of each clip, then one for each signal with its unit."""

    def __init__(self) -> None:
        self._is_first = True

    def begin(self, file: BinaryIO) -> None:
        """Write nothing."""

    def write(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        """Write the lines of a clip; one without signals has none, its error is on stderr."""
        if row.get("error") is not None:
            return
        lines = [] if self._is_first else [""]
        self._is_first = False
        lines.append(printable(str(row["id"])))
        for name in QualityRecord.model_fields:
            value = row.get(name)
            if value is not None:
                unit = _UNITS.get(name, "")
                lines.append(f"  {name:{_NAME_CHARS}}  {value} {unit}".rstrip())
        file.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))

    def finish(self, file: BinaryIO) -> None:
        """Write nothing."""


class ParquetTable:
    """Typed columns: those of a list are texts unless all values are of one other type.

    Args:
        columns: names of the columns.
        places: known columns of each row.

    Raises:
        ConfigError: ``config.package_missing`` without pyarrow.
    """

    def __init__(self, columns: Sequence[str], places: Iterable[Row]) -> None:
        require_package()
        arrow = import_module("pyarrow")
        self._arrow = arrow
        plain = {int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
        types = {
            name: plain[int if int in (kind.annotation, *get_args(kind.annotation)) else float]
            for name, kind in QualityRecord.model_fields.items()
        }
        for name, kind in _types_of(places).items():
            types.setdefault(name, plain.get(kind, arrow.string()))
        for name in ("start", "end"):
            types.setdefault(name, arrow.float64())
        self._schema = arrow.schema([(name, types.get(name, arrow.string())) for name in columns])
        self._texts = [name for name in columns if self._schema.field(name).type == arrow.string()]
        self._rows: list[Row] = []
        self._writer: Any = None

    def begin(self, file: BinaryIO) -> None:
        """Open the table."""
        parquet = import_module("pyarrow.parquet")
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        """Add a row, and write all rows of a full group."""
        values = dict(row)
        for name in self._texts:
            if values.get(name) is not None:
                text = format_value(values[name])
                values[name] = text.encode("utf-8", "backslashreplace").decode("utf-8")
        self._rows.append(values)
        if len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def finish(self, file: BinaryIO) -> None:
        """Write the last group, and the index of the table."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()


def _types_of(places: Iterable[Row]) -> dict[str, type]:
    """Return for each column the type of its values, other than None; str if they differ."""
    types: dict[str, type] = {}
    for row in places:
        for name, value in row.items():
            if value is None:
                continue
            kind = type(value)
            if kind is int and abs(value) > _MAX_INTEGER:
                kind = str
            before = types.setdefault(name, kind)
            if before is not kind:
                types[name] = float if {before, kind} == {int, float} else str
    return types


def make_format(name: str, columns: Sequence[str], places: Iterable[Row]) -> TableFormat:
    """Return a format by its name: ``text``, ``csv``, ``parquet``, or ``jsonl``, also ``json``.

    Args:
        name: name of the format.
        columns: names of the columns.
        places: known columns of each row.

    Raises:
        ConfigError: ``config.package_missing`` if parquet cannot be written.
    """
    if name == "parquet":
        return ParquetTable(columns, places)
    if name == "csv":
        return CsvTable(columns)
    return TextTable() if name == "text" else JsonLines(columns)
