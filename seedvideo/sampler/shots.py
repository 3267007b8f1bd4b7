"""Shot detection: cuts, segments of constant pace, flashes, and merging of short shots.

`ShotDetector` runs PySceneDetect's adaptive detector on the thumbnails that also yield the signals,
with its default settings if every frame is decoded. Between cuts, a segment ends where the pace
(the time in which the picture changes) differs for longer than a moment.

A flash is a picture that covers everything for at most two seconds, after which the previous
picture returns. Novelty (`seedvideo.sampler.novelty`) is local: it ignores global changes, and a
cut is not an event. So `FlashDetector` finds flashes from jumps of all blocks together.

For captions, `merge_short_shots` merges shots that are too short, hold no frame, or are too many.

Frames are identified by their index in presentation order; times are float seconds, except for the
exact ones of spans.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from seedvideo.sampler.block_features import Floats
from seedvideo.sampler.events import NoveltyEvent
from seedvideo.sampler.freezes import Freeze
from seedvideo.utils.timecode import Span

if TYPE_CHECKING:
    from scenedetect import AdaptiveDetector

MIN_SHOT_FRAMES: Final = 15
"""Minimum frames between two cuts: PySceneDetect's default."""

_MIN_CUT_LEVELS: Final = 2.0
"""Mean change of block means, in grey levels, below which a cut would be invisible."""

_CONTEXT_FRAMES: Final = 3
"""Thumbnails before and after one with motion that are compared with it."""

MIN_PACE_S: Final = 3.0
"""Minimum time for which a different pace forms a segment of its own."""

