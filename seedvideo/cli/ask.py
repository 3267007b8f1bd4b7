"""``seedvideo ask``: a question about one video, open or with options to choose from."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedvideo.cli.answer import answer_one
from seedvideo.cli.options import (
    AnsweringModel,
    AsJson,
    Output,
    Overwrite,
    Quiet,
    Think,
    Verbose,
    parse_options,
)
from seedvideo.cli.talk import WRONG_USAGE, Talk
from seedvideo.cli.wishes import Wishes, with_wishes
from seedvideo.tasks.ask import Question

if TYPE_CHECKING:
    from seedvideo.model.backends import Backend
    from seedvideo.records import Record
    from seedvideo.video import Video


@with_wishes
def ask(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know.")],
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
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Answer a question about a video.

    With options the answer is one of them, each with its probability where the model tells it.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    if options is not None and option:
        raise typer.BadParameter("--options and --option are two ways to say the same: use one")
    listed = list(option or ()) if options is None else parse_options(options)
    with talk.guarded(WRONG_USAGE):
        Question.of(question, listed)

    def put(clip: "Video", backend: "Backend") -> "Record":
        from seedvideo import answers

        return answers.ask(
            clip,
            question,
            options=listed,
            thinking=think,
            model=backend,
            policy=wishes.policy,
            budget_tokens=wishes.budget_tokens,
            task=wishes.task,
            fps=wishes.fps,
            knobs=wishes.knobs,
            analysis=wishes.analysis,
        )

    answer_one(
        video,
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
