"""Options that several commands share, and how their words are read. Imports nothing heavy."""

import os
import sys
from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated, Literal

import typer

from seedvideo.writers.files import absolute

Policy = Literal["seed1.5", "uniform", "keyframes"]
Task = Literal["general", "detail", "motion"]
Decoder = Literal["pyav", "decord"]


def parse_budget(text: str) -> int:
    """Tokens: ``81920``, ``81_920`` or ``8k``, which is 8,000."""
    digits = text.strip().lower().replace("_", "").replace(",", "")
    unit = 1000 if digits.endswith("k") else 1
    digits = digits.removesuffix("k")
    if not (digits.isascii() and digits.isdigit()) or int(digits) == 0:
        raise typer.BadParameter(f"{text!r} is not a number of tokens such as 81920 or 8k")
    return int(digits) * unit


def parse_rate(text: str) -> float:
    """Frames a second: a number above zero, such as ``2`` or ``0.5``."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise typer.BadParameter(f"{text!r} is not a rate above 0 and up to 1000")
    return rate


Budget = Annotated[
    int | None,
    typer.Option(
        "--budget",
        metavar="TOKENS",
        parser=parse_budget,
        help="Tokens that one pass over the video may cost; 8k is 8,000. Default: the model's own.",
    ),
]
PolicyOption = Annotated[
    Policy | None,
    typer.Option(
        help="How frames are chosen. Default: uniform, as caption does, with --model; else seed1.5."
    ),
]
TaskOption = Annotated[Task, typer.Option(help="Frames a second, unless --fps says: 1, 2 or 5.")]
Fps = Annotated[
    float | None,
    typer.Option(
        "--fps", metavar="RATE", parser=parse_rate, help="Sample so many frames a second."
    ),
]
SourceFps = Annotated[
    float | None,
    typer.Option(
        "--source-fps",
        metavar="RATE",
        parser=parse_rate,
        help="Frames a second of a raw stream that carries no times.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Plan for this model: its sizes, tokenizer and default budget.",
    ),
]
DecoderOption = Annotated[Decoder, typer.Option(help="What reads the file.")]
AsJson = Annotated[bool, typer.Option("--json", help="The same as -f json.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more; show tracebacks.")]


def chosen_format(given: str | None, *, as_json: bool, default: str = "text") -> str:
    """The format that ``-f`` and ``--json`` ask for together."""
    if as_json and given not in (None, "json"):
        raise typer.BadParameter(f"--json and -f {given} ask for different formats")
    return "json" if as_json else given or default


def check_policy(policy: Policy | None, *, fps: float | None) -> None:
    """Refuse a rate where it would mean nothing, once, and not for every video again."""
    if policy == "keyframes" and fps is not None:
        raise typer.BadParameter("--policy keyframes takes the keyframes there are, so no --fps")


def expand_sources(words: Iterable[str]) -> list[str]:
    """The files named on the command line, each once; ``-`` reads more from stdin, one a line.

    Names that end in NUL bytes (``find -print0``) are taken as they are.
    """
    sources: list[str] = []
    for word in words:
        sources.extend(_from_stdin() if word == "-" else [word])
    unique: dict[str, str] = {}
    for source in sources:
        unique.setdefault(absolute(source), source)
    if not unique:
        raise typer.BadParameter("no video was named")
    return list(unique.values())


def _from_stdin() -> list[str]:
    data = sys.stdin.buffer.read()
    if b"\0" in data:
        return [os.fsdecode(name) for name in data.split(b"\0") if name]
    lines = (line.removesuffix(b"\r") for line in data.split(b"\n"))
    return [os.fsdecode(line) for line in lines if line.strip()]


def exact_rate(rate: float | None) -> Fraction | None:
    """A rate as the user meant it: 29.97 is 2997/100, not the nearest binary number."""
    return None if rate is None else Fraction(str(rate))
