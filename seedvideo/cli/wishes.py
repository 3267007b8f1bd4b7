"""What a user wishes of a plan: the options that ``plan``, ``frames`` and ``caption`` share.

Typer reads a command's options from its signature; `with_wishes` writes them there, so that they
stand in one place. Imports nothing heavy before a video is opened.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from seedvideo.batch.item import Item
from seedvideo.cli.options import (
    AnalysisOption,
    Budget,
    CacheOption,
    Coverage,
    DecoderOption,
    End,
    Fps,
    Levels,
    MaxFps,
    MaxFrames,
    MinFps,
    PolicyOption,
    SourceFps,
    Start,
    TaskOption,
    exact_rate,
    parse_levels,
)
from seedvideo.cli.talk import Talk
from seedvideo.environment import DECODER_BYTES, check_address_space
from seedvideo.errors import PlanError
from seedvideo.sampler.knobs import Knobs
from seedvideo.writers.files import refuse_unwritable

if TYPE_CHECKING:
    from seedvideo.model.backends import Prices
    from seedvideo.sampler.plan import Plan
    from seedvideo.video import Progress, Video

Command = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The shared options of one command line; each field is an option of its name.

    Raises:
        typer.BadParameter: if two contradict each other, or one would mean nothing to the policy:
            said once, and not for every video again.
    """

    budget_tokens: Budget = None
    policy: PolicyOption = "adaptive"
    task: TaskOption = "general"
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
        only_adaptive = self.knobs.only_adaptive()
        if self.policy == "keyframes" and self.fps is not None:
            raise typer.BadParameter(
                "--policy keyframes takes the keyframes there are, so no --fps"
            )
        if self.policy != "adaptive" and only_adaptive:
            words = ", ".join(f"--{name.replace('_', '-')}" for name in only_adaptive)
            raise typer.BadParameter(f"--policy {self.policy} takes no {words}: only adaptive does")
        if self.policy == "seed1.5" and self.knobs.levels_tokens is not None:
            raise typer.BadParameter("--policy seed1.5 chooses its level itself, so no --levels")

    @cached_property
    def knobs(self) -> Knobs:
        """What `seedvideo.plan` and `seedvideo.caption` take as knobs."""
        try:
            return Knobs(
                levels_tokens=None if self.levels is None else parse_levels(self.levels),
                max_frames=self.max_frames,
                start=self.start,
                end=self.end,
                coverage=self.coverage,
                min_fps=self.min_fps,
                max_fps=self.max_fps,
            )
        except PlanError as error:
            raise typer.BadParameter(error.message) from error

    def knobs_of(self, item: Item) -> Knobs:
        """The knobs of one video, whose own window goes before that of the command line.

        Raises:
            PlanError: ``plan.invalid`` if the window ends before it starts.
        """
        return replace(
            self.knobs,
            start=self.start if item.start_s is None else item.start_s,
            end=self.end if item.end_s is None else item.end_s,
        )

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
            talk: the command's voice.

        Raises:
            typer.BadParameter: naming the level and those that there are.
            typer.Exit: if there is no such model.
        """
        if self.knobs.levels_tokens is None:
            return
        from seedvideo.sampler.geometry import SEED

        geometry = SEED if model is None else talk.prices(model).geometry
        refuse_levels(self.knobs.levels_tokens, geometry.levels_tokens)

    def open(self, video: str, *, progress: "Progress") -> "Video":
        """Open a video as was wished."""
        check_address_space(DECODER_BYTES)
        from seedvideo import pipeline

        return pipeline.open(
            video,
            decoder=self.decoder,
            source_fps=exact_rate(self.source_fps),
            cache=self.cache,
            progress=progress,
        )

    def plan(self, clip: "Video", item: Item, *, model: "Prices | None") -> "Plan":
        """Plan an open video as was wished."""
        from seedvideo import pipeline

        return pipeline.plan(
            clip,
            policy=self.policy,
            budget_tokens=self.budget_tokens,
            task=self.task,
            fps=self.fps,
            knobs=self.knobs_of(item),
            analysis=self.analysis,
            model=model,
        )


def refuse_levels(asked: Iterable[int], known: Sequence[int]) -> None:
    """Refuse a level that is not one of those known.

    Raises:
        typer.BadParameter: naming it.
    """
    for level in asked:
        if level not in known:
            listed = ", ".join(map(str, known))
            raise typer.BadParameter(f"--levels: a level is {level}, expected one of {listed}")


def with_wishes(command: Command) -> Command:
    """A command with an option for each wish in the place of its parameter ``wishes``."""
    names = [field.name for field in fields(Wishes)]
    types = get_type_hints(Wishes, include_extras=True)
    options = [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=types[field.name],
        )
        for field in fields(Wishes)
    ]

    @wraps(command)
    def wished(**words: Any) -> None:
        wishes = Wishes(**{name: words.pop(name) for name in names})
        command(**words, wishes=wishes)

    told = signature(command)
    parameters: list[Parameter] = []
    for parameter in told.parameters.values():
        is_wishes = parameter.name == "wishes"
        parameters += options if is_wishes else [parameter.replace(kind=Parameter.KEYWORD_ONLY)]
    # Typer asks for both; the types are told by the second.
    vars(wished)["__signature__"] = told.replace(parameters=parameters)
    wished.__annotations__ = {each.name: each.annotation for each in parameters}
    return wished
