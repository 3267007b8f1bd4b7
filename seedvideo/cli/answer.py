"""What ``ask`` and ``ground`` share: words about videos, one record each. Imports nothing heavy."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from seedvideo.batch.item import Item
from seedvideo.cli.caption import comment
from seedvideo.cli.options import chosen_format
from seedvideo.cli.several import Row, failed_record, name_of, run_each
from seedvideo.cli.sinks import open_sink
from seedvideo.cli.talk import COULD_NOT_START, Talk
from seedvideo.cli.wishes import Wishes
from seedvideo.writers import WRITERS
from seedvideo.writers.inert import one_line, printable

if TYPE_CHECKING:
    from seedvideo.model.backends import Backend
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
