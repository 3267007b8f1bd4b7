"""Dense captioning metrics: precision, recall and F1 of times, and SODA, which keeps the order.

Localisation: Krishna et al., "Dense-captioning events in videos", ICCV 2017. A predicted event is
right if it overlaps any true event enough; a true event is found if any prediction overlaps it
enough. There is no one-to-one matching. With several annotators, the best precision and the best
recall count. A video without prediction scores 0 in both, and stays in the mean.

SODA: Fujita et al., "SODA: story oriented dense video captioning evaluation framework", ECCV 2020.
Events of both sides are sorted by time; pairs are chosen so that the sum of their scores is
greatest and no two cross. A pair scores its IoU (SODA_d), or IoU times the similarity of the two
captions (SODA_c). The paper's similarity is METEOR, which needs Java; here it is an argument, so
scores do not compare with published ones. Precision is the sum divided by the number of predicted
events, recall by the number of true ones. The official script drops videos without prediction,
which rewards silence; here they score 0.

For several annotators there are three published rules, far apart on ActivityNet Captions:

- `select_best` of `score_per_annotator`: the annotator whose F1 is best, per video, as in the
  official script with ``-mr``.
- `mean_f1` of `score_per_annotator`: each annotator separately, then the mean, as in the scripts of
  PDVC and VidChapters.
- One `Story` with the events of all annotators: the official script without ``-mr``.

Separate from `seedvideo.evaluate.metrics.temporal`, which would exceed 500 lines with it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from seedvideo.evaluate.metrics.temporal import (
    ReversedSpanRule,
    Span,
    ThresholdRule,
    iou,
    passes_threshold,
)

THRESHOLDS: Final = (0.3, 0.5, 0.7, 0.9)
"""The tIoUs of the ActivityNet challenge."""


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall of predicted events, from 0 to 1.

    Args:
        precision: fraction of the predicted events that are right.
        recall: fraction of the true events that are found.
    """

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return f1(self.precision, self.recall)


def f1(precision: float, recall: float) -> float:
    """Return the harmonic mean; 0 if both are 0."""
    total = precision + recall
    return 2 * precision * recall / total if total > 0 else 0.0


def score_localisation(
    predicted: Sequence[Span],
    references: Sequence[Sequence[Span]],
    *,
    threshold: float,
    rule: ThresholdRule = ">=",
    reversed_spans: ReversedSpanRule = "nothing",
) -> PrecisionRecall:
    """Score the events of one video at one threshold.

    Args:
        predicted: the spans of the predicted events.
        references: for each annotator, the spans of the events.
        threshold: minimum IoU of two equal events.
        rule: whether the threshold itself passes; it does not in the official script.
        reversed_spans: how a reversed prediction is scored.

    Raises:
        ValueError: if no annotator has an event.
    """
    if not any(references):
        raise ValueError("a video without an event cannot be scored")
    precision = recall = 0.0
    for truth in filter(None, references):
        same = [
            [
                passes_threshold(
                    iou(one, other, reversed_spans=reversed_spans), threshold, rule=rule
                )
                for other in truth
            ]
            for one in predicted
        ]
        right = sum(any(row) for row in same)
        found = sum(any(row[i] for row in same) for i in range(len(truth)))
        precision = max(precision, right / len(predicted) if predicted else 0.0)
        recall = max(recall, found / len(truth))
    return PrecisionRecall(precision, recall)


CaptionSimilarity: TypeAlias = Callable[[str, str], float]
"""How alike a caption and a reference are, from 0 to 1; for example `rouge_l_similarity`."""


@dataclass(frozen=True)
class Story:
    """The events of one video, by one annotator or model.

    Args:
        spans: spans of the events, in any order.
        captions: their captions, in the same order; empty if only times count.

    Raises:
        ValueError: if there are captions, but not one per span.
    """

    spans: tuple[Span, ...]
    captions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.captions and len(self.captions) != len(self.spans):
            raise ValueError(f"{len(self.captions)} captions for {len(self.spans)} spans")

    def sorted_events(self) -> list[tuple[Span, str]]:
        """Return spans and captions, sorted by start, then by end."""
        captions = self.captions or ("",) * len(self.spans)
        return sorted(zip(self.spans, captions, strict=True), key=lambda event: event[0])


def select_best(each: Sequence[PrecisionRecall]) -> PrecisionRecall:
    """Return the score of the annotator whose F1 is best; the first of equals."""
    return max(each, key=lambda one: one.f1)


def score_per_annotator(
    predicted: Story,
    references: Sequence[Story],
    *,
    similarity: CaptionSimilarity | None = None,
    reversed_spans: ReversedSpanRule = "nothing",
) -> list[PrecisionRecall]:
    """Score one video against each annotator with an event.

    Args:
        predicted: events of a model.
        references: events of each annotator.
        similarity: similarity of two captions; None scores times alone.
        reversed_spans: how a reversed prediction is scored.

    Raises:
        ValueError: if no annotator has an event.
    """
    stories = [story for story in references if story.spans]
    if not stories:
        raise ValueError("a video without an event cannot be scored")
    if not predicted.spans:
        return [PrecisionRecall(0.0, 0.0)] * len(stories)
    found = []
    events = predicted.sorted_events()
    for story in stories:
        table = []
        for span, caption in events:
            row = []
            for other, text in story.sorted_events():
                shared = iou(span, other, reversed_spans=reversed_spans)
                # The similarity is only computed where it counts: most pairs do not overlap.
                row.append(shared * similarity(caption, text) if similarity and shared else shared)
            table.append(row)
        total = best_ordered_matching(table)
        found.append(PrecisionRecall(total / len(events), total / len(story.spans)))
    return found


def best_ordered_matching(scores: Sequence[Sequence[float]]) -> float:
    """Return the maximum sum of pairs in a table of scores, both indices rising from pair to pair.

    Args:
        scores: ``(rows, columns)``, none below 0.
    """
    best = [0.0] * (len(scores[0]) + 1 if scores else 1)
    for row in scores:
        now = [0.0]
        for i, score in enumerate(row):
            now.append(max(best[i + 1], now[i], best[i] + score))
        best = now
    return best[-1]


def mean_f1(each: Sequence[PrecisionRecall]) -> float:
    """Return the mean F1 over videos, or over a video's annotators.

    Raises:
        ValueError: if there are no scores.
    """
    if not each:
        raise ValueError("no scores to take the mean of, expected at least one")
    return math.fsum(one.f1 for one in each) / len(each)
