"""From items and outcomes to what a table says: measures with intervals, in all and by group.

Every item of the benchmark counts, whether or not it has an answer. Intervals come from a bootstrap
over videos. Scores are computed anew from the predictions, so an old results file profits from a
better scorer.

What an answer is worth: from one item and one prediction to numbers, and what they add up to.

The scorers know numbers and strings only; here they meet items. A missing prediction is worth the
least there is, in every measure but those by sight: which frames a model would have been shown is
then not known. Spans are scored as they are written, as in the published scripts: to cut a
prediction to the video would reward one that never ends.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from seedvideo.evaluate.metrics.answers import exact_match, option_of
from seedvideo.evaluate.metrics.captioning import similarity
from seedvideo.evaluate.metrics.dense_captioning import THRESHOLDS as DVC_THRESHOLDS
from seedvideo.evaluate.metrics.dense_captioning import (
    Story,
    best_of,
    each_annotator,
    localise,
    mean_f1,
)
from seedvideo.evaluate.metrics.statistics import Estimate, combined, mcnemar
from seedvideo.evaluate.metrics.temporal import (
    best_first,
    best_iou,
    matched_iou,
    moment_ap,
    one_of,
    passes,
)
from seedvideo.evaluate.results import MISSING_VIDEO, Outcome
from seedvideo.evaluate.types import Item, Prediction, Task

RECALL_THRESHOLDS: Final = (0.3, 0.5, 0.7)
"""IoUs of R@1."""

NOTHING: Final = Prediction()
"""What a missing prediction is scored as."""

UNREAD: Final = "unread"
"""Share of answers in which no option could be read; they are wrong too."""

SEEN: Final = "event seen"
"""Share of items of whose event a frame was shown; of a question, of all that it is about."""

NOT_SEEN: Final = "event not seen"

ANNOTATORS_MEAN: Final = ", mean of annotators"
"""Suffix of the SODA measures that score each annotator separately, then take the mean."""


@dataclass(frozen=True)
class Measure:
    """A number of a table.

    Args:
        name: as it is printed.
        columns: the numbers of each item that it is made of; an item that lacks one does not count.
        combine: from the mean of each column to the measure.
        truths: whether each item is right or wrong, so that two runs can be told apart by McNemar's
            test.
        paired: whether it is over the same items in every run, so that two runs have a difference.
    """

    name: str
    columns: tuple[str, ...]
    combine: Callable[..., Any]
    truths: bool = False
    paired: bool = True


def _mean(name: str, column: str = "", *, truths: bool = False, paired: bool = True) -> Measure:
    return Measure(name, (column or name,), lambda mean: mean, truths, paired)


def _by_sight(name: str) -> tuple[Measure, ...]:
    """A measure apart for items whose event was shown and for those whose event was not.

    What the sampler loses and what the model loses are told apart.
    """
    return tuple(_mean(f"{name}, {sight}", paired=False) for sight in (SEEN, NOT_SEEN))


def _harmonic(one: Any, other: Any) -> Any:
    total = np.asarray(one) + np.asarray(other)
    return np.divide(2 * one * other, total, out=np.zeros_like(total), where=total > 0)


MEASURES: Final[Mapping[Task, tuple[Measure, ...]]] = {
    "ask": (
        _mean("accuracy", truths=True),
        _mean("accuracy, options", truths=True),
        _mean("accuracy, open", truths=True),
        _mean("chance", paired=False),
        _mean(UNREAD),
        _mean(SEEN),
        *_by_sight("accuracy"),
    ),
    "ground": (
        *(_mean(f"R@1 IoU {threshold}", truths=True) for threshold in RECALL_THRESHOLDS),
        _mean("mIoU", "IoU"),
        _mean("mIoU, spans matched", "IoU, spans matched"),
        _mean("mAP", "AP"),
        _mean("false positives", "false positive"),
        _mean(SEEN),
        *_by_sight("R@1 IoU 0.5"),
    ),
    "dense": (
        _mean("precision"),
        _mean("recall"),
        Measure("F1", ("precision", "recall"), _harmonic),
        _mean("SODA_d"),
        _mean(f"SODA_d{ANNOTATORS_MEAN}"),
        _mean("SODA_c ROUGE-L"),
        _mean(f"SODA_c ROUGE-L{ANNOTATORS_MEAN}"),
    ),
}
"""The measures of each task; ``precision`` and ``recall`` are means over the four tIoUs."""


def scores_of(item: Item, prediction: Prediction | None) -> dict[str, float]:
    """The numbers of one item, truth values as 0 and 1.

    Args:
        item: with its truth.
        prediction: None if there is none; an absent event then counts as falsely found.
    """
    given = prediction or NOTHING
    if item.task == "dense":
        return _of_story(item, given)
    if item.task == "ground" and not item.spans:
        return {"false positive": float(prediction is None or bool(given.spans))}
    if item.task == "ask":
        return _with_sight(
            "accuracy", _of_answer(item, given, missing=prediction is None), item, given
        )
    return _with_sight("R@1 IoU 0.5", _of_moment(item, given), item, given)


def _with_sight(
    name: str, scores: dict[str, float], item: Item, given: Prediction
) -> dict[str, float]:
    """The numbers of an item, and whether the model could have known, where that is known.

    It is not where there is no prediction: neither "seen" nor "not seen" would be true.
    """
    if given.shown_s is None or not item.spans:
        return scores
    met = [any(start <= time < end for time in given.shown_s) for start, end in item.spans]
    # To find one occurrence is enough; a question needs everything that it is about.
    seen = any(met) if item.task == "ground" else all(met)
    return {**scores, SEEN: float(seen), f"{name}, {SEEN if seen else NOT_SEEN}": scores[name]}


def _of_answer(item: Item, given: Prediction, *, missing: bool) -> dict[str, float]:
    if not item.options:
        right = float(exact_match(given.answer, item.answer))
        return {"accuracy": right, "accuracy, open": right}
    chosen = option_of(given.answer, item.options)
    # Two options with the same text are the same answer.
    right = float(chosen is not None and item.options[chosen] == item.answer)
    return {
        "accuracy": right,
        "accuracy, options": right,
        "chance": item.options.count(item.answer) / len(item.options),
        UNREAD: float(chosen is None and not missing),
    }


def _of_moment(item: Item, given: Prediction) -> dict[str, float]:
    truth = item.spans
    ranked = best_first(given.spans, given.scores or [None] * len(given.spans))
    overlap = best_iou(one_of(ranked), truth)
    # Scored spans are alternatives, of which the first is the answer; others are one answer.
    answer = ranked[:1] if given.scores else ranked
    return {
        **{
            f"R@1 IoU {threshold}": float(passes(overlap, threshold))
            for threshold in RECALL_THRESHOLDS
        },
        "IoU": overlap,
        "IoU, spans matched": matched_iou(answer, truth),
        "AP": moment_ap(ranked, truth),
    }


def _of_story(item: Item, given: Prediction) -> dict[str, float]:
    predicted = Story(given.spans, given.captions)
    references = [
        Story(item.spans, item.captions),
        *(Story(other.spans, other.captions) for other in item.others),
    ]
    times = [
        localise(predicted.spans, [story.spans for story in references], threshold=threshold)
        for threshold in DVC_THRESHOLDS
    ]
    by_time = each_annotator(predicted, references)
    by_caption = each_annotator(predicted, references, likeness=similarity)
    return {
        "precision": sum(one.precision for one in times) / len(times),
        "recall": sum(one.recall for one in times) / len(times),
        "SODA_d": best_of(by_time).f1,
        f"SODA_d{ANNOTATORS_MEAN}": mean_f1(by_time),
        "SODA_c ROUGE-L": best_of(by_caption).f1,
        f"SODA_c ROUGE-L{ANNOTATORS_MEAN}": mean_f1(by_caption),
    }


@dataclass(frozen=True)
class Scored:
    """One measure over some items.

    Args:
        measure: which.
        estimate: its value and interval.
    """

    measure: Measure
    estimate: Estimate


@dataclass(frozen=True)
class Group:
    """Items that are alike in one way.

    Args:
        by: in which, such as ``duration``; empty for all items of a task.
        name: such as ``short``.
        items: how many.
        scored: their measures.
    """

    by: str
    name: str
    items: int
    scored: tuple[Scored, ...]


@dataclass(frozen=True)
class Part:
    """The items of one task.

    Args:
        task: which.
        whole: all of them.
        groups: the same items by group; only what tells at least two groups apart.
    """

    task: Task
    whole: Group
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Counts:
    """What became of the items.

    Args:
        items: how many there are.
        videos: that they are about.
        answered: that have a prediction.
        missing_videos: whose video is not there.
        failed: that failed otherwise, by the code of the failure.
        not_asked: that have neither prediction nor failure.
        unread: answers in which no option could be read.
        sight_unknown: whose event may have been shown or not, so that the measures by sight leave
            them out; 0 where nothing is known of any, since there are no such measures then.
    """

    items: int
    videos: int
    answered: int
    missing_videos: int
    failed: Mapping[str, int]
    not_asked: int
    unread: int
    sight_unknown: int

    @property
    def without_answer(self) -> int:
        """Items that count as wrong for want of a prediction."""
        return self.items - self.answered


@dataclass(frozen=True)
class Summary:
    """All that a table says of one run.

    Args:
        parts: a task each.
        counts: what became of the items.
    """

    parts: tuple[Part, ...]
    counts: Counts


@dataclass(frozen=True)
class Comparison:
    """One measure of two runs over the same items.

    Args:
        task: of the items.
        measure: which.
        difference: ours minus theirs, paired by video.
        p: of McNemar's exact test, where items are right or wrong.
    """

    task: Task
    measure: Measure
    difference: Estimate
    p: float | None


def summarise(
    items: Sequence[Item], outcomes: Mapping[str, Outcome], *, by_group: bool = True
) -> Summary:
    """Score every item and add up.

    Args:
        items: of the benchmark, or the part of it that was asked for.
        outcomes: by the id of their item; one of another version of the item does not count.
        by_group: whether groups are wanted too.

    Raises:
        ValueError: if there is no item.
    """
    if not items:
        raise ValueError("there is no item to score")
    told = _current(items, outcomes)
    scores = {item.id: scores_of(item, _prediction(told, item)) for item in items}
    parts = []
    for task in MEASURES:
        own = [item for item in items if item.task == task]
        if own:
            whole = Group("", "all", len(own), _scored(own, scores))
            parts.append(Part(task, whole, _groups(own, scores) if by_group else ()))
    failed = Counter(one.error for one in told.values() if one.error is not None)
    missing_videos = failed.pop(MISSING_VIDEO, 0)
    counts = Counts(
        items=len(items),
        videos=len({item.video for item in items}),
        answered=sum(one.prediction is not None for one in told.values()),
        missing_videos=missing_videos,
        failed=dict(sorted(failed.items())),
        not_asked=len(items) - len(told),
        unread=int(sum(one.get(UNREAD, 0) for one in scores.values())),
        sight_unknown=_sight_unknown(items, scores),
    )
    return Summary(tuple(parts), counts)


def compare(
    items: Sequence[Item], ours: Mapping[str, Outcome], theirs: Mapping[str, Outcome]
) -> tuple[tuple[Comparison, ...], int]:
    """Compare two runs on the items that both have asked.

    Returns:
        A comparison a task and measure, and the number of items. Without a common item there are
        none.
    """
    one, other = _current(items, ours), _current(items, theirs)
    common = [item for item in items if item.id in one and item.id in other]
    scores = [
        {item.id: scores_of(item, _prediction(told, item)) for item in common}
        for told in (one, other)
    ]
    found = []
    for task, measures in MEASURES.items():
        # Tasks share names of measures.
        own = [item for item in common if item.task == task]
        for measure in measures:
            if len(measure.columns) > 1 or not measure.paired:
                continue
            column = measure.columns[0]
            known = [[column in side[item.id] for item in own] for side in scores]
            # Where one run does not know which frames were shown, there is nothing to compare.
            if not any(known[0]) or known[0] != known[1]:
                continue
            sides = [_by_video(own, side, column) for side in scores]
            flat = [[value > 0 for video in side for value in video] for side in sides]
            found.append(
                Comparison(
                    task,
                    measure,
                    combined(sides, lambda one, other: one - other),
                    mcnemar(*flat) if measure.truths else None,
                )
            )
    return tuple(found), len(common)


def _sight_unknown(items: Sequence[Item], scores: Mapping[str, Mapping[str, float]]) -> int:
    known = [SEEN in scores[item.id] for item in items if item.task != "dense" and item.spans]
    return known.count(False) if any(known) else 0


def _current(items: Sequence[Item], outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Outcomes of these items as they are now."""
    return {
        item.id: outcomes[item.id]
        for item in items
        if item.id in outcomes and outcomes[item.id].is_of(item)
    }


