"""Command ``seedvideo batch run``: run, resume or estimate a job.

Separate from `seedvideo.cli.batch`, whose commands read a job without running it. Heavy modules are
imported when they are needed.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedvideo.cli.batch_options import JobOptions, JobTask, apply_options, explicit_options
from seedvideo.cli.batch_parts import (
    RunPartsOptions,
    make_progress,
    reject_other_kind,
    reject_with_job,
    run_parts,
)
from seedvideo.cli.console import (
    COULD_NOT_START,
    INTERRUPTED,
    SOME_FAILED,
    WRONG_USAGE,
    Console,
    write_stdout,
)
from seedvideo.cli.model_options import BatchSize, Concurrency, LoadingOptions, WritingOptions
from seedvideo.cli.options import (
    Quiet,
    RatePreset,
    SamplingOptions,
    TaskModel,
    Verbose,
    reject_unknown_levels,
    with_options,
)
from seedvideo.cli.remote_options import SourceOptions
from seedvideo.cli.split_options import SplitOption, WindowOptions, reject_without_split
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from seedvideo.batch.job import Job
    from seedvideo.model.backends.base import TokenCosts


# A job analyses each clip once and caches nothing; ``--task`` is the task of the job. The options
# are checked as those of other commands, and only the explicit ones change the job.
@partial(with_options, without=("cache", "task"))
def run(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT|JOB.toml",
            help="Videos, folders, globs, lists (.txt, .csv, .jsonl, .parquet) or tars of clips;"
            " also addresses (s3://, gs://, az://, https://, hf://); - reads paths from stdin. Omit"
            " to resume the job in OUT.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="OUT", help="Keep the job in this folder."),
    ] = None,
    task: JobTask = "caption",
    model: TaskModel = "nano",
    *,
    loading: LoadingOptions,
    writing: WritingOptions,
    remote: SourceOptions,
    batch_size: BatchSize = 1,
    concurrency: Concurrency = None,
    sampling: SamplingOptions,
    former_preset: Annotated[RatePreset | None, typer.Option("--sampling", hidden=True)] = None,
    more: JobOptions,
    split: SplitOption = None,
    windows: WindowOptions,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="Run only the first N clips; run again without it for the rest.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan every clip and estimate the cost of the job.")
    ] = False,
    price: Annotated[
        float | None,
        typer.Option(
            metavar="USD",
            min=0,
            help="Compute the cost at this price per million tokens (--dry-run).",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write the estimate as one JSON object (--dry-run).")
    ] = False,
    json_events: Annotated[
        bool, typer.Option("--json-events", help="Report progress as JSON Lines on stderr.")
    ] = False,
    parts: RunPartsOptions,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a job, or resume it.

    Every clip gets a result, and a killed job loses nothing: run the same command again to resume.
    Ctrl-C once finishes the clip in the model, twice stops at once. Exit code: 0 all done or
    filtered, 1 some failed, 2 wrong usage, 3 could not start or continue, 130 interrupted.
    """
    console = Console(quiet=quiet, verbose=verbose)
    given = explicit_options(context)
    if parts.job is not None and split is not None:
        raise typer.BadParameter(
            "--split cannot be used with --job, whose clips are fixed; split first: seedvideo split"
            " INPUT... -o rows.csv; then: seedvideo batch plan rows.csv --job URL"
        )
    if parts.job is not None:
        reject_with_job(
            {"INPUT": inputs, "-o": output, "--limit": limit, "--dry-run": dry_run,
             "--price": price, "--json": as_json},
            given,
        )  # fmt: skip
        run_parts(
            parts, given, remote.config.store_endpoint, json_events=json_events, console=console
        )
        return
    parts.reject_without_job()
    reject_without_split(split, given)
    if output is None and not dry_run:
        raise typer.BadParameter("-o OUT is missing: name the folder of the job")
    if (price is not None or as_json) and not dry_run:
        raise typer.BadParameter("--price and --json can only be used with --dry-run")
    with console.exit_on_error(COULD_NOT_START):
        if output is not None:
            reject_other_kind(output, command="run")
        base = _load_base_job(inputs or [], output)
    job, costs = prepare_job(base, given, console=console)
    if dry_run:
        _dry_run(
            job, costs, output=output, price=price, as_json=as_json, limit=limit, console=console
        )
        return
    assert output is not None
    _run(
        job,
        costs,
        Path(output),
        again=not inputs,
        limit=limit,
        json_events=json_events,
        console=console,
    )


def prepare_job(
    base: "Job", given: dict[str, Any], *, console: Console
) -> "tuple[Job, TokenCosts]":
    """Return a job with the given options, and the costs of its model, after all checks.

    Raises:
        typer.Exit: with 2 or 3 if a check fails.
        typer.BadParameter: if a level does not exist.
    """
    with console.exit_on_error(WRONG_USAGE):
        job = apply_options(base, given)
    with console.exit_on_error(COULD_NOT_START):
        from seedvideo.batch.run_job import check_job

        check_job(job)
    with console.exit_on_error(COULD_NOT_START):
        from seedvideo.model import load_costs

        costs = load_costs(job.model, job.model_options)
    with console.exit_on_error(WRONG_USAGE):
        from seedvideo.batch.run_job import check_model
        from seedvideo.model_tasks import check_supported

        check_supported(costs, job.generation, prompt=job.prompt)
        check_model(job, costs)
    reject_unknown_levels(job.sampling.levels_tokens or (), costs.geometry.levels_tokens)
    return job, costs


def load_job(inputs: list[str]) -> "Job":
    """Return the job of a file, or a new one with these inputs."""
    from seedvideo.batch.job import Job

    if len(inputs) == 1 and inputs[0].endswith(".toml"):
        return Job.from_toml(Path(inputs[0]))
    return Job(inputs=tuple(inputs))


