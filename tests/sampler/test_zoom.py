"""Where a second look goes, and what each part of it may cost; worked out by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.media.timeline import Span
from seedvideo.sampler.zoom import close_ups, shares

WINDOW = Span(Fraction(0), Fraction(100))
TIMES = [Fraction(n, 10) for n in range(1_000)]
SHOWN = [Fraction(n) for n in range(0, 100, 5)]  # 20 frames, a mean gap of 5 s


def looked(*named: tuple[int, int], window: Span = WINDOW) -> list[tuple[float, float]]:
    spans = close_ups(
        [(Fraction(a), Fraction(b)) for a, b in named], window=window, shown=SHOWN, times=TIMES
    )
    return [(float(span.start), float(span.end)) for span in spans]


def test_a_short_span_is_widened_by_half_a_gap() -> None:
    assert looked((40, 44)) == [(37.5, 46.5)]
    assert looked((40, 40)) == [(37.5, 42.5)]  # an instant


def test_a_long_span_is_widened_by_a_quarter() -> None:
    assert looked((40, 60)) == [(35, 65)]


def test_spans_stay_in_the_window_and_come_in_order_once() -> None:
    assert looked((95, 100), (0, 2)) == [(0, 4.5), (92.5, 100)]
    assert looked((40, 44), (46, 50), (10, 12)) == [(7.5, 14.5), (37.5, 52.5)]
    assert looked((10, 12), (30, 32), (50, 52), (70, 72)) == [
        (7.5, 14.5),
        (27.5, 34.5),
        (47.5, 54.5),
    ]


def test_a_span_begins_with_the_picture_that_stands_there() -> None:
    (span,) = close_ups(
        [(Fraction(50), Fraction(51))],
        window=WINDOW,
        shown=SHOWN,
        times=[Fraction(0), Fraction(20), Fraction(90)],
    )
    assert span == Span(Fraction(20), Fraction(107, 2))


def test_shares_follow_the_lengths() -> None:
    spans = [Span(Fraction(0), Fraction(1)), Span(Fraction(5), Fraction(8))]
    assert shares(spans, budget_tokens=420, least_tokens=10) == [110, 310]
    assert shares(spans, budget_tokens=20, least_tokens=10) == [10, 10]
    with pytest.raises(ValueError, match="do not give 2 spans a frame each"):
        shares(spans, budget_tokens=19, least_tokens=10)


@given(
    st.lists(st.fractions(Fraction(1, 100), 50), min_size=1, max_size=5), st.integers(60, 10_000)
)
def test_shares_add_up(lengths: list[Fraction], budget: int) -> None:
    spans = [Span(Fraction(60 * n), 60 * n + length) for n, length in enumerate(lengths)]
    made = shares(spans, budget_tokens=budget, least_tokens=12)
    assert sum(made) == budget
    assert min(made) >= 12
