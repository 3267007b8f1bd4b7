"""Fetch remote files and clips in containers into a spool, each once for all who need it.

A `Fetcher` gives out leases of complete files. A file whose uses are known beforehand (`expect`)
goes after the last one; others stay until their space is needed. Threads may share a fetcher: they
wait for one another's downloads of the same file.
"""

import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from seedvideo.config import DEFAULT_LIMITS, Limits
from seedvideo.errors import InputError, SeedVideoError
from seedvideo.media.sharing import STOP_POLL_S, SharedLock, check_not_stopped
from seedvideo.media.source import OpenedInput
from seedvideo.remote import containers
from seedvideo.remote.containers import Extent, VideoTable
from seedvideo.remote.download import Download
from seedvideo.remote.spool import Spool, SpooledFile, SpoolWriter
from seedvideo.remote.transfer import (
    CHUNK_BYTES,
    Facts,
    display,
    not_found_error,
    too_large_error,
)
from seedvideo.remote_options import DEFAULT_REMOTE, RemoteOptions
from seedvideo.utils.addresses import (
    Member,
    has_secret,
    is_address,
    safe_name,
    split_member,
)

if TYPE_CHECKING:
    from seedvideo.media.source import VideoInput

_MAX_INDEXES: Final = 8
"""Containers whose members are known at a time."""
_MAX_FAILURES: Final = 1_000

_GROUP: Final = "::group "
"""Between the name of a container and the number of a row group, in its key."""

_Index: TypeAlias = dict[str, Extent]


@dataclass(eq=False)
class _Entry:
    """A file that is there, or is being loaded; of a row group, where its videos lie."""

    file: SpooledFile | None = None
    leases: int = 0
    index: _Index = field(default_factory=dict)


@dataclass(frozen=True)
class Container:
    """An open container.

    Args:
        descriptor: open descriptor.
        held_bytes: its space in the spool; 0 for a local file.
        origin: the file that it is.
    """

    descriptor: int
    held_bytes: int
    origin: Facts | None


