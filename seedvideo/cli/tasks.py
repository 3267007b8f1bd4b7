"""Commands ``seedvideo caption``, ``ask`` and ``ground``.

Each command loads one model and writes one record per video.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedvideo.batch.inputs import Item
from seedvideo.cli.console import COULD_NOT_START, WRONG_USAGE, Console, write_stdout
from seedvideo.cli.model_options import LoadingOptions, Prompt, Stream, WritingOptions
from seedvideo.cli.option_values import parse_options
from seedvideo.cli.options import (
    AsJson,
    OutputOrFolder,
    Overwrite,
    Quiet,
    SamplingOptions,
    TaskModel,
    TextOrJson,
    Think,
    Verbose,
    resolve_format,
    with_options,
)
from seedvideo.cli.output import open_sink
from seedvideo.cli.remote_options import SourceOptions
from seedvideo.cli.sources import (
    Row,
    VideoOrList,
    Videos,
    failed_record,
    read_rows,
    row_name,
    run_each,
)
from seedvideo.tasks.grounding import clean_query
from seedvideo.tasks.question_answering import Question
from seedvideo.utils.text import one_line, printable, printable_lines
from seedvideo.writers import WRITERS

if TYPE_CHECKING:
    from seedvideo.model_tasks import Task
    from seedvideo.records import Record, RecordTask

CaptionFormat = Literal["text", "json", "srt", "vtt", "csv", "chapters"]


def run_tasks(
    rows: Sequence[Row],
    task_for: Callable[[Item], "Task"],
    *,
    task_name: "RecordTask",
    console: Console,
    sampling: SamplingOptions,
    model: str,
    loading: LoadingOptions,
    writing: WritingOptions,
    remote: SourceOptions,
    prompt: str = "",
    stream: bool,
    format_name: str,
    output: str | None,
    overwrite: bool,
    adds_headings: bool = False,
) -> None:
    """Load the model, run the task of each video and write its record.

    Args:
        rows: videos and unresolved arguments.
        task_for: returns the task of a video.
        task_name: task of the records.
        console: the console of the command.
        sampling: sampling options of the command.
        model: name of a model.
        loading: how it is loaded.
        writing: how it writes.
        remote: how addresses are reached.
        prompt: another caption prompt than the usual one; empty for none.
        stream: print the answer as it is generated, with the format ``text`` on stdout.
        format_name: format of the records.
        output: file or folder; stdout if None.
        overwrite: replace existing files.
        adds_headings: with several videos, print the name of the video above each text.

    Raises:
        typer.Exit: with 1 if a video failed, 2 for wrong usage, 3 if the work could not start.
    """
    writer = WRITERS[format_name]
    if stream and (format_name != "text" or output is not None):
        raise typer.BadParameter("--stream prints text on stdout: leave -f and -o out")
    with console.exit_on_error(COULD_NOT_START):
        sampling.reject_unusable_cache()
        sink = open_sink(
            output,
            format_name=format_name,
            extension=writer.extension,
            separator=writer.separator,
            sources=[row_name(row) for row in rows],
            overwrite=overwrite,
        )
    if sampling.config.levels_tokens is not None:
        # Before the weights are loaded.
        sampling.reject_unknown_levels(console.load_costs(model, loading.config).geometry)
    backend = console.load_model(model, loading.config)
    with console.exit_on_error(WRONG_USAGE):
        from seedvideo.model_tasks import check_supported

        check_supported(backend, writing.config, prompt=prompt, streams=stream)
    has_headings = adds_headings and format_name == "text" and len(rows) > 1
    printer = _StreamPrinter(console, has_headings=len(rows) > 1)

    def work(index: int, item: Item) -> str:
        from seedvideo.pipeline import run_task

        with (
            remote.locate(item) as located,
            sampling.open(located, progress=console.update_progress) as video,
            printer.printing(item.source),
        ):
            record = run_task(
                video,
                task_for(item),
                model=backend,
                sampling=sampling.config_for(item),
                on_text=printer.put if stream else None,
            )
        if format_name != "json":
            _print_reasoning(console, record)
        report_notes(console, record)
        head = f"{printable(item.source)}\n" if has_headings else ""
        # What was printed as it came is not printed again.
        return "" if printer.has_printed else head + writer.render(record)

    def render_failed(name: str, error: Exception, spent_s: float) -> str:
        if not writer.writes_failed:
            return ""
        return writer.render(failed_record(name, error, spent_s=spent_s, task=task_name))

    run_each(console, rows, work, sink=sink, render_failed=render_failed)


class _StreamPrinter:
    """Prints answers as they are generated.

    Args:
        console: owner of the status line.
        has_headings: print the name of the video above each answer.
    """

    def __init__(self, console: Console, *, has_headings: bool) -> None:
        self._console, self._has_headings = console, has_headings
        self._source, self._is_first = "", True
        self.has_printed = False

    @contextmanager
    def printing(self, source: str) -> Iterator[None]:
        """Begin an answer; at the end, whatever it is, end its line: notes and errors follow."""
        self._source, self.has_printed = printable(source), False
        try:
            yield
        finally:
            if self.has_printed:
                write_stdout("\n")

    def put(self, text: str) -> None:
        """Print a piece of the answer."""
        self._console.clear_status()
        if not self.has_printed and self._has_headings:
            write_stdout(f"{self._source}\n" if self._is_first else f"\n{self._source}\n")
        self.has_printed, self._is_first = True, False
        write_stdout(printable_lines(text))


def _print_reasoning(console: Console, record: "Record") -> None:
    result = record.answer or record.grounding
    if result is not None and result.thinking is not None:
        console.info(f"reasoning: {one_line(result.thinking)}")


def report_notes(console: Console, record: "Record") -> None:
    """Print notes, warnings and low confidence of a record on stderr."""
    name = printable(record.source)
    unsure = sum(not event.confident for event in record.events)
    result = record.answer or record.grounding
    notes = record.notes if result is None else result.notes
    doubts = [note for note in notes if note.code.startswith("answer.")]
    for note in notes:
        kind = "not sure" if note in doubts else "note"
        console.info(f"{kind}: {name}: {one_line(note.message)} [{note.code}]")
    # Only the embedded model knows its training images; others are unsure for a noted reason.
    is_embedded = record.model is not None and record.model.family is None
    why = " look unlike anything that the model was trained on" if is_embedded else ""
    if record.confident is False and not doubts:
        console.info(f"not sure: the frames of {name}{why}")
    elif unsure > 1 or (unsure and not doubts):
        console.info(f"not sure: {unsure} of {len(record.events)} shots of {name}{why}")
    if record.media is not None:
        for warning in record.media.warnings:
            console.info(f"warning: {name}: {warning.message} [{warning.code}]")
    if record.plan is not None:
        spent = ", ".join(f"{stage} {spent_s:.2f} s" for stage, spent_s in record.timing_s.items())
        console.debug(
            f"{name}: {record.plan.frames} frames, {record.plan.tokens} of"
            f" {record.plan.budget_tokens} tokens; {spent}"
        )


def _require_own_text(rows: Sequence[Row], column: Literal["question", "query"]) -> None:
    """Refuse videos without a text of their own, where the command line gives none for all."""
    if any(isinstance(row, Item) and not getattr(row, column) for row in rows):
        raise typer.BadParameter(
            f"missing argument '{column.upper()}': the list does not give one for each video"
        )


@with_options
def caption(
    videos: Videos,
    dense: Annotated[
        bool,
        typer.Option(
            "--dense",
            help="Also caption each shot (extra cost: up to a quarter of the budget per shot;"
            " analyses every frame).",
        ),
    ] = False,
    prompt: Prompt = None,
    model: TaskModel = "nano",
    *,
    loading: LoadingOptions,
    writing: WritingOptions,
    remote: SourceOptions,
    stream: Stream = False,
    sampling: SamplingOptions,
    output_format: Annotated[
        CaptionFormat | None,
        typer.Option("-f", "--format", help="Select the output format. [default: text]"),
    ] = None,
    as_json: AsJson = False,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Caption videos, with exact timestamps.

    A failed video is reported on stderr; the others continue. Exit code: 0 all done, 1 some failed,
    2 wrong usage, 3 could not start.
    """
    console = Console(quiet=quiet, verbose=verbose)
    format_name = resolve_format(output_format, as_json=as_json)
    if stream and dense:
        raise typer.BadParameter("--stream and --dense cannot be combined: leave one out")
    rows = read_rows(videos, console=console, remote=remote)

    def task_for(item: Item) -> "Task":
        from seedvideo.model_tasks import Captioning

        return Captioning.of(dense=dense, prompt=prompt, options=writing.config)

    run_tasks(
        rows,
        task_for,
        task_name="caption",
        console=console,
        sampling=sampling,
        model=model,
        loading=loading,
        writing=writing,
        remote=remote,
        prompt=prompt or "",
        stream=stream,
        format_name=format_name,
        output=output,
        overwrite=overwrite,
    )


