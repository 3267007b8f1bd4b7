"""Command ``seedvideo batch plan``: cut a job into parts for many machines.

Separate from `seedvideo.cli.batch`, which would exceed 500 lines with it.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from seedvideo.cli.batch_options import JobOptions, JobTask, apply_options, explicit_options
from seedvideo.cli.batch_parts import job_endpoint, job_words, open_job
from seedvideo.cli.batch_run import load_job, prepare_job
from seedvideo.cli.console import COULD_NOT_START, WRONG_USAGE, Console
from seedvideo.cli.model_options import BatchSize, Concurrency, LoadingOptions, WritingOptions
from seedvideo.cli.options import Quiet, SamplingOptions, TaskModel, Verbose, with_options
from seedvideo.cli.remote_options import SourceOptions
from seedvideo.errors import ConfigError
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from seedvideo.batch.job import Job
    from seedvideo.batch.part_plan import PlanSource
    from seedvideo.batch.parts import Row
    from seedvideo.remote.fetching import Fetcher


@partial(with_options, without=("cache", "task"))
def plan(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT|JOB.toml",
            help="Videos, folders, globs, lists (.txt, .csv, .jsonl, .parquet) or tars of clips;"
            " also addresses (s3://, gs://, az://, https://, hf://); - reads paths from stdin.",
        ),
    ],
    job: Annotated[
        str,
        typer.Option(
            "--job",
            metavar="URL",
            help="Keep the job in this shared folder or bucket (s3://, gs://, az://).",
        ),
    ],
    earlier: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="URL", help="Use records of this job again that still hold."
        ),
    ] = None,
    part_clips: Annotated[
        int, typer.Option("--part-clips", metavar="N", min=1, help="Limit the clips of a part.")
    ] = 256,
    clip_seconds: Annotated[
        float,
        typer.Option(
            "--clip-seconds",
            metavar="SECONDS",
            min=0.001,
            help="Expect a clip to take so long: a part is ten minutes of work at most.",
        ),
    ] = 2.0,
    task: JobTask = "caption",
    model: TaskModel = "nano",
    *,
    loading: LoadingOptions,
    writing: WritingOptions,
    remote: SourceOptions,
    batch_size: BatchSize = 1,
    concurrency: Concurrency = None,
    sampling: SamplingOptions,
    more: JobOptions,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Cut a job into parts that many machines process.

    Writes the list of clips and the settings; both are fixed from then on. No video is opened. Run
    the parts with batch run --job URL, on as many machines as there are.
    """
    console = Console(quiet=quiet, verbose=verbose)
    given = explicit_options(context)
    with console.exit_on_error(COULD_NOT_START):
        base = load_job(inputs)
    with console.exit_on_error(WRONG_USAGE):
        _reject_order(apply_options(base, given))
    settings, costs = prepare_job(base, given, console=console)
    with console.exit_on_error(COULD_NOT_START), ExitStack() as stack:
        from seedvideo.batch.inputs import read_inputs
        from seedvideo.batch.part_plan import write_job
        from seedvideo.batch.run_job import make_fetcher
        from seedvideo.batch.stores import probe

        endpoint = remote.config.store_endpoint
        source = None if earlier is None else _open_earlier(earlier, endpoint)
        store = open_job(
            job,
            endpoint=job_endpoint(job, endpoint),
            command="run",
            create=True,
            on_wait=console.info,
        )
        probe(store)
        fetcher = stack.enter_context(make_fetcher(settings))
        made = write_job(
            store,
            _reject_signed(
                read_inputs(
                    settings.inputs,
                    folder=settings.folder,
                    stdin=sys.stdin.buffer,
                    fetcher=fetcher,
                ),
                fetcher,
            ),
            # The spool is a folder of this machine.
            replace(settings, remote=replace(settings.remote, spool=None)),
            costs.sha256,
            part_clips=part_clips,
            clip_s=clip_seconds,
            earlier=source,
            on_progress=lambda count: console.status(f"planned {count:,}"),
        )
    console.clear_status()
    clips, parts = made.parts.clips, made.parts.parts
    console.info(f"{clips:,} clip{'s' * (clips != 1)} in {parts:,} part{'s' * (parts != 1)}: {job}")
    place = job if "://" in job else os.path.abspath(job)
    console.info(f"next, on each machine: seedvideo batch run {job_words(place, endpoint)}")


def _reject_order(job: "Job") -> None:
    """Reject settings that need the order of the whole job.

    Raises:
        ConfigError: ``config.invalid``.
    """
    if job.filters.drops_exact or job.filters.drops_near:
        raise ConfigError(
            "config.invalid",
            "duplicates cannot be left out of a job of parts: each clip is compared with all"
            " before it",
            hint="leave out --drop-duplicates, --drop-exact and --drop-near; or run the job in one"
            " folder: seedvideo batch run INPUT... -o OUT",
        )
    if job.split is not None:
        raise ConfigError(
            "config.invalid",
            "a job of parts cannot split its videos: its list of clips is fixed, and no video is"
            " opened for it",
            hint="split first: seedvideo split INPUT... -o rows.csv; then: seedvideo batch plan"
            " rows.csv --job URL",
        )
    if job.shard is not None:
        raise ConfigError(
            "config.invalid",
            "--shard cannot be used with --job, whose parts are taken by any number of machines",
            hint="leave out --shard",
        )


def _reject_signed(rows: "Iterable[Row]", fetcher: "Fetcher") -> "Iterator[Row]":
    """Yield the rows; reject addresses with a query or a password, which no job stores.

    Raises:
        ConfigError: ``config.invalid``.
    """
    from seedvideo.batch.inputs import Item

    for row in rows:
        if isinstance(row, Item) and fetcher.has_secrets(row.source):
            raise ConfigError(
                "config.invalid",
                f"{printable(row.source)} has a query or a password, which no job stores, so that"
                " other machines could not fetch it",
                hint="use addresses such as s3://BUCKET/KEY with credentials in the environment,"
                " or run the job in one folder: seedvideo batch run INPUT... -o OUT",
            )
        yield row


def _open_earlier(address: str, endpoint: str | None) -> "PlanSource":
    from seedvideo.batch.part_plan import PlanSource
    from seedvideo.batch.part_records import read_done
    from seedvideo.batch.parts import read_job

    store = open_job(address, endpoint=job_endpoint(address, endpoint), command="status")
    return PlanSource(job=read_job(store), records=read_done(store))
