"""The columns of a list that are not ours, as one JSON object: carried to the exports as they are.

Types that JSON has are kept. Others, which parquet knows, become texts: times in ISO 8601, decimal
numbers in digits, bytes in base64. Bounded, since they are kept for every row.
"""

import base64
import datetime
import json
import math
from collections.abc import Mapping
from typing import Any, Final

MAX_VALUE_BYTES: Final = 1 << 16
"""Longest value, as JSON; a longer one is replaced by a text that says so."""

MAX_BYTES: Final = 1 << 20
"""Longest of all values of a row together, likewise."""

_MAX_DEPTH: Final = 32


def extra_json(columns: Mapping[str, Any]) -> str:
    """One line of ASCII JSON, the columns in their order; empty if there are none."""
    if not columns:
        return ""
    kept: list[str] = []
    room_bytes = MAX_BYTES
    for name, value in columns.items():
        text = json.dumps(_plain(value, 0), ensure_ascii=True, allow_nan=False)
        most_bytes = min(MAX_VALUE_BYTES, room_bytes)
        if len(text) > most_bytes:
            text = json.dumps(f"left out: {len(text):,} bytes, at most {most_bytes:,} are kept")
        room_bytes = max(0, room_bytes - len(text))
        kept.append(f"{json.dumps(str(name), ensure_ascii=True)}: {text}")
    return f"{{{', '.join(kept)}}}"


def extra_of(text: str) -> dict[str, Any]:
    """Read what `extra_json` made."""
    values: dict[str, Any] = json.loads(text) if text else {}
    return values


def shown_value(value: Any) -> str:
    """A value as a text: a text as it is, any other as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(value: Any, depth: int) -> Any:
    """The value with the types that JSON has."""
    if depth > _MAX_DEPTH:
        return f"left out: more than {_MAX_DEPTH} levels deep"
    if isinstance(value, Mapping):
        return {str(name): _plain(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return f"{value.total_seconds():.6f} s"
    if value is None or isinstance(value, str | int | float):
        return value
    # Decimal, UUID and what else a reader of parquet may give.
    return str(value)
