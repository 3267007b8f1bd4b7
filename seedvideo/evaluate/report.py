"""A run's table, with every other run of the same benchmark in the same results file beside it."""

import math
from collections.abc import Mapping, Sequence

from seedvideo.evaluate.benches import Bench
from seedvideo.evaluate.items import Item
from seedvideo.evaluate.measures import ANNOTATORS_MEAN
from seedvideo.evaluate.results import Outcome, Results, Settings
from seedvideo.evaluate.spans import Span
from seedvideo.evaluate.summary import compare, summarise
from seedvideo.evaluate.table import render


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
