"""Input of a sampling policy, and what policies share: decode costs, frame counts, plan assembly.

Policies use header facts and frame times, never pictures, and of a model only its geometry and the
token cost of a timestamp text. Times are exact seconds; ``_tokens`` are tokens in the sequence.

Decode costs count packets before any frame is decoded. A frame is decoded from a keyframe on: all
packets from there to its own, in storage order. Frames of one group of pictures share packets. This
is an upper bound for sound streams, since decoders may skip non-reference frames. It is too low if
a keyframe is not a random access point (intra refresh) or the file does not support seeking (AVI
with reordered frames).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seedvideo.config import DEFAULT_COVERAGE, SamplingConfig
from seedvideo.media.types import MediaInfo, MediaWarning
from seedvideo.sampler.geometry import Geometry
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.types import PlannedFrame, Segment
from seedvideo.sampler.utility import SegmentDemand
from seedvideo.utils.timecode import Span

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DecodeCosts:
    """Decode costs of the frames of a video or of a window; built by `compute_decode_costs`.

    Args:
        first_packets: ``(N,)``, index of the packet at which decoding must begin for each frame.
        packets: ``(N,)``, index of the packet of each frame in the stream.
        keyframes: ``(K,)``, frames from which decoding may begin, rising.
        video_frames: number of frames of the complete video.
    """

    first_packets: Integers
    packets: Integers
    keyframes: Integers
    video_frames: int

    def restrict(self, frames: range) -> "DecodeCosts":
        """Return the costs of consecutive frames, counted from 0; needed packets may lie before."""
        keys = self.keyframes
        return replace(
            self,
            first_packets=self.first_packets[frames.start : frames.stop],
            packets=self.packets[frames.start : frames.stop],
            keyframes=keys[(keys >= frames.start) & (keys < frames.stop)] - frames.start,
        )

    def span(self, frame: int) -> tuple[int, int]:
        """Return the indices ``[first, after)`` of the packets that a frame needs."""
        return int(self.first_packets[frame]), int(self.packets[frame]) + 1

    def cost(self, frames: Iterable[int]) -> int:
        """Count the packets to decode for all of these frames."""
        total, reached = 0, 0
        for first, after in sorted(self.span(frame) for frame in frames):
            total += max(0, after - max(first, reached))
            reached = max(reached, after)
        return total


def compute_decode_costs(packets: Sequence[int], keyframes: Sequence[int]) -> DecodeCosts:
    """Compute the decode costs of all frames of a video.

    Args:
        packets: index of each frame's packet in the stream, by rising time of the frames.
        keyframes: indices of the frames from which decoding may begin, rising.

    Raises:
        ValueError: if there are no frames, or a keyframe is not one of them.
    """
    stored = np.asarray(packets, np.int64)
    keys = np.asarray(keyframes, np.int64)
    if not len(stored) or (len(keys) and not 0 <= keys.min() <= keys.max() < len(stored)):
        raise ValueError(
            f"keyframes are {keys.tolist()[:8]}, expected indices of {len(stored)} frames"
        )
    return DecodeCosts(_first_packets(stored, keys), stored, keys, len(stored))


def _first_packets(packets: Integers, keys: Integers) -> Integers:
    """Return the index of the packet at which decoding must begin for each frame.

    A leading picture of an open group is stored after its keyframe, is shown before it, and refers
    to the previous group, so it needs one keyframe more. Frames without a keyframe before them are
    decoded from the first packet on.
    """
    if not len(keys):
        return np.full_like(packets, packets.min())
    keys = keys[np.argsort(packets[keys])]
    group = np.searchsorted(packets[keys], packets, side="right") - 1
    shown = np.arange(len(packets))
    while (leading := (group > 0) & (keys[group] > shown)).any():
        group = group - leading
    starts = np.concatenate([packets[keys], [packets.min()]])
    return starts[group]  # The last start belongs to group -1: no keyframe before it.


TextTokenCounter = Callable[[Fraction], int]
"""Function that counts the text tokens of a frame by its time: timestamp text and markers."""


class AnalysisResult(Protocol):
    """Interface of an analysis for the policy `adaptive`."""

    @property
    def method(self) -> str:
        """Return the name of the method."""
        ...

    @property
    def demands(self) -> tuple[SegmentDemand, ...]:
        """Return the demands of contiguous segments that cover the video."""
        ...

    @property
    def busy_fraction(self) -> float:
        """Return the fraction of the time that counts as busy, 0 to 1."""
        ...

    @property
    def inspected_fraction(self) -> float:
        """Return the fraction of the time that is not unknown, 0 to 1."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Return notes for people: what was inspected and skipped."""
        ...

    @property
    def warnings(self) -> tuple[MediaWarning, ...]:
        """Return the warnings of the decoder, such as damage."""
        ...


