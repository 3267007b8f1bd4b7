"""Annotation files as text, JSON or JSON lines, and one error for all that is wrong in them.

Knows no benchmark.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from seedvideo.errors import InputError
from seedvideo.evaluate.values import parsed
from seedvideo.writers.inert import printable

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
