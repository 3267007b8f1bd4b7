"""Zoom: where to look closer after a first look, and what each of these parts may cost.

A quarter of a budget buys a coarse plan of everything; the rest is spent in the spans that a first
answer names. The idea is that of Seed-1.8's VideoCut, which cuts spans out of a video for its model
on demand; here it is done once, within one budget. Knows no model. Times are exact seconds,
``_tokens`` are tokens in the sequence.
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Final

from seedvideo.media.timeline import Span

COARSE_SHARE: Final = Fraction(1, 4)
"""Part of the budget that the first look may cost."""

CLOSE_UPS: Final = 3
"""Most spans that are looked at closer."""

ZOOM_POLICIES: Final = ("adaptive", "uniform")
"""Policies that can plan a part of a video within a part of a budget and keep to it."""

_WIDENED_BY: Final = Fraction(1, 4)
"""Share of a span's length that is added on both sides: a first look names its ends roughly."""


def close_ups(
    named: Sequence[tuple[Fraction, Fraction]],
    *,
    window: Span,
    shown: Sequence[Fraction],
    times: Sequence[Fraction],
) -> list[Span]:
    """The parts to look at closer: named spans widened, those that touch joined, in order.

    Each is widened on both sides by a quarter of its length, or by half of the mean gap between
    shown frames where that is more: what lies there nobody has seen yet. It begins with a frame.

    Args:
        named: starts and ends, the surest first; the first `CLOSE_UPS` count.
        window: what was looked at.
        shown: times of the frames of the first look.
        times: of all frames of the video.
    """
    gap = window.duration / len(shown)
    widened = []
    for start, end in named[:CLOSE_UPS]:
        margin = max((end - start) * _WIDENED_BY, gap / 2)
        first = max(start - margin, window.start)
        # The picture that stands at that moment began before it.
        place = bisect_right(times, first) - 1
        if place >= 0:
            first = max(times[place], window.start)
        widened.append((first, min(end + margin, window.end)))
    joined: list[tuple[Fraction, Fraction]] = []
    for start, end in sorted(widened):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return [Span(start, end) for start, end in joined]


def shares(spans: Sequence[Span], *, budget_tokens: int, least_tokens: int) -> list[int]:
    """Tokens of each span, by its length; none gets less than one frame costs.

    Args:
        spans: what is looked at closer.
        budget_tokens: for all of them, at least ``least_tokens`` each.
        least_tokens: what the smallest frame costs.
    """
    spare = budget_tokens - least_tokens * len(spans)
    if spare < 0:
        raise ValueError(f"{budget_tokens} tokens do not give {len(spans)} spans a frame each")
    whole = sum((span.duration for span in spans), Fraction(0))
    reached = Fraction(0)
    marks = [0]
    for span in spans:
        reached += span.duration
        marks.append(int(spare * reached / whole))
    return [least_tokens + after - before for before, after in pairwise(marks)]
