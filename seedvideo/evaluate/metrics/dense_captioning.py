"""Dense captions as one story: a matching that keeps the order, in the spirit of SODA.

Fujita et al., "SODA: story oriented dense video captioning evaluation framework", ECCV 2020. Events
of both sides stand in order of time; pairs are chosen so that the sum of their scores is greatest
and no two cross. A pair scores its IoU (SODA_d), or IoU times the likeness of the two captions
(SODA_c; the paper's likeness is METEOR, which needs Java: ours is passed in, so scores don't
compare with published ones). Precision is the sum over predicted events, recall over true ones.

The official script leaves videos without prediction out, which rewards silence: here they score 0.

With several annotators there are three published rules, far apart on ActivityNet Captions:

- `soda`: the annotator whose F1 is best, per video, as the official script does with ``-mr``.
- `mean_f1` of `each_annotator`: each annotator separately, then the mean. The scripts of PDVC and
  VidChapters print this one.
- One `Story` with the events of all annotators: the official script without ``-mr``.

Dense captions by their times: precision, recall and F1 at IoU thresholds.

Krishna et al., "Dense-captioning events in videos", ICCV 2017. A predicted event is right if it
overlaps any event of the truth enough, an event is found if any prediction overlaps it enough;
there is no matching one to one. With several annotators, the best precision and the best recall
count. A video without prediction scores 0 in both, and stays in the mean.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from seedvideo.evaluate.metrics.temporal import Reversed, Rule, Span, iou, passes

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


Likeness: TypeAlias = Callable[[str, str], float]
"""How alike a caption and a reference are, from 0 to 1; such as `rouge.similarity`."""


@dataclass(frozen=True)
class Story:
    """The events of one video, by one teller.

    Args:
        spans: when they happen, in any order.
        captions: what they are, in the same order; may be empty where only times count.

    Raises:
        ValueError: if there are captions, but not one a span.
    """

    spans: tuple[Span, ...]
    captions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.captions and len(self.captions) != len(self.spans):
            raise ValueError(f"{len(self.captions)} captions for {len(self.spans)} spans")

    def in_order(self) -> list[tuple[Span, str]]:
        """Events by start, then by end."""
        captions = self.captions or ("",) * len(self.spans)
        return sorted(zip(self.spans, captions, strict=True), key=lambda event: event[0])


def soda(
    predicted: Story,
    references: Sequence[Story],
    *,
    likeness: Likeness | None = None,
    reversed_spans: Reversed = "nothing",
) -> Localisation:
    """Score one video; with several annotators, against the one whose F1 is best.

    Args: see `each_annotator`.

    Raises:
        ValueError: if no annotator saw an event.
    """
    return best_of(
        each_annotator(predicted, references, likeness=likeness, reversed_spans=reversed_spans)
    )


def best_of(each: Sequence[Localisation]) -> Localisation:
    """The score of the annotator whose F1 is best; the first of equals."""
    return max(each, key=lambda one: one.f1)


def each_annotator(
    predicted: Story,
    references: Sequence[Story],
    *,
    likeness: Likeness | None = None,
    reversed_spans: Reversed = "nothing",
) -> list[Localisation]:
    """Score one video against each annotator who saw an event.

    Args:
        predicted: what a model told.
        references: what each annotator told.
        likeness: of captions; None scores times alone.
        reversed_spans: what a predicted span that runs backward is worth.

    Raises:
        ValueError: if no annotator saw an event.
    """
    stories = [story for story in references if story.spans]
    if not stories:
        raise ValueError("a video without an event cannot be scored")
    if not predicted.spans:
        return [Localisation(0.0, 0.0)] * len(stories)
    found = []
    told = predicted.in_order()
    for story in stories:
        table = []
        for span, caption in told:
            row = []
            for other, text in story.in_order():
                shared = iou(span, other, reversed_spans=reversed_spans)
                # Likeness is only asked for where it counts: most pairs share no time.
                row.append(shared * likeness(caption, text) if likeness and shared else shared)
            table.append(row)
        total = best_in_order(table)
        found.append(Localisation(total / len(told), total / len(story.spans)))
    return found


def best_in_order(scores: Sequence[Sequence[float]]) -> float:
    """The greatest sum of pairs from a table of scores, both indices rising from pair to pair.

    Args:
        scores: ``(rows, columns)``, none below 0.
    """
    best = [0.0] * (len(scores[0]) + 1 if scores else 1)
    for row in scores:
        now = [0.0]
        for place, score in enumerate(row):
            now.append(max(best[place + 1], now[place], best[place] + score))
        best = now
    return best[-1]


def mean_f1(each: Sequence[Localisation]) -> float:
    """Mean F1 over videos, those without prediction included, or over a video's annotators.

    Raises:
        ValueError: if there is nothing to take the mean of.
    """
    if not each:
        raise ValueError("there is no video or annotator to score")
    return math.fsum(one.f1 for one in each) / len(each)
