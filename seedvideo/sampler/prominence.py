"""Prominence of events: which of them stand out, and how credible each is, among like activity.

The same change means little in a crowd and much in a calm scene. So an event is compared with those
nearby of like activity (`seedvideo.sampler.novelty`), and the time in which they are frequent is
counted in seconds of like activity: ten calm seconds between two crowds are as calm as any others.

Times are float seconds.

Separate from `seedvideo.sampler.demand_estimation`, which would exceed 500 lines with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.events import NoveltyEvent
from seedvideo.sampler.novelty import LIKE_OCTAVES, Signals
from seedvideo.utils.timecode import Span

_NEAR_S: Final = 5.0
"""Time before and after an event in which others are near it."""
_CROWDED_COUNT: Final = 4
"""Number of events within `_NEAR_S` from which an event must be prominent among them to count."""

_PROMINENCE: Final = 2.0
"""Minimum ratio of a prominent event to the stronger quarter of those near it; empirical."""

_BUSY_PER_S: Final = 0.5
"""Minimum events per second of like activity in busy time."""
_BUSY_S: Final = 10.0
"""Time before and after a moment in which events make it busy."""
_BUSY_COUNT: Final = 5
"""Minimum number of these events."""
_MOMENT_S: Final = 0.25
"""Time within which several events count as one moment of busy time."""

_CONTEXT_S: Final = 60.0
"""Time before and after an event in which other events reduce its confidence."""

_RARE_INTERVAL_S: Final = 20.0
"""Mean time between events from which they are rare."""

_CROWD_PROMINENCE: Final = 2.0
"""Ratio to the stronger events around at which an event in a crowd is half as credible."""

_RARE_AT_PLACE_S: Final = 60.0
"""Mean time between events at one place from which they are rare: what recurs there is usual."""
_PLACE_BLOCKS: Final = 2
"""Maximum distance of events at one place, in rows and columns of blocks."""

_MAX_TYPICAL_STRENGTH: Final = 15.0
"""Maximum strength at which an event is half as credible: credible events do not devalue others."""

_MAX_EVENTS: Final = 500
"""Maximum number of events; the strongest are kept. Bounds the number of segments."""

_STEP_S: Final = 1.0
"""Time step of activity and busy time."""


@dataclass(frozen=True)
class ProminentEvent:
    """An event that is prominent among those near it.

    Args:
        event: the event.
        confidence: confidence that it matters, 0 to 1.
        in_busy_time: whether it lies in busy time.
    """

    event: NoveltyEvent
    confidence: float
    in_busy_time: bool


class _Timeline:
    """Activity per second, and the events with their activities.

    Args:
        events: events in order of time.
        times_s: times of all frames.
        signals: signals of the analysis.
        end_s: end of the video.
    """

    def __init__(
        self,
        events: Sequence[NoveltyEvent],
        times_s: npt.NDArray[np.float64],
        signals: Signals,
        end_s: float,
    ) -> None:
        steps = np.arange(0.0, max(end_s, _STEP_S), _STEP_S)
        low = np.searchsorted(signals.times_s, steps)
        high = np.searchsorted(signals.times_s, steps + _STEP_S)
        # A second without a step has the activity of the last one before it.
        self.levels = np.asarray(
            [
                np.median(signals.activity[a:b]) if b > a else signals.activity[max(a - 1, 0)]
                for a, b in zip(low.tolist(), high.tolist(), strict=True)
            ],
            np.float64,
        )
        self.moments_s = np.asarray([float(times_s[each.frame_index]) for each in events])
        indices = np.asarray([each.frame_index for each in events], np.int64)
        at = np.searchsorted(signals.frame_indices, indices, side="right") - 1
        self.event_levels = signals.activity[np.maximum(at, 0)].astype(np.float64)
        self.strengths = np.asarray([each.strength for each in events], np.float64)
        self.is_local = np.asarray([each.area_fraction < 1 for each in events], np.bool_)
        # Events without a place are apart from all others.
        self.blocks = np.asarray(
            [each.block or (-1000 * (i + 1), 0) for i, each in enumerate(events)], np.int64
        )

    def like_events(self, moment_s: float, level: float, half_s: float) -> npt.NDArray[np.int64]:
        """Return the events of like activity around a moment."""
        low = int(np.searchsorted(self.moments_s, moment_s - half_s))
        high = int(np.searchsorted(self.moments_s, moment_s + half_s, side="right"))
        return low + np.flatnonzero(np.abs(self.event_levels[low:high] - level) <= LIKE_OCTAVES)

    def like_time_s(self, moment_s: float, level: float, half_s: float) -> float:
        """Return the time of like activity around a moment; beyond the video it goes on."""
        low, high = int((moment_s - half_s) / _STEP_S), int((moment_s + half_s) / _STEP_S)
        inside = self.levels[max(low, 0) : max(high, 1)]
        if not len(inside):
            return 2 * half_s
        return 2 * half_s * float((np.abs(inside - level) <= LIKE_OCTAVES).mean())

    def busy_seconds(self) -> npt.NDArray[np.bool_]:
        """Return for each second whether it is busy."""
        busy = np.zeros(len(self.levels), np.bool_)
        if len(self.moments_s) < _BUSY_COUNT:
            return busy
        for second, level in enumerate(self.levels.tolist()):
            middle_s = (second + 0.5) * _STEP_S
            like = self.like_events(middle_s, level, _BUSY_S)
            # Flickering light is not a crowd: novelty is judged without it.
            moments = _distinct(self.moments_s[like[self.is_local[like]]])
            needed = _BUSY_PER_S * self.like_time_s(middle_s, level, _BUSY_S)
            busy[second] = moments >= max(needed, _BUSY_COUNT)
        return busy


def _distinct(moments_s: npt.NDArray[np.float64]) -> int:
    """Count moments, of which those within `_MOMENT_S` of the one before count once."""
    return int((np.diff(moments_s) >= _MOMENT_S).sum()) + 1 if len(moments_s) else 0


def find_prominent_events(
    events: Sequence[NoveltyEvent],
    times_s: npt.NDArray[np.float64],
    signals: Signals,
    end_s: float,
) -> list[ProminentEvent]:
    """Select the events that are prominent among those near them of like activity.

    The confidence of an event follows from the number of prominent ones of like activity within a
    minute of it. Rare events have full confidence. The more there are, the more one must exceed the
    stronger of them, up to a limit: credible events do not devalue each other. What recurs at one
    place is usual there, without a limit.

    Args:
        events: events in order of time.
        times_s: times of all frames.
        signals: signals of the analysis.
        end_s: end of the video.
    """
    every = _Timeline(events, times_s, signals, end_s)
    busy = every.busy_seconds()
    kept = []
    for i, event in enumerate(events):
        near = every.like_events(float(every.moments_s[i]), float(every.event_levels[i]), _NEAR_S)
        others = every.strengths[near[near != i]]
        if len(others) < _CROWDED_COUNT or event.strength >= _PROMINENCE * float(
            np.quantile(others, 0.75)
        ):
            kept.append(event)
    if len(kept) > _MAX_EVENTS:
        least = sorted((event.strength for event in kept), reverse=True)[_MAX_EVENTS - 1]
        kept = [event for event in kept if event.strength >= least][:_MAX_EVENTS]
    few = _Timeline(kept, times_s, signals, end_s)
    return [
        ProminentEvent(
            event,
            _confidence(few, i),
            bool(busy[min(int(few.moments_s[i] / _STEP_S), len(busy) - 1)]),
        )
        for i, event in enumerate(kept)
    ]


def _confidence(events: _Timeline, i: int) -> float:
    moment_s, level = float(events.moments_s[i]), float(events.event_levels[i])
    like = events.like_events(moment_s, level, _CONTEXT_S)
    others = events.strengths[like[like != i]]
    time_s = events.like_time_s(moment_s, level, _CONTEXT_S)
    apart = np.abs(events.blocks[like] - events.blocks[i]).max(axis=1, initial=0)
    here = events.strengths[like[(like != i) & (apart <= _PLACE_BLOCKS)]]
    typical = max(
        min(_typical(others, time_s / _RARE_INTERVAL_S), _MAX_TYPICAL_STRENGTH),
        _typical(here, time_s / _RARE_AT_PLACE_S),
    )
    strength = float(events.strengths[i])
    return strength**4 / (strength**4 + typical**4)


def _typical(strengths: npt.NDArray[np.float64], rare: float) -> float:
    """Return the strength at which an event among others is half as credible; 0 if they are rare.

    Args:
        strengths: strengths of the others.
        rare: maximum number of rare events.
    """
    if len(strengths) <= rare:
        return 0.0
    rarity = rare / len(strengths)
    return _CROWD_PROMINENCE * (1 - rarity) * float(np.quantile(strengths, 0.75))


def busy_fraction(
    events: Sequence[NoveltyEvent],
    times_s: npt.NDArray[np.float64],
    signals: Signals,
    end_s: float,
    unknown: Sequence[Span] = (),
) -> float:
    """Return the fraction of the time in which events are so frequent that none is prominent.

    Time that was not inspected counts, because much may happen there.
    """
    busy = _Timeline(events, times_s, signals, end_s).busy_seconds()
    middles_s = (np.arange(len(busy)) + 0.5) * _STEP_S
    for span in unknown:
        busy[(middles_s >= float(span.start)) & (middles_s < float(span.end))] = True
    return float(busy.mean())
