"""Markdown report of a run: measures with intervals, groups, failures, and a comparison of runs.

Numbers are printed times 100, as in papers. Other runs of the same benchmark come from the same
results file.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from seedvideo.evaluate.metrics.statistics import Estimate
from seedvideo.evaluate.metrics.temporal import Span
from seedvideo.evaluate.registry import Benchmark
from seedvideo.evaluate.results import Outcome, Results, Settings
from seedvideo.evaluate.scoring import (
    ANNOTATORS_MEAN,
    SHIPPED_SCORING,
    UNPARSED,
    Comparison,
    Group,
    MeasureEstimate,
    Scoring,
    Summary,
    TaskSummary,
    compare,
    summarise,
)
from seedvideo.evaluate.types import Item
from seedvideo.utils.text import one_line

_REDUNDANT_WITH: Final = {
    "accuracy, options": "accuracy",
    "accuracy, open": "accuracy",
    "mIoU, spans matched": "mIoU",
    f"SODA_d{ANNOTATORS_MEAN}": "SODA_d",
    f"SODA_c ROUGE-L{ANNOTATORS_MEAN}": "SODA_c ROUGE-L",
}
"""Measures that are printed only if they differ from another one."""


def render(
    summary: Summary,
    *,
    settings: Settings,
    headline: Sequence[str] = (),
    runs: Sequence[tuple[Settings, Summary]] = (),
    others: Sequence[tuple[Settings, Sequence[Comparison], int]] = (),
    notes: Sequence[str] = (),
) -> str:
    """Render the report of one run.

    Args:
        summary: measures and counts.
        settings: settings of the run.
        headline: names of the measures that are printed bold.
        runs: every run of all these items, this one included; one row each.
        others: settings of each other run, its comparisons with this one, and their item count.
        notes: lines above the tables.
    """
    lines = [f"# {settings.describe()}", "", *(f"{note}  " for note in notes), _counts(summary), ""]
    for task in summary.tasks:
        lines += _task_section(task, headline)
    if runs:
        lines += _runs_section(runs, headline)
    for other, comparisons, items in others:
        lines += _comparison_section(other, comparisons, items)
    return "\n".join(lines).rstrip() + "\n"


def _counts(summary: Summary) -> str:
    counts = summary.counts
    words = [f"{counts.items:,} items over {counts.videos:,} videos"]
    if not counts.without_answer:
        words.append("all answered")
    else:
        words.append(f"**{counts.without_answer:,} without an answer, which count as wrong**")
        if counts.missing_videos:
            words.append(f"{counts.missing_videos:,} because their video was not found")
        words += [f"{count:,} failed with {code}" for code, count in counts.failed.items()]
        if counts.not_asked:
            words.append(f"{counts.not_asked:,} were not asked")
    if counts.unparsed:
        words.append(f"{counts.unparsed:,} answers name no option")
    if counts.event_seen_unknown:
        words.append(
            f"for {counts.event_seen_unknown:,} the selected frames are unknown, so the measures of"
            " events seen and not seen leave them out"
        )
    return "; ".join(words) + "."


def _task_section(summary: TaskSummary, headline: Sequence[str]) -> list[str]:
    names = [scored.measure.name for scored in _distinct_measures(summary.overall)]
    lines = [
        f"## {summary.task}",
        "",
        f"| {summary.task} | items | {' | '.join(_bold(name, headline) for name in names)} |",
        f"| --- {'| ---: ' * (len(names) + 1)}|",
    ]
    for group in (summary.overall, *summary.groups):
        by_name = {scored.measure.name: scored.estimate for scored in group.scored}
        cells = [estimate_text(by_name[name]) if name in by_name else "" for name in names]
        title = f"{group.by}: {group.name}" if group.by else group.name
        lines.append(f"| {_cell(title)} | {group.items:,} | {' | '.join(cells)} |")
    return [*lines, ""]


def _distinct_measures(overall: Group) -> list[MeasureEstimate]:
    """Return the measures without those that only repeat another, and without counts."""
    by_name = {scored.measure.name: scored for scored in overall.scored}
    return [
        scored
        for scored in overall.scored
        if scored.measure.name != UNPARSED
        and scored.estimate
        != getattr(by_name.get(_REDUNDANT_WITH.get(scored.measure.name, "")), "estimate", None)
    ]


def _runs_section(runs: Sequence[tuple[Settings, Summary]], headline: Sequence[str]) -> list[str]:
    """Render the headline measures of several runs; all measures if there is no headline."""
    columns = [
        (summary.task, scored.measure.name)
        for summary in runs[0][1].tasks
        for scored in summary.overall.scored
        if not headline or scored.measure.name in headline
    ]
    lines = [
        "## Runs in this folder",
        "",
        f"| run | {' | '.join(f'{task}: {name}' for task, name in columns)} |",
        f"| --- {'| ---: ' * len(columns)}|",
    ]
    for settings, summary in runs:
        found = {
            (task.task, scored.measure.name): estimate_text(scored.estimate)
            for task in summary.tasks
            for scored in task.overall.scored
        }
        cells = " | ".join(found.get(column, "") for column in columns)
        lines.append(f"| {_cell(settings.describe())} | {cells} |")
    return [*lines, ""]


def _comparison_section(
    settings: Settings, comparisons: Sequence[Comparison], items: int
) -> list[str]:
    lines = [
        f"## Minus {settings.describe()}",
        "",
        f"On the {items:,} items that both runs have asked, paired by video.",
        "",
        "| measure | difference | p (McNemar) |",
        "| --- | ---: | ---: |",
    ]
    for one in comparisons:
        p = "" if one.p is None else f"{one.p:.3g}"
        lines.append(
            f"| {one.task}: {one.measure.name} | {estimate_text(one.difference, sign='+')} | {p} |"
        )
    return [*lines, ""]


def estimate_text(estimate: Estimate, *, sign: str = "") -> str:
    """Format a value times 100 with its interval; one video alone has no interval."""
    value = f"{100 * estimate.value:{sign}.1f}"
    if estimate.videos < 2:
        return value
    return f"{value} ({100 * estimate.low:{sign}.1f} to {100 * estimate.high:{sign}.1f})"


def _bold(name: str, headline: Sequence[str]) -> str:
    return f"**{name}**" if name in headline else name


def _cell(text: str) -> str:
    return one_line(text).replace("|", "/")


def report(
    bench: Benchmark,
    items: Sequence[Item],
    outcomes: Mapping[str, Outcome],
    *,
    settings: Settings,
    results: Results | None = None,
    notes: Sequence[str] = (),
    scoring: Scoring = SHIPPED_SCORING,
) -> str:
    """Summarise a run, compare it with the other runs of a results file, and render the report.

    Args:
        bench: the benchmark.
        items: its evaluated items.
        outcomes: outcomes by item id.
        settings: settings of the run.
        results: results file with other runs.
        notes: further lines above the tables.
        scoring: measures and scorers.
    """
    others, runs = [], []
    if results is not None:
        for other in results.settings.values():
            if other.bench == bench.name and other.fingerprint != settings.fingerprint:
                comparisons, common = compare(
                    items, outcomes, results.outcomes(other), scoring=scoring
                )
                if common:
                    others.append((other, comparisons, common))
                if common == len(items):
                    theirs = summarise(
                        items, results.outcomes(other), by_group=False, scoring=scoring
                    )
                    runs.append((other, theirs))
    about = (
        []
        if len(items) == len(bench.items)
        else [f"First {len(items):,} of {len(bench.items):,} items."]
    )
    about += _span_notes(items)
    summary = summarise(items, outcomes, scoring=scoring)
    return render(
        summary,
        settings=settings,
        runs=[(settings, summary), *runs] if runs else [],
        headline=bench.headline,
        others=others,
        notes=[*about, *notes],
    )


def _span_notes(items: Sequence[Item]) -> list[str]:
    """Describe how spans are scored, whether lengths are known, and invalid true spans.

    Published annotations hold reversed spans and spans outside the video; their items stay in.
    """
    own = [item for item in items if item.task != "ask"]
    if not own:
        return []
    known = sum(item.duration_s is not None for item in own)
    lengths = (
        "not known"
        if not known
        else "known"
        if known == len(own)
        else f"known for {known:,} of {len(own):,} items"
    )
    notes = [
        f"Lengths of the videos: {lengths}. Spans are scored as written: neither predictions nor"
        " true spans are clipped to the video."
    ]
    if count := sum(any(end <= start for start, end in _true_spans(item)) for item in own):
        notes.append(
            "Items with a true span that is reversed or has no length, which no answer matches:"
            f" {count:,}."
        )
    if count := sum(any(not _within(span, item) for span in _true_spans(item)) for item in own):
        notes.append(f"Items with a true span that extends beyond the video: {count:,}.")
    if any(item.others for item in own):
        notes.append(
            "Videos with several annotators: precision and recall take the best of each, SODA the"
            f" annotator with the best F1 (SODA{ANNOTATORS_MEAN}: each annotator separately, then"
            " the mean, as the scripts of PDVC and VidChapters)."
        )
    return notes


def _true_spans(item: Item) -> list[Span]:
    return [*item.spans, *(span for other in item.others for span in other.spans)]


def _within(span: Span, item: Item) -> bool:
    end_s = math.inf if item.duration_s is None else item.duration_s
    return min(span) >= 0 and max(span) <= end_s
