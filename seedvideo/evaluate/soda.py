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
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from seedvideo.evaluate.dvc import Localisation
from seedvideo.evaluate.spans import Reversed, Span, iou

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
