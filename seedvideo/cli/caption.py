"""``seedvideo caption``: one model, many videos, one record each."""

from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedvideo.cli.options import (
    AsJson,
    Overwrite,
    Quiet,
    Verbose,
    chosen_format,
    expand_sources,
)
from seedvideo.cli.sinks import open_sink
from seedvideo.cli.talk import COULD_NOT_START, SOME_FAILED, Talk
from seedvideo.cli.wishes import Wishes, with_wishes
from seedvideo.writers.inert import one_line, printable

if TYPE_CHECKING:
    from seedvideo.records import Record, Task

Format = Literal["text", "json", "srt", "vtt", "csv", "chapters"]


@with_wishes
def caption(
    videos: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO", help="Video files; - reads their names from stdin."),
    ],
    dense: Annotated[
        bool,
        typer.Option(
            "--dense",
            help="Also caption each shot, for up to a quarter budget a shot; looks at every frame.",
        ),
    ] = False,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Name of a model, or a folder that holds one.")
    ] = "nano",
    *,
    wishes: Wishes,
    output_format: Annotated[
        Format | None, typer.Option("-f", "--format", help="What is written. Default: text.")
    ] = None,
    as_json: AsJson = False,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|DIR",
            help="Write here instead of stdout; a folder (DIR/) gets one file a video.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what happens in videos, with true times.

    A video that fails gets one line on stderr and the others go on. Exit code: 0 all done, 1 some
    failed, 2 wrong usage, 3 could not start.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    form = chosen_format(output_format, as_json=as_json)
    sources = expand_sources(videos)
    with talk.guarded(COULD_NOT_START):
        sink = open_sink(output, form=form, sources=sources, overwrite=overwrite)
    backend = talk.loaded(model)

    def caption_one(source: str) -> "Record":
        from seedvideo import pipeline

        with wishes.open(source, progress=talk.looked) as video:
            return pipeline.caption(
                video,
                model=backend,
                dense=dense,
                policy=wishes.policy,
                budget_tokens=wishes.budget_tokens,
                task=wishes.task,
                fps=wishes.fps,
                knobs=wishes.knobs,
                analysis=wishes.analysis,
            )

    failed = 0
    with talk.guarded(SOME_FAILED), sink:
        for source in talk.progress(sources):
            started = perf_counter()
            try:
                sink.check(source)
                record = caption_one(source)
            except Exception as error:  # noqa: BLE001
                # One bad video, or a bug that it wakes, must not take the others with it.
                failed += 1
                talk.error(error, source=source)
                record = failed_record(source, error, started=started)
            else:
                comment(talk, record)
            talk.clear()
            # Not guarded: where results cannot be written, or nobody reads them, the run is over.
            sink.put(record)
    if failed:
        if len(sources) > 1:
            talk.note(f"{failed} of {len(sources)} videos failed")
        raise typer.Exit(SOME_FAILED)


def failed_record(
    source: str, error: Exception, *, started: float, task: "Task" = "caption"
) -> "Record":
    """The record of a video that gave no result."""
    from seedvideo.records import Record

    spent_s = round(perf_counter() - started, 4)
    return Record.failed(source, error, timing_s={"total": spent_s}, task=task)


def comment(talk: Talk, record: "Record") -> None:
    """Say on stderr what a reader of the result should know."""
    name = printable(record.source)
    unsure = sum(not event.confident for event in record.events)
    told = record.answer or record.grounding
    notes = () if told is None else told.notes
    doubts = [note for note in notes if note.code.startswith("answer.")]
    for note in notes:
        kind = "not sure" if note in doubts else "note"
        talk.note(f"{kind}: {name}: {one_line(note.message)} [{note.code}]")
    if record.confident is False and not doubts:
        talk.note(
            f"not sure: the frames of {name} look unlike anything that the model was trained on"
        )
    elif unsure:
        talk.note(
            f"not sure: {unsure} of {len(record.events)} shots of {name} look unlike anything"
            " that the model was trained on"
        )
    if record.media is not None:
        for warning in record.media.warnings:
            talk.note(f"warning: {name}: {warning.message} [{warning.code}]")
    if record.plan is not None:
        spent = ", ".join(f"{stage} {spent_s:.2f} s" for stage, spent_s in record.timing_s.items())
        talk.detail(
            f"{name}: {record.plan.frames} frames, {record.plan.tokens} of"
            f" {record.plan.budget_tokens} tokens; {spent}"
        )
