"""Tables, goals and charts of flashbench from measured selections: part of `flashbench.py`.

Selections are scored again each time, from the frame numbers and sizes in the results. The best
uniform level of a case and budget is chosen on dev seeds from the ground truth alone, so it is not
tuned on the videos of the comparison. Does nothing as a script.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from _common import print_machine, print_table
from _flash_cases import Case, generator_hash, is_mixture
from _flash_compare import comparison_parts, load_pairs, print_comparison
from _flash_mixtures import estimate_cell, goal_lines, print_mixtures, print_seconds, table_lines
from _flash_plot import Line, Panel, draw
from _flash_scores import BEST, METRICS, OURS, Measured, load, metrics_of

from seedvideo.evaluate.flashbench.layout import is_null
from seedvideo.evaluate.metrics.statistics import (
    Estimate,
    bootstrap_difference,
    cluster_bootstrap_mean,
    mcnemar,
)

MARKERS: Final = ("<!-- results -->", "<!-- end of results -->")
MARGIN: Final = -0.02
"""A null task is non-inferior if the lower end of the difference's interval is above this."""

COLOURS: Final = {
    OURS: "#d1242f",
    BEST: "#0969da",
    "seed1.5": "#57606a",
    "keyframes": "#9a6700",
    "SI x TI": "#1a7f37",
    "Keye 95 %": "#8250df",
    "oracle": "#24292f",
}


def policies_of(found: Measured) -> list[str]:
    """Return policies in the order of the tables: ours, best uniform, others, oracle."""
    names = list(dict.fromkeys(policy for policy, _ in found.scores))
    ends = [OURS, BEST, "oracle"]
    return [
        *(each for each in ends[:2] if found.has(each)),
        *(each for each in names if each not in ends),
        *(each for each in ends[2:] if found.has(each)),
    ]


def print_report(
    work: Path, cases: Sequence[Case], *, quick: bool, before: Path | None = None
) -> None:
    """Print one table per task, one of the mixed settings, and the gains over an earlier run.

    Args:
        work: folder of the results.
        cases: cases to report.
        quick: whether the results are of a quick run.
        before: folder of earlier results to compare with.
    """
    measured = [found for case in cases if (found := load(work, case, quick=quick)) is not None]
    tasks = [found for found in measured if not is_mixture(found.case)]
    mixtures = [found for found in measured if is_mixture(found.case)]
    for found in tasks:
        print_table(*_case_table(found))
    if mixtures:
        print_mixtures(mixtures)
    if measured:
        print_seconds(measured)
    if before is not None:
        print_comparison(load_pairs(work, before, cases, quick=quick))
    print_machine("av", "pillow")


def write_docs(
    work: Path, cases: Sequence[Case], docs: Path, *, before: Path | None = None
) -> None:
    """Write tables and goals between the markers of the page, and the charts."""
    loaded = [found for case in cases if (found := load(work, case)) is not None]
    measured = {found.case.name: found for found in loaded if not is_mixture(found.case)}
    mixtures = [found for found in loaded if is_mixture(found.case)]
    pairs = [] if before is None else load_pairs(work, before, cases, quick=False)
    sections = [
        ("Goals", [*_goals(measured), *(["\n".join(goal_lines(mixtures))] if mixtures else [])]),
        ("Mixed settings", ["\n".join(table_lines(mixtures))] if mixtures else []),
        ("Null tasks: adaptive against the best uniform level", _nulls(measured)),
        ("Before and after", comparison_parts(pairs)),
        ("Every policy, task by task", _tables(measured)),
    ]
    body = "\n\n".join("\n\n".join([f"### {title}", *parts]) for title, parts in sections if parts)
    page = docs / "concepts" / "flashbench.md"
    text = page.read_text(encoding="utf-8")
    head, tail = text.split(MARKERS[0])[0], text.split(MARKERS[1])[1]
    body += f"\n\n{_about(loaded)}"
    page.write_text(f"{head}{MARKERS[0]}\n\n{body}\n\n{MARKERS[1]}{tail}", encoding="utf-8")
    images = docs / "images"
    images.mkdir(exist_ok=True)
    (images / "flashbench-budget.svg").write_text(_budget_chart(measured), encoding="utf-8")
    if "T1 lengths" in measured:
        chart = _length_chart(measured["T1 lengths"])
        (images / "flashbench-duration.svg").write_text(chart, encoding="utf-8")


