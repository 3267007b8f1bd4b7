"""``seedvideo caption``: one model, many videos, one record each."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.console import COULD_NOT_START, Talk
from seedvideo.cli.options import (
    AsJson,
    OutputOrFolder,
    Overwrite,
    Quiet,
    Verbose,
    Wishes,
    chosen_format,
    with_wishes,
)
from seedvideo.cli.output import open_sink
from seedvideo.cli.sources import Videos, failed_record, name_of, read_rows, run_each
from seedvideo.utils.text import one_line, printable
from seedvideo.writers import WRITERS

if TYPE_CHECKING:
    from seedvideo.records import Record

Format = Literal["text", "json", "srt", "vtt", "csv", "chapters"]


@with_wishes
def caption(
    videos: Videos,
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
    output: OutputOrFolder = None,
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
    rows = read_rows(videos, talk=talk)
    writer = WRITERS[form]
    with talk.guarded(COULD_NOT_START):
        wishes.refuse_outputs()
        sink = open_sink(
            output,
            form=form,
            extension=writer.extension,
            between=writer.between,
            sources=[name_of(row) for row in rows],
            overwrite=overwrite,
        )
    wishes.refuse_levels(model, talk=talk)
    backend = talk.loaded(model)

    def work(index: int, item: Item) -> str:
        from seedvideo import pipeline

        with wishes.open(item.source, progress=talk.looked) as video:
            record = pipeline.caption(
                video,
                model=backend,
                dense=dense,
                policy=wishes.policy,
                budget_tokens=wishes.budget_tokens,
                task=wishes.task,
                fps=wishes.fps,
                knobs=wishes.knobs_of(item),
                analysis=wishes.analysis,
            )
        comment(talk, record)
        return writer.render(record)

    def failed(name: str, error: Exception, spent_s: float) -> str:
        if not writer.shows_failed:
            return ""
        return writer.render(failed_record(name, error, spent_s=spent_s))

    run_each(talk, rows, work, sink=sink, failed=failed)


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