@with_options
def ask(
    video: VideoOrList,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUESTION]", help="Question to answer; rows of a list may have their own."
        ),
    ] = None,
    options: Annotated[
        str | None,
        typer.Option(
            "--options",
            metavar="A,B,...",
            help="Choose one of these 2 to 26 answers; write \\, for a comma in an answer.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="TEXT",
            help="Add one answer to choose from, commas included. Repeatable.",
        ),
    ] = None,
    think: Think = False,
    model: TaskModel = "nano",
    *,
    loading: LoadingOptions,
    writing: WritingOptions,
    remote: SourceOptions,
    stream: Stream = False,
    sampling: SamplingOptions,
    output_format: TextOrJson = None,
    as_json: AsJson = False,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Answer a question about a video, or about each of several.

    With --options the answer is one of them. Each has a probability if the model supports it.
    """
    console = Console(quiet=quiet, verbose=verbose)
    if options is not None and option:
        raise typer.BadParameter("--options and --option cannot be combined: use one of them")
    listed = list(option or ()) if options is None else parse_options(options)
    rows = read_rows([video], console=console, remote=remote)
    with console.exit_on_error(WRONG_USAGE):
        if question is not None or listed:
            Question.of("?" if question is None else question, listed)
    if question is None:
        _require_own_text(rows, "question")

    def task_for(item: Item) -> "Task":
        from seedvideo.model_tasks import QuestionAnswering

        words = item.question or question or ""
        return QuestionAnswering.of(
            words, item.options or listed, thinking=think, generation=writing.config
        )

    run_tasks(
        rows,
        task_for,
        task_name="ask",
        console=console,
        sampling=sampling,
        model=model,
        loading=loading,
        writing=writing,
        remote=remote,
        stream=stream,
        format_name=resolve_format(output_format, as_json=as_json),
        output=output,
        overwrite=overwrite,
        adds_headings=True,
    )


@with_options
def ground(
    video: VideoOrList,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUERY]",
            help='Event to find, such as "the dog jumps"; rows of a list may have their own.',
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option("--top", metavar="COUNT", min=1, max=100, help="Limit the number of spans."),
    ] = 3,
    think: Think = False,
    model: TaskModel = "nano",
    *,
    loading: LoadingOptions,
    writing: WritingOptions,
    remote: SourceOptions,
    stream: Stream = False,
    sampling: SamplingOptions,
    output_format: TextOrJson = None,
    as_json: AsJson = False,
    output: OutputOrFolder = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find when something happens in a video, or in each of several.

    Spans are half-open, in seconds, the best first. "not found" is a valid result: exit code 0.
    """
    console = Console(quiet=quiet, verbose=verbose)
    rows = read_rows([video], console=console, remote=remote)
    with console.exit_on_error(WRONG_USAGE):
        if query is not None:
            clean_query(query)
    if query is None:
        _require_own_text(rows, "query")

    def task_for(item: Item) -> "Task":
        from seedvideo.model_tasks import Grounding

        return Grounding.of(
            item.query or query or "", top=top, thinking=think, generation=writing.config
        )

    run_tasks(
        rows,
        task_for,
        task_name="ground",
        console=console,
        sampling=sampling,
        model=model,
        loading=loading,
        writing=writing,
        remote=remote,
        stream=stream,
        format_name=resolve_format(output_format, as_json=as_json),
        output=output,
        overwrite=overwrite,
        adds_headings=True,
    )
