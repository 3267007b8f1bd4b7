"""Command ``seedvideo eval``: run a model on a benchmark and print a table."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from seedvideo.cli.console import COULD_NOT_START, SOME_FAILED, Console, write_stdout
from seedvideo.cli.model_options import BatchSize, Concurrency, LoadingOptions, WritingOptions
from seedvideo.cli.options import Budget, PolicyOption, Quiet, Verbose, with_options
from seedvideo.config import SamplingConfig, resolve_sampling
from seedvideo.model_options import GenerationOptions
from seedvideo.utils.files import make_folder, refuse_unwritable, write_file
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seedvideo.evaluate.registry import Benchmark
    from seedvideo.evaluate.results import Outcome, Results
    from seedvideo.evaluate.scoring import Scoring
    from seedvideo.evaluate.types import Item
    from seedvideo.model.backends.base import Backend

BenchName = Literal[
    "charades-sta", "video-mme", "activitynet-captions", "synthetic", "flashbench", "list"
]

RESULTS: Final = "results.jsonl"
TABLE: Final = "table.md"
MAX_REPORTED_FAILURES: Final = 10
"""Maximum number of failures printed on stderr; all are in the results file."""


@with_options
def evaluate(
    context: typer.Context,
    bench: Annotated[
        BenchName, typer.Argument(metavar="BENCH", help="Benchmark to run; 'list' prints them.")
    ],
    videos: Annotated[
        str | None,
        typer.Option(
            "--videos",
            metavar="DIR",
            help="Read the videos from this folder; 'synthetic' writes its own there.",
        ),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            "--annotations",
            metavar="FILE",
            help="Read the published annotations from this file. Repeatable.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Use this model: nano, a folder, a name on a hub or a server. [default: nano]",
        ),
    ] = None,
    *,
    loading: LoadingOptions,
    writing: WritingOptions,
    batch_size: BatchSize = 1,
    concurrency: Concurrency = None,
    budget_tokens: Budget = None,
    policy: PolicyOption = "adaptive",
    blind: Annotated[
        bool,
        typer.Option("--blind", help="Show grey frames only: a text-only baseline."),
    ] = False,
    think: Annotated[
        bool, typer.Option("--think", help="Let the model reason before it answers.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Run only the first N items."),
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option(
            "--predictions",
            metavar="FILE",
            help="Score these predictions (JSON Lines) without running a model.",
        ),
    ] = None,
    scorers: Annotated[
        list[str] | None,
        typer.Option(
            "--scorer",
            metavar="NAME",
            help="Also score with this scorer of another package. Repeatable.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Write results.jsonl and table.md to this folder. [default: eval-BENCH]",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a model on a benchmark, published or generated.

    Each result is written to results.jsonl at once. Run the same command again to resume, or to
    retry failed items. Items without an answer count as wrong. Exit code: 0 all answered, 1 some
    not, 2 wrong usage, 3 could not start.
    """
    console = Console(quiet=quiet, verbose=verbose)
    if bench == "list":
        list_benchmarks()
        return
    reject_unused_options(context, bench, scores_only=predictions is not None)
    folder = Path(output or f"eval-{bench}")
    if predictions is None or output is not None:
        with console.exit_on_error(COULD_NOT_START):
            refuse_unwritable(folder, is_folder=True)
    if bench == "flashbench":
        run_flashbench(console, folder, policy=policy, budget_tokens=budget_tokens, limit=limit)
        return
    with console.exit_on_error(COULD_NOT_START):
        from seedvideo.evaluate.registry import load_scorers
        from seedvideo.model import plugin_origins

        if bench == "synthetic":
            benchmark = open_synthetic(videos, annotations, folder)
        else:
            scores_only = predictions is not None
            benchmark = open_bench(bench, videos, annotations or [], scores_only=scores_only)
        items = benchmark.items[:limit]
        scoring, notes = load_scorers(scorers or [])
        if predictions is not None:
            table, missing = score_predictions(
                Path(predictions), benchmark, items, scoring=scoring, notes=notes
            )
    if predictions is not None:
        if output is not None:
            with console.exit_on_error(SOME_FAILED):
                make_folder(folder)
                write_file(folder / TABLE, table.encode(), overwrite=True)
    else:
        with console.exit_on_error(COULD_NOT_START):
            results = open_results(console, folder / RESULTS)
        with results:
            backend = console.load_model(model or "nano", loading.config)
            with console.exit_on_error(SOME_FAILED):
                table, missing = run_benchmark(
                    console,
                    benchmark,
                    items,
                    results,
                    backend,
                    sampling=resolve_sampling(
                        policy=policy,
                        budget_tokens=budget_tokens or backend.geometry.default_budget_tokens,
                    ),
                    thinking=think,
                    blind=blind,
                    generation=writing.config,
                    batch_size=batch_size,
                    concurrency=concurrency,
                    plugins=plugin_origins(model or "nano", policy),
                    scoring=scoring,
                    notes=notes,
                )
                write_file(folder / TABLE, table.encode(), overwrite=True)
    console.clear_status()
    write_stdout(table)
    if missing:
        console.info(f"{missing} of {len(items)} items have no answer and count as wrong")
        raise typer.Exit(SOME_FAILED)


