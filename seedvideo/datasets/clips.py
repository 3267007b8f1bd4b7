"""Bytes of the clips of a job, for datasets that hold them.

A clip is opened as safely as for decoding, from a file, an address or a container. The file must
be the one that the job read: other bytes would not match the caption. They are hashed while they
are read.

A clip that is a window of a longer video is cut into a file without a name in the folder of
downloads (`seedvideo.clips.cutting`). The video stays open for its next clip, which most often
follows in the inputs, and its file for the copies of the clip.
"""

import hashlib
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from seedvideo.batch.inputs import VIDEO_SUFFIXES, Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal_rows import JournalEntry
from seedvideo.clips.cutting import Cut, copy_clips, encode_clip, plan_copies
from seedvideo.clips.windows import ClipWindow, SplitOptions, VideoSplit
from seedvideo.config import DEFAULT_LIMITS
from seedvideo.errors import BatchError, InputError, MediaError
from seedvideo.media.source import (
    OpenedInput,
    Source,
    VideoInput,
    changed_error,
    display_path,
    open_source,
)
from seedvideo.remote.fetching import Fetcher, needs_fetch, suffix_of
from seedvideo.utils.addresses import split_member
from seedvideo.utils.files import write_error
from seedvideo.utils.text import printable
from seedvideo.utils.timecode import Span
from seedvideo.video import Video, open

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

_UNBOUNDED: Final = SplitOptions(min_s=0)
"""Clips of any length are copied: they were chosen before."""

_MIN_COPIED: Final = Fraction(1, 2)
"""Part of a window that a copy holds at least: its caption is of the whole window."""


@dataclass(frozen=True, kw_only=True)
class CutFacts:
    """How the file of a clip was cut from a longer video.

    Args:
        cut: ``exact`` or ``keyframes``.
        span: the time that it holds, in the longer video.
    """

    cut: Cut
    span: Span


class ClipFile:
    """The file of a clip, open for reading.

    Args:
        descriptor: open descriptor.
        size_bytes: its size.
        display_name: name in messages.
        suffix: suffix for its name, without the dot.
        wanted_sha256: hash that its bytes must have; None for any.
        cut_facts: how it was cut; None for a whole file.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        size_bytes: int,
        display_name: str,
        suffix: str,
        wanted_sha256: str | None = None,
        cut_facts: CutFacts | None = None,
    ) -> None:
        self._descriptor, self._display_name = descriptor, display_name
        self._wanted_sha256 = wanted_sha256
        self.suffix, self.size_bytes, self.cut_facts = suffix, size_bytes, cut_facts
        self.sha256 = ""

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes; afterwards `sha256` is their hash.

        Raises:
            InputError: ``input.changed`` if the file is not as long as when it was opened, or its
                hash is another one than that of the list; ``input.unreadable``.
        """
        hashed, offset = hashlib.sha256(), 0
        while offset < self.size_bytes:
            count = min(_CHUNK_BYTES, self.size_bytes - offset)
            try:
                data = os.pread(self._descriptor, count, offset)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise InputError(
                    "input.unreadable", f"{self._display_name}: {reason.lower()}"
                ) from error
            if not data:
                raise changed_error(self._display_name, "became shorter while it was read")
            hashed.update(data)
            offset += len(data)
            yield data
        if os.fstat(self._descriptor).st_size != self.size_bytes:
            raise changed_error(self._display_name, "changed while it was read")
        digest = hashed.hexdigest()
        if self._wanted_sha256 not in (None, digest):
            raise changed_error(
                self._display_name, "has another hash than the column sha256 states"
            )
        self.sha256 = digest


@dataclass
class _Film:
    """A longer video that stays open for its clips."""

    key: tuple[object, ...]
    video: Video
    open: ExitStack


@dataclass
class _CutFile:
    """The file of a window that was cut last."""

    clip_id: str
    file: BinaryIO
    facts: CutFacts


