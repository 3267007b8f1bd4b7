"""Jobs of parts on the command line: run and read them, and distinguish them from other jobs.

Shared by ``seedvideo batch run`` and the commands that read a job. Heavy modules are imported when
they are needed.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from seedvideo.cli.batch_options import apply_options
from seedvideo.cli.console import COULD_NOT_START, INTERRUPTED, SOME_FAILED, Console, write_stdout
from seedvideo.remote_options import REMOTE_FIELDS
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from seedvideo.batch.job import Job
    from seedvideo.batch.journal_rows import Counts
    from seedvideo.batch.part_records import Commit
    from seedvideo.batch.part_runner import PullResult
    from seedvideo.batch.part_status import JobStatus
    from seedvideo.batch.parts import PartedJob
    from seedvideo.batch.progress import Progress
    from seedvideo.batch.stores import Store

WATCH_INTERVAL_S: Final = 5.0
"""Seconds between two looks of ``--watch``."""

JobAddress = Annotated[
    str | None,
    typer.Option(
        "--job",
        metavar="URL",
        help="Use the job of parts in this shared folder or bucket (s3://, gs://, az://).",
    ),
]
StoreEndpoint = Annotated[
    str | None,
    typer.Option(
        "--store-endpoint",
        metavar="URL",
        help="Reach the bucket at this server instead of the provider's (s3, az).",
    ),
]
OptionalFolder = Annotated[
    str | None, typer.Argument(metavar="[OUT]", help="Folder of the job; omit it with --job.")
]

_SAME_NAME: Final = ("workers", "batch_size", "concurrency", "device", "attention", "offline")
_MAY_DIFFER: Final = {
    "memory_gib": "--memory",
    "timeout_s": "--timeout",
    **{name: "--" + name.replace("_", "-") for name in (*_SAME_NAME, *REMOTE_FIELDS)},
}
"""Fields of a job that one machine may set for itself: they do not change results."""


@dataclass(frozen=True, kw_only=True)
class RunPartsOptions:
    """How this process takes part in a job of parts; each field is an option."""

    job: JobAddress = None
    engine: Annotated[
        Literal["pull", "ray"],
        typer.Option("--engine", help="Run parts in this process, or on a cluster of Ray (--job)."),
    ] = "pull"
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT|auto",
            help="Use this cluster, auto for one that this machine is part of (--engine ray)."
            " [default: $RAY_ADDRESS, or start one on this machine]",
        ),
    ] = None
    runners: Annotated[
        int | None,
        typer.Option(
            "--runners",
            metavar="N",
            min=1,
            help="Keep so many runners (--engine ray). [default: as many as fit]",
        ),
    ] = None
    gpus_per_runner: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-runner",
            metavar="G",
            min=0,
            help="GPUs of each runner (--engine ray). [default: 1 if the cluster has any]",
        ),
    ] = None
    give_up_after: Annotated[
        float,
        typer.Option(
            "--give-up-after",
            metavar="SECONDS",
            min=0,
            help="End if the store does not answer for so long (--job).",
        ),
    ] = 3600.0
    scratch: Annotated[
        str | None,
        typer.Option(
            "--scratch",
            metavar="DIR",
            help="Keep the journals of parts in this folder on a local disk (--job). [default: in"
            " the folder for temporary files]",
        ),
    ] = None
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="HOST:PORT",
            help="Serve numbers for Prometheus at /metrics (--job).",
        ),
    ] = None

    def reject_without_job(self) -> None:
        """Reject options that need ``--job``.

        Raises:
            typer.BadParameter: naming the option.
        """
        for each in fields(self):
            if getattr(self, each.name) != each.default:
                name = "--" + each.name.replace("_", "-")
                raise typer.BadParameter(f"{name} can only be used with --job")

    def reject_without_engine(self) -> None:
        """Reject options of a cluster without one.

        Raises:
            typer.BadParameter: naming the option.
        """
        for each in ("address", "runners", "gpus_per_runner"):
            if self.engine != "ray" and getattr(self, each) is not None:
                raise typer.BadParameter(f"--{each.replace('_', '-')} needs --engine ray")


def reject_with_job(others: Mapping[str, object], given: Mapping[str, Any]) -> None:
    """Reject what a planned job has fixed.

    Raises:
        typer.BadParameter: naming the option.
    """
    for name, value in others.items():
        if not (value is None or value is False or value == []):
            raise typer.BadParameter(
                f"with --job, {name} cannot be used: the plan has the inputs, the store the results"
            )
    fixed = sorted(given.keys() - _MAY_DIFFER.keys())
    if fixed:
        names = ", ".join(name.replace("_", "-") for name in fixed)
        raise typer.BadParameter(
            f"the plan has fixed these settings: {names}; only {', '.join(_MAY_DIFFER.values())}"
            " may differ between machines. For other settings plan a new job:"
            " seedvideo batch plan INPUT... --job NEW --from OLD"
        )


def require_one(folder: str | None, job: str | None, endpoint: str | None) -> None:
    """Reject a command that names no job, or two, or a server for a folder.

    Raises:
        typer.BadParameter: naming both ways.
    """
    if job is None and endpoint is not None:
        raise typer.BadParameter("--store-endpoint is for --job URL")
    if (folder is None) == (job is None):
        raise typer.BadParameter(
            "name one job: its folder OUT, or --job URL for a job of parts"
            + (", not both" if job is not None else "")
        )


def reject_other_kind(folder: str, *, command: str) -> None:
    """Refuse a job of parts where the folder of a job is expected.

    Raises:
        BatchError: ``batch.other_kind`` with the right command.
    """
    from seedvideo.batch.journal_schema import JOURNAL_NAME
    from seedvideo.batch.parts import JOB_NAME
    from seedvideo.errors import BatchError
    from seedvideo.utils.addresses import safe_name

    path, name = Path(folder), safe_name(folder)
    # Unlike `Path.exists`, it takes a name that is too long for one that does not exist.
    is_job = os.path.exists(path / JOB_NAME) and not os.path.exists(path / JOURNAL_NAME)
    if is_job or "://" in folder:
        raise BatchError(
            "batch.other_kind",
            f"{printable(name)} is a job of parts, expected the folder of a job",
            hint=f"seedvideo batch {command} --job {printable(quote(name))}",
        )


def job_endpoint(job: str, endpoint: str | None) -> str | None:
    """Return the server of the job's store: a folder has none, though its clips may have one."""
    return endpoint if "://" in job else None


