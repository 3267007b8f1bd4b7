"""Scores, statistics and the oracle against numbers computed by hand."""

from fractions import Fraction as F

import pytest

from seedvideo.evaluate.flashbench import BenchmarkItem, Event, SelectedFrame, oracle, score
from seedvideo.evaluate.flashbench.scoring import (
    count_blinks,
    level_needed,
    load_table,
    parse_table,
    tokens_needed,
)
from seedvideo.evaluate.metrics.statistics import (
    bootstrap_difference,
    cluster_bootstrap_mean,
    mcnemar,
)
from seedvideo.sampler.geometry import SEED
from tests.evaluate.flashbench.small_items import code, item


def shown(*pairs: tuple[F | int, int]) -> list[SelectedFrame]:
    return [SelectedFrame(F(time), tokens, 8) for time, tokens in pairs]


def test_a_span_is_half_open() -> None:
    event = code(10, 12)
    for time, hit in ((F(999, 100), False), (10, True), (F(1199, 100), True), (12, False)):
        found = score(item(event), shown((time, 128)), {event: 100})
        assert found.units[0].hit is hit


def test_print_is_read_at_its_need_and_above() -> None:
    event = code(10, 12)
    for tokens, need, legible in ((119, 120, False), (120, 120, True), (640, None, False)):
        unit = score(item(event), shown((11, tokens)), {event: need}).units[0]
        assert (unit.hit, unit.legible) == (True, legible)


def test_the_best_frame_inside_counts_and_no_frame_outside() -> None:
    event = code(10, 12)
    frames = shown((9, 640), (10, 120), (11, 240), (12, 640))
    assert score(item(event), frames, {event: 240}).units[0].legible
    assert not score(item(event), frames, {event: 241}).units[0].legible


def test_cost_gap_and_distance() -> None:
    event = code(10, 12)
    found = score(item(event), shown((5, 120), (14, 240), (90, 120)), {event: 1})
    assert (found.frames, found.tokens) == (3, 120 + 240 + 120 + 24)
    assert found.longest_gap_s == 76
    assert found.mean_distance_s == 3  # from 11 to 14
    nothing = score(item(event), [], {event: 1})
    assert (nothing.longest_gap_s, nothing.units[0].hit) == (100, False)


def test_frames_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        score(item(code(1, 2)), shown((5, 1), (5, 1)), {})


