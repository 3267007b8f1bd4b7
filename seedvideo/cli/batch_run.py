"""``seedvideo batch run``: do a job, or go on with it. Imports nothing heavy before it must.

Separate from `seedvideo.cli.batch`, which would exceed 500 lines with it.
"""

import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from seedvideo.cli.console import (
    COULD_NOT_START,
    INTERRUPTED,
    SOME_FAILED,
    WRONG_USAGE,
    Talk,
    write_out,
)
from seedvideo.cli.options import (
    AnalysisOption,
    Budget,
    Coverage,
    DecoderOption,
    End,
    Fps,
    Levels,
    MaxFps,
    MaxFrames,
    MinFps,
    PolicyOption,
    Quiet,
    RatePreset,
    RatePresetOption,
    SourceFps,
    Start,
    Verbose,
    parse_levels,
    parse_options,
    refuse_levels,
    resolve_rate_preset,
)
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
"""Options whose field of the job has another name."""

_OF_THE_RUN: Final = {"inputs", "output", "dry_run", "price", "as_json", "json_events", "quiet"}
_OF_THE_RUN_TOO: Final = {"verbose", "no_sheets", "limit"}


def run(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT|JOB.toml",
            help="Videos, folders, globs, lists (.txt .csv .jsonl .parquet), - for a list on stdin."
            " None: go on with the job in OUT.",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="OUT", help="The job's folder.")
    ] = None,
    task: Annotated[
        Literal["caption", "dense", "ask", "ground"],
        typer.Option(help="What is done with each video; dense captions each shot too."),
    ] = "caption",
    question: Annotated[
        str, typer.Option(metavar="TEXT", help="For ask, where a row has none of its own.")
    ] = "",
    options: Annotated[
        str, typer.Option(metavar="A,B,...", help="For ask: choose one of these.")
    ] = "",
    query: Annotated[
        str, typer.Option(metavar="TEXT", help="For ground, where a row has none of its own.")
    ] = "",
    top: Annotated[int, typer.Option(min=1, help="Most spans of ground.")] = 3,
    think: Annotated[bool, typer.Option("--think", help="Let the model think first.")] = False,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Name of a model, or a folder that holds one.")
    ] = "nano",
    budget_tokens: Budget = None,
    policy: PolicyOption = "adaptive",
    rate_preset: RatePresetOption = "general",
    sampling: Annotated[RatePreset | None, typer.Option("--sampling", hidden=True)] = None,
    fps: Fps = None,
    levels: Levels = None,
    max_frames: MaxFrames = None,
    start: Start = None,
    end: End = None,
    coverage: Coverage = None,
    min_fps: MinFps = None,
    max_fps: MaxFps = None,
    analysis: AnalysisOption = "fast",
    source_fps: SourceFps = None,
    decoder: DecoderOption = "pyav",
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes that decode beside the model's.")
    ] = 1,
    shard: Annotated[
        str | None, typer.Option(metavar="3/16", help="Do only this part of the inputs.")
    ] = None,
    min_duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Leave out shorter clips.")
    ] = None,
    max_duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Leave out longer clips.")
    ] = None,
    min_side: Annotated[
        int | None, typer.Option(metavar="PX", help="Leave out clips with a shorter side.")
    ] = None,
    drop_black: Annotated[
        bool, typer.Option("--drop-black", help="Leave out black clips.")
    ] = False,
    drop_frozen: Annotated[
        bool, typer.Option("--drop-frozen", help="Leave out clips in which nothing moves.")
    ] = False,
    drop_duplicates: Annotated[
        bool,
        typer.Option("--drop-duplicates", help="Both --drop-exact and --drop-near."),
    ] = False,
    drop_exact: Annotated[
        bool,
        typer.Option("--drop-exact", help="Leave out clips with the same bytes as an earlier one."),
    ] = False,
    drop_near: Annotated[
        bool,
        typer.Option(
            "--drop-near", help="Leave out clips that show nearly the same as an earlier one."
        ),
    ] = False,
    near_distance: Annotated[
        float | None,
        typer.Option(
            metavar="LEVELS",
            help="For --drop-near: near duplicates differ by at most so many grey levels of 255 on"
            " average, and no part of the picture by more than 1.5 times as many. Default: 4.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Most time for a clip in one stage.")
    ] = 120.0,
    memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", help="Most memory that a decoding process may add."),
    ] = None,
    no_sheets: Annotated[
        bool, typer.Option("--no-sheets", help="Keep no contact sheets for the report.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="Try the job on its first N clips; run again without it to do the rest.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan every clip, and say what the job would cost.")
    ] = False,
    price: Annotated[
        float | None,
        typer.Option(metavar="USD", min=0, help="With --dry-run: price of a million tokens."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --dry-run: say it as one JSON object.")
    ] = False,
    json_events: Annotated[
        bool, typer.Option("--json-events", help="Say everything as JSON lines, on stderr.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Do a job: every clip gets a verdict, and a killed job loses nothing.

    Run it again to go on. Ctrl-C once finishes the clip in the model, twice stops at once. Exit
    code: 0 all done or left out, 1 some failed, 2 wrong usage, 3 could not start or go on, 130
    interrupted.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    if output is None and not dry_run:
        raise typer.BadParameter("-o OUT is needed: the folder that keeps the job")
    if (price is not None or as_json) and not dry_run:
        raise typer.BadParameter("--price and --json belong to --dry-run")
    given = _given(context)
    with talk.guarded(COULD_NOT_START):
        base = _base(inputs or [], output)
    with talk.guarded(WRONG_USAGE):
        job = _changed(base, given)
    with talk.guarded(COULD_NOT_START):
        from seedvideo.batch.run_job import check_job

        check_job(job)
    with talk.guarded(COULD_NOT_START):
        from seedvideo.model import load_costs

        prices = load_costs(job.model)
    refuse_levels(job.sampling.levels_tokens or (), prices.geometry.levels_tokens)
    if dry_run:
        _dry_run(job, prices, output=output, price=price, as_json=as_json, limit=limit, talk=talk)
        return
    assert output is not None
    _run(
        job,
        prices,
        Path(output),
        again=not inputs,
        limit=limit,
        json_events=json_events,
        talk=talk,
    )


def _given(context: typer.Context) -> dict[str, Any]:
    """The options that were really written, by the names of the job's fields."""
    written = {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    if written.get("no_sheets"):
        written["sheets"] = False
    for name in (*_OF_THE_RUN, *_OF_THE_RUN_TOO):
        written.pop(name, None)
    if "levels" in written:
        written["levels"] = parse_levels(written["levels"])
    if "sampling" in written:  # Former name of the preset, for one release.
        written["rate_preset"] = resolve_rate_preset(
            written.get("rate_preset", "general"), written.pop("sampling"), former_name="--sampling"
        )
    if "options" in written:
        written["options"] = tuple(parse_options(written["options"]))
    return {_FIELDS.get(name, name): value for name, value in written.items()}


def _base(inputs: list[str], output: str | None) -> "Job":
    """The job that the options change: of a file, of the folder, or with the inputs."""
    from seedvideo.batch.job import Job
    from seedvideo.errors import BatchError

    if len(inputs) == 1 and inputs[0].endswith(".toml"):
        return Job.from_toml(Path(inputs[0]))
    if inputs:
        return Job(inputs=tuple(inputs))
    if output is None:
        raise typer.BadParameter("name videos, or with -o OUT a job to go on with")
    from seedvideo.batch.journal import Journal

    with Journal.open(Path(output), write=False) as journal:
        job = journal.job()
    if job is None:
        raise BatchError(
            "batch.no_input",
            f"{printable(output)} holds no job yet",
            hint="name the videos: seedvideo batch run INPUT... -o OUT",
        )
    if not Path(job.folder).is_dir():
        raise BatchError(
            "batch.no_input",
            f"the job was begun in {printable(job.folder)}, where nobody can go now",
            hint="name the videos again: seedvideo batch run INPUT... -o OUT",
        )
    return job


def _changed(job: "Job", given: dict[str, Any]) -> "Job":
    from seedvideo.batch.job import Shard

    changes = dict(given)
    filters = {field: changes.pop(name) for name, field in _FILTERS.items() if name in changes}
    if "shard" in changes:
        changes["shard"] = Shard.parse(changes["shard"])
    sampling = {each.name for each in fields(job.sampling)} & changes.keys()
    job = job.with_sampling(**{name: changes.pop(name) for name in sampling})
    return replace(job, **changes, filters=replace(job.filters, **filters))


def _run(
    job: "Job",
    prices: "TokenCosts",
    folder: Path,
    *,
    again: bool,
    limit: int | None,
    json_events: bool,
    talk: Talk,
) -> None:
    from seedvideo.batch.journal import Journal
    from seedvideo.batch.run_job import diff_settings, plan_job, run_planned

    result = None
    try:
        with talk.guarded(COULD_NOT_START):
            journal = Journal.open(folder, write=True)
        with journal, talk.guarded(COULD_NOT_START):
            progress = _progress(talk, json_events=json_events)
            changed = diff_settings(journal, job)
            if changed:
                talk.note(
                    f"other settings than in the run before: {', '.join(changed)};"
                    " what they touch is done again"
                )
            talk.status("reading the inputs")
            stdin = sys.stdin.buffer
            plan_job(journal, job, prices, progress, resume=again, stdin=stdin)
            talk.clear()
            result = run_planned(journal, job, prices, progress, limit=limit)
    except KeyboardInterrupt:
        pass  # Before the run has begun: reported below, like any other stop.
    if result is None or not result.is_complete:
        talk.note(f"stopped; go on with: seedvideo batch run -o {quote(str(folder))}")
        raise typer.Exit(INTERRUPTED)
    counts = result.counts
    if limit is not None and counts.pending:
        clips = f"{counts.pending:,} clip{'s are' if counts.pending > 1 else ' is'}"
        talk.note(f"{clips} left for: seedvideo batch run -o {quote(str(folder))}")
    if counts.failed or counts.quarantined:
        for code, _, count in result.failures:
            talk.note(f"{count:,} failed with {code}")
        talk.note(f"which: seedvideo batch status {quote(str(folder))} --failed")
        raise typer.Exit(SOME_FAILED)


def _progress(talk: Talk, *, json_events: bool) -> "Progress":
    from seedvideo.batch.progress import Progress

    if json_events:
        return Progress(event=lambda line: print(line, file=sys.stderr, flush=True))
    status = talk.status if sys.stderr.isatty() else None
    return Progress() if talk.quiet else Progress(info=talk.note, status=status)


def _dry_run(
    job: "Job",
    prices: "TokenCosts",
    *,
    output: str | None,
    price: float | None,
    as_json: bool,
    limit: int | None,
    talk: Talk,
) -> None:
    """Plan, and say what it would cost. Writes nothing."""
    with talk.guarded(COULD_NOT_START):
        from contextlib import chdir

        from seedvideo.batch import inputs
        from seedvideo.batch.dry_run import estimate, last_throughput
        from seedvideo.batch.journal import Journal
        from seedvideo.batch.journal_schema import JOURNAL_NAME
        from seedvideo.batch.progress import format_duration

        speed = None
        if output is not None and (Path(output) / JOURNAL_NAME).exists():
            with Journal.open(Path(output), write=False) as journal:
                speed = last_throughput(journal.get_meta("speed"), job, prices)
        with chdir(job.folder):
            found = estimate(
                inputs.read_inputs(job.inputs, stdin=sys.stdin.buffer),
                job,
                prices,
                limit=limit,
                on_progress=lambda count: talk.status(f"planned {count:,}"),
            )
    talk.clear()
    told = found.to_json(job, speed, usd_per_mtok=price)
    if as_json:
        write_out(json.dumps(told) + "\n")
        return
    lines = [
        ("clips", f"{found.clips:,}, {format_duration(found.video_s)} of video"),
        *((f"{count:,} filtered", rule) for rule, count in sorted(found.filtered.items())),
        *(("not counted", f"{rule}: all are planned here") for rule in told["not_counted"]),
        *((f"{count:,} fail", code) for code, count in sorted(found.failures.items())),
        ("frames", f"{found.frames:,}"),
        ("tokens", f"{found.tokens:,}, of which {found.visual_tokens:,} visual"),
        (
            "decoding",
            f"about {format_duration(told['prepare_s'])} with {job.workers} workers,"
            " measured on these clips",
        ),
        (
            "model",
            "not known before a first run in this folder"
            if told["model_s"] is None
            else f"about {format_duration(told['model_s'])}, at the speed of the last run",
        ),
    ]
    if told["total_s"] is not None:
        lines.append(("in all", f"about {format_duration(told['total_s'])}"))
    if price is not None:
        lines.append(("cost", f"${told['usd']:,.4f} at ${price:g} a million tokens"))
    write_out("".join(f"{name:<12}{fact}\n" for name, fact in lines))
