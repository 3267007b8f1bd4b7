"""Content analysis of a video: its shots, events and detail, and the demand of each segment.

    packets   packet sizes in the index of the container only; nothing is decoded
    fast      packet sizes, then thumbnails: keyframes everywhere, and reference frames where packet
              sizes are inconclusive or stand out
    auto      as fast, but in long videos only as much as `seedvideo.sampler.inspection` allows
    full      thumbnails of every frame

What `auto` leaves out is unknown, not calm: no freeze, event or cut is found across it, its pace is
estimated from packet sizes, and it counts as busy time.

Memory grows with the length of the video only by a few numbers per frame. The same file yields the
same analysis. Times are exact seconds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final, get_args

import numpy as np
import numpy.typing as npt

from seedvideo.config import AnalysisMethod, analysis_error
from seedvideo.errors import MediaError
from seedvideo.media.reader import VideoReader
from seedvideo.media.types import (
    FrameKinds,
    MediaWarning,
    ThumbnailBatch,
    ThumbnailSpan,
    ThumbnailSpec,
)
from seedvideo.sampler.block_features import (
    BLOCK_PX,
    EdgeTracker,
    block_features,
    luma,
    thumbnail_size,
)
from seedvideo.sampler.demand_estimation import (
    DETAIL_PX,
    UNKNOWN_TOKENS,
    AnalysisFindings,
    detail_tokens,
    make_demands,
)
from seedvideo.sampler.events import NoveltyEvent
from seedvideo.sampler.freezes import FreezeDetector
from seedvideo.sampler.inspection import Inspector, changed_keyframes, true_runs
from seedvideo.sampler.novelty import NoveltyTracker, Signals
from seedvideo.sampler.packet_analysis import (
    OUTLIER_SCORE,
    PacketSizeAnalysis,
    analyze_packet_sizes,
)
from seedvideo.sampler.picture_signals import PictureSignals, PictureTracker
from seedvideo.sampler.prominence import busy_fraction
from seedvideo.sampler.rests import RestDetector
from seedvideo.sampler.shots import FlashDetector, ShotDetector, merge_flashes
from seedvideo.sampler.transitions import FrameChange, ShotChange, TransitionDetector
from seedvideo.sampler.utility import SegmentDemand
from seedvideo.utils.timecode import Span

THUMBNAIL_INTERVAL: Final = Fraction(1, 10)
"""Minimum seconds between two thumbnails of `fast`: an event of 0.4 s has at least three."""

UNKNOWN: Final = "of the frames are unknown"
"""Part of the note of an analysis that leaves out a part of the video."""

_DETAIL_INTERVAL_S: Final = 12.0
"""Time between two measurements of detail within a shot; a third of it after a cut."""
_SCENE_CHANGE_LEVELS: Final = 12.0
"""Mean change of a picture's blocks, in grey levels, that makes it another picture."""

_MOTION_LAG_S: Final = 1.0
"""Time over which `NoveltyTracker` measures motion."""

_RENEWALS: Final = 1.5
"""Keyframes whose bytes the packets carry while the picture changes; empirical."""
_UNKNOWN_CHANGE_S: Final = 4.0
"""Time in which the picture changes, assumed without keyframes to compare with."""

_MIN_CHANGE_S, _MAX_CHANGE_S = 0.2, 60.0
"""Range of the time in which the picture changes, in seconds."""


@dataclass(frozen=True, eq=False)
class Analysis:
    """Result of the analysis.

    Args:
        method: depth of the analysis.
        demands: demands of contiguous segments that cover the video.
        busy_fraction: fraction of the time in which events are too frequent to be prominent, 0 to
            1.
        cuts: time of the first frame of each shot after the first.
        signals: signals at each step.
        notes: notes for people: what was inspected and why.
        warnings: warnings of the decoder, such as damage; one per code.
        unknown: spans that were not inspected although something may happen there; with ``auto``
            only.
        changes: changes of shots: confirmed cuts, dissolves and fades.
        pictures: signals of single thumbnails; None with ``packets``, which decodes none.
    """

    method: AnalysisMethod
    demands: tuple[SegmentDemand, ...]
    busy_fraction: float
    cuts: tuple[Fraction, ...]
    signals: Signals
    notes: tuple[str, ...]
    warnings: tuple[MediaWarning, ...] = ()
    unknown: tuple[Span, ...] = ()
    changes: tuple[ShotChange, ...] = ()
    pictures: PictureSignals | None = None

    @property
    def inspected_fraction(self) -> float:
        """Return the fraction of the time that is not unknown, 0 to 1."""
        left_out = sum((span.duration for span in self.unknown), Fraction(0))
        return float(1 - left_out / self.demands[-1].end)

    @property
    def shots(self) -> tuple[Span, ...]:
        """Return the shots; together they cover the video."""
        bounds = [Fraction(0), *(each.time for each in self.changes), self.demands[-1].end]
        return tuple(Span(start, end) for start, end in pairwise(bounds))


