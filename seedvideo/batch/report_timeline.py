"""Spans over the length of a video, as a picture inside the report.

Positions are per cent of the width, so that the picture is as wide as its place while its text
keeps its size. Knows times only. Units: seconds; heights in pixels.
"""

from collections.abc import Sequence
from typing import Final

from seedvideo.records import MediaRecord

_LANE_PX: Final = 26
_TICKS_PX: Final = 20
_MAX_LANES: Final = 4
_NUMBERED_PERCENT: Final = 4.0
"""Least width of a span that has room for its number, on a telephone too."""
_FIRST_SHARE: Final = 0.1
_LAST_SHARE: Final = 0.8
"""Round times stand between these shares of the line, so that the first and the last number have
room, on a telephone too."""
_STEPS_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_MOST_TICKS: Final = 6


def timeline(
    spans: Sequence[tuple[float, float]], *, faded: Sequence[bool], media: MediaRecord | None
) -> str:
    """An SVG of spans over the length of a video, in as few lanes as keep them apart.

    Args:
        spans: starts and ends, the best first.
        faded: for each whether it is drawn paler.
        media: tells the length; without it there is no picture.
    """
    if media is None:
        return ""
    start_s = min([0.0, *(start for start, _ in spans)])
    end_s = max([start_s + media.duration_s, *(end for _, end in spans)])
    if end_s <= start_s:
        return ""
    lanes = _lanes(spans)
    count = max(lanes, default=0) + 1
    high = count * _LANE_PX
    parts = [f'<rect class="band" width="100%" height="{high}" rx="5"/>']
    for place, ((first, last), lane, pale) in enumerate(zip(spans, lanes, faded, strict=True)):
        parts.append(
            _span(
                place + 1, first, last, lane, pale=pale, start_s=start_s, length_s=end_s - start_s
            )
        )
    parts += _ticks(start_s, end_s, high)
    label = f"{len(spans)} span{'s' * (len(spans) != 1)} over {end_s - start_s:.1f} seconds"
    return (
        f'<figure class="time"><svg role="img" aria-label="{label}" height="{high + _TICKS_PX}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _span(
    number: int,
    first_s: float,
    last_s: float,
    lane: int,
    *,
    pale: bool,
    start_s: float,
    length_s: float,
) -> str:
    left = 100 * (first_s - start_s) / length_s
    # One instant is still to be seen.
    width = max(0.4, 100 * (last_s - first_s) / length_s)
    kind = ("one" if number % 2 else "other") + (" faded" if pale else "")
    top = lane * _LANE_PX + 3
    text = ""
    if width >= _NUMBERED_PERCENT:
        text = (
            f'<text class="number{" faded" * pale}" x="{left + width / 2:.3f}%" y="{top + 14}"'
            f' text-anchor="middle" aria-hidden="true">{number}</text>'
        )
    return (
        f'<rect class="{kind}" x="{left:.3f}%" y="{top}" width="{width:.3f}%"'
        f' height="{_LANE_PX - 6}" rx="3"><title>{number}: {first_s:.1f} to {last_s:.1f} s</title>'
        f"</rect>{text}"
    )


def _ticks(start_s: float, end_s: float, top: int) -> list[str]:
    """Round times below the lanes; the first and the last are those of the video."""
    length_s = end_s - start_s
    step_s = next((s for s in _STEPS_S if length_s / s <= _MOST_TICKS), length_s)
    times = [start_s]
    number = int(start_s / step_s) + 1
    while number * step_s < end_s:
        if _FIRST_SHARE < (number * step_s - start_s) / length_s < _LAST_SHARE:
            times.append(number * step_s)
        number += 1
    times.append(end_s)
    parts = []
    for place, time_s in enumerate(times):
        left = 100 * (time_s - start_s) / length_s
        anchor = "start" if place == 0 else "end" if place == len(times) - 1 else "middle"
        unit = " s" if place == len(times) - 1 else ""
        parts.append(
            f'<line class="tick" x1="{left:.3f}%" x2="{left:.3f}%" y1="{top}" y2="{top + 4}"/>'
            f'<text class="at" x="{left:.3f}%" y="{top + 16}" text-anchor="{anchor}">'
            f"{_tick(time_s)}{unit}</text>"
        )
    return parts


def _tick(time_s: float) -> str:
    return f"{time_s:.1f}".removesuffix(".0")


def _lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """For each span, the best first, the first lane where it meets no other; else the last one."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_MAX_LANES)]
    lanes = []
    for first, last in spans:
        free = (
            lane
            for lane, others in enumerate(taken)
            if all(last <= start or first >= end for start, end in others)
        )
        lane = next(free, _MAX_LANES - 1)
        taken[lane].append((first, last))
        lanes.append(lane)
    return lanes
