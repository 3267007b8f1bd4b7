"""Tables, goals and charts of flashbench from measured selections: part of `flashbench.py`.

Selections are scored again each time, from the frame numbers and sizes in the results. The best
uniform level of a case and budget is chosen on dev seeds from the ground truth alone, so it is not
tuned on the videos of the comparison. Does nothing as a script.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from _common import print_machine, print_table
from _flash_cases import Case, generator_hash
from _flash_plot import Line, Panel, draw
from _flash_rules import Clip, uniform_at

from seedvideo.evaluate.flashbench import (
    DifficultyConfig,
    Score,
    SelectedFrame,
    TaskId,
    make_script,
    score,
    seeds,
)
from seedvideo.evaluate.flashbench.layout import is_null
from seedvideo.evaluate.flashbench.scoring import tokens_needed
from seedvideo.evaluate.metrics.statistics import (
    Estimate,
    bootstrap_difference,
    cluster_bootstrap_mean,
    mcnemar,
)
from seedvideo.sampler.geometry import SEED

DEV_SEEDS_FOR_LEVEL: Final = 12
OURS: Final = "adaptive"
BEST: Final = "best uniform"
MARKERS: Final = ("<!-- results -->", "<!-- end of results -->")
MARGIN: Final = -0.02
"""A null task is non-inferior if the lower end of the difference's interval is above this."""

METRICS: Final[Mapping[str, Callable[[Score], list[bool]]]] = {
    "seen": lambda one: [unit.hit for unit in one.units],
    "read": lambda one: [unit.legible for unit in one.units],
}
COLOURS: Final = {
    OURS: "#d1242f",
    BEST: "#0969da",
    "seed1.5": "#57606a",
    "keyframes": "#9a6700",
    "SI x TI": "#1a7f37",
    "Keye 95 %": "#8250df",
    "oracle": "#24292f",
}


@dataclass(frozen=True)
class Measured:
    """Scores of one case, by policy and budget, one per video."""

    case: Case
    scores: Mapping[tuple[str, int], tuple[Score, ...]]
    needs_by: frozenset[str]
    leaks: tuple[int, int]

    def outcomes(self, policy: str, budget: int, metric: str) -> list[list[bool]]:
        """Return whether each question of each video succeeded."""
        if policy == BEST:
            policy = f"uniform {self.best_level(budget, metric)}"
        return [METRICS[metric](one) for one in self.scores[policy, budget]]

    def best_level(self, budget: int, metric: str) -> int:
        """Return the level of the best uniform plan: in null tasks the one that reads most.

        In null tasks no size is best at both: small frames cover more moments, and large frames
        can be read. These tasks ask for reading.
        """
        metric = "read" if is_null(self.case.task) else metric
        return best_level(self.case.task, self.case.difficulty, budget, metric)

    def has(self, policy: str) -> bool:
        """Return whether this policy was measured on every video of the case."""
        return policy == BEST or any(name == policy for name, _ in self.scores)


def load(work: Path, case: Case, budgets: Sequence[int]) -> Measured | None:
    """Score all measurements of a case that have the current version of the generator."""
    scores: dict[tuple[str, int], list[Score]] = {}
    needs_by, leaks, count = set(), [0, 0], 0
    for name in sorted((work / case.name.replace(" ", "-")).glob("*.json")):
        result = json.loads(name.read_text())
        if result["generator"] != generator_hash():
            continue
        item, script = make_script(
            case.task, int(name.stem), case.difficulty, attempt=result["attempt"]
        )
        needs = dict(zip(item.events, result["needs"], strict=True))
        count += 1
        needs_by.add(result["needs_by"])
        leaks = [a + b for a, b in zip(leaks, result.get("leaks", [0, 0]), strict=True)]
        for policy, by_budget in result["choices"].items():
            for budget in budgets:
                selected = [
                    SelectedFrame(script.times[frame], tokens, text)
                    for frame, tokens, text in zip(*by_budget[str(budget)], strict=True)
                ]
                scores.setdefault((policy, budget), []).append(score(item, selected, needs))
    complete = {key: tuple(found) for key, found in scores.items() if len(found) == count}
    return Measured(case, complete, frozenset(needs_by), (leaks[0], leaks[1])) if count else None


@cache
def best_level(task: TaskId, difficulty: DifficultyConfig, budget: int, metric: str) -> int:
    """Return the best level of uniform sampling on dev seeds; the lower of two equal ones."""
    tokens = {}
    for level in SEED.levels_tokens:
        size = SEED.size(
            width_px=difficulty.width_px, height_px=difficulty.height_px, level_tokens=level
        )
        tokens[level] = SEED.tokens(width_px=size[0], height_px=size[1])
    counts = dict.fromkeys(sorted(SEED.levels_tokens), 0)
    for seed in seeds("dev", DEV_SEEDS_FOR_LEVEL):
        item, script = make_script(task, seed, difficulty)
        needs = tokens_needed(item, tokens_of_level=tokens)
        times = script.times[:-1]
        clip = Clip(times, script.times[-1], difficulty.width_px, difficulty.height_px, None, seed)
        for level in counts:
            selected = uniform_at(level)(clip, budget)
            counts[level] += sum(METRICS[metric](score(item, selected, needs))) if selected else 0
    return max(counts, key=lambda level: counts[level])


