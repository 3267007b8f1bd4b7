"""Quality of a clip: one number for each signal of the header, the packets and the analysis.

Everything is weighted by time. The analysis inspects more frames where more happens, so the mean
over its thumbnails would be the quality of the busy seconds. A thumbnail stands for the time until
the next one. Motion is measured over the second before a thumbnail, so it stands for the time since
the previous one. In time without thumbnails, where the packets show that nothing happens, nothing
moves.

What `auto` leaves out of a long video is estimated: motion from packet sizes, single pictures from
keyframes. No event or flash is found there, and it does not count as still.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.media.types import MediaInfo, PacketIndex
from seedvideo.sampler.analysis import Analysis
from seedvideo.utils.timecode import Span, seconds

_MOTION_LAG_S: Final = 1.0
"""Time over which `seedvideo.sampler.novelty` measures motion."""

_MIN_SKIP_S: Final = 0.6
"""Minimum time between two thumbnails that means that the analysis skipped unchanged frames."""

_CUT_PRECISION: Final = Fraction(1, 10)
"""Minimum time from a bound of a window to a cut inside it: thumbnails are so far apart that a
window of one shot may begin or end a little beyond the found cut."""

_DIGITS: Final = 6
"""Significant digits of measured values: more are noise."""

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Signals of one clip: a video, or a window of it. A value is None if it was not measured.

    Args:
        duration_s: duration of the clip in seconds.
        width_px: width of the displayed picture.
        height_px: height of the displayed picture.
        aspect: width over height of the displayed picture.
        fps: average frames per second; None for a single frame.
        bits_per_px: bits of the video packets per pixel of each frame, without padding: low values
            mean visible compression.
        motion_mean: mean speed of the picture within shots, in grey levels (0 to 255) per second.
            The second after a cut does not count, because the cut would.
        motion_max: maximum of that speed.
        detail_mean: mean strength of the edges in thumbnails, in grey levels. It is a property of
            the small picture, not the sharpness of the original.
        novelty_max: maximum novelty within shots, in robust deviations of a block
            (`seedvideo.sampler.novelty`); 8 and more are events.
        events: number of brief events: something appears in a part of the picture.
        shots: number of shots, at least 1.
        black_share: fraction of the time with a black picture, 0 to 1.
        still_share: fraction of the time in which the picture is frozen for two seconds or more, or
            blank, 0 to 1.
        letterbox_share: mean fraction of the picture that black bars at opposite edges cover, 0 to
            1; None if all pictures are black.
        flashes: number of flashes: another picture for at most two seconds.
        brightness: mean luma, from 0 (black) to 1 (white).
        colour: mean colourfulness: 0 for grey, about 45 on average, above 100 if vivid
            (`seedvideo.sampler.picture_signals.colourfulness`).
    """

    duration_s: float
    width_px: int
    height_px: int
    aspect: float
    fps: float | None
    bits_per_px: float | None
    motion_mean: float | None = None
    motion_max: float | None = None
    detail_mean: float | None = None
    novelty_max: float | None = None
    events: int | None = None
    shots: int | None = None
    black_share: float | None = None
    still_share: float | None = None
    letterbox_share: float | None = None
    flashes: int | None = None
    brightness: float | None = None
    colour: float | None = None


QUALITY_FIELDS: Final = tuple(field.name for field in fields(Quality))
"""Names of the signals, in order."""


def measure_quality(
    analysis: Analysis | None,
    info: MediaInfo,
    times: Sequence[Fraction],
    packets: PacketIndex,
    *,
    window: Span | None = None,
) -> Quality:
    """Measure a video, or a window of it, by its analysis. Decodes nothing.

    Args:
        analysis: analysis of the complete video. Without one, or with one of packet sizes only,
            which estimates the rest, the result has the values of header and packets alone.
        info: facts of the video.
        times: presentation times of all frames, in seconds.
        packets: sizes of their packets.
        window: part of the video; all of it if None.
    """
    end = max(info.duration, times[-1] + Fraction(1, 1000))
    window = Span(Fraction(0), end) if window is None else window
    first, stop = (bisect_left(times, time) for time in (window.start, window.end))
    frames = stop - first
    pixels = frames * info.coded_width_px * info.coded_height_px
    bits = 8 * sum(packets.sizes_bytes[first:stop])
    fps = info.fps_avg
    if frames < 2:
        fps = None
    elif fps is not None and info.is_vfr and frames < len(times):
        fps = frames / window.duration
    header = Quality(
        duration_s=seconds(window.duration),
        width_px=info.width_px,
        height_px=info.height_px,
        aspect=_rounded(info.width_px / info.height_px),
        fps=None if fps is None else _rounded(float(fps)),
        bits_per_px=_rounded(bits / pixels) if pixels else None,
    )
    if analysis is None or analysis.pictures is None:
        return header
    return _Measurement(analysis, window).add_to(header)


