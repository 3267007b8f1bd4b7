"""``seedvideo frames``: the planned frames as pictures, to look at what a model would see.

``seedvideo plan``: which frames would be shown and what they cost, before anything is spent.

``seedvideo shots``: where one shot ends and the next begins.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.console import COULD_NOT_START, Talk
from seedvideo.cli.options import (
    AsJson,
    CacheOption,
    ModelOption,
    OutputOrFolder,
    Overwrite,
    Quiet,
    SamplingOptions,
    SourceFps,
    Verbose,
    chosen_format,
    exact_rate,
    with_sampling_options,
)
from seedvideo.cli.output import (
    DEFAULT_QUALITY,
    PNG,
    Encoding,
    ImageFormat,
    encoded,
    ends_in_slash,
    open_sink,
    refuse_inputs,
)
from seedvideo.cli.sources import Row, Videos, name_of, read_rows, run_each
from seedvideo.errors import OutputError
from seedvideo.utils.files import (
    make_folder,
    output_names,
    refuse_existing,
    refuse_unwritable,
    write_file,
)
from seedvideo.utils.text import printable, printable_lines

if TYPE_CHECKING:
    from seedvideo.media.types import Frame
    from seedvideo.sampler.types import PlannedFrame

_SHEET: Final = "contact_sheet.png"
_PLOT: Final = "plan.png"
_PLAN: Final = "plan.json"
_LIST: Final = "frames.json"
_OURS: Final = re.compile(
    r"\d{4,}_\d+\.\d{3}s\.(png|jpg|webp)|contact_sheet\.png|plan\.png|plan\.json|frames\.json"
)


@with_sampling_options
def frames(
    videos: Videos,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder for the pictures; of several videos each gets its own in there.",
        ),
    ],
    sampling: SamplingOptions,
    model: ModelOption = None,
    image_format: Annotated[
        ImageFormat, typer.Option("--image-format", help="Format of the frames' pictures.")
    ] = "png",
    image_quality: Annotated[
        int | None,
        typer.Option(
            "--image-quality",
            metavar="1-100",
            min=1,
            max=100,
            help=f"Quality of jpeg and webp. Default: {DEFAULT_QUALITY}.",
        ),
    ] = None,
    no_sheets: Annotated[
        bool,
        typer.Option("--no-sheets", help=f"Write neither {_SHEET} nor {_PLOT}."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the pictures of an earlier run.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the frames that a model would see, sized as it sees them.

    The folder gets a picture a frame, named by its place and its time (0003_12.500s.png), a
    frames.json that lists them, a contact_sheet.png and the plan.json; an adaptive plan also a
    plan.png over time. Of several videos, or one from a folder, glob or list, each gets DIR/NAME/.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    if image_format == "png" and image_quality is not None:
        raise typer.BadParameter("--image-quality is for jpeg and webp: png is exact")
    encoding = Encoding(image_format, image_quality or DEFAULT_QUALITY)
    rows = read_rows(videos, talk=talk)
    whole = Path(output)
    with talk.guarded(COULD_NOT_START):
        sampling.refuse_outputs()
        refuse_unwritable(whole, is_folder=True)
        folders = folders_of(whole, rows, videos)
        for folder in folders:
            refuse_used(folder, overwrite=overwrite)
            refuse_inputs(pictures_in(folder), [name_of(row) for row in rows])
    sampling.refuse_levels(model, talk=talk)
    prices = None if model is None else talk.prices(model)

    def work(index: int, item: Item) -> str:
        folder = folders[index]
        written: list[dict[str, Any]] = []
        shown: list[Frame] = []
        with sampling.open(item.source, progress=talk.looked) as clip:
            made = sampling.plan(clip, item, model=prices)
            make_folder(whole)
            make_folder(folder)
            remove_pictures(folder)
            for number, (planned, frame) in enumerate(clip.frames(made), start=1):
                name = f"{number:04d}_{float(frame.pts):.3f}s{encoding.suffix}"
                write_file(folder / name, encoded(frame.pixels, encoding))
                written.append(_entry(name, planned, frame))
                if not no_sheets:
                    shown.append(frame)
            if made.decision is not None and not no_sheets:
                from seedvideo.sampler.visualize import plot as draw_plan

                picture = draw_plan(made, clip.analysis(sampling.analysis))
                write_file(folder / _PLOT, encoded(picture, PNG))
        if not no_sheets:
            from seedvideo.sampler.contact_sheet import contact_sheet

            write_file(folder / _SHEET, encoded(contact_sheet(shown, made), PNG))
        listed = {"schema_version": 1, "source": item.source, "frames": written}
        _write_json(folder / _LIST, listed)
        _write_json(folder / _PLAN, made.to_json())
        sheet = "" if no_sheets else f" and {_SHEET}"
        talk.note(f"{len(written)} frames{sheet} in {folder}")
        return ""

    run_each(talk, rows, work)


def folders_of(whole: Path, rows: Sequence[Row], words: Sequence[str]) -> list[Path]:
    """The folder of each video: the whole one for a single file, else one named after it.

    What the words are decides, not how many videos they name: a folder with one video today may
    hold two tomorrow.
    """
    names = [name_of(row) for row in rows]
    if len(names) == 1 and names == list(words):
        return [whole]
    return [whole / name for name in output_names(names, extension="")]


def _entry(name: str, planned: "PlannedFrame", frame: "Frame") -> dict[str, Any]:
    from seedvideo.sampler.serialization import exact
    from seedvideo.utils.timecode import seconds

    height_px, width_px = frame.pixels.shape[:2]
    return {
        "file": name,
        "pts_s": seconds(frame.pts),
        "pts": exact(frame.pts),
        "width_px": width_px,
        "height_px": height_px,
        "tokens": planned.tokens,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, indent=1)
    write_file(path, f"{text}\n".encode("ascii"))


def refuse_used(folder: Path, *, overwrite: bool) -> None:
    """Say early that the pictures have no place.

    Raises:
        OutputError: ``output.exists`` if the name is a file's, or the folder holds anything and may
            not be overwritten; ``output.unwritable`` if it cannot be looked into.
    """
    shown = printable(str(folder))
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise OutputError("output.exists", f"{shown} is not a folder")
    try:
        is_used = os.path.isdir(folder) and any(folder.iterdir())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError("output.unwritable", f"{shown} cannot be used: {reason}") from error
    if is_used and not overwrite:
        raise OutputError(
            "output.exists",
            f"{shown} is not empty",
            hint="choose another folder, or replace earlier pictures with --overwrite",
        )


def pictures_in(folder: Path) -> list[Path]:
    """The files of an earlier run, known by their names."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _OURS.fullmatch(path.name) and not path.is_dir()]


