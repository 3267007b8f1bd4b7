"""Options that several commands share, and how their words are read. Imports nothing heavy.

Sampling options of the command line, shared by all commands that plan a video.

Typer reads a command's options from its signature; `with_sampling_options` writes them there, so
that they are declared once. Imports nothing heavy before a video is opened.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack, get_type_hints

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.console import Talk
from seedvideo.config import (
    SamplingConfig,
    SamplingConflictError,
    SamplingOverrides,
    find_unsupported,
    resolve_sampling,
)
from seedvideo.environment import DECODER_BYTES, check_address_space
from seedvideo.errors import PlanError
from seedvideo.utils.files import refuse_unwritable

if TYPE_CHECKING:
    from seedvideo.model.backends.base import TokenCosts
    from seedvideo.sampler.plan import Plan
    from seedvideo.video import Progress, Video

Policy = Literal["seed1.5", "uniform", "keyframes", "adaptive"]
RatePreset = Literal["general", "detail", "motion"]
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
    from seedvideo.utils.timecode import parse_timecode

    try:
        return parse_timecode(text)
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
RatePresetOption = Annotated[
    RatePreset,
    typer.Option(
        "--rate-preset",
        help="Sampling rate: general is 1, detail 2, motion 5 frames per second; --fps overrides.",
    ),
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


def resolve_rate_preset(
    preset: RatePreset, former: RatePreset | None, *, former_name: str
) -> RatePreset:
    """Return the preset that was given, by the former name of its option too.

    Args:
        preset: value of ``--rate-preset``.
        former: value of the hidden option of the former name; None if it was not given.
        former_name: name of that option.

    Raises:
        typer.BadParameter: if both are given and differ.
    """
    if former is None:
        return preset
    if preset not in ("general", former):
        raise typer.BadParameter(
            f"--rate-preset {preset} and {former_name} {former} are the same option: leave one out"
        )
    return former


def chosen_format(given: str | None, *, as_json: bool, default: str = "text") -> str:
    """The format that ``-f`` and ``--json`` ask for together."""
    if as_json and given not in (None, "json"):
        raise typer.BadParameter(f"--json and -f {given} ask for different formats")
    return "json" if as_json else given or default


def exact_rate(rate: float | None) -> Fraction | None:
    """A rate as the user meant it: 29.97 is 2997/100, not the nearest binary number."""
    return None if rate is None else Fraction(str(rate))


Command = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """The sampling options of one command line; each field is an option of its name.

    Raises:
        typer.BadParameter: if two contradict each other, or the policy does not take one: reported
            once, and not for every video again.
    """

    budget_tokens: Budget = None
    policy: PolicyOption = "adaptive"
    rate_preset: RatePresetOption = "general"
    task: Annotated[RatePreset | None, typer.Option("--task", hidden=True)] = None
    """Former name of the preset, for one release."""
    fps: Fps = None
    levels: Levels = None
    max_frames: MaxFrames = None
    start: Start = None
    end: End = None
    coverage: Coverage = None
    min_fps: MinFps = None
    max_fps: MaxFps = None
    analysis: AnalysisOption = "fast"
    cache: CacheOption = None
    source_fps: SourceFps = None
    decoder: DecoderOption = "pyav"

    def __post_init__(self) -> None:
        _ = self.config  # Made now, so that wrong options are refused before any work.

    @cached_property
    def config(self) -> SamplingConfig:
        """The config that these options describe."""
        return make_config(
            policy=self.policy,
            budget_tokens=self.budget_tokens,
            rate_preset=resolve_rate_preset(self.rate_preset, self.task, former_name="--task"),
            fps=self.fps,
            analysis=self.analysis,
            levels_tokens=None if self.levels is None else parse_levels(self.levels),
            max_frames=self.max_frames,
            start_s=self.start,
            end_s=self.end,
            coverage=self.coverage,
            min_fps=self.min_fps,
            max_fps=self.max_fps,
        )

    def config_for(self, item: Item) -> SamplingConfig:
        """Return the config of one video, whose own window overrides that of the command line.

        Raises:
            PlanError: ``plan.invalid`` if the window ends before it starts.
        """
        return self.config.with_window(start_s=item.start_s, end_s=item.end_s)

    def refuse_outputs(self) -> None:
        """Refuse, before any work, a folder of analyses that could not be used.

        Raises:
            OutputError: ``output.exists`` or ``output.unwritable``.
        """
        if self.cache is not None:
            refuse_unwritable(Path(self.cache), is_folder=True)

    def refuse_levels(self, model: str | None, *, talk: Talk) -> None:
        """Refuse levels that the model does not have, before it is loaded.

        Args:
            model: its name, or None for the published geometry.
            talk: the console of the command.

        Raises:
            typer.BadParameter: naming the level and those that there are.
            typer.Exit: if there is no such model.
        """
        if self.config.levels_tokens is None:
            return
        from seedvideo.sampler.geometry import SEED

        geometry = SEED if model is None else talk.prices(model).geometry
        refuse_levels(self.config.levels_tokens, geometry.levels_tokens)

    def open(self, video: str, *, progress: "Progress") -> "Video":
        """Open a video with the options of its reader."""
        check_address_space(DECODER_BYTES)
        from seedvideo import api

        return api.open(
            video,
            decoder=self.decoder,
            source_fps=exact_rate(self.source_fps),
            cache=self.cache,
            progress=progress,
        )

    def plan(self, clip: "Video", item: Item, *, model: "TokenCosts | None") -> "Plan":
        """Plan an open video."""
        from seedvideo import api

        return api.plan(clip, model=model, sampling=self.config_for(item))


def refuse_levels(asked: Iterable[int], known: Sequence[int]) -> None:
    """Refuse a level that is not one of those known.

    Raises:
        typer.BadParameter: naming it.
    """
    for level in asked:
        if level not in known:
            listed = ", ".join(map(str, known))
            raise typer.BadParameter(f"--levels: a level is {level}, expected one of {listed}")


def make_config(**options: Unpack[SamplingOverrides]) -> SamplingConfig:
    """Build a config from the options of a command line.

    Raises:
        typer.BadParameter: if a value is out of range, or the policy does not take an option.
    """
    try:
        return resolve_sampling(**options)
    except SamplingConflictError as error:
        policy = options["policy"]
        names = [name.removesuffix("_tokens") for name in find_unsupported(policy, options)]
        words = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise typer.BadParameter(f"--policy {policy} takes no {words}: {error.hint}") from error
    except PlanError as error:
        raise typer.BadParameter(error.message) from error


def with_sampling_options(command: Command) -> Command:
    """Give a command an option for each field in the place of its parameter ``sampling``."""
    names = [field.name for field in fields(SamplingOptions)]
    types = get_type_hints(SamplingOptions, include_extras=True)
    options = [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=types[field.name],
        )
        for field in fields(SamplingOptions)
    ]

    @wraps(command)
    def with_options(**words: Any) -> None:
        sampling = SamplingOptions(**{name: words.pop(name) for name in names})
        command(**words, sampling=sampling)

    declared = signature(command)
    parameters: list[Parameter] = []
    for parameter in declared.parameters.values():
        is_sampling = parameter.name == "sampling"
        parameters += options if is_sampling else [parameter.replace(kind=Parameter.KEYWORD_ONLY)]
    # Typer asks for both; it takes the types from the second.
    vars(with_options)["__signature__"] = declared.replace(parameters=parameters)
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options
