"""``seedvideo eval``: one model over one benchmark, with a table at the end."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from seedvideo.cli.console import COULD_NOT_START, SOME_FAILED, Talk, write_out
from seedvideo.cli.options import Budget, Policy, PolicyOption, Quiet, Verbose
from seedvideo.config import SamplingConfig, resolve_sampling
from seedvideo.utils.files import make_folder, refuse_unwritable, write_file
from seedvideo.utils.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seedvideo.evaluate.registry import Benchmark
    from seedvideo.evaluate.results import Outcome, Results
    from seedvideo.evaluate.types import Item
    from seedvideo.model.backends.base import Backend

BenchName = Literal[
    "charades-sta", "video-mme", "activitynet-captions", "synthetic", "flashbench", "list"
]

RESULTS: Final = "results.jsonl"
TABLE: Final = "table.md"
MAX_REPORTED_FAILURES: Final = 10
"""Failures that get a line on stderr; the others stand in the results file."""


def evaluate(
    context: typer.Context,
    bench: Annotated[
        BenchName, typer.Argument(metavar="BENCH", help="Name of a benchmark; list shows them.")
    ],
    videos: Annotated[
        str | None,
        typer.Option(
            "--videos", metavar="DIR", help="Folder with its videos; synthetic keeps its own there."
        ),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            "--annotations",
            metavar="FILE",
            help="Its annotations as published; some have a second file: give the option again.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Name of a model, or a folder that holds one. Default: nano."
        ),
    ] = None,
    budget_tokens: Budget = None,
    policy: PolicyOption = "adaptive",
    blind: Annotated[
        bool,
        typer.Option("--blind", help="Show grey frames: what do the words alone give away?"),
    ] = False,
    think: Annotated[
        bool, typer.Option("--think", help="Let the model think before it answers.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Only the first N items, or cases."),
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option(
            "--predictions",
            metavar="FILE",
            help="Score these, one JSON object a line, and run no model.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder for results.jsonl and table.md. Default: eval-BENCH.",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a model on a benchmark: on files that you have, or from nothing.

    Each item's result is in results.jsonl as soon as it is known; run the same command again to go
    on where it stopped, or to try again what failed. Items without an answer count as wrong. Exit
    code: 0 all answered, 1 some not, 2 wrong usage, 3 could not start.
    """
    talk = Talk(quiet=quiet, verbose=verbose)
    if bench == "list":
        show_list()
        return
    refuse_unused(context, bench, scores_only=predictions is not None)
    folder = Path(output or f"eval-{bench}")
    if predictions is None or output is not None:
        with talk.guarded(COULD_NOT_START):
            refuse_unwritable(folder, is_folder=True)
    if bench == "flashbench":
        flashbench(talk, folder, policy=policy, budget_tokens=budget_tokens, limit=limit)
        return
    with talk.guarded(COULD_NOT_START):
        if bench == "synthetic":
            asked = open_synthetic(videos, annotations, folder)
        else:
            scores_only = predictions is not None
            asked = open_bench(bench, videos, annotations or [], scores_only=scores_only)
        items = asked.items[:limit]
        if predictions is not None:
            table, missing = score_file(Path(predictions), asked, items)
    if predictions is not None:
        if output is not None:
            with talk.guarded(SOME_FAILED):
                make_folder(folder)
                write_file(folder / TABLE, table.encode(), overwrite=True)
    else:
        with talk.guarded(COULD_NOT_START):
            results = open_results(talk, folder / RESULTS)
        with results:
            backend = talk.loaded(model or "nano")
            with talk.guarded(SOME_FAILED):
                table, missing = measure(
                    talk,
                    asked,
                    items,
                    results,
                    backend,
                    sampling=resolve_sampling(
                        policy=policy,
                        budget_tokens=budget_tokens or backend.geometry.default_budget_tokens,
                    ),
                    thinking=think,
                    blind=blind,
                )
                write_file(folder / TABLE, table.encode(), overwrite=True)
    talk.clear()
    write_out(table)
    if missing:
        talk.note(f"{missing} of {len(items)} items have no answer and count as wrong")
        raise typer.Exit(SOME_FAILED)


