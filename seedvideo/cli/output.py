"""Destinations of results (stdout, one file, or one file per video) and image encoding.

A sink receives one finished text per video. Destinations are checked before any work, so that no
result is computed that cannot be written.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, TypeAlias

import typer

from seedvideo.cli.console import reject_closed_stdout, write_stdout
from seedvideo.errors import OutputError
from seedvideo.utils.files import output_names, refuse_existing, refuse_unwritable, write_file
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class OutputSink(Protocol):
    """Destination of one text per video; use it in a ``with`` statement."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def check(self, index: int) -> None:
        """Raise `OutputError` if the result of this video could not be written."""

    def write(self, index: int, text: str) -> None:
        """Write the result of a video."""

    def write_failed(self, index: int, text: str) -> None:
        """Write the text of a failed video; an empty text is omitted."""


def open_sink(
    output: str | None,
    *,
    format_name: str,
    extension: str,
    separator: str | None,
    sources: Sequence[str],
    overwrite: bool,
) -> OutputSink:
    """Open the destination that ``-o`` selects.

    The destination is a folder if it exists as one, ends in a slash, or is needed because the
    format has one video per file and there are several.

    Args:
        output: value of ``-o``; None if it was not given.
        format_name: name of the format.
        extension: file extension of the format, with the dot.
        separator: text between two videos in one file; None if a file holds one video only.
        sources: names of the videos, one per result.
        overwrite: replace existing files.

    Raises:
        OutputError: ``output.exists`` if the file exists already, or the folder is a file;
            ``output.is_input`` if writing would replace a video; ``output.unwritable`` if the
            result goes to stdout, which is closed, or to a folder that is missing or cannot be
            written.
        typer.BadParameter: if several videos cannot share one output in this format.
    """
    crowded = separator is None and len(sources) > 1
    if output == "":
        raise typer.BadParameter("-o has an empty name: give a file, a folder or -")
    if output is None or output == "-":
        if crowded:
            raise typer.BadParameter(
                f"-f {format_name} writes one file per video: name a folder with -o"
            )
        reject_closed_stdout()
        return _StdoutSink(separator or "")
    if ends_in_slash(output) or crowded or os.path.isdir(output):
        return _FolderSink(Path(output), sources, extension=extension, overwrite=overwrite)
    reject_inputs([Path(output)], sources)
    return _FileSink(Path(output), separator or "", overwrite=overwrite)


def open_result(output: str | None, *, overwrite: bool) -> OutputSink:
    """Open the destination of a command with a single result: stdout or the file of ``-o``.

    The file is written even if the result is empty, unless an error ends the work.

    Raises:
        OutputError: as `open_sink` does.
        typer.BadParameter: if the name is empty.
    """
    if output == "":
        raise typer.BadParameter("-o has an empty name: give a file, a folder or -")
    if output is None or output == "-":
        reject_closed_stdout()
        return _StdoutSink("")
    return _FileSink(Path(output), "", overwrite=overwrite, writes_empty=True)


def ends_in_slash(output: str) -> bool:
    """Return whether a value of ``-o`` names a folder, existing or not."""
    return output.endswith(tuple(filter(None, (os.sep, os.altsep))))


def reject_inputs(paths: Iterable[Path], sources: Iterable[str]) -> None:
    """Reject an output that would replace a video; links are followed.

    Raises:
        OutputError: ``output.is_input``.
    """
    videos = {_identity(source) for source in sources} - {None}
    for path in paths:
        if _identity(path) in videos:
            raise OutputError(
                "output.is_input",
                f"{printable(str(path))} is one of the videos",
                hint="name another file or folder for the results",
            )


def _identity(path: str | Path) -> tuple[int, int] | None:
    """Return device and inode of a file; None if it does not exist."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


class _NullSink:
    """A sink that discards all texts, for work that writes its own files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def check(self, index: int) -> None:
        """Accept every result."""

    def write(self, index: int, text: str) -> None:
        """Discard the text."""

    def write_failed(self, index: int, text: str) -> None:
        """Write it as a result."""
        self.write(index, text)


