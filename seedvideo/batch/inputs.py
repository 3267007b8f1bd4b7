"""Items of a job, read lazily from files, folders, globs and lists.

The order is the same in every run: inputs as given, folders and globs sorted by name. No video is
opened. Times are exact seconds.
"""

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Final, Self

from seedvideo.batch.container_rows import (
    is_local_container,
    iter_container_rows,
    iter_remote_rows,
)
from seedvideo.batch.extra_columns import format_extra
from seedvideo.batch.manifest import (
    MANIFEST_SUFFIXES,
    HashSet,
    RawRow,
    read_manifest,
    read_path_list,
)
from seedvideo.batch.manifest_check import validate_manifest
from seedvideo.errors import BatchError, SeedVideoError
from seedvideo.media.source import OpenedInput
from seedvideo.remote.containers import CONTAINER_SUFFIXES
from seedvideo.remote.fetching import Fetcher, suffix_of
from seedvideo.utils.addresses import is_address, safe_name
from seedvideo.utils.text import printable
from seedvideo.utils.timecode import parse_timecode


@dataclass(frozen=True, kw_only=True)
class Item:
    """A video and the values of its row; the job supplies what the row leaves out.

    Args:
        id: identifies the item in its job, in every run: the id of its row, or the source. Rows
            that repeat a source with other values get ``#2``, ``#3`` appended.
        source: path as given, an address without secrets, or ``CONTAINER::MEMBER``;
            `Job.resolve_path` returns where it is opened.
        question: question for the task ``ask``.
        options: answer options for the task ``ask``.
        query: query for the task ``ground``.
        start_s: start of the window.
        end_s: end of the window.
        extra: the other columns of its row as one JSON object; empty if there are none. They go to
            the exports and change nothing else.
        origin: line of the list that the item is from, for people; empty for a named file.
        located: where the video is opened if not at ``source``: the address with its secrets, or
            an open file. It is neither stored nor shown.

    Raises:
        ValueError: if it has no id or no source, or its window ends before it starts.
    """

    id: str
    source: str
    question: str = ""
    options: tuple[str, ...] = ()
    query: str = ""
    start_s: Fraction | None = None
    end_s: Fraction | None = None
    extra: str = ""
    origin: str = field(default="", compare=False)
    located: str | OpenedInput | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.id or not self.source:
            raise ValueError("an item needs an id and a source")
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            raise ValueError(
                f"the window ends at {float(self.end_s):g} s,"
                f" expected a time after its start at {float(self.start_s or 0):g} s"
            )

    @property
    def video(self) -> str | OpenedInput:
        """What is opened."""
        return self.source if self.located is None else self.located

    @property
    def words(self) -> tuple[object, ...]:
        """Question, options, query and window as JSON values; all empty for a path only."""
        return (
            self.question,
            list(self.options),
            self.query,
            None if self.start_s is None else str(self.start_s),
            None if self.end_s is None else str(self.end_s),
        )

    @property
    def has_words(self) -> bool:
        """Whether the row has any value besides its id and path."""
        return bool(self.question or self.options or self.query) or self.has_window

    @property
    def has_window(self) -> bool:
        """Whether the row names a part of the video."""
        return self.start_s is not None or self.end_s is not None

    def to_json(self) -> str:
        """Return source and values as one line of ASCII JSON; any bytes of a name survive.

        It decides whether an earlier outcome still holds, so id, `extra` and `origin` are left out.
        """
        if not self.has_words:
            return f'{{"source": {json.dumps(self.source)}}}'
        values: dict[str, Any] = {"source": self.source}
        ids = ("question", "options", "query", "start_s", "end_s")
        named = zip(ids, self.words, strict=True)
        values |= {name: word for name, word in named if word not in ("", [], None)}
        return json.dumps(values, ensure_ascii=True)

    @classmethod
    def from_json(cls, id: str, text: str) -> Self:  # noqa: A002  # as the field
        """Parse a line that `to_json` returned.

        Raises:
            ValueError: if it is not valid.
        """
        try:
            values = json.loads(text)
            unknown = set(values) - _FIELDS
            if unknown:
                raise ValueError(f"unknown keys {sorted(unknown)}")
            for name in ("start_s", "end_s"):
                if name in values:
                    values[name] = Fraction(values[name])
            return cls(id=id, **{**values, "options": tuple(values.get("options", ()))})
        except (TypeError, AttributeError, ZeroDivisionError, RecursionError) as error:
            raise ValueError(f"not an item: {error}") from error


