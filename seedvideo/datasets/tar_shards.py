"""Tar shards as webdataset reads them: the members of a clip lie side by side under one key.

Members are plain files of owner 0 and time 0, uncompressed, so equal clips give equal bytes.

Separate from `seedvideo.datasets.export`, which would exceed 500 lines with it.
"""

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Self

from seedvideo.datasets.folder import DatasetFolder, HashedFile
from seedvideo.datasets.rows import json_row
from seedvideo.datasets.source import DatasetClip

_BLOCK: Final = tarfile.BLOCKSIZE


class TarShards:
    """Writes clips into tars; `writing` opens one.

    Args:
        folder: output folder.
        max_bytes: size at which a shard is closed. A larger clip has a shard of its own.
    """

    def __init__(self, folder: DatasetFolder, *, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._open = ExitStack()
        self._shard: HashedFile | None = None
        self._count = 0

    @classmethod
    @contextmanager
    def writing(cls, folder: DatasetFolder, *, max_bytes: int) -> Iterator[Self]:
        """Yield shards to add clips to; the last is complete when the block ends."""
        shards = cls(folder, max_bytes=max_bytes)
        with shards._open:
            yield shards
            shards._end_shard()

    def add(self, clip: DatasetClip) -> Mapping[str, Any]:
        """Write a clip: its video, row, caption and contact sheet.

        Returns:
            Its row, as it is in the tar.

        Raises:
            SeedVideoError: if its bytes cannot be read; nothing of it is in the shard then.
            OutputError: as `DatasetFolder.file` does.
        """
        with clip.open() as file:
            shard = self._shard_for(file.size_bytes)
            mark = shard.mark()
            try:
                _add_member(shard, f"{clip.key}.{file.suffix}", file.size_bytes, file.chunks())
            except BaseException:
                shard.restore(mark)
                raise
            row = clip.stored_row(file)
        text = row["caption"] or row["answer"] or ""
        members = {"json": json_row(row), "txt": text.encode("utf-8")}
        if clip.sheet is not None:
            members["sheet.jpg"] = clip.sheet  # The clip itself may be a jpg.
        for suffix, data in members.items():
            _add_member(shard, f"{clip.key}.{suffix}", len(data), [data])
        shard.rows += 1
        return row

    def _shard_for(self, size_bytes: int) -> HashedFile:
        """Return the open shard; begin another one if this one would become too large."""
        shard = self._shard
        if shard is not None and shard.rows and shard.size_bytes + size_bytes > self._max_bytes:
            self._end_shard()
        if self._shard is None:
            name = f"train-{self._count:06}.tar"
            self._shard = self._open.enter_context(self._folder.file(name))
            self._count += 1
        return self._shard

    def _end_shard(self) -> None:
        if self._shard is None:
            return
        end = self._shard.size_bytes + 2 * _BLOCK
        padded = -(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
        self._shard.write(bytes(padded - self._shard.size_bytes))
        self._shard = None
        self._open.close()


def _add_member(shard: HashedFile, name: str, size_bytes: int, chunks: Iterable[bytes]) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size_bytes, 0o644
    # Sizes from 8 GiB on need the format of GNU; smaller members are the same in both.
    shard.write(header.tobuf(tarfile.GNU_FORMAT, "ascii"))
    for data in chunks:
        shard.write(data)
    shard.write(bytes(-size_bytes % _BLOCK))
