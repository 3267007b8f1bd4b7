"""``seedvideo frames``: the planned frames as pictures, to look at what a model would see."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from seedvideo.cli.options import ModelOption, Quiet, Verbose
from seedvideo.cli.pictures import png
from seedvideo.cli.talk import COULD_NOT_START, SOME_FAILED, Talk
from seedvideo.cli.wishes import Wishes, with_wishes
from seedvideo.errors import OutputError
from seedvideo.writers.files import write_file
from seedvideo.writers.inert import printable

_OURS: Final = re.compile(r"\d{4,}_\d+\.\d{3}s\.png|contact_sheet\.png|plan\.png|plan\.json")


@with_wishes
def frames(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.")],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="DIR", help="Folder for the pictures.")
    ],
    wishes: Wishes,
    model: ModelOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the pictures of an earlier run.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the frames that a model would see, sized as it sees them.

    The folder gets a picture a frame, named by its place and its time (0003_12.500s.png), a
    contact_sheet.png and the plan.json; an adaptive plan also a plan.png over time.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    folder = Path(output)
    with talk.guarded(COULD_NOT_START):
        refuse_used(folder, overwrite=overwrite)
    prices = None if model is None else talk.prices(model)
    talk.begin(video)
    with talk.guarded(SOME_FAILED, source=video):
        from seedvideo.sampler.plot import plot as draw_plan
        from seedvideo.sampler.sheet import contact_sheet

        with wishes.open(video, progress=talk.looked) as clip:
            made = wishes.plan(clip, model=prices)
            remove_pictures(folder)
            shown = []
            for number, (_, frame) in enumerate(clip.frames(made), start=1):
                name = f"{number:04d}_{float(frame.pts):.3f}s.png"
                write_file(folder / name, png(frame.pixels))
                shown.append(frame)
            if made.decision is not None:
                write_file(
                    folder / "plan.png", png(draw_plan(made, clip.analysis(wishes.analysis)))
                )
        write_file(folder / "contact_sheet.png", png(contact_sheet(shown, made)))
        text = json.dumps(made.to_json(), ensure_ascii=True, allow_nan=False, indent=1)
        write_file(folder / "plan.json", f"{text}\n".encode("ascii"))
    talk.note(f"{len(shown)} frames and contact_sheet.png in {output}")


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


def remove_pictures(folder: Path) -> None:
    """Take away an earlier run's files, known by their names, and no others.

    Old pictures beside new ones would tell a wrong story.
    """
    if os.path.isdir(folder):
        for path in folder.iterdir():
            if _OURS.fullmatch(path.name) and not path.is_dir():
                path.unlink()
