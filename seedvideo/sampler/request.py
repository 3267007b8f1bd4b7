"""What a policy is asked, and the parts that policies share: how many frames, and the plan itself.

Knows header facts and frame times, never a picture; a model only as its geometry and the price of a
time text. Times are exact seconds; ``_tokens`` are tokens in the sequence.

What frames cost to decode, counted in packets, before any of them is decoded.

A frame is decoded from a keyframe on: every packet from there to its own, in the order in which
they are stored. Frames of one group of pictures share what they have in common. Decoders may leave
out pictures that no other refers to, so this is what sound streams need at most; it is too low
where a keyframe is none (intra refresh), or nothing can be sought (AVI with reordered pictures).
Knows ranks of frames and places of packets; no file, no times and no plan.
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
from seedvideo.sampler.geometry import TokenGeometry, time_text
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.types import PlannedFrame, Segment
from seedvideo.sampler.utility import Demand
from seedvideo.utils.timecode import Span

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DecodeCosts:
    """Costs of the frames of a video, or of a window of it; `decode_costs` makes them.

    Args:
        entries: ``(N,)``, place of the packet at which decoding must begin for each frame.
        places: ``(N,)``, place of its own packet among those of the stream.
        keyframes: ``(K,)``, the frames from which decoding may begin, rising.
        video_frames: frames of the whole video.
    """

    entries: Integers
    places: Integers
    keyframes: Integers
    video_frames: int

    def within(self, frames: range) -> "DecodeCosts":
        """The costs of consecutive frames, counted from 0. What they need may lie before them."""
        keys = self.keyframes
        return replace(
            self,
            entries=self.entries[frames.start : frames.stop],
            places=self.places[frames.start : frames.stop],
            keyframes=keys[(keys >= frames.start) & (keys < frames.stop)] - frames.start,
        )

    def span(self, frame: int) -> tuple[int, int]:
        """Places ``[first, after)`` of the packets that a frame needs."""
        return int(self.entries[frame]), int(self.places[frame]) + 1

    def of(self, frames: Iterable[int]) -> int:
        """Packets that must be decoded for all of these frames."""
        total, reached = 0, 0
        for first, after in sorted(self.span(frame) for frame in frames):
            total += max(0, after - max(first, reached))
            reached = max(reached, after)
        return total


def decode_costs(places: Sequence[int], keyframes: Sequence[int]) -> DecodeCosts:
    """The costs of all frames of a video.

    Args:
        places: of each frame's packet among those of the stream, by rising time of the frames.
        keyframes: ranks of the frames from which decoding may begin, rising.

    Raises:
        ValueError: if there are no frames, or a keyframe is none of them.
    """
    stored = np.asarray(places, np.int64)
    keys = np.asarray(keyframes, np.int64)
    if not len(stored) or (len(keys) and not 0 <= keys.min() <= keys.max() < len(stored)):
        raise ValueError(f"{len(keys)} keyframes are no ranks of {len(stored)} frames")
    return DecodeCosts(_entries(stored, keys), stored, keys, len(stored))


def _entries(places: Integers, keys: Integers) -> Integers:
    """Place of the packet at which decoding must begin for each frame.

    A leading picture of an open group is stored after its keyframe, is shown before it, and refers
    to the group before: it takes one keyframe more. What no keyframe precedes, as where the stream
    marks none, is decoded from the first packet on.
    """
    if not len(keys):
        return np.full_like(places, places.min())
    keys = keys[np.argsort(places[keys])]
    group = np.searchsorted(places[keys], places, side="right") - 1
    shown = np.arange(len(places))
    while (leading := (group > 0) & (keys[group] > shown)).any():
        group = group - leading
    starts = np.concatenate([places[keys], [places.min()]])
    return starts[group]  # The last of the starts belongs to -1, no group.


TextPrice = Callable[[str], int]
"""Tokens that a frame's time text and its marks cost."""


