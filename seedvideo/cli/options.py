"""Command-line options that several commands share.

Typer reads the options of a command from its signature; `with_options` adds groups of options to
it, so that each is declared once. Heavy modules are imported when a video is opened.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from functools import cached_property, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack, get_type_hints

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.option_values import (
    parse_budget,
    parse_fraction,
    parse_levels,
    parse_policy,
    parse_rate,
    parse_time,
)
from seedvideo.config import (
    SHIPPED_POLICIES,
    SamplingConfig,
    SamplingConflictError,
    SamplingOverrides,
    find_unsupported,
    list_policies,
    resolve_sampling,
)
from seedvideo.environment import DECODER_BYTES, check_address_space
from seedvideo.errors import PlanError
from seedvideo.utils.files import refuse_unwritable

if TYPE_CHECKING:
    from seedvideo.media.source import VideoInput
    from seedvideo.model.backends.base import TokenCosts
    from seedvideo.sampler.geometry import Geometry
    from seedvideo.sampler.plan import Plan
    from seedvideo.video import ProgressCallback, Video

RatePreset = Literal["general", "detail", "motion"]
Decoder = Literal["pyav", "decord"]
Analysis = Literal["packets", "auto", "fast", "full"]


Budget = Annotated[
    int | None,
    typer.Option(
        "--budget",
        metavar="TOKENS",
        parser=parse_budget,
        help="Limit the tokens of one pass over the video; 8k is 8,000. [default: the model's own]",
    ),
]
PolicyOption = Annotated[
    str,
    typer.Option(
        metavar=f"<{'|'.join(SHIPPED_POLICIES)}>",
        parser=parse_policy,
        autocompletion=lambda: list(list_policies()),
        help="Select frames with this policy, or one that another package adds.",
    ),
]
RatePresetOption = Annotated[
    RatePreset,
    typer.Option(
        "--rate-preset",
        help="Set the sampling rate: general = 1, detail = 2, motion = 5 fps. Overridden by --fps.",
    ),
]
Fps = Annotated[
    float | None,
    typer.Option(
        "--fps",
        metavar="RATE",
        parser=parse_rate,
        help="Set the sampling rate in frames per second; 'adaptive' may take more.",
    ),
]
Levels = Annotated[
    str | None,
    typer.Option(
        "--levels",
        metavar="TOKENS,...",
        help="Use only these of the model's levels, in tokens per frame. [default: all]",
    ),
]
MaxFrames = Annotated[
    int | None,
    typer.Option("--max-frames", metavar="COUNT", min=1, help="Limit the number of frames."),
]
Start = Annotated[
    Fraction | None,
    typer.Option(
        "--start",
        metavar="TIME",
        parser=parse_time,
        help="Start the window here, in seconds or M:SS (for example 90 or 1:30).",
    ),
]
End = Annotated[
    Fraction | None,
    typer.Option(
        "--end", metavar="TIME", parser=parse_time, help="End the window before this time."
    ),
]
Coverage = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        metavar="FRACTION",
        parser=parse_fraction,
        help="Spread this fraction of the budget evenly ('adaptive' only). [default: 0.5]",
    ),
]
MinFps = Annotated[
    float | None,
    typer.Option(
        "--min-fps",
        metavar="RATE",
        parser=parse_rate,
        help="Set the minimum frame rate over the whole video ('adaptive' only).",
    ),
]
MaxFps = Annotated[
    float | None,
    typer.Option(
        "--max-fps",
        metavar="RATE",
        parser=parse_rate,
        help="Set the maximum frame rate at any time ('adaptive' only). [default: 5]",
    ),
]
MinUtility = Annotated[
    float | None,
    typer.Option(
        "--min-utility",
        metavar="FRACTION",
        parser=parse_fraction,
        help="Spend the fewest tokens that reach this fraction of the complete budget's utility"
        " ('adaptive' only).",
    ),
]
AnalysisOption = Annotated[
    Analysis,
    typer.Option(
        "--analysis",
        help="Set the analysis depth: packets (no decoding), auto (decode where packets are"
        " inconclusive, in long videos within a bound), fast (without a bound), full (every"
        " frame).",
    ),
]
CacheOption = Annotated[
    str | None,
    typer.Option("--cache", metavar="DIR", help="Store analyses in this folder and reuse them."),
]
NearDistance = Annotated[
    float | None,
    typer.Option(
        metavar="LEVELS",
        help="Set the maximum mean difference of near-duplicates, in grey levels of 255; any"
        " part may differ by 1.5 times as much. [default: 4]",
    ),
]
SourceFps = Annotated[
    float | None,
    typer.Option(
        "--source-fps",
        metavar="RATE",
        parser=parse_rate,
        help="Set the frame rate of a raw stream that has no timestamps.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Plan for this model's frame sizes, tokenizer and budget. [default: Seed1.5-VL]",
    ),
]
DecoderOption = Annotated[Decoder, typer.Option(help="Decode with this library.")]
TextOrJson = Annotated[
    Literal["text", "json"] | None,
    typer.Option("-f", "--format", help="Select the output format. [default: text]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, as -f json does.")]
Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write to this file instead of stdout."),
]
OutputOrFolder = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE|DIR",
        help="Write to this file instead of stdout; a folder (DIR/) gets one file per video.",
    ),
]
TaskModel = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Use this model: nano, a folder with a checkpoint, a name on a hub (OWNER/NAME) or a"
        " server (PRESET:ADDRESS#NAME).",
    ),
]
Think = Annotated[
    bool,
    typer.Option(
        "--think",
        help="Let the model reason first; show the reasoning on stderr, or in the JSON.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print details and tracebacks.")]


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


def resolve_format(given: str | None, *, as_json: bool, default: str = "text") -> str:
    """Return the output format that ``-f`` and ``--json`` select together."""
    if as_json and given not in (None, "json"):
        raise typer.BadParameter(f"--json and -f {given} select different formats: leave one out")
    return "json" if as_json else given or default


def rate_to_fraction(rate: float | None) -> Fraction | None:
    """Convert a rate exactly as it was written: 29.97 is 2997/100."""
    return None if rate is None else Fraction(str(rate))


Command = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """The sampling options of one command line; each field is an option of its name.

    Raises:
        typer.BadParameter: if two contradict each other, or the policy does not support one. The
            error is reported once, not once per video.
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
    min_utility: MinUtility = None
    analysis: AnalysisOption = "auto"
    cache: CacheOption = None
    source_fps: SourceFps = None
    decoder: DecoderOption = "pyav"

    def __post_init__(self) -> None:
        _ = self.config  # Built here, so that wrong options are refused before any work.

    @cached_property
    def config(self) -> SamplingConfig:
        """Return the config that these options describe."""
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
            min_utility=self.min_utility,
        )

    def config_for(self, item: Item) -> SamplingConfig:
        """Return the config of one video, whose own window overrides that of the command line.

        Raises:
            PlanError: ``plan.invalid`` if the window ends before it starts.
        """
        return self.config.with_window(start_s=item.start_s, end_s=item.end_s)

    def reject_unusable_cache(self) -> None:
        """Reject an unusable cache folder before any work.

        Raises:
            OutputError: ``output.exists`` or ``output.unwritable``.
        """
        if self.cache is not None:
            refuse_unwritable(Path(self.cache), is_folder=True)

    def reject_unknown_levels(self, geometry: "Geometry") -> None:
        """Reject levels that a geometry does not have.

        Raises:
            typer.BadParameter: naming the level and the existing ones.
        """
        reject_unknown_levels(self.config.levels_tokens or (), geometry.levels_tokens)

    def open(self, video: "VideoInput", *, progress: "ProgressCallback") -> "Video":
        """Open a video with the reader options."""
        check_address_space(DECODER_BYTES)
        from seedvideo import api

        return api.open(
            video,
            decoder=self.decoder,
            source_fps=rate_to_fraction(self.source_fps),
            cache=self.cache,
            progress=progress,
        )

    def plan(self, clip: "Video", item: Item, *, target: "PlanTarget") -> "Plan":
        """Plan an open video."""
        from seedvideo import api

        return api.plan(
            clip, model=target.costs, geometry=target.geometry, sampling=self.config_for(item)
        )


