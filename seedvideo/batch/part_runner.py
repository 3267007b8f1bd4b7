"""Runner of a job of parts: takes one part after another and commits its records.

A part runs as a job of its own in a folder on this machine, so all rules of such a job hold inside
it. The records count once the commit of the part is written, which only one runner can do. A runner
holds no state that another one needs: any number may be started and killed at any time.

`PartRunner` runs parts, `run_pull` those that `seedvideo.batch.part_board` chooses.

Separate from `seedvideo.cli.batch_parts`: other engines choose parts by their own rules.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, Literal, Self

from seedvideo.batch import scheduler
from seedvideo.batch.execution import DEFAULT_ENTRYPOINTS, Entrypoints
from seedvideo.batch.inputs import Item
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import checksum, encode_id, failure_columns
from seedvideo.batch.outage import WAITS_S
from seedvideo.batch.part_attempts import (
    DEATHS_OF_A_CLIP,
    Attempt,
    PartCommittedError,
    RunnerIdentity,
    hash_item,
)
from seedvideo.batch.part_board import PartBoard
from seedvideo.batch.part_records import Commit, parse_commit, write_part
from seedvideo.batch.parts import (
    PartedJob,
    PartSet,
    Row,
    check_version,
    read_plan,
    read_reusable,
)
from seedvideo.batch.processes import MODEL_START_TIMEOUT_S, ProcessSet
from seedvideo.batch.progress import Progress
from seedvideo.batch.stores import Store
from seedvideo.errors import BatchError, OutputError, SeedVideoError
from seedvideo.model.backends.base import TokenCosts
from seedvideo.model.batching import is_server
from seedvideo.utils.files import make_folder
from seedvideo.utils.text import printable

CLIP_LIMITS: Final = 2
"""Time limits of a clip, decoding and model, after which a runner without a new mark is dead."""

_SERVER_LIMITS: Final = 12
"""The same where requests are repeated."""

_TAKEN: Final = ("batch.locked", "batch.journal_damaged", "batch.journal_newer")

PartOutcome = Literal["committed", "second", "stopped"]


@dataclass
class PullResult:
    """What one runner did.

    Args:
        is_complete: whether every part has a commit; False if a signal stopped the runner.
        committed: parts that this runner committed.
        second: parts that another runner had committed first.
        clips: clips in the parts that it committed, by state.
        failures: codes and numbers of failed clips in them.
    """

    is_complete: bool = False
    committed: int = 0
    second: int = 0
    clips: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def add(self, commit: Commit) -> None:
        """Count a part that this runner committed."""
        self.committed += 1
        for state, number in commit.counts.items():
            self.clips[state] = self.clips.get(state, 0) + number
        for code, _, number in commit.failures:
            self.failures[code] = self.failures.get(code, 0) + number


def default_scratch() -> Path:
    """Return the folder of this user's journals on this machine."""
    return Path(tempfile.gettempdir()) / f"seedvideo-{os.getuid()}"


def check_runner(job: PartedJob, address: str, prices: TokenCosts) -> None:
    """Check that this machine gives the results that were planned.

    Raises:
        BatchError: ``batch.version_differs`` or ``batch.model_differs``.
    """
    check_version(job, address)
    if prices.sha256 != job.model_sha256:
        raise BatchError(
            "batch.model_differs",
            f"the model {printable(job.job.model)} has other weights here than where"
            f" {printable(address)} was planned",
            hint="use the same weights on all machines, or plan a new job with --from",
        )


