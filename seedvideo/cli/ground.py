"""``seedvideo ground``: when something happens in one video. That it does not is a result too."""

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
)
from seedvideo.cli.talk import WRONG_USAGE, Talk
from seedvideo.cli.wishes import Wishes, with_wishes
from seedvideo.tasks.ground import clean_query

if TYPE_CHECKING:
    from seedvideo.model.backends import Backend
    from seedvideo.records import Record
    from seedvideo.video import Video


@with_wishes
def ground(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="A video file.")],
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help='What happens, such as "the dog jumps".')
    ],
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
    output: Output = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find when something happens in a video.

    Spans are half-open, in seconds, the best first. "not found" is a result: exit code 0.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    with talk.guarded(WRONG_USAGE):
        clean_query(query)

    def put(clip: "Video", backend: "Backend") -> "Record":
        from seedvideo import answers

        return answers.ground(
            clip,
            query,
            top=top,
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
        task="ground",
        talk=talk,
        wishes=wishes,
        model=model,
        output_format=output_format,
        as_json=as_json,
        output=output,
        overwrite=overwrite,
    )
