"""Type checks for the arguments of public functions; the error names the argument."""

import os
from collections.abc import Sequence
from numbers import Real

from seedvideo.errors import OptionTypeError


def check_int(name: str, value: object) -> None:
    """Raise `OptionTypeError` unless a value is a whole number or None."""
    if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__")):
        raise _type_error(name, value, "a whole number")


def check_count(name: str, value: object) -> None:
    """Raise `OptionTypeError` unless a value is a whole number."""
    if value is None:
        raise _type_error(name, value, "a whole number")
    check_int(name, value)


def check_switch(name: str, value: object) -> None:
    """Raise `OptionTypeError` unless a value is True or False."""
    if not isinstance(value, bool):
        raise _type_error(name, value, "True or False")


def check_number(name: str, value: object) -> None:
    """Raise `OptionTypeError` unless a value is a real number or None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
        raise _type_error(name, value, "a number")


def check_amount(name: str, value: object) -> None:
    """Raise `OptionTypeError` unless a value is a real number."""
    if value is None:
        raise _type_error(name, value, "a number")
    check_number(name, value)


def check_path(name: str, value: object) -> None:
    """Raise `OptionTypeError` unless a value is the name of a file or folder, or None."""
    if value is not None and not isinstance(value, str | os.PathLike):
        raise _type_error(name, value, "a file or folder name, or None")


def check_text(name: str, value: object) -> None:
    """Raise `OptionTypeError` unless a value is a text."""
    if not isinstance(value, str):
        raise _type_error(name, value, "a text")


def check_texts(name: str, value: object) -> None:
    """Raise `OptionTypeError` unless a value is a sequence of texts, and not one text."""
    if (
        isinstance(value, str | bytes)
        or not isinstance(value, Sequence)
        or not all(isinstance(each, str) for each in value)
    ):
        raise _type_error(name, value, "a list of texts")


def check_kind(name: str, value: object, kind: type, what: str) -> None:
    """Raise `OptionTypeError` unless a value is an instance of ``kind``, which is ``what``."""
    if not isinstance(value, kind):
        raise _type_error(name, value, what)


def _type_error(name: str, value: object, expected: str) -> OptionTypeError:
    text = " ".join(repr(value).split())  # The repr of an array has several lines.
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return OptionTypeError(
        "config.type",
        f"{name} is {text} ({type(value).__name__}), expected {expected}",
        hint="see help() of the function for its arguments and their types",
    )