class PartRunner:
    """Runs parts of one job on this machine; use it in a ``with`` statement.

    Args:
        store: store of the job.
        planned: the job.
        job: its settings, with those that may differ between machines.
        prices: token costs of its model.
        scratch: folder on a local disk for the journals of parts.
        progress: receives every event.
        entrypoints: functions that the processes call.

    Raises:
        BatchError: as `check_runner` does.
        OutputError: ``output.unwritable`` if the folder cannot be used.
    """

    def __init__(
        self,
        store: Store,
        planned: PartedJob,
        job: Job,
        prices: TokenCosts,
        *,
        scratch: Path,
        progress: Progress,
        entrypoints: Entrypoints = DEFAULT_ENTRYPOINTS,
    ) -> None:
        check_runner(planned, store.address, prices)
        self.identity = RunnerIdentity.of_this_process()
        self._store, self._planned, self._job, self._prices = store, planned, job, prices
        self._progress, self._entrypoints = progress, entrypoints
        self._folder = _make_scratch(scratch, f"{planned.id}-{planned.key}")
        self._processes = ProcessSet(job, entrypoints)
        self._is_stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.close()
        with suppress(OSError):  # Journals of unfinished parts stay.
            self._folder.rmdir()

    def unfinished(self) -> set[str]:
        """Return the names of parts whose journals an earlier process left on this machine."""
        with suppress(OSError):
            return set(os.listdir(self._folder))
        return set()

    def stop(self) -> None:
        """Stop as after a signal, from any thread: the clip in the model is finished."""
        self._is_stopping = True
        self._processes.stop()

    def run(self, attempt: Attempt) -> tuple[PartOutcome, Commit | None]:
        """Run a part to its commit.

        Returns:
            What became of it, and its commit if this runner wrote it.

        Raises:
            SeedVideoError: as `Runner.run` does, or if the store cannot be used. The finished clips
                stay in the journal on this machine.
        """
        try:
            return self._run(attempt)
        except SeedVideoError as error:
            self._restart_processes()
            if error.code != "store.unreachable":  # It would be waited for as long again.
                attempt.end(error.code)
            raise
        except KeyboardInterrupt:
            attempt.end("interrupted")
            raise

    def _run(self, attempt: Attempt) -> tuple[PartOutcome, Commit | None]:
        rows = read_plan(self._store, attempt.parts, attempt.part)
        poison = self._find_poison(attempt) if attempt.is_marked else frozenset()
        journal = self._open_journal(attempt.parts, attempt.part)
        commit: Commit | None = None
        with journal:
            items = (row for _, row in rows)
            report = self._progress.report_bad_row
            journal.plan(items, self._job, self._prices.sha256, on_bad_row=report)
            _add_records(journal, read_reusable(self._store, attempt.parts, attempt.part))
            _quarantine(journal, rows, poison)
            try:
                if not self._run_clips(attempt, journal):
                    attempt.end("stopped")
                    return "stopped", None
            except PartCommittedError:
                self._restart_processes()
            else:
                commit = self._commit(attempt, rows, journal)
        shutil.rmtree(journal.folder, ignore_errors=True)
        return ("second" if commit is None else "committed"), commit

    def _run_clips(self, attempt: Attempt, journal: Journal) -> bool:
        return scheduler.Runner(
            journal,
            self._job,
            self._prices,
            progress=self._progress,
            entrypoints=self._entrypoints,
            processes=self._processes,
            on_begin=attempt.mark if attempt.is_marked else None,
        ).run()

    def _commit(
        self, attempt: Attempt, rows: list[tuple[int, Row]], journal: Journal
    ) -> Commit | None:
        """Write records and commit; return the commit, or None if it was there before."""
        commit = write_part(
            self._store,
            attempt.parts,
            attempt.part,
            attempt.number,
            rows,
            journal,
            self._job,
            runner=self.identity.name,
        )
        name = attempt.parts.commit_name(attempt.part)
        if self._store.put_if_absent(name, commit.to_json()):
            return commit
        there = self._store.read(name)
        if there is not None:
            first = parse_commit(there, where=f"{self._store.address}/{name}")
            if first.digest != commit.digest:
                self._progress.report_difference(attempt.part, first.runner)
        for each in filter(None, (commit.data, commit.sheets)):
            self._store.delete(each)
        return None

    def _find_poison(self, attempt: Attempt) -> frozenset[str]:
        quiet_s = CLIP_LIMITS * self._job.timeout_s
        if is_server(self._prices):
            quiet_s = _SERVER_LIMITS * self._job.timeout_s + sum(WAITS_S)
        return attempt.find_poison(quiet_s=quiet_s, loading_s=MODEL_START_TIMEOUT_S)

    def _open_journal(self, parts: PartSet, number: int) -> Journal:
        """Open the journal of a part; a new one if another process holds it, or it is damaged."""
        make_folder(self._folder)
        stem = parts.local_name(number)
        for copy in count():
            folder = self._folder / (f"{stem}.{copy}" if copy else stem)
            try:
                return Journal.open(folder, write=True)
            except BatchError as error:
                if error.code not in _TAKEN:
                    raise
        raise AssertionError

    def _restart_processes(self) -> None:
        self._processes.close()
        self._processes = ProcessSet(self._job, self._entrypoints)
        if self._is_stopping:
            self._processes.stop()