def policies_of(found: Measured) -> list[str]:
    """Return policies in the order of the tables: ours, best uniform, others, oracle."""
    names = list(dict.fromkeys(policy for policy, _ in found.scores))
    ends = [OURS, BEST, "oracle"]
    return [
        *(each for each in ends[:2] if found.has(each)),
        *(each for each in names if each not in ends),
        *(each for each in ends[2:] if found.has(each)),
    ]


def print_report(work: Path, cases: Sequence[Case], budgets: Sequence[int]) -> None:
    """Print one table per case: the evidence that each policy kept at each budget."""
    for case in cases:
        found = load(work, case, budgets)
        if found is not None:
            print_table(*_case_table(found, budgets))
    print_machine("av", "pillow")


def write_docs(work: Path, cases: Sequence[Case], budgets: Sequence[int], docs: Path) -> None:
    """Write tables and goals between the markers of the page, and the charts."""
    measured = {
        case.name: found for case in cases if (found := load(work, case, budgets)) is not None
    }
    page = docs / "concepts" / "flashbench.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(MARKERS[0])[0], text.split(MARKERS[1])[1]
    body = "\n\n".join([*_goals(measured, budgets), *_tables(measured, budgets), _about(measured)])
    page.write_text(f"{before}{MARKERS[0]}\n\n{body}\n\n{MARKERS[1]}{after}", encoding="utf-8")
    images = docs / "images"
    images.mkdir(exist_ok=True)
    chart = _budget_chart(measured, budgets)
    (images / "flashbench-budget.svg").write_text(chart, encoding="utf-8")
    if "T1 lengths" in measured:
        chart = _length_chart(measured["T1 lengths"], budgets[-1])
        (images / "flashbench-duration.svg").write_text(chart, encoding="utf-8")


def metrics_of(case: Case) -> tuple[str, ...]:
    """Return the measures of a case: reading is left out where there is nothing to read."""
    return ("seen",) if case.task in ("T5", "T9") else ("seen", "read")


def _case_table(
    found: Measured, budgets: Sequence[int]
) -> tuple[str, Sequence[str], list[tuple[str, ...]]]:
    metrics = metrics_of(found.case)
    sizes = {len(videos) for videos in found.scores.values()}
    header = ("policy", *(f"{budget:,}" for budget in budgets), "longest gap")
    rows = []
    for policy in policies_of(found):
        cells = []
        for budget in budgets:
            values = [
                cluster_bootstrap_mean(found.outcomes(policy, budget, m)).value for m in metrics
            ]
            cells.append(" / ".join(f"{value:.2f}" for value in values))
        name = policy
        gap = "-"
        if policy == BEST:
            levels = [found.best_level(budgets[-1], m) for m in metrics]
            name = f"{BEST} ({' / '.join(map(str, levels))})"
        else:
            gap = f"{max(one.longest_gap_s for one in found.scores[policy, budgets[-1]]):.1f} s"
        rows.append((name, *cells, gap))
    title = f"{found.case.name}: {' / '.join(metrics)}, {max(sizes)} videos"
    return title, header, rows


