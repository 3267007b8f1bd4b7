"""``seedvideo shots``: where one shot ends and the next begins."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from seedvideo.batch.item import Item
from seedvideo.cli.options import (
    AsJson,
    CacheOption,
    OutputOrFolder,
    Overwrite,
    Quiet,
    SourceFps,
    Verbose,
    chosen_format,
    exact_rate,
)
from seedvideo.cli.several import Videos, name_of, read_rows, run_each
from seedvideo.cli.sinks import open_sink
from seedvideo.cli.talk import COULD_NOT_START, Talk
from seedvideo.writers.files import refuse_unwritable
from seedvideo.writers.inert import printable

_BETWEEN: Final = {"text": "\n", "json": "", "csv": None}


def shots(
    videos: Videos,
    analysis: Annotated[
        Literal["packets", "fast", "full"],
        typer.Option(
            help="packets: guess from sizes in the index. fast: look where sizes leave doubt or"
            " stand out. full: look at every frame."
        ),
    ] = "fast",
    cache: CacheOption = None,
    source_fps: SourceFps = None,
    output_format: Annotated[
        Literal["text", "json", "csv"] | None,
        typer.Option("-f", "--format", help="What is written. Default: text."),
    ] = None,
    as_json: AsJson = False,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show the shots of videos, with true times.

    With --analysis full the cuts are those of PySceneDetect's adaptive detector. The CSV is its
    scene list, one file a video.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    form = chosen_format(output_format, as_json=as_json)
    rows = read_rows(videos, talk=talk)
    with talk.guarded(COULD_NOT_START):
        if cache is not None:
            refuse_unwritable(Path(cache), is_folder=True)
        sink = open_sink(
            output,
            form=form,
            extension=".txt" if form == "text" else f".{form}",
            between=_BETWEEN[form],
            sources=[name_of(row) for row in rows],
            overwrite=overwrite,
        )

    def work(index: int, item: Item) -> str:
        from seedvideo import pipeline
        from seedvideo.sampler.keep import DAMAGED
        from seedvideo.writers.shots import ShotList, render_csv, render_json, render_text

        if item.start_s is not None or item.end_s is not None:
            talk.note(
                f"{printable(item.id)}: shots are those of the whole video, not of the window"
            )
        rate = exact_rate(source_fps)
        with pipeline.open(item.source, source_fps=rate, cache=cache, progress=talk.looked) as clip:
            found = clip.analysis(analysis)
            listed = ShotList(item.source, found.method, found.shots, clip.times, found.notes)
        for note in found.notes:
            (talk.note if note == DAMAGED else talk.detail)(note)
        render = {"text": render_text, "json": render_json, "csv": render_csv}[form]
        return render(listed)

    run_each(talk, rows, work, sink=sink)
