"""Results of two work folders, paired by video: part of `flashbench.py --compare`.

Only videos count that both folders have. Intervals are bootstraps over videos, so with two or three
videos they are coarse. Does nothing as a script.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from _common import print_table
from _flash_cases import Case, is_mixture
from _flash_scores import OURS, Measured, Part, load, metrics_of

from seedvideo.evaluate.flashbench.layout import is_null
from seedvideo.evaluate.metrics.statistics import Estimate, bootstrap_difference

LEAST_DIFFERENCE: Final = -0.02
"""A mean difference below this counts as a loss, unless its interval contains 0."""

Pair = tuple[Measured, Measured]
"""A case before and after."""


def load_pairs(work: Path, before: Path, cases: Sequence[Case], *, quick: bool) -> list[Pair]:
    """Load the cases that both folders have with our policy, each with the same videos."""
    pairs = []
    for case in cases:
        earlier = load(before, case, quick=quick)
        if earlier is None or (later := load(work, case, quick=quick)) is None:
            continue
        common = {*earlier.seeds} & {*later.seeds}
        earlier = load(before, case, quick=quick, only=common)
        later = load(work, case, quick=quick, only=common)
        if earlier and later and earlier.has(OURS) and later.has(OURS):
            pairs.append((earlier, later))
    return pairs


def print_comparison(pairs: Sequence[Pair]) -> None:
    """Print our policy before and after, per case and budget."""
    for title, header, rows in _tables(pairs):
        print_table(f"{title}: before > after (95 % interval of the difference)", header, rows)


def comparison_parts(pairs: Sequence[Pair]) -> list[str]:
    """Return the comparison as Markdown: a table per family, and what it says of losses."""
    parts = []
    for title, header, rows in _tables(pairs):
        lines = [f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        parts.append(f"**{title}**\n\n" + "\n".join(lines))
    guarded = [pair for pair in pairs if _is_guarded(pair[1].case)]
    if guarded:
        parts.append(_about_losses(guarded))
    return parts


def is_loss(difference: Estimate) -> bool:
    """Return whether a difference is a loss: clearly below 0, and by more than the margin."""
    return difference.value < LEAST_DIFFERENCE and difference.high < 0


def _is_guarded(case: Case) -> bool:
    """Return whether a case must not get worse: nothing stands out, or all is a crowd."""
    return is_null(case.task) or case.name in ("T1 crowd", "crowd")


def _tables(
    pairs: Sequence[Pair],
) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    families: list[tuple[str, Callable[[Case], bool]]] = [
        ("Tasks", lambda case: not is_mixture(case)),
        ("Mixed settings", is_mixture),
    ]
    tables = []
    for title, belongs in families:
        among = [pair for pair in pairs if belongs(pair[1].case)]
        if not among:
            continue
        header = ("case", "videos", *(f"{b:,}" for b in among[0][1].budgets), "seconds")
        rows = []
        for earlier, later in among:
            spent = " > ".join(_seconds(found) for found in (earlier, later))
            for name, part, metric in _rows(later):
                cells = [_cell(earlier, later, budget, metric, part) for budget in later.budgets]
                rows.append((name, str(len(later.seeds)), *cells, spent))
                spent = ""
        tables.append((title, header, rows))
    return tables


def _rows(found: Measured) -> list[tuple[str, Part, str]]:
    """Return name, part and metric of each row of a case."""
    return [
        (
            f"{found.case.name}{'' if part == 'all' else f' in the {part}'}, {metric}",
            part,
            metric,
        )
        for part in found.parts()
        for metric in metrics_of(found.case)
    ]


def difference(
    earlier: Measured, later: Measured, budget: int, metric: str, part: Part = "all"
) -> Estimate:
    """Return what our policy gained, paired by video."""
    return bootstrap_difference(
        later.outcomes(OURS, budget, metric, part), earlier.outcomes(OURS, budget, metric, part)
    )


def _cell(earlier: Measured, later: Measured, budget: int, metric: str, part: Part) -> str:
    old, new = (_mean(found.outcomes(OURS, budget, metric, part)) for found in (earlier, later))
    gained = difference(earlier, later, budget, metric, part)
    return f"{old:.2f} > {new:.2f} ({gained.low:+.2f} to {gained.high:+.2f})"


def _mean(outcomes: Sequence[Sequence[bool]]) -> float:
    flat = [right for video in outcomes for right in video]
    return sum(flat) / len(flat)


def _seconds(found: Measured) -> str:
    mean = found.mean_seconds(OURS)
    return "-" if mean is None else f"{mean:.1f}"


def _about_losses(guarded: Sequence[Pair]) -> str:
    """Return which cells of the guarded cases are losses, and how wide their intervals are."""
    losses, widths = [], []
    for earlier, later in guarded:
        for name, part, metric in _rows(later):
            for budget in later.budgets:
                gained = difference(earlier, later, budget, metric, part)
                widths.append(gained.high - gained.low)
                if is_loss(gained):
                    losses.append(f"{name} at {budget:,} ({gained.value:+.2f})")
    found = "; ".join(losses) if losses else "none"
    return (
        f"Losses where nothing stands out or all is a crowd, {len(widths)} cells: {found}. A loss"
        f" is a mean difference below {LEAST_DIFFERENCE:g} whose interval lies below 0. The"
        f" intervals are {sum(widths) / len(widths):.2f} wide on average, {max(widths):.2f} at"
        " most."
    )
