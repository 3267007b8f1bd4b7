"""Parquet shards for the Hugging Face Hub, with the bytes of the clips inside, and their card.

A row group holds 64 clips at most and is closed at 128 MiB, because the Hub's viewer refuses groups
over about 286 MiB. The number of shards is part of their names, so they get these at the end.

Separate from `seedvideo.datasets.export`, which would exceed 500 lines with it.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Self

from seedvideo.datasets.clips import ClipFile
from seedvideo.datasets.folder import DATA_FOLDER, DatasetFolder, HashedFile
from seedvideo.datasets.rows import arrow_row, json_row
from seedvideo.datasets.schema import VIDEO, hub_schema, import_arrow
from seedvideo.datasets.source import DatasetClip, Tally
from seedvideo.errors import InputError
from seedvideo.utils.text import printable

GROUP_CLIPS: Final = 64
GROUP_BYTES: Final = 128 << 20

_MAX_VALUE_BYTES: Final = (1 << 31) - 1
"""Maximum size of a value of Arrow's binary type."""


class HubShards:
    """Writes clips into Parquet shards; `writing` opens one.

    Args:
        folder: output folder.
        columns: columns as `seedvideo.datasets.schema.hub_columns` returns them.
        max_bytes: size at which a shard is closed. A larger clip has a shard of its own.
    """

    def __init__(
        self, folder: DatasetFolder, columns: Mapping[str, Any], *, max_bytes: int
    ) -> None:
        self._arrow, self._parquet = import_arrow(), import_arrow("pyarrow.parquet")
        self._folder, self._columns, self._max_bytes = folder, columns, max_bytes
        self._schema = hub_schema(columns)
        self._options = _writer_options(self._parquet, self._schema)
        self._open = ExitStack()
        self._file: HashedFile | None = None
        self._writer: Any = None
        self._group: list[dict[str, Any]] = []
        self._group_bytes = 0
        self._names: list[str] = []

    @classmethod
    @contextmanager
    def writing(
        cls, folder: DatasetFolder, columns: Mapping[str, Any], *, max_bytes: int
    ) -> Iterator[Self]:
        """Yield shards to add clips to; all get their names when the block ends.

        Raises:
            ConfigError: ``config.package_missing`` without pyarrow.
        """
        shards = cls(folder, columns, max_bytes=max_bytes)
        with shards._open:
            yield shards
            if not shards._names:
                shards._begin_shard()  # A dataset without clips has its columns at least.
            shards._end_shard()
        total = len(shards._names)
        folder.rename(
            {
                name: f"{DATA_FOLDER}/train-{number:05}-of-{total:05}.parquet"
                for number, name in enumerate(shards._names)
            }
        )

    def add(self, clip: DatasetClip, *, with_bytes: bool) -> None:
        """Write a clip.

        Args:
            clip: the clip.
            with_bytes: whether to store its bytes; otherwise its source is stored as the path.

        Raises:
            SeedVideoError: if its bytes cannot be read.
            OutputError: as `DatasetFolder.file` does.
        """
        row = dict(clip.row)
        data, path = None, row["source"]
        if with_bytes:
            with clip.open() as file:
                data, path = _read_whole(file, row["source"]), f"{clip.key}.{file.suffix}"
                row = clip.stored_row(file)
        row[VIDEO] = {"bytes": data, "path": path}
        size_bytes = len(data or b"") + len(json_row(clip.row))
        if self._group and self._group_bytes + size_bytes > GROUP_BYTES:
            self._write_group()
        if self._file is not None:
            count = self._file.rows + len(self._group)
            shard_bytes = self._file.size_bytes + self._group_bytes
            if count and shard_bytes + size_bytes > self._max_bytes:
                self._end_shard()
        if self._file is None:
            self._begin_shard()
        self._group.append(row)
        self._group_bytes += size_bytes
        if len(self._group) == GROUP_CLIPS:
            self._write_group()

    def _begin_shard(self) -> None:
        name = f"{DATA_FOLDER}/.train-{len(self._names):05}.parquet"
        self._file = self._open.enter_context(self._folder.file(name))
        self._writer = self._parquet.ParquetWriter(self._file, self._schema, **self._options)
        self._names.append(name)

    def _end_shard(self) -> None:
        if self._file is None:
            return
        self._write_group()
        self._writer.close()
        self._file = self._writer = None
        self._open.close()

    def _write_group(self) -> None:
        if not self._group:
            return
        assert self._file is not None
        rows = [arrow_row(row, self._columns) for row in self._group]
        self._writer.write_table(self._arrow.Table.from_pylist(rows, schema=self._schema))
        self._file.rows += len(rows)
        self._group, self._group_bytes = [], 0


def _read_whole(file: ClipFile, source: str) -> bytes:
    if file.size_bytes > _MAX_VALUE_BYTES:
        raise InputError(
            "input.too_large",
            f"{printable(source)}: has {file.size_bytes:,} bytes, a value of parquet holds"
            f" {_MAX_VALUE_BYTES:,}",
            hint="cut it into clips, or export with -f webdataset",
        )
    return b"".join(file.chunks())


def _writer_options(parquet: Any, schema: Any) -> dict[str, Any]:
    """Return options that compress all columns but the videos, which are compressed already."""
    empty = io.BytesIO()
    with parquet.ParquetWriter(empty, schema):
        pass
    found = parquet.ParquetFile(empty).metadata.schema
    names = [found.column(index).path for index in range(len(found))]
    others = [name for name in names if name != f"{VIDEO}.bytes"]
    return {
        "compression": {name: "ZSTD" if name in others else "NONE" for name in names},
        "use_dictionary": others,
        "write_statistics": others,
    }


_SIZES: Final = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
"""Classes of size on the Hub, by their upper bounds."""


def render_card(clips: int, tally: Tally, *, licence: str, with_bytes: bool) -> str:
    """Return the card of a dataset on the Hub, in Markdown with its settings in front.

    Args:
        clips: number of clips in the shards.
        tally: counts over all rows.
        licence: licence of the data.
        with_bytes: whether the clips are inside.
    """
    size = next((name for bound, name in _SIZES if clips < bound), "n>100M")
    models = ", ".join(
        f"{printable(name)} (weights {sha256[:12]})"
        for name, sha256 in sorted(tally.models.items())
    )
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(tally.states.items()))
    where = "inside the files" if with_bytes else "at the address in `video.path`"
    lines = [
        "---",
        # JSON is valid YAML, whatever the text holds.
        f"license: {json.dumps(licence)}",
        "task_categories:",
        "- video-text-to-text",
        "size_categories:",
        f"- {size}",
        "tags:",
        "- video",
        "- seedvideo",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        f"    path: {DATA_FOLDER}/train-*",
        "---",
        "",
        "# Captioned video clips",
        "",
        f"- Clips: {clips:,}, {where}.",
        f"- Clips of the job: {states or 'none'}.",
        f"- Words by: {models or 'none'}. They were made by a model and not checked.",
        f"- Licence of the videos: {printable(licence)}.",
        "",
        "`rest.jsonl` lists the clips that are not here, with the reason. `dataset.json` has size"
        " and hash of every file.",
        "",
    ]
    return "\n".join(lines)
