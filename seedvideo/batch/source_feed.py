"""Clips of a run between the journal and the decode processes: local ones, and those to be fetched.

Clips with an address, or in a container, are fetched by threads of the supervisor, a few ahead of
the decode processes; local ones pass at once. A file on a server is fetched once for all its
windows, and dropped after the last one. The first version of it that a job reads is the one that
counts: a clip that finds another one fails, as its rows would be about two different videos.

Separate from `seedvideo.batch.scheduler`, which would exceed 500 lines with it.
"""

import json
import os
import queue
import secrets
import threading
from collections import deque
from contextlib import suppress
from typing import Final

from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import encode_id
from seedvideo.batch.processes import InFlightItem
from seedvideo.errors import InputError, SeedVideoError
from seedvideo.remote.fetching import Fetcher, Lease
from seedvideo.remote.transfer import changed_remote_error, display
from seedvideo.utils.addresses import (
    STORE_SCHEMES,
    Member,
    is_address,
    parse_address,
    split_member,
)

PREFETCH: Final = 3
"""Clips that are fetched ahead of the decode processes, and number of threads."""

_MACHINE_STAGES: Final = ("config", "output", "store")
"""Stages of errors that this machine would have with every clip."""

MAX_UNANSWERED: Final = 5
"""Files of object stores in a row that no store answered for, after which the run ends: then it is
the network, or the store, and each clip would fail."""

_UNANSWERED_CODES: Final = ("input.unavailable", "input.stalled")

_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS remote_sources (source BLOB PRIMARY KEY, size INTEGER,"
    " version TEXT NOT NULL, run TEXT NOT NULL) WITHOUT ROWID"
)


