"""Values of the cells of tables: what is empty, and how texts, numbers and dates are compared.

Texts of CSV that are numbers count as numbers. Parquet has further types: decimals are numbers,
dates and times are their ISO 8601 texts, and durations are seconds.
"""

import datetime
import math
from decimal import Decimal
from typing import Any, Final

_NUMBERS: Final = (int, float)


def is_empty(value: object) -> bool:
    """Return whether a value of a column is empty: missing, an empty text, or not a number."""
    if isinstance(value, float | Decimal):
        return math.isnan(value)
    return value is None or value == ""


def to_number(value: object) -> float | int | None:
    """Return a value as a number; None if it is not a finite one. Texts come from CSV.

    >>> to_number("12.5"), to_number(True), to_number("12 s"), to_number("9007199254740993")
    (12.5, None, None, 9007199254740993)
    """
    if isinstance(value, str):
        value = _parse_number(value)
    elif isinstance(value, Decimal) and value.is_finite():
        value = int(value) if value == value.to_integral_value() else float(value)
    elif isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parse_number(text: str) -> float | int | None:
    if "_" in text:
        return None  # Python reads "1_000".
    for kind in _NUMBERS:
        try:
            return kind(text)
        except ValueError:
            pass  # not of this kind
    return None


def to_float(value: object, *, otherwise: float) -> float:
    """Return a value as a float; ``otherwise`` if it is not a number, infinity if it is too large.

    >>> to_float(10**400, otherwise=0.0), to_float("x", otherwise=0.0)
    (inf, 0.0)
    """
    number = to_number(value)
    if number is None:
        return otherwise
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, number > 0 or -1)


def to_text(value: object) -> str:
    """Return a value as the text of a CSV cell."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def to_comparable(one: Any, other: Any, *, are_columns: bool) -> tuple[Any, Any] | None:
    """Return two values as the same type; None if they cannot be compared.

    Args:
        one: first value.
        other: second value.
        are_columns: whether both are of columns, so that two texts may be two numbers.
    """
    if type(one) in _NUMBERS and type(other) in _NUMBERS:
        return one, other
    one, other = _plain(one), _plain(other)
    if isinstance(one, bool) or isinstance(other, bool):
        flags = _flag_number(one), _flag_number(other)
        return (to_text(one).lower(), to_text(other).lower()) if None in flags else flags
    are_texts = isinstance(one, str) and isinstance(other, str)
    if are_columns or not are_texts:
        numbers = to_number(one), to_number(other)
        if None not in numbers:
            return numbers
    return (one, other) if are_texts else None


def _flag_number(value: Any) -> float | int | None:
    """Return a value as a number with 0 and 1 for false and true, as some tables have them."""
    return int(value) if isinstance(value, bool) else to_number(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal | datetime.timedelta):
        return to_number(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value
