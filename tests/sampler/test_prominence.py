"""Events are judged among those of like activity: a crowd takes nothing from the calm beside it."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from seedvideo.sampler.events import NoveltyEvent
from seedvideo.sampler.novelty import Signals
from seedvideo.sampler.prominence import ProminentEvent, busy_fraction, find_prominent_events

CALM, CROWD = 3.2, 8.5
"""Activities, in octaves."""

END_S = 600.0
TIMES_S = np.arange(0, END_S, 0.1)


def events_at(moments_s: Iterable[float], *, strength: float = 20.0) -> list[NoveltyEvent]:
    return [NoveltyEvent(round(moment * 10), strength, None, 0.01) for moment in moments_s]


def in_order(*groups: list[NoveltyEvent]) -> list[NoveltyEvent]:
    return sorted((each for group in groups for each in group), key=lambda each: each.frame_index)


def signals(period_s: float | None = None) -> Signals:
    """Return signals of a calm video, or of one in which a crowd is on for half of each period."""
    count = len(TIMES_S)
    zeros = np.zeros(count, np.float32)
    activity = np.full(count, CALM, np.float32)
    if period_s is not None:
        activity[TIMES_S % period_s >= period_s / 2] = CROWD
    return Signals(np.arange(count), TIMES_S, zeros, zeros, zeros, activity)


def find(events: list[NoveltyEvent], of: Signals) -> dict[int, ProminentEvent]:
    found = find_prominent_events(events, TIMES_S, of, END_S)
    return {each.event.frame_index: each for each in found}


def test_busy_time_is_where_events_are_frequent() -> None:
    frequent = events_at(100 + 0.5 * n for n in range(400))
    assert busy_fraction(frequent, TIMES_S, signals(), END_S) == pytest.approx(1 / 3, abs=0.05)
    assert busy_fraction(events_at([10, 100, 300]), TIMES_S, signals(), END_S) == 0


@pytest.mark.parametrize("period_s", [10, 14, 20, 60])
def test_half_of_an_alternating_video_is_busy_whatever_its_period(period_s: float) -> None:
    crowd = events_at(t for t in np.arange(0, END_S, 0.4) if t % period_s >= period_s / 2)
    signs = events_at(np.arange(2, END_S, period_s), strength=90.0)
    fraction = busy_fraction(in_order(crowd, signs), TIMES_S, signals(period_s), END_S)
    assert 0.45 <= fraction <= 0.6


def test_events_at_one_moment_count_once_for_busy_time() -> None:
    together = events_at(np.repeat(np.arange(5, END_S, 6), 4))
    assert busy_fraction(together, TIMES_S, signals(), END_S) == 0


def test_flickering_light_is_not_busy_time() -> None:
    flashes = [replace(each, area_fraction=1.0) for each in events_at(np.arange(0, END_S, 0.5))]
    assert busy_fraction(flashes, TIMES_S, signals(), END_S) == 0


def test_one_of_many_counts_only_if_it_is_prominent() -> None:
    crowd = events_at(100 + 0.5 * n for n in range(40))
    loud = NoveltyEvent(1102, 90.0, None, 0.01)
    assert find(in_order(crowd, [loud]), signals()).keys() == {1102}
    assert len(find(events_at([10, 12, 300]), signals())) == 3


def test_events_in_the_calm_are_judged_without_the_crowd_beside_them() -> None:
    crowd = events_at((t for t in np.arange(0, END_S, 0.4) if t % 10 >= 5), strength=40.0)
    signs = events_at(np.arange(2, END_S, 40), strength=30.0)
    found = find(in_order(crowd, signs), signals(10))
    assert all(found[each.frame_index].confidence == 1 for each in signs)
    assert not any(found[each.frame_index].in_busy_time for each in signs)
    same = find(in_order(crowd, signs), signals())
    assert not any(each.frame_index in same for each in signs)
    loud = NoveltyEvent(3076, 400.0, None, 0.01)
    assert find(in_order(crowd, signs, [loud]), signals(10))[3076].in_busy_time


def test_rare_events_are_credible_and_frequent_ones_must_be_stronger() -> None:
    rare = events_at(np.arange(0, END_S, 60), strength=12.0)
    assert all(each.confidence == 1 for each in find(rare, signals()).values())
    frequent = events_at(np.arange(0, END_S, 3), strength=12.0)
    assert find(frequent, signals())[3000].confidence < 0.35
    frequent[100] = NoveltyEvent(3000, 60.0, None, 0.01)
    assert find(frequent, signals())[3000].confidence > 0.9


def test_strong_events_do_not_devalue_each_other() -> None:
    signs = events_at(np.arange(0, END_S, 6), strength=100.0)
    assert min(each.confidence for each in find(signs, signals()).values()) > 0.95


def test_what_recurs_at_one_place_is_usual_there() -> None:
    lamp = [replace(each, block=(4, 7)) for each in events_at(np.arange(0, END_S, 15), strength=90)]
    spread = [replace(each, block=(i % 9, 4 * i % 16)) for i, each in enumerate(lamp)]
    assert find(lamp, signals())[3000].confidence < 0.4
    assert min(each.confidence for each in find(spread, signals()).values()) > 0.95
    rare = [replace(each, block=(4, 7)) for each in events_at(np.arange(0, END_S, 70))]
    assert all(each.confidence == 1 for each in find(rare, signals()).values())
