"""What ``ask`` and ``ground`` share: one video, one question, one record. Imports nothing heavy."""

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

import typer

from seedvideo.cli.caption import comment, failed_record
from seedvideo.cli.options import chosen_format
from seedvideo.cli.sinks import open_sink
from seedvideo.cli.talk import COULD_NOT_START, SOME_FAILED, Talk
from seedvideo.cli.wishes import Wishes
from seedvideo.writers.inert import one_line

if TYPE_CHECKING:
    from seedvideo.model.backends import Backend
    from seedvideo.records import Record, Task
    from seedvideo.video import Video


def answer_one(
    source: str,
    put: Callable[["Video", "Backend"], "Record"],
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
    """Load the model, open the video, put the question, and write the record or why there is none.

    Raises:
        typer.Exit: with 1 if the video gave no result, 3 if the work could not start.
    """
    form = chosen_format(output_format, as_json=as_json)
    with talk.guarded(COULD_NOT_START):
        sink = open_sink(output, form=form, sources=[source], overwrite=overwrite)
    backend = talk.loaded(model)
    started = perf_counter()
    talk.begin(source)
    is_done = False
    with talk.guarded(SOME_FAILED), sink:
        try:
            sink.check(source)
            with wishes.open(source, progress=talk.looked) as video:
                record = put(video, backend)
        except Exception as error:  # noqa: BLE001
            # Not swallowed: shown, and kept in the record.
            talk.error(error, source=source)
            record = failed_record(source, error, started=started, task=task)
        else:
            is_done = True
            if form != "json":
                _show_thought(talk, record)
            comment(talk, record)
        talk.clear()
        sink.put(record)
    if not is_done:
        raise typer.Exit(SOME_FAILED)


def _show_thought(talk: Talk, record: "Record") -> None:
    told = record.answer or record.grounding
    if told is not None and told.thinking is not None:
        talk.note(f"thought: {one_line(told.thinking)}")
