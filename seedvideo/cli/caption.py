"""Command ``seedvideo caption``."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.ask import run_tasks
from seedvideo.cli.console import Console
from seedvideo.cli.options import (
    AsJson,
    OutputOrFolder,
    Overwrite,
    Quiet,
    SamplingOptions,
    Verbose,
    resolve_format,
    with_sampling_options,
)
from seedvideo.cli.sources import Videos, read_rows

if TYPE_CHECKING:
    from seedvideo.model_tasks import Task

Format = Literal["text", "json", "srt", "vtt", "csv", "chapters"]


@with_sampling_options
def caption(
    videos: Videos,
    dense: Annotated[
        bool,
        typer.Option(
            "--dense",
            help="Also caption each shot (extra cost: up to a quarter of the budget per shot;"
            " analyses every frame).",
        ),
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="Use this model: a name, or a folder with a checkpoint."
        ),
    ] = "nano",
    *,
    sampling: SamplingOptions,
    output_format: Annotated[
        Format | None,
        typer.Option("-f", "--format", help="Select the output format. [default: text]"),
    ] = None,
    as_json: AsJson = False,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Caption videos, with exact timestamps.

    A failed video is reported on stderr; the others continue. Exit code: 0 all done, 1 some failed,
    2 wrong usage, 3 could not start.
    """
    console = Console(quiet=quiet, verbose=verbose)
    format_name = resolve_format(output_format, as_json=as_json)
    rows = read_rows(videos, console=console)

    def task_for(item: Item) -> "Task":
        from seedvideo.model_tasks import Captioning

        return Captioning(dense=dense)

    run_tasks(
        rows,
        task_for,
        task_name="caption",
        console=console,
        sampling=sampling,
        model=model,
        format_name=format_name,
        output=output,
        overwrite=overwrite,
    )