def _case_table(found: Measured) -> tuple[str, Sequence[str], list[tuple[str, ...]]]:
    budgets = found.budgets
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


def _goals(measured: Mapping[str, Measured]) -> list[str]:
    rows = []
    for name, metric, minimum in (("T1", "seen", 3), ("T1 busy", "seen", 2), ("T3", "read", 5)):
        if name not in measured or not measured[name].has(OURS):
            continue
        top = measured[name].budgets[-1]
        ours = cluster_bootstrap_mean(measured[name].outcomes(OURS, top, metric))
        base = cluster_bootstrap_mean(measured[name].outcomes(BEST, top, metric))
        ratio = ours.value / base.value if base.value else float("inf")
        verdict = "met" if ratio >= minimum else "missed"
        rows.append(
            f"| {name}, {metric} | {estimate_cell(ours)} | {estimate_cell(base)} | {ratio:.1f}x |"
            f" ≥ {minimum}x | {verdict} |"
        )
    head = "| goal | adaptive | best uniform | ratio | wanted | |\n" + "| --- " * 6 + "|"
    return ["\n".join([head, *rows])] if rows else []


def _nulls(measured: Mapping[str, Measured]) -> list[str]:
    nulls = [found for found in measured.values() if is_null(found.case.task) and found.has(OURS)]
    if not nulls:
        return []
    budgets = nulls[0].budgets
    lines = [
        "| null task | " + " | ".join(f"{budget:,}" for budget in budgets) + " | at"
        f" {budgets[-1]:,} |\n| --- |" + " --- |" * (len(budgets) + 1)
    ]
    for found in nulls:
        for metric in metrics_of(found.case):
            gaps = [_gap(found, budget, metric) for budget in budgets]
            verdict = "met" if gaps[-1].low > MARGIN else "missed"
            cells = " | ".join(f"{g.value:+.3f} ({g.low:+.3f})" for g in gaps)
            lines.append(f"| {found.case.name}, {metric} | {cells} | {verdict} |")
    return [
        "Adaptive minus the best uniform, and the lower end of its 95% interval; wanted above"
        f" {MARGIN:g}. Both compare with the level that reads most, because these tasks ask for"
        " reading and no uniform plan is best at both.\n\n" + "\n".join(lines)
    ]


def _gap(found: Measured, budget: int, metric: str) -> Estimate:
    return bootstrap_difference(
        found.outcomes(OURS, budget, metric), found.outcomes(BEST, budget, metric)
    )


def _tables(measured: Mapping[str, Measured]) -> list[str]:
    parts = []
    for found in measured.values():
        budgets = found.budgets
        top = budgets[-1]
        metrics = metrics_of(found.case)
        videos = len(next(iter(found.scores.values())))
        head = f"| policy | {' | '.join(f'{m}, at {top:,}' for m in metrics)} | "
        head += " | ".join(f"{budget:,}" for budget in budgets[:-1]) + " |"
        head += "\n|" + " --- |" * (len(metrics) + len(budgets))
        lines = [f"**{found.case.name}**, {videos} videos", "", head]
        for policy in policies_of(found):
            exact = [
                estimate_cell(cluster_bootstrap_mean(found.outcomes(policy, top, m)))
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


def _about(measured: Sequence[Measured]) -> str:
    leaks = [found.leaks for found in measured]
    read, total = (sum(column) for column in zip(*leaks, strict=True))
    by = ", ".join(sorted({name for found in measured for name in found.needs_by}))
    made_by = ", ".join(dict.fromkeys(generator_hash(found.case) for found in measured))
    about = f"Generators: {made_by}; legibility by: {by}."
    if total:
        about += (
            f" Codes read one second before they appear, at the highest level: {read} of {total}."
        )
    return about


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


def _budget_chart(measured: Mapping[str, Measured]) -> str:
    panels = []
    for name, metric in (("T1", "seen"), ("T3", "read")):
        if name not in measured:
            continue
        found = measured[name]
        budgets = found.budgets

        def points(
            policy: str,
            found: Measured = found,
            metric: str = metric,
            budgets: tuple[int, ...] = budgets,
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


def _length_chart(found: Measured) -> str:
    budget = found.budgets[-1]
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