def job_words(job: str, endpoint: str | None) -> str:
    """Return the options that name a job in a command, for hints."""
    endpoint = job_endpoint(job, endpoint)
    return f"--job {quote(job)}" + ("" if endpoint is None else f" --store-endpoint {endpoint}")


def open_job(
    job: str,
    *,
    endpoint: str | None,
    command: str,
    give_up_after_s: float = 60.0,
    create: bool = False,
    on_wait: Callable[[str], None] = lambda message: None,
) -> "Store":
    """Open the store of a job of parts.

    Raises:
        BatchError: ``batch.other_kind`` if it is the folder of a job.
        SeedVideoError: as `open_store` does.
    """
    from seedvideo.batch.journal_schema import JOURNAL_NAME
    from seedvideo.batch.stores import open_store
    from seedvideo.errors import BatchError

    if "://" not in job and os.path.exists(Path(job) / JOURNAL_NAME):
        option = "-o " if command == "run" else ""
        raise BatchError(
            "batch.other_kind",
            f"{printable(job)} is the folder of a job, expected a job of parts",
            hint=f"seedvideo batch {command} {option}{quote(job)}",
        )
    return open_store(
        job, endpoint=endpoint, give_up_after_s=give_up_after_s, create=create, on_wait=on_wait
    )


@contextmanager
def job_folder(
    folder: str | None,
    job: str | None,
    *,
    endpoint: str | None,
    command: str,
    sheets: bool = False,
) -> Iterator[Path]:
    """Yield the folder of a job; of a job of parts, a temporary copy.

    Raises:
        SeedVideoError: as `open_job` and `gather` do.
    """
    if job is None:
        assert folder is not None
        reject_other_kind(folder, command=command)
        yield Path(folder)
        return
    from seedvideo.batch.part_records import gathered

    with gathered(open_job(job, endpoint=endpoint, command=command), sheets=sheets) as copy:
        yield copy


