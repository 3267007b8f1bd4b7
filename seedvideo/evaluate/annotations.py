"""Values out of JSON that others wrote: each is what it should be, or a `ValueError` says why not.

The messages are for people and name the key. Knows neither files nor benchmarks.

Annotation files as text, JSON or JSON lines, and one error for all that is wrong in them.

Knows no benchmark.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from seedvideo.errors import InputError
from seedvideo.evaluate.metrics.temporal import Span
from seedvideo.utils.text import printable

_MOST_SHOWN: Final = 60
"""Characters of a value that a message shows."""


def parsed(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: if it is none, or an object holds a key twice, of which one would be lost.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_whole)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        why = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise ValueError(f"is no JSON: {why}, at {line}column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("is no JSON that can be read: it is nested too deeply") from error


def an_object(value: Any) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"it is no JSON object: {shown(value)}")
    return value


def needed(row: Mapping[str, Any], key: str) -> Any:
    """The value of a key that must be there."""
    if key not in row:
        raise ValueError(f"the key {shown(key)} is missing")
    return row[key]


def name_in(row: Mapping[str, Any], key: str) -> str:
    """A text that must be there; a whole number will do."""
    value = needed(row, key)
    return str(value) if isinstance(value, int) else text(value, key)


def text(value: Any, key: str) -> str:
    """A text; ``null`` would else read as the word None."""
    if not isinstance(value, str):
        raise ValueError(f"{key} is no text: {shown(value)}")
    return value


def number(value: Any, key: str) -> float:
    """A number, or a text that holds one."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key} is no number: {shown(value)}") from error
    except OverflowError as error:
        raise ValueError(f"{key} is too large: {shown(value)}") from error


def listed(value: Any, key: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise ValueError(f"{key} is no list: {shown(value)}")
    return value


def texts(value: Any, key: str) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(text(one, f"one of {key}") for one in listed(value, key))


def numbers(value: Any, key: str) -> tuple[float, ...]:
    """A list of numbers."""
    return tuple(number(one, f"one of {key}") for one in listed(value, key))


def spans(value: Any, key: str) -> tuple[Span, ...]:
    """A list of spans, each a pair of seconds."""
    return tuple(_span(pair, f"one of {key}") for pair in listed(value, key))


def shown(value: Any) -> str:
    """A value as JSON writes it, for a message: cut where it is long."""
    written = json.dumps(value, ensure_ascii=False, default=str)
    return written if len(written) <= _MOST_SHOWN else f"{written[:_MOST_SHOWN]}..."


def _span(pair: Any, key: str) -> Span:
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError(f"{key} is no pair of start and end: {shown(pair)}")
    return number(pair[0], f"the start of {key}"), number(pair[1], f"the end of {key}")


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
