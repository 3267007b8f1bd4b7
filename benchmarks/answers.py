"""Questions and moments on synthetic videos, by policy, at equal budgets.

    python benchmarks/answers.py --work DIR      all of it; --cases 4 for a quick look

Videos of two families are made from test seeds: ``plain`` ones whose events last for seconds, and
``brief`` ones in which something happens for a moment now and then. Each question is asked with
options and openly. Every policy gets the same budget and the same questions; the blind one sees
grey frames in the place of uniform ones, and the zoomed one spends what the adaptive one spends at
once on two looks, the second where the first points.

Beside each score stands what the sampler left the model to see: the share of items of which every
event that matters is in at least one frame, and the share of right answers among these and among
the others. Intervals are 95 % bootstrap intervals over videos; a run that was stopped goes on.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import _common

import seedvideo
from seedvideo.evaluate.blind import blind
from seedvideo.evaluate.items import Item
from seedvideo.evaluate.predictor import Pipeline, settings_of
from seedvideo.evaluate.results import Outcome, Results, Settings
from seedvideo.evaluate.run import run
from seedvideo.evaluate.statistics import Estimate, share
from seedvideo.evaluate.synthetic.case import FAMILIES, TEST_SEEDS, Case, make_case, write_video
from seedvideo.model.backends import Backend
from seedvideo.sampler.policies import PolicyName

BUDGETS = (512, 2_048)
POLICY_OF: dict[str, PolicyName] = {
    "blind": "uniform",
    "uniform": "uniform",
    "seed1.5": "seed1.5",
    "adaptive": "adaptive",
    "zoom": "adaptive",
}
CONDITIONS = tuple(POLICY_OF)
RIGHT_IOU = "R@1 IoU 0.5"

Cell = tuple[str, str, int]
"""Family, condition and budget."""


def main() -> None:
    """Make the videos, ask everything under every condition, print the tables."""
    parser = argparse.ArgumentParser(description="Questions and moments at equal budgets.")
    parser.add_argument("--cases", type=int, default=20, help="videos of each family")
    parser.add_argument("--first-seed", type=int, default=TEST_SEEDS)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--work", type=Path, help="folder of videos and results; kept")
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp(prefix="seedvideo-answers-"))
    work.mkdir(parents=True, exist_ok=True)
    print(f"videos and results in {work}", file=sys.stderr)
    seeds = range(given.first_seed, given.first_seed + given.cases)
    cases = [make_case(seed, family) for family in FAMILIES for seed in seeds]
    for case in cases:
        if not (work / case.video).exists():
            write_video(case, work / case.video)
    backend = seedvideo.load(given.model)
    told: dict[Cell, dict[str, Outcome]] = {}
    seen: dict[Cell, dict[str, bool]] = {}
    for budget in BUDGETS:
        for condition in CONDITIONS:
            answered(cases, backend, condition, budget, work, told, seen)
    print(f"{_common.machine()}; model {backend.name} {backend.sha256[:12]}\n")
    for family in FAMILIES:
        print(table(family, cases, told, seen))


def answered(
    cases: Sequence[Case],
    backend: Backend,
    condition: str,
    budget: int,
    work: Path,
    told: dict[Cell, dict[str, Outcome]],
    seen: dict[Cell, dict[str, bool]],
) -> None:
    """Ask everything under one condition."""
    is_blind, zooms = condition == "blind", condition == "zoom"
    policy = POLICY_OF[condition]
    settings: Settings = settings_of(
        "synthetic",
        backend,
        policy=policy,
        budget_tokens=budget,
        thinking=False,
        zoom=zooms,
        blind=is_blind,
    )
    shown = blind(backend) if is_blind else backend
    with (
        Results(work / "results.jsonl") as results,
        Pipeline(
            shown,
            policy=policy,
            budget_tokens=budget,
            zoom=zooms,
        ) as predict,
    ):
        for family in FAMILIES:
            own = [case for case in cases if case.family == family]
            items = [item for case in own for item in both_ways(case.items)]
            print(f"{family} {condition} {budget}: {len(items)} items", file=sys.stderr)
            cell = (family, condition, budget)
            told[cell] = run(
                items,
                predict=predict,
                path_of=lambda item: work / item.video,
                results=results,
                settings=settings,
            )
            seen[cell] = {}
            for case in own:
                seen[cell] |= what_is_seen(case, backend, policy, budget, work)


def both_ways(items: Sequence[Item]) -> list[Item]:
    """Every item; those with options once more without them."""
    openly = [replace(item, id=f"{item.id}-open", options=()) for item in items if item.options]
    return [*items, *openly]


def what_is_seen(
    case: Case, backend: Backend, policy: PolicyName, budget: int, work: Path
) -> dict[str, bool]:
    """Whether each item's events are all in at least one frame of the plan."""
    plan = seedvideo.plan(
        str(work / case.video),
        policy=policy,
        budget_tokens=budget,
        model=backend,
    )
    times = [float(frame.pts) for frame in plan.frames]
    return {
        item.id: all(any(start <= time < end for time in times) for start, end in item.spans)
        for item in both_ways(case.items)
    }


def table(
    family: str,
    cases: Sequence[Case],
    told: Mapping[Cell, Mapping[str, Outcome]],
    seen: Mapping[Cell, Mapping[str, bool]],
) -> str:
    """One family's rows."""
    items = [i for case in cases if case.family == family for i in both_ways(case.items)]
    choice = [item for item in items if item.task == "ask" and item.options]
    openly = [item for item in items if item.task == "ask" and not item.options]
    moments = [item for item in items if item.task == "ground" and item.spans]
    absent = [item for item in items if item.task == "ground" and not item.spans]
    lines = [
        f"### {family}: {len({item.video for item in items})} videos, {len(choice)} questions,"
        f" {len(moments)} moments, {len(absent)} that never come",
        "",
        "| budget | policy | options | open | mIoU | R@1 (0.5) | false positives | seen |"
        " right if seen | right if not |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for budget in BUDGETS:
        for condition in CONDITIONS:
            cell = (family, condition, budget)
            outcomes, is_seen = told[cell], seen[cell]
            # What the one shows is grey; what the other shows depends on the question.
            unplanned = condition in ("blind", "zoom")
            asked = [*choice, *openly]
            lines.append(
                f"| {budget:,} | {condition} | "
                + " | ".join(
                    [
                        text(choice, outcomes, "accuracy"),
                        text(openly, outcomes, "accuracy"),
                        text(moments, outcomes, "IoU"),
                        text(moments, outcomes, RIGHT_IOU),
                        text(absent, outcomes, "false positive"),
                        "" if unplanned else share_text(choice + moments, is_seen),
                        text([i for i in asked if is_seen[i.id]], outcomes, "accuracy"),
                        text([i for i in asked if not is_seen[i.id]], outcomes, "accuracy"),
                    ]
                )
                + " |"
            )
    return "\n".join(lines) + "\n"


def text(items: Sequence[Item], outcomes: Mapping[str, Outcome], score: str) -> str:
    """Mean of one score with its interval."""
    by_video: dict[str, list[float]] = {}
    for item in items:
        by_video.setdefault(item.video, []).append(outcomes[item.id].scores[score])
    if not by_video:
        return "-"
    return estimate_text(share(list(by_video.values())))


def share_text(items: Sequence[Item], is_seen: Mapping[str, bool]) -> str:
    """Share of items whose events were all shown."""
    return f"{sum(is_seen[item.id] for item in items) / len(items):.2f}"


def estimate_text(estimate: Estimate) -> str:
    """A value with its interval."""
    return f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})"


if __name__ == "__main__":
    main()
