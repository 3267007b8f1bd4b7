"""Rows of the CSV and parquet exports.

CSV has one flat line per clip for spreadsheets, with seconds to the millisecond. ``duration_s`` is
that of the clip; of a record of version 1, which does not have it, that of the file. No cell can
start a formula.

Parquet is typed and nested. Its columns are the fields of `seedvideo.records.Record`, read from
the model itself, so that the two cannot differ. ``id``, ``state``, ``extra`` and the window come
first, ``error`` and ``filtered`` last. ``extra`` is a map of strings; other values in it are JSON.
Parquet needs pyarrow (the extra ``parquet``), which is imported only when it is used.

Separate from `seedvideo.batch.export`, which would exceed 500 lines with it.
"""

import csv
import io
import types
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import islice
from typing import Any, BinaryIO, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from seedvideo.batch.extra_columns import format_value
from seedvideo.batch.journal_rows import JournalEntry, to_record, window_texts
from seedvideo.errors import ConfigError
from seedvideo.records import GroundingRecord, QualityRecord, Record
from seedvideo.writers import escape_cell, escape_name

EVENT_COUNT: Final = "event_count"
"""Column of CSV with the number of events: its ``events`` are captions."""

_SIGNALS: Final = {
    name: EVENT_COUNT if name == "events" else name
    for name in QualityRecord.model_fields
    if name not in ("duration_s", "width_px", "height_px")
}
"""Signals that have columns of their own, and the names of these."""

CSV_COLUMNS: Final = (
    "id",
    "state",
    "source",
    "start",
    "end",
    "task",
    "text",
    "confident",
    "events",
    "question",
    "answer",
    "query",
    "found",
    "duration_s",
    "width_px",
    "height_px",
    "policy",
    "frames",
    "budget_tokens",
    "charged_tokens",
    "visual_tokens",
    "prompt_tokens",
    "output_tokens",
    "warnings",
    "code",
    "stage",
    "message",
    "hint",
    "retryable",
    "tries",
    "rule",
    *_SIGNALS.values(),
    "extra",
    "total_s",
)
"""Columns of the table; ``total_s`` only with timings."""


def csv_header(*, timings: bool) -> str:
    """Return the line with the names of the columns."""
    return _format_row(_columns(timings=timings))


def csv_row(entry: JournalEntry, *, task: str, timings: bool) -> str:
    """Return the line of one clip; cells that do not apply are empty."""
    record = to_record(entry)
    values = {
        "id": escape_name(entry.item.id),
        "state": entry.state,
        "source": escape_name(entry.item.source),
        **window_texts(entry.item),
        "task": task,
        # One line of ASCII that begins with a brace, so no spreadsheet runs it.
        "extra": entry.item.extra,
    }
    if record is not None:
        values |= _record_cells(record)
    else:
        values |= {
            "code": escape_name(entry.code or ""),
            "stage": escape_name(entry.stage or ""),
            "message": escape_cell(entry.message or ""),
            "hint": escape_cell(entry.hint or ""),
            "retryable": _format_bool(entry.retryable),
            "rule": escape_name(entry.rule or ""),
        }
        if entry.state in ("failed", "quarantined"):
            values["tries"] = str(entry.tries)
    return _format_row([values.get(name, "") for name in _columns(timings=timings)])


def _columns(*, timings: bool) -> Sequence[str]:
    return CSV_COLUMNS if timings else CSV_COLUMNS[:-1]


def _record_cells(record: Record) -> dict[str, str]:
    values = {
        "text": escape_cell(record.text or ""),
        "confident": _format_bool(record.confident),
        "events": escape_cell(
            " | ".join(f"{_format_span(e.start_s, e.end_s)} {e.text}" for e in record.events)
        ),
    }
    if record.answer is not None:
        values["question"] = escape_cell(record.answer.question)
        values["answer"] = escape_cell(record.answer.answer)
    if record.grounding is not None:
        values |= _grounding_cells(record.grounding)
    if record.media is not None:
        values["duration_s"] = f"{record.media.duration_s:.3f}"
        values["width_px"] = str(record.media.width_px)
        values["height_px"] = str(record.media.height_px)
        values["warnings"] = escape_name(" ".join(each.code for each in record.media.warnings))
    if record.quality is not None:
        values["duration_s"] = f"{record.quality.duration_s:.3f}"
        for name, column in _SIGNALS.items():
            value = getattr(record.quality, name)
            values[column] = "" if value is None else str(value)
    if record.plan is not None:
        values["policy"] = escape_name(record.plan.policy)
        for name in ("frames", "budget_tokens", "charged_tokens"):
            values[name] = str(getattr(record.plan, name))
    if record.usage is not None:
        for name in ("visual_tokens", "prompt_tokens", "output_tokens"):
            values[name] = str(getattr(record.usage, name))
    if "total" in record.timing_s:
        values["total_s"] = f"{record.timing_s['total']:.3f}"
    return values