def analyze(
    video: VideoReader,
    *,
    method: AnalysisMethod = "auto",
    progress: Callable[[float], None] | None = None,
) -> Analysis:
    """Analyse the content of a video.

    Args:
        video: the open file.
        method: depth of the analysis.
        progress: called with the analysed fraction of the video, from 0 to 1; not called if nothing
            is decoded.

    Raises:
        ConfigError: if the method is unknown.
        MediaError: if the file is too damaged, or none of its frames can be decoded.
        DecodeError: if decoding takes too long or crashes the decode process.
    """
    if method not in get_args(AnalysisMethod):
        raise analysis_error(method)
    return _Analyzer(video, method, progress).analysis()


class _Analyzer:
    """State of one analysis."""

    def __init__(
        self, video: VideoReader, method: AnalysisMethod, progress: Callable[[float], None] | None
    ) -> None:
        self.video = video
        self.method = method
        self.progress = progress
        self.times = video.times
        self.times_s = np.asarray([float(time) for time in self.times], np.float64)
        self.unknown = np.zeros(len(self.times), np.bool_)
        self._packet_rate = np.full(len(self.times), np.nan)
        self._max_details: int | None = None
        self.notes: list[str] = []
        self.warnings: dict[str, MediaWarning] = {}
        self.pictures: PictureSignals | None = None
        size_px = thumbnail_size(video.info)
        self.rests = RestDetector((size_px[0] // BLOCK_PX) * (size_px[1] // BLOCK_PX))

    def analysis(self) -> Analysis:
        findings = self._from_packets() if self.method == "packets" else self._from_thumbnails()
        end = max(self.video.info.duration, self.times[-1] + Fraction(1, 1000))
        unknown = self._unknown_spans(end)
        return Analysis(
            method=self.method,
            demands=self.rests.measure(make_demands(findings, self.times, end=end)),
            busy_fraction=busy_fraction(
                findings.events, self.times_s, findings.signals, float(end), unknown
            ),
            cuts=tuple(self.times[frame_index] for frame_index in findings.cuts),
            signals=findings.signals,
            notes=tuple(self.notes),
            warnings=tuple(self.warnings.values()),
            unknown=unknown,
            changes=tuple(
                ShotChange(*(self.times[each] for each in (change.frame, change.first, change.end)))
                for change in findings.changes
            ),
            pictures=self.pictures,
        )

    def _unknown_spans(self, end: Fraction) -> tuple[Span, ...]:
        ends = (*self.times, end)
        return tuple(Span(ends[first], ends[stop]) for first, stop in true_runs(self.unknown))

    def _analyze_packets(self) -> PacketSizeAnalysis:
        packets, video = self.video.packets, self.video
        pixels = video.info.coded_width_px * video.info.coded_height_px
        return analyze_packet_sizes(
            self.times_s, packets.sizes_bytes, packets.positions, video.keyframes, pixels=pixels
        )

    def _from_packets(self) -> AnalysisFindings:
        packets = self._analyze_packets()
        self.notes.append("packet sizes only: detail and cuts are estimates")
        if not packets.is_informative:
            self.notes.append("packet sizes are not informative in this video")
        change_s = _change_s(packets.rate)
        events = []
        last_s = -1.0
        for frame_index in np.flatnonzero(
            (packets.scores >= 2 * OUTLIER_SCORE) & ~packets.is_doubtful
        ).tolist():
            if self.times_s[frame_index] - last_s >= 0.5:
                events.append(
                    NoveltyEvent(frame_index, 4.0 * float(packets.scores[frame_index]), None, 0.0)
                )
                last_s = float(self.times_s[frame_index])
        frame_indices = np.arange(len(self.times), dtype=np.int64)
        zeros = np.zeros(len(frame_indices), np.float32)
        signals = Signals(
            frame_indices=frame_indices,
            times_s=self.times_s,
            novelty=packets.scores.astype(np.float32),
            motion=(_SCENE_CHANGE_LEVELS / change_s).astype(np.float32),
            detail=zeros,
            activity=zeros,
        )
        cuts = changed_keyframes(
            self.times_s, self.video.packets.sizes_bytes, self.video.keyframes, grid_only=True
        )
        changes = tuple(FrameChange(cut, cut, cut) for cut in cuts)
        details = [(0, UNKNOWN_TOKENS)]
        return AnalysisFindings(cuts, events, signals, change_s, details, changes=changes)

    def _from_thumbnails(self) -> AnalysisFindings:
        size_px = thumbnail_size(self.video.info)
        novelty, shots, edges = (
            NoveltyTracker(size_px),
            ShotDetector(every_frame=self.method == "full"),
            EdgeTracker(),
        )
        flashes, tracker = FlashDetector(), PictureTracker()
        grid = (size_px[1] // BLOCK_PX, size_px[0] // BLOCK_PX)
        freezes, transitions = FreezeDetector(grid), TransitionDetector(grid)
        rows: list[npt.NDArray[np.float64]] = []
        decoded, last = 0, -1
        for thumbnails in self._decode_thumbnails(self._spans(), size_px):
            pictures = luma(thumbnails.planes)
            features = block_features(pictures)
            for i, frame_index in enumerate(thumbnails.frame_indices):
                time_s = float(self.times_s[frame_index])
                is_after_unknown = self.unknown[last + 1 : frame_index].any()
                last = frame_index
                rows += novelty.update(
                    frame_index, time_s, features[i], is_keyframe=frame_index in self._keyframes
                )
                if is_after_unknown:
                    is_cut = novelty.moved_levels >= _SCENE_CHANGE_LEVELS
                    shots.skip_unknown(
                        frame_index, is_cut=is_cut and frame_index in self._early_keyframes
                    )
                    freezes.skip_unknown()
                    self.rests.skip_unknown()
                    transitions.skip_unknown(shots.all_cuts)
                shots.update(frame_index, thumbnails.planes[i], moved_levels=novelty.moved_levels)
                edges.update(time_s, pictures[i], moved_levels=novelty.moved_levels)
                tracker.update(time_s, thumbnails.planes[i], moved_levels=novelty.moved_levels)
                flashes.update(frame_index, time_s, features[i, : features.shape[1] // 2])
                freezes.update(frame_index, time_s, features[i])
                transitions.update(frame_index, time_s, features[i], shots.all_cuts)
                self.rests.update(time_s, features[i])
            decoded += len(thumbnails.frame_indices)
            if self.progress is not None:
                self.progress(thumbnails.frame_indices[-1] / len(self.times))
        rows += novelty.finish()
        table = np.concatenate(rows)
        self.notes.append(
            f"inspected {decoded:,} thumbnails of {len(self.times):,} frames,"
            f" {self.video.report.decoded_frames:,} frames decoded"
        )
        signals = Signals(
            frame_indices=table[:, 0].astype(np.int64),
            times_s=table[:, 1],
            novelty=table[:, 2].astype(np.float32),
            motion=table[:, 3].astype(np.float32),
            detail=np.asarray(edges.values, np.float32),
            activity=table[:, 4].astype(np.float32),
        )
        with np.errstate(divide="ignore"):
            change_s = np.clip(_SCENE_CHANGE_LEVELS / table[:, 3], _MIN_CHANGE_S, _MAX_CHANGE_S)
        cuts = sorted(set(shots.cuts))
        events = merge_flashes(novelty.events, flashes.events)
        self.pictures = tracker.finish(
            float(self.times_s[flash.frame_index]) for flash in flashes.events
        )
        if self.unknown.any():
            signals, change_s, events = self._with_unknown(signals, change_s, events)
        details = self._details(cuts, first_decoded=int(table[0, 0]))
        if self.progress is not None:
            self.progress(1.0)
        if self.unknown[last + 1 :].any():
            freezes.skip_unknown()
            self.rests.skip_unknown()
        frozen = freezes.finish(len(self.times), float(self.video.info.duration))
        borders, changes = tuple(novelty.borders), transitions.finish(shots.all_cuts, self.times_s)
        return AnalysisFindings(cuts, events, signals, change_s, details, frozen, borders, changes)

    @property
    def _keyframes(self) -> frozenset[int]:
        if not hasattr(self, "_known_keyframes"):
            self._known_keyframes = frozenset(self.video.keyframes)
        return self._known_keyframes

    @property
    def _early_keyframes(self) -> frozenset[int]:
        """Keyframes that the encoder inserted early, as at a cut."""
        if not hasattr(self, "_known_early"):
            sizes = self.video.packets.sizes_bytes
            self._known_early = frozenset(
                changed_keyframes(self.times_s, sizes, self.video.keyframes, grid_only=True)
            )
        return self._known_early

    def _with_unknown(
        self,
        signals: Signals,
        change_s: npt.NDArray[np.float64],
        events: list[NoveltyEvent],
    ) -> tuple[Signals, npt.NDArray[np.float64], list[NoveltyEvent]]:
        """Estimate the pace of unknown time from packet sizes, with a step every second.

        Nothing is new at a thumbnail after unknown time: it differs, but when is unknown.
        """
        rate = self._packet_rate
        before = np.concatenate([[0], np.cumsum(self.unknown)])
        steps, times_s = signals.frame_indices, signals.times_s
        earlier = np.searchsorted(times_s, times_s - _MOTION_LAG_S, side="right") - 1
        crosses = before[steps] > before[steps[np.maximum(earlier, 0)] + 1]
        is_after = before[steps] > before[np.concatenate([[0], steps[:-1] + 1])]
        known = ~crosses & (rate[steps] > 0)
        scale = float(np.median((change_s * rate[steps])[known])) if known.any() else _RENEWALS
        estimate_s = _change_s(rate, scale)
        unknown = np.setdiff1d(np.flatnonzero(self.unknown), steps)
        _, first = np.unique(np.floor(self.times_s[unknown]), return_index=True)
        unknown = unknown[first]
        change_s = np.where(crosses, estimate_s[steps], change_s)
        zeros = np.zeros(len(unknown), np.float32)
        nearest = np.maximum(np.searchsorted(steps, unknown) - 1, 0)
        merged = np.concatenate([steps, unknown])
        order = np.argsort(merged, kind="stable")
        change_s = np.concatenate([change_s, estimate_s[unknown]])[order]
        novelty = np.where(is_after, 0.0, signals.novelty).astype(np.float32)
        filled = Signals(
            frame_indices=merged[order],
            times_s=self.times_s[merged[order]],
            novelty=np.concatenate([novelty, zeros])[order],
            motion=(_SCENE_CHANGE_LEVELS / change_s).astype(np.float32),
            detail=np.concatenate([signals.detail, zeros])[order],
            activity=np.concatenate([signals.activity, signals.activity[nearest]])[order],
        )
        after = set(steps[is_after].tolist())
        return filled, change_s, [event for event in events if event.frame_index not in after]

    def _spans(self) -> list[ThumbnailSpan]:
        count = len(self.times)
        if self.method == "full" or count < 3:
            return [ThumbnailSpan(0, count, "all")]
        packets = self._analyze_packets()
        inspector = Inspector(
            self.times_s,
            self.video.packets,
            self.video.keyframes,
            self.video.info,
            packets,
            every_s=float(THUMBNAIL_INTERVAL),
            detail_interval_s=_DETAIL_INTERVAL_S,
        )
        fraction = float(inspector.doubtful.mean())
        why = "inconclusive or stand out" if packets.is_informative else "not informative"
        self.notes.append(f"packet sizes are {why} around {fraction:.0%} of the frames")
        if self.method == "fast":
            return inspector.everything().spans
        inspection = inspector.within_bound()
        self._packet_rate, self._max_details = packets.rate, inspection.max_details
        self.unknown = inspection.unknown
        if self.unknown.any():
            self.notes.append(
                f"{float(self.unknown.mean()):.0%} {UNKNOWN}: inspecting them would take longer"
                " than decoding evenly spread frames; they count as busy time"
            )
        return inspection.spans

    def _decode_thumbnails(
        self, spans: Sequence[ThumbnailSpan], size_px: tuple[int, int]
    ) -> Iterator[ThumbnailBatch]:
        """Yield thumbnails of the spans, or of the complete video if the spans yield none.

        A damaged keyframe can make all requested frames undecodable, while later frames decode.

        Raises:
            MediaError: if no frame of the video can be decoded.
        """
        whole = [ThumbnailSpan(0, len(self.times), "all")]
        for attempt in (spans,) if list(spans) == whole else (spans, whole):
            decoded = 0
            for thumbnails in self._thumbnails(attempt, size_px):
                decoded += len(thumbnails.frame_indices)
                yield thumbnails
            if decoded:
                return
            self.notes.append("damage: none of the selected frames could be decoded")
            self.unknown[:] = False
        damaged = self.video.report.damaged_packets
        raise MediaError(
            "media.corrupt" if damaged else "media.no_frames",
            f"{self.video.info.path}: no frame could be decoded",
            hint="copy it again, or repair it",
        )

    def _thumbnails(
        self, spans: Sequence[ThumbnailSpan], size_px: tuple[int, int]
    ) -> Iterator[ThumbnailBatch]:
        """Yield thumbnails and collect the warnings of the pass."""
        yield from self.video.thumbnails(
            spans, ThumbnailSpec(*size_px, interval=THUMBNAIL_INTERVAL)
        )
        for warning in self.video.report.warnings:
            self.warnings.setdefault(warning.code, warning)

    def _details(self, cuts: Sequence[int], *, first_decoded: int) -> list[tuple[int, float]]:
        """Measure detail in a keyframe at intervals, and early in each shot.

        If no keyframe can be decoded, measure the first decodable frame.

        Args:
            cuts: first frames of the shots after the first.
            first_decoded: index of the first frame that was decoded.

        Returns:
            Pairs ``(frame_index, tokens)``, rising; at least one.
        """
        keyframes = self.video.keyframes or (0,)
        chosen: list[int] = []
        shots = iter([*cuts, len(self.times)])
        next_cut = next(shots)
        for frame_index in keyframes:
            new_shot = frame_index >= next_cut
            while frame_index >= next_cut and next_cut < len(self.times):
                next_cut = next(shots)
            least_s = _DETAIL_INTERVAL_S / 3 if new_shot else _DETAIL_INTERVAL_S
            if not chosen or self.times_s[frame_index] - self.times_s[chosen[-1]] >= least_s:
                chosen.append(frame_index)
        if self._max_details is not None and len(chosen) > self._max_details:
            places = np.linspace(0, len(chosen) - 1, self._max_details).round().astype(int)
            chosen = [chosen[place] for place in places.tolist()]
        info = self.video.info
        scale = min(1.0, (DETAIL_PX / (info.coded_width_px * info.coded_height_px)) ** 0.5)
        width_px, height_px = (
            max(2, 2 * round(side_px * scale / 2))
            for side_px in (info.coded_width_px, info.coded_height_px)
        )
        attempts: list[tuple[list[int], FrameKinds]] = [(chosen, "keys"), ([first_decoded], "all")]
        for frame_indices, frame_kinds in attempts:
            spans = [
                ThumbnailSpan(frame_index, frame_index + 1, frame_kinds)
                for frame_index in frame_indices
            ]
            details = [
                (frame_index, detail_tokens(picture))
                for thumbnails in self._thumbnails(spans, (width_px, height_px))
                for frame_index, picture in zip(
                    thumbnails.frame_indices, luma(thumbnails.planes), strict=True
                )
            ]
            if details:
                return details
        return [(first_decoded, UNKNOWN_TOKENS)]


def _change_s(
    rate: npt.NDArray[np.float64], renewals: float = _RENEWALS
) -> npt.NDArray[np.float64]:
    """Estimate the time in which the picture changes from the rate of `PacketSizeAnalysis`."""
    with np.errstate(divide="ignore"):
        change_s = np.clip(renewals / rate, _MIN_CHANGE_S, _MAX_CHANGE_S)
    return np.where(np.isnan(change_s), _UNKNOWN_CHANGE_S, change_s)
