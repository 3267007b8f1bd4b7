"""Demand estimation: from the findings of the analysis to the demands of segments.

A prominent event becomes a segment of its own for as long as it lasts. In a crowd of events none is
prominent, and the time counts as busy.

The detail of a picture sets the size at which it is legible. Detail is local contrast above the
level of grain (`_GRAIN_LEVELS`), measured as the loss when one larger luma picture is scaled down
and up again. Soft pictures lose nothing at the lowest level; dense small print loses most.

Separate from `seedvideo.sampler.analysis`, which would exceed 500 lines with it.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.events import NoveltyEvent
from seedvideo.sampler.freezes import Freeze
from seedvideo.sampler.geometry import TOKEN_AREA_PX
from seedvideo.sampler.novelty import Signals
from seedvideo.sampler.prominence import ProminentEvent, find_prominent_events
from seedvideo.sampler.shots import PaceSegment, split_by_pace, split_off_freezes
from seedvideo.sampler.transitions import FrameChange
from seedvideo.sampler.utility import (
    PRINT_TOKENS,
    Peak,
    SegmentDemand,
    StillPicture,
    event_probability,
)
from seedvideo.utils.timecode import Span

DETAIL_PX: Final = 640 * TOKEN_AREA_PX
"""Pixels of the picture in which detail is measured: the highest published level."""

MIN_TOKENS: Final = 32.0
"""Minimum tokens needed for the detail of a picture: a soft picture."""
MAX_TOKENS: Final = 800.0
"""Maximum tokens needed for the detail of a picture: above the highest published level of 640."""
UNKNOWN_TOKENS: Final = 160.0
"""Detail assumed without a decoded picture: typical for photographs."""

_LEVELS: Final = (128, 256, 384, 512)
"""Sizes in visual tokens at which the loss of detail is measured."""
_GRAIN_LEVELS: Final = 12.0
"""Local contrast, in grey levels, up to which a pixel counts as grain; empirical."""
_MIN_CONTRAST: Final = 0.05
"""Mean contrast, in grey levels, below which a picture has no detail."""

_READ: Final = 1 - math.exp(-1)
"""Fraction of legible detail that defines the tokens needed; see `legible_fraction`."""


def detail_tokens(picture: npt.NDArray[np.uint8]) -> float:
    """Measure the visual tokens per frame at which about 63% of a picture's detail survives.

    Args:
        picture: luma ``(H, W)`` of about `DETAIL_PX` pixels, or the full size of a smaller video.
    """
    import cv2  # Heavy; only needed for decoded pictures.

    height_px, width_px = picture.shape
    full = picture.astype(np.float32)
    contrast = np.abs(full - cv2.boxFilter(full, -1, (15, 15)))
    counts = contrast > _GRAIN_LEVELS
    total = float(contrast[counts].sum())
    if total < _MIN_CONTRAST * contrast.size:
        return MIN_TOKENS
    tokens_needed = MIN_TOKENS
    before = (0.0, 0.0)
    for level in _LEVELS:
        scale = math.sqrt(level * TOKEN_AREA_PX / (height_px * width_px))
        if scale >= 1:
            kept = 1.0
        else:
            size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
            small = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
            back = cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
            kept = 1 - min(1.0, float(np.abs(full - back)[counts].sum()) / total)
        if kept >= _READ:
            if before[0]:
                step = (_READ - before[1]) / (kept - before[1])
                return before[0] + step * (level - before[0])
            tokens_needed = level / -math.log(max(1 - kept, 1e-3))
            return min(max(tokens_needed, MIN_TOKENS), MAX_TOKENS)
        before = (float(level), kept)
    return MAX_TOKENS


_SMALL_FRACTION: Final = 0.05
"""Fraction of the picture area up to which an event is small."""

_MIN_EVENT_PROBABILITY: Final = 0.2
"""Minimum probability of an event that is not noise; less probable ones are ignored."""

_DEFAULT_EVENT_S: Final = 1.0
"""Assumed length of an event without an observed end."""

_MAX_EVENT_S: Final = 5.0
"""Maximum length of an event; a longer one counts as lasting `_DEFAULT_EVENT_S`."""
_STEP_S: Final = 1.0
"""Time step of the busy fraction and of the density."""


@dataclass(frozen=True, eq=False)
class AnalysisFindings:
    """Findings of an analysis, by frame index.

    Args:
        cuts: first frames of shots, rising, above 0.
        events: events in order of time.
        signals: signals at each step.
        change_s: time in which the picture changes, at each step.
        details: ``(frame_index, tokens)`` of each measurement of detail, rising; at least one.
        freezes: blank and frozen stretches, in order, not overlapping.
        borders: first frames of kinds of activity, rising, above 0.
        changes: changes of shots, in order.
    """

    cuts: list[int]
    events: list[NoveltyEvent]
    signals: Signals
    change_s: npt.NDArray[np.float64]
    details: list[tuple[int, float]]
    freezes: tuple[Freeze, ...] = ()
    borders: tuple[int, ...] = ()
    changes: tuple[FrameChange, ...] = ()


def make_demands(
    findings: AnalysisFindings, times: Sequence[Fraction], *, end: Fraction
) -> tuple[SegmentDemand, ...]:
    """Build the demands of segments that cover ``[0, end)``."""
    times_s = np.asarray([float(time) for time in times], np.float64)
    prominent = find_prominent_events(findings.events, times_s, findings.signals, float(end))
    events = [
        each
        for each in prominent
        if each.confidence * event_probability(each.event.strength) >= _MIN_EVENT_PROBABILITY
    ]
    spans = _event_spans(events, times_s, findings.cuts)
    steps = findings.signals.frame_indices
    segments = split_by_pace(
        times_s, steps, findings.change_s, sorted({*findings.cuts, *findings.borders})
    )
    segments = split_off_freezes(
        segments, findings.freezes, findings.cuts, steps, findings.change_s
    )
    shot_starts = set(findings.cuts)
    demands: list[SegmentDemand] = []
    for segment in segments:
        if segment.freeze is not None and not shot_starts.isdisjoint(
            range(segment.first, segment.freeze.core_first + 1)
        ):
            # Frames between the shots that the analysis skipped belong to this segment.
            shot_starts.add(segment.first)
        for first, stop, found in _split_segment(segment, spans):
            start_time = times[first] if first else Fraction(0)
            end_time = times[stop] if stop < len(times) else end
            detail = _detail(findings.details, first, stop)
            still = _still_picture(segment.freeze, times, first, stop, end_time)
            print_tokens = PRINT_TOKENS
            if still is not None and still.is_blank:
                detail = print_tokens = MIN_TOKENS
            if found is None:
                demands.append(
                    SegmentDemand(
                        start=start_time,
                        end=end_time,
                        base=1.0,
                        events_per_s=0.0,
                        event_s=segment.change_s,
                        detail_tokens=detail,
                        density=_density(findings, times, first, stop, start_time),
                        starts_shot=first in shot_starts,
                        print_tokens=print_tokens,
                        still=still,
                    )
                )
                continue
            event = found.event
            length = end_time - start_time
            is_small = event.area_fraction <= _SMALL_FRACTION
            seen_end = event.end_index is not None and stop <= event.end_index
            last = None
            if seen_end and event.last_index is not None:
                last = times[max(first, min(event.last_index, stop - 1))]
            peak = Peak(
                times[event.frame_index],
                event.strength,
                end_time if seen_end else None,
                last,
                in_busy_time=found.in_busy_time,
            )
            demands.append(
                SegmentDemand(
                    start=start_time,
                    end=end_time,
                    base=1.0,
                    events_per_s=found.confidence / float(length),
                    event_s=float(length),
                    detail_tokens=max(detail, print_tokens) if is_small else detail,
                    peaks=(peak,),
                    starts_shot=first in shot_starts,
                    change_s=segment.change_s,
                    print_tokens=print_tokens,
                    # An event in a frozen picture is another picture; a blank one stays blank.
                    still=still if still is not None and still.is_blank else None,
                )
            )
    return tuple(demands)


def _still_picture(
    freeze: Freeze | None, times: Sequence[Fraction], first: int, stop: int, end_time: Fraction
) -> StillPicture | None:
    """Return the still picture of frames ``[first, stop)``, which end at ``end_time``."""
    if freeze is None:
        return None
    low, high = max(first, freeze.core_first), min(stop, freeze.core_end)
    if low >= high:
        return StillPicture(freeze.is_blank)
    core_end = times[high] if high < stop else end_time
    return StillPicture(freeze.is_blank, Span(times[low], core_end))


def _event_spans(
    events: Sequence[ProminentEvent], times_s: npt.NDArray[np.float64], cuts: Sequence[int]
) -> list[tuple[int, int, ProminentEvent]]:
    """Return the frames ``[first, end)`` of each event, rising, not overlapping.

    An event ends at the latest where the next one begins. Of several that begin at one moment the
    strongest stays, until the first of them ends, so that one frame shows all of them. The change
    at a cut is not an event, but a flash begins with one, and a small event may end after one.
    """
    starts = set(cuts)
    spans: list[tuple[int, int, ProminentEvent]] = []
    for each in events:
        event = each.event
        is_known = event.end_index is not None and (
            event.area_fraction == 1 or event.area_fraction <= _SMALL_FRACTION
        )
        if not is_known and not starts.isdisjoint(
            range(event.frame_index - 1, event.frame_index + 2)
        ):
            continue
        stop = event.end_index
        if stop is None or times_s[stop] - times_s[event.frame_index] > _MAX_EVENT_S:
            stop = int(np.searchsorted(times_s, times_s[event.frame_index] + _DEFAULT_EVENT_S))
        stop = max(stop, event.frame_index + 1)
        if spans and spans[-1][1] > event.frame_index:
            first, end, before = spans[-1]
            if event.frame_index == first:
                strongest = max(before, each, key=lambda one: one.event.strength)
                spans[-1] = (first, min(end, stop), strongest)
                continue
            spans[-1] = (first, event.frame_index, before)
        spans.append((event.frame_index, stop, each))
    return spans


def _split_segment(
    segment: PaceSegment, spans: Sequence[tuple[int, int, ProminentEvent]]
) -> list[tuple[int, int, ProminentEvent | None]]:
    """Split a segment at the events that begin in it, and end them with it at the latest."""
    parts: list[tuple[int, int, ProminentEvent | None]] = []
    start = segment.first
    for first, stop, found in spans:
        if not segment.first <= first < segment.end:
            continue
        if first > start:
            parts.append((start, first, None))
        stop = min(stop, segment.end)
        parts.append((first, stop, found))
        start = stop
    if start < segment.end:
        parts.append((start, segment.end, None))
    return parts


def _detail(details: Sequence[tuple[int, float]], first: int, end: int) -> float:
    """Return the median of the measurements inside a span, or the nearest measurement."""
    frame_indices = [frame_index for frame_index, _ in details]
    low, high = bisect_left(frame_indices, first), bisect_left(frame_indices, end)
    if high > low:
        return float(np.median([tokens for _, tokens in details[low:high]]))
    near = [i for i in (low - 1, low) if 0 <= i < len(details)]
    middle = (first + end) / 2
    return details[min(near, key=lambda i: abs(frame_indices[i] - middle))][1]


def _density(
    findings: AnalysisFindings, times: Sequence[Fraction], first: int, end: int, start: Fraction
) -> tuple[tuple[Fraction, float], ...]:
    """Return the rate of change per second in half octaves; empty if it is constant."""
    steps = findings.signals.frame_indices
    low, high = np.searchsorted(steps, [first, end])
    pairs: list[tuple[Fraction, float]] = []
    i = int(low)
    while i < high:
        begin_s = findings.signals.times_s[i]
        stop = int(np.searchsorted(findings.signals.times_s, begin_s + _STEP_S))
        stop = min(max(stop, i + 1), int(high))
        rate = 1.0 / float(np.median(findings.change_s[i:stop]))
        weight = float(2.0 ** (round(2 * np.log2(rate)) / 2))
        time = times[int(steps[i])] if pairs else start
        if not pairs or pairs[-1][1] != weight:
            pairs.append((time, weight))
        i = stop
    return tuple(pairs) if len(pairs) > 1 else ()