class ClipOpener:
    """Opens the files of clips of one job; use it in a ``with`` statement.

    Args:
        job: settings of the job.
        fetcher: fetches addresses, and clips in containers.
        cut: how a window of a longer video becomes a file; None if there are no windows.
    """

    def __init__(self, job: Job, fetcher: Fetcher, *, cut: Cut | None = None) -> None:
        self.job, self._fetcher, self._cut = job, fetcher, cut
        self._film: _Film | None = None
        self._last_cut: _CutFile | None = None

    def __enter__(self) -> "ClipOpener":
        return self

    def __exit__(self, *_: object) -> None:
        self._close_film()
        self._close_cut()

    @contextmanager
    def open(self, entry: JournalEntry, *, sha256: str | None) -> Iterator[ClipFile]:
        """Open the file of a clip.

        Args:
            entry: entry of the clip, with size and time of the file that the job read.
            sha256: hash of its bytes, if the list states it.

        Raises:
            SeedVideoError: if it cannot be opened or cut; ``input.changed`` if it was replaced.
        """
        item = entry.item
        if is_window(self.job, item):
            cut = self._cut_window(entry)
            yield ClipFile(
                cut.file.fileno(),
                size_bytes=os.fstat(cut.file.fileno()).st_size,
                display_name=display_path(item.id),
                suffix="mp4",
                cut_facts=cut.facts,
            )
            return
        with ExitStack() as stack:
            source = self._open_source(entry, stack)
            yield ClipFile(
                source.descriptor,
                size_bytes=source.size_bytes,
                display_name=source.display_name,
                suffix=_suffix(item.source, source.kind),
                wanted_sha256=sha256,
            )

    def _open_source(self, entry: JournalEntry, stack: ExitStack) -> Source:
        """Open the file that the job read; the stack closes it."""
        item, size, mtime_ns = entry.item, entry.size, entry.mtime_ns
        video: VideoInput = self.job.resolve_path(item.source)
        if needs_fetch(str(video)):
            video = stack.enter_context(self._fetcher.lease(item.source)).opened
            # For a clip in a container the job noted the size of the container.
            size, mtime_ns = size if split_member(item.source) is None else None, None
        source = open_source(video, limits=DEFAULT_LIMITS, root=None)
        stack.callback(source.close)
        found_ns = os.fstat(source.descriptor).st_mtime_ns
        if size not in (None, source.size_bytes) or mtime_ns not in (None, found_ns):
            raise InputError(
                "input.changed",
                f"{source.display_name}: was replaced since the job read it",
                hint="process it again: seedvideo batch run -o OUT",
            )
        return source

    def _open_film(self, entry: JournalEntry) -> Video:
        """Open the video of a window, unless it is open."""
        key = (entry.item.source, entry.size, entry.mtime_ns)
        if self._film is None or self._film.key != key:
            self._close_film()
            rate = self.job.source_fps
            with ExitStack() as stack:
                source = self._open_source(entry, stack)
                video = open(
                    OpenedInput(source.descriptor, source.name),
                    decoder=self.job.decoder,
                    source_fps=None if rate is None else Fraction(str(rate)),
                )
                stack.enter_context(video)
                self._film = _Film(key, video, stack.pop_all())
        return self._film.video

    def _close_film(self) -> None:
        if self._film is not None:
            film, self._film = self._film, None
            film.open.close()

    def _cut_window(self, entry: JournalEntry) -> "_CutFile":
        """Return a window of a longer video as a file; copies of a clip share it."""
        if self._last_cut is None or self._last_cut.clip_id != entry.item.id:
            self._close_cut()
            with ExitStack() as stack:
                file = stack.enter_context(os.fdopen(self._fetcher.spool.make_file(), "w+b"))
                try:
                    facts = self._write_window(entry, file)
                    file.flush()
                except OSError as error:
                    raise write_error(Path(self._fetcher.spool.folder), error) from error
                self._last_cut = _CutFile(entry.item.id, file, facts)
                stack.pop_all()
        return self._last_cut

    def _close_cut(self) -> None:
        if self._last_cut is not None:
            last, self._last_cut = self._last_cut, None
            last.file.close()

    def _write_window(self, entry: JournalEntry, file: BinaryIO) -> CutFacts:
        """Cut a window out of its video."""
        if self._cut is None:
            raise not_cut_error(1, entry.item.id)
        try:
            return self._write_cut(entry, file, self._cut)
        except MediaError:
            raise
        except BaseException:
            # A decode process that failed is not used for the next clip.
            self._close_film()
            raise

    def _write_cut(self, entry: JournalEntry, file: BinaryIO, cut: Cut) -> CutFacts:
        video = self._open_film(entry)
        window = _find_window(video, *window_of(self.job, entry.item))
        if cut == "exact":
            encode_clip(video, window, file)
            return CutFacts(cut=cut, span=window.span)
        # Frames outside the window may be of another shot, which the caption does not describe.
        window = replace(window, shot_span=window.span)
        copies = plan_copies(video, VideoSplit((window,), 0, 1), _UNBOUNDED).split.windows
        held = copies[0].span.duration if copies else Fraction(0)
        if held < window.span.duration * _MIN_COPIED:
            raise MediaError(
                "media.not_copyable",
                f"{display_path(video.source)}: a copy from {float(window.span.start):.3f} to"
                f" {float(window.span.end):.3f} s, from its first keyframe on, would hold"
                f" {float(held):.3f} s",
                hint="encode the clip again: --cut exact",
            )
        for data, _ in copy_clips(video, copies):
            file.write(data)
        return CutFacts(cut=cut, span=copies[0].span)