def run_parts(
    options: RunPartsOptions,
    given: dict[str, Any],
    endpoint: str | None,
    *,
    json_events: bool,
    console: Console,
) -> None:
    """Run parts of a job until each is committed.

    Args:
        options: how this process takes part.
        given: settings that this machine sets for itself.
        endpoint: server of the store and the clips, instead of the provider's.
        json_events: whether to report progress as JSON Lines.
        console: for people.

    Raises:
        typer.Exit: with the exit code, unless all is done.
    """
    assert options.job is not None
    options.reject_without_engine()
    endpoint = job_endpoint(options.job, endpoint)
    # It runs in the folder of the plan.
    address = options.job if "://" in options.job else os.path.abspath(options.job)
    if "spool" in given:
        given["spool"] = os.path.abspath(given["spool"])
    result = None
    try:
        with console.exit_on_error(COULD_NOT_START), ExitStack() as stack:
            from seedvideo.batch.metrics import MetricsServer, RunnerMetrics
            from seedvideo.batch.parts import read_job
            from seedvideo.batch.stores import probe

            store = open_job(
                address,
                endpoint=endpoint,
                command="run",
                give_up_after_s=options.give_up_after,
                on_wait=console.info,
            )
            planned = read_job(store)
            probe(store)
            metrics = RunnerMetrics()
            if options.metrics is not None:
                stack.enter_context(MetricsServer(metrics, options.metrics))
            progress = make_progress(console, json_events=json_events, listen=metrics.listen)
            job = replace(apply_options(planned.job, given), inputs=())
            run = _run_here if options.engine == "pull" else partial(_run_on_cluster, endpoint)
            result = run(options, store, planned, job, progress, metrics.add_commit)
    except KeyboardInterrupt:
        pass  # Interrupted between two parts: reported below, like any other stop.
    words = job_words(options.job, endpoint)
    if result is None or not result.is_complete:
        console.info(f"stopped; resume with: seedvideo batch run {words}")
        raise typer.Exit(INTERRUPTED)
    clips = sum(result.clips.values())
    console.info(f"all parts are committed; {result.committed:,} with {clips:,} clips by this run")
    if result.failures:
        for code, count in result.failures.items():
            console.info(f"{count:,} failed with {code}")
        console.info(f"list them with: seedvideo batch status {words} --failed")
        raise typer.Exit(SOME_FAILED)


def _run_here(
    options: RunPartsOptions,
    store: "Store",
    planned: "PartedJob",
    job: "Job",
    progress: "Progress",
    on_commit: "Callable[[Commit], None]",
) -> "PullResult":
    """Run parts in this process."""
    from seedvideo.batch import part_board, part_runner
    from seedvideo.batch.parts import check_folder
    from seedvideo.batch.run_job import check_model
    from seedvideo.model import load_costs

    check_folder(job.folder)
    scratch = Path(os.path.abspath(options.scratch or part_runner.default_scratch()))
    # Paths of models are those that the plan had.
    with chdir(job.folder):
        costs = load_costs(job.model, job.model_options)
        check_model(job, costs)
        with part_runner.PartRunner(
            store, planned, job, costs, scratch=scratch, progress=progress
        ) as runner:
            board = part_board.PartBoard(
                store, planned, runner.identity, unfinished=runner.unfinished()
            )
            return part_runner.run_pull(runner, board, progress, on_commit=on_commit)


def _run_on_cluster(
    endpoint: str | None,
    options: RunPartsOptions,
    store: "Store",
    planned: "PartedJob",
    job: "Job",
    progress: "Progress",
    on_commit: "Callable[[Commit], None]",
) -> "PullResult":
    """Keep runners on a cluster, and hand out parts to them."""
    from seedvideo.batch import ray_engine
    from seedvideo.batch.parts import check_version

    assert options.job is not None
    check_version(planned, options.job)
    return ray_engine.run_on_cluster(
        ray_engine.ClusterOptions(
            address=options.address or os.environ.get("RAY_ADDRESS"),
            runners=options.runners,
            gpus_per_runner=options.gpus_per_runner,
        ),
        store,
        planned,
        job,
        endpoint=endpoint,
        give_up_after_s=options.give_up_after,
        scratch=options.scratch or None,
        progress=progress,
        on_commit=on_commit,
    )


