"""Columns of a list that seedvideo does not know, which go to the exports as one JSON object.

JSON types are kept. Other types of parquet become strings: times in ISO 8601, decimal numbers as
digits, bytes in base64. Sizes are bounded, because the values are stored for every row. Addresses
lose their signatures.
"""

import base64
import datetime
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from seedvideo.utils.addresses import without_signature

MAX_EXTRA_VALUE_BYTES: Final = 1 << 16
"""Maximum length of a value as JSON; a longer one is replaced by a note."""

MAX_EXTRA_BYTES: Final = 1 << 20
"""Maximum length of all values of a row together; those beyond it are replaced by a note."""

_MAX_DEPTH: Final = 32


def format_extra(columns: Mapping[str, Any]) -> str:
    """Return columns, in their order, as one line of ASCII JSON; empty if there are none."""
    if not columns:
        return ""
    parts: list[str] = []
    remaining_bytes = MAX_EXTRA_BYTES
    for name, value in columns.items():
        text = json.dumps(_to_json_value(value, 0), ensure_ascii=True, allow_nan=False)
        max_bytes = min(MAX_EXTRA_VALUE_BYTES, remaining_bytes)
        if len(text) > max_bytes:
            text = json.dumps(f"left out: {len(text):,} bytes, at most {max_bytes:,} are kept")
        remaining_bytes = max(0, remaining_bytes - len(text))
        parts.append(f"{json.dumps(str(name), ensure_ascii=True)}: {text}")
    return f"{{{', '.join(parts)}}}"


def parse_extra(text: str) -> dict[str, Any]:
    """Parse a line that `format_extra` returned."""
    values: dict[str, Any] = json.loads(text) if text else {}
    return values


def format_value(value: Any) -> str:
    """Return a string as it is, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _to_json_value(value: Any, depth: int) -> Any:
    """Convert a value to JSON types."""
    if depth > _MAX_DEPTH:
        return f"left out: more than {_MAX_DEPTH} levels deep"
    if isinstance(value, Mapping):
        return {str(name): _to_json_value(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_value(each, depth + 1) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return f"{value.total_seconds():.6f} s"
    if isinstance(value, str):
        return without_signature(value)
    if value is None or isinstance(value, int | float):
        return value
    # Decimal, UUID and other types of parquet.
    return str(value)
