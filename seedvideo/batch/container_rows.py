"""Rows of containers of clips (tar, parquet with video bytes), and of lists and containers remote.

A clip of a container is a row with the source ``CONTAINER::MEMBER``; the other columns, or the
``.json`` and ``.txt`` beside it, are its columns. A damaged container costs the clips behind the
damage, never the job.

Separate from `seedvideo.batch.inputs`, which would exceed 500 lines with it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from seedvideo.batch.manifest import read_manifest
from seedvideo.errors import ConfigError, InputError
from seedvideo.remote.containers import VideoTable, iter_samples, refused_member_error
from seedvideo.remote.fetching import Container, Fetcher, is_tar, suffix_of
from seedvideo.utils.addresses import is_address, safe_name
from seedvideo.utils.text import printable

RowOfInput: TypeAlias = tuple[str, Any, str]
"""Position of a row, its columns or its error, and the folder that its paths start from."""

_NAMES_OF_PATHS: Final = ("path", "video", "source")


def is_local_container(path: str) -> bool:
    """Return whether a path is a tar, or a parquet file with a column of videos."""
    suffix = suffix_of(path)
    if suffix == ".tar":
        return not os.path.isdir(path)
    if suffix != ".parquet" or is_address(path) or not os.path.isfile(path):
        return False
    # What cannot be read is reported where it is read as a list.
    with (
        suppress(InputError, ConfigError, OSError),
        open(path, "rb") as file,
        VideoTable(file.fileno(), path) as table,
    ):
        return table.video is not None
    return False


def iter_remote_rows(name: str, fetcher: Fetcher) -> Iterator[RowOfInput]:
    """Yield the rows of a list or a container on a server.

    Args:
        name: its address.
        fetcher: fetches it.

    Raises:
        InputError: if a list cannot be fetched. A container that cannot is a row with an error.
        SeedVideoError: as `seedvideo.batch.manifest.read_manifest` does.
    """
    fetcher.note_secrets(name)
    suffix = suffix_of(name)
    if is_tar(name):
        yield from iter_container_rows(name, fetcher)
        return
    with fetcher.open_container(name) as container:
        if suffix == ".parquet":
            with VideoTable(container.descriptor, safe_name(name)) as table:
                has_videos = table.video is not None
            if has_videos:
                yield from iter_container_rows(name, fetcher)
                return
        path = Path(f"/proc/self/fd/{container.descriptor}")
        display_name = printable(safe_name(name))
        below = safe_name(name).partition("?")[0].rpartition("/")[0]
        for where, row in read_manifest(path, display_name=display_name, suffix=suffix):
            yield where, row, below


def iter_container_rows(name: str, fetcher: Fetcher) -> Iterator[RowOfInput]:
    """Yield a row for each clip of a container, and a row with an error for what is refused.

    Args:
        name: path or address of the container.
        fetcher: opens it.

    Raises:
        ConfigError: ``config.package_missing``.
    """
    fetcher.note_secrets(name)
    safe = safe_name(name)
    try:
        with fetcher.open_container(name) as container:
            rows = _iter_tar if is_tar(name) else _iter_table
            yield from rows(safe, container)
    except InputError as error:
        yield printable(safe), error, ""


def _iter_tar(safe: str, container: Container) -> Iterator[RowOfInput]:
    for sample in iter_samples(container.descriptor, safe):
        where = printable(f"{safe}::{sample.key}")
        if sample.problem:
            yield where, refused_member_error(f"{safe}::{sample.key}", sample.problem), ""
            continue
        for clip in sample.clips:
            yield where, _row(f"{safe}::{clip}", sample.values), ""


def _iter_table(safe: str, container: Container) -> Iterator[RowOfInput]:
    with VideoTable(container.descriptor, safe) as table:
        for number, values in enumerate(table.iter_rows()):
            yield f"{printable(safe)} row {number}", _row(f"{safe}::{number}", values), ""


def _row(source: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a clip; metadata of the name of a path column gets another name."""
    others = {
        f"metadata_{name}" if name.strip().lower() in _NAMES_OF_PATHS else name: value
        for name, value in values.items()
    }
    return {"path": source, **others}
