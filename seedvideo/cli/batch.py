"""Commands ``seedvideo batch status``, ``list``, ``retry``, ``doctor`` and ``merge``.

They read the folder of a job and need no model. ``batch run`` is in `seedvideo.cli.batch_run`,
``batch export`` in `seedvideo.cli.batch_export`.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from seedvideo.cli.batch_export import export
from seedvideo.cli.batch_parts import (
    JobAddress,
    OptionalFolder,
    StoreEndpoint,
    format_counts,
    job_folder,
    job_status_text,
    job_words,
    open_job,
    reject_other_kind,
    require_one,
    watch_job,
)
from seedvideo.cli.batch_plan import plan
from seedvideo.cli.batch_run import run
from seedvideo.cli.console import COULD_NOT_START, SOME_FAILED, Console, write_stdout
from seedvideo.cli.options import Output, Overwrite, Quiet, Verbose
from seedvideo.cli.output import open_result
from seedvideo.errors import suggestion
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from seedvideo.batch.maintenance import CheckResult
    from seedvideo.batch.progress import Status

JsonObject = Annotated[bool, typer.Option("--json", help="Write one JSON object.")]


class StateChoice(Enum):
    """States of clips for ``--state``; typer supports lists of enumerations only."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FILTERED = "filtered"
    FAILED_STATES = "failed"
    QUARANTINED = "quarantined"


batch = typer.Typer(
    name="batch",
    help="Process many videos as one job that can be stopped and resumed.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
batch.command()(run)
batch.command()(plan)


@batch.command()
def status(
    folder: OptionalFolder = None,
    job: JobAddress = None,
    store_endpoint: StoreEndpoint = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Repeat every few seconds until all parts are committed."),
    ] = False,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="List each failed clip with its code, message and line."),
    ] = False,
    as_json: JsonObject = False,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show the progress of a job: counts, pace, time left, failures by code.

    Works while the job runs.
    """
    console = Console(quiet=quiet, verbose=verbose)
    require_one(folder, job, store_endpoint)
    if watch and (job is None or failed or output is not None):
        raise typer.BadParameter("--watch is for --job, without --failed and -o")
    with console.exit_on_error(COULD_NOT_START):
        sink = open_result(output, overwrite=overwrite)
        if job is not None:
            store = open_job(job, endpoint=store_endpoint, command="status")
            if watch:
                watch_job(store, as_json=as_json)
                return
            text = job_status_text(store, failed=failed, as_json=as_json)
    if job is not None:
        with console.exit_on_error(SOME_FAILED), sink:
            sink.write(0, text)
        return
    assert folder is not None
    with console.exit_on_error(COULD_NOT_START):
        reject_other_kind(folder, command="status")
        from seedvideo.batch.progress import (
            FAILED_STATES,
            entry_to_dict,
            format_failure,
            get_status,
            iter_entries,
        )

        found = get_status(Path(folder))
        failures = list(iter_entries(Path(folder), states=FAILED_STATES)) if failed else []
    if as_json:
        values = found.to_json()
        if failed:
            values["failed_clips"] = [entry_to_dict(entry) for entry in failures]
        text = json.dumps(values, ensure_ascii=True, allow_nan=False) + "\n"
    else:
        text = format_status(found, folder)
        for entry in failures:
            text += f"{entry.state:<12}{printable(format_failure(entry))}\n"
    with console.exit_on_error(SOME_FAILED), sink:
        sink.write(0, text)


def format_status(found: "Status", folder: str) -> str:
    """Format the status of a job as text, one fact per line."""
    from seedvideo.batch.progress import format_duration

    counts = found.counts
    lines = [("job", found.job), ("clips", f"{counts.total:,}: {format_counts(counts)}")]
    rest = counts.pending + counts.running
    if found.lock_owner is not None:
        lines.append(("at work", f"process {found.lock_owner.pid} on {found.lock_owner.host}"))
    elif rest:
        lines.append(
            ("at work", f"no process; resume with: seedvideo batch run -o {quote(folder)}")
        )
    if found.clips_per_min is not None:
        lines.append(("pace", f"{found.clips_per_min:,.1f} clips per minute"))
    if rest and found.left_s is not None:
        lines.append(("left", f"about {format_duration(found.left_s)}"))
    restarts = [f"{count:,} of {kind}" for kind, count in found.restarts.items() if count]
    if restarts:
        lines.append(("restarts", f"restarted processes: {', '.join(restarts)}"))
    if found.asked_again:
        clips = f"{found.asked_again:,} clip{'s' * (found.asked_again != 1)}"
        lines.append(("repeated", f"asked again: {clips} whose request was cut off by a stop"))
    for code, stage, count in found.failures:
        lines.append(("failed", f"{count:,} with {code} (stage {stage})"))
    return "".join(f"{name:<10}{printable(fact)}\n" for name, fact in lines)


@batch.command(name="list")
def list_clips(
    folder: OptionalFolder = None,
    job: JobAddress = None,
    store_endpoint: StoreEndpoint = None,
    states: Annotated[
        list[StateChoice] | None,
        typer.Option("--state", help="Select clips in this state. Repeatable."),
    ] = None,
    code: Annotated[
        str | None,
        typer.Option("--code", metavar="CODE", help="Select failures with this code."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one JSON object per clip and line.")
    ] = False,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the clips of a job.

    One line per clip: state, id, code, line of the list and message, separated by tabs. Works while
    the job runs.
    """
    console = Console(quiet=quiet, verbose=verbose)
    require_one(folder, job, store_endpoint)
    with console.exit_on_error(COULD_NOT_START), ExitStack() as stack:
        sink = open_result(output, overwrite=overwrite)
        from seedvideo.batch.journal_rows import STATES
        from seedvideo.batch.progress import entry_to_cells, entry_to_dict, iter_entries

        named = {choice.value for choice in states or ()}
        wanted = [state for state in STATES if state in named or not named]
        path = stack.enter_context(job_folder(folder, job, endpoint=store_endpoint, command="list"))
        if code is not None:
            reject_unknown_code(code, path)
        stack.enter_context(sink)
        for entry in iter_entries(path, states=wanted, code=code):
            if as_json:
                line = json.dumps(entry_to_dict(entry), ensure_ascii=True, allow_nan=False)
            else:
                line = "\t".join(printable(cell) for cell in entry_to_cells(entry))
            sink.write(0, f"{line}\n")


