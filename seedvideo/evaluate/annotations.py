"""Annotation files: read as text, JSON or JSON lines, and validated by pydantic models.

A benchmark declares a `Row` with the keys that it reads and calls `validate`, whose `ValueError`
names the wrong key. `annotation_error` makes the one error of a file in another form.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    StrictStr,
    ValidationError,
)

from seedvideo.errors import InputError
from seedvideo.evaluate.metrics.temporal import Span
from seedvideo.utils.text import printable
from seedvideo.validation import explain

_MAX_QUOTED_CHARS: Final = 60
"""Maximum length of a value in a message, in characters."""


def parse_json(text: str) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: if it is not valid JSON, or an object has the same key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_int=_parse_int)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        why = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise ValueError(f"is not valid JSON: {why}, at {line}column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("is JSON nested too deeply to be read") from error


def _as_name(value: object) -> object:
    return str(value) if isinstance(value, int) else value


def _as_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{quote_json(value)} is not a number") from error
    except OverflowError as error:
        raise ValueError(f"{quote_json(value)} is too large") from error


def _as_tuple(value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{quote_json(value)} is not a list")
    return tuple(value)


def _as_span(value: object) -> Span:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{quote_json(value)} is not a pair of start and end")
    return _as_number(value[0]), _as_number(value[1])


Name: TypeAlias = Annotated[StrictStr, BeforeValidator(_as_name)]
"""A text; a whole number is read as its digits."""

Number: TypeAlias = Annotated[float, PlainValidator(_as_number)]
"""A number, or a text that holds one."""

Texts: TypeAlias = Annotated[tuple[StrictStr, ...], BeforeValidator(_as_tuple)]
Numbers: TypeAlias = Annotated[tuple[Number, ...], BeforeValidator(_as_tuple)]
Spans: TypeAlias = Annotated[
    tuple[Annotated[Span, PlainValidator(_as_span)], ...], BeforeValidator(_as_tuple)
]
"""A list of spans, each a pair of seconds."""


class Row(BaseModel):
    """A JSON object; keys that are not declared are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


R = TypeVar("R", bound=Row)


def validate(kind: type[R], value: object) -> R:
    """Validate a JSON object.

    Args:
        kind: model with the keys to read.
        value: the value.

    Raises:
        ValueError: if it is not an object, or a key is missing or wrong.
    """
    if not isinstance(value, dict):
        raise ValueError(f"it is not a JSON object: {quote_json(value)}")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise ValueError(explain(error)) from error


def quote_json(value: Any) -> str:
    """Return a value as JSON, shortened for a message."""
    written = json.dumps(value, ensure_ascii=False, default=str)
    # Pydantic cannot report a text with lone surrogates.
    written = written.encode("utf-8", "backslashreplace").decode("utf-8")
    return written if len(written) <= _MAX_QUOTED_CHARS else f"{written[:_MAX_QUOTED_CHARS]}..."


def _parse_int(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:
        raise ValueError(f"holds a number of {len(digits):,} digits, which is too large") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"has the key {quote_json(key)} twice")
        result[key] = value
    return result


ErrorFactory: TypeAlias = Callable[[Path, str], InputError]
"""From a path and a problem to an error."""


def annotation_error(path: Path, why: str) -> InputError:
    """Make the error of a file that does not have the published form of its benchmark."""
    return InputError(
        "input.annotations",
        f"{printable(str(path))} is not as published: {printable(why)}",
        hint="give the benchmark's own file; docs/guides/evaluate.md shows the forms",
    )


def read_bytes(path: Path) -> bytes:
    """Read the bytes of a file.

    Raises:
        InputError: ``input.not_found`` or ``input.unreadable``.
    """
    quoted = printable(str(path))
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            "input.not_found", f"{quoted}: no such file", hint="check the name and the folder"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError("input.unreadable", f"{quoted} cannot be read: {reason}") from error


def read_text(path: Path, *, make_error: ErrorFactory = annotation_error) -> str:
    """Read the text of a UTF-8 file.

    Args:
        path: the file.
        make_error: makes the error of a file that is not text.

    Raises:
        InputError: as `read_bytes`, and that of ``make_error``.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise make_error(path, "it is not UTF-8 text") from error


def read_json(path: Path) -> Any:
    """Read the value of a JSON file.

    Raises:
        InputError: as `read_text`, and ``input.annotations`` if it is not valid JSON.
    """
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise annotation_error(path, f"it {error}") from error


def read_json_lines(path: Path, *, make_error: ErrorFactory = annotation_error) -> dict[int, Any]:
    """Read a file with one JSON value per line: values by line number; empty lines are skipped.

    Args:
        path: the file.
        make_error: makes the error of a file in another form.

    Raises:
        InputError: as `read_text`, and that of ``make_error`` if a line is not valid JSON.
    """
    values = {}
    for number, line in enumerate(split_lines(read_text(path, make_error=make_error)), start=1):
        if line.strip():
            try:
                values[number] = parse_json(line)
            except ValueError as error:
                raise make_error(path, f"line {number} {error}") from error
    return values


def split_lines(text: str) -> list[str]:
    """Split text at newlines only; `str.splitlines` also splits a sentence at U+2028."""
    return text.split("\n")


def reject_extra_files(more: tuple[Path, ...], *, max_files: int, expected: str) -> None:
    """Reject more files than the benchmark is published with.

    Args:
        more: files after the first one.
        max_files: their maximum number.
        expected: description of the expected files.

    Raises:
        InputError: ``input.annotations`` if there are more.
    """
    if len(more) > max_files:
        raise annotation_error(more[max_files], f"it is one file too many, expected {expected}")
