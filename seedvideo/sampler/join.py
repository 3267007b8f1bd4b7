"""Make shots fit for captions: long enough, each with a frame in it, and not too many.

Knows only spans and frame times, in exact seconds; not how the shots were found or what they cost.
"""

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

from seedvideo.media.timeline import Span


def join_shots(
    shots: Sequence[Span], times: Sequence[Fraction], *, shortest: Fraction, most: int
) -> list[Span]:
    """Join shots that are too short, hold no frame, or are too many.

    The shortest goes first, to the shorter of its neighbours, so that what remains is even.

    Args:
        shots: spans that follow one another without gaps; at least one.
        times: presentation times of the video's frames, increasing.
        shortest: a shot below this length is joined to a neighbour.
        most: most spans to keep; at least 1.

    Returns:
        At least one span; together they cover what ``shots`` cover.
    """
    spans = list(shots)
    lengths_s = [_length_s(span, times) for span in spans]
    while len(spans) > 1:
        index = lengths_s.index(min(lengths_s))
        if lengths_s[index] >= shortest and len(spans) <= most:
            break
        last = len(spans) - 1
        into_next = index == 0 or (index < last and lengths_s[index + 1] < lengths_s[index - 1])
        first = index if into_next else index - 1
        joined = Span(spans[first].start, spans[first + 1].end)
        spans[first : first + 2] = [joined]
        lengths_s[first : first + 2] = [_length_s(joined, times)]
    return spans


def inside(times: Sequence[Fraction], span: Span) -> range:
    """Indices of the times that lie in the span."""
    return range(bisect_left(times, span.start), bisect_left(times, span.end))


def _length_s(span: Span, times: Sequence[Fraction]) -> float:
    """Length of a span, 0 for one without a frame. A float: it only ranks, and a film has many."""
    return float(span.end - span.start) if inside(times, span) else 0.0
