"""From what a job names - files, folders, globs, lists - to its items, one at a time.

The order is the same in every run: inputs as given, folders and globs sorted by name. No video is
opened here.
"""

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Final

from seedvideo.batch.item import BadRow, Item
from seedvideo.batch.manifest import SUFFIXES, RawRow, listed, read_manifest
from seedvideo.batch.seen import Seen
from seedvideo.errors import BatchError
from seedvideo.media.timeline import read_moment
from seedvideo.writers.inert import printable

VIDEO_SUFFIXES: Final = frozenset(
    f".{name}"
    for name in (
        *("mp4", "m4v", "mov", "mkv", "webm", "avi", "flv", "ogv", "wmv", "asf", "mpg", "mpeg"),
        *("ts", "m2ts", "mts", "3gp", "ivf", "gif", "apng", "y4m"),
    )
)
"""What a folder is searched for; a file that is named is taken whatever its name."""

_PATHS: Final = ("path", "video", "source")
_COLUMNS: Final = frozenset((*_PATHS, "id", "question", "options", "query", "start", "end"))


def read(
    inputs: Sequence[str], *, folder: str = "", stdin: IO[bytes] | None = None
) -> Iterator[Item | BadRow]:
    """All rows of the inputs, lazily; memory grows by some 16 to 64 bytes a row.

    Args:
        inputs: files, folders, globs, manifests by their suffix, or ``-``.
        folder: where relative names are looked for, as `Job.folder`; empty for the working
            folder. Ids and sources stay as given, wherever that is.
        stdin: what ``-`` reads: a path a line, or ended by NUL bytes.

    Raises:
        InputError: ``input.not_found`` or ``input.unreadable`` if an input cannot be read.
        BatchError: ``batch.manifest_invalid``, or ``batch.no_input`` if there is not one row.
        ConfigError: ``config.package_missing`` where parquet cannot be read.
    """
    names = _Names()
    count = 0
    for one in inputs:
        for where, row, below in _rows(one, folder, stdin):
            count += 1
            yield names.item(where, row, below)
    if not count:
        raise BatchError(
            "batch.no_input",
            "there is no video in the inputs",
            hint="name files, folders, globs in quotes, or lists of paths",
        )


def _rows(one: str, folder: str, stdin: IO[bytes] | None) -> Iterator[tuple[str, Any, str]]:
    def mere(path: str) -> tuple[str, Any, str]:
        return printable(path), {"path": path}, ""

    def of(rows: Iterator[RawRow], below: str) -> Iterator[tuple[str, Any, str]]:
        return ((where, row, below) for where, row in rows)

    path = os.path.join(folder, one)
    if one == "-":
        if stdin is None:
            raise BatchError("batch.no_input", "there is no stdin to read a list from")
        yield from of(listed(stdin, "stdin"), "")
    elif os.path.isdir(path):
        yield from map(mere, _videos_below(one, folder))
    elif Path(one).suffix.lower() in SUFFIXES:
        yield from of(read_manifest(Path(path), shown=printable(one)), os.path.dirname(one))
    elif glob.has_magic(one) and "://" not in one and not os.path.lexists(path):
        found = sorted(glob.glob(one, root_dir=folder or None, recursive=True), key=os.fsencode)
        for name in found:
            if os.path.isdir(os.path.join(folder, name)):
                continue
            yield mere(name)
        if not found:
            raise BatchError("batch.no_input", f"nothing has a name like {printable(one)}")
    else:
        yield mere(one)


def _videos_below(name: str, folder: str) -> Iterator[str]:
    """Videos in a folder and those in it, sorted; links to folders are not followed."""
    try:
        with os.scandir(os.path.join(folder, name)) as scan:
            entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        # It fails as an item of its own, so that the others go on.
        yield name
        return
    for entry in entries:
        inner = os.path.join(name, entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _videos_below(inner, folder)
        elif os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES:
            yield inner


class _Names:
    """Gives every row an id of its own."""

    def __init__(self) -> None:
        self._ids = Seen()
        # What was asked beyond mere paths, and the ids with which that began.
        self._asked = Seen()
        self._repeats: dict[str, int] = {}

    def item(self, where: str, row: Any, folder: str) -> Item | BadRow:
        if isinstance(row, str):
            return self._bad(where, "batch.row_invalid", row)
        try:
            item = _item(row, folder)
        except ValueError as error:
            return self._bad(where, "batch.row_invalid", printable(str(error)))
        if self._ids.add(item.id):
            if item.has_words:
                self._asked.add(item.id)
                self._asked.add(_asked(item))
            return item
        shown = printable(item.id[:200])
        if "id" in row:
            return self._bad(where, "batch.id_repeated", f"the id {shown} was there before")
        is_path_again = not item.has_words and item.id not in self._asked
        if is_path_again or not self._asked.add(_asked(item)):
            message = f"{shown} was there before, word by word"
            return replace(self._bad(where, "batch.id_repeated", message), is_repeat=True)
        return replace(item, id=self._free(item.id))

    def _bad(self, where: str, code: str, message: str) -> BadRow:
        name = where if self._ids.add(where) else self._free(where)
        return BadRow(id=name, where=where, code=code, message=message[:1_000])

    def _free(self, name: str) -> str:
        while True:
            self._repeats[name] = self._repeats.get(name, 1) + 1
            other = f"{name}#{self._repeats[name]}"
            if self._ids.add(other):
                return other


def _asked(item: Item) -> tuple[object, ...]:
    return (item.id, item.question, item.options, item.query, item.start_s, item.end_s)


def _item(row: Mapping[str, Any], folder: str) -> Item:
    """The item of a row's columns.

    Raises:
        ValueError: telling what is wrong with it.
    """
    if len(row) == 1:
        ((name, path),) = row.items()
        if name in _PATHS and path and isinstance(path, str):
            # Most rows of the longest lists: nothing else is to be checked.
            source = os.path.join(folder, path) if folder else path
            return Item(id=source, source=source)
    unknown = sorted(str(name)[:40] for name in row if name not in _COLUMNS)
    if unknown:
        known = ", ".join(sorted(_COLUMNS))
        raise ValueError(f"unknown column {unknown[0]!r}, known are {known}")
    paths = [name for name in _PATHS if name in row]
    if len(paths) != 1:
        raise ValueError(f"{len(paths)} of the columns path, video, source, expected one")
    source = _text(row, paths[0])
    if folder:
        source = os.path.join(folder, source)
    return Item(
        id=_text(row, "id") if "id" in row else source,
        source=source,
        question=_text(row, "question"),
        options=_options(row.get("options", "")),
        query=_text(row, "query"),
        start_s=_moment(row, "start"),
        end_s=_moment(row, "end"),
    )


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name, "")
    if name == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    if name in (*_PATHS, "id") and not value:
        raise ValueError(f"{name} is empty")
    return value


def _options(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"options are no JSON: {error}") from error
        else:
            value = value.split("|") if value else []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("options are not a list of texts")
    return tuple(value)


def _moment(row: Mapping[str, Any], name: str) -> Fraction | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{name} is not a time")
    return read_moment(str(value))