NULL_SINK: Final[OutputSink] = _NullSink()
"""Destination of commands that write their own files."""


class _ConcatenatingSink(_NullSink):
    """A sink that concatenates texts with the separator of the format."""

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._empty = True

    def _join(self, text: str) -> str:
        """Return the text with a separator in front, if it is not the first."""
        if not text:
            return ""
        joined = text if self._empty else self._separator + text
        self._empty = False
        return joined


class _StdoutSink(_ConcatenatingSink):
    """stdout: each result is written at once."""

    def write(self, index: int, text: str) -> None:
        """Write it."""
        write_stdout(self._join(text))


class _FileSink(_ConcatenatingSink):
    """One file for all videos, written when the work ends, with every finished result."""

    def __init__(
        self, path: Path, separator: str, *, overwrite: bool, writes_empty: bool = False
    ) -> None:
        super().__init__(separator)
        self._path = path
        self._overwrite = overwrite
        self._writes_empty = writes_empty
        self._parts: list[str] = []
        refuse_existing(path, overwrite=overwrite)
        refuse_unwritable(path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Also after Ctrl-C: finished results are kept. Without any, no file is written.
        data = "".join(self._parts).encode("utf-8", "backslashreplace")
        if data or (self._writes_empty and error is None):
            write_file(self._path, data, overwrite=self._overwrite)

    def write(self, index: int, text: str) -> None:
        """Keep the text until the end."""
        self._parts.append(self._join(text))


class _FolderSink(_NullSink):
    """One file per video, written when the video is done; a failed one has none."""

    def __init__(
        self, folder: Path, sources: Sequence[str], *, extension: str, overwrite: bool
    ) -> None:
        refuse_unwritable(folder, is_folder=True)
        self._paths = [folder / name for name in output_names(sources, extension=extension)]
        reject_inputs(self._paths, sources)
        self._overwrite = overwrite

    def check(self, index: int) -> None:
        """Reject an existing file."""
        refuse_existing(self._paths[index], overwrite=self._overwrite)

    def write(self, index: int, text: str) -> None:
        """Write its file."""
        data = text.encode("utf-8", "backslashreplace")
        write_file(self._paths[index], data, overwrite=self._overwrite)

    def write_failed(self, index: int, text: str) -> None:
        """Write no file."""


ImageFormat: TypeAlias = Literal["png", "jpeg", "webp"]

DEFAULT_QUALITY: Final = 90
"""Quality of JPEG and WebP, from 1 to 100: text in frames shows no visible blocks."""

SUFFIXES: Final[dict[ImageFormat, str]] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True)
class ImageEncoding:
    """Format and quality of an image file.

    Args:
        format_name: image format.
        quality: quality of JPEG and WebP, from 1 to 100; unused for PNG, which is lossless.
    """

    format_name: ImageFormat = "png"
    quality: int = DEFAULT_QUALITY

    @property
    def suffix(self) -> str:
        """Return the file extension, with the dot."""
        return SUFFIXES[self.format_name]

    @property
    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of Pillow's ``save``."""
        if self.format_name == "png":
            # A third of the default's time, files up to a fourth larger: benchmarks/pictures.py.
            # Run-length matching alone is as fast, but makes drawn images 15 times as large.
            return {"compress_level": 1}
        return {"quality": self.quality}


PNG: Final = ImageEncoding()


def encode_image(pixels: "npt.NDArray[np.uint8]", encoding: ImageEncoding) -> bytes:
    """Encode RGB pixels ``(height_px, width_px, 3)`` as an image file."""
    from PIL import Image

    data = BytesIO()
    Image.fromarray(pixels).save(data, format=encoding.format_name.upper(), **encoding.options)
    return data.getvalue()