def test_an_order_counts_only_if_complete() -> None:
    events = [code(10 * n, 10 * n + 2, group=n // 2) for n in range(1, 5)]  # groups 0, 1, 1, 2
    frames = shown((11, 120), (21, 120), (41, 120))
    units = score(item(*events, task="T4"), frames, dict.fromkeys(events, 1)).units
    assert [unit.hit for unit in units] == [True, False, True]


def blinks(count: int) -> list[Event]:
    """One a second from second 10, half a second each."""
    return [Event(kind="blink", start=F(10 + n), end=F(10 + n) + F(1, 2)) for n in range(count)]


def test_blinks_are_counted_from_the_dark_between_them() -> None:
    bright_only = shown(*((F(10 + n), 1) for n in range(3)))
    assert count_blinks(blinks(3), bright_only) == 1
    # Twice the rate of the blinks: each is seen, and each gap.
    enough = shown(*((F(10) + F(n, 2), 1) for n in range(6)))
    assert count_blinks(blinks(3), enough) == 3
    found = score(item(*blinks(3), task="T5"), enough, {})
    assert [unit.hit for unit in found.units] == [True]
    assert not score(item(*blinks(3), task="T5"), bright_only, {}).units[0].hit


def test_a_fraction_and_its_interval() -> None:
    same = cluster_bootstrap_mean([[True, False], [True, False], [True, False]])
    assert (same.value, same.low, same.high) == (0.5, 0.5, 0.5)
    assert (same.videos, same.units) == (3, 6)
    mixed = cluster_bootstrap_mean([[True] * 4, [False] * 4])
    assert (mixed.value, mixed.low, mixed.high) == (0.5, 0.0, 1.0)
    with pytest.raises(ValueError, match="at least one"):
        cluster_bootstrap_mean([])


def test_a_difference_is_paired_by_video() -> None:
    ours = [[True, True], [False, False], [True, False]]
    theirs = [[True, False], [False, False], [False, False]]
    found = bootstrap_difference(ours, theirs)
    assert found.value == pytest.approx(2 / 6)
    assert 0 <= found.low < found.value < found.high <= 0.5
    with pytest.raises(ValueError, match="same questions"):
        bootstrap_difference([[True]], [[True, False]])


def test_mcnemar_by_hand() -> None:
    # 5 wins, no loss: two sides of (1/2)^5.
    assert mcnemar([True] * 5 + [False], [False] * 6) == pytest.approx(2 / 32)
    # 3 wins, 1 loss: 2 (1 + 4) / 16.
    ours, theirs = [True, True, True, False], [False, False, False, True]
    assert mcnemar(ours, theirs) == pytest.approx(10 / 16)
    assert mcnemar([True], [True]) == 1


TIMES = tuple(F(n, 10) for n in range(1000))


def best(asked: BenchmarkItem, needs: dict[Event, int | None], budget: int) -> list[SelectedFrame]:
    return oracle(asked, needs, times=TIMES, tokens=[120, 240], text_tokens=8, budget_tokens=budget)


def test_the_oracle_buys_the_cheap_answers_first() -> None:
    cheap, dear = code(10, 11), code(50, 51)
    needs: dict[Event, int | None] = {cheap: 120, dear: 240}
    asked = item(cheap, dear)
    for budget, kept in ((127, 0), (128, 1), (375, 1), (376, 2), (5000, 2)):
        frames = best(asked, needs, budget)
        assert sum(frame.tokens + 8 for frame in frames) <= budget
        assert sum(unit.legible for unit in score(asked, frames, needs).units) == kept


def test_the_oracle_lets_one_frame_answer_twice() -> None:
    one, other = code(10, 20, answer="ACDEFA"), code(15, 30)
    needs: dict[Event, int | None] = {one: 120, other: 120}
    found = score(item(one, other), best(item(one, other), needs, 128), needs)
    assert [unit.legible for unit in found.units] == [True, True]


def test_the_oracle_counts_blinks() -> None:
    asked = item(*blinks(4), task="T5")
    assert score(asked, best(asked, {}, 7 * 128), {}).units[0].hit
    assert not score(asked, best(asked, {}, 7 * 128 - 1), {}).units[0].hit


TABLE = """{"rows": [
  {"contrast": "high", "cap_height_px": 30, "level_tokens": 128, "read": 4, "shown": 8},
  {"contrast": "high", "cap_height_px": 30, "level_tokens": 640, "read": 8, "shown": 8},
  {"contrast": "high", "cap_height_px": 12, "level_tokens": 128, "read": 8, "shown": 8},
  {"contrast": "high", "cap_height_px": 12, "level_tokens": 640, "read": 3, "shown": 8}
]}"""


def test_the_need_is_the_lowest_level_from_which_on_print_is_read() -> None:
    table = parse_table(TABLE)
    assert level_needed(table, cap_height_px=30, contrast="high", levels=[640, 128]) == 128
    assert level_needed(table, cap_height_px=12, contrast="high", levels=[640, 128]) is None
    event, small = code(1, 2), code(5, 6, cap_height_px=12)
    found = tokens_needed(item(event, small), tokens_of_level={640: 594, 128: 120}, table=table)
    assert found == {event: 120, small: None}


def test_the_table_of_the_package_knows_every_level_and_larger_print_needs_less() -> None:
    table = load_table()
    heights = sorted({height for contrast, height, _ in table if contrast == "high"})
    needs = [
        level_needed(table, cap_height_px=height, contrast="high", levels=SEED.levels_tokens)
        or 10_000
        for height in heights
    ]
    assert {level for _, _, level in table} == set(SEED.levels_tokens)
    assert needs == sorted(needs, reverse=True)
    assert needs[0] > needs[-1]
