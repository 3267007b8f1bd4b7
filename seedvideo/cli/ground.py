"""``seedvideo ground``: when something happens in videos. That it does not is a result too."""

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
)
from seedvideo.cli.several import VideoOrList, read_rows
from seedvideo.cli.talk import WRONG_USAGE, Talk
from seedvideo.cli.wishes import Wishes, with_wishes
from seedvideo.tasks.ground import clean_query

if TYPE_CHECKING:
    from seedvideo.model.backends import Backend
    from seedvideo.records import Record
    from seedvideo.video import Video


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
