"""The grounding task: when does something happen, and how an answer becomes half-open spans.

Knows the times of the frames that were shown, never a picture. The prompt is part of how a model
was trained: changing it changes what a model says. Times are exact seconds from the video's start.

A model that points says of each shown frame how likely it shows what is looked for; `weigh_spans`
turns that into spans. The free text of any other model is read by `tasks.spans`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from seedvideo.errors import GroundError
from seedvideo.sampler.stamps import stamp
from seedvideo.tasks.spans import Moment
from seedvideo.tasks.think import with_thinking
from seedvideo.tasks.words import fault_of

NOT_FOUND: Final = "not found"
"""The answer where nothing of the kind is seen."""

_SAME: Final = 0.5
"""Overlap (IoU) from which two spans are told as one, the more probable."""

_ROUNDING: Final = 1e-9
"""What floats may take from an overlap that is equal to it."""

_WORTH_TELLING: Final = 0.05
"""Share of the best span's score that another one must have to be told."""

_UNSURE: Final = 1e-4
"""No frame is held more certain than this, so that none alone decides about a span."""


def clean_query(query: str) -> str:
    """The user's words, without white space around them.

    Raises:
        GroundError: ``ground.query_empty`` or ``ground.query_invalid``.
    """
    clean = query.strip()
    if not clean:
        raise GroundError(
            "ground.query_empty", "the query is empty", hint="describe what happens in the video"
        )
    fault = fault_of([clean])
    if fault is not None:
        raise GroundError("ground.query_invalid", f"the query {fault}")
    return clean


def ground_prompt(query: str, *, duration: Fraction, thinking: bool = False) -> str:
    """The user's text, last in the sequence.

    Args:
        query: what is looked for, as `clean_query` made it.
        duration: of the whole video, in seconds; told as the stamps of frames are.
        thinking: whether the model shall think first.
    """
    asked = (
        f'The video lasts {stamp(duration)} seconds. When does this happen: "{query}"?'
        f" Answer with start - end in seconds, or {NOT_FOUND}."
    )
    return with_thinking(asked, thinking=thinking)


@dataclass(frozen=True)
class Weighed:
    """What the probabilities of frames say of spans.

    Args:
        moments: that do not overlap much, the most probable first.
        scores: how probable each is: its own share and those of the spans that it stands for. They
            and ``not_found`` add up to 1 at most.
        texts: the first and the last stamp of each.
        not_found: how probable it is that no frame shows it.
    """

    moments: tuple[Moment, ...]
    scores: tuple[float, ...]
    texts: tuple[str, ...]
    not_found: float


def weigh_spans(
    times: Sequence[Fraction],
    probabilities: Sequence[float],
    *,
    bounds: Sequence[Fraction],
    top: int,
) -> Weighed:
    """Find the spans that explain best which frames show something.

    That nothing is found is as probable as that the likeliest frame shows nothing: the product over
    all frames would depend on how many were shown. The rest is shared out among all spans, from
    each frame to each later one, as frames within should show it and those without should not.

    Args:
        times: of the shown frames, strictly increasing.
        probabilities: one a frame.
        bounds: frame ``i`` stands for ``[bounds[i], bounds[i + 1])``.
        top: most spans; fewer where the others are far less probable.

    Raises:
        ValueError: if there is no frame, or not one probability and one stretch of time for each.
    """
    import numpy as np  # Not above: help and wrong usage load this file, and need no arrays.

    if not times or not len(times) == len(probabilities) == len(bounds) - 1:
        raise ValueError(
            f"{len(times)} times do not go with {len(probabilities)} probabilities and"
            f" {len(bounds)} bounds"
        )
    sure = np.clip(np.asarray(probabilities, dtype=float), _UNSURE, 1 - _UNSURE)
    sums = np.concatenate(([0.0], np.cumsum(np.log(sure) - np.log1p(-sure))))
    firsts, lasts = np.triu_indices(len(times))
    weights = np.exp((gains := sums[lasts + 1] - sums[firsts]) - gains.max())
    there = float(sure.max())
    shares = weights / weights.sum() * there
    # Floats: of a thousand frames there are half a million spans.
    edges = np.asarray([float(bound) for bound in bounds])
    starts, ends = edges[firsts], edges[lasts + 1]
    kept: list[tuple[int, int]] = []
    scores: list[float] = []
    is_left = np.ones(len(shares), dtype=bool)
    while len(kept) < top and is_left.any():
        best = int(np.where(is_left, shares, -1.0).argmax())
        both = np.minimum(ends, ends[best]) - np.maximum(starts, starts[best])
        either = np.maximum(ends, ends[best]) - np.minimum(starts, starts[best])
        is_same = is_left & (both >= (_SAME - _ROUNDING) * either)
        is_same[best] = True
        kept.append((int(firsts[best]), int(lasts[best])))
        scores.append(float(shares[is_same].sum()))
        is_left &= ~is_same
    order = sorted(range(len(kept)), key=lambda at: -scores[at])
    order = [at for at in order if scores[at] >= _WORTH_TELLING * scores[order[0]]]
    told = [kept[at] for at in order]
    return Weighed(
        moments=tuple(Moment(bounds[first], bounds[last + 1]) for first, last in told),
        scores=tuple(scores[at] for at in order),
        texts=tuple(f"{stamp(times[first])} - {stamp(times[last])}" for first, last in told),
        not_found=1 - there,
    )