def refuse_unused(context: typer.Context, bench: str, *, scores_only: bool) -> None:
    """Refuse options that were written and would change nothing.

    Args:
        context: of the command.
        bench: name of the benchmark.
        scores_only: whether predictions are scored that were made elsewhere.

    Raises:
        typer.BadParameter: naming them, and why.
    """
    from seedvideo.evaluate.datasets import ADAPTERS

    if bench == "flashbench":
        why = "flashbench scores plans, without a model"
        unused = ["videos", "annotations", "model", "blind", "think", "predictions"]
    elif scores_only:
        why, unused = (
            "--predictions runs no model",
            ["model", "budget_tokens", "policy", "blind", "think"],
        )
    elif bench in ADAPTERS and ADAPTERS[bench].task == "dense":
        why, unused = f"{bench} asks for captions, for which no model thinks", ["think"]
    else:
        return
    written = [
        f"--{name.removesuffix('_tokens')}"
        for name in unused
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if written:
        raise typer.BadParameter(f"{why}, so no {', '.join(written)}")


def show_list() -> None:
    """Every benchmark, a line each."""
    from seedvideo.evaluate.registry import describe_benchmarks

    for name, about in describe_benchmarks():
        write_out(f"{name:22}{about}\n")


def flashbench(
    talk: Talk, folder: Path, *, policy: Policy, budget_tokens: int | None, limit: int | None
) -> None:
    """Score plans of made videos; see `seedvideo.evaluate.flashbench.quick`."""
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
        talk.status(f"[{number + 1}/{len(chosen)}] {name}")

    with talk.guarded(COULD_NOT_START):
        check_budget(chosen, budget_tokens)
        results = open_results(talk, folder / RESULTS)
    with results, talk.guarded(SOME_FAILED):
        found = run_quick(
            chosen, policy=policy, budget_tokens=budget_tokens, results=results, progress=progress
        )
        table = render_table(found, budget_tokens=budget_tokens)
        write_file(folder / TABLE, table.encode(), overwrite=True)
    talk.clear()
    write_out(table)


def open_bench(
    name: str, videos: str | None, annotations: list[str], *, scores_only: bool
) -> "Benchmark":
    """The benchmark that was named, its files read.

    Raises:
        typer.BadParameter: if it needs files that are not named.
        InputError: if a file is missing or is not in the published form.
    """
    from seedvideo.evaluate.registry import load_published
    from seedvideo.evaluate.runner import find_videos_folder

    if not annotations:
        raise typer.BadParameter(f"{name} needs its --annotations FILE")
    if videos is None and not scores_only:
        raise typer.BadParameter(f"{name} needs the folder of its videos: --videos DIR")
    folder = Path() if videos is None else find_videos_folder(videos)
    return load_published(name, [Path(word) for word in annotations], folder)


def open_synthetic(videos: str | None, annotations: list[str] | None, output: Path) -> "Benchmark":
    """The synthetic benchmark, its videos in the folder that is named or below the output."""
    from seedvideo.evaluate.registry import load_synthetic

    if annotations:
        raise typer.BadParameter("synthetic makes its own questions, so no --annotations")
    return load_synthetic(output / "videos" if videos is None else Path(videos))


def open_results(talk: Talk, path: Path) -> "Results":
    """The results file; says if its last line was torn."""
    from seedvideo.evaluate.results import Results

    results = Results(path)
    if results.dropped_bytes:
        talk.note(
            f"the last line of {printable(str(path))} was torn and is dropped:"
            f" {results.dropped_bytes} bytes"
        )
    return results


def measure(
    talk: Talk,
    asked: "Benchmark",
    items: "Sequence[Item]",
    results: "Results",
    backend: "Backend",
    *,
    sampling: SamplingConfig,
    thinking: bool,
    blind: bool,
) -> tuple[str, int]:
    """Answer what has no answer yet.

    Returns:
        The table, and how many items have no answer.
    """
    from seedvideo.evaluate.reporting import report
    from seedvideo.evaluate.runner import ModelPredictor, make_blind, make_settings, run

    settings = make_settings(
        asked.name,
        backend,
        sampling=sampling,
        thinking=thinking,
        blind=blind,
        generator=asked.generator,
    )
    failures = 0

    def progress(item: "Item", outcome: "Outcome", number: int) -> None:
        nonlocal failures
        talk.status(f"[{number}/{len(items)}] {item.id}")
        if outcome.error is not None:
            failures += 1
            if failures <= MAX_REPORTED_FAILURES:
                talk.note(f"{item.id}: {outcome.message} [{outcome.error}]")
            elif failures == MAX_REPORTED_FAILURES + 1:
                talk.note(f"further failures stand in {printable(str(results.path))} only")

    seen = make_blind(backend) if blind else backend
    with ModelPredictor(seen, sampling=sampling, thinking=thinking) as predict:
        outcomes = run(
            items,
            predict=predict,
            resolve_path=asked.resolve_path,
            results=results,
            settings=settings,
            progress=progress,
        )
    table = report(asked, items, outcomes, settings=settings, results=results)
    return table, sum(outcome.prediction is None for outcome in outcomes.values())


def score_file(path: Path, asked: "Benchmark", items: "Sequence[Item]") -> tuple[str, int]:
    """Score predictions that were made elsewhere.

    Returns:
        The table, and how many items have no prediction.
    """
    from seedvideo.evaluate.annotations import read_json_lines
    from seedvideo.evaluate.reporting import report
    from seedvideo.evaluate.results import Outcome, Settings, predictions_error, read_predictions

    tasks = {item.id: item.task for item in asked.items}
    given = read_predictions(path, read_json_lines(path, make_error=predictions_error), tasks=tasks)
    outcomes = {
        item.id: Outcome(id=item.id, digest=item.digest, prediction=given[item.id])
        for item in items
        if item.id in given
    }
    settings = Settings(asked.name, {"predictions": path.name})
    unknown = len(given.keys() - {item.id for item in asked.items})
    notes = [f"{unknown} predictions are of no item."] if unknown else []
    table = report(asked, items, outcomes, settings=settings, notes=notes)
    return table, len(items) - len(outcomes)
