"""``seedvideo batch``: what a job's folder tells, and what is made of it, without a model.

Running a job is a file of its own, as it is the one that works.
"""

import json
import sys
from enum import Enum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, cast

import typer

from seedvideo.cli.batch_run import run
from seedvideo.cli.console import COULD_NOT_START, SOME_FAILED, BytesOut, Talk, write_out
from seedvideo.cli.options import Output, Overwrite, Quiet, Verbose
from seedvideo.cli.output import ends_in_slash, open_result
from seedvideo.errors import suggestion
from seedvideo.utils.files import refuse_unwritable
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from seedvideo.batch.export import ExportResult
    from seedvideo.batch.journal_rows import Counts
    from seedvideo.batch.progress import Status

Form = Literal["jsonl", "parquet", "csv", "srt", "vtt", "html"]
AsObject = Annotated[bool, typer.Option("--json", help="Say it as one JSON object.")]
Folder = Annotated[str, typer.Argument(metavar="OUT", help="The folder of a job.")]


class StateChoice(Enum):
    """States of clips, as ``--state`` takes them: typer reads lists of enumerations only."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FILTERED = "filtered"
    FAILED_STATES = "failed"
    QUARANTINED = "quarantined"


batch = typer.Typer(
    name="batch",
    help="Many videos as one job that can be stopped at any moment and loses nothing.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
batch.command()(run)


@batch.command()
def status(
    folder: Folder,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Name each clip that failed, with code, message and line."),
    ] = False,
    as_json: AsObject = False,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say where a job stands: counts, pace, time left, failures by code.

    Works while the job runs.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    with talk.guarded(COULD_NOT_START):
        sink = open_result(output, overwrite=overwrite)
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
        text = status_text(found, folder)
        for entry in failures:
            text += f"{entry.state:<12}{printable(format_failure(entry))}\n"
    with talk.guarded(SOME_FAILED), sink:
        sink.put(0, text)


def status_text(found: "Status", folder: str) -> str:
    """A line a fact, for people."""
    from seedvideo.batch.progress import format_duration

    counts = found.counts
    lines = [("job", found.job), ("clips", f"{counts.total:,}: {told(counts)}")]
    rest = counts.pending + counts.running
    if found.lock_owner is not None:
        lines.append(("at work", f"process {found.lock_owner.pid} on {found.lock_owner.host}"))
    elif rest:
        lines.append(("at work", f"nobody; go on with: seedvideo batch run -o {quote(folder)}"))
    if found.clips_per_min is not None:
        lines.append(("pace", f"{found.clips_per_min:,.1f} clips a minute"))
    if rest and found.left_s is not None:
        lines.append(("left", f"about {format_duration(found.left_s)}"))
    restarts = [f"{count:,} of {kind}" for kind, count in found.restarts.items() if count]
    if restarts:
        lines.append(("restarts", f"processes started again: {', '.join(restarts)}"))
    for code, stage, count in found.failures:
        lines.append(("failed", f"{count:,} with {code} (stage {stage})"))
    return "".join(f"{name:<10}{printable(fact)}\n" for name, fact in lines)


@batch.command(name="list")
def list_clips(
    folder: Folder,
    states: Annotated[
        list[StateChoice] | None,
        typer.Option("--state", help="Only clips in this state; may be given several times."),
    ] = None,
    code: Annotated[
        str | None,
        typer.Option("--code", metavar="CODE", help="Only failures with this code."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say each clip as one JSON object a line.")
    ] = False,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Name the clips of a job: state, id, code, line of the list and message, separated by tabs.

    Works while the job runs.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    with talk.guarded(COULD_NOT_START):
        sink = open_result(output, overwrite=overwrite)
        from seedvideo.batch.journal_rows import STATES
        from seedvideo.batch.progress import entry_to_cells, entry_to_dict, iter_entries

        named = {choice.value for choice in states or ()}
        wanted = [state for state in STATES if state in named or not named]
        if code is not None:
            refuse_unknown(code, Path(folder))
    with talk.guarded(COULD_NOT_START), sink:
        for entry in iter_entries(Path(folder), states=wanted, code=code):
            if as_json:
                line = json.dumps(entry_to_dict(entry), ensure_ascii=True, allow_nan=False)
            else:
                line = "\t".join(printable(cell) for cell in entry_to_cells(entry))
            sink.put(0, f"{line}\n")


def refuse_unknown(code: str, folder: Path) -> None:
    """Refuse a code that no failure has: neither one of ours, nor one in the journal.

    Raises:
        typer.BadParameter: with the nearest code.
        BatchError: as `Journal.open` does.
    """
    from seedvideo.batch.journal import Journal
    from seedvideo.batch.maintenance import ERROR_CODES

    with Journal.open(folder, write=False) as journal:
        there = sorted({found for found, _, _ in journal.failures()})
    if code in ERROR_CODES or code in there:
        return
    nearest = suggestion(code, (*there, *ERROR_CODES))
    known = f"; failures here have {', '.join(there)}" if there else ""
    raise typer.BadParameter(
        f"--code is {code[:80]!r}, which is not an error code{known}"
        + (f"; {nearest}" if nearest else "")
    )


@batch.command()
def retry(
    folder: Folder,
    code: Annotated[
        str | None,
        typer.Option("--code", metavar="CODE", help="Only failures with this code."),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Let clips that failed or were quarantined be tried again by the next run.

    Their tries are forgotten. What is done, and rows that could not be read, stay as they are.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    with talk.guarded(COULD_NOT_START):
        from seedvideo.batch.journal import Journal

        # A writer would make a journal where there is none.
        Journal.open(Path(folder), write=False).close()
        if code is not None:
            refuse_unknown(code, Path(folder))
        with Journal.open(Path(folder), write=True) as journal:
            count = journal.retry(code=code)
    write_out(f"{count:,} clip{'s' * (count != 1)} to try again\n")
    if count:
        talk.note(f"now: seedvideo batch run -o {quote(folder)}")


@batch.command()
def export(
    folder: Folder,
    form: Annotated[Form, typer.Option("-f", "--format", help="What is written.")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|DIR",
            help="Where to; - or nothing for stdout. srt and vtt want a folder for several clips;"
            " html takes either, DIR/ for many clips.",
        ),
    ] = None,
    no_timings: Annotated[
        bool,
        typer.Option("--no-timings", help="Leave out seconds spent, which no two runs share."),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the results of a job in another form; needs no model, and works while the job runs.

    A file appears when it is whole.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    if output == "":
        raise typer.BadParameter("-o is given an empty name")
    if output is None or output == "-":
        _export_to_stdout(folder, form, timings=not no_timings, talk=talk)
        return
    path = Path(output)
    pages = ends_in_slash(output) or path.is_dir()
    with talk.guarded(COULD_NOT_START):
        is_folder = form in ("srt", "vtt") or (form == "html" and pages)
        if not (is_folder and path.is_file()):
            # A file in the place of the folder is refused with a hint for the format.
            refuse_unwritable(path, is_folder=is_folder)
    with talk.guarded(SOME_FAILED):
        from seedvideo.batch.export import export as write_export
        from seedvideo.batch.journal import Journal

        talk.status(f"writing {output}")
        with Journal.open(Path(folder), write=False) as journal:
            made = write_export(
                journal,
                form,
                path,
                pages=pages,
                timings=not no_timings,
                overwrite=overwrite,
            )
    talk.clear()
    files = "" if made.files == 1 else f" in {made.files:,} files"
    talk.note(f"{_clips(made.clips)}{files}: {output}{_left_out(made)}")


def _export_to_stdout(folder: str, form: Form, *, timings: bool, talk: Talk) -> None:
    if form == "parquet" and sys.stdout.isatty():
        raise typer.BadParameter("parquet is not for a terminal: name a file with -o")
    with talk.guarded(SOME_FAILED):
        from seedvideo.batch.export import export_to
        from seedvideo.batch.journal import Journal

        out = cast(BinaryIO, BytesOut())
        with Journal.open(Path(folder), write=False) as journal:
            made = export_to(out, journal, form, timings=timings)
    if made.skipped:
        talk.note(f"{_clips(made.clips)}{_left_out(made)}")


def _clips(count: int) -> str:
    return f"{count:,} clip{'s' * (count != 1)}"


def _left_out(made: "ExportResult") -> str:
    are = "is" if made.skipped == 1 else "are"
    return f"; {made.skipped:,} {are} not done and left out" if made.skipped else ""


@batch.command()
def doctor(
    folder: Folder,
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check a job's folder: its journal, its lock, what was left under way, the free space.

    Reads the whole journal and changes nothing. Exit code 1 if something is wrong.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    with talk.guarded(COULD_NOT_START):
        sink = open_result(output, overwrite=overwrite)
    wrong = False
    with talk.guarded(SOME_FAILED), sink:
        from seedvideo.batch.maintenance import check_folder

        for finding in check_folder(Path(folder)):
            wrong = wrong or finding.state == "wrong"
            sink.put(0, f"{finding.state:<7} {finding.name:<12} {printable(finding.detail)}\n")
            if finding.next_step:
                sink.put(0, f"{'':<20} {printable(finding.next_step)}\n")
    if wrong:
        raise typer.Exit(SOME_FAILED)


@batch.command()
def merge(
    folders: Annotated[
        list[str], typer.Argument(metavar="OUT...", help="Folders of jobs: the shards of one.")
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="OUT", help="A new folder for the whole.")
    ],
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Join the journals of several folders in a new one; of a damaged one, what can be read.

    Where two have the same clip its better verdict counts. The originals are only read.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    if not output:
        raise typer.BadParameter("-o is given an empty name")
    with talk.guarded(COULD_NOT_START):
        from seedvideo.batch.maintenance import merge as merge_journals

        talk.status(f"merging into {output}")
        made = merge_journals([Path(folder) for folder in folders], Path(output))
    talk.clear()
    talk.note(f"{made.counts.total:,} clips in {output}: {told(made.counts)}")
    if made.unreadable:
        talk.note(
            f"{made.unreadable:,} rows could not be read; what is missing is done again by:"
            f" seedvideo batch run -o {quote(output)}"
        )
        raise typer.Exit(SOME_FAILED)


def told(counts: "Counts") -> str:
    """The states that there are, with their numbers."""
    names = ("done", "filtered", "failed", "quarantined", "running", "pending")
    parts = [(name, getattr(counts, name)) for name in names]
    return ", ".join(f"{count:,} {name}" for name, count in parts if count) or "none"