class Lease:
    """The right to use a file of the spool until `release`; use it in a ``with`` statement.

    Args:
        fetcher: owner of the file.
        name: name as it was asked for.
        file: the file.
    """

    def __init__(self, fetcher: "Fetcher", name: str, file: SpooledFile) -> None:
        self._fetcher, self._name, self._is_held = fetcher, name, True
        self.file = file

    @property
    def opened(self) -> OpenedInput:
        """The file as a video input."""
        return OpenedInput(self.file.descriptor, safe_name(self._name))

    def release(self) -> None:
        """End the use. May be called twice."""
        if self._is_held:
            self._is_held = False
            self._fetcher.release(self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Fetcher:
    """Downloads and copies clips into a spool.

    Args:
        options: what is allowed, and the spool.
        limits: limits of the size of a video.
        folder: folder that relative names of local containers start from; empty for the working
            folder.
    """

    def __init__(
        self,
        options: RemoteOptions = DEFAULT_REMOTE,
        *,
        limits: Limits = DEFAULT_LIMITS,
        folder: str = "",
    ) -> None:
        self.options = options
        self._limits, self._folder = limits, folder
        self.spool = Spool(options)
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._expected: dict[str, int] = {}
        self._failures: OrderedDict[str, SeedVideoError] = OrderedDict()
        self._indexes: OrderedDict[tuple[str, Facts | None], _Index] = OrderedDict()
        self._secrets: dict[str, str] = {}
        self._changed = threading.Condition()
        self._container_turn = SharedLock()
        self._is_closed = False

    def expect(self, name: str) -> None:
        """Announce one more use of a file, so that it is kept until the last one."""
        with self._changed:
            for key in _keys(name):
                self._expected[key] = self._expected.get(key, 0) + 1

    def note_secrets(self, name: str) -> None:
        """Keep the complete form of an address, which is asked for by its safe name later."""
        container = (split_member(name) or Member(name, "")).container
        if has_secret(container):
            self._secrets[safe_name(container)] = container

    def has_secrets(self, name: str) -> bool:
        """Return whether `note_secrets` has kept more of an address than its safe name says."""
        return safe_name((split_member(name) or Member(name, "")).container) in self._secrets

    def lease(self, name: str) -> Lease:
        """Return a file of the spool, after fetching it if it is not there.

        Args:
            name: address, complete or safe, or a clip in a container, remote or local.

        Raises:
            InputError: if it cannot be fetched; see docs/guides/remote.md for the codes.
            ConfigError: ``config.package_missing``.
        """
        key = safe_name(name)
        try:
            if (failure := self._failures.get(key)) is not None:
                raise failure
            if split_member(name) is None:
                return Lease(self, name, self._acquire(key, name))
            # One thread holds a container at a time: two could wait for each other's space.
            with self._container_turn:
                return Lease(self, name, self._acquire(key, name))
        except SeedVideoError as error:
            if not error.retryable and self._expected.get(key, 0) > 1:
                self._failures[key] = error
                if len(self._failures) > _MAX_FAILURES:
                    self._failures.popitem(last=False)
            self._count_down(name)
            raise

    def release(self, name: str) -> None:
        """End a use of a file; `Lease.release` calls this."""
        self._end_use(safe_name(name))
        self._count_down(name)

    def close(self) -> None:
        """Give up all files that are not in use, and end downloads in other threads."""
        with self._changed:
            self._is_closed = True
            for key in list(self._entries):
                self._drop(key)
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def open_container(self, name: str) -> Iterator[Container]:
        """Open a container, remote or local.

        Raises:
            InputError: if it cannot be fetched or opened.
        """
        if is_address(name):
            key = safe_name(name)
            file = self._acquire(key, name)
            try:
                yield Container(file.descriptor, file.size_bytes, file.origin)
            finally:
                self._end_use(key)
            return
        descriptor = _open_local(os.path.join(self._folder, name), display(name))
        try:
            facts = os.fstat(descriptor)
            origin = Facts(size_bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)
            yield Container(descriptor, 0, origin)
        finally:
            os.close(descriptor)

    def _end_use(self, key: str) -> None:
        """Give back a lease of `_acquire`."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is not None:
                entry.leases -= 1
                if self._is_closed:
                    self._drop(key)
            self._changed.notify_all()

    def _acquire(self, key: str, name: str) -> SpooledFile:
        """Return a file with one more lease; load it, or wait for the thread that does."""
        with self._changed:
            while True:
                entry = self._entries.get(key)
                if entry is None:
                    entry = self._entries[key] = _Entry()
                    break
                if entry.file is not None:
                    entry.leases += 1
                    self._entries.move_to_end(key)
                    return entry.file
                self._changed.wait(STOP_POLL_S)
                check_not_stopped()
        try:
            file = self._load(key, name)
        except BaseException:
            with self._changed:
                del self._entries[key]
                self._changed.notify_all()
            raise
        with self._changed:
            entry.file, entry.leases = file, 1
            self._changed.notify_all()
        return file

    def _load(self, key: str, name: str) -> SpooledFile:
        member = split_member(name)
        if member is None:
            limit = self._limits.max_input_bytes
            if suffix_of(name) in containers.CONTAINER_SUFFIXES:
                limit = self.spool.budget_bytes
            download = Download(
                self._secrets.get(key, name),
                self.spool,
                self.options,
                limit_bytes=limit,
                evict=self._evict,
                is_cancelled=lambda: self._is_closed,
            )
            return download.run()
        with self.open_container(member.container) as container:
            if is_tar(member.container):
                index = self._index(safe_name(member.container), container)
                return self._copy(name, container, container.descriptor, index.get(member.member))
            return self._load_row(name, member, container)

    def _index(self, key: str, container: Container) -> _Index:
        """Return where the members of a tar lie; a tar that has changed is read again."""
        state = (key, container.origin)
        index = self._indexes.get(state)
        if index is None:
            index = self._indexes[state] = containers.find_in_tar(container.descriptor, key)
            if len(self._indexes) > _MAX_INDEXES:
                self._indexes.popitem(last=False)
        else:
            self._indexes.move_to_end(state)
        return index

    def _load_row(self, name: str, member: Member, container: Container) -> SpooledFile:
        """Copy the video of a row out of its row group, which is unpacked once."""
        row = member.member
        with VideoTable(container.descriptor, display(member.container)) as table:
            if table.video is None or not (row.isascii() and row.isdigit()):
                raise not_found_error(name)
            group, first = _find_group(table.groups, int(row), name)
            key = f"{safe_name(member.container)}{_GROUP}{group}"
            with self._changed:
                entry = self._entries.get(key)
                if entry is not None:
                    entry.leases += 1
                    self._entries.move_to_end(key)
            if entry is None:
                entry = self._unpack(key, table, group, container.held_bytes)
        try:
            assert entry.file is not None
            held_bytes = container.held_bytes + entry.file.size_bytes
            extent = entry.index.get(str(int(row) - first))
            held = replace(container, held_bytes=held_bytes)
            return self._copy(name, held, entry.file.descriptor, extent)
        finally:
            self._end_use(key)

    def _unpack(self, key: str, table: VideoTable, group: int, held_bytes: int) -> _Entry:
        """Write the videos of a row group into one file of the spool, with one lease."""
        limit = table.group_bytes(group)
        self.spool.reserve(limit, display(key), evict=self._evict, held_bytes=held_bytes)
        writer = SpoolWriter(self.spool, limit)
        index: _Index = {}
        try:
            for row, data in enumerate(table.iter_videos(group)):
                if data is None:
                    continue
                index[str(row)] = Extent(offset=writer.size_bytes, size_bytes=data.nbytes)
                if not writer.write(data):  # Repeated values are stored once.
                    if writer.size_bytes + data.nbytes > containers.MAX_GROUP_BYTES:
                        raise containers.damaged_error(display(key), "holds too many bytes")
                    held = held_bytes + writer.size_bytes
                    self.spool.reserve(
                        data.nbytes, display(key), evict=self._evict, held_bytes=held
                    )
                    writer.grow(data.nbytes)
                    writer.write(data)
                check_not_stopped()
            entry = _Entry(writer.finish(), leases=1, index=index)
        finally:
            writer.discard()
        with self._changed:
            self._entries[key] = entry
        return entry

    def _copy(
        self, name: str, container: Container, descriptor: int, extent: Extent | None
    ) -> SpooledFile:
        """Copy a part of a file into a file of its own."""
        if extent is None:
            raise InputError(
                "input.not_found",
                f"{display(name)}: the container has no clip of this name",
                hint="read the container again: its clips may have changed",
            )
        if extent.size_bytes > self._limits.max_input_bytes:
            raise too_large_error(name, self._limits.max_input_bytes)
        self.spool.reserve(
            extent.size_bytes, display(name), evict=self._evict, held_bytes=container.held_bytes
        )
        writer = SpoolWriter(self.spool, extent.size_bytes)
        try:
            while rest := extent.size_bytes - writer.size_bytes:
                offset = extent.offset + writer.size_bytes
                data = os.pread(descriptor, min(rest, CHUNK_BYTES), offset)
                if not data:
                    raise containers.damaged_error(display(name), "is cut off")
                writer.write(data)
                check_not_stopped()
            return writer.finish(origin=container.origin)
        finally:
            writer.discard()

    def _evict(self) -> bool:
        """Give up the file that was not used for the longest time; False if all are in use."""
        with self._changed:
            for key, entry in self._entries.items():
                if entry.file is not None and not entry.leases:
                    self._drop(key)
                    return True
        return False

    def _count_down(self, name: str) -> None:
        with self._changed:
            for key in _keys(name):
                left = self._expected.get(key, 0) - 1
                if left > 0:
                    self._expected[key] = left
                elif left == 0:
                    del self._expected[key]
                    self._drop(key)
                    start = f"{key}{_GROUP}"
                    for group_key in [each for each in self._entries if each.startswith(start)]:
                        self._drop(group_key)

    def _drop(self, key: str) -> None:
        """Give up a file unless it is in use."""
        entry = self._entries.get(key)
        if entry is not None and entry.file is not None and entry.leases <= 0:
            del self._entries[key]
            with suppress(OSError):
                os.close(entry.file.descriptor)
            self.spool.give_back(entry.file.size_bytes)


def _keys(name: str) -> tuple[str, ...]:
    """Return the keys of the files that a use of a name needs."""
    member = split_member(name)
    return (safe_name(name),) if member is None else (safe_name(name), safe_name(member.container))


def suffix_of(name: str) -> str:
    """Return the suffix of a path or an address, in small letters."""
    return os.path.splitext(re.split("[?#]", name, maxsplit=1)[0] if is_address(name) else name)[
        1
    ].lower()


def is_tar(name: str) -> bool:
    """Return whether a container is a tar by its name."""
    return suffix_of(name) == ".tar"


def _find_group(groups: list[int], row: int, name: str) -> tuple[int, int]:
    """Return the row group of a row, and the number of the first row of the group."""
    first = 0
    for group, count in enumerate(groups):
        if row < first + count:
            return group, first
        first += count
    raise not_found_error(name)


def _open_local(path: str, display_name: str) -> int:
    """Open a local container, which must be a regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(
            "input.not_found", f"{display_name}: no such file", hint="check the name and the folder"
        ) from error
    except OSError as error:
        reason = (error.strerror or "cannot be opened").lower()
        raise InputError("input.unreadable", f"{display_name}: {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError("input.not_a_file", f"{display_name}: is not a regular file")
    return descriptor


def needs_fetch(name: str) -> bool:
    """Return whether a name is an address, or a clip in a container."""
    if is_address(name):
        return True
    return split_member(name) is not None and not os.path.lexists(name)


@contextmanager
def fetched(
    video: "VideoInput", options: RemoteOptions, *, limits: Limits
) -> Iterator["VideoInput"]:
    """Yield a video input that can be opened: a download for an address, else the same input."""
    name = os.fsdecode(video) if isinstance(video, str | os.PathLike) else ""
    if not needs_fetch(name):
        yield video
        return
    with Fetcher(options, limits=limits) as fetcher, fetcher.lease(name) as lease:
        yield lease.opened