_OPTION_NAMES: Final = {"budget_tokens": "budget", "scorers": "scorer"}

_OF_MODELS: Final = (
    "blind",
    "think",
    "batch_size",
    "concurrency",
    *(each.name for group in (LoadingOptions, WritingOptions) for each in fields(group)),
)
"""Options besides ``--model`` that have no effect where no model runs."""


def reject_unused_options(context: typer.Context, bench: str, *, scores_only: bool) -> None:
    """Reject given options that would have no effect.

    Args:
        context: Click context of the command.
        bench: name of the benchmark.
        scores_only: whether existing predictions are scored.

    Raises:
        typer.BadParameter: naming the options and the reason.
    """
    from seedvideo.evaluate.datasets import ADAPTERS

    if bench == "flashbench":
        why = "flashbench scores plans, without a model"
        unused = ["videos", "annotations", "model", *_OF_MODELS, "predictions", "scorers"]
    elif scores_only:
        why, unused = (
            "--predictions runs no model",
            ["model", "budget_tokens", "policy", *_OF_MODELS],
        )
    elif bench in ADAPTERS and ADAPTERS[bench].task == "dense":
        why, unused = f"{bench} asks for captions, which need no reasoning", ["think"]
    else:
        return
    written = [
        "--" + _OPTION_NAMES.get(name, name.replace("_", "-"))
        for name in unused
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if written:
        raise typer.BadParameter(f"{', '.join(written)} cannot be used: {why}")


def list_benchmarks() -> None:
    """Print one line per benchmark."""
    from seedvideo.evaluate.registry import describe_benchmarks

    for name, about in describe_benchmarks():
        write_stdout(f"{name:22}{about}\n")


def run_flashbench(
    console: Console, folder: Path, *, policy: str, budget_tokens: int | None, limit: int | None
) -> None:
    """Score plans of generated videos; see `seedvideo.evaluate.flashbench.quick`."""
    from seedvideo.evaluate.flashbench.quick import (
        DEFAULT_BUDGET,
        check_budget,
        quick_cases,
        render_table,
        run_quick,
    )

    budget_tokens = budget_tokens or DEFAULT_BUDGET
    chosen = quick_cases()[:limit]

    def progress(name: str, number: int) -> None:
        console.status(f"[{number + 1}/{len(chosen)}] {name}")

    with console.exit_on_error(COULD_NOT_START):
        check_budget(chosen, budget_tokens)
        results = open_results(console, folder / RESULTS)
    with results, console.exit_on_error(SOME_FAILED):
        found = run_quick(
            chosen, policy=policy, budget_tokens=budget_tokens, results=results, progress=progress
        )
        table = render_table(found, budget_tokens=budget_tokens)
        write_file(folder / TABLE, table.encode(), overwrite=True)
    console.clear_status()
    write_stdout(table)


def open_bench(
    name: str, videos: str | None, annotations: list[str], *, scores_only: bool
) -> "Benchmark":
    """Read the files of a published benchmark.

    Raises:
        typer.BadParameter: if a required option is missing.
        InputError: if a file is missing or does not have the published format.
    """
    from seedvideo.evaluate.registry import load_published
    from seedvideo.evaluate.runner import find_videos_folder

    if not annotations:
        raise typer.BadParameter(f"{name} needs --annotations FILE")
    if videos is None and not scores_only:
        raise typer.BadParameter(f"{name} needs --videos DIR, the folder of its videos")
    folder = Path() if videos is None else find_videos_folder(videos)
    return load_published(name, [Path(word) for word in annotations], folder)


def open_synthetic(videos: str | None, annotations: list[str] | None, output: Path) -> "Benchmark":
    """Generate the synthetic benchmark, with videos in the given folder or below the output."""
    from seedvideo.evaluate.registry import load_synthetic

    if annotations:
        raise typer.BadParameter(
            "--annotations cannot be used: synthetic generates its own questions"
        )
    return load_synthetic(output / "videos" if videos is None else Path(videos))


def open_results(console: Console, path: Path) -> "Results":
    """Open the results file and report a truncated last line."""
    from seedvideo.evaluate.results import Results

    results = Results(path)
    if results.dropped_bytes:
        console.info(
            f"dropped the truncated last line of {printable(str(path))}:"
            f" {results.dropped_bytes} bytes"
        )
    return results


def run_benchmark(
    console: Console,
    benchmark: "Benchmark",
    items: "Sequence[Item]",
    results: "Results",
    backend: "Backend",
    *,
    sampling: SamplingConfig,
    thinking: bool,
    blind: bool,
    generation: GenerationOptions,
    batch_size: int,
    concurrency: int | None,
    plugins: "Mapping[str, str]",
    scoring: "Scoring",
    notes: "Sequence[str]",
) -> tuple[str, int]:
    """Answer the remaining items of a benchmark.

    Returns:
        The table, and the number of items without an answer.
    """
    from seedvideo.evaluate.reporting import report
    from seedvideo.evaluate.runner import (
        ModelPredictor,
        answer_in_batches,
        answer_in_threads,
        answer_one_by_one,
        make_blind,
        make_settings,
        run,
    )
    from seedvideo.model.backends.base import SupportsBatches
    from seedvideo.model.batching import BatchingBackend, resolve_concurrency

    requests = resolve_concurrency(backend, batch_size=batch_size, concurrency=concurrency)
    answer_all = answer_in_threads(requests) if requests > 1 else answer_one_by_one
    if batch_size > 1 and isinstance(backend, SupportsBatches):
        backend = BatchingBackend(backend)
        answer_all = answer_in_batches(backend, batch_size)
    settings = make_settings(
        benchmark.name,
        backend,
        sampling=sampling,
        thinking=thinking,
        blind=blind,
        generator=benchmark.generator,
        generation=generation,
        plugins=plugins,
    )
    failures = 0

    def progress(item: "Item", outcome: "Outcome", number: int) -> None:
        nonlocal failures
        console.status(f"[{number}/{len(items)}] {item.id}")
        if outcome.error is not None:
            failures += 1
            if failures <= MAX_REPORTED_FAILURES:
                console.info(f"{item.id}: {outcome.message} [{outcome.error}]")
            elif failures == MAX_REPORTED_FAILURES + 1:
                console.info(f"further failures are only in {printable(str(results.path))}")

    backend_view = make_blind(backend) if blind else backend
    with ModelPredictor(
        backend_view, sampling=sampling, thinking=thinking, generation=generation
    ) as predict:
        outcomes = run(
            items,
            predict=predict,
            resolve_path=benchmark.resolve_path,
            results=results,
            settings=settings,
            progress=progress,
            answer_all=answer_all,
        )
    table = report(
        benchmark,
        items,
        outcomes,
        settings=settings,
        results=results,
        notes=notes,
        scoring=scoring,
    )
    return table, sum(outcome.prediction is None for outcome in outcomes.values())


def score_predictions(
    path: Path,
    benchmark: "Benchmark",
    items: "Sequence[Item]",
    *,
    scoring: "Scoring",
    notes: "Sequence[str]",
) -> tuple[str, int]:
    """Score existing predictions.

    Returns:
        The table, and the number of items without a prediction.
    """
    from seedvideo.evaluate.annotations import read_json_lines
    from seedvideo.evaluate.reporting import report
    from seedvideo.evaluate.results import Outcome, Settings, predictions_error, read_predictions

    tasks = {item.id: item.task for item in benchmark.items}
    given = read_predictions(path, read_json_lines(path, make_error=predictions_error), tasks=tasks)
    outcomes = {
        item.id: Outcome(id=item.id, digest=item.digest, prediction=given[item.id])
        for item in items
        if item.id in given
    }
    settings = Settings(benchmark.name, {"predictions": path.name})
    unknown = len(given.keys() - {item.id for item in benchmark.items})
    about = [f"{unknown} predictions do not belong to any item."] if unknown else []
    table = report(
        benchmark, items, outcomes, settings=settings, notes=[*about, *notes], scoring=scoring
    )
    return table, len(items) - len(outcomes)