def reject_unknown_code(code: str, known: Path | Collection[str]) -> None:
    """Reject a code that is neither an error code of seedvideo nor one of the job.

    Args:
        code: the code.
        known: folder of the job, or the codes of its failures.

    Raises:
        typer.BadParameter: naming the nearest code.
        BatchError: as `Journal.open` does.
    """
    from seedvideo.batch.journal import Journal
    from seedvideo.batch.maintenance import ERROR_CODES

    if isinstance(known, Path):
        with Journal.open(known, write=False) as journal:
            known = {found for found, _, _ in journal.failures()}
    there = sorted(known)
    if code in ERROR_CODES or code in there:
        return
    nearest = suggestion(code, (*there, *ERROR_CODES))
    existing = f"; failures here have {', '.join(there)}" if there else ""
    raise typer.BadParameter(
        f"--code is {code[:80]!r}, which is not an error code{existing}"
        + (f"; {nearest}" if nearest else "")
    )


@batch.command()
def retry(
    folder: OptionalFolder = None,
    job: JobAddress = None,
    store_endpoint: StoreEndpoint = None,
    code: Annotated[
        str | None,
        typer.Option("--code", metavar="CODE", help="Select failures with this code."),
    ] = None,
    damaged: Annotated[
        bool,
        typer.Option(
            "--damaged", help="Process parts again whose records are missing or damaged (--job)."
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Mark failed and quarantined clips for another try.

    The next run processes them again. Their count of tries is reset. Finished clips and unreadable
    rows stay unchanged.
    """
    console = Console(quiet=quiet, verbose=verbose)
    require_one(folder, job, store_endpoint)
    if damaged and (job is None or code is not None):
        raise typer.BadParameter("--damaged is for --job, without --code")
    with console.exit_on_error(COULD_NOT_START):
        from seedvideo.batch.journal import Journal

        if job is not None:
            from seedvideo.batch import part_status

            store = open_job(job, endpoint=store_endpoint, command="retry")
            if damaged:
                count = len(part_status.reopen_damaged(store))
            else:
                if code is not None:
                    known = {
                        found for found, _, _ in part_status.StatusReader(store).read().failures
                    }
                    reject_unknown_code(code, known)
                count = part_status.retry(store, code=code)
        else:
            assert folder is not None
            reject_other_kind(folder, command="retry")
            # Opening for writing would create a missing journal.
            Journal.open(Path(folder), write=False).close()
            if code is not None:
                reject_unknown_code(code, Path(folder))
            with Journal.open(Path(folder), write=True) as journal:
                count = journal.retry(code=code)
    what = "part" if damaged else "clip"
    write_stdout(f"{count:,} {what}{'s' * (count != 1)} to retry\n")
    if count:
        where = f"-o {quote(str(folder))}" if job is None else job_words(job, store_endpoint)
        console.info(f"next: seedvideo batch run {where}")


batch.command()(export)


@batch.command()
def doctor(
    folder: OptionalFolder = None,
    job: JobAddress = None,
    store_endpoint: StoreEndpoint = None,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check a job: journal, lock, unfinished work, space; or store, plan and committed parts.

    Reads all results and changes nothing; in the store of --job it writes a small object and
    removes it. Exit code 1 if something is wrong.
    """
    console = Console(quiet=quiet, verbose=verbose)
    require_one(folder, job, store_endpoint)
    with console.exit_on_error(COULD_NOT_START):
        sink = open_result(output, overwrite=overwrite)
        findings: Iterator[CheckResult]
        if job is not None:
            from seedvideo.batch.part_status import check_job

            findings = check_job(open_job(job, endpoint=store_endpoint, command="doctor"))
        else:
            assert folder is not None
            from seedvideo.batch.maintenance import check_folder

            reject_other_kind(folder, command="doctor")
            findings = check_folder(Path(folder))
    wrong = False
    with console.exit_on_error(SOME_FAILED), sink:
        for finding in findings:
            wrong = wrong or finding.state == "wrong"
            sink.write(0, f"{finding.state:<7} {finding.name:<12} {printable(finding.detail)}\n")
            if finding.next_step:
                sink.write(0, f"{'':<20} {printable(finding.next_step)}\n")
    if wrong:
        raise typer.Exit(SOME_FAILED)


@batch.command()
def merge(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="OUT...", help="Folders of jobs, such as the shards of one job."),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="OUT", help="Write the merged job to this new folder."
        ),
    ],
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Merge the journals of several folders into a new one.

    Damaged journals are read as far as possible. If two folders have the same clip, the better
    state counts. The originals are only read.
    """
    console = Console(quiet=quiet, verbose=verbose)
    if not output:
        raise typer.BadParameter("-o has an empty name: give a file, a folder or -")
    with console.exit_on_error(COULD_NOT_START):
        from seedvideo.batch.journal_merge import merge as merge_journals

        console.status(f"merging into {output}")
        made = merge_journals([Path(folder) for folder in folders], Path(output))
    console.clear_status()
    console.info(f"{made.counts.total:,} clips in {output}: {format_counts(made.counts)}")
    if made.unreadable:
        console.info(
            f"{made.unreadable:,} unreadable rows; process the missing clips with:"
            f" seedvideo batch run -o {quote(output)}"
        )
        raise typer.Exit(SOME_FAILED)