def remove_pictures(folder: Path) -> None:
    """Take away an earlier run's files and no others.

    Old pictures beside new ones would tell a wrong story.
    """
    for path in pictures_in(folder):
        path.unlink()


_EXTENSIONS: Final = {"text": ".txt", "json": ".json"}
_BETWEEN: Final = {"text": "\n", "json": ""}


@with_sampling_options
def plan(
    videos: Videos,
    sampling: SamplingOptions,
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
        sampling.refuse_outputs()
        plots = None if plot is None else _plot_paths(plot, sources, overwrite=overwrite)
        sink = open_sink(
            output,
            form=form,
            extension=_EXTENSIONS[form],
            between=_BETWEEN[form],
            sources=sources,
            overwrite=overwrite,
        )
    sampling.refuse_levels(model, talk=talk)
    prices = None if model is None else talk.prices(model)

    def work(index: int, item: Item) -> str:
        with sampling.open(item.source, progress=talk.looked) as clip:
            made = sampling.plan(clip, item, model=prices)
            if plots is not None:
                from seedvideo.sampler.visualize import plot as draw_plan

                # Drawn for any policy: what an even plan misses is worth seeing too.
                picture = draw_plan(made, clip.analysis(sampling.analysis))
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


_BETWEEN_SHOTS: Final = {"text": "\n", "json": "", "csv": None}


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
            between=_BETWEEN_SHOTS[form],
            sources=[name_of(row) for row in rows],
            overwrite=overwrite,
        )

    def work(index: int, item: Item) -> str:
        from seedvideo import api
        from seedvideo.sampler.analysis_cache import CACHE_DAMAGED
        from seedvideo.writers import render_shots_csv, render_shots_json, render_shots_text

        if item.start_s is not None or item.end_s is not None:
            talk.note(
                f"{printable(item.id)}: shots are those of the whole video, not of the window"
            )
        rate = exact_rate(source_fps)
        with api.open(item.source, source_fps=rate, cache=cache, progress=talk.looked) as clip:
            listed = api.shots(clip, analysis=analysis)
        for note in listed.notes:
            (talk.note if note == CACHE_DAMAGED else talk.detail)(note)
        render = {"text": render_shots_text, "json": render_shots_json, "csv": render_shots_csv}[
            form
        ]
        return render(listed)

    run_each(talk, rows, work, sink=sink)
