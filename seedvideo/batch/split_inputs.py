"""Inputs of a job that splits its videos: each video gives the items of its clips.

The clips of each video are kept in the job's folder, in ``split.jsonl``: resuming a job analyses
only videos that are new, or whose file or options changed. A video that cannot be analysed becomes
a bad row, and the others continue; the next run tries it again. Each line is on disk before the
next video is analysed.

The windows of a video at an address, or in a container, are those of the first run: whether it has
changed is unknown without a download.

Separate from `seedvideo.batch.run_job`, since a dry run splits its inputs too.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from seedvideo.batch.clip_items import clip_items
from seedvideo.batch.dry_run import fetched_item
from seedvideo.batch.inputs import BadRow, Item
from seedvideo.batch.job import Job
from seedvideo.clips.windows import ClipWindow, SplitOptions, VideoSplit, split_video
from seedvideo.errors import SeedVideoError
from seedvideo.remote.fetching import Fetcher, needs_fetch
from seedvideo.utils.files import write_error
from seedvideo.utils.timecode import Span
from seedvideo.video import open

SPLIT_NAME: Final = "split.jsonl"
"""Name of the file with the clips of each video, in the folder of the job."""


SPLIT_VERSION: Final = 1
"""Version of the windows; another one makes a job analyse its videos again."""


def split_rows(
    rows: Iterable[Item | BadRow],
    job: Job,
    *,
    fetcher: Fetcher,
    folder: Path | None,
    on_video: Callable[[str, VideoSplit], None] = lambda name, found: None,
) -> Iterator[Item | BadRow]:
    """Yield the items of the clips of each video; other rows are yielded unchanged.

    Args:
        rows: rows of the inputs.
        job: settings of the job, which splits its videos.
        fetcher: fetches remote videos.
        folder: folder of the job, which keeps the clips; None to keep nothing.
        on_video: called with the id and the clips of each video that was analysed.

    Raises:
        OutputError: if the clips cannot be kept.
    """
    assert job.split is not None
    with _KeptSplits(folder) as kept:
        for row in rows:
            if isinstance(row, BadRow):
                yield row
                continue
            key = _key(row, job, job.split)
            windows = kept.find(key)
            if windows is None:
                try:
                    found = _analyze(row, job, job.split, fetcher)
                except SeedVideoError as error:
                    yield BadRow(id=row.id, where=row.id, code=error.code, message=error.message)
                    continue
                windows = list(found.windows)
                kept.add(key, windows)
                on_video(row.id, found)
            yield from clip_items(row, windows)


def _analyze(item: Item, job: Job, options: SplitOptions, fetcher: Fetcher) -> VideoSplit:
    # Relative names start from the job's folder, wherever the run was started.
    item = replace(item, located=job.resolve_path(item.source))
    rate = None if job.source_fps is None else Fraction(str(job.source_fps))
    with fetched_item(item, fetcher) as located, open(located.video, source_fps=rate) as video:
        return split_video(video, options, start_s=item.start_s, end_s=item.end_s)


def _key(item: Item, job: Job, options: SplitOptions) -> str:
    """Return what the windows of a video depend on, as a hash."""
    version: tuple[int, int] | None = None
    if not needs_fetch(item.source):
        with suppress(OSError, ValueError):  # Opening the video reports the error.
            facts = os.stat(job.resolve_path(item.source))
            version = facts.st_size, facts.st_mtime_ns
    window = [None if time is None else str(time) for time in (item.start_s, item.end_s)]
    values = [item.source, version, window, asdict(options), str(job.source_fps), SPLIT_VERSION]
    return hashlib.blake2b(json.dumps(values).encode("ascii"), digest_size=16).hexdigest()


class _KeptSplits:
    """File with the windows of the videos of a job, one line per video.

    Args:
        folder: folder of the file; None for no file.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / SPLIT_NAME
        self._places: dict[str, int] = {}
        self._file = None
        if self._path is not None:
            try:
                self._file = self._path.open("a+b")
                self._read()
            except OSError as error:
                raise write_error(self._path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def find(self, key: str) -> list[ClipWindow] | None:
        """Return the windows that were kept under a key; None if there are none."""
        if self._file is None or key not in self._places:
            return None
        self._file.seek(self._places[key])
        return [_to_window(each) for each in json.loads(self._file.readline())["windows"]]

    def add(self, key: str, windows: list[ClipWindow]) -> None:
        """Keep windows; they are on disk afterwards.

        Raises:
            OutputError: if they cannot be written.
        """
        if self._file is None or self._path is None:
            return
        line = {"key": key, "windows": [_to_values(each) for each in windows]}
        try:
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps(line).encode("ascii") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise write_error(self._path, error) from error
        self._places[key] = place

    def _read(self) -> None:
        """Find the lines; cut off an incomplete last one, whose writer was killed."""
        assert self._file is not None
        self._file.seek(0)
        place = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(place)
                break
            self._places[json.loads(line)["key"]] = place
            place += len(line)


def _to_values(window: ClipWindow) -> list[Any]:
    spans = (window.span, window.shot_span)
    times = [str(time) for span in spans for time in (span.start, span.end)]
    return [*times, window.shot, window.shots, window.frames.start, window.frames.stop]


def _to_window(values: list[Any]) -> ClipWindow:
    start, end, shot_start, shot_end = (Fraction(text) for text in values[:4])
    shot, shots, first, stop = values[4:]
    return ClipWindow(Span(start, end), shot, shots, Span(shot_start, shot_end), range(first, stop))
