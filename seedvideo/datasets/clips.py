"""Bytes of the clips of a job, for datasets that hold them.

A clip is opened as safely as for decoding, from a file, an address or a container. The file must
be the one that the job read: other bytes would not match the caption. They are hashed while they
are read.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from seedvideo.batch.inputs import VIDEO_SUFFIXES, Item
from seedvideo.batch.job import Job
from seedvideo.config import DEFAULT_LIMITS
from seedvideo.errors import InputError
from seedvideo.media.source import Source, VideoInput, changed_error, open_source
from seedvideo.remote.fetching import Fetcher, needs_fetch, suffix_of
from seedvideo.utils.addresses import split_member

_CHUNK_BYTES: Final = 1 << 20

_SUFFIXES: Final[Mapping[str, str]] = {
    "apng": "png",
    "asf": "wmv",
    "jpeg": "jpg",
    "matroska": "mkv",
    "mov": "mp4",
    "mpeg": "mpg",
    "mpegts": "ts",
    "ogg": "ogv",
    "unknown": "mp4",
}
"""Suffixes of kinds of files whose own names have none that is known."""


class ClipFile:
    """The file of a clip, open for reading.

    Args:
        source: the open file.
        suffix: suffix for its name, without the dot.
        sha256: hash that its bytes must have; None for any.
    """

    def __init__(self, source: Source, suffix: str, sha256: str | None) -> None:
        self._source = source
        self._wanted_sha256 = sha256
        self.suffix = suffix
        self.size_bytes = source.size_bytes
        self.sha256 = ""

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes; afterwards `sha256` is their hash.

        Raises:
            InputError: ``input.changed`` if the file is not as long as when it was opened, or its
                hash is another one than that of the list.
        """
        descriptor, display_name = self._source.descriptor, self._source.display_name
        hashed, offset = hashlib.sha256(), 0
        while offset < self.size_bytes:
            data = os.pread(descriptor, min(_CHUNK_BYTES, self.size_bytes - offset), offset)
            if not data:
                raise changed_error(display_name, "became shorter while it was read")
            hashed.update(data)
            offset += len(data)
            yield data
        if os.fstat(descriptor).st_size != self.size_bytes:
            raise changed_error(display_name, "changed while it was read")
        digest = hashed.hexdigest()
        if self._wanted_sha256 not in (None, digest):
            raise changed_error(display_name, "has another hash than the column sha256 states")
        self.sha256 = digest


@dataclass(frozen=True)
class ClipOpener:
    """Opens the files of clips of one job.

    Args:
        job: settings of the job.
        fetcher: fetches addresses, and clips in containers.
    """

    job: Job
    fetcher: Fetcher

    @contextmanager
    def open(
        self, item: Item, *, size: int | None, mtime_ns: int | None, sha256: str | None
    ) -> Iterator[ClipFile]:
        """Open the file of a clip.

        Args:
            item: the clip.
            size: size of the file in bytes when the job read it; None if unknown.
            mtime_ns: its modification time then; None if unknown.
            sha256: hash of its bytes, if the list states it.

        Raises:
            SeedVideoError: if it cannot be opened; ``input.changed`` if it was replaced.
        """
        path = self.job.resolve_path(item.source)
        with ExitStack() as stack:
            video: VideoInput = path
            if needs_fetch(path):
                video = stack.enter_context(self.fetcher.lease(item.source)).opened
                # For a clip in a container the job noted the size of the container.
                size, mtime_ns = size if split_member(item.source) is None else None, None
            source = open_source(video, limits=DEFAULT_LIMITS, root=None)
            stack.callback(source.close)
            _check_unchanged(source, size, mtime_ns)
            yield ClipFile(source, _suffix(item.source, source.kind), sha256)


def _check_unchanged(source: Source, size: int | None, mtime_ns: int | None) -> None:
    is_same = size in (None, source.size_bytes) and mtime_ns in (
        None,
        os.fstat(source.descriptor).st_mtime_ns,
    )
    if not is_same:
        raise InputError(
            "input.changed",
            f"{source.display_name}: was replaced since the job read it",
            hint="process it again: seedvideo batch run -o OUT",
        )


def _suffix(name: str, kind: str) -> str:
    """Return the suffix of a file, without the dot: its own if that is a video's."""
    member = split_member(name)
    own = suffix_of(name if member is None else member.member)
    if own in VIDEO_SUFFIXES:
        return own.removeprefix(".")
    return _SUFFIXES.get(kind, kind)


def is_window(job: Job, item: Item) -> bool:
    """Return whether a clip is a window of its file, rather than the whole file."""
    spans = (item.start_s, item.end_s, job.sampling.start_s, job.sampling.end_s)
    return any(each is not None for each in spans)