def not_cut_error(count: int, clip_id: str) -> BatchError:
    """Return the error of clips that are windows of longer videos, if nothing cuts them.

    Args:
        count: number of such clips.
        clip_id: id of one of them.
    """
    are = "clip is a window" if count == 1 else "clips are windows"
    return BatchError(
        "batch.clips_not_cut",
        f"{count:,} {are} of longer videos, such as {printable(clip_id[:200])}, without a file"
        " of their own",
        hint="cut them: --cut exact encodes them again, --cut keyframes copies them; or export"
        " without videos: -f dataset, or -f hf --no-bytes",
    )


_TimeBounds: TypeAlias = tuple[Fraction | None, Fraction | None]


def window_of(job: Job, item: Item) -> _TimeBounds:
    """Return start and end of a clip in its file; None for those of the file.

    A row's own window overrides that of the job.
    """
    start = job.sampling.start_s if item.start_s is None else item.start_s
    end = job.sampling.end_s if item.end_s is None else item.end_s
    return start, end


def is_window(job: Job, item: Item) -> bool:
    """Return whether a clip is a window of its file, rather than the whole file."""
    return window_of(job, item) != (None, None)


def _find_window(video: Video, start: Fraction | None, end: Fraction | None) -> ClipWindow:
    """Return a window of a video with the frames in it."""
    times = video.times
    last = max(video.info.duration, times[-1] + Fraction(1, 1000))
    begin, stop = Fraction(0) if start is None else start, last if end is None else min(end, last)
    frames = range(bisect_left(times, begin), bisect_left(times, stop))
    if not frames:
        raise MediaError(
            "media.no_frames",
            f"{display_path(video.source)}: no frame begins from {float(begin):.3f} to"
            f" {float(stop):.3f} s",
            hint="choose a longer window, or export without videos",
        )
    span = Span(times[frames.start], stop)
    return ClipWindow(span, 1, 1, Span(Fraction(0), last), frames)


def _suffix(name: str, kind: str) -> str:
    """Return the suffix of a file, without the dot: its own if that is a video's."""
    member = split_member(name)
    own = suffix_of(name if member is None else member.member)
    if own in VIDEO_SUFFIXES:
        return own.removeprefix(".")
    return _SUFFIXES.get(kind, kind)