class _Measurement:
    """Measurement of a window of an analysed video."""

    def __init__(self, analysis: Analysis, window: Span) -> None:
        self._analysis = analysis
        self._window = window
        self._bounds_s = (float(window.start), float(window.end))
        self._cuts_s = np.asarray([float(cut) for cut in analysis.cuts], np.float64)

    def add_to(self, header: Quality) -> Quality:
        """Return the quality with the signals of the analysis."""
        analysis, window, pictures = self._analysis, self._window, self._analysis.pictures
        assert pictures is not None
        signals = analysis.signals
        first, last = window.start + _CUT_PRECISION, window.end - _CUT_PRECISION
        seen = ~self._is_unknown(signals.times_s)
        flashes = [time_s for time_s in pictures.flashes_s.tolist() if self._contains(time_s)]
        peaks = [peak.time for demand in analysis.demands for peak in demand.peaks]
        flash_times = set(pictures.flashes_s.tolist())
        events = [time for time in peaks if time in window and float(time) not in flash_times]
        motion_mean, motion_max = self._motion()
        values = {name: getattr(header, name) for name in QUALITY_FIELDS}
        values |= {
            "motion_mean": motion_mean,
            "motion_max": motion_max,
            "detail_mean": self._mean(signals.times_s[seen], signals.detail[seen]),
            "novelty_max": self._novelty(),
            "events": len(events),
            "shots": 1 + sum(first < each.time < last for each in analysis.changes),
            "black_share": self._mean(pictures.times_s, pictures.black),
            "still_share": self._still_share(),
            "letterbox_share": self._mean(pictures.times_s, pictures.bars),
            "flashes": len(flashes),
            "brightness": self._mean(pictures.times_s, pictures.brightness),
            "colour": self._mean(pictures.times_s, pictures.colour),
        }
        return Quality(**values)

    def _contains(self, time_s: float) -> bool:
        return self._bounds_s[0] <= time_s < self._bounds_s[1]

    def _is_unknown(self, times_s: _Floats) -> npt.NDArray[np.bool_]:
        """Return for times whether the analysis left them out."""
        starts, ends = self._unknown_bounds()
        place = np.searchsorted(starts, times_s, side="right") - 1
        inside: npt.NDArray[np.bool_] = (place >= 0) & (times_s < np.append(ends, -np.inf)[place])
        return inside

    def _touches_unknown(
        self, starts_s: _Floats | float, ends_s: _Floats | float
    ) -> npt.NDArray[np.bool_]:
        """Return for intervals whether the analysis left out a part of them."""
        starts, ends = self._unknown_bounds()
        # Spans do not overlap, so one begins before the end and ends after the start.
        touches: npt.NDArray[np.bool_] = np.searchsorted(starts, ends_s) > np.searchsorted(
            ends, starts_s, side="right"
        )
        return touches

    def _unknown_bounds(self) -> tuple[_Floats, _Floats]:
        spans = self._analysis.unknown
        bounds = [(float(span.start), float(span.end)) for span in spans]
        starts, ends = np.asarray(bounds, np.float64).reshape(-1, 2).T
        return starts, ends

    def _mean(self, times_s: _Floats, values: npt.NDArray[np.float32]) -> float | None:
        """Return the mean over time of values that each hold until the next one; NaN is skipped."""
        if not len(times_s):
            return None
        # Frames before the first thumbnail cannot be distinguished from it.
        bounds_s = np.concatenate([[0.0], times_s[1:], [self._bounds_s[1]]])
        weights = np.diff(np.clip(bounds_s, *self._bounds_s))
        return _weighted_mean(values, np.where(np.isnan(values), 0.0, weights))

    def _motion(self) -> tuple[float | None, float | None]:
        """Return mean and maximum of the motion within shots."""
        signals, times_s = self._analysis.signals, self._analysis.signals.times_s
        before_s = np.concatenate([[0.0], times_s[:-1]])
        ago = np.searchsorted(times_s, times_s - _MOTION_LAG_S + 1e-6, side="right") - 1
        lag_s = times_s[np.maximum(ago, 0)]
        crosses_cut = np.searchsorted(self._cuts_s, times_s, side="right") > np.searchsorted(
            self._cuts_s, lag_s, side="right"
        )
        is_calm = (times_s - before_s > _MIN_SKIP_S) & ~self._touches_unknown(before_s, times_s)
        values = np.where(crosses_cut, 0.0, signals.motion)
        weights = np.diff(np.clip(np.append(before_s[:1], times_s), *self._bounds_s))
        weights = np.where(crosses_cut & ~is_calm, 0.0, weights)
        is_known = ~self._touches_unknown(lag_s, times_s)
        # After the last thumbnail nothing changes, if the analysis skipped frames there.
        last_s, end_s = max(float(times_s[-1]), self._bounds_s[0]), self._bounds_s[1]
        if end_s - last_s > _MIN_SKIP_S and not self._touches_unknown(last_s, end_s):
            values, weights = np.append(values, 0.0), np.append(weights, end_s - last_s)
            is_known = np.append(is_known, True)
        most = values[(weights > 0) & is_known]
        return _weighted_mean(values, weights), _rounded(float(most.max())) if len(most) else None

    def _novelty(self) -> float | None:
        """Return the maximum novelty of the thumbnails that do not begin a shot."""
        signals, times_s = self._analysis.signals, self._analysis.signals.times_s
        first, stop = np.searchsorted(times_s, self._bounds_s)
        begins_shot = np.isin(times_s, self._cuts_s)
        inside = (np.arange(len(times_s)) >= first) & (np.arange(len(times_s)) < stop)
        values = signals.novelty[inside & ~begins_shot & ~self._is_unknown(times_s)]
        return _rounded(float(values.max())) if len(values) else None

    def _still_share(self) -> float:
        start, end = self._window.start, self._window.end
        still_s = sum(
            float(max(Fraction(0), min(demand.end, end) - max(demand.start, start)))
            for demand in self._analysis.demands
            if demand.still is not None
        )
        return _rounded(min(1.0, still_s / float(self._window.duration)))


def _weighted_mean(values: npt.NDArray[np.floating], weights: _Floats) -> float | None:
    total = float(weights.sum())
    if total <= 0:
        return None
    counts = weights > 0
    return _rounded(float((values[counts].astype(np.float64) * weights[counts]).sum()) / total)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
