"""Parsers of the values of command-line options.

Each returns the value, and raises `typer.BadParameter` for any other text.

Separate from `seedvideo.cli.options`, which would exceed 500 lines with it.
"""

from fractions import Fraction
from typing import Final

import typer

from seedvideo.config import is_policy, list_policies
from seedvideo.plugins import find_plugin, list_plugins

FILE_FORMATS: Final = ("jsonl", "parquet", "csv", "srt", "vtt", "html")
"""Formats of ``batch export`` that are one file, or one file per clip."""

EXPORT_FORMATS: Final = (*FILE_FORMATS, "dataset", "webdataset", "hf")
"""Formats of ``batch export``; the others are datasets, which are folders."""


def parse_budget(text: str) -> int:
    """Parse a number of tokens: ``81920``, ``81_920`` or ``8k``, which is 8,000."""
    digits = text.strip().lower().replace("_", "").replace(",", "")
    unit = 1000 if digits.endswith("k") else 1
    digits = digits.removesuffix("k")
    if not (digits.isascii() and digits.isdigit()) or int(digits) == 0:
        raise typer.BadParameter(f"{text!r} is not a number of tokens, such as 81920 or 8k")
    return int(digits) * unit


def parse_rate(text: str) -> float:
    """Parse a rate in frames per second, such as ``2`` or ``0.5``."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise typer.BadParameter(f"{text!r} is not a rate above 0 and up to 1000 frames per second")
    return rate


def parse_levels(text: str) -> tuple[int, ...]:
    """Parse levels: whole numbers separated by commas, such as ``640,256,128``."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise typer.BadParameter(f"--levels {text!r} is not a list of levels, such as 640,256,128")
    return tuple(int(word) for word in words)


def parse_options(text: str) -> list[str]:
    r"""Split a list of answers at its commas: ``red,dark blue``; ``\,`` is a comma in an answer."""
    words = [""]
    characters = iter(text)
    for character in characters:
        if character == "\\":
            following = next(characters, "\\")
            words[-1] += following if following in ",\\" else f"\\{following}"
        elif character == ",":
            words.append("")
        else:
            words[-1] += character
    return words


def parse_time(text: str) -> Fraction:
    """Parse a time exactly: ``90`` or ``12.5`` seconds, ``1:30`` or ``1:02:03.5``."""
    from seedvideo.utils.timecode import parse_timecode

    try:
        return parse_timecode(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def parse_policy(name: str) -> str:
    """Check the name of a policy, shipped or of another package."""
    if not is_policy(name):
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(map(repr, list_policies()))}")
    return name


def parse_export_format(name: str) -> str:
    """Check the name of a format of ``batch export``, shipped or of another package."""
    if name not in EXPORT_FORMATS and find_plugin("exporter", name) is None:
        names = (*EXPORT_FORMATS, *(plugin.name for plugin in list_plugins("exporter")))
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(map(repr, names))}")
    return name


def parse_fraction(text: str) -> float:
    """Parse a fraction: a number from 0 to 1."""
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction <= 1:
        raise typer.BadParameter(f"{text!r} is not a fraction from 0 to 1, such as 0.5")
    return fraction