@dataclass(frozen=True, kw_only=True)
class Request:
    """Complete input of a policy.

    Args:
        source: name of the video, as given by the caller.
        info: header facts.
        times: times of the presented frames in the window, strictly increasing, at least one.
        keyframes: positions of the keyframes in ``times``.
        window: the part of the video to plan; all of it by default.
        geometry: token geometry of the model family.
        budget_tokens: maximum tokens that the plan may charge.
        levels_tokens: levels of the geometry that may be used, best first.
        text_tokens: counts the text tokens of a frame by its time.
        max_frames: maximum frames of the plan.
        sampling: the config from which the values above are derived; also holds rates and coverage.
        analysis: analysis of the video; required by ``adaptive`` only.
        costs: decode costs of the frames in ``times``, if known.
    """

    source: str
    info: MediaInfo
    times: Sequence[Fraction]
    keyframes: Sequence[int]
    window: Span
    geometry: Geometry
    budget_tokens: int
    levels_tokens: tuple[int, ...]
    text_tokens: TextTokenCounter
    max_frames: int
    sampling: SamplingConfig
    analysis: AnalysisResult | None = None
    costs: DecodeCosts | None = None

    @property
    def coverage(self) -> float:
        """Return the fraction of the budget that ``adaptive`` always spreads evenly."""
        coverage = self.sampling.coverage
        return DEFAULT_COVERAGE if coverage is None else coverage

    def size(self, level_tokens: int) -> tuple[int, int]:
        """Return width and height of this video's frames under a cap."""
        return self.geometry.size(
            width_px=self.info.width_px,
            height_px=self.info.height_px,
            level_tokens=level_tokens,
        )

    def frame_tokens(self, level_tokens: int) -> int:
        """Return the visual tokens of one of this video's frames under a cap."""
        width_px, height_px = self.size(level_tokens)
        return self.geometry.tokens(width_px=width_px, height_px=height_px)


def target_frame_count(request: Request) -> tuple[int, str]:
    """Return the frame count of the published rule before any budget, and a name for that choice.

    ``min(max(ceil(N / vfps * fps), least), N)``, where ``least`` is the geometry's ``min_frames``
    and ``vfps`` the average rate of the container. Float operations have the order of the official
    code, because a rounding error decides at 30000/1001. Without an average rate, the time span of
    the frames replaces ``N / vfps``.
    """
    count = len(request.times)
    fps = request.sampling.rate_fps
    average = request.info.fps_avg
    if average is not None and average > 0:
        duration_s = count / float(average)
    else:
        duration_s = float(request.times[-1] - request.times[0])
    # Compare before rounding up: at an absurd rate the product may be infinite.
    least = request.geometry.min_frames
    if count <= least or duration_s * fps >= count:
        return count, "every frame"
    asked = math.ceil(duration_s * fps)
    if asked < least:
        return least, f"{least}-frame floor"
    return asked, f"{fps:g} fps grid"


def build_plan(
    request: Request,
    *,
    policy: str,
    positions: Sequence[int],
    level_tokens: int,
    why: str,
    charged_tokens: int | None = None,
) -> Plan:
    """Build a plan of frames at one level, as one segment.

    Args:
        request: the request.
        policy: name of the policy.
        positions: selected positions in ``request.times``, strictly increasing.
        level_tokens: level of all frames.
        why: reason of the frames between the first and the last, without the level.
        charged_tokens: tokens that the policy counts; all tokens if None.
    """
    width_px, height_px = request.size(level_tokens)
    tokens = request.frame_tokens(level_tokens)
    last = len(request.times) - 1
    ends = endpoint_reasons(last)
    frames = tuple(
        PlannedFrame(
            pts=request.times[position],
            width_px=width_px,
            height_px=height_px,
            tokens=tokens,
            text_tokens=request.text_tokens(request.times[position]),
            reason=f"{ends.get(position, why)}, level {level_tokens}",
        )
        for position in positions
    )
    if charged_tokens is None:
        charged_tokens = sum(frame.tokens + frame.text_tokens for frame in frames)
    window = request.window
    return Plan(
        source=request.source,
        policy=policy,
        geometry=request.geometry,
        budget_tokens=request.budget_tokens,
        charged_tokens=charged_tokens,
        media=request.info,
        segments=(
            Segment(
                start=window.start,
                end=window.end,
                fps=round(float(len(frames) / window.duration), 6),
                level_tokens=level_tokens,
            ),
        ),
        frames=frames,
    )


def endpoint_reasons(last: int) -> dict[int, str]:
    """Return the reasons of the first frame and of the one at ``last``, by position."""
    return {0: "first frame", last: "last frame"} if last else {0: "only frame"}


def full_span(info: MediaInfo, times: Sequence[Fraction]) -> Span:
    """Return the span of the complete video: to its duration, or one frame past its last time."""
    last = times[-1]
    if info.duration > last:
        return Span(Fraction(0), info.duration)
    average = info.fps_avg
    lasting = 1 / average if average is not None and average > 0 else Fraction(1)
    return Span(Fraction(0), last + lasting)
