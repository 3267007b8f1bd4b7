"""``seedvideo plan``: which frames would be shown and what they cost, before anything is spent."""

import json
import os
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from seedvideo.batch.item import Item
from seedvideo.cli.options import (
    AsJson,
    ModelOption,
    OutputOrFolder,
    Overwrite,
    Quiet,
    Verbose,
    chosen_format,
)
from seedvideo.cli.pictures import PNG, encoded
from seedvideo.cli.several import Videos, name_of, read_rows, run_each
from seedvideo.cli.sinks import ends_in_slash, open_sink, refuse_inputs
from seedvideo.cli.talk import COULD_NOT_START, Talk
from seedvideo.cli.wishes import Wishes, with_wishes
from seedvideo.writers.files import (
    output_names,
    refuse_existing,
    refuse_unwritable,
    write_file,
)
from seedvideo.writers.inert import printable_lines

_EXTENSIONS: Final = {"text": ".txt", "json": ".json"}
_BETWEEN: Final = {"text": "\n", "json": ""}


@with_wishes
def plan(
    videos: Videos,
    wishes: Wishes,
    model: ModelOption = None,
    output_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option("-f", "--format", help="What is written. Default: text."),
    ] = None,
    as_json: AsJson = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="List every frame and why it was taken.")
    ] = False,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE|DIR",
            help="Also draw what happens and what is shown over time, as a PNG picture; in a folder"
            " (DIR/) one a video.",
        ),
    ] = None,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show which frames a model would see, at which sizes, for how many tokens.

    Without --model it plans for the published Seed1.5-VL: 81,920 tokens. As JSON there is a line a
    video; a video that fails has none.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    form = chosen_format(output_format, as_json=as_json)
    rows = read_rows(videos, talk=talk)
    sources = [name_of(row) for row in rows]
    with talk.guarded(COULD_NOT_START):
        wishes.refuse_outputs()
        plots = None if plot is None else _plot_paths(plot, sources, overwrite=overwrite)
        sink = open_sink(
            output,
            form=form,
            extension=_EXTENSIONS[form],
            between=_BETWEEN[form],
            sources=sources,
            overwrite=overwrite,
        )
    wishes.refuse_levels(model, talk=talk)
    prices = None if model is None else talk.prices(model)

    def work(index: int, item: Item) -> str:
        with wishes.open(item.source, progress=talk.looked) as clip:
            made = wishes.plan(clip, item, model=prices)
            if plots is not None:
                from seedvideo.sampler.plot import plot as draw_plan

                # Drawn for any policy: what an even plan misses is worth seeing too.
                picture = draw_plan(made, clip.analysis(wishes.analysis))
                write_file(plots[index], encoded(picture, PNG), overwrite=overwrite)
        if form == "json":
            text = json.dumps(made.to_json(), ensure_ascii=True, allow_nan=False)
        else:
            text = printable_lines(made.explain() if explain else made.summary())
        return f"{text}\n"

    run_each(talk, rows, work, sink=sink)


def _plot_paths(plot: str, sources: list[str], *, overwrite: bool) -> list[Path]:
    """A file a video: the one that is named, or in a folder each under the video's name.

    Raises:
        typer.BadParameter: if one file is named for several videos.
        OutputError: as `refuse_existing`, `refuse_unwritable` and `refuse_inputs` do.
    """
    path = Path(plot)
    if ends_in_slash(plot) or path.is_dir():
        refuse_unwritable(path, is_folder=True)
        paths = [path / name for name in output_names(sources, extension=".png")]
    elif len(sources) == 1:
        refuse_unwritable(path)
        paths = [path]
    else:
        raise typer.BadParameter(f"--plot makes one file a video: name a folder{os.sep}")
    refuse_inputs(paths, sources)
    for each in paths:
        refuse_existing(each, overwrite=overwrite)
    return paths
