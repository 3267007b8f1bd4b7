"""Scores of measured selections, and the best uniform level: part of `flashbench.py`.

Selections are scored again each time, from the frame numbers and sizes in the results. The best
uniform level of a case and budget is chosen on dev seeds from the ground truth alone, so it is not
tuned on the videos of the comparison. Does nothing as a script.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, Literal

from _flash_cases import Case, case_budgets, draw_item, generator_hash, is_mixture, needs_by_rule
from _flash_rules import Clip, uniform_at

from seedvideo.evaluate.flashbench import BenchmarkItem, Event, Score, SelectedFrame, score, seeds
from seedvideo.evaluate.flashbench.layout import is_null
from seedvideo.sampler.geometry import SEED

DEV_SEEDS_FOR_LEVEL: Final = 12
OURS: Final = "adaptive"
BEST: Final = "best uniform"

METRICS: Final[Mapping[str, Callable[[Score], list[bool]]]] = {
    "seen": lambda one: [unit.hit for unit in one.units],
    "read": lambda one: [unit.legible for unit in one.units],
}

Part = Literal["all", "calm", "crowd"]
"""Which events count: all, those outside a crowd, or those in one."""


@dataclass(frozen=True)
class Measured:
    """Scores of one case, by policy and budget, one per video.

    Args:
        case: the case.
        budgets: its budgets, in tokens.
        seeds: seeds of the videos, in order.
        scores: scores by policy and budget; only policies that were measured on every video.
        in_crowd: for each video, whether each of its questions is about an event in a crowd.
        seconds: for each video, seconds by name.
        needs_by: rules of legibility.
        leaks: codes that were read before they appeared, and number of codes.
    """

    case: Case
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    scores: Mapping[tuple[str, int], tuple[Score, ...]]
    in_crowd: tuple[tuple[bool, ...], ...]
    seconds: tuple[Mapping[str, float], ...]
    needs_by: frozenset[str]
    leaks: tuple[int, int]

    def outcomes(
        self, policy: str, budget: int, metric: str, part: Part = "all"
    ) -> list[list[bool]]:
        """Return whether each question of each video succeeded."""
        if policy == BEST:
            policy = f"uniform {self.best_level(budget, metric)}"
        outcomes = [METRICS[metric](one) for one in self.scores[policy, budget]]
        if part == "all":
            return outcomes
        return [
            [right for right, crowd in zip(video, among, strict=True) if crowd == (part == "crowd")]
            for video, among in zip(outcomes, self.in_crowd, strict=True)
        ]

    def parts(self) -> tuple[Part, ...]:
        """Return the parts to report: calm and crowd apart if every video has events in both."""
        both = all(any(among) and not all(among) for among in self.in_crowd)
        return ("calm", "crowd") if both else ("all",)

    def best_level(self, budget: int, metric: str) -> int:
        """Return the level of the best uniform plan: in null tasks the one that reads most.

        In null tasks no size is best at both: small frames cover more moments, and large frames
        can be read. These tasks ask for reading.
        """
        metric = "read" if is_null(self.case.task) else metric
        return best_level(self.case, budget, metric)

    def has(self, policy: str) -> bool:
        """Return whether this policy was measured on every video of the case."""
        return policy == BEST or any(name == policy for name, _ in self.scores)

    def mean_seconds(self, name: str) -> float | None:
        """Return mean seconds over the videos, or None if a video lacks them."""
        found = [each[name] for each in self.seconds if name in each]
        return sum(found) / len(found) if len(found) == len(self.seconds) else None


def load(
    work: Path, case: Case, *, quick: bool = False, only: Collection[int] | None = None
) -> Measured | None:
    """Score all measurements of a case that have the current version of the generator.

    Args:
        work: folder of the results.
        case: the case.
        quick: whether it is a case of a quick run.
        only: seeds to load; None for all.
    """
    budgets = case_budgets(case, quick=quick)
    scores: dict[tuple[str, int], list[Score]] = {}
    found_seeds, in_crowd, seconds = [], [], []
    needs_by, leaks = set(), [0, 0]
    for name in sorted((work / case.name.replace(" ", "-")).glob("*.json")):
        seed = int(name.stem)
        result = json.loads(name.read_text())
        if result["generator"] != generator_hash(case) or (only is not None and seed not in only):
            continue
        item, script = draw_item(case, seed, result["attempt"])
        needs = dict(zip(item.events, result["needs"], strict=True))
        found_seeds.append(seed)
        in_crowd.append(_in_crowd(item) if is_mixture(case) else ())
        seconds.append(result.get("seconds", {}))
        needs_by.add(result["needs_by"])
        leaks = [a + b for a, b in zip(leaks, result.get("leaks", [0, 0]), strict=True)]
        for policy, by_budget in result["choices"].items():
            for budget in budgets:
                selected = [
                    SelectedFrame(script.times[frame], tokens, text)
                    for frame, tokens, text in zip(*by_budget[str(budget)], strict=True)
                ]
                scores.setdefault((policy, budget), []).append(score(item, selected, needs))
    count = len(found_seeds)
    if not count:
        return None
    return Measured(
        case,
        budgets,
        tuple(found_seeds),
        {key: tuple(found) for key, found in scores.items() if len(found) == count},
        tuple(in_crowd),
        tuple(seconds),
        frozenset(needs_by),
        (leaks[0], leaks[1]),
    )


def _in_crowd(item: BenchmarkItem) -> tuple[bool, ...]:
    return tuple(
        any(start <= event.start < end for start, end in item.busy) for event in item.events
    )


def metrics_of(case: Case) -> tuple[str, ...]:
    """Return the measures of a case: reading is left out where there is nothing to read."""
    return ("seen",) if case.task in ("T5", "T9") else ("seen", "read")


@cache
def best_level(case: Case, budget: int, metric: str) -> int:
    """Return the best level of uniform sampling on dev seeds; the lower of two equal ones."""
    counts = dict.fromkeys(sorted(SEED.levels_tokens), 0)
    for item, clip, needs in _dev_items(case):
        for level in counts:
            selected = uniform_at(level)(clip, budget)
            counts[level] += sum(METRICS[metric](score(item, selected, needs))) if selected else 0
    return max(counts, key=lambda level: counts[level])


@lru_cache(maxsize=2)
def _dev_items(
    case: Case,
) -> tuple[tuple[BenchmarkItem, Clip, Mapping[Event, int | None]], ...]:
    """Return ground truth, times and needs of the items on which the best level is chosen."""
    found = []
    for seed in seeds("dev", DEV_SEEDS_FOR_LEVEL):
        item, script = draw_item(case, seed, 0)
        size = case.difficulty.width_px, case.difficulty.height_px
        clip = Clip(script.times[:-1], script.times[-1], *size, None, seed)
        found.append((item, clip, needs_by_rule(case, item)[0]))
    return tuple(found)
