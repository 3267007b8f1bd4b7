"""Content analysis of a video: its shots, events and detail, and the demand of each segment.

    packets   packet sizes in the index of the container only; nothing is decoded
    fast      packet sizes, then thumbnails: keyframes everywhere, and reference frames where packet
              sizes are inconclusive or stand out
    full      thumbnails of every frame

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
    block_features,
    edge_strength,
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
from seedvideo.sampler.novelty import NoveltyTracker, Signals
from seedvideo.sampler.packet_analysis import (
    OUTLIER_SCORE,
    PacketSizeAnalysis,
    analyze_packet_sizes,
    changed_keyframes,
    frames_to_inspect,
    inspection_spans,
)
from seedvideo.sampler.prominence import busy_fraction
from seedvideo.sampler.rests import RestDetector
from seedvideo.sampler.shots import FlashDetector, ShotDetector, merge_flashes
from seedvideo.sampler.utility import SegmentDemand
from seedvideo.utils.timecode import Span

THUMBNAIL_INTERVAL: Final = Fraction(1, 10)
"""Minimum seconds between two thumbnails of `fast`: an event of 0.4 s has at least three."""

_DETAIL_INTERVAL_S: Final = 12.0
"""Time between two measurements of detail within a shot; a third of it after a cut."""
_EDGE_INTERVAL_S: Final = 0.5
"""Time between two measurements of edge strength."""
_SCENE_CHANGE_LEVELS: Final = 12.0
"""Mean change of a picture's blocks, in grey levels, that makes it another picture."""

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
    """

    method: AnalysisMethod
    demands: tuple[SegmentDemand, ...]
    busy_fraction: float
    cuts: tuple[Fraction, ...]
    signals: Signals
    notes: tuple[str, ...]
    warnings: tuple[MediaWarning, ...] = ()

    @property
    def shots(self) -> tuple[Span, ...]:
        """Return the shots; together they cover the video."""
        bounds = [Fraction(0), *self.cuts, self.demands[-1].end]
        return tuple(Span(start, end) for start, end in pairwise(bounds))


def analyze(
    video: VideoReader,
    *,
    method: AnalysisMethod = "fast",
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
        self.notes: list[str] = []
        self.warnings: dict[str, MediaWarning] = {}
        size_px = thumbnail_size(video.info)
        self.rests = RestDetector((size_px[0] // BLOCK_PX) * (size_px[1] // BLOCK_PX))

    def analysis(self) -> Analysis:
        findings = self._from_packets() if self.method == "packets" else self._from_thumbnails()
        end = max(self.video.info.duration, self.times[-1] + Fraction(1, 1000))
        return Analysis(
            method=self.method,
            demands=self.rests.measure(make_demands(findings, self.times, end=end)),
            busy_fraction=busy_fraction(
                findings.events, self.times_s, findings.signals, float(end)
            ),
            cuts=tuple(self.times[frame_index] for frame_index in findings.cuts),
            signals=findings.signals,
            notes=tuple(self.notes),
            warnings=tuple(self.warnings.values()),
        )

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
        with np.errstate(divide="ignore"):
            change_s = np.clip(1.5 / packets.rate, _MIN_CHANGE_S, _MAX_CHANGE_S)
        change_s = np.where(np.isnan(change_s), 4.0, change_s)
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
        return AnalysisFindings(cuts, events, signals, change_s, [(0, UNKNOWN_TOKENS)])

    def _from_thumbnails(self) -> AnalysisFindings:
        size_px = thumbnail_size(self.video.info)
        novelty, shots, edges = (
            NoveltyTracker(size_px),
            ShotDetector(every_frame=self.method == "full"),
            _Edges(),
        )
        flashes = FlashDetector()
        freezes = FreezeDetector((size_px[1] // BLOCK_PX, size_px[0] // BLOCK_PX))
        rows: list[npt.NDArray[np.float64]] = []
        decoded = 0
        for thumbnails in self._decode_thumbnails(self._spans(), size_px):
            pictures = luma(thumbnails.planes)
            features = block_features(pictures)
            for i, frame_index in enumerate(thumbnails.frame_indices):
                time_s = float(self.times_s[frame_index])
                rows += novelty.update(
                    frame_index, time_s, features[i], is_keyframe=frame_index in self._keyframes
                )
                shots.update(frame_index, thumbnails.planes[i], moved_levels=novelty.moved_levels)
                edges.update(time_s, pictures[i])
                flashes.update(frame_index, time_s, features[i, : features.shape[1] // 2])
                freezes.update(frame_index, time_s, features[i])
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
        details = self._details(cuts, first_decoded=int(signals.frame_indices[0]))
        if self.progress is not None:
            self.progress(1.0)
        events = merge_flashes(novelty.events, flashes.events)
        frozen = freezes.finish(len(self.times), float(self.video.info.duration))
        return AnalysisFindings(
            cuts, events, signals, change_s, details, frozen, tuple(novelty.borders)
        )

    @property
    def _keyframes(self) -> frozenset[int]:
        if not hasattr(self, "_known_keyframes"):
            self._known_keyframes = frozenset(self.video.keyframes)
        return self._known_keyframes

    def _spans(self) -> list[ThumbnailSpan]:
        count = len(self.times)
        if self.method == "full" or count < 3:
            return [ThumbnailSpan(0, count, "all")]
        packets = self._analyze_packets()
        inspected = frames_to_inspect(self.times_s, packets)
        fraction = float(inspected.mean())
        why = "inconclusive or stand out" if packets.is_informative else "not informative"
        self.notes.append(f"packet sizes are {why} around {fraction:.0%} of the frames")
        keyframes = self.video.keyframes
        changed = changed_keyframes(self.times_s, self.video.packets.sizes_bytes, keyframes)
        return inspection_spans(
            self.times_s, inspected, keyframes, changed, every_s=float(THUMBNAIL_INTERVAL)
        )

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


class _Edges:
    """Edge strength at each thumbnail, measured at intervals."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._measured_s = float("-inf")

    def update(self, time_s: float, picture: npt.NDArray[np.uint8]) -> None:
        if time_s - self._measured_s >= _EDGE_INTERVAL_S:
            self.values.append(edge_strength(picture))
            self._measured_s = time_s
        else:
            self.values.append(self.values[-1])
