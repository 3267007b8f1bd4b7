"""JSON that others wrote, checked by pydantic: a `ValueError` names the key that is wrong.

A benchmark declares a `Row` with the keys that it reads and calls `read`.

Annotation files as text, JSON or JSON lines, and one error for all that is wrong in them.

Knows no benchmark.
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

_MOST_SHOWN: Final = 60
"""Characters of a value that a message shows."""


def parsed(text: str) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: if it is not valid JSON, or an object has the same key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_whole)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        why = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise ValueError(f"is no JSON: {why}, at {line}column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("is no JSON that can be read: it is nested too deeply") from error


def _as_name(value: object) -> object:
    return str(value) if isinstance(value, int) else value


def _as_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{shown(value)} is not a number") from error
    except OverflowError as error:
        raise ValueError(f"{shown(value)} is too large") from error


def _as_tuple(value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} is not a list")
    return tuple(value)


def _as_span(value: object) -> Span:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{shown(value)} is not a pair of start and end")
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


def read(kind: type[R], value: object) -> R:
    """Check a JSON object.

    Raises:
        ValueError: if it is another value, or a key is missing or wrong.
    """
    if not isinstance(value, dict):
        raise ValueError(f"it is not a JSON object: {shown(value)}")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise ValueError(explain(error)) from error


def shown(value: Any) -> str:
    """Return a value as JSON, shortened for a message."""
    written = json.dumps(value, ensure_ascii=False, default=str)
    # Pydantic cannot report a text with lone surrogates.
    written = written.encode("utf-8", "backslashreplace").decode("utf-8")
    return written if len(written) <= _MOST_SHOWN else f"{written[:_MOST_SHOWN]}..."


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:
        raise ValueError(f"holds a number of {len(digits):,} digits, which is too large") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"has the key {shown(key)} twice")
        made[key] = value
    return made


Wrong: TypeAlias = Callable[[Path, str], InputError]
"""Makes the error of a file from what is wrong in it."""


def not_published(path: Path, why: str) -> InputError:
    """The error of a file that does not have the form in which its benchmark is published."""
    return InputError(
        "input.annotations",
        f"{printable(str(path))} is not as published: {printable(why)}",
        hint="give the benchmark's own file; docs/guides/evaluate.md shows the forms",
    )


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: ``input.not_found`` or ``input.unreadable``.
    """
    shown = printable(str(path))
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            "input.not_found", f"{shown}: no such file", hint="check the name and the folder"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError("input.unreadable", f"{shown} cannot be read: {reason}") from error


def read_text(path: Path, *, wrong: Wrong = not_published) -> str:
    """The text of a file.

    Args:
        path: of the file.
        wrong: makes the error.

    Raises:
        InputError: as `read_bytes`, and that of ``wrong`` if it is no text.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise wrong(path, "it is no text") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        InputError: as `read_text`, and ``input.annotations`` if it is no JSON.
    """
    try:
        return parsed(read_text(path))
    except ValueError as error:
        raise not_published(path, f"it {error}") from error


def read_json_lines(path: Path, *, wrong: Wrong = not_published) -> dict[int, Any]:
    """The values in a file with one JSON value a line, by the number of their line.

    Empty lines are passed over.

    Args:
        path: of the file.
        wrong: makes the error.

    Raises:
        InputError: as `read_text`, and that of ``wrong`` if a line is no JSON.
    """
    values = {}
    for number, line in enumerate(lines_of(read_text(path, wrong=wrong)), start=1):
        if line.strip():
            try:
                values[number] = parsed(line)
            except ValueError as error:
                raise wrong(path, f"line {number} {error}") from error
    return values


def lines_of(text: str) -> list[str]:
    """The lines of a file; `str.splitlines` would also break one at a U+2028 inside a sentence."""
    return text.split("\n")


def refuse_more(more: tuple[Path, ...], *, most: int, told: str) -> None:
    """Say that there are more files than the benchmark is published with.

    Raises:
        InputError: ``input.annotations`` if there are.
    """
    if len(more) > most:
        raise not_published(more[most], f"it is one file too many: {told}")