def _prediction(told: Mapping[str, Outcome], item: Item) -> Prediction | None:
    return told[item.id].prediction if item.id in told else None


def _scored(items: Sequence[Item], scores: Mapping[str, Mapping[str, float]]) -> tuple[Scored, ...]:
    found = []
    for measure in MEASURES[items[0].task]:
        columns = [_by_video(items, scores, column) for column in measure.columns]
        if all(columns):
            found.append(Scored(measure, combined(columns, measure.combine)))
    return tuple(found)


def _groups(items: Sequence[Item], scores: Mapping[str, Mapping[str, float]]) -> tuple[Group, ...]:
    found = []
    for by in dict.fromkeys(name for item in items for name in item.group):
        names = list(dict.fromkeys(item.group[by] for item in items if by in item.group))
        for name in names if len(names) > 1 else ():
            own = [item for item in items if item.group.get(by) == name]
            found.append(Group(by, name, len(own), _scored(own, scores)))
    return tuple(found)


def _by_video(
    items: Sequence[Item], scores: Mapping[str, Mapping[str, float]], column: str
) -> list[list[float]]:
    """One number of each item that has it, video by video."""
    videos: dict[str, list[float]] = {}
    for item in items:
        if column in scores[item.id]:
            videos.setdefault(item.video, []).append(scores[item.id][column])
    return list(videos.values())
