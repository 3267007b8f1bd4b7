"""Command ``seedvideo batch run``: run, resume or estimate a job.

Separate from `seedvideo.cli.batch`, whose commands read a job without running it. Heavy modules are
imported when they are needed.
"""

import json
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from seedvideo.cli.console import (
    COULD_NOT_START,
    INTERRUPTED,
    SOME_FAILED,
    WRONG_USAGE,
    Console,
    write_stdout,
)
from seedvideo.cli.model_options import BatchSize, Concurrency, LoadingOptions, WritingOptions
from seedvideo.cli.option_values import parse_levels, parse_options
from seedvideo.cli.options import (
    Quiet,
    RatePreset,
    SamplingOptions,
    TaskModel,
    Verbose,
    reject_unknown_levels,
    resolve_rate_preset,
    with_options,
)
from seedvideo.cli.remote_options import SourceOptions
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from seedvideo.batch.job import Job
    from seedvideo.batch.progress import Progress
    from seedvideo.model.backends.base import TokenCosts

_FILTERS: Final = {
    "min_duration": "min_duration_s",
    "max_duration": "max_duration_s",
    "min_side": "min_side_px",
    "drop_black": "black",
    "drop_frozen": "frozen",
    "drop_duplicates": "duplicates",
    "drop_exact": "exact_duplicates",
    "drop_near": "near_duplicates",
    "near_distance": "near_distance_levels",
}
_FIELDS: Final = {
    "levels": "levels_tokens",
    "start": "start_s",
    "end": "end_s",
    "timeout": "timeout_s",
    "memory": "memory_gib",
    "think": "thinking",
}
"""Options whose field in `seedvideo.batch.job.Job` has another name."""

