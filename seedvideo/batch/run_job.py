"""Start or resume a job in a folder: read its inputs and run it to the end.

Shared by the command line and `seedvideo.run_batch`. Prints nothing; events go to a `Progress`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from seedvideo.batch import inputs, scheduler
from seedvideo.batch.container_rows import is_local_container
from seedvideo.batch.inputs import Item, find_manifests, read_inputs
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.batch.journal_rows import Counts
from seedvideo.batch.progress import Progress
from seedvideo.batch.split_inputs import split_rows
from seedvideo.errors import AskError, BatchError, ConfigError, GroundError
from seedvideo.model.backends.base import TokenCosts
from seedvideo.model.batching import resolve_concurrency
from seedvideo.remote.fetching import Fetcher
from seedvideo.utils.addresses import is_address


@dataclass(frozen=True)
class BatchResult:
    """State of a job after a run.

    Args:
        is_complete: whether every pending clip was processed; False if Ctrl-C or SIGTERM stopped
            the run, which the same call resumes.
        counts: clips by state.
        failures: code, stage and number of the clips that failed.
    """

    is_complete: bool
    counts: Counts
    failures: Sequence[tuple[str, str, int]]


def check_job(job: Job) -> None:
    """Check a job for errors that would fail every clip, before its model is read.

    Raises:
        ConfigError: ``config.invalid`` if it splits its videos and is a shard.
        SeedVideoError: if a list of its inputs is wrong as a whole, or its task needs a question or
            query that neither the job nor a row has.
    """
    if job.split is not None and job.shard is not None:
        raise ConfigError(
            "config.invalid",
            f"shard is {job.shard}, but each shard of a job with split would analyse every video",
            hint="split first: seedvideo split INPUT... -o rows.csv; then: seedvideo batch run"
            f" rows.csv -o OUT --shard {job.shard}",
        )
    inputs.validate_manifests(job.inputs, folder=job.folder)
    _check_task_words(job)


def check_model(job: Job, prices: TokenCosts) -> None:
    """Check that a job's model supports its batches or its requests at once.

    Raises:
        ConfigError: ``config.invalid``.
    """
    resolve_concurrency(prices, batch_size=job.batch_size, concurrency=job.concurrency)


def make_fetcher(job: Job) -> Fetcher:
    """Return a fetcher for the inputs of a job; the caller closes it."""
    return Fetcher(job.remote, folder=job.folder)


def diff_settings(journal: Journal, job: Job) -> list[str]:
    """Return the names of the settings that differ from those of the run before."""
    before = journal.job()
    if before is None:
        return []
    old, new = before.settings(), job.settings()
    return [name for name in new if new[name] != old.get(name)]


def plan_job(
    journal: Journal,
    job: Job,
    prices: TokenCosts,
    progress: Progress,
    *,
    resume: bool,
    stdin: IO[bytes] | None,
    fetcher: Fetcher | None = None,
) -> None:
    """Read the inputs of a job and write its items to the journal.

    Args:
        journal: journal opened to write.
        job: settings of the job.
        prices: token costs of its model.
        progress: receives bad rows.
        resume: whether the inputs are those of the run before: a list from stdin is not read again.
        stdin: stream of the input ``-``.
        fetcher: fetches lists and containers, and keeps the secrets of addresses for `run_planned`.

    Raises:
        BatchError: ``batch.no_input`` if a resumed job's list from stdin was not read to its end.
        SeedVideoError: if the inputs cannot be read.
    """
    if resume and "-" in job.inputs:
        # The list came through a pipe; its rows are in the journal.
        if journal.get_meta("planned") != "whole":
            raise BatchError(
                "batch.no_input",
                "the job was stopped before its whole list was read from stdin",
                hint="pass the list again",
            )
        if journal.job() == job:
            return
    journal.set_meta("planned", "in part")
    rows = inputs.read_inputs(
        job.inputs, folder=job.folder, stdin=stdin, fetcher=fetcher or make_fetcher(job)
    )
    if job.split is not None:
        rows = split_rows(
            rows,
            job,
            fetcher=fetcher or make_fetcher(job),
            folder=journal.folder,
            on_video=lambda name, found: progress.report_split(
                name, clips=len(found.windows), shots=found.shots, left_out=found.short
            ),
        )
    journal.plan(rows, job, prices.sha256, on_bad_row=progress.report_bad_row)
    journal.set_meta("planned", "whole")


def run_planned(
    journal: Journal,
    job: Job,
    prices: TokenCosts,
    progress: Progress,
    *,
    limit: int | None = None,
    fetcher: Fetcher | None = None,
) -> BatchResult:
    """Run the items that `plan_job` wrote.

    Args:
        journal: journal opened to write.
        job: settings of the job.
        prices: token costs of its model.
        progress: receives every event of the run.
        limit: run only the first so many clips.
        fetcher: as `plan_job` used it; None for another one, which knows no secrets of addresses.

    Raises:
        SeedVideoError: as `Runner.run` does.
    """
    runner = scheduler.Runner(
        journal, job, prices, progress=progress, limit=limit, fetcher=fetcher or make_fetcher(job)
    )
    is_complete = runner.run()
    return BatchResult(is_complete, journal.counts(), journal.failures())


def run_job(
    job: Job,
    folder: Path,
    prices: TokenCosts,
    *,
    progress: Progress | None = None,
    limit: int | None = None,
) -> BatchResult:
    """Run a job in a folder; results of an earlier run are kept.

    Raises:
        SeedVideoError: if the inputs or the journal cannot be used, or the model cannot be loaded.
    """
    reporter = Progress() if progress is None else progress
    check_job(job)
    check_model(job, prices)
    with Journal.open(folder, write=True) as journal, make_fetcher(job) as fetcher:
        plan_job(journal, job, prices, reporter, resume=False, stdin=None, fetcher=fetcher)
        return run_planned(journal, job, prices, reporter, limit=limit, fetcher=fetcher)


def _check_task_words(job: Job) -> None:
    """Raise an error if neither the job nor a row has the question or query of its task.

    Raises:
        AskError: ``ask.question_empty`` for the task ``ask``.
        GroundError: ``ground.query_empty`` for the task ``ground``.
        SeedVideoError: as `seedvideo.batch.inputs.read_inputs` does for lists.
    """
    if job.task == "ask" and not (job.question or _any_row_has(job, "question")):
        raise AskError(
            "ask.question_empty",
            "no question given, neither for the job nor in a row of its lists",
            hint="pass --question TEXT, or add a column `question` to the list",
        )
    if job.task == "ground" and not (job.query or _any_row_has(job, "query")):
        raise GroundError(
            "ground.query_empty",
            "no query given, neither for the job nor in a row of its lists",
            hint="pass --query TEXT, or add a column `query` to the list",
        )


def _any_row_has(job: Job, field: str) -> bool:
    """Return whether a row has a value in a field.

    True for a pipe, which can be read only once, and for containers and remote lists, which cost
    too much.
    """
    if any(
        is_address(name) or is_local_container(os.path.join(job.folder, name))
        for name in job.inputs
    ):
        return True
    lists = [
        name for name in find_manifests(job.inputs, folder=job.folder) if not name.endswith(".txt")
    ]
    if any((Path(job.folder) / name).is_fifo() for name in lists):
        return True
    try:
        rows = read_inputs(lists, folder=job.folder)
        return any(isinstance(row, Item) and bool(getattr(row, field)) for row in rows)
    except BatchError as error:
        if error.code != "batch.no_input":
            raise
        return False