def make_progress(
    console: Console,
    *,
    json_events: bool,
    listen: Callable[[dict[str, Any]], None] = lambda event: None,
) -> "Progress":
    """Return the reporter of a run, for people or as JSON events."""
    from seedvideo.batch.progress import Progress

    if json_events:
        return Progress(event=lambda line: print(line, file=sys.stderr, flush=True), listen=listen)
    if console.quiet:
        return Progress(listen=listen)
    status = console.status if sys.stderr.isatty() else None
    return Progress(info=console.info, status=status, listen=listen)


def format_job_status(found: "JobStatus", words: str) -> str:
    """Format the status of a job of parts as text, one fact per line."""
    from seedvideo.batch.progress import format_duration

    counts = found.counts
    lines = [
        ("job", found.job),
        ("clips", f"{counts.total:,}: {format_counts(counts)}"),
        ("parts", f"{found.committed:,} of {found.parts:,} committed, {found.open:,} under way"),
    ]
    if found.open:
        lines.append(("open", f"{found.open_clips:,} clips in parts that are not committed"))
    if found.runners:
        shown = ", ".join(found.runners[:8]) + (", ..." if len(found.runners) > 8 else "")
        lines.append(("runners", f"{len(found.runners):,} seen: {shown}"))
    if not found.is_complete:
        lines.append(("resume", f"seedvideo batch run {words}"))
    if found.clips_per_min is not None:
        lines.append(("pace", f"{found.clips_per_min:,.1f} clips per minute"))
    if counts.pending and found.left_s is not None:
        lines.append(("left", f"about {format_duration(found.left_s)}"))
    if found.repeated:
        lines.append(("repeated", f"{found.repeated:,} parts were begun again"))
    restarts = [f"{count:,} of {kind}" for kind, count in found.restarts.items() if count]
    if restarts:
        lines.append(("restarts", f"restarted processes: {', '.join(restarts)}"))
    for code, stage, count in found.failures:
        lines.append(("failed", f"{count:,} with {code} (stage {stage})"))
    return "".join(f"{name:<10}{printable(fact)}\n" for name, fact in lines)


def watch_job(store: "Store", *, as_json: bool) -> None:
    """Print the status of a job of parts repeatedly."""
    from seedvideo.batch.part_status import watch

    def show(found: "JobStatus") -> None:
        write_stdout(
            status_line(found) if as_json else format_job_status(found, store.words) + "\n"
        )

    watch(store, show, interval_s=WATCH_INTERVAL_S)


def job_status_text(store: "Store", *, failed: bool, as_json: bool) -> str:
    """Return the status of a job of parts, with its failed clips if asked for."""
    from seedvideo.batch.part_records import gathered
    from seedvideo.batch.part_status import StatusReader
    from seedvideo.batch.progress import (
        FAILED_STATES,
        entry_to_dict,
        format_failure,
        iter_entries,
    )

    found = StatusReader(store).read()
    failures = []
    if failed:
        with gathered(store) as copy:
            failures = list(iter_entries(copy, states=FAILED_STATES))
    if as_json:
        values = found.to_json()
        if failed:
            values["failed_clips"] = [entry_to_dict(entry) for entry in failures]
        return json.dumps(values, ensure_ascii=True, allow_nan=False) + "\n"
    lines = [f"{each.state:<12}{printable(format_failure(each))}\n" for each in failures]
    return format_job_status(found, store.words) + "".join(lines)


def status_line(found: "JobStatus") -> str:
    """Return the status of a job of parts as one line of JSON."""
    return json.dumps(found.to_json(), ensure_ascii=True, allow_nan=False) + "\n"


def format_counts(counts: "Counts") -> str:
    """Format the non-zero counts of states."""
    names = ("done", "filtered", "failed", "quarantined", "running", "pending")
    parts = [(name, getattr(counts, name)) for name in names]
    return ", ".join(f"{count:,} {name}" for name, count in parts if count) or "none"
