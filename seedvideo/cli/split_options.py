"""Options of splitting: those of ``seedvideo split``, and of ``batch run --split shots``."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

if TYPE_CHECKING:
    from seedvideo.clips.windows import SplitOptions


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """How shots become clips; each field is an option."""

    min_s: Annotated[
        float, typer.Option("--min-s", metavar="SECONDS", help="Leave out shorter clips.")
    ] = 2.0
    max_s: Annotated[
        float, typer.Option("--max-s", metavar="SECONDS", help="Divide or truncate longer shots.")
    ] = 10.0
    overlap_s: Annotated[
        float,
        typer.Option(
            "--overlap-s",
            metavar="SECONDS",
            help="Let consecutive clips of a long shot share so much (--over stride).",
        ),
    ] = 0.0
    crop_s: Annotated[
        float,
        typer.Option(
            "--crop-s", metavar="SECONDS", help="Leave out so much on both sides of a cut."
        ),
    ] = 0.25
    over: Annotated[
        Literal["stride", "truncate", "keep"],
        typer.Option(
            "--over",
            help="Divide a shot above --max-s into consecutive clips, keep its start, or keep all"
            " of it.",
        ),
    ] = "stride"

    def resolve(self, analysis: Literal["packets", "auto", "fast", "full"]) -> "SplitOptions":
        """Return the options as the package takes them.

        Raises:
            ConfigError: ``config.invalid`` if a value is out of range.
        """
        from seedvideo.clips.windows import SplitOptions

        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return SplitOptions(**values, analysis=analysis)


WINDOW_FIELDS: Final = tuple(each.name for each in fields(WindowOptions))
"""Names of these options, as `seedvideo.clips.windows.SplitOptions` has them."""


SplitOption = Annotated[
    Literal["shots"] | None,
    typer.Option("--split", help="Split the videos into clips by their shots first."),
]


def reject_without_split(split: str | None, given: Mapping[str, Any]) -> None:
    """Reject options of clips without ``--split``.

    Args:
        split: value of ``--split``.
        given: options that were given, by name.

    Raises:
        typer.BadParameter: naming the option.
    """
    for name in WINDOW_FIELDS:
        if name in given and split is None:
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(f"{option} can only be used with --split shots")
