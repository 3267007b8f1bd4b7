"""``seedvideo caption``: one model, many videos, one record each."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.ask import run_tasks
from seedvideo.cli.console import Talk
from seedvideo.cli.options import (
    AsJson,
    OutputOrFolder,
    Overwrite,
    Quiet,
    SamplingOptions,
    Verbose,
    chosen_format,
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
            help="Also caption each shot, for up to a quarter budget a shot; looks at every frame.",
        ),
    ] = False,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Name of a model, or a folder that holds one.")
    ] = "nano",
    *,
    sampling: SamplingOptions,
    output_format: Annotated[
        Format | None, typer.Option("-f", "--format", help="What is written. Default: text.")
    ] = None,
    as_json: AsJson = False,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what happens in videos, with true times.

    A video that fails gets one line on stderr and the others go on. Exit code: 0 all done, 1 some
    failed, 2 wrong usage, 3 could not start.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    form = chosen_format(output_format, as_json=as_json)
    rows = read_rows(videos, talk=talk)

    def task_for(item: Item) -> "Task":
        from seedvideo.model_tasks import Captioning

        return Captioning(dense=dense)

    run_tasks(
        rows,
        task_for,
        task_name="caption",
        talk=talk,
        sampling=sampling,
        model=model,
        form=form,
        output=output,
        overwrite=overwrite,
    )
