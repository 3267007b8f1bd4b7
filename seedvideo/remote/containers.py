"""Clips in containers: tar files as webdataset writes them, and parquet files with video bytes.

A tar is read header by header, without unpacking: regular members only. What else it holds (links,
devices, names that leave the folder, a header of a gigabyte) is never followed; such a member gets
an error of its own, and a tar that is cut off keeps the members before the cut. Members of one key,
the name up to the first dot of its last part, belong together: ``.json`` and ``.txt`` are columns
of the clip's row.
"""

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from seedvideo.errors import ConfigError, InputError
from seedvideo.utils.text import printable

CONTAINER_SUFFIXES: Final = (".tar", ".parquet")

CLIP_SUFFIXES: Final = (
    *("mp4", "m4v", "webm", "mkv", "mov", "avi", "flv", "ogv", "wmv", "asf", "mpg", "mpeg"),
    *("ts", "m2ts", "mts", "3gp", "ivf", "gif", "apng", "y4m"),
)
"""Suffixes of members that are clips."""

VIDEO_COLUMNS: Final = ("video", "mp4", "clip")
"""Columns of a parquet file that may hold the bytes of videos."""

MAX_MEMBERS: Final = 1_000_000
_MAX_METADATA_BYTES: Final = 1 << 20
_MAX_NAME_BYTES: Final = 4_096
_MAX_HEADER_BYTES: Final = 1 << 16
"""Maximum size of the extended header of a member."""
MAX_GROUP_BYTES: Final = 8 << 30
"""Maximum size of the videos of a row group."""

