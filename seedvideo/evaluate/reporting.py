"""A run's table as Markdown: measures with intervals, by group, what is missing, and other runs.

Numbers are printed times 100, as papers do. Knows nothing of how they came about.

A run's table, with every other run of the same benchmark in the same results file beside it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from seedvideo.evaluate.metrics.statistics import Estimate
from seedvideo.evaluate.metrics.temporal import Span
from seedvideo.evaluate.registry import Bench
from seedvideo.evaluate.results import Outcome, Results, Settings
from seedvideo.evaluate.scoring import (
    ANNOTATORS_MEAN,
    UNREAD,
    Comparison,
    Group,
    Part,
    Scored,
    Summary,
    compare,
    summarise,
)
from seedvideo.evaluate.types import Item
from seedvideo.utils.text import one_line

_REPEATS: Final = {
    "accuracy, options": "accuracy",
    "accuracy, open": "accuracy",
    "mIoU, spans matched": "mIoU",
    f"SODA_d{ANNOTATORS_MEAN}": "SODA_d",
    f"SODA_c ROUGE-L{ANNOTATORS_MEAN}": "SODA_c ROUGE-L",
}
"""Measures that say something new only where they differ from another."""


def render(
    summary: Summary,
    *,
    settings: Settings,
    headline: Sequence[str] = (),
    runs: Sequence[tuple[Settings, Summary]] = (),
    others: Sequence[tuple[Settings, Sequence[Comparison], int]] = (),
    notes: Sequence[str] = (),
) -> str:
    """The table.

    Args:
        summary: what it says.
        settings: of the run.
        headline: names of the measures that are printed bold.
        runs: that were asked all of these items, this one too: a line each.
        others: further runs, this one compared with each, and the number of items for that.
        notes: lines to print above it.
    """
    lines = [f"# {settings.line()}", "", *(f"{note}  " for note in notes), _counts(summary), ""]
    for part in summary.parts:
        lines += _part(part, headline)
    if runs:
        lines += _side_by_side(runs, headline)
    for other, comparisons, items in others:
        lines += _against(other, comparisons, items)
    return "\n".join(lines).rstrip() + "\n"


def _counts(summary: Summary) -> str:
    counts = summary.counts
    words = [f"{counts.items:,} items over {counts.videos:,} videos"]
    if not counts.without_answer:
        words.append("all answered")
    else:
        words.append(f"**{counts.without_answer:,} without an answer, which count as wrong**")
        if counts.missing_videos:
            words.append(f"{counts.missing_videos:,} for want of their video")
        words += [f"{count:,} failed with {code}" for code, count in counts.failed.items()]
        if counts.not_asked:
            words.append(f"{counts.not_asked:,} were not asked")
    if counts.unread:
        words.append(f"{counts.unread:,} answers name no option")
    if counts.sight_unknown:
        words.append(
            f"of {counts.sight_unknown:,} it is not known whether their event was shown, so what"
            " tells events seen from not seen leaves them out"
        )
    return "; ".join(words) + "."


def _part(part: Part, headline: Sequence[str]) -> list[str]:
    names = [scored.measure.name for scored in _told(part.whole)]
    lines = [
        f"## {part.task}",
        "",
        f"| {part.task} | items | {' | '.join(_bold(name, headline) for name in names)} |",
        f"| --- {'| ---: ' * (len(names) + 1)}|",
    ]
    for group in (part.whole, *part.groups):
        by_name = {scored.measure.name: scored.estimate for scored in group.scored}
        cells = [estimate_text(by_name[name]) if name in by_name else "" for name in names]
        title = f"{group.by}: {group.name}" if group.by else group.name
        lines.append(f"| {_cell(title)} | {group.items:,} | {' | '.join(cells)} |")
    return [*lines, ""]


def _told(whole: Group) -> list[Scored]:
    """The measures worth a column: what only repeats another is left out, and so is a count."""
    by_name = {scored.measure.name: scored for scored in whole.scored}
    return [
        scored
        for scored in whole.scored
        if scored.measure.name != UNREAD
        and scored.estimate
        != getattr(by_name.get(_REPEATS.get(scored.measure.name, "")), "estimate", None)
    ]


def _side_by_side(runs: Sequence[tuple[Settings, Summary]], headline: Sequence[str]) -> list[str]:
    """The headline measures of several runs; all measures where there is no headline."""
    columns = [
        (part.task, scored.measure.name)
        for part in runs[0][1].parts
        for scored in part.whole.scored
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
            (part.task, scored.measure.name): estimate_text(scored.estimate)
            for part in summary.parts
            for scored in part.whole.scored
        }
        cells = " | ".join(found.get(column, "") for column in columns)
        lines.append(f"| {_cell(settings.line())} | {cells} |")
    return [*lines, ""]


def _against(settings: Settings, comparisons: Sequence[Comparison], items: int) -> list[str]:
    lines = [
        f"## Minus {settings.line()}",
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
    """A value times 100 with its interval, which one video alone does not have."""
    value = f"{100 * estimate.value:{sign}.1f}"
    if estimate.videos < 2:
        return value  # Of one video no other can be guessed.
    return f"{value} ({100 * estimate.low:{sign}.1f} to {100 * estimate.high:{sign}.1f})"


def _bold(name: str, headline: Sequence[str]) -> str:
    return f"**{name}**" if name in headline else name


def _cell(text: str) -> str:
    return one_line(text).replace("|", "/")


def report(
    bench: Bench,
    items: Sequence[Item],
    outcomes: Mapping[str, Outcome],
    *,
    settings: Settings,
    results: Results | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The table as Markdown.

    Args:
        bench: which benchmark.
        items: the part of it that was asked for.
        outcomes: by the id of their item.
        settings: of the run.
        results: where further runs may be found.
        notes: what else a reader should know.
    """
    others, runs = [], []
    if results is not None:
        for other in results.settings.values():
            if other.bench == bench.name and other.fingerprint != settings.fingerprint:
                comparisons, common = compare(items, outcomes, results.outcomes(other))
                if common:
                    others.append((other, comparisons, common))
                if common == len(items):
                    theirs = summarise(items, results.outcomes(other), by_group=False)
                    runs.append((other, theirs))
    about = (
        []
        if len(items) == len(bench.items)
        else [f"First {len(items):,} of {len(bench.items):,} items."]
    )
    about += _about_spans(items)
    summary = summarise(items, outcomes)
    return render(
        summary,
        settings=settings,
        runs=[(settings, summary), *runs] if runs else [],
        headline=bench.headline,
        others=others,
        notes=[*about, *notes],
    )


def _about_spans(items: Sequence[Item]) -> list[str]:
    """How spans are scored, whether lengths are known, and what is odd about the true spans.

    Published sets hold odd spans; their items stay in the count.
    """
    own = [item for item in items if item.task != "ask"]
    if not own:
        return []
    known = sum(item.duration_s is not None for item in own)
    told = (
        "not known"
        if not known
        else "known"
        if known == len(own)
        else f"known for {known:,} of {len(own):,} items"
    )
    notes = [
        f"Lengths of the videos: {told}. Spans are scored as written: neither predictions nor true"
        " spans are cut to the video."
    ]
    if count := sum(any(end <= start for start, end in _true_spans(item)) for item in own):
        notes.append(
            "Items with a true span that runs backward or has no length, which no answer meets:"
            f" {count:,}."
        )
    if count := sum(any(not _within(span, item) for span in _true_spans(item)) for item in own):
        notes.append(f"Items with a true span that reaches out of the video: {count:,}.")
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