@dataclass(frozen=True)
class PlanTarget:
    """What a plan is made for: a model, a family without a model, or neither (Seed1.5-VL).

    Args:
        costs: token costs of the model.
        geometry: geometry of the family.
    """

    costs: "TokenCosts | None" = None
    geometry: "Geometry | None" = None

    def resolved_geometry(self) -> "Geometry":
        """Return the geometry of the plan."""
        from seedvideo.sampler.geometry import SEED

        return self.geometry or (SEED if self.costs is None else self.costs.geometry)


def reject_unknown_levels(levels: Iterable[int], existing: Sequence[int]) -> None:
    """Reject a level that is not one of the existing ones.

    Raises:
        typer.BadParameter: naming it.
    """
    for level in levels:
        if level not in existing:
            listed = ", ".join(map(str, existing))
            raise typer.BadParameter(f"--levels: a level is {level}, expected one of {listed}")


def make_config(**options: Unpack[SamplingOverrides]) -> SamplingConfig:
    """Build a config from the options of a command line.

    Raises:
        typer.BadParameter: if a value is out of range, or the policy does not support an option.
    """
    try:
        return resolve_sampling(**options)
    except SamplingConflictError as error:
        policy = options["policy"]
        names = [name.removesuffix("_tokens") for name in find_unsupported(policy, options)]
        words = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise typer.BadParameter(
            f"{words} cannot be used with --policy {policy}: {error.hint}"
        ) from error
    except PlanError as error:
        raise typer.BadParameter(error.message) from error


def with_options(command: Command, *, without: Container[str] = ()) -> Command:
    """Replace each parameter of a command that is a group of options by one option per field.

    Args:
        command: a typer command with parameters whose types are dataclasses, such as
            ``sampling: SamplingOptions``.
        without: fields that this command has no option for; they keep their defaults.
    """
    declared = signature(command)
    types = get_type_hints(command, include_extras=True)
    groups = {name: types[name] for name in declared.parameters if is_dataclass(types[name])}
    names = {
        name: [field.name for field in fields(group) if field.name not in without]
        for name, group in groups.items()
    }

    @wraps(command)
    def with_each(**words: Any) -> None:
        built = {
            name: group(**{field: words.pop(field) for field in names[name]})
            for name, group in groups.items()
        }
        command(**words, **built)

    parameters: list[Parameter] = []
    for name, parameter in declared.parameters.items():
        if name not in groups:
            parameters.append(
                parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=types[name])
            )
            continue
        hints = get_type_hints(groups[name], include_extras=True)
        parameters += [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
            for field in fields(groups[name])
            if field.name in names[name]
        ]
    # Typer asks for both; it takes the types from the second.
    vars(with_each)["__signature__"] = declared.replace(parameters=parameters)
    with_each.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_each
