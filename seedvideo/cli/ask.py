"""``seedvideo ask``: a question about videos, open or with options to choose from.

``seedvideo ground``: when something happens in videos. That it does not is a result too.

What ``ask`` and ``ground`` share: words about videos, one record each. Imports nothing heavy.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.caption import comment
from seedvideo.cli.console import COULD_NOT_START, WRONG_USAGE, Talk
from seedvideo.cli.options import (
    AnsweringModel,
    AsJson,
    OutputOrFolder,
    Overwrite,
    Quiet,
    Think,
    Verbose,
    Wishes,
    chosen_format,
    parse_options,
    with_wishes,
)
from seedvideo.cli.output import open_sink
from seedvideo.cli.sources import Row, VideoOrList, failed_record, name_of, read_rows, run_each
from seedvideo.tasks.grounding import clean_query
from seedvideo.tasks.question_answering import Question
from seedvideo.utils.text import one_line, printable
from seedvideo.writers import WRITERS

if TYPE_CHECKING:
    from seedvideo.model.backends.base import Backend
    from seedvideo.records import Record, Task
    from seedvideo.video import Video


def answer_each(
    rows: Sequence[Row],
    put: Callable[["Video", Item, "Backend"], "Record"],
    *,
    task: "Task",
    talk: Talk,
    wishes: Wishes,
    model: str,
    output_format: str | None,
    as_json: bool,
    output: str | None,
    overwrite: bool,
) -> None:
    """Load the model, and for each video put the question and write the record.

    As text the answers of several videos have the video's name above them.

    Raises:
        typer.Exit: with 1 if a video gave no result, 2 for wrong usage, 3 if the work could not
            start.
    """
    form = chosen_format(output_format, as_json=as_json)
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
        with wishes.open(item.source, progress=talk.looked) as video:
            record = put(video, item, backend)
        if form != "json":
            _show_thought(talk, record)
        comment(talk, record)
        head = f"{printable(item.source)}\n" if form == "text" and len(rows) > 1 else ""
        return head + writer.render(record)

    def failed(name: str, error: Exception, spent_s: float) -> str:
        if not writer.shows_failed:
            return ""
        return writer.render(failed_record(name, error, spent_s=spent_s, task=task))

    run_each(talk, rows, work, sink=sink, failed=failed)


def _show_thought(talk: Talk, record: "Record") -> None:
    told = record.answer or record.grounding
    if told is not None and told.thinking is not None:
        talk.note(f"thought: {one_line(told.thinking)}")


@with_wishes
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
    wishes: Wishes,
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

    def put(clip: "Video", item: Item, backend: "Backend") -> "Record":
        from seedvideo import answers

        return answers.ask(
            clip,
            item.question or question or "",
            options=item.options or listed,
            thinking=think,
            model=backend,
            policy=wishes.policy,
            budget_tokens=wishes.budget_tokens,
            task=wishes.task,
            fps=wishes.fps,
            knobs=wishes.knobs_of(item),
            analysis=wishes.analysis,
        )

    answer_each(
        rows,
        put,
        task="ask",
        talk=talk,
        wishes=wishes,
        model=model,
        output_format=output_format,
        as_json=as_json,
        output=output,
        overwrite=overwrite,
    )


@with_wishes
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
    wishes: Wishes,
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

    def put(clip: "Video", item: Item, backend: "Backend") -> "Record":
        from seedvideo import answers

        return answers.ground(
            clip,
            item.query or query or "",
            top=top,
            thinking=think,
            model=backend,
            policy=wishes.policy,
            budget_tokens=wishes.budget_tokens,
            task=wishes.task,
            fps=wishes.fps,
            knobs=wishes.knobs_of(item),
            analysis=wishes.analysis,
        )

    answer_each(
        rows,
        put,
        task="ground",
        talk=talk,
        wishes=wishes,
        model=model,
        output_format=output_format,
        as_json=as_json,
        output=output,
        overwrite=overwrite,
    )
