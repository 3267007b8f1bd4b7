"""The rows of a batch as a parquet file, for data frames and warehouses: typed and nested.

The columns are the fields of `seedvideo.records.Record`, read from the model itself so that the two
cannot drift apart, with ``id``, ``state`` and ``extra`` before them and ``error`` and ``filtered``
as the journal has them. ``extra`` is a map of texts; values that are no texts are JSON. Needs
pyarrow, the extra ``parquet``, and loads it only when it is used.
"""

import types
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from typing import Any, BinaryIO, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from seedvideo.batch.extra import shown_value
from seedvideo.errors import ConfigError
from seedvideo.records import Record

GROUP_ROWS: Final = 1000
"""Rows that are held in memory at a time, and that a reader can skip as one."""

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
    r"""Write rows of `seedvideo.batch.rows.row_of`, a group at a time.

    Bytes of a name that are no text are spelled out (``\udcff``): parquet's strings are UTF-8.

    Raises:
        ConfigError: ``config.package_missing`` without pyarrow.
    """
    arrow, parquet = _package("pyarrow"), _package("pyarrow.parquet")
    schema = schema_of(arrow, timings=timings)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(rows, GROUP_ROWS)):
            plain = [_encodable(_with_texts(row)) for row in group]
            table = arrow.Table.from_pylist(plain, schema=schema)
            writer.write_table(table)


def require_package() -> None:
    """Say before any work that parquet cannot be written.

    Raises:
        ConfigError: ``config.package_missing`` without pyarrow.
    """
    _package("pyarrow")


def _package(name: str) -> Any:  # pyarrow has no annotations
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            "config.package_missing",
            "parquet needs the package pyarrow",
            hint="pip install 'seedvideo[parquet]', or export -f jsonl",
        ) from error


def schema_of(arrow: Any, *, timings: bool) -> Any:
    """The columns as pyarrow's schema."""
    columns: list[tuple[str, Any]] = [
        ("id", arrow.string()),
        ("state", arrow.string()),
        ("extra", arrow.map_(arrow.string(), arrow.string())),
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
    """The type of a field of a record. All are nullable: a failed clip has few of them."""
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


def _with_texts(row: dict[str, Any]) -> dict[str, Any]:
    extra = row.get("extra")
    if extra is None:
        return row
    texts = [(name, None if value is None else shown_value(value)) for name, value in extra.items()]
    return {**row, "extra": texts}


def _encodable(value: Any) -> Any:
    """The same value with texts that UTF-8 can hold, and a map as pairs."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _encodable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_encodable(each) for each in value)
    return value
