"""Commands ``seedvideo plan``, ``frames`` and ``shots``, which need no model.

``plan`` shows the selected frames and their token costs, ``frames`` writes them as images, and
``shots`` lists the shots of a video.
"""

import json
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.console import COULD_NOT_START, Console
from seedvideo.cli.model_options import LoadingOptions
from seedvideo.cli.options import (
    AsJson,
    CacheOption,
    ModelOption,
    OutputOrFolder,
    Overwrite,
    PlanTarget,
    Quiet,
    SamplingOptions,
    SourceFps,
    TextOrJson,
    Verbose,
    rate_to_fraction,
    resolve_format,
    with_options,
)
from seedvideo.cli.output import (
    DEFAULT_QUALITY,
    PNG,
    ImageEncoding,
    ImageFormat,
    encode_image,
    ends_in_slash,
    open_sink,
    reject_inputs,
)
from seedvideo.cli.remote_options import SourceOptions
from seedvideo.cli.sources import Row, Videos, read_rows, row_name, run_each
from seedvideo.errors import OutputError
from seedvideo.model_options import changed_fields
from seedvideo.utils.addresses import safe_name
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

_CONTACT_SHEET: Final = "contact_sheet.png"
_PLOT: Final = "plan.png"
_PLAN: Final = "plan.json"
_LIST: Final = "frames.json"
_OUTPUT_NAMES: Final = re.compile(
    r"\d{4,}_\d+\.\d{3}s\.(png|jpg|webp)|contact_sheet\.png|plan\.png|plan\.json|frames\.json"
)


_NOT_FOR_PLANS: Final = ("dtype", "device", "quantize", "attention")
"""Options of models that change no plan."""


def find_target(model: str | None, loading: LoadingOptions, *, console: Console) -> PlanTarget:
    """Return what a plan is made for: a model, or a family named by ``--geometry`` alone.

    Raises:
        typer.Exit: if the model or the family does not exist.
    """
    if model is not None:
        return PlanTarget(costs=console.load_costs(model, loading.config))
    refused = changed_fields(loading.config).keys() - {"geometry"}
    if refused:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(refused))
        raise typer.BadParameter(f"{named} cannot be used without --model")
    if loading.geometry is None:
        return PlanTarget()
    with console.exit_on_error(COULD_NOT_START):
        from seedvideo.model.families import published_geometry

        return PlanTarget(geometry=published_geometry(loading.geometry))


