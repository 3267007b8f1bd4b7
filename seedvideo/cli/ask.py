"""``seedvideo ask``: a question about videos, open or with options to choose from.

``seedvideo ground``: when something happens in videos. That it does not is a result too.

What ``caption``, ``ask`` and ``ground`` share: one model, many videos, one record each.

Imports nothing heavy.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.console import COULD_NOT_START, WRONG_USAGE, Talk
from seedvideo.cli.options import (
    AnsweringModel,
    AsJson,
    OutputOrFolder,
    Overwrite,
    Quiet,
    SamplingOptions,
    Think,
    Verbose,
    chosen_format,
    parse_options,
    with_sampling_options,
)
from seedvideo.cli.output import open_sink
from seedvideo.cli.sources import Row, VideoOrList, failed_record, name_of, read_rows, run_each
from seedvideo.tasks.grounding import clean_query
from seedvideo.tasks.question_answering import Question
from seedvideo.utils.text import one_line, printable
from seedvideo.writers import WRITERS

if TYPE_CHECKING:
    from seedvideo.model_tasks import Task
    from seedvideo.records import Record
    from seedvideo.records import Task as TaskName


def run_tasks(
    rows: Sequence[Row],
    task_for: Callable[[Item], "Task"],
    *,
    task_name: "TaskName",
    talk: Talk,
    sampling: SamplingOptions,
    model: str,
    form: str,
    output: str | None,
    overwrite: bool,
    names_videos: bool = False,
) -> None:
    """Load the model, run the task of each video and write its record.

    Args:
        rows: the videos.
        task_for: makes the task of a video.
        task_name: of the records.
        talk: the console of the command.
        sampling: options of the command line.
        model: its name, or a folder that holds one.
        form: format of the records.
        output: file or folder; stdout if None.
        overwrite: whether files may be replaced.
        names_videos: whether the text of each of several videos has the video's name above it.

    Raises:
        typer.Exit: with 1 if a video gave no result, 2 for wrong usage, 3 if the work could not
            start.
    """
    writer = WRITERS[form]
    with talk.guarded(COULD_NOT_START):
        sampling.refuse_outputs()
        sink = open_sink(
            output,
            form=form,
            extension=writer.extension,
            between=writer.between,
            sources=[name_of(row) for row in rows],
            overwrite=overwrite,
        )
    sampling.refuse_levels(model, talk=talk)
    backend = talk.loaded(model)
    has_heads = names_videos and form == "text" and len(rows) > 1

    def work(index: int, item: Item) -> str:
        from seedvideo.pipeline import run_task

        with sampling.open(item.source, progress=talk.looked) as video:
            record = run_task(
                video, task_for(item), model=backend, sampling=sampling.config_for(item)
            )
        if form != "json":
            _show_thought(talk, record)
        report_notes(talk, record)
        head = f"{printable(item.source)}\n" if has_heads else ""
        return head + writer.render(record)

    def failed(name: str, error: Exception, spent_s: float) -> str:
        if not writer.shows_failed:
            return ""
        return writer.render(failed_record(name, error, spent_s=spent_s, task=task_name))

    run_each(talk, rows, work, sink=sink, failed=failed)


def _show_thought(talk: Talk, record: "Record") -> None:
    result = record.answer or record.grounding
    if result is not None and result.thinking is not None:
        talk.note(f"thought: {one_line(result.thinking)}")


def report_notes(talk: Talk, record: "Record") -> None:
    """Print on stderr what a reader of the result should know."""
    name = printable(record.source)
    unsure = sum(not event.confident for event in record.events)
    result = record.answer or record.grounding
    notes = () if result is None else result.notes
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


@with_sampling_options
def ask(
    video: VideoOrList,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUESTION]", help="What you want to know; rows of a list may have their own."
        ),
    ] = None,
    options: Annotated[
        str | None,
        typer.Option(
            "--options",
            metavar="A,B,...",
            help="Choose one of these, 2 to 26; write \\, for a comma inside of one.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", metavar="TEXT", help="One of the options, as it stands; give it again."
        ),
    ] = None,
    think: Think = False,
    model: AnsweringModel = "nano",
    *,
    sampling: SamplingOptions,
    output_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option("-f", "--format", help="What is written. Default: text."),
    ] = None,
    as_json: AsJson = False,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Answer a question about a video, or about each of several.

    With options the answer is one of them, each with its probability where the model tells it.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    if options is not None and option:
        raise typer.BadParameter("--options and --option are two ways to say the same: use one")
    listed = list(option or ()) if options is None else parse_options(options)
    rows = read_rows([video], talk=talk)
    with talk.guarded(WRONG_USAGE):
        if question is not None or listed:
            Question.of("?" if question is None else question, listed)
    if question is None and any(isinstance(row, Item) and not row.question for row in rows):
        raise typer.BadParameter("missing argument 'QUESTION': the video has none of its own")

    def task_for(item: Item) -> "Task":
        from seedvideo.model_tasks import QuestionAnswering

        words = item.question or question or ""
        return QuestionAnswering.of(words, item.options or listed, thinking=think)

    run_tasks(
        rows,
        task_for,
        task_name="ask",
        talk=talk,
        sampling=sampling,
        model=model,
        form=chosen_format(output_format, as_json=as_json),
        output=output,
        overwrite=overwrite,
        names_videos=True,
    )


@with_sampling_options
def ground(
    video: VideoOrList,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUERY]",
            help='What happens, such as "the dog jumps"; rows of a list may have their own.',
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="COUNT", min=1, max=100, help="Most spans to show.")
    ] = 3,
    think: Think = False,
    model: AnsweringModel = "nano",
    *,
    sampling: SamplingOptions,
    output_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option("-f", "--format", help="What is written. Default: text."),
    ] = None,
    as_json: AsJson = False,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find when something happens in a video, or in each of several.

    Spans are half-open, in seconds, the best first. "not found" is a result: exit code 0.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    rows = read_rows([video], talk=talk)
    with talk.guarded(WRONG_USAGE):
        if query is not None:
            clean_query(query)
    if query is None and any(isinstance(row, Item) and not row.query for row in rows):
        raise typer.BadParameter("missing argument 'QUERY': the video has none of its own")

    def task_for(item: Item) -> "Task":
        from seedvideo.model_tasks import Grounding

        return Grounding.of(item.query or query or "", top=top, thinking=think)

    run_tasks(
        rows,
        task_for,
        task_name="ground",
        talk=talk,
        sampling=sampling,
        model=model,
        form=chosen_format(output_format, as_json=as_json),
        output=output,
        overwrite=overwrite,
        names_videos=True,
    )