class Analysis(Protocol):
    """What `adaptive` asks of an analysis of the video."""

    @property
    def method(self) -> str:
        """Name of the method."""
        ...

    @property
    def demands(self) -> tuple[Demand, ...]:
        """What each segment asks for: contiguous, over the whole video."""
        ...

    @property
    def busy_share(self) -> float:
        """Share of the time that counts as busy, 0 to 1."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was looked at and what was skipped, for people."""
        ...

    @property
    def warnings(self) -> tuple[MediaWarning, ...]:
        """What decoding met on the way, such as damage."""
        ...


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that a policy may look at.

    Args:
        source: name of the video, as the caller gave it.
        info: header facts.
        times: times of the presented frames in the window, strictly increasing, at least one.
        keyframes: positions of the keyframes in ``times``.
        window: the part of the video that is planned; the whole of it where nothing else is asked.
        geometry: sizes and tokens of the model family.
        budget_tokens: what the plan may charge.
        levels_tokens: the geometry's levels that may be used, best first.
        text_tokens: price of a time text.
        max_frames: most frames that a plan may hold.
        sampling: the config that the values above come from; also says the rates and the coverage.
        analysis: what happens in the video; only ``adaptive`` needs it.
        costs: what the frames in ``times`` cost to decode, where that is known.
    """

    source: str
    info: MediaInfo
    times: Sequence[Fraction]
    keyframes: Sequence[int]
    window: Span
    geometry: TokenGeometry
    budget_tokens: int
    levels_tokens: tuple[int, ...]
    text_tokens: TextPrice
    max_frames: int
    sampling: SamplingConfig
    analysis: Analysis | None = None
    costs: DecodeCosts | None = None

    @property
    def coverage(self) -> float:
        """Fraction of the budget that ``adaptive`` spreads evenly, whatever the analysis says."""
        coverage = self.sampling.coverage
        return DEFAULT_COVERAGE if coverage is None else coverage

    def size(self, level_tokens: int) -> tuple[int, int]:
        """Width and height of this video's frames under a cap."""
        return self.geometry.size(
            width_px=self.info.width_px,
            height_px=self.info.height_px,
            level_tokens=level_tokens,
        )

    def frame_tokens(self, level_tokens: int) -> int:
        """Visual tokens of one of this video's frames under a cap."""
        width_px, height_px = self.size(level_tokens)
        return self.geometry.tokens(width_px=width_px, height_px=height_px)


def wanted_frames(request: Request) -> tuple[int, str]:
    """Frames that the published rule asks for before any budget, and a name for that choice.

    ``min(max(ceil(N / vfps * fps), least), N)``, where ``least`` is the geometry's ``min_frames``
    and ``vfps`` the container's average rate, in the official code's order of float operations: at
    30000/1001 a rounding error decides. Where no average rate is known, the time that the frames
    span stands in for ``N / vfps``.
    """
    count = len(request.times)
    fps = request.sampling.rate_fps
    average = request.info.fps_avg
    if average is not None and average > 0:
        duration_s = count / float(average)
    else:
        duration_s = float(request.times[-1] - request.times[0])
    # Compared before it is rounded up: at an absurd rate the product may be infinite.
    least = request.geometry.min_frames
    if count <= least or duration_s * fps >= count:
        return count, "every frame"
    asked = math.ceil(duration_s * fps)
    if asked < least:
        return least, f"{least}-frame floor"
    return asked, f"{fps:g} fps grid"


def assemble(
    request: Request,
    *,
    policy: str,
    positions: Sequence[int],
    level_tokens: int,
    why: str,
    charged_tokens: int | None = None,
) -> Plan:
    """The plan of frames at one level, as one segment.

    Args:
        request: what was asked.
        policy: name of the policy.
        positions: chosen positions in ``request.times``, strictly increasing.
        level_tokens: the level of all frames.
        why: reason of the frames between the ends, without the level.
        charged_tokens: what the policy counts; every token where none is given.
    """
    width_px, height_px = request.size(level_tokens)
    tokens = request.frame_tokens(level_tokens)
    last = len(request.times) - 1
    ends = end_reasons(last)
    frames = tuple(
        PlannedFrame(
            pts=request.times[position],
            width_px=width_px,
            height_px=height_px,
            tokens=tokens,
            text_tokens=request.text_tokens(time_text(request.times[position])),
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


def end_reasons(last: int) -> dict[int, str]:
    """Why the frames at the ends are taken, by their positions, of which ``last`` is the last."""
    return {0: "first frame", last: "last frame"} if last else {0: "only frame"}


def whole(info: MediaInfo, times: Sequence[Fraction]) -> Span:
    """All of a video: up to its duration, or one frame past its last time."""
    last = times[-1]
    if info.duration > last:
        return Span(Fraction(0), info.duration)
    average = info.fps_avg
    lasting = 1 / average if average is not None and average > 0 else Fraction(1)
    return Span(Fraction(0), last + lasting)
