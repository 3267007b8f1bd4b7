"""Scores of items, and their summary: measures with intervals, overall and by group.

`score_item` turns one item and one prediction into numbers; `summarise` and `compare` turn them
into estimates with intervals from a bootstrap over videos.

Every item of the benchmark counts, with or without an answer. A missing prediction gets the worst
score in every measure, except in those that depend on the selected frames, which are then unknown.
Spans are not clipped to the video, as in the published scripts: clipping would reward a prediction
that never ends. Scores are computed again from the predictions, so an old results file profits from
a better scorer.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from seedvideo.evaluate.metrics.answers import exact_match, parse_choice
from seedvideo.evaluate.metrics.captioning import rouge_l_similarity
from seedvideo.evaluate.metrics.dense_captioning import THRESHOLDS as DVC_THRESHOLDS
from seedvideo.evaluate.metrics.dense_captioning import (
    Story,
    mean_f1,
    score_localisation,
    score_per_annotator,
    select_best,
)
from seedvideo.evaluate.metrics.statistics import Estimate, bootstrap_statistic, mcnemar
from seedvideo.evaluate.metrics.temporal import (
    best_iou,
    first_or_none,
    matched_iou,
    moment_ap,
    passes_threshold,
    sort_by_score,
)
from seedvideo.evaluate.results import MISSING_VIDEO, Outcome
from seedvideo.evaluate.types import Item, Prediction, Scorer, Task

RECALL_THRESHOLDS: Final = (0.3, 0.5, 0.7)
"""IoUs of R@1."""

NO_PREDICTION: Final = Prediction()
"""Stands for a missing prediction."""

UNPARSED: Final = "unread"
"""Measure: fraction of answers in which no option was found; they are wrong too."""

SEEN: Final = "event seen"
"""Measure: fraction of items with a selected frame in each event that the answer needs."""

NOT_SEEN: Final = "event not seen"

ANNOTATORS_MEAN: Final = ", mean of annotators"
"""Suffix of the SODA measures that score each annotator separately, then take the mean."""


@dataclass(frozen=True)
class Measure:
    """A column of a table.

    Args:
        name: its name in the table.
        columns: names of the item scores that it is made of; an item without one does not count.
        combine: from the mean of each column to the measure.
        is_binary: whether each item is right or wrong, so that McNemar's test compares two runs.
        paired: whether it covers the same items in every run, so that two runs have a difference.
    """

    name: str
    columns: tuple[str, ...]
    combine: Callable[..., Any]
    is_binary: bool = False
    paired: bool = True


def _mean(name: str, column: str = "", *, is_binary: bool = False, paired: bool = True) -> Measure:
    return Measure(name, (column or name,), lambda mean: mean, is_binary, paired)


def _split_by_event_seen(name: str) -> tuple[Measure, ...]:
    """Split a measure into items with and without a selected frame in their event.

    This separates the sampler's losses from the model's.
    """
    return tuple(_mean(f"{name}, {suffix}", paired=False) for suffix in (SEEN, NOT_SEEN))


def _harmonic_mean(one: Any, other: Any) -> Any:
    total = np.asarray(one) + np.asarray(other)
    return np.divide(2 * one * other, total, out=np.zeros_like(total), where=total > 0)


MEASURES: Final[Mapping[Task, tuple[Measure, ...]]] = {
    "ask": (
        _mean("accuracy", is_binary=True),
        _mean("accuracy, options", is_binary=True),
        _mean("accuracy, open", is_binary=True),
        _mean("chance", paired=False),
        _mean(UNPARSED),
        _mean(SEEN),
        *_split_by_event_seen("accuracy"),
    ),
    "ground": (
        *(_mean(f"R@1 IoU {threshold}", is_binary=True) for threshold in RECALL_THRESHOLDS),
        _mean("mIoU", "IoU"),
        _mean("mIoU, spans matched", "IoU, spans matched"),
        _mean("mAP", "AP"),
        _mean("false positives", "false positive"),
        _mean(SEEN),
        *_split_by_event_seen("R@1 IoU 0.5"),
    ),
    "dense": (
        _mean("precision"),
        _mean("recall"),
        Measure("F1", ("precision", "recall"), _harmonic_mean),
        _mean("SODA_d"),
        _mean(f"SODA_d{ANNOTATORS_MEAN}"),
        _mean("SODA_c ROUGE-L"),
        _mean(f"SODA_c ROUGE-L{ANNOTATORS_MEAN}"),
    ),
}
"""The measures of each task; ``precision`` and ``recall`` are means over the four tIoUs."""


def score_item(item: Item, prediction: Prediction | None) -> dict[str, float]:
    """Score one item: numbers by name, truth values as 0 and 1.

    Args:
        item: the item with its true answer.
        prediction: its prediction; None counts as wrong, for an absent event as falsely found.
    """
    given = prediction or NO_PREDICTION
    if item.task == "dense":
        return _score_dense(item, given)
    if item.task == "ground" and not item.spans:
        return {"false positive": float(prediction is None or bool(given.spans))}
    if item.task == "ask":
        return _add_event_seen(
            "accuracy", _score_answer(item, given, missing=prediction is None), item, given
        )
    return _add_event_seen("R@1 IoU 0.5", _score_grounding(item, given), item, given)


@dataclass(frozen=True)
class Scoring:
    """The measures of the tasks, and those of scorers of other packages.

    Args:
        scorers: scorers by the name of their measure.
    """

    scorers: Mapping[str, Scorer] = field(default_factory=dict)

    def score(self, item: Item, prediction: Prediction | None) -> dict[str, float]:
        """Score one item; see `score_item`."""
        scores = score_item(item, prediction)
        for name, scorer in self.scorers.items():
            value = scorer(item, prediction or NO_PREDICTION)
            scores |= {} if value is None else {name: float(value)}
        return scores

    def measures(self, task: Task) -> tuple[Measure, ...]:
        """Return the measures of a task; an estimate leaves out those without a score."""
        return (*MEASURES[task], *(_mean(name) for name in self.scorers))


SHIPPED_SCORING: Final = Scoring()


def _add_event_seen(
    name: str, scores: dict[str, float], item: Item, given: Prediction
) -> dict[str, float]:
    """Add to an item's scores whether the model got frames of its events, if that is known.

    Without a prediction it is unknown: neither "seen" nor "not seen" would be true.
    """
    if given.frame_times_s is None or not item.spans:
        return scores
    met = [any(start <= time < end for time in given.frame_times_s) for start, end in item.spans]
    # One occurrence is enough for grounding; a question needs all its events.
    seen = any(met) if item.task == "ground" else all(met)
    return {**scores, SEEN: float(seen), f"{name}, {SEEN if seen else NOT_SEEN}": scores[name]}


def _score_answer(item: Item, given: Prediction, *, missing: bool) -> dict[str, float]:
    if not item.options:
        right = float(exact_match(given.answer, item.answer))
        return {"accuracy": right, "accuracy, open": right}
    chosen = parse_choice(given.answer, item.options)
    # Two options with the same text are the same answer.
    right = float(chosen is not None and item.options[chosen] == item.answer)
    return {
        "accuracy": right,
        "accuracy, options": right,
        "chance": item.options.count(item.answer) / len(item.options),
        UNPARSED: float(chosen is None and not missing),
    }


def _score_grounding(item: Item, given: Prediction) -> dict[str, float]:
    truth = item.spans
    ranked = sort_by_score(given.spans, given.scores or [None] * len(given.spans))
    overlap = best_iou(first_or_none(ranked), truth)
    # Spans with scores are alternatives, of which the first is the answer; others are one answer.
    answer = ranked[:1] if given.scores else ranked
    return {
        **{
            f"R@1 IoU {threshold}": float(passes_threshold(overlap, threshold))
            for threshold in RECALL_THRESHOLDS
        },
        "IoU": overlap,
        "IoU, spans matched": matched_iou(answer, truth),
        "AP": moment_ap(ranked, truth),
    }


def _score_dense(item: Item, given: Prediction) -> dict[str, float]:
    predicted = Story(given.spans, given.captions)
    references = [
        Story(item.spans, item.captions),
        *(Story(other.spans, other.captions) for other in item.others),
    ]
    times = [
        score_localisation(
            predicted.spans, [story.spans for story in references], threshold=threshold
        )
        for threshold in DVC_THRESHOLDS
    ]
    by_time = score_per_annotator(predicted, references)
    by_caption = score_per_annotator(predicted, references, similarity=rouge_l_similarity)
    return {
        "precision": sum(one.precision for one in times) / len(times),
        "recall": sum(one.recall for one in times) / len(times),
        "SODA_d": select_best(by_time).f1,
        f"SODA_d{ANNOTATORS_MEAN}": mean_f1(by_time),
        "SODA_c ROUGE-L": select_best(by_caption).f1,
        f"SODA_c ROUGE-L{ANNOTATORS_MEAN}": mean_f1(by_caption),
    }


@dataclass(frozen=True)
class MeasureEstimate:
    """Value of one measure over a group of items.

    Args:
        measure: the measure.
        estimate: its value and interval.
    """

    measure: Measure
    estimate: Estimate


@dataclass(frozen=True)
class Group:
    """Items with the same value of one property.

    Args:
        by: name of the property, for example ``duration``; empty for all items of a task.
        name: its value, for example ``short``.
        items: number of items.
        scored: their measures.
    """

    by: str
    name: str
    items: int
    scored: tuple[MeasureEstimate, ...]


@dataclass(frozen=True)
class TaskSummary:
    """Measures of the items of one task.

    Args:
        task: the task.
        overall: all items.
        groups: the same items by group; only properties with at least two values.
    """

    task: Task
    overall: Group
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Counts:
    """Numbers of items by outcome.

    Args:
        items: all items.
        videos: videos of these items.
        answered: items with a prediction.
        missing_videos: items whose video was not found.
        failed: items that failed otherwise, by error code.
        not_asked: items with neither prediction nor failure.
        unparsed: answers in which no option was found.
        event_seen_unknown: items left out of the measures "event seen" and "event not seen",
            because their selected frames are unknown; 0 if they are unknown for every item.
    """

    items: int
    videos: int
    answered: int
    missing_videos: int
    failed: Mapping[str, int]
    not_asked: int
    unparsed: int
    event_seen_unknown: int

    @property
    def without_answer(self) -> int:
        """Number of items without a prediction; they count as wrong."""
        return self.items - self.answered


@dataclass(frozen=True)
class Summary:
    """Measures and counts of one run.

    Args:
        tasks: one summary per task.
        counts: numbers of items by outcome.
    """

    tasks: tuple[TaskSummary, ...]
    counts: Counts


@dataclass(frozen=True)
class Comparison:
    """One measure of two runs over the same items.

    Args:
        task: task of the items.
        measure: the measure.
        difference: ours minus theirs, paired by video.
        p: of McNemar's exact test, if items are right or wrong.
    """

    task: Task
    measure: Measure
    difference: Estimate
    p: float | None


def summarise(
    items: Sequence[Item],
    outcomes: Mapping[str, Outcome],
    *,
    by_group: bool = True,
    scoring: Scoring = SHIPPED_SCORING,
) -> Summary:
    """Score every item and estimate the measures.

    Args:
        items: items of the benchmark, or the evaluated part of them.
        outcomes: outcomes by item id; one of another version of the item does not count.
        by_group: whether to estimate the measures by group too.
        scoring: measures and scorers.

    Raises:
        ValueError: if there is no item.
    """
    if not items:
        raise ValueError("no item to score, expected at least one")
    current = _matching_outcomes(items, outcomes)
    scores = {item.id: scoring.score(item, _prediction(current, item)) for item in items}
    summaries = []
    for task in MEASURES:
        own = [item for item in items if item.task == task]
        if own:
            overall = Group("", "all", len(own), _estimate_measures(own, scores, scoring))
            groups = _summarise_groups(own, scores, scoring) if by_group else ()
            summaries.append(TaskSummary(task, overall, groups))
    failed = Counter(one.error for one in current.values() if one.error is not None)
    missing_videos = failed.pop(MISSING_VIDEO, 0)
    counts = Counts(
        items=len(items),
        videos=len({item.video for item in items}),
        answered=sum(one.prediction is not None for one in current.values()),
        missing_videos=missing_videos,
        failed=dict(sorted(failed.items())),
        not_asked=len(items) - len(current),
        unparsed=int(sum(one.get(UNPARSED, 0) for one in scores.values())),
        event_seen_unknown=_count_event_seen_unknown(items, scores),
    )
    return Summary(tuple(summaries), counts)


def compare(
    items: Sequence[Item],
    ours: Mapping[str, Outcome],
    theirs: Mapping[str, Outcome],
    *,
    scoring: Scoring = SHIPPED_SCORING,
) -> tuple[tuple[Comparison, ...], int]:
    """Compare two runs on the items that both have asked.

    Args:
        items: items of the benchmark.
        ours: outcomes of one run by item id.
        theirs: outcomes of the other.
        scoring: measures and scorers.

    Returns:
        One comparison per task and measure, and the number of common items.
    """
    one, other = _matching_outcomes(items, ours), _matching_outcomes(items, theirs)
    common = [item for item in items if item.id in one and item.id in other]
    scores = [
        {item.id: scoring.score(item, _prediction(outcomes, item)) for item in common}
        for outcomes in (one, other)
    ]
    found = []
    for task in MEASURES:
        # Measures of different tasks have the same names.
        own = [item for item in common if item.task == task]
        for measure in scoring.measures(task):
            if len(measure.columns) > 1 or not measure.paired:
                continue
            column = measure.columns[0]
            known = [[column in side[item.id] for item in own] for side in scores]
            # If the selected frames of one run are unknown, there is nothing to compare.
            if not any(known[0]) or known[0] != known[1]:
                continue
            sides = [_group_by_video(own, side, column) for side in scores]
            flat = [[value > 0 for video in side for value in video] for side in sides]
            found.append(
                Comparison(
                    task,
                    measure,
                    bootstrap_statistic(sides, lambda one, other: one - other),
                    mcnemar(*flat) if measure.is_binary else None,
                )
            )
    return tuple(found), len(common)


def _count_event_seen_unknown(
    items: Sequence[Item], scores: Mapping[str, Mapping[str, float]]
) -> int:
    known = [SEEN in scores[item.id] for item in items if item.task != "dense" and item.spans]
    return known.count(False) if any(known) else 0


def _matching_outcomes(
    items: Sequence[Item], outcomes: Mapping[str, Outcome]
) -> dict[str, Outcome]:
    """Return the outcomes of these items whose content has not changed since."""
    return {
        item.id: outcomes[item.id]
        for item in items
        if item.id in outcomes and outcomes[item.id].matches(item)
    }


def _prediction(outcomes: Mapping[str, Outcome], item: Item) -> Prediction | None:
    return outcomes[item.id].prediction if item.id in outcomes else None


def _estimate_measures(
    items: Sequence[Item], scores: Mapping[str, Mapping[str, float]], scoring: Scoring
) -> tuple[MeasureEstimate, ...]:
    found = []
    for measure in scoring.measures(items[0].task):
        columns = [_group_by_video(items, scores, column) for column in measure.columns]
        if all(columns):
            found.append(MeasureEstimate(measure, bootstrap_statistic(columns, measure.combine)))
    return tuple(found)


def _summarise_groups(
    items: Sequence[Item], scores: Mapping[str, Mapping[str, float]], scoring: Scoring
) -> tuple[Group, ...]:
    found = []
    for by in dict.fromkeys(name for item in items for name in item.group):
        names = list(dict.fromkeys(item.group[by] for item in items if by in item.group))
        for name in names if len(names) > 1 else ():
            own = [item for item in items if item.group.get(by) == name]
            found.append(Group(by, name, len(own), _estimate_measures(own, scores, scoring)))
    return tuple(found)


def _group_by_video(
    items: Sequence[Item], scores: Mapping[str, Mapping[str, float]], column: str
) -> list[list[float]]:
    """Return one score of each item that has it, video by video."""
    videos: dict[str, list[float]] = {}
    for item in items:
        if column in scores[item.id]:
            videos.setdefault(item.video, []).append(scores[item.id][column])
    return list(videos.values())