_BLOCK: Final = tarfile.BLOCKSIZE
_REGULAR: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_EXTENDED: Final = (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_SKIPPED: Final = (tarfile.DIRTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Where the bytes of a clip lie in a file."""

    offset: int
    size_bytes: int


@dataclass(kw_only=True)
class Sample:
    """Members of a tar with the same key.

    Args:
        key: the key.
        clips: names of its clips.
        values: metadata: the keys of ``.json``, and ``txt``.
        kinds: suffixes of its members.
        problem: why the sample is refused; empty if it is not.
    """

    key: str
    kinds: set[str] = field(default_factory=set)
    clips: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class _TarMember:
    name: str
    kind: bytes
    extent: Extent
    problem: str = ""


def iter_samples(descriptor: int, name: str) -> Iterator[Sample]:
    """Yield the samples of a tar in order; members of a key must follow one another.

    Args:
        descriptor: open file.
        name: its name in messages.

    Raises:
        InputError: ``input.container_invalid`` if it is not a tar, or damaged from some point on;
            the samples before that point have been yielded.
    """
    sample: Sample | None = None
    kinds_before: set[str] = set()
    try:
        for each in _iter_growing(descriptor, name):
            if sample is not None and each is not sample:
                if sample.clips or sample.problem:
                    yield sample
                kinds_before = sample.kinds
            sample = each
    except InputError:
        # Its question may lie behind the cut.
        if sample is not None and not sample.kinds >= kinds_before:
            sample.problem = "is not complete, as the container is damaged behind it"
        if sample is not None and (sample.clips or sample.problem):
            yield sample
        raise
    if sample is not None and (sample.clips or sample.problem):
        yield sample


def _iter_growing(descriptor: int, name: str) -> Iterator[Sample]:
    """Yield the sample of each member, after the member was added to it."""
    seen: set[str] = set()
    sample: Sample | None = None
    for member in _iter_members(descriptor, name):
        key, _, suffix = _split_name(member.name)
        if sample is None or key != sample.key:
            sample = Sample(key=key)
            if key in seen:
                sample.problem = "its key was there before"
            seen.add(key)
        sample.kinds.add(suffix)
        problem = member.problem
        if not problem and suffix in CLIP_SUFFIXES:
            if member.name in sample.clips:
                problem = "its name was there before"
            sample.clips.append(member.name)
        elif not problem and suffix in ("json", "txt"):
            problem = _add_metadata(sample, descriptor, member, suffix)
        sample.problem = sample.problem or problem
        yield sample


def find_in_tar(descriptor: int, name: str, *, damaged_ok: bool = True) -> dict[str, Extent]:
    """Return where the regular members of a tar lie; of a repeated name, the first.

    Args:
        descriptor: open file.
        name: its name in messages.
        damaged_ok: return what lies before the point from which it is damaged.
    """
    found: dict[str, Extent] = {}
    try:
        for member in _iter_members(descriptor, name):
            if not member.problem:
                found.setdefault(member.name, member.extent)
    except InputError:
        if not (damaged_ok and found):
            raise
    return found


def _split_name(name: str) -> tuple[str, str, str]:
    """Split a name at the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.partition(".")
    return f"{folder}{slash}{stem}", dot, suffix.lower()


def _add_metadata(sample: Sample, descriptor: int, member: _TarMember, suffix: str) -> str:
    """Add the content of a text member; return what is wrong with it."""
    if member.extent.size_bytes > _MAX_METADATA_BYTES:
        return f"its .{suffix} has over {_MAX_METADATA_BYTES:,} bytes"
    data = os.pread(descriptor, member.extent.size_bytes, member.extent.offset)
    try:
        if suffix == "txt":
            sample.values["txt"] = data.decode("utf-8")
            return ""
        values = json.loads(data)
    except (ValueError, RecursionError):
        return f"its .{suffix} is not valid"
    if not isinstance(values, dict):
        return "its .json is not an object"
    sample.values |= {str(key): value for key, value in values.items()}
    return ""


def _iter_members(descriptor: int, name: str) -> Iterator[_TarMember]:
    """Yield the members that are not folders, with the reason if one is refused."""
    end = os.fstat(descriptor).st_size
    offset, count, zeros = 0, 0, 0
    long_name = ""
    while offset + _BLOCK <= end:
        block = os.pread(descriptor, _BLOCK, offset)
        offset += _BLOCK
        if not block.strip(b"\0"):
            zeros += 1
            if zeros == 2:
                return
            continue
        zeros = 0
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            raise damaged_error(
                name, f"no header of a member at byte {offset - _BLOCK:,}"
            ) from None
        size_bytes = header.size
        if size_bytes < 0 or offset + size_bytes > end:
            raise damaged_error(name, f"ends inside the member at byte {offset - _BLOCK:,}")
        extent = Extent(offset=offset, size_bytes=size_bytes)
        offset += -(-size_bytes // _BLOCK) * _BLOCK
        if header.type in _EXTENDED:
            long_name = _read_long_name(descriptor, name, header.type, extent)
            continue
        full_name = long_name or header.name
        long_name = ""
        if header.type in _SKIPPED:
            continue
        count += 1
        if count > MAX_MEMBERS:
            raise damaged_error(name, f"has more than {MAX_MEMBERS:,} members")
        yield _TarMember(full_name, header.type, extent, _find_problem(full_name, header.type))
    if not count:
        raise damaged_error(name, "has no member")
    raise damaged_error(name, "is cut off: it does not end with two empty blocks")


def _find_problem(name: str, kind: bytes) -> str:
    if kind not in _REGULAR:
        return "is a link, a device or another special member"
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
        return "has a name that leaves its folder"
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        return "has a name that is too long"
    return ""


def _read_long_name(descriptor: int, name: str, kind: bytes, extent: Extent) -> str:
    """Return the name of the next member from an extended header; empty if that has none."""
    if extent.size_bytes > _MAX_HEADER_BYTES:
        raise damaged_error(name, f"has an extended header of {extent.size_bytes:,} bytes")
    data = os.pread(descriptor, extent.size_bytes, extent.offset)
    if kind == tarfile.GNUTYPE_LONGNAME:
        return os.fsdecode(data.rstrip(b"\0"))
    found = ""
    while data:
        length, space, _ = data[:20].partition(b" ")
        if not (space and length.isdigit() and len(length) < int(length) <= len(data)):
            raise damaged_error(name, "has a damaged extended header")
        record, data = data[: int(length)], data[int(length) :]
        key, _, value = record[len(length) + 1 :].removesuffix(b"\n").partition(b"=")
        if key == b"path":
            found = os.fsdecode(value)
        elif key == b"size" or key.startswith(b"GNU.sparse"):
            # A size that contradicts the header, or a file with holes.
            raise damaged_error(name, "has a member with an extended size")
    return found


@dataclass(frozen=True, kw_only=True)
class VideoColumn:
    """The column of a parquet file that holds videos.

    Args:
        name: its name.
        has_struct: whether a value is ``struct<bytes, path>``; bytes alone otherwise.
    """

    name: str
    has_struct: bool


class VideoTable:
    """A parquet file with video bytes; use it in a ``with`` statement.

    Args:
        descriptor: open file.
        name: its name in messages.

    Raises:
        InputError: ``input.container_invalid``.
        ConfigError: ``config.package_missing``.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        try:
            import pyarrow.parquet
        except ModuleNotFoundError:
            raise ConfigError(
                "config.package_missing",
                "reading parquet needs the package pyarrow",
                hint="pip install 'seedvideo[parquet]'",
            ) from None
        self._name = name
        self._file = os.fdopen(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY), "rb")
        try:
            # Strings and bytes of a file are at most as long as the file.
            self._table = pyarrow.parquet.ParquetFile(self._file, pre_buffer=False)
        except Exception as error:  # noqa: BLE001
            self._file.close()
            raise self._error(error) from None
        self.video = _find_video_column(self._table.schema_arrow)

    def __enter__(self) -> "VideoTable":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def groups(self) -> list[int]:
        """Number of rows of each row group."""
        metadata = self._table.metadata
        return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]

    def iter_rows(self) -> Iterator[Mapping[str, Any]]:
        """Yield the other columns of each row; the videos are not read."""
        assert self.video is not None
        names = [name for name in self._table.schema_arrow.names if name != self.video.name]
        if not names:
            yield from ({} for _ in range(self._table.metadata.num_rows))
            return
        try:
            for batch in self._table.iter_batches(batch_size=1_000, columns=names):
                yield from batch.to_pylist()
        except Exception as error:  # noqa: BLE001
            raise self._error(error) from None

    def group_bytes(self, group: int) -> int:
        """Return an upper bound of the bytes of the videos of a row group.

        Raises:
            InputError: ``input.container_invalid`` if there are too many.
        """
        assert self.video is not None
        row_group = self._table.metadata.row_group(group)
        columns = (row_group.column(index) for index in range(row_group.num_columns))
        size_bytes = sum(
            int(column.total_uncompressed_size)
            for column in columns
            if column.path_in_schema.split(".")[0] == self.video.name
        )
        if not 0 <= size_bytes <= MAX_GROUP_BYTES:
            raise damaged_error(self._name, f"has a row group over {MAX_GROUP_BYTES:,} bytes")
        return size_bytes

    def iter_videos(self, group: int) -> Iterator[memoryview | None]:
        """Yield the bytes of each video of a row group, one at a time; None for a row without.

        Raises:
            InputError: ``input.container_invalid``.
        """
        assert self.video is not None
        columns = [f"{self.video.name}.bytes"] if self.video.has_struct else [self.video.name]
        try:
            batches = self._table.iter_batches(batch_size=1, row_groups=[group], columns=columns)
            for batch in batches:
                values = batch.column(0)
                if self.video.has_struct:
                    values = values.field(0)
                for value in values:
                    yield memoryview(value.as_buffer()) if value.is_valid else None
        except Exception as error:  # noqa: BLE001
            raise self._error(error) from None

    def _error(self, error: Exception) -> InputError:
        if isinstance(error, InputError):
            return error
        return damaged_error(self._name, f"is not valid parquet ({type(error).__name__})")


def _find_video_column(schema: Any) -> VideoColumn | None:  # pyarrow has no annotations
    """Return the column with videos; None if the file is a list of paths."""
    import pyarrow

    for name in VIDEO_COLUMNS:
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
            return VideoColumn(name=name, has_struct=False)
        if pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return VideoColumn(name=name, has_struct=True)
    return None


def damaged_error(name: str, why: str) -> InputError:
    """Return the error of a container that cannot be read from some point on."""
    return InputError(
        "input.container_invalid",
        f"{printable(name)}: {why}",
        hint="write it again; the clips before the damage are used",
    )


def refused_member_error(name: str, why: str) -> InputError:
    """Return the error of a member that is not used."""
    return InputError(
        "input.member_refused",
        f"{printable(name)}: {why}",
        hint="write the container again with plain files and different keys",
    )