_PACE_BINS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Boundaries between paces: times in which the picture changes, in octaves."""

_MAX_CHROMA_LEVELS: Final = 3.0
"""Maximum deviation of both chroma planes, in levels, of a picture without colours."""

_CUT_RATIO: Final = 2.0
"""Minimum ratio of a cut to the neighbouring changes if not every frame is decoded."""


class ShotDetector:
    """Streaming cut detector; `cuts` are the first thumbnails of new shots.

    `all_cuts` also has those that are less than `MIN_SHOT_FRAMES` apart, and those of pictures
    without colours, in which PySceneDetect's score of a change is a third of that in others.

    Args:
        every_frame: whether every frame has a thumbnail. Otherwise motion makes changes larger, so
            only the nearest thumbnails are compared, less strictly, and only during motion.
    """

    def __init__(self, *, every_frame: bool) -> None:
        self.cuts: list[int] = []
        self.all_cuts: list[int] = []
        self._every_frame = every_frame
        self._detector: AdaptiveDetector | None = None
        self._grey_detector: AdaptiveDetector | None = None
        self._pending: deque[tuple[int, npt.NDArray[np.uint8]]] = deque(maxlen=_CONTEXT_FRAMES)
        self._frames_to_detect = 0

    def update(
        self, frame_index: int, planes: npt.NDArray[np.uint8], *, moved_levels: float
    ) -> None:
        """Add one thumbnail.

        Args:
            frame_index: index of the frame.
            planes: ``(H * 3 // 2, W)`` of I420.
            moved_levels: mean change of its blocks since the previous thumbnail, in grey levels.
        """
        if self._every_frame:
            self._detect(frame_index, planes)
            return
        self._pending.append((frame_index, planes))
        if moved_levels >= _MIN_CUT_LEVELS:
            self._frames_to_detect = _CONTEXT_FRAMES
        elif not self._frames_to_detect:
            # Compare later thumbnails with their own neighbours.
            self._detector = self._grey_detector = None
            return
        else:
            self._frames_to_detect -= 1
        while self._pending:
            self._detect(*self._pending.popleft())

    def skip_unknown(self, frame_index: int, *, is_cut: bool) -> None:
        """Forget the thumbnails before time that was not inspected.

        Args:
            frame_index: first thumbnail after that time.
            is_cut: whether it is known to begin a shot; the detector cannot compare it.
        """
        self._pending.clear()
        self._detector = self._grey_detector = None
        self._frames_to_detect = 0
        if is_cut:
            self._add(frame_index)

    def _detect(self, frame_index: int, planes: npt.NDArray[np.uint8]) -> None:
        # Heavy (OpenCV); only needed for decoded pictures.
        import cv2
        from scenedetect import FrameTimecode

        # Frames are counted by index, as in PySceneDetect; the rate matters only for unused times.
        timecode = FrameTimecode(frame_index, fps=30.0)
        bgr = cv2.cvtColor(planes if self._every_frame else _halve(planes), cv2.COLOR_YUV2BGR_I420)
        if self._detector is None:
            self._detector = self._make_detector(luma_only=False)
        for cut in self._detector.process_frame(timecode, bgr):
            self._add(cut.frame_num)
        chroma = planes[planes.shape[0] * 2 // 3 :].reshape(2, -1)
        if chroma.std(axis=1).max() > _MAX_CHROMA_LEVELS:
            self._grey_detector = None
            return
        if self._grey_detector is None:
            self._grey_detector = self._make_detector(luma_only=True)
        for cut in self._grey_detector.process_frame(timecode, bgr):
            self._add_any(cut.frame_num)

    def _make_detector(self, *, luma_only: bool) -> "AdaptiveDetector":
        from scenedetect import AdaptiveDetector  # Heavy.

        if self._every_frame:
            return AdaptiveDetector(min_scene_len=0, luma_only=luma_only)
        return AdaptiveDetector(_CUT_RATIO, min_scene_len=0, window_width=1, luma_only=luma_only)

    def _add(self, frame_index: int) -> None:
        self._add_any(frame_index)
        if frame_index - (self.cuts[-1] if self.cuts else 0) >= MIN_SHOT_FRAMES:
            self.cuts.append(frame_index)

    def _add_any(self, frame_index: int) -> None:
        if frame_index > (self.all_cuts[-1] if self.all_cuts else 0):
            self.all_cuts.append(frame_index)


def _halve(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return I420 planes of half the width and height, or the same ones if these are not divisible.

    Cuts in a quarter of the pixels are as clear and cost a third.
    """
    import cv2

    height_px, width_px = planes.shape[0] * 2 // 3, planes.shape[1]
    if height_px % 4 or width_px % 4:
        return planes
    half, quarter = (width_px // 2, height_px // 2), (width_px // 4, height_px // 4)
    light = cv2.resize(planes[:height_px], half, interpolation=cv2.INTER_AREA)
    colours = planes[height_px:].reshape(2, height_px // 2, width_px // 2)
    small = [cv2.resize(colour, quarter, interpolation=cv2.INTER_AREA) for colour in colours]
    flat = np.concatenate([plane.reshape(-1) for plane in (light, *small)])
    return flat.reshape(height_px // 2 * 3 // 2, width_px // 2)


@dataclass(frozen=True)
class PaceSegment:
    """Frames ``[first, end)`` of one pace, by frame index.

    Args:
        first: first frame.
        end: index after the last frame.
        change_s: time in which the picture changes.
        freeze: the blank or frozen stretch that it is, if any.
    """

    first: int
    end: int
    change_s: float
    freeze: Freeze | None = None


def split_by_pace(
    times_s: npt.NDArray[np.float64],
    step_indices: npt.NDArray[np.int64],
    change_s: npt.NDArray[np.float64],
    cuts: Sequence[int],
) -> list[PaceSegment]:
    """Split a video at cuts, and split shots where their pace changes permanently.

    Args:
        times_s: times of all frames.
        step_indices: frames at which the pace is known, rising; at least one.
        change_s: time in which the picture changes at these frames.
        cuts: first frames of shots, rising, above 0.
    """
    segments: list[PaceSegment] = []
    bounds = [0, *cuts, len(times_s)]
    for first, end in pairwise(bounds):
        low = int(np.searchsorted(step_indices, first, side="left"))
        high = int(np.searchsorted(step_indices, end, side="left"))
        if high <= low:
            low = min(max(low - 1, 0), len(step_indices) - 1)
            high = low + 1
        segments += _split_shot(times_s, step_indices[low:high], change_s[low:high], first, end)
    return segments


def split_off_freezes(
    segments: Sequence[PaceSegment],
    freezes: Sequence[Freeze],
    cuts: Sequence[int],
    step_indices: npt.NDArray[np.int64],
    change_s: npt.NDArray[np.float64],
) -> list[PaceSegment]:
    """Make each blank or frozen stretch a segment of its own, regardless of the pace around it.

    A cut inside a stretch, from one colour to another, divides it.

    Args:
        segments: segments of the complete video, in order.
        freezes: stretches in order, not overlapping.
        cuts: first frames of shots, rising.
        step_indices: frames at which the pace is known, rising.
        change_s: time in which the picture changes at these frames.
    """
    freezes = [part for freeze in freezes for part in _divide(freeze, cuts)]
    kept: list[PaceSegment] = []
    ends = [freeze.end for freeze in freezes]
    for segment in segments:
        first = segment.first
        for freeze in freezes[bisect_right(ends, first) :]:
            if freeze.first >= segment.end:
                break
            if freeze.first > first:
                kept.append(replace(segment, first=first, end=freeze.first))
            first = min(freeze.end, segment.end)
        if first < segment.end:
            kept.append(replace(segment, first=first))
    for freeze in freezes:
        low, high = np.searchsorted(step_indices, [freeze.first, freeze.end])
        low = min(int(low), len(change_s) - 1)
        typical = float(np.median(change_s[low : max(int(high), low + 1)]))
        kept.append(PaceSegment(freeze.first, freeze.end, typical, freeze))
    return sorted(kept, key=lambda segment: segment.first)


def _divide(freeze: Freeze, cuts: Sequence[int]) -> list[Freeze]:
    """Divide a stretch at the cuts inside its core."""
    low, high = bisect_right(cuts, freeze.core_first), bisect_left(cuts, freeze.core_end)
    inner = cuts[low:high]
    firsts, ends = [freeze.first, *inner], [*inner, freeze.end]
    core_firsts, core_ends = [freeze.core_first, *inner], [*inner, freeze.core_end]
    bounds = zip(firsts, ends, core_firsts, core_ends, strict=True)
    return [Freeze(*each, is_blank=freeze.is_blank) for each in bounds]


def _split_shot(
    times_s: npt.NDArray[np.float64],
    frame_indices: npt.NDArray[np.int64],
    change_s: npt.NDArray[np.float64],
    first: int,
    end: int,
) -> list[PaceSegment]:
    paces = np.searchsorted(_PACE_BINS_S, _smooth(times_s[frame_indices], change_s))
    starts = [0, *(np.flatnonzero(np.diff(paces)) + 1).tolist()]
    bounds = [first, *(int(frame_indices[start]) for start in starts[1:]), end]
    runs = [(bounds[i], bounds[i + 1], starts[i]) for i in range(len(starts))]
    merged: list[tuple[int, int, int]] = []
    end_s = float(times_s[-1])
    for run in runs:
        stop_s = float(times_s[run[1]]) if run[1] < len(times_s) else end_s
        is_short = stop_s - float(times_s[run[0]]) < MIN_PACE_S
        is_like = bool(merged) and paces[merged[-1][2]] == paces[run[2]]
        if merged and (is_short or is_like):
            merged[-1] = (merged[-1][0], run[1], merged[-1][2])
        else:
            merged.append(run)
    segments = []
    for low, high, _ in merged:
        inner = change_s[np.searchsorted(frame_indices, low) : np.searchsorted(frame_indices, high)]
        typical = float(np.median(inner)) if len(inner) else float(change_s[0])
        segments.append(PaceSegment(low, high, typical))
    return segments


def _smooth(
    times_s: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return medians over `MIN_PACE_S` around each step, which hide brief changes."""
    low = np.searchsorted(times_s, times_s - MIN_PACE_S / 2)
    high = np.searchsorted(times_s, times_s + MIN_PACE_S / 2, side="right")
    return np.asarray([np.median(values[a:b]) for a, b in zip(low, high, strict=True)], np.float64)


_MIN_JUMP_LEVELS: Final = 8.0
"""Minimum mean change of all blocks that makes another picture, in grey levels."""

_JUMP_RATIO: Final = 4.0
"""Minimum ratio of a jump to the changes between the thumbnails before it."""

_HISTORY: Final = 8
"""Number of thumbnails before a jump with which it is compared."""

_RETURN_FRACTION: Final = 0.3
"""Fraction of a jump up to which the picture counts as restored."""

_MAX_FLASH_S: Final = 2.0
"""Maximum length of a flash: later, the returning picture is a new shot."""

_MAX_GAP_S: Final = 0.6
"""Maximum time to the previous thumbnail: later, the time of the change is unknown."""

_MAX_LOCAL_FRACTION: Final = 0.05
"""Maximum fraction of the picture area of an event that a flash does not cause."""

_MIN_DEVIATION_LEVELS: Final = 0.3
"""Minimum typical change, in grey levels: smaller ones are rounding."""


@dataclass(frozen=True, eq=False)
class _Jump:
    """One jump: its first thumbnail, time and size, the means just before, its last thumbnail."""

    frame_index: int
    time_s: float
    levels: float
    strength: float
    before: Floats
    last_index: int


class FlashDetector:
    """Streaming flash detector; `events` grows as flashes end."""

    def __init__(self) -> None:
        self.events: list[NoveltyEvent] = []
        self._last: Floats | None = None
        self._last_s = float("-inf")
        self._moved: deque[float] = deque(maxlen=_HISTORY)
        self._open: _Jump | None = None

    def update(self, frame_index: int, time_s: float, means: Floats) -> None:
        """Add one thumbnail.

        Args:
            frame_index: index of the frame.
            time_s: time of the frame.
            means: means of its blocks.
        """
        before, self._last = self._last, means
        elapsed_s, self._last_s = time_s - self._last_s, time_s
        if before is None or elapsed_s > _MAX_GAP_S:
            self._open = None
            self._moved.clear()
            return
        moved = float(np.abs(means - before).mean())
        typical = max(float(np.median(self._moved)) if self._moved else 0.0, _MIN_DEVIATION_LEVELS)
        self._moved.append(moved)
        jumps = moved > max(_MIN_JUMP_LEVELS, _JUMP_RATIO * typical)
        started = self._open
        if started is not None and time_s - started.time_s <= _MAX_FLASH_S:
            if float(np.abs(means - started.before).mean()) < _RETURN_FRACTION * started.levels:
                self.events.append(
                    NoveltyEvent(
                        started.frame_index, started.strength, frame_index, 1.0, started.last_index
                    )
                )
                self._open = None
            else:
                self._open = replace(started, last_index=frame_index)
            return
        self._open = (
            _Jump(frame_index, time_s, moved, moved / typical, before, frame_index)
            if jumps
            else None
        )


def merge_flashes(events: list[NoveltyEvent], flashes: list[NoveltyEvent]) -> list[NoveltyEvent]:
    """Merge events and flashes in order; drop events at the beginning or end of a flash.

    A small event stays, since light that flickers must not hide it.

    Args:
        events: local events, in order.
        flashes: flashes with their ends, in order.
    """
    kept = [
        event
        for event in events
        if event.area_fraction <= _MAX_LOCAL_FRACTION
        or not any(
            flash.frame_index <= event.frame_index <= (flash.end_index or 0) for flash in flashes
        )
    ]
    return sorted([*kept, *flashes], key=lambda event: event.frame_index)


def merge_short_shots(
    shots: Sequence[Span], times: Sequence[Fraction], *, min_shot_s: Fraction, max_shots: int
) -> list[Span]:
    """Merge shots that are too short, hold no frame, or are too many.

    Merge the shortest shot first, into the shorter of its neighbours, so that the lengths become
    even.

    Args:
        shots: contiguous spans; at least one.
        times: presentation times of the video's frames, increasing.
        min_shot_s: minimum length of a shot in seconds.
        max_shots: maximum number of shots; at least 1.

    Returns:
        At least one span; together they cover the same time as ``shots``.
    """
    spans = list(shots)
    lengths_s = [_length_s(span, times) for span in spans]
    while len(spans) > 1:
        index = lengths_s.index(min(lengths_s))
        if lengths_s[index] >= min_shot_s and len(spans) <= max_shots:
            break
        last = len(spans) - 1
        into_next = index == 0 or (index < last and lengths_s[index + 1] < lengths_s[index - 1])
        first = index if into_next else index - 1
        joined = Span(spans[first].start, spans[first + 1].end)
        spans[first : first + 2] = [joined]
        lengths_s[first : first + 2] = [_length_s(joined, times)]
    return spans


def frame_range(times: Sequence[Fraction], span: Span) -> range:
    """Return the indices of the times that lie in the span."""
    return range(bisect_left(times, span.start), bisect_left(times, span.end))


def _length_s(span: Span, times: Sequence[Fraction]) -> float:
    """Return the length of a span, 0 without a frame. A float suffices for comparing many shots."""
    return float(span.end - span.start) if frame_range(times, span) else 0.0
