"""A run's table, with every other run of the same benchmark in the same results file beside it."""

from collections.abc import Mapping, Sequence

from seedvideo.evaluate.benches import Bench
from seedvideo.evaluate.items import Item
from seedvideo.evaluate.results import Outcome, Results, Settings
from seedvideo.evaluate.spans import clipped
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
    if unmet := sum(not can_be_met(item) for item in items):
        about.append(
            "Items with a true span that no answer meets, since it runs backward or has no time"
            f" within the video's duration: {unmet:,}."
        )
    summary = summarise(items, outcomes)
    return render(
        summary,
        settings=settings,
        runs=[(settings, summary), *runs] if runs else [],
        headline=bench.headline,
        others=others,
        notes=[*about, *notes],
    )


def can_be_met(item: Item) -> bool:
    """Whether each true span that an answer is held against has some time in the video.

    Published sets hold some that do not; they stay in the count.
    """
    if item.task == "ask":
        return True
    told = [*item.spans, *(span for other in item.others for span in other.spans)]
    return all(start < end for start, end in (clipped(span, item.duration_s) for span in told))