def _load_base_job(inputs: list[str], output: str | None) -> "Job":
    """Return the job that the options change: from a file, from the folder, or a new one."""
    from seedvideo.errors import BatchError

    if inputs:
        return load_job(inputs)
    if output is None:
        raise typer.BadParameter("name videos, or a job to resume with -o OUT")
    from seedvideo.batch.journal import Journal

    with Journal.open(Path(output), write=False) as journal:
        job = journal.job()
    if job is None:
        raise BatchError(
            "batch.no_input",
            f"{printable(output)} does not contain a job",
            hint="name the videos: seedvideo batch run INPUT... -o OUT",
        )
    if not os.path.isdir(job.folder):
        raise BatchError(
            "batch.no_input",
            f"the job's working directory {printable(job.folder)} no longer exists",
            hint="name the videos again: seedvideo batch run INPUT... -o OUT",
        )
    return job


def _run(
    job: "Job",
    costs: "TokenCosts",
    folder: Path,
    *,
    again: bool,
    limit: int | None,
    json_events: bool,
    console: Console,
) -> None:
    from seedvideo.batch.journal import Journal
    from seedvideo.batch.run_job import diff_settings, make_fetcher, plan_job, run_planned

    result = None
    try:
        with console.exit_on_error(COULD_NOT_START):
            journal = Journal.open(folder, write=True)
        with journal, make_fetcher(job) as fetcher, console.exit_on_error(COULD_NOT_START):
            progress = make_progress(console, json_events=json_events)
            changed = diff_settings(journal, job)
            if changed:
                console.info(
                    f"settings changed since the last run: {', '.join(changed)};"
                    " affected clips will be reprocessed"
                )
            console.status("reading the inputs")
            stdin = sys.stdin.buffer
            plan_job(journal, job, costs, progress, resume=again, stdin=stdin, fetcher=fetcher)
            console.clear_status()
            result = run_planned(journal, job, costs, progress, limit=limit, fetcher=fetcher)
    except KeyboardInterrupt:
        pass  # Interrupted before the run started: reported below, like any other stop.
    if result is None or not result.is_complete:
        console.info(f"stopped; resume with: seedvideo batch run -o {quote(str(folder))}")
        raise typer.Exit(INTERRUPTED)
    counts = result.counts
    if limit is not None and counts.pending:
        clips = f"{counts.pending:,} clip{'s' * (counts.pending > 1)}"
        console.info(f"{clips} left; resume with: seedvideo batch run -o {quote(str(folder))}")
    if counts.failed or counts.quarantined:
        for code, _, count in result.failures:
            console.info(f"{count:,} failed with {code}")
        console.info(f"list them with: seedvideo batch status {quote(str(folder))} --failed")
        raise typer.Exit(SOME_FAILED)


def _dry_run(
    job: "Job",
    costs: "TokenCosts",
    *,
    output: str | None,
    price: float | None,
    as_json: bool,
    limit: int | None,
    console: Console,
) -> None:
    """Plan the job and print its cost, without writing anything."""
    with console.exit_on_error(COULD_NOT_START):
        from contextlib import chdir

        from seedvideo.batch import inputs
        from seedvideo.batch.dry_run import estimate, last_throughput
        from seedvideo.batch.journal import Journal
        from seedvideo.batch.journal_schema import JOURNAL_NAME
        from seedvideo.batch.progress import format_duration
        from seedvideo.batch.run_job import make_fetcher
        from seedvideo.batch.split_inputs import split_rows

        speed = None
        if output is not None and os.path.exists(Path(output) / JOURNAL_NAME):
            with Journal.open(Path(output), write=False) as journal:
                speed = last_throughput(journal.get_meta("speed"), job, costs)
        with chdir(job.folder), make_fetcher(job) as fetcher:
            rows = inputs.read_inputs(job.inputs, stdin=sys.stdin.buffer, fetcher=fetcher)
            found = estimate(
                rows if job.split is None else split_rows(rows, job, fetcher=fetcher, folder=None),
                job,
                costs,
                limit=limit,
                fetcher=fetcher,
                on_progress=lambda count: console.status(f"planned {count:,}"),
            )
    console.clear_status()
    estimate_json = found.to_json(job, speed, usd_per_mtok=price)
    if as_json:
        write_stdout(json.dumps(estimate_json) + "\n")
        return
    lines = [
        ("clips", f"{found.clips:,}, {format_duration(found.video_s)} of video"),
        *((f"{count:,} filtered", rule) for rule, count in sorted(found.filtered.items())),
        *(
            ("not counted", f"{rule}: all are planned here")
            for rule in estimate_json["not_counted"]
        ),
        *((f"{count:,} fail", code) for code, count in sorted(found.failures.items())),
        ("frames", f"{found.frames:,}"),
        ("tokens", f"{found.tokens:,}, of which {found.visual_tokens:,} visual"),
        (
            "decoding",
            f"about {format_duration(estimate_json['prepare_s'])} with {job.workers} workers,"
            " measured on these clips",
        ),
        (
            "model",
            "unknown before a first run in this folder"
            if estimate_json["model_s"] is None
            else f"about {format_duration(estimate_json['model_s'])}, at the speed of the last run",
        ),
    ]
    if estimate_json["total_s"] is not None:
        lines.append(("total", f"about {format_duration(estimate_json['total_s'])}"))
    if price is not None:
        lines.append(("cost", f"${estimate_json['usd']:,.4f} at ${price:g} per million tokens"))
    write_stdout("".join(f"{name:<12}{fact}\n" for name, fact in lines))