@partial(with_options, without=_NOT_FOR_PLANS)
def frames(
    videos: Videos,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Write to this folder; of several videos, each to a subfolder of it.",
        ),
    ],
    sampling: SamplingOptions,
    model: ModelOption = None,
    *,
    loading: LoadingOptions,
    remote: SourceOptions,
    image_format: Annotated[
        ImageFormat, typer.Option("--image-format", help="Select the image format of the frames.")
    ] = "png",
    image_quality: Annotated[
        int | None,
        typer.Option(
            "--image-quality",
            metavar="1-100",
            min=1,
            max=100,
            help=f"Set the quality of jpeg and webp. [default: {DEFAULT_QUALITY}]",
        ),
    ] = None,
    no_sheets: Annotated[
        bool,
        typer.Option("--no-sheets", help=f"Do not write {_CONTACT_SHEET} and {_PLOT}."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of an earlier run.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the frames that a model would see, at the sizes it sees.

    The folder gets one image per frame, named by number and time (0003_12.500s.png), frames.json
    with their list, contact_sheet.png and plan.json, and for 'adaptive' the plot plan.png. Several
    videos, or those of a folder, glob or list, get a folder DIR/NAME/ each.
    """
    console = Console(quiet=quiet, verbose=verbose)
    if image_format == "png" and image_quality is not None:
        raise typer.BadParameter(
            "--image-quality cannot be used with --image-format png, which is lossless"
        )
    encoding = ImageEncoding(image_format, image_quality or DEFAULT_QUALITY)
    rows = read_rows(videos, console=console, remote=remote)
    root = Path(output)
    with console.exit_on_error(COULD_NOT_START):
        sampling.reject_unusable_cache()
        refuse_unwritable(root, is_folder=True)
        folders = assign_folders(root, rows, videos)
        for folder in folders:
            reject_nonempty(folder, overwrite=overwrite)
            reject_inputs(find_pictures(folder), [row_name(row) for row in rows])
    target = find_target(model, loading, console=console)
    sampling.reject_unknown_levels(target.resolved_geometry())

    def work(index: int, item: Item) -> str:
        folder = folders[index]
        written: list[dict[str, Any]] = []
        decoded: list[Frame] = []
        with (
            remote.locate(item) as located,
            sampling.open(located, progress=console.update_progress) as clip,
        ):
            made = sampling.plan(clip, item, target=target)
            make_folder(root)
            make_folder(folder)
            remove_pictures(folder)
            for number, (planned, frame) in enumerate(clip.frames(made), start=1):
                name = f"{number:04d}_{float(frame.pts):.3f}s{encoding.suffix}"
                write_file(folder / name, encode_image(frame.pixels, encoding))
                written.append(_frame_entry(name, planned, frame))
                if not no_sheets:
                    decoded.append(frame)
            if made.decision is not None and not no_sheets:
                from seedvideo.sampler.visualize import plot as draw_plan

                picture = draw_plan(made, clip.analysis(sampling.analysis))
                write_file(folder / _PLOT, encode_image(picture, PNG))
        if not no_sheets:
            from seedvideo.sampler.contact_sheet import contact_sheet

            write_file(folder / _CONTACT_SHEET, encode_image(contact_sheet(decoded, made), PNG))
        listed = {"schema_version": 1, "source": item.source, "frames": written}
        _write_json(folder / _LIST, listed)
        _write_json(folder / _PLAN, made.to_json())
        sheet = "" if no_sheets else f" and {_CONTACT_SHEET}"
        console.info(f"{len(written)} frames{sheet} in {folder}")
        return ""

    run_each(console, rows, work)


def assign_folders(root: Path, rows: Sequence[Row], words: Sequence[str]) -> list[Path]:
    """Return the folder of each video: ``root`` for a single file, else a subfolder with its name.

    The kind of argument decides, not the number of videos: a folder with one video today may have
    two tomorrow.
    """
    names = [row_name(row) for row in rows]
    if len(names) == 1 and names == [safe_name(word) for word in words]:
        return [root]
    return [root / name for name in output_names(names, extension="")]


def _frame_entry(name: str, planned: "PlannedFrame", frame: "Frame") -> dict[str, Any]:
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


def reject_nonempty(folder: Path, *, overwrite: bool) -> None:
    """Reject an unusable output folder before any work.

    Raises:
        OutputError: ``output.exists`` if the path is a file, or the folder is not empty and may not
            be overwritten; ``output.unwritable`` if it cannot be read.
    """
    display_name = printable(str(folder))
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise OutputError("output.exists", f"{display_name} is not a folder")
    try:
        is_used = os.path.isdir(folder) and any(folder.iterdir())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            "output.unwritable", f"{display_name} cannot be used: {reason}"
        ) from error
    if is_used and not overwrite:
        raise OutputError(
            "output.exists",
            f"{display_name} is not empty",
            hint="choose another folder, or replace the files of an earlier run with --overwrite",
        )


def find_pictures(folder: Path) -> list[Path]:
    """Return the files of an earlier run, recognised by their names."""
    if not folder.is_dir():
        return []
    return [
        path
        for path in folder.iterdir()
        if _OUTPUT_NAMES.fullmatch(path.name) and not path.is_dir()
    ]


def remove_pictures(folder: Path) -> None:
    """Remove the files of an earlier run and no others.

    Otherwise images of two plans would be mixed.
    """
    for path in find_pictures(folder):
        path.unlink()


_EXTENSIONS: Final = {"text": ".txt", "json": ".json"}
_SEPARATORS: Final = {"text": "\n", "json": ""}


@partial(with_options, without=_NOT_FOR_PLANS)
def plan(
    videos: Videos,
    sampling: SamplingOptions,
    model: ModelOption = None,
    *,
    loading: LoadingOptions,
    remote: SourceOptions,
    output_format: TextOrJson = None,
    as_json: AsJson = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="List every frame with the reason for it.")
    ] = False,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE|DIR",
            help="Also plot the analysis and the frames over time as PNG; a folder (DIR/) gets one"
            " file per video.",
        ),
    ] = None,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show which frames a model would see, with their sizes and tokens.

    Without --model the plan is for the published Seed1.5-VL: 81,920 tokens. JSON output has one
    line per video; a failed video has none.
    """
    console = Console(quiet=quiet, verbose=verbose)
    format_name = resolve_format(output_format, as_json=as_json)
    rows = read_rows(videos, console=console, remote=remote)
    sources = [row_name(row) for row in rows]
    with console.exit_on_error(COULD_NOT_START):
        sampling.reject_unusable_cache()
        plots = None if plot is None else _assign_plots(plot, sources, overwrite=overwrite)
        sink = open_sink(
            output,
            format_name=format_name,
            extension=_EXTENSIONS[format_name],
            separator=_SEPARATORS[format_name],
            sources=sources,
            overwrite=overwrite,
        )
    target = find_target(model, loading, console=console)
    sampling.reject_unknown_levels(target.resolved_geometry())

    def work(index: int, item: Item) -> str:
        with (
            remote.locate(item) as located,
            sampling.open(located, progress=console.update_progress) as clip,
        ):
            made = sampling.plan(clip, item, target=target)
            if plots is not None:
                from seedvideo.sampler.visualize import plot as draw_plan

                # Drawn for every policy: it also shows what a uniform plan misses.
                picture = draw_plan(made, clip.analysis(sampling.analysis))
                write_file(plots[index], encode_image(picture, PNG), overwrite=overwrite)
        if format_name == "json":
            text = json.dumps(made.to_json(), ensure_ascii=True, allow_nan=False)
        else:
            text = printable_lines(made.explain() if explain else made.summary())
        return f"{text}\n"

    run_each(console, rows, work, sink=sink)


def _assign_plots(plot: str, sources: list[str], *, overwrite: bool) -> list[Path]:
    """Return the plot file of each video: the given file, or one per video in a folder.

    Raises:
        typer.BadParameter: if a single file is given for several videos.
        OutputError: as `refuse_existing`, `refuse_unwritable` and `reject_inputs` do.
    """
    path = Path(plot)
    if ends_in_slash(plot) or path.is_dir():
        refuse_unwritable(path, is_folder=True)
        paths = [path / name for name in output_names(sources, extension=".png")]
    elif len(sources) == 1:
        refuse_unwritable(path)
        paths = [path]
    else:
        raise typer.BadParameter(
            f"--plot writes one file per video: name a folder with a {os.sep} at the end"
        )
    reject_inputs(paths, sources)
    for each in paths:
        refuse_existing(each, overwrite=overwrite)
    return paths


_SHOT_SEPARATORS: Final = {"text": "\n", "json": "", "csv": None}


@with_options
def shots(
    videos: Videos,
    analysis: Annotated[
        Literal["packets", "auto", "fast", "full"],
        typer.Option(
            help="Set the analysis depth: packets (no decoding), auto (decode where packets are"
            " inconclusive or stand out, in long videos within a bound), fast (without a bound),"
            " full (every frame)."
        ),
    ] = "fast",
    *,
    remote: SourceOptions,
    cache: CacheOption = None,
    source_fps: SourceFps = None,
    output_format: Annotated[
        Literal["text", "json", "csv"] | None,
        typer.Option("-f", "--format", help="Select the output format. [default: text]"),
    ] = None,
    as_json: AsJson = False,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show the shots of videos, with exact timestamps.

    Cuts, dissolves and fades divide shots; flashes and changes of the light do not. CSV output is
    the scene list of PySceneDetect, one file per video.
    """
    console = Console(quiet=quiet, verbose=verbose)
    format_name = resolve_format(output_format, as_json=as_json)
    rows = read_rows(videos, console=console, remote=remote)
    with console.exit_on_error(COULD_NOT_START):
        if cache is not None:
            refuse_unwritable(Path(cache), is_folder=True)
        sink = open_sink(
            output,
            format_name=format_name,
            extension=".txt" if format_name == "text" else f".{format_name}",
            separator=_SHOT_SEPARATORS[format_name],
            sources=[row_name(row) for row in rows],
            overwrite=overwrite,
        )

    def work(index: int, item: Item) -> str:
        from seedvideo import api
        from seedvideo.sampler.analysis import UNKNOWN
        from seedvideo.sampler.analysis_cache import CACHE_DAMAGED
        from seedvideo.writers import render_shots_csv, render_shots_json, render_shots_text

        if item.start_s is not None or item.end_s is not None:
            console.info(
                f"{printable(item.id)}: shots are listed for the complete video, not for the window"
            )
        rate = rate_to_fraction(source_fps)
        with (
            remote.locate(item) as located,
            api.open(
                located, source_fps=rate, cache=cache, progress=console.update_progress
            ) as clip,
        ):
            listed = api.shots(clip, analysis=analysis)
        for note in listed.notes:
            is_shown = note == CACHE_DAMAGED or UNKNOWN in note
            (console.info if is_shown else console.debug)(note)
        render = {"text": render_shots_text, "json": render_shots_json, "csv": render_shots_csv}[
            format_name
        ]
        return render(listed)

    run_each(console, rows, work, sink=sink)
