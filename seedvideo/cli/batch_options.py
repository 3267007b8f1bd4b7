"""Options that are part of a job: those of ``batch run`` and ``batch plan``.

Both commands declare them once, as a group. Heavy modules are imported when they are needed.
"""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from seedvideo.cli.option_values import parse_levels, parse_options
from seedvideo.cli.options import NearDistance, resolve_rate_preset
from seedvideo.cli.split_options import WINDOW_FIELDS

if TYPE_CHECKING:
    from seedvideo.batch.job import Job

JobTask = Annotated[
    Literal["caption", "dense", "ask", "ground"],
    typer.Option(help="Run this task on each video; dense also captions each shot."),
]

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
    "job",
    "give_up_after",
    "scratch",
    "engine",
    "address",
    "runners",
    "gpus_per_runner",
    "metrics",
    "part_clips",
    "clip_seconds",
    "earlier",
)
"""Options of one run, which are not part of the job."""


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Settings of a job besides its model and sampling; each field is an option."""

    question: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Ask this question about rows without their own (ask)."),
    ] = ""
    options: Annotated[
        str, typer.Option(metavar="A,B,...", help="Choose one of these answers (ask).")
    ] = ""
    query: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Find this event in rows without their own (ground)."),
    ] = ""
    top: Annotated[int, typer.Option(min=1, help="Limit the number of spans (ground).")] = 3
    think: Annotated[bool, typer.Option("--think", help="Let the model reason first.")] = False
    prompt: Annotated[
        str, typer.Option(metavar="TEXT", help="Caption with this prompt (caption, dense).")
    ] = ""
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Decode with so many processes besides the model's.")
    ] = 1
    shard: Annotated[
        str | None, typer.Option(metavar="3/16", help="Process only this part of the inputs.")
    ] = None
    min_duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Filter out shorter clips.")
    ] = None
    max_duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Filter out longer clips.")
    ] = None
    min_side: Annotated[
        int | None, typer.Option(metavar="PX", help="Filter out clips with a shorter side.")
    ] = None
    drop_black: Annotated[bool, typer.Option("--drop-black", help="Filter out black clips.")] = (
        False
    )
    drop_frozen: Annotated[
        bool, typer.Option("--drop-frozen", help="Filter out clips without motion.")
    ] = False
    drop_duplicates: Annotated[
        bool,
        typer.Option("--drop-duplicates", help="Combine --drop-exact and --drop-near."),
    ] = False
    drop_exact: Annotated[
        bool,
        typer.Option(
            "--drop-exact", help="Filter out clips with the same bytes as an earlier one."
        ),
    ] = False
    drop_near: Annotated[
        bool,
        typer.Option("--drop-near", help="Filter out near-duplicates of an earlier clip."),
    ] = False
    near_distance: NearDistance = None
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Limit the time of a clip in one stage.")
    ] = 120.0
    memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", help="Limit the memory that a decode worker may add."),
    ] = None
    no_sheets: Annotated[
        bool, typer.Option("--no-sheets", help="Do not keep contact sheets for the report.")
    ] = False


def explicit_options(context: typer.Context) -> dict[str, Any]:
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


def apply_options(job: "Job", given: dict[str, Any]) -> "Job":
    """Return the job with the options given on the command line."""
    from seedvideo.batch.job import Shard

    changes = dict(given)
    windows = {name: changes.pop(name) for name in WINDOW_FIELDS if name in changes}
    if "split" in changes:
        from seedvideo.clips.windows import SplitOptions

        changes["split"] = SplitOptions(**windows)
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