_RUN_OPTIONS: Final = (
    "inputs",
    "output",
    "dry_run",
    "price",
    "as_json",
    "json_events",
    "quiet",
    "verbose",
    "no_sheets",
    "limit",
)
"""Options of one run, which are not part of the job."""


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
    task: Annotated[
        Literal["caption", "dense", "ask", "ground"],
        typer.Option(help="Run this task on each video; dense also captions each shot."),
    ] = "caption",
    question: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Ask this question about rows without their own (ask)."),
    ] = "",
    options: Annotated[
        str, typer.Option(metavar="A,B,...", help="Choose one of these answers (ask).")
    ] = "",
    query: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Find this event in rows without their own (ground)."),
    ] = "",
    top: Annotated[int, typer.Option(min=1, help="Limit the number of spans (ground).")] = 3,
    think: Annotated[bool, typer.Option("--think", help="Let the model reason first.")] = False,
    prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="Caption with this prompt (caption, dense).")
    ] = "",
    model: TaskModel = "nano",
    *,
    loading: LoadingOptions,
    writing: WritingOptions,
    remote: SourceOptions,
    batch_size: BatchSize = 1,
    concurrency: Concurrency = None,
    sampling: SamplingOptions,
    former_preset: Annotated[RatePreset | None, typer.Option("--sampling", hidden=True)] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Decode with so many processes besides the model's.")
    ] = 1,
    shard: Annotated[
        str | None, typer.Option(metavar="3/16", help="Process only this part of the inputs.")
    ] = None,
    min_duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Filter out shorter clips.")
    ] = None,
    max_duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Filter out longer clips.")
    ] = None,
    min_side: Annotated[
        int | None, typer.Option(metavar="PX", help="Filter out clips with a shorter side.")
    ] = None,
    drop_black: Annotated[
        bool, typer.Option("--drop-black", help="Filter out black clips.")
    ] = False,
    drop_frozen: Annotated[
        bool, typer.Option("--drop-frozen", help="Filter out clips without motion.")
    ] = False,
    drop_duplicates: Annotated[
        bool,
        typer.Option("--drop-duplicates", help="Combine --drop-exact and --drop-near."),
    ] = False,
    drop_exact: Annotated[
        bool,
        typer.Option(
            "--drop-exact", help="Filter out clips with the same bytes as an earlier one."
        ),
    ] = False,
    drop_near: Annotated[
        bool,
        typer.Option("--drop-near", help="Filter out near-duplicates of an earlier clip."),
    ] = False,
    near_distance: Annotated[
        float | None,
        typer.Option(
            metavar="LEVELS",
            help="Set the maximum mean difference of near-duplicates, in grey levels of 255; any"
            " part may differ by 1.5 times as much. [default: 4]",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Limit the time of a clip in one stage.")
    ] = 120.0,
    memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", help="Limit the memory that a decode worker may add."),
    ] = None,
    no_sheets: Annotated[
        bool, typer.Option("--no-sheets", help="Do not keep contact sheets for the report.")
    ] = False,
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
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a job, or resume it.

    Every clip gets a result, and a killed job loses nothing: run the same command again to resume.
    Ctrl-C once finishes the clip in the model, twice stops at once. Exit code: 0 all done or
    filtered, 1 some failed, 2 wrong usage, 3 could not start or continue, 130 interrupted.
    """
    console = Console(quiet=quiet, verbose=verbose)
    if output is None and not dry_run:
        raise typer.BadParameter("-o OUT is missing: name the folder of the job")
    if (price is not None or as_json) and not dry_run:
        raise typer.BadParameter("--price and --json can only be used with --dry-run")
    given = _explicit_options(context)
    with console.exit_on_error(COULD_NOT_START):
        base = _load_base_job(inputs or [], output)
    with console.exit_on_error(WRONG_USAGE):
        job = _apply_options(base, given)
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


def _explicit_options(context: typer.Context) -> dict[str, Any]:
    """Return the options given on the command line, by the names of the job's fields."""
    written = {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    if written.get("no_sheets"):
        written["sheets"] = False
    for name in _RUN_OPTIONS:
        written.pop(name, None)
    if "levels" in written:
        written["levels"] = parse_levels(written["levels"])
    if "former_preset" in written:  # for one release
        written["rate_preset"] = resolve_rate_preset(
            written.get("rate_preset", "general"),
            written.pop("former_preset"),
            former_name="--sampling",
        )
    if "options" in written:
        written["options"] = tuple(parse_options(written["options"]))
    return {_FIELDS.get(name, name): value for name, value in written.items()}


def _load_base_job(inputs: list[str], output: str | None) -> "Job":
    """Return the job that the options change: from a file, from the folder, or a new one."""
    from seedvideo.batch.job import Job
    from seedvideo.errors import BatchError

    if len(inputs) == 1 and inputs[0].endswith(".toml"):
        return Job.from_toml(Path(inputs[0]))
    if inputs:
        return Job(inputs=tuple(inputs))
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
    if not Path(job.folder).is_dir():
        raise BatchError(
            "batch.no_input",
            f"the job's working directory {printable(job.folder)} no longer exists",
            hint="name the videos again: seedvideo batch run INPUT... -o OUT",
        )
    return job


def _apply_options(job: "Job", given: dict[str, Any]) -> "Job":
    from seedvideo.batch.job import Shard

    changes = dict(given)
    filters = {field: changes.pop(name) for name, field in _FILTERS.items() if name in changes}
    if "shard" in changes:
        changes["shard"] = Shard.parse(changes["shard"])
    sampling = {each.name for each in fields(job.sampling)} & changes.keys()
    job = job.with_sampling(**{name: changes.pop(name) for name in sampling})
    for name in ("model_options", "generation", "remote"):
        part = getattr(job, name)
        own = {each.name for each in fields(part)} & changes.keys()
        changes[name] = replace(part, **{key: changes.pop(key) for key in own})
    return replace(job, **changes, filters=replace(job.filters, **filters))


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
            progress = _progress(console, json_events=json_events)
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


def _progress(console: Console, *, json_events: bool) -> "Progress":
    from seedvideo.batch.progress import Progress

    if json_events:
        return Progress(event=lambda line: print(line, file=sys.stderr, flush=True))
    status = console.status if sys.stderr.isatty() else None
    return Progress() if console.quiet else Progress(info=console.info, status=status)


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

        speed = None
        if output is not None and (Path(output) / JOURNAL_NAME).exists():
            with Journal.open(Path(output), write=False) as journal:
                speed = last_throughput(journal.get_meta("speed"), job, costs)
        with chdir(job.folder), make_fetcher(job) as fetcher:
            found = estimate(
                inputs.read_inputs(job.inputs, stdin=sys.stdin.buffer, fetcher=fetcher),
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
