"""Command ``seedvideo split``: clips of videos by their shots, as rows or as files.

Heavy modules are imported when they are needed.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.console import (
    COULD_NOT_START,
    WRONG_USAGE,
    Console,
    reject_closed_stdout,
    write_stdout,
)
from seedvideo.cli.options import (
    CacheOption,
    Overwrite,
    Quiet,
    SourceFps,
    Verbose,
    rate_to_fraction,
    with_options,
)
from seedvideo.cli.output import reject_inputs
from seedvideo.cli.remote_options import SourceOptions
from seedvideo.cli.sources import Row, Videos, read_rows, row_name, run_each
from seedvideo.cli.split_options import WindowOptions
from seedvideo.errors import ConfigError
from seedvideo.utils.addresses import is_address, lacks_query
from seedvideo.utils.files import (
    make_folder,
    output_names,
    refuse_existing,
    refuse_unwritable,
    sync_folder,
    writing,
)
from seedvideo.utils.text import printable
from seedvideo.writers import FORMULA_SIGNS

if TYPE_CHECKING:
    from seedvideo.clips.windows import ClipWindow, SplitOptions, VideoSplit
    from seedvideo.video import Video

ShotAnalysis = Annotated[
    Literal["packets", "auto", "fast", "full"],
    typer.Option(
        "--analysis",
        help="Set the analysis depth: packets (no decoding), auto (decode where packets are"
        " inconclusive or stand out, in long videos within a bound), fast (without a bound),"
        " full (every frame).",
    ),
]


class RowSink(Protocol):
    """Destination of rows."""

    def add(self, row: dict[str, Any]) -> None:
        """Add a row of JSON values."""


class _StdoutRows:
    """JSON lines on stdout, each written at once."""

    def __init__(self, console: Console) -> None:
        reject_closed_stdout()
        self._console = console

    def add(self, row: dict[str, Any]) -> None:
        """Write a row."""
        self._console.clear_status()
        write_stdout(json.dumps(row, ensure_ascii=True) + "\n")


@contextmanager
def _open_rows(
    output: str | None, rows: Sequence[Row], *, overwrite: bool, console: Console
) -> Iterator[RowSink]:
    """Open the destination of the rows, which are complete when the block ends.

    Raises:
        SeedVideoError: as `seedvideo.batch.table_writer.SpooledTable` does, or ``output.is_input``.
    """
    if output is None or output == "-":
        yield _StdoutRows(console)
        return
    if not output:
        raise typer.BadParameter("-o has an empty name: give a file or -")
    from seedvideo.batch.table_writer import SpooledTable

    reject_inputs([Path(output)], [row_name(row) for row in rows])
    with SpooledTable(Path(output), overwrite=overwrite) as table:
        yield table


@dataclass(frozen=True)
class _RowPaths:
    """Paths in the rows, which are relative to the folder of their file.

    Args:
        folder: folder of the file; None if the rows go to stdout.
    """

    folder: str | None

    @classmethod
    def of(cls, output: str | None) -> "_RowPaths":
        """Return the paths for a value of ``-o``."""
        return cls(None if output in (None, "-") else os.path.dirname(str(output)))

    def write(self, path: str) -> str:
        """Return a path as a row names it.

        A relative path that begins with a sign of a formula gets ``./`` in front: rows are CSV.
        """
        if is_address(path):
            return path
        if self.folder and not os.path.isabs(path):
            here, there = os.path.abspath(path), os.path.abspath(self.folder)
            # Behind a link, .. is another folder than in the text of a path.
            is_plain = os.path.realpath(there) == there
            path = os.path.relpath(here, there) if is_plain else here
        return f".{os.sep}{path}" if path.startswith(FORMULA_SIGNS) else path


@dataclass(frozen=True)
class _ClipFolder:
    """Folder of the files of clips.

    Args:
        folder: the folder.
        cut: how the files are made.
        stems: first part of the names of the clips of each video.
        paths: paths in the rows.
        overwrite: whether existing files may be replaced.
    """

    folder: Path
    cut: Literal["exact", "keyframes"]
    stems: tuple[str, ...]
    paths: _RowPaths
    overwrite: bool

    def write(
        self, index: int, item: Item, video: "Video", windows: Sequence["ClipWindow"]
    ) -> Iterator[dict[str, Any]]:
        """Write the clips of a video; yield the row of each as soon as its file is complete.

        Args:
            index: position of the video among those of the command.
            item: the video; opened where it is.
            video: the same, open.
            windows: windows of the clips.

        Raises:
            SeedVideoError: if a file exists, or a clip cannot be written.
        """
        from seedvideo.batch.clip_items import clip_items
        from seedvideo.batch.fingerprint import read_content
        from seedvideo.clips.cutting import copy_clips, encode_clip

        names = [f"{self.stems[index]}-{_clock(window)}.mp4" for window in windows]
        targets = [self.folder / name for name in names]
        for path in targets:
            refuse_existing(path, overwrite=self.overwrite)
        if not windows:
            return
        sha256 = read_content(item.video).sha256
        make_folder(self.folder)
        parts = copy_clips(video, windows) if self.cut == "keyframes" else None
        for clip, window, path in zip(clip_items(item, windows), windows, targets, strict=True):
            with writing(path, overwrite=self.overwrite, sync_name=False) as file:
                if parts is None:
                    encode_clip(video, window, file)
                else:
                    is_last = False
                    while not is_last:
                        data, is_last = next(parts)
                        file.write(data)
            yield self._row(clip, item, path, sha256)
        sync_folder(self.folder)

    def _row(self, clip: Item, film: Item, path: Path, sha256: str) -> dict[str, Any]:
        from seedvideo.batch.clip_items import item_columns

        row = item_columns(clip, path=self.paths.write(str(path)))
        start, end = row.pop("start"), row.pop("end")
        del row["start_s"], row["end_s"]  # The file of a clip begins at 0.
        return {
            **row,
            "film": self.paths.write(film.source),
            "film_start": start,
            "film_end": end,
            "film_sha256": sha256,
            "cut": self.cut,
            "reencoded": self.cut == "exact",
        }


def _clock(window: "ClipWindow") -> str:
    """Return a window for the name of a file: ``5.040-12.000``, in seconds."""
    return f"{float(window.span.start):.3f}-{float(window.span.end):.3f}"


def _reject_secret(item: Item, remote: SourceOptions) -> None:
    """Reject an address of which rows hold only a part.

    Raises:
        ConfigError: ``config.invalid``.
    """
    if lacks_query(item.source) or remote.fetcher.has_secrets(item.source):
        raise ConfigError(
            "config.invalid",
            f"{printable(item.source)} was given with a query, a signature or a password, which"
            " rows do not hold",
            hint="use addresses such as s3://BUCKET/KEY with credentials in the environment, write"
            " files with --clips DIR, or run one job: seedvideo batch run INPUT... -o OUT --split"
            " shots",
        )


def describe_split(
    item_id: str, found: "VideoSplit", options: "SplitOptions", *, without: int = 0
) -> str:
    """Describe the clips of a video on one line.

    Args:
        item_id: id of the video.
        found: its clips.
        options: how shots became clips.
        without: number of clips that are left out because no keyframe is inside.
    """
    count = len(found.windows)
    text = (
        f"{printable(item_id)}: {count:,} clip{'s' * (count != 1)} from {found.shots:,}"
        f" shot{'s' * (found.shots != 1)}"
    )
    if found.short:
        text += f"; {found.short:,} left out: shorter than {options.min_s:g} s"
    if without:
        text += f"; {without:,} left out: no keyframe inside"
    return text


@with_options
def split(
    videos: Videos,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="ROWS",
            help="Write the rows to this file (.csv, .jsonl or .parquet). [default: JSON lines on"
            " stdout]",
        ),
    ] = None,
    clips: Annotated[
        str | None,
        typer.Option(
            "--clips", metavar="DIR", help="Also write each clip to an MP4 file in this folder."
        ),
    ] = None,
    cut: Annotated[
        Literal["exact", "keyframes"] | None,
        typer.Option(
            "--cut",
            help="Encode the clips of --clips at their exact times, or copy them from keyframe to"
            " keyframe. [default: exact]",
        ),
    ] = None,
    *,
    windows: WindowOptions,
    analysis: ShotAnalysis = "fast",
    remote: SourceOptions,
    cache: CacheOption = None,
    source_fps: SourceFps = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Split videos into clips by their shots.

    Writes a row for each clip: path, id, start and end, as batch run and the other commands take
    them, and the other columns of a list. Without --clips no video is copied.
    """
    console = Console(quiet=quiet, verbose=verbose)
    if cut is not None and clips is None:
        raise typer.BadParameter("--cut can only be used with --clips DIR")
    with console.exit_on_error(WRONG_USAGE):
        options = windows.resolve(analysis)
    rows = read_rows(videos, console=console, remote=remote)
    paths = _RowPaths.of(output)
    with console.exit_on_error(COULD_NOT_START), ExitStack() as stack:
        if cache is not None:
            refuse_unwritable(Path(cache), is_folder=True)
        folder = None
        if clips is not None:
            if cut != "keyframes":
                from seedvideo.clips.cutting import require_encoder

                require_encoder()
            refuse_unwritable(Path(clips), is_folder=True)
            stems = tuple(output_names([row_name(row) for row in rows], extension=""))
            folder = _ClipFolder(Path(clips), cut or "exact", stems, paths, overwrite)
        table = stack.enter_context(_open_rows(output, rows, overwrite=overwrite, console=console))

        def work(index: int, item: Item) -> str:
            from seedvideo import api
            from seedvideo.batch.clip_items import clip_items, item_columns
            from seedvideo.clips.cutting import plan_copies
            from seedvideo.clips.windows import split_video
            from seedvideo.sampler.analysis import UNKNOWN

            if folder is None:
                _reject_secret(item, remote)
            rate = rate_to_fraction(source_fps)
            without = 0
            with (
                remote.locate(item) as located,
                api.open(
                    located, source_fps=rate, cache=cache, progress=console.update_progress
                ) as video,
            ):
                found = split_video(video, options, start_s=item.start_s, end_s=item.end_s)
                if cut == "keyframes":
                    copies = plan_copies(video, found, options)
                    found, without = copies.split, copies.without_keyframe
                if folder is None:
                    for each in clip_items(_named(item), found.windows):
                        table.add(item_columns(each, path=paths.write(item.source)))
                else:
                    placed = replace(_named(item), located=located)
                    for row in folder.write(index, placed, video, found.windows):
                        table.add(row)
            for note in found.notes:
                (console.info if UNKNOWN in note else console.debug)(note)
            console.info(describe_split(item.id, found, options, without=without))
            return ""

        run_each(console, rows, work)


def _named(item: Item) -> Item:
    """Return the item with an id that no spreadsheet runs; rows are CSV."""
    return replace(item, id=f".{os.sep}{item.id}") if item.id.startswith(FORMULA_SIGNS) else item