def _grounding_cells(grounding: GroundingRecord) -> dict[str, str]:
    spans = []
    for span in grounding.spans:
        score = "" if span.score is None else f" ({span.score:.3f})"
        spans.append(f"{_format_span(span.start_s, span.end_s)}{score}")
    return {
        "query": escape_cell(grounding.query),
        "found": _format_bool(grounding.found),
        "events": " | ".join(spans),
    }


def _format_span(start_s: float, end_s: float) -> str:
    return f"{start_s:.3f}-{end_s:.3f}"


def _format_bool(value: bool | None) -> str:  # noqa: FBT001  # the value itself
    return "" if value is None else "true" if value else "false"


def _format_row(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


GROUP_ROWS: Final = 1000
"""Rows of a row group: held in memory together, and skipped together by readers."""

_ERROR: Final = {
    "code": str,
    "stage": str,
    "message": str,
    "hint": str,
    "retryable": bool,
    "tries": int,
}
_FILTERED: Final = {"rule": str, "message": str}


def write_rows(file: BinaryIO, rows: Iterator[dict[str, Any]], *, timings: bool) -> None:
    r"""Write rows of `seedvideo.batch.journal_rows.to_row`, a group at a time.

    Bytes of a name that are not valid text are escaped (``\udcff``): parquet's strings are UTF-8.

    Raises:
        ConfigError: ``config.package_missing`` without pyarrow.
    """
    arrow, parquet = _import_package("pyarrow"), _import_package("pyarrow.parquet")
    schema = arrow_schema(arrow, timings=timings)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(rows, GROUP_ROWS)):
            plain = [_encodable(_extra_as_texts(row)) for row in group]
            table = arrow.Table.from_pylist(plain, schema=schema)
            writer.write_table(table)


def require_package() -> None:
    """Check that parquet can be written, before any work.

    Raises:
        ConfigError: ``config.package_missing`` without pyarrow.
    """
    _import_package("pyarrow")


def _import_package(name: str) -> Any:  # pyarrow has no annotations
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            "config.package_missing",
            "writing parquet needs the package pyarrow",
            hint="pip install 'seedvideo[parquet]', or write jsonl",
        ) from error


def arrow_schema(arrow: Any, *, timings: bool) -> Any:
    """Return the columns as a pyarrow schema."""
    columns: list[tuple[str, Any]] = [
        ("id", arrow.string()),
        ("state", arrow.string()),
        ("extra", arrow.map_(arrow.string(), arrow.string())),
        ("start", arrow.string()),
        ("end", arrow.string()),
    ]
    for name, field in Record.model_fields.items():
        if name == "error" or (name == "timing_s" and not timings):
            continue
        columns.append((name, _arrow_type(arrow, field.annotation)))
    for name, parts in (("error", _ERROR), ("filtered", _FILTERED)):
        fields = [(part, _arrow_type(arrow, kind)) for part, kind in parts.items()]
        columns.append((name, arrow.struct(fields)))
    return arrow.schema(columns)


def _arrow_type(arrow: Any, kind: Any) -> Any:
    """Return the type of a field. All are nullable: a failed clip has few of them."""
    plain = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    if kind in plain:
        return plain[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return plain[type(inner[0])]
    if origin in (Union, types.UnionType):
        (only,) = (each for each in inner if each is not type(None))
        return _arrow_type(arrow, only)
    if origin is tuple:
        return arrow.list_(_arrow_type(arrow, inner[0]))
    if origin is dict:
        return arrow.map_(_arrow_type(arrow, inner[0]), _arrow_type(arrow, inner[1]))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        return arrow.struct([(name, _arrow_type(arrow, each.annotation)) for name, each in fields])
    raise TypeError(f"no column type for {kind}")


def _extra_as_texts(row: dict[str, Any]) -> dict[str, Any]:
    extra = row.get("extra")
    if extra is None:
        return row
    texts = [
        (name, None if value is None else format_value(value)) for name, value in extra.items()
    ]
    return {**row, "extra": texts}


def _encodable(value: Any) -> Any:
    """Return the value with strings that UTF-8 can encode, and maps as pairs."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _encodable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_encodable(each) for each in value)
    return value
