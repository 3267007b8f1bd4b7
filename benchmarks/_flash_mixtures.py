"""Tables and goals of the mixed settings: part of `flashbench.py`. Does nothing as a script."""

from collections.abc import Mapping, Sequence
from typing import Final

from _common import print_table
from _flash_scores import BEST, OURS, Measured, Part

from seedvideo.evaluate.metrics.statistics import Estimate, cluster_bootstrap_mean

GOAL_BUDGET: Final = 10_240
GOALS: Final[Mapping[str, float]] = {
    "calm": 1.0,
    "calm 0.2 s": 0.9,
    "calm 2 s": 0.9,
    "alternating 5": 0.95,
    "alternating 10": 0.95,
    "alternating 30": 0.95,
    "alternating random": 0.95,
    "alternating 10 0.2 s": 0.9,
    "alternating 10 2 s": 0.9,
    "half busy 600": 0.85,
    "corner": 0.95,
    "pan": 0.95,
    "zoom": 0.95,
    "flicker": 0.95,
    "grain": 0.9,
    "cuts 3": 0.95,
}
"""Wanted fraction of events that are hit and legible; in the calm where a crowd is apart."""


def print_mixtures(measured: Sequence[Measured]) -> None:
    """Print one table of all mixed settings: hit and legible of adaptive and of uniform plans."""
    header = ("hit / legible", "draws", *(f"{budget:,}" for budget in measured[0].budgets))
    rows = []
    for found in measured:
        for part in found.parts():
            for policy in (OURS, BEST):
                if found.has(policy):
                    cells = [_pair(found, policy, budget, part) for budget in found.budgets]
                    name = f"{_row_name(found, part)}, {policy}"
                    rows.append((name, str(len(found.seeds)), *cells))
    print_table("Mixed settings", header, rows)


def print_seconds(measured: Sequence[Measured]) -> None:
    """Print the seconds of opening, analysing and planning a video, by case."""
    rows = [
        (found.case.name, _seconds(found, OURS), _seconds(found, f"{OURS} cpu"))
        for found in measured
        if found.has(OURS)
    ]
    header = ("seconds per video, mean", "first plan", "processor, all budgets")
    print_table("Opening, analysis and plans of adaptive", header, rows)


def goal_lines(measured: Sequence[Measured]) -> list[str]:
    """Return the goals of the mixed settings as a Markdown table."""
    lines = [
        f"| hit and legible, {GOAL_BUDGET:,} tokens | adaptive | best uniform | wanted | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for found in measured:
        if found.case.name not in GOALS or not found.has(OURS):
            continue
        part = found.parts()[0]
        ours, base = (
            cluster_bootstrap_mean(found.outcomes(policy, GOAL_BUDGET, "read", part))
            for policy in (OURS, BEST)
        )
        wanted = GOALS[found.case.name]
        verdict = "met" if ours.value >= wanted else "missed"
        name = _row_name(found, part)
        lines.append(
            f"| {name} | {estimate_cell(ours)} | {estimate_cell(base)} | {wanted:.2f} | {verdict} |"
        )
    return lines


def table_lines(measured: Sequence[Measured]) -> list[str]:
    """Return all mixed settings as a Markdown table: hit / legible at every budget."""
    lines = [
        "Seconds are those of opening, analysing and planning a video, on a shared machine.",
        "",
        "| hit / legible | draws | policy | "
        + " | ".join(f"{budget:,}" for budget in measured[0].budgets)
        + " | seconds |",
        "|" + " --- |" * (len(measured[0].budgets) + 4),
    ]
    for found in measured:
        for part in found.parts():
            for policy in (OURS, BEST):
                if found.has(policy):
                    cells = [_pair(found, policy, budget, part) for budget in found.budgets]
                    name = _row_name(found, part) if policy == OURS else ""
                    spent = _seconds(found, OURS) if policy == OURS else ""
                    row = [name, str(len(found.seeds)), policy, *cells, spent]
                    lines.append(f"| {' | '.join(row)} |")
    return lines


def estimate_cell(estimate: Estimate) -> str:
    """Return a value with its interval."""
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _row_name(found: Measured, part: Part) -> str:
    return found.case.name if part == "all" else f"{found.case.name}, in the {part}"


def _pair(found: Measured, policy: str, budget: int, part: Part) -> str:
    values = [
        cluster_bootstrap_mean(found.outcomes(policy, budget, metric, part)).value
        for metric in ("seen", "read")
    ]
    return " / ".join(f"{value:.2f}" for value in values)


def _seconds(found: Measured, name: str) -> str:
    mean = found.mean_seconds(name)
    return "-" if mean is None else f"{mean:.1f}"
