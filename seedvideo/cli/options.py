"""Options that several commands share, and how their words are read. Imports nothing heavy."""

from fractions import Fraction
from typing import Annotated, Literal

import typer

Policy = Literal["seed1.5", "uniform", "keyframes", "adaptive"]
Task = Literal["general", "detail", "motion"]
Decoder = Literal["pyav", "decord"]
Analysis = Literal["packets", "fast", "full"]


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


def parse_levels(text: str) -> tuple[int, ...]:
    """Levels: whole numbers with commas between, such as ``640,256,128``."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise typer.BadParameter(f"--levels {text!r} is not a list of levels such as 640,256,128")
    return tuple(int(word) for word in words)


def parse_options(text: str) -> list[str]:
    r"""Answers to choose from, with commas between: ``red,dark blue``; ``\,`` is a comma in one."""
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
    """A moment: seconds such as ``90`` or ``12.5``, or ``1:30`` or ``1:02:03.5``, exact."""
    from seedvideo.media.timeline import read_moment

    try:
        return read_moment(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def parse_share(text: str) -> float:
    """A share: a number from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"{text!r} is not a share from 0 to 1, such as 0.5")
    return share


Budget = Annotated[
    int | None,
    typer.Option(
        "--budget",
        metavar="TOKENS",
        parser=parse_budget,
        help="Tokens that one pass over the video may cost; 8k is 8,000. Default: the model's own.",
    ),
]
PolicyOption = Annotated[Policy, typer.Option(help="How frames are chosen.")]
TaskOption = Annotated[
    Task, typer.Option(help="Frames a second to ask for, unless --fps says: 1, 2 or 5.")
]
Fps = Annotated[
    float | None,
    typer.Option(
        "--fps",
        metavar="RATE",
        parser=parse_rate,
        help="Ask for so many frames a second; adaptive may take more.",
    ),
]
Levels = Annotated[
    str | None,
    typer.Option(
        "--levels",
        metavar="TOKENS,...",
        help="Use these levels only, of those of the model. Default: all.",
    ),
]
MaxFrames = Annotated[
    int | None,
    typer.Option("--max-frames", metavar="COUNT", min=1, help="Show at most so many frames."),
]
Start = Annotated[
    Fraction | None,
    typer.Option(
        "--start", metavar="TIME", parser=parse_time, help="Look only from here on: 90 or 1:30."
    ),
]
End = Annotated[
    Fraction | None,
    typer.Option("--end", metavar="TIME", parser=parse_time, help="Look only before this."),
]
Coverage = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        metavar="SHARE",
        parser=parse_share,
        help="Share of the budget that adaptive spreads evenly whatever happens. Default: 0.5.",
    ),
]
MinFps = Annotated[
    float | None,
    typer.Option(
        "--min-fps",
        metavar="RATE",
        parser=parse_rate,
        help="Frames a second that adaptive takes everywhere, or more.",
    ),
]
MaxFps = Annotated[
    float | None,
    typer.Option(
        "--max-fps",
        metavar="RATE",
        parser=parse_rate,
        help="Most frames a second that adaptive takes anywhere. Default: 5.",
    ),
]
AnalysisOption = Annotated[
    Analysis,
    typer.Option(
        "--analysis",
        help="What adaptive looks at: packet sizes only, what they leave in doubt too, or all.",
    ),
]
CacheOption = Annotated[
    str | None,
    typer.Option(
        "--cache", metavar="DIR", help="Keep analyses in this folder, and use those kept before."
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
Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write here instead of stdout."),
]
OutputOrFolder = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE|DIR",
        help="Write here instead of stdout; a folder (DIR/) gets one file a video.",
    ),
]
AnsweringModel = Annotated[
    str,
    typer.Option("--model", metavar="MODEL", help="Name of a model, or a folder that holds one."),
]
Think = Annotated[
    bool,
    typer.Option(
        "--think",
        help="Let the model think first, and show its thought (on stderr, or in the JSON).",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more; show tracebacks.")]


def chosen_format(given: str | None, *, as_json: bool, default: str = "text") -> str:
    """The format that ``-f`` and ``--json`` ask for together."""
    if as_json and given not in (None, "json"):
        raise typer.BadParameter(f"--json and -f {given} ask for different formats")
    return "json" if as_json else given or default


def exact_rate(rate: float | None) -> Fraction | None:
    """A rate as the user meant it: 29.97 is 2997/100, not the nearest binary number."""
    return None if rate is None else Fraction(str(rate))