_FIELDS: Final = {each.name for each in fields(Item)} - {"id", "extra", "origin", "located"}


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row of the input that is not a valid item; it fails at once and the job continues.

    Args:
        id: identifies it in its job: the row's own id if usable, else its position.
        where: position for people, such as ``list.csv line 7``.
        code: ``batch.row_invalid``, ``batch.id_repeated``, or another error code.
        message: what is wrong with it.
        is_repeat: whether an earlier row has the same values, so that nothing is lost.
        extra: its other columns, if they are readable; see `Item`.
    """

    id: str
    where: str
    code: str
    message: str
    is_repeat: bool = False
    extra: str = ""


VIDEO_SUFFIXES: Final = frozenset(
    f".{name}"
    for name in (
        *("mp4", "m4v", "mov", "mkv", "webm", "avi", "flv", "ogv", "wmv", "asf", "mpg", "mpeg"),
        *("ts", "m2ts", "mts", "3gp", "ivf", "gif", "apng", "y4m"),
    )
)
"""Suffixes of videos in a folder; a file that is named directly may have any suffix."""

PATH_COLUMNS: Final = ("path", "video", "source")
"""Columns that may name the video; a row has exactly one of them."""

KNOWN_COLUMNS: Final = frozenset(
    (*PATH_COLUMNS, "id", "question", "options", "query", "start", "end")
)
"""Columns that have a meaning; others go to the exports."""


def read_inputs(
    inputs: Sequence[str],
    *,
    folder: str = "",
    stdin: IO[bytes] | None = None,
    fetcher: Fetcher | None = None,
) -> Iterator[Item | BadRow]:
    """Yield all rows of the inputs lazily; memory grows by 16 to 64 bytes per row.

    Args:
        inputs: files, folders, globs, addresses, manifests and containers (by suffix), or ``-``.
        folder: folder that relative names start from, as `Job.folder`; empty for the working
            folder. Ids and sources stay as given.
        stdin: stream for ``-``: one path per line, or paths that end with NUL bytes.
        fetcher: fetches lists and containers from servers, and keeps the secrets of addresses; None
            for one with the default options.

    Raises:
        InputError: ``input.not_found`` or ``input.unreadable`` if an input cannot be read.
        BatchError: ``batch.manifest_invalid``, or ``batch.no_input`` if there is not one row.
        ConfigError: ``config.package_missing`` if parquet cannot be read.
    """
    validate_manifests(inputs, folder=folder)
    used = Fetcher(folder=folder) if fetcher is None else fetcher
    ids = _IdAllocator(used)
    count = 0
    for one in _expand(inputs, folder):
        for where, row, below in _iter_rows(one, folder, stdin, used):
            count += 1
            yield ids.allocate(where, row, below)
    if not count:
        raise BatchError(
            "batch.no_input",
            "no video found in the inputs",
            hint="name files, folders, globs in quotes, or lists of paths",
        )


def validate_manifests(inputs: Sequence[str], *, folder: str = "") -> None:
    """Check the lists among the inputs as a whole, before the job starts.

    Args:
        inputs: inputs as for `read_inputs`; only lists are checked.
        folder: folder as for `read_inputs`.

    Raises:
        BatchError: ``batch.manifest_invalid``.
        ConfigError: ``config.package_missing`` if parquet cannot be read.
    """
    for one in find_manifests(inputs, folder=folder):
        path = Path(os.path.join(folder, one))
        validate_manifest(path, display_name=printable(one), path_columns=PATH_COLUMNS)


def find_manifests(inputs: Sequence[str], *, folder: str = "") -> list[str]:
    """Return the inputs that are lists on this machine."""
    return [
        one
        for one in _expand(inputs, folder)
        if Path(one).suffix.lower() in MANIFEST_SUFFIXES
        and not is_address(one)
        and not os.path.isdir(os.path.join(folder, one))
        and not is_local_container(os.path.join(folder, one))
    ]


def _iter_rows(
    one: str, folder: str, stdin: IO[bytes] | None, fetcher: Fetcher
) -> Iterator[tuple[str, Any, str]]:
    def path_row(path: str) -> tuple[str, Any, str]:
        return printable(safe_name(path)), {"path": path}, ""

    def of(rows: Iterator[RawRow], below: str) -> Iterator[tuple[str, Any, str]]:
        return ((where, row, below) for where, row in rows)

    path = os.path.join(folder, one)
    if is_address(one):
        is_file_of_rows = suffix_of(one) in _SUFFIXES_OF_ROWS
        yield from iter_remote_rows(one, fetcher) if is_file_of_rows else [path_row(one)]
    elif one == "-":
        if stdin is None:
            raise BatchError("batch.no_input", "stdin is not available to read a list from")
        yield from of(read_path_list(stdin, "stdin"), "")
    elif is_local_container(path):
        yield from iter_container_rows(one, fetcher)
    elif os.path.isdir(path):
        yield from map(path_row, _iter_videos(one, folder))
    elif Path(one).suffix.lower() in MANIFEST_SUFFIXES:
        yield from of(read_manifest(Path(path), display_name=printable(one)), os.path.dirname(one))
    elif _is_glob(one, folder):
        yield from map(path_row, _iter_matches(one, folder))
    else:
        yield path_row(one)


def _expand(inputs: Sequence[str], folder: str) -> Iterator[str]:
    """Yield the inputs, with the matches of a glob of lists or containers in its place."""
    for one in inputs:
        if suffix_of(one) in _SUFFIXES_OF_ROWS and _is_glob(one, folder):
            yield from _iter_matches(one, folder)
        else:
            yield one


_SUFFIXES_OF_ROWS: Final = (*MANIFEST_SUFFIXES, *CONTAINER_SUFFIXES)


def _is_glob(one: str, folder: str) -> bool:
    return (
        glob.has_magic(one)
        and not is_address(one)
        and not os.path.lexists(os.path.join(folder, one))
    )


def _iter_matches(pattern: str, folder: str) -> Iterator[str]:
    """Yield the files that match a glob, sorted."""
    found = sorted(glob.glob(pattern, root_dir=folder or None, recursive=True), key=os.fsencode)
    yield from (name for name in found if not os.path.isdir(os.path.join(folder, name)))
    if not found:
        raise BatchError("batch.no_input", f"no file matches {printable(pattern)}")


def _iter_videos(name: str, folder: str) -> Iterator[str]:
    """Yield videos of a folder and its subfolders, sorted; links to folders are not followed."""
    try:
        with os.scandir(os.path.join(folder, name)) as scan:
            entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        # It becomes an item that fails, so that the others are processed.
        yield name
        return
    for entry in entries:
        inner = os.path.join(name, entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _iter_videos(inner, folder)
        elif os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES:
            yield inner


class _IdAllocator:
    """Assigns a unique id to each row, and passes the secrets of addresses to the fetcher."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._ids = HashSet()
        # Values of rows that have more than a path, and the ids of their first occurrences.
        self._keys = HashSet()
        self._repeats: dict[str, int] = {}

    def allocate(self, where: str, row: Any, folder: str) -> Item | BadRow:
        if isinstance(row, str):
            return self._bad_row(where, "batch.row_invalid", row)
        if isinstance(row, SeedVideoError):
            return self._bad_row(where, row.code, row.message.removeprefix(f"{where}: "))
        known_columns, extra = _split_columns(row)
        try:
            item = _parse_item(known_columns, folder)
        except ValueError as error:
            return self._bad_row(where, "batch.row_invalid", printable(str(error)), extra)
        if item.located is not None:
            self._fetcher.note_secrets(str(item.located))
            item = replace(item, located=None)
        if extra or where != printable(item.source):
            item = replace(item, extra=extra, origin=where)
        has_more = item.has_words or bool(extra)
        if self._ids.add(item.id):
            if has_more:
                self._keys.add(item.id)
                self._keys.add(_row_key(item))
            return item
        display_name = printable(item.id[:200])
        if "id" in known_columns:
            message = f"the id {display_name} was there before"
            return self._bad_row(where, "batch.id_repeated", message, extra)
        is_path_again = not has_more and item.id not in self._keys
        if is_path_again or not self._keys.add(_row_key(item)):
            message = f"{display_name} was there before, word by word"
            return replace(
                self._bad_row(where, "batch.id_repeated", message, extra), is_repeat=True
            )
        return replace(item, id=self._free_id(item.id))

    def _bad_row(self, where: str, code: str, message: str, extra: str = "") -> BadRow:
        name = where if self._ids.add(where) else self._free_id(where)
        return BadRow(id=name, where=where, code=code, message=message[:1_000], extra=extra)

    def _free_id(self, name: str) -> str:
        while True:
            self._repeats[name] = self._repeats.get(name, 1) + 1
            other = f"{name}#{self._repeats[name]}"
            if self._ids.add(other):
                return other