def _make_scratch(folder: Path, name: str) -> Path:
    """Create the folder of the job's journals; refuse one that another user could change.

    The folder above may be open to everyone, as that of a container is.

    Raises:
        OutputError: ``output.unwritable``.
    """
    own = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        own.mkdir(exist_ok=True, mode=0o700)
        found = own.lstat()
        is_safe = stat.S_ISDIR(found.st_mode) and not found.st_mode & stat.S_IWOTH
        reason = (
            "" if is_safe and found.st_uid in (os.getuid(), 0) else "another user can change it"
        )
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
    if reason:
        raise OutputError(
            "output.unwritable",
            f"{printable(str(own))} cannot hold the journals of parts: {reason}",
            hint="name a folder on a local disk: --scratch FOLDER",
        )
    return own


def _add_records(journal: Journal, records: Iterable[tuple[str, str]]) -> None:
    """Add records of another job; they are used if their fingerprints are those of clips."""
    with journal.transaction() as database:
        database.executemany(
            "INSERT INTO records VALUES (?, ?, ?, NULL, NULL) ON CONFLICT DO NOTHING",
            [(key, record, checksum(record.encode())) for key, record in records],
        )


def _quarantine(journal: Journal, rows: Iterable[tuple[int, Row]], poison: frozenset[str]) -> None:
    """Give a verdict to the clips that killed their runners."""
    if not poison:
        return
    items = (row for _, row in rows if isinstance(row, Item))
    values = failure_columns(
        "batch.runner_died",
        "batch",
        "the runner died twice while it worked on this clip",
        "run it alone: seedvideo caption VIDEO",
        retryable=False,
    ) | {"tries": DEATHS_OF_A_CLIP, "state": "quarantined"}
    changes = ", ".join(f"{name} = ?" for name in values)
    with journal.transaction() as database:
        database.executemany(
            f"UPDATE items SET {changes} WHERE id = ? AND state = 'pending'",
            [(*values.values(), encode_id(i.id)) for i in items if hash_item(i) in poison],
        )
    journal.recount()


def run_pull(
    runner: PartRunner,
    board: PartBoard,
    progress: Progress,
    *,
    on_commit: Callable[[Commit], None] = lambda commit: None,
) -> PullResult:
    """Run parts until each has a commit.

    Args:
        runner: runs a part.
        board: chooses the parts.
        progress: receives the parts that are committed.
        on_commit: called with each commit that this runner wrote.

    Raises:
        SeedVideoError: as `PartRunner.run` does.
    """
    result = PullResult()
    while (attempt := board.take()) is not None:
        outcome, commit = runner.run(attempt)
        if outcome == "stopped":
            return result
        board.note_committed(attempt)
        if commit is None:
            result.second += 1
        else:
            result.add(commit)
            on_commit(commit)
        progress.report_part(
            attempt.part,
            outcome,
            committed=board.committed,
            parts=board.parts,
            open=board.open,
            runners=board.runners,
        )
    result.is_complete = True
    return result
