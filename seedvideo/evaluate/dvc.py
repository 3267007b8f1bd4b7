"""Dense captions by their times: precision, recall and F1 at IoU thresholds.

Krishna et al., "Dense-captioning events in videos", ICCV 2017. A predicted event is right if it
overlaps any event of the truth enough, an event is found if any prediction overlaps it enough;
there is no matching one to one. With several annotators, the best precision and the best recall
count. A video without prediction scores 0 in both, and stays in the mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from seedvideo.evaluate.spans import Reversed, Rule, Span, iou, passes

THRESHOLDS: Final = (0.3, 0.5, 0.7, 0.9)
"""The tIoUs of the ActivityNet challenge."""


@dataclass(frozen=True)
class Localisation:
    """How well the times of events were found; shares from 0 to 1.

    Args:
        precision: of the predicted events, those that are right.
        recall: of the true events, those that are found.
    """

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return f1(self.precision, self.recall)


def f1(precision: float, recall: float) -> float:
    """Harmonic mean; 0 where both are 0."""
    total = precision + recall
    return 2 * precision * recall / total if total > 0 else 0.0


def localise(
    predicted: Sequence[Span],
    references: Sequence[Sequence[Span]],
    *,
    threshold: float,
    rule: Rule = ">=",
    reversed_spans: Reversed = "nothing",
) -> Localisation:
    """Score the events of one video at one threshold.

    Args:
        predicted: the spans of the predicted events.
        references: for each annotator, the spans of the events.
        threshold: IoU from which on two events are the same.
        rule: whether the threshold itself passes; the official script asks for more than it.
        reversed_spans: what a prediction that runs backward is worth.

    Raises:
        ValueError: if no annotator saw an event.
    """
    if not any(references):
        raise ValueError("a video without an event cannot be scored")
    precision = recall = 0.0
    for truth in filter(None, references):
        same = [
            [
                passes(iou(one, other, reversed_spans=reversed_spans), threshold, rule=rule)
                for other in truth
            ]
            for one in predicted
        ]
        right = sum(any(row) for row in same)
        found = sum(any(row[place] for row in same) for place in range(len(truth)))
        precision = max(precision, right / len(predicted) if predicted else 0.0)
        recall = max(recall, found / len(truth))
    return Localisation(precision, recall)


def localise_all(
    predicted: Sequence[Sequence[Span]],
    references: Sequence[Sequence[Sequence[Span]]],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    rule: Rule = ">=",
    reversed_spans: Reversed = "nothing",
) -> dict[float, Localisation]:
    """Mean over videos, at each threshold.

    Published scripts print the mean of precision and of recall over the thresholds. Where they
    print F1, definitions differ: VidChapters and VTimeLLM take the mean over the thresholds of F1,
    Vid2Seq the F1 of each video. `seedvideo eval` prints the F1 of the two means.

    Args:
        predicted: for each video, the spans of the predicted events; none for a video without any.
        references: for each video, each annotator's spans.
        thresholds: IoUs.
        rule: see `localise`.
        reversed_spans: see `localise`.

    Raises:
        ValueError: if there is no video, the two differ in length or a video has no event.
    """
    if not references or len(predicted) != len(references):
        raise ValueError(f"{len(predicted)} predictions for {len(references)} videos")
    means = {}
    for threshold in thresholds:
        each = [
            localise(own, theirs, threshold=threshold, rule=rule, reversed_spans=reversed_spans)
            for own, theirs in zip(predicted, references, strict=True)
        ]
        means[threshold] = Localisation(
            math.fsum(one.precision for one in each) / len(each),
            math.fsum(one.recall for one in each) / len(each),
        )
    return means
