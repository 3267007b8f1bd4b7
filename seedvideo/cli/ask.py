"""``seedvideo ask``: a question about videos, open or with options to choose from."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedvideo.batch.item import Item
from seedvideo.cli.answer import answer_each
from seedvideo.cli.options import (
    AnsweringModel,
    AsJson,
    OutputOrFolder,
    Overwrite,
    Quiet,
    Think,
    Verbose,
    parse_options,
)
from seedvideo.cli.several import VideoOrList, read_rows
from seedvideo.cli.talk import WRONG_USAGE, Talk
from seedvideo.cli.wishes import Wishes, with_wishes
from seedvideo.tasks.ask import Question

if TYPE_CHECKING:
    from seedvideo.model.backends import Backend
    from seedvideo.records import Record
    from seedvideo.video import Video


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
