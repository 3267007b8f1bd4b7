"""``seedvideo shots``: where one shot ends and the next begins."""

from typing import Annotated, Literal

import typer

from seedvideo.cli.options import AsJson, CacheOption, SourceFps, Verbose, chosen_format, exact_rate
from seedvideo.cli.talk import SOME_FAILED, Talk, write_out


def shots(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.")],
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
    verbose: Verbose = False,
) -> None:
    """Show the shots of a video, with true times.

    With --analysis full the cuts are those of PySceneDetect's adaptive detector. The CSV is its
    scene list.
    """
    talk = Talk(verbose=verbose)
    form = chosen_format(output_format, as_json=as_json)
    talk.begin(video)
    with talk.guarded(SOME_FAILED, source=video):
        from seedvideo import pipeline
        from seedvideo.sampler.keep import DAMAGED
        from seedvideo.writers.shots import ShotList, render_csv, render_json, render_text

        rate = exact_rate(source_fps)
        with pipeline.open(video, source_fps=rate, cache=cache, progress=talk.looked) as clip:
            found = clip.analysis(analysis)
            listed = ShotList(video, found.method, found.shots, clip.times, found.notes)
        talk.clear()
        for note in found.notes:
            (talk.note if note == DAMAGED else talk.detail)(note)
        write_out({"text": render_text, "json": render_json, "csv": render_csv}[form](listed))
