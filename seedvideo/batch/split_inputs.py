"""Inputs of a job that splits its videos: each video gives the items of its clips.

The clips of each video are kept in the job's folder, in ``split.jsonl``: resuming a job analyses
only videos that are new, or whose file or options changed. A video that cannot be analysed becomes
a bad row, and the others continue; the next run tries it again. Each line is on disk before the
next video is analysed. A line that was damaged since is ignored.

A video that is not there any more has the clips of the run before, so that finished ones stay.

The windows of a video at an address, or in a container, are those of the first run: whether it has
changed is unknown without a download.

Separate from `seedvideo.batch.run_job`, since a dry run splits its inputs too.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
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
from seedvideo.sampler.transitions import SHOTS_VERSION
from seedvideo.utils.files import write_error
from seedvideo.utils.timecode import Span
from seedvideo.video import open

SPLIT_NAME: Final = "split.jsonl"
"""Name of the file with the clips of each video, in the folder of the job."""


_DAMAGE: Final = (ValueError, TypeError, KeyError, IndexError, ArithmeticError, RecursionError)
"""Errors of lines that are not as they were written."""


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
            keys = _keys(row, job, job.split)
            windows = kept.find(keys)
            if windows is None:
                try:
                    found = _analyze(row, job, job.split, fetcher)
                except SeedVideoError as error:
                    yield BadRow(id=row.id, where=row.id, code=error.code, message=error.message)
                    continue
                windows = list(found.windows)
                kept.add(keys, windows)
                on_video(row.id, found)
            yield from clip_items(row, windows)


def _analyze(item: Item, job: Job, options: SplitOptions, fetcher: Fetcher) -> VideoSplit:
    # Relative names start from the job's folder, wherever the run was started.
    item = replace(item, located=job.resolve_path(item.source))
    rate = None if job.source_fps is None else Fraction(str(job.source_fps))
    with fetched_item(item, fetcher) as located, open(located.video, source_fps=rate) as video:
        return split_video(video, options, start_s=item.start_s, end_s=item.end_s)


@dataclass(frozen=True)
class _Keys:
    """What the windows of a video depend on, as hashes.

    Args:
        video: without the version of its file.
        version: with it; None if there is no file.
    """

    video: str
    version: str | None


def _keys(item: Item, job: Job, options: SplitOptions) -> _Keys:
    version: tuple[int, int] | None = None
    is_there = True
    if not needs_fetch(item.source):
        try:
            facts = os.stat(job.resolve_path(item.source))
            version = facts.st_size, facts.st_mtime_ns
        except (OSError, ValueError):
            is_there = False  # If no windows are known, opening the video reports the error.
    window = [None if time is None else str(time) for time in (item.start_s, item.end_s)]

    def digest(version: tuple[int, int] | str | None) -> str:
        values = [item.source, version, window, asdict(options), str(job.source_fps), SHOTS_VERSION]
        return hashlib.blake2b(json.dumps(values).encode("ascii"), digest_size=16).hexdigest()

    return _Keys(digest("any"), digest(version) if is_there else None)


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

    def find(self, keys: _Keys) -> list[ClipWindow] | None:
        """Return the windows that were kept for a video; None if there are none.

        They are those of this version of its file, or the last ones if there is no file.
        """
        place = self._places.get(keys.version or keys.video)
        if self._file is None or place is None:
            return None
        self._file.seek(place)
        try:
            return [_to_window(each) for each in json.loads(self._file.readline())["windows"]]
        except _DAMAGE:
            return None

    def add(self, keys: _Keys, windows: list[ClipWindow]) -> None:
        """Keep windows; they are on disk afterwards.

        Raises:
            OutputError: if they cannot be written.
        """
        if self._file is None or self._path is None or keys.version is None:
            return
        line = {
            "key": keys.version,
            "video": keys.video,
            "windows": [_to_values(each) for each in windows],
        }
        try:
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps(line).encode("ascii") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise write_error(self._path, error) from error
        self._places[keys.version] = self._places[keys.video] = place

    def _read(self) -> None:
        """Find the lines; cut off an incomplete last one, whose writer was killed."""
        assert self._file is not None
        self._file.seek(0)
        place = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(place)
                break
            with suppress(*_DAMAGE):
                values = json.loads(line)
                self._places[str(values["key"])] = place
                self._places[str(values["video"])] = place
            place += len(line)


def _to_values(window: ClipWindow) -> list[Any]:
    spans = (window.span, window.shot_span)
    times = [str(time) for span in spans for time in (span.start, span.end)]
    return [*times, window.shot, window.shots, window.frames.start, window.frames.stop]


def _to_window(values: list[Any]) -> ClipWindow:
    start, end, shot_start, shot_end = (Fraction(text) for text in values[:4])
    shot, shots, first, stop = values[4:]
    return ClipWindow(Span(start, end), shot, shots, Span(shot_start, shot_end), range(first, stop))