def _row_key(item: Item) -> tuple[object, ...]:
    words = (item.question, item.options, item.query, item.start_s, item.end_s)
    return (item.id, *words, item.extra)


def _split_columns(row: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the known columns without empty ones, and the other columns as JSON.

    A second column with the same meaning, such as ``Path`` next to ``path``, is one of the others.
    """
    known_columns: dict[str, Any] = {}
    other_columns: dict[str, Any] = {}
    for name, value in row.items():
        known = name if name in KNOWN_COLUMNS else name.strip().lower()
        if known not in KNOWN_COLUMNS or known in known_columns:
            other_columns[name] = value
        elif value is not None and value != "":
            known_columns[known] = value
    return known_columns, format_extra(other_columns)


def _parse_item(row: Mapping[str, Any], folder: str) -> Item:
    """Return the item of a row.

    Raises:
        ValueError: if a value is wrong; the message names the column.
    """
    if len(row) == 1:
        ((name, path),) = row.items()
        if name in PATH_COLUMNS and isinstance(path, str):
            # Most rows of long lists are paths only, which need no other check.
            source, located = _place(folder, path)
            return Item(id=source, source=source, located=located)
    paths = [name for name in PATH_COLUMNS if name in row]
    if len(paths) != 1:
        raise ValueError(
            f"{len(paths)} of the columns path, video, source have a value, expected one"
        )
    source, located = _place(folder, _get_text(row, paths[0]))
    return Item(
        id=safe_name(_get_text(row, "id")) if "id" in row else source,
        source=source,
        located=located,
        question=_get_text(row, "question"),
        options=_parse_options(row.get("options", "")),
        query=_get_text(row, "query"),
        start_s=_parse_time(row, "start"),
        end_s=_parse_time(row, "end"),
    )


def _place(folder: str, path: str) -> tuple[str, str | None]:
    """Return the source of a path in a list, and the complete address if that has secrets.

    Args:
        folder: folder of the list, or its address; empty for none.
        path: path or address in the row.

    Raises:
        ValueError: if a list on a server names a file of this machine.
    """
    if "://" not in path and "://" not in folder:
        return (os.path.join(folder, path) if folder else path), None
    if is_address(folder) and not is_address(path):
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError("a list on a server may name addresses and files below its own folder")
        path = f"{folder}/{path}"
    elif not is_address(path):
        path = os.path.join(folder, path)
    safe = safe_name(path)
    return safe, path if safe != path else None


def _get_text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name, "")
    if name == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def _parse_options(value: object) -> tuple[str, ...]:
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


def _parse_time(row: Mapping[str, Any], name: str) -> Fraction | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"{name} is not a time")
    return parse_timecode(str(value))