class SourceFeed:
    """Clips that are claimed and not yet in a decode process.

    Args:
        journal: journal of the job, opened to write.
        job: settings of the job.
        fetcher: fetches files; this object closes it. None for one with the job's options.
        end_position: only items before this position of the input are run.

    Attributes:
        ahead: clips that may be in flight for the sake of fetching; 0 for a job of local files.
    """

    def __init__(
        self, journal: Journal, job: Job, fetcher: Fetcher | None, *, end_position: int
    ) -> None:
        self._journal, self._job = journal, job
        self._fetcher = fetcher or Fetcher(job.remote, folder=job.folder)
        self._run = secrets.token_hex(8)
        self._waiting: deque[InFlightItem] = deque()
        self._ready: set[str] = set()
        self._to_fetch: queue.SimpleQueue[InFlightItem | None] = queue.SimpleQueue()
        self._fetched: queue.SimpleQueue[tuple[InFlightItem, Lease | SeedVideoError]] = (
            queue.SimpleQueue()
        )
        self._threads: list[threading.Thread] = []
        self._unanswered: set[str] = set()
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self.ahead = PREFETCH * self._expect_all(end_position)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when a file was fetched."""
        return self._read_end

    def __len__(self) -> int:
        """Return the number of clips that are here."""
        return len(self._waiting)

    def wants_more(self, idle: int) -> bool:
        """Return whether another clip is to be claimed.

        Args:
            idle: number of decode processes without a clip.
        """
        return len(self._waiting) < idle + self.ahead

    def add(self, clip: InFlightItem) -> None:
        """Take a clip that was claimed, and begin to fetch it if it must be."""
        self._waiting.append(clip)
        if not self._must_fetch(clip.item.source):
            self._ready.add(clip.id)
            return
        if len(self._threads) < PREFETCH:
            thread = threading.Thread(target=self._fetch, name="seedvideo-fetch", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._to_fetch.put(clip)

    def take(self, count: int) -> list[InFlightItem]:
        """Remove and return the first clips whose files are there, up to a number."""
        taken = [clip for clip in self._waiting if clip.id in self._ready][:count]
        for clip in taken:
            self._ready.remove(clip.id)
            self._waiting.remove(clip)
        return taken

    def poll(self) -> list[tuple[InFlightItem, SeedVideoError]]:
        """Take over what was fetched since the last call; return the clips that failed.

        Raises:
            SeedVideoError: if this machine can fetch no clip, as with expired credentials, a spool
                that cannot be written or a store that does not answer: no clip is to blame.
        """
        with suppress(BlockingIOError):
            os.read(self._read_end, 4096)
        failed: list[tuple[InFlightItem, SeedVideoError]] = []
        while True:
            try:
                clip, found = self._fetched.get_nowait()
            except queue.Empty:
                return failed
            self._note_answer(clip.item.source, found)
            if isinstance(found, Lease):
                error = self._check_version(clip, found)
                if error is None:
                    clip.lease = found
                    self._ready.add(clip.id)
                    continue
                found.release()
                found = error
            if found.stage in _MACHINE_STAGES:
                raise found
            self._waiting.remove(clip)
            failed.append((clip, found))

    def close(self) -> None:
        """End the threads; those in the middle of a download end at its next bytes."""
        for _ in self._threads:
            self._to_fetch.put(None)
        self._fetcher.close()
        for clip in self._waiting:
            clip.release_source()
        write_end, self._write_end = self._write_end, -1  # Threads write to it.
        os.close(write_end)
        os.close(self._read_end)

    def _fetch(self) -> None:
        while (clip := self._to_fetch.get()) is not None:
            found: Lease | SeedVideoError
            try:
                found = self._fetcher.lease(clip.item.source)
            except Exception as error:  # noqa: BLE001
                # Also a bug must only fail this clip; its message might hold a key.
                if isinstance(error, SeedVideoError):
                    found = error
                else:
                    found = SeedVideoError(
                        "internal.error",
                        f"{display(clip.item.source)}: {type(error).__name__} while it was fetched",
                        hint="this is a bug in seedvideo: report it with the address",
                    )
            self._fetched.put((clip, found))
            with suppress(OSError):
                os.write(self._write_end, b"x")

    def _note_answer(self, source: str, found: Lease | SeedVideoError) -> None:
        """Count files that no object store answered for.

        Raises:
            InputError: ``input.unavailable`` if they are too many; their clips are pending again.
        """
        name = (split_member(source) or Member(source, "")).container
        if not (is_address(name) and parse_address(name).scheme in STORE_SCHEMES):
            return
        if isinstance(found, Lease) or found.code not in _UNANSWERED_CODES:
            self._unanswered.clear()
            return
        self._unanswered.add(name)
        if len(self._unanswered) >= MAX_UNANSWERED:
            for code in _UNANSWERED_CODES:
                self._journal.retry(code=code)
            raise InputError(
                "input.unavailable",
                f"{MAX_UNANSWERED} files in a row could not be fetched; the last: {found.message}",
                hint="check the network and run the same command again: finished work is kept",
                retryable=True,
            ) from found

    def _must_fetch(self, source: str) -> bool:
        if is_address(source):
            return True
        is_member = split_member(source) is not None
        return is_member and not os.path.lexists(self._job.resolve_path(source))

    def _expect_all(self, end_position: int) -> bool:
        """Announce the files of all pending clips; return whether any must be fetched."""
        has_any = False
        with self._journal.transaction() as connection:
            rows = connection.execute(
                "SELECT spec FROM items WHERE state = 'pending' AND place < ? AND"
                " (instr(spec, '://') OR instr(spec, '::'))",
                (end_position,),
            )
            for (spec,) in rows:
                source = json.loads(spec)["source"]
                if self._must_fetch(source):
                    has_any = True
                    self._fetcher.expect(source)
            if has_any:
                connection.execute(_TABLE)
        return has_any

    def _check_version(self, clip: InFlightItem, lease: Lease) -> SeedVideoError | None:
        """Note the version of a file on a server; return an error if the job has read another."""
        source = clip.item.source
        member = split_member(source)
        name = source if member is None else member.container
        origin = lease.file.origin
        if origin is None or not is_address(name):
            return None
        facts = (origin.size_bytes, origin.version)
        with self._journal.transaction() as connection:
            found = connection.execute(
                "SELECT size, version, run FROM remote_sources WHERE source = ?",
                (encode_id(name),),
            ).fetchone()
            if found is not None and found[:2] == facts:
                return None
            if found is not None:
                # Without a result, no row is about the version of an earlier run.
                start = json.dumps({"source": name})[:-2] + ("" if member is None else "::")
                has_result = connection.execute(
                    "SELECT 1 FROM items WHERE state IN ('done', 'filtered') AND place IS NOT NULL"
                    " AND substr(spec, 1, ?) = ? LIMIT 1",
                    (len(start), start),
                ).fetchone()
                if found[2] == self._run or has_result:
                    return changed_remote_error(source)
            connection.execute(
                "INSERT OR REPLACE INTO remote_sources VALUES (?, ?, ?, ?)",
                (encode_id(name), *facts, self._run),
            )
        return None
