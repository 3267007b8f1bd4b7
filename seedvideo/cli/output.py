"""Where results go: stdout, one file, or a folder with one file a video.

A sink takes finished texts, one a video, and can say before any work that a result could not be
written. It knows nothing of what is in them.

Pictures as the bytes of files. Imports nothing heavy before a picture is there.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, TypeAlias

import typer

from seedvideo.cli.console import refuse_closed_stdout, write_out
from seedvideo.errors import OutputError
from seedvideo.utils.files import output_names, refuse_existing, refuse_unwritable, write_file
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Sink(Protocol):
    """Takes the texts of videos one at a time; use it in a ``with`` statement."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def check(self, index: int) -> None:
        """Raise `OutputError` if the result of this video could not be written."""

    def put(self, index: int, text: str) -> None:
        """Take the result of a video."""

    def put_failed(self, index: int, text: str) -> None:
        """Take what stands in the place of a result; an empty text is left out."""


def open_sink(
    output: str | None,
    *,
    form: str,
    extension: str,
    between: str | None,
    sources: Sequence[str],
    overwrite: bool,
) -> Sink:
    """The sink that ``-o`` asks for.

    A folder is one that exists, ends in a slash, or is needed because the format holds one video a
    file and there are several.

    Args:
        output: the word after ``-o``, if it was given.
        form: name of the format.
        extension: of a file in that format, with the dot.
        between: what stands between two videos in one file; None if a file holds one video only.
        sources: the videos, one a result.
        overwrite: whether files that exist may be replaced.

    Raises:
        OutputError: ``output.exists`` if the one file is there already, or the folder is a file;
            ``output.is_input`` if writing would replace a video; ``output.unwritable`` if the
            result goes to stdout, which is closed, or to a folder that is missing or cannot be
            written.
        typer.BadParameter: if several videos cannot share one output in this format.
    """
    crowded = between is None and len(sources) > 1
    if output == "":
        raise typer.BadParameter("-o is given an empty name")
    if output is None or output == "-":
        if crowded:
            raise typer.BadParameter(f"-f {form} makes one file a video: name a folder with -o")
        refuse_closed_stdout()
        return _Stream(between or "")
    if ends_in_slash(output) or crowded or os.path.isdir(output):
        return _Folder(Path(output), sources, extension=extension, overwrite=overwrite)
    refuse_inputs([Path(output)], sources)
    return _File(Path(output), between or "", overwrite=overwrite)


def open_result(output: str | None, *, overwrite: bool) -> Sink:
    """The sink of a command that has one result for all: stdout or the file after ``-o``.

    An empty result is a result too: the file is written, unless an error ends the work.

    Raises:
        OutputError: as `open_sink` does.
        typer.BadParameter: if the name is empty.
    """
    if output == "":
        raise typer.BadParameter("-o is given an empty name")
    if output is None or output == "-":
        refuse_closed_stdout()
        return _Stream("")
    return _File(Path(output), "", overwrite=overwrite, writes_empty=True)


def ends_in_slash(output: str) -> bool:
    """Whether a word after ``-o`` names a folder even where there is none yet."""
    return output.endswith(tuple(filter(None, (os.sep, os.altsep))))


def refuse_inputs(paths: Iterable[Path], sources: Iterable[str]) -> None:
    """Refuse an output that would replace a video, links followed.

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
    """What two names of one file share; None where there is no file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


class _Plain:
    """A sink that neither opens nor refuses anything."""

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
        """Every result can be taken."""

    def put(self, index: int, text: str) -> None:
        """Drop the text."""

    def put_failed(self, index: int, text: str) -> None:
        """Treat it as a result."""
        self.put(index, text)


NOWHERE: Final[Sink] = _Plain()
"""For work that writes its own files."""


class _Joined(_Plain):
    """Texts one after another, with what the format wants between them."""

    def __init__(self, between: str) -> None:
        self._between = between
        self._empty = True

    def joined(self, text: str) -> str:
        """The text to append for this one."""
        if not text:
            return ""
        joined = text if self._empty else self._between + text
        self._empty = False
        return joined


class _Stream(_Joined):
    """stdout: each result is out as soon as it is there."""

    def put(self, index: int, text: str) -> None:
        """Write it."""
        write_out(self.joined(text))


class _File(_Joined):
    """One file for all: it appears when the work ends, with every result that was finished."""

    def __init__(
        self, path: Path, between: str, *, overwrite: bool, writes_empty: bool = False
    ) -> None:
        super().__init__(between)
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
        # Also after Ctrl-C: what was finished is worth keeping. Nothing finished leaves no file.
        data = "".join(self._parts).encode("utf-8", "backslashreplace")
        if data or (self._writes_empty and error is None):
            write_file(self._path, data, overwrite=self._overwrite)

    def put(self, index: int, text: str) -> None:
        """Keep it for the end."""
        self._parts.append(self.joined(text))


class _Folder(_Plain):
    """One file a video, written when the video is done; a failed one leaves none."""

    def __init__(
        self, folder: Path, sources: Sequence[str], *, extension: str, overwrite: bool
    ) -> None:
        refuse_unwritable(folder, is_folder=True)
        self._paths = [folder / name for name in output_names(sources, extension=extension)]
        refuse_inputs(self._paths, sources)
        self._overwrite = overwrite

    def check(self, index: int) -> None:
        """Refuse a file that is there already."""
        refuse_existing(self._paths[index], overwrite=self._overwrite)

    def put(self, index: int, text: str) -> None:
        """Write its file."""
        data = text.encode("utf-8", "backslashreplace")
        write_file(self._paths[index], data, overwrite=self._overwrite)

    def put_failed(self, index: int, text: str) -> None:
        """Leave no file."""


ImageFormat: TypeAlias = Literal["png", "jpeg", "webp"]

DEFAULT_QUALITY: Final = 90
"""Of JPEG and WebP, from 1 to 100: text in frames stays free of visible blocks."""

SUFFIXES: Final[dict[ImageFormat, str]] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True)
class Encoding:
    """How a picture becomes a file.

    Args:
        form: the format.
        quality: of JPEG and WebP, from 1 to 100; PNG is exact and has none.
    """

    form: ImageFormat = "png"
    quality: int = DEFAULT_QUALITY

    @property
    def suffix(self) -> str:
        """Of a file name, with the dot."""
        return SUFFIXES[self.form]

    @property
    def options(self) -> dict[str, Any]:
        """What Pillow's ``save`` takes."""
        if self.form == "png":
            # A third of the default's time, files up to a fourth larger: benchmarks/pictures.py.
            # Looking for runs only is as fast, but makes drawn pictures 15 times as large.
            return {"compress_level": 1}
        return {"quality": self.quality}


PNG: Final = Encoding()


def encoded(pixels: "npt.NDArray[np.uint8]", encoding: Encoding) -> bytes:
    """A picture ``(height_px, width_px, 3)`` as the bytes of a file."""
    from PIL import Image

    data = BytesIO()
    Image.fromarray(pixels).save(data, format=encoding.form.upper(), **encoding.options)
    return data.getvalue()
