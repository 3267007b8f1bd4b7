"""Questions and moments on synthetic videos, by policy, at equal budgets.

    python benchmarks/answers.py --work DIR      complete run; --cases 4 for a quick one

Videos of two families are generated from test seeds: ``plain`` ones with events of several seconds,
and ``brief`` ones with occasional events of less than a second. Each question is asked with options
and as an open question. Every policy gets the same budget and the same questions; the blind
baseline gets uniform frames in grey.

Next to each score is the evidence that the sampler kept: the fraction of items whose every relevant
event is in at least one frame, and the fraction of right answers among these and the other items.
Intervals are 95% bootstrap intervals over videos; the differences of adaptive and uniform plans are
paired by question. A stopped run can be resumed.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import _common

import seedvideo
from seedvideo.config import PolicyName, SamplingConfig
from seedvideo.evaluate.metrics.statistics import (
    Estimate,
    bootstrap_difference,
    cluster_bootstrap_mean,
)
from seedvideo.evaluate.registry import SyntheticBenchmark
from seedvideo.evaluate.results import Outcome, Results
from seedvideo.evaluate.runner import ModelPredictor, make_blind, make_settings, run
from seedvideo.evaluate.scoring import SEEN
from seedvideo.evaluate.synthetic.dataset import FAMILIES, TEST_SEEDS
from seedvideo.evaluate.types import Item
from seedvideo.model.backends.base import Backend

BUDGETS = (512, 2_048)
POLICY_OF: dict[str, PolicyName] = {
    "blind": "uniform",
    "uniform": "uniform",
    "seed1.5": "seed1.5",
    "adaptive": "adaptive",
}
RIGHT_IOU = "R@1 IoU 0.5"

Outcomes = Mapping[str, Outcome]
"""Outcomes by item id."""


def main() -> None:
    """Generate the videos, ask all questions under every condition, and print the tables."""
    parser = argparse.ArgumentParser(description="Questions and moments at equal budgets.")
    parser.add_argument("--cases", type=int, default=20, help="videos of each family")
    parser.add_argument("--first-seed", type=int, default=TEST_SEEDS)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--work", type=Path, help="folder of videos and results, for later runs")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="seedvideo-answers-"))
    print(f"videos and results in {work}", file=sys.stderr)
    bench = SyntheticBenchmark(work, seeds=range(args.first_seed, args.first_seed + args.cases))
    backend = seedvideo.load(args.model)
    by_condition = {
        (condition, budget): answer_all(bench, backend, condition, budget, work)
        for budget in BUDGETS
        for condition in POLICY_OF
    }
    print(f"{_common.machine()}; model {backend.name} {backend.sha256[:12]}\n")
    for family in FAMILIES:
        own = [item for item in bench.items if item.group["family"] == family]
        print(table(family, with_open_questions(own), by_condition))
        print(difference_table(with_open_questions(own), by_condition))


def answer_all(
    bench: SyntheticBenchmark, backend: Backend, condition: str, budget: int, work: Path
) -> Outcomes:
    """Ask all questions under one condition."""
    is_blind, policy = condition == "blind", POLICY_OF[condition]
    sampling = SamplingConfig(policy=policy, budget_tokens=budget)
    settings = make_settings(
        "synthetic",
        backend,
        sampling=sampling,
        thinking=False,
        blind=is_blind,
        generator=bench.generator,
    )
    items = with_open_questions(bench.items)
    print(f"{condition} {budget}: {len(items)} items", file=sys.stderr)
    predictor_backend = make_blind(backend) if is_blind else backend
    with (
        Results(work / "results.jsonl") as results,
        ModelPredictor(predictor_backend, sampling=sampling) as predict,
    ):
        outcomes = run(
            items,
            predict=predict,
            resolve_path=bench.resolve_path,
            results=results,
            settings=settings,
        )
    failed = [outcome for outcome in outcomes.values() if outcome.error is not None]
    for outcome in failed:
        print(f"failed, counted as wrong: {outcome.id}: {outcome.message}", file=sys.stderr)
    return outcomes


def with_open_questions(items: Sequence[Item]) -> list[Item]:
    """Add a copy without options for every item with options."""
    openly = [replace(item, id=f"{item.id}-open", options=()) for item in items if item.options]
    return [*items, *openly]


def table(
    family: str, items: Sequence[Item], by_condition: Mapping[tuple[str, int], Outcomes]
) -> str:
    """Render the rows of one family.

    Args:
        family: family of the items.
        items: questions and moments.
        by_condition: outcomes by condition and budget.
    """
    choice = [item for item in items if item.task == "ask" and item.options]
    openly = [item for item in items if item.task == "ask" and not item.options]
    moments = [item for item in items if item.task == "ground" and item.spans]
    absent = [item for item in items if item.task == "ground" and not item.spans]
    lines = [
        f"### {family}: {len({item.video for item in items})} videos, {len(choice)} questions,"
        f" {len(moments)} moments, {len(absent)} absent moments",
        "",
        "| budget | policy | options | open | mIoU | R@1 (0.5) | false positives | seen |"
        " right if seen | right if not |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (condition, budget), outcomes in by_condition.items():
        asked = [*choice, *openly]
        seen = [item for item in asked if is_seen(outcomes[item.id])]
        unseen = [item for item in asked if not is_seen(outcomes[item.id])]
        cells = [
            text(choice, outcomes, "accuracy"),
            text(openly, outcomes, "accuracy"),
            text(moments, outcomes, "IoU"),
            text(moments, outcomes, RIGHT_IOU),
            text(absent, outcomes, "false positive"),
        ]
        if condition == "blind":  # Its frames are grey.
            cells += ["", "", ""]
        else:
            both = [*choice, *moments]
            fraction_seen = sum(is_seen(outcomes[item.id]) for item in both) / len(both)
            cells.append(f"{fraction_seen:.2f}")
            cells += [text(seen, outcomes, "accuracy"), text(unseen, outcomes, "accuracy")]
        lines.append(f"| {budget:,} | {condition} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def difference_table(
    items: Sequence[Item], by_condition: Mapping[tuple[str, int], Outcomes]
) -> str:
    """Render what adaptive gains over uniform sampling, paired by question."""
    choice = [item for item in items if item.task == "ask" and item.options]
    openly = [item for item in items if item.task == "ask" and not item.options]
    moments = [item for item in items if item.task == "ground" and item.spans]
    lines = [
        "| budget | adaptive minus uniform: options | open | mIoU | R@1 (0.5) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for budget in BUDGETS:
        ours, theirs = by_condition["adaptive", budget], by_condition["uniform", budget]
        cells = [
            difference_text(asked, ours, theirs, score)
            for asked, score in (
                (choice, "accuracy"),
                (openly, "accuracy"),
                (moments, "IoU"),
                (moments, RIGHT_IOU),
            )
        ]
        lines.append(f"| {budget:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def difference_text(items: Sequence[Item], ours: Outcomes, theirs: Outcomes, score: str) -> str:
    """Format the difference of the means of one score with its interval."""
    sides = [by_video(items, outcomes, score) for outcomes in (ours, theirs)]
    if not sides[0]:
        return "-"
    found = bootstrap_difference(*(list(side.values()) for side in sides))
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def is_seen(outcome: Outcome) -> bool:
    """Return whether each relevant event was in a frame; False if nothing was selected."""
    return outcome.scores.get(SEEN) == 1


def text(items: Sequence[Item], outcomes: Outcomes, score: str) -> str:
    """Format the mean of one score with its interval."""
    scores_by_video = by_video(items, outcomes, score)
    if not scores_by_video:
        return "-"
    return estimate_text(cluster_bootstrap_mean(list(scores_by_video.values())))


def by_video(items: Sequence[Item], outcomes: Outcomes, score: str) -> dict[str, list[float]]:
    """Return the values of one score by video."""
    values: dict[str, list[float]] = {}
    for item in items:
        values.setdefault(item.video, []).append(outcomes[item.id].scores[score])
    return values


def estimate_text(estimate: Estimate) -> str:
    """Format a value with its interval."""
    return f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})"


if __name__ == "__main__":
    main()