def _estimate_cell(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _goals(measured: Mapping[str, Measured], budgets: Sequence[int]) -> list[str]:
    top = budgets[-1]
    rows = []
    for name, metric, minimum in (("T1", "seen", 3), ("T1 busy", "seen", 2), ("T3", "read", 5)):
        if name not in measured or not measured[name].has(OURS):
            continue
        ours = cluster_bootstrap_mean(measured[name].outcomes(OURS, top, metric))
        base = cluster_bootstrap_mean(measured[name].outcomes(BEST, top, metric))
        ratio = ours.value / base.value if base.value else float("inf")
        verdict = "met" if ratio >= minimum else "missed"
        rows.append(
            f"| {name}, {metric} | {_estimate_cell(ours)} | {_estimate_cell(base)} | {ratio:.1f}x |"
            f" ≥ {minimum}x | {verdict} |"
        )
    head = "| goal | adaptive | best uniform | ratio | wanted | |\n" + "| --- " * 6 + "|"
    parts = ["\n".join([head, *rows])] if rows else []
    nulls = [found for found in measured.values() if is_null(found.case.task) and found.has(OURS)]
    if nulls:
        lines = [
            "| null task | " + " | ".join(f"{budget:,}" for budget in budgets) + " | at"
            f" {top:,} |\n| --- |" + " --- |" * (len(budgets) + 1)
        ]
        for found in nulls:
            for metric in metrics_of(found.case):
                gaps = [_gap(found, budget, metric) for budget in budgets]
                verdict = "met" if gaps[-1].low > MARGIN else "missed"
                cells = " | ".join(f"{g.value:+.3f} ({g.low:+.3f})" for g in gaps)
                rows_name = f"{found.case.name}, {metric}"
                lines.append(f"| {rows_name} | {cells} | {verdict} |")
        parts.append(
            "Adaptive minus the best uniform, and the lower end of its 95% interval; wanted above"
            f" {MARGIN:g}. Both compare with the level that reads most, because these tasks ask for"
            " reading and no uniform plan is best at both.\n\n" + "\n".join(lines)
        )
    return parts


def _gap(found: Measured, budget: int, metric: str) -> Estimate:
    return bootstrap_difference(
        found.outcomes(OURS, budget, metric), found.outcomes(BEST, budget, metric)
    )


def _tables(measured: Mapping[str, Measured], budgets: Sequence[int]) -> list[str]:
    top = budgets[-1]
    parts = []
    for found in measured.values():
        metrics = metrics_of(found.case)
        videos = len(next(iter(found.scores.values())))
        head = f"| policy | {' | '.join(f'{m}, at {top:,}' for m in metrics)} | "
        head += " | ".join(f"{budget:,}" for budget in budgets[:-1]) + " |"
        head += "\n|" + " --- |" * (len(metrics) + len(budgets))
        lines = [f"**{found.case.name}**, {videos} videos", "", head]
        for policy in policies_of(found):
            exact = [
                _estimate_cell(cluster_bootstrap_mean(found.outcomes(policy, top, m)))
                for m in metrics
            ]
            others = [
                " / ".join(
                    f"{cluster_bootstrap_mean(found.outcomes(policy, budget, m)).value:.2f}"
                    for m in metrics
                )
                for budget in budgets[:-1]
            ]
            name = policy
            if policy == BEST:
                levels = [found.best_level(top, m) for m in metrics]
                name += f" ({' / '.join(map(str, levels))})"
            lines.append(f"| {name} | {' | '.join([*exact, *others])} |")
        if found.has(OURS) and not is_null(found.case.task):
            against = []
            for metric in metrics:
                ours = [x for v in found.outcomes(OURS, top, metric) for x in v]
                base = [x for v in found.outcomes(BEST, top, metric) for x in v]
                against.append(f"{metric}: p = {mcnemar(ours, base):.2g}")
            lines += ["", f"Adaptive against the best uniform, McNemar: {', '.join(against)}."]
        parts.append("\n".join(lines))
    return parts


def _about(measured: Mapping[str, Measured]) -> str:
    leaks = [found.leaks for found in measured.values()]
    read, total = (sum(column) for column in zip(*leaks, strict=True))
    by = ", ".join(sorted({name for found in measured.values() for name in found.needs_by}))
    return (
        f"Generator {generator_hash()}; legibility by: {by}. Codes read one second before they"
        f" appear, at the highest level: {read} of {total}."
    )


def _lines(
    found: Measured, points: Callable[[str], list[tuple[float, float, float, float]]]
) -> tuple[Line, ...]:
    return tuple(
        Line(
            policy,
            colour,
            tuple(points(policy)),
            dashed=policy == "oracle",
            shaded=policy in (OURS, BEST),
        )
        for policy, colour in COLOURS.items()
        if found.has(policy)
    )


def _budget_chart(measured: Mapping[str, Measured], budgets: Sequence[int]) -> str:
    panels = []
    for name, metric in (("T1", "seen"), ("T3", "read")):
        if name not in measured:
            continue
        found = measured[name]

        def points(
            policy: str, found: Measured = found, metric: str = metric
        ) -> list[tuple[float, float, float, float]]:
            estimates = [
                cluster_bootstrap_mean(found.outcomes(policy, budget, metric)) for budget in budgets
            ]
            return [(b, e.value, e.low, e.high) for b, e in zip(budgets, estimates, strict=True)]

        what = "0.4-s events seen" if name == "T1" else "0.4-s fine print read"
        ticks = tuple((float(budget), f"{budget // 1024}k") for budget in budgets)
        panels.append(
            Panel(f"{name}: {what}", "budget, tokens", "fraction", _lines(found, points), ticks)
        )
    return draw(panels, title="Evidence kept over the budget, 20-minute videos")


def _length_chart(found: Measured, budget: int) -> str:
    lengths = sorted({float(length) for length in found.case.difficulty.event_s})

    def points(policy: str, metric: str) -> list[tuple[float, float, float, float]]:
        by_length: list[tuple[float, float, float, float]] = []
        name = policy
        if policy == BEST:
            name = f"uniform {found.best_level(budget, metric)}"
        for length in lengths:
            videos = [
                [
                    METRICS[metric](one)[i]
                    for i, unit in enumerate(one.units)
                    if abs(unit.duration_s - length) < 0.021
                ]
                for one in found.scores[name, budget]
            ]
            estimates = cluster_bootstrap_mean([video for video in videos if video])
            by_length.append((length, estimates.value, estimates.low, estimates.high))
        return by_length

    ticks = tuple((length, f"{length:g}") for length in lengths)
    panels = [
        Panel(
            f"T1: events {metric}, {budget:,} tokens",
            "length of the event, s",
            "fraction",
            _lines(found, lambda policy, metric=metric: points(policy, metric)),
            ticks,
        )
        for metric in ("seen", "read")
    ]
    return draw(panels, title="Evidence kept over the length of an event")
