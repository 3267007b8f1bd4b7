"""Where records go: stdout, one file, or a folder with one file a video.

Knows the formats only through the table of writers. Each sink can say before any work that a result
could not be written.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import typer

from seedvideo.cli.talk import refuse_closed_stdout, write_out
from seedvideo.errors import OutputError
from seedvideo.writers import WRITERS, Writer
from seedvideo.writers.files import output_names, refuse_existing, write_file
from seedvideo.writers.inert import printable

if TYPE_CHECKING:
    from seedvideo.records import Record


class Sink(Protocol):
    """Takes records one at a time; use it in a ``with`` statement."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def check(self, source: str) -> None:
        """Raise `OutputError` if the record of this video could not be written."""

    def put(self, record: "Record") -> None:
        """Take one record."""


def open_sink(output: str | None, *, form: str, sources: Sequence[str], overwrite: bool) -> Sink:
    """The sink that ``-o`` asks for.

    A folder is one that exists, ends in a slash, or is needed because the format holds one video a
    file and there are several.

    Raises:
        OutputError: ``output.exists`` if the one file is there already, or the folder is a file;
            ``output.is_input`` if writing would replace a video; ``output.unwritable`` if the
            result goes to stdout, which is closed.
        typer.BadParameter: if several videos cannot share one output in this format.
    """
    writer = WRITERS[form]
    crowded = writer.between is None and len(sources) > 1
    if output == "":
        raise typer.BadParameter("-o is given an empty name")
    if output is None or output == "-":
        if crowded:
            raise typer.BadParameter(f"-f {form} makes one file a video: name a folder with -o")
        refuse_closed_stdout()
        return _Stream(writer)
    ends_in_slash = output.endswith(tuple(filter(None, (os.sep, os.altsep))))
    if ends_in_slash or crowded or os.path.isdir(output):
        return _Folder(writer, Path(output), sources, overwrite=overwrite)
    if any(_is_same_file(output, source) for source in sources):
        raise OutputError(
            "output.is_input",
            f"{printable(output)} is one of the videos",
            hint="name another file with -o",
        )
    return _File(writer, Path(output), overwrite=overwrite)


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False  # one of them is not there


class _Joined:
    """Records one after another, with what the format wants between them."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._empty = True

    def add(self, record: "Record") -> str:
        """The text to append for this record."""
        if record.status == "failed" and not self._writer.shows_failed:
            return ""
        text = self._writer.render(record)
        if not self._empty and self._writer.between:
            text = self._writer.between + text
        self._empty = False
        return text


class _Stream:
    """stdout: each record is out as soon as it is done."""

    def __init__(self, writer: Writer) -> None:
        self._joined = _Joined(writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def check(self, source: str) -> None:
        pass

    def put(self, record: "Record") -> None:
        write_out(self._joined.add(record))


class _File:
    """One file for all: it appears when the work ends, with every record that was finished."""

    def __init__(self, writer: Writer, path: Path, *, overwrite: bool) -> None:
        self._joined = _Joined(writer)
        self._path = path
        self._overwrite = overwrite
        self._parts: list[str] = []
        refuse_existing(path, overwrite=overwrite)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Also after Ctrl-C: what was finished is worth keeping. Nothing finished leaves no file.
        data = "".join(self._parts).encode("utf-8", "backslashreplace")
        if data:
            write_file(self._path, data, overwrite=self._overwrite)

    def check(self, source: str) -> None:
        pass

    def put(self, record: "Record") -> None:
        self._parts.append(self._joined.add(record))


class _Folder:
    """One file a video, written when the video is done; a failed one leaves none."""

    def __init__(
        self, writer: Writer, folder: Path, sources: Sequence[str], *, overwrite: bool
    ) -> None:
        if os.path.lexists(folder) and not folder.is_dir():
            raise OutputError(
                "output.exists",
                f"{printable(str(folder))} is not a folder",
                hint="name a folder with -o",
            )
        names = output_names(sources, extension=writer.extension)
        self._paths = {source: folder / name for source, name in zip(sources, names, strict=True)}
        self._writer = writer
        self._overwrite = overwrite

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def check(self, source: str) -> None:
        refuse_existing(self._paths[source], overwrite=self._overwrite)

    def put(self, record: "Record") -> None:
        if record.status == "done":
            data = self._writer.render(record).encode("utf-8", "backslashreplace")
            write_file(self._paths[record.source], data, overwrite=self._overwrite)
