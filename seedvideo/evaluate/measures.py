"""What an answer is worth: from one item and one prediction to numbers, and what they add up to.

The scorers know numbers and strings only; here they meet items. A missing prediction is worth the
least there is, in every measure but those by sight: which frames a model would have been shown is
then not known. Spans are scored as they are written, as in the published scripts: to cut a
prediction to the video would reward one that never ends.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from seedvideo.evaluate.dvc import THRESHOLDS as DVC_THRESHOLDS
from seedvideo.evaluate.dvc import localise
from seedvideo.evaluate.exact import exact_match
from seedvideo.evaluate.items import Item, Prediction, Task
from seedvideo.evaluate.letters import option_of
from seedvideo.evaluate.moments import best_first, moment_ap
from seedvideo.evaluate.recall import best_iou, one_of
from seedvideo.evaluate.rouge import similarity
from seedvideo.evaluate.soda import Story, best_of, each_annotator, mean_f1
from seedvideo.evaluate.spans import matched_iou, passes

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
