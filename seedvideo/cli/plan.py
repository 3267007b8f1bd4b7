"""``seedvideo plan``: which frames would be shown and what they cost, before anything is spent."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from seedvideo.cli.options import AsJson, ModelOption, Overwrite, Verbose, chosen_format
from seedvideo.cli.pictures import png
from seedvideo.cli.talk import COULD_NOT_START, SOME_FAILED, Talk, write_out
from seedvideo.cli.wishes import Wishes, with_wishes
from seedvideo.writers.files import refuse_existing, write_file
from seedvideo.writers.inert import printable_lines


@with_wishes
def plan(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.")],
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
            metavar="FILE",
            help="Also draw what happens and what is shown over time, as a PNG picture.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    verbose: Verbose = False,
) -> None:
    """Show which frames a model would see, at which sizes, for how many tokens.

    Without --model it plans for the published Seed1.5-VL: 81,920 tokens.
    """
    talk = Talk(verbose=verbose)
    form = chosen_format(output_format, as_json=as_json)
    if plot is not None:
        with talk.guarded(COULD_NOT_START):
            refuse_existing(Path(plot), overwrite=overwrite)
    prices = None if model is None else talk.prices(model)
    talk.begin(video)
    with talk.guarded(SOME_FAILED, source=video):
        from seedvideo.sampler.plot import plot as draw_plan

        with wishes.open(video, progress=talk.looked) as clip:
            made = wishes.plan(clip, model=prices)
            if plot is not None:
                # Drawn for any policy: what an even plan misses is worth seeing too.
                picture = png(draw_plan(made, clip.analysis(wishes.analysis)))
                write_file(Path(plot), picture, overwrite=overwrite)
    if form == "json":
        text = json.dumps(made.to_json(), ensure_ascii=True, allow_nan=False)
    else:
        text = printable_lines(made.explain() if explain else made.summary())
    talk.clear()
    write_out(f"{text}\n")
