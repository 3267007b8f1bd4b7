"""Value types of a plan: frame, segment, allocation report and totals.

Every object validates itself, except that `Plan` checks sizes against the token geometry. Times are
exact seconds from the first frame of the video; spans are half-open ``[start, end)``; ``_tokens``
are tokens in the model's sequence. Field names of these types are keys of the plan JSON.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from seedvideo.errors import PlanError

FrameRole = Literal["coverage", "event", "shot", "spread"]
"""Role of a frame: even coverage, something new, the start of a shot, or more of a segment."""


@dataclass(frozen=True)
class PlannedFrame:
    """One planned frame.

    Args:
        pts: its presentation time.
        width_px: planned width.
        height_px: planned height.
        tokens: visual tokens of that size.
        text_tokens: tokens of its timestamp text and markers.
        reason: reason for taking it, in a few words.
        role: its role, if the policy follows the content.

    Raises:
        PlanError: ``plan.invalid`` if a value is out of range.
    """

    pts: Fraction
    width_px: int
    height_px: int
    tokens: int
    text_tokens: int
    reason: str
    role: FrameRole | None = None

    def __post_init__(self) -> None:
        if self.role is not None and self.role not in get_args(FrameRole):
            raise PlanError(
                "plan.invalid",
                f"a frame's role is {self.role!r},"
                f" expected one of {', '.join(get_args(FrameRole))}",
            )
        if self.pts < 0:
            raise PlanError("plan.invalid", f"a frame's time is {self.pts} s, expected 0 or later")
        if not (self.tokens >= 1 and self.text_tokens >= 0):  # NaN is neither.
            raise PlanError(
                "plan.invalid",
                f"a frame costs {self.tokens} visual and {self.text_tokens} text tokens,"
                " expected at least 1 and at least 0",
            )


@dataclass(frozen=True)
class SegmentStats:
    """Findings of the analysis for one segment; see `seedvideo.sampler.utility.SegmentDemand`.

    Args:
        events_per_s: rate of brief events.
        event_s: mean length of an event, or the time in which the picture changes.
        change_s: time in which the ordinary picture changes.
        detail_tokens: visual tokens per frame at which 63% of the detail is legible.
        peaks: number of moments that deserve a frame.
        starts_shot: whether the segment begins with a cut.

    Raises:
        PlanError: ``plan.invalid`` if a value is out of range.
    """

    events_per_s: float
    event_s: float
    change_s: float
    detail_tokens: float
    peaks: int
    starts_shot: bool

    def __post_init__(self) -> None:
        above = (self.event_s, self.change_s, self.detail_tokens)
        if not all(math.isfinite(value) and value > 0 for value in above):
            raise PlanError("plan.invalid", f"needs are {self}, expected times and tokens above 0")
        if not (math.isfinite(self.events_per_s) and self.events_per_s >= 0 and self.peaks >= 0):
            raise PlanError(
                "plan.invalid", f"needs are {self}, expected rates and counts of 0 or above"
            )


@dataclass(frozen=True)
class DecodeEstimate:
    """Decoding cost of a plan: packets from each keyframe to the last requested frame.

    This is an upper bound: decoders that skip non-reference frames need fewer packets.

    Args:
        pictures: pictures to decode for the plan.
        video_pictures: pictures in the complete video.
        moved_frames: number of frames that were moved to a nearby keyframe.
        saved_pictures: additional pictures to decode if no frame had been moved.

    Raises:
        PlanError: ``plan.invalid`` if a value is out of range.
    """

    pictures: int
    video_pictures: int
    moved_frames: int
    saved_pictures: int

    def __post_init__(self) -> None:
        if self.pictures < 1 or self.video_pictures < 1:
            raise PlanError("plan.invalid", f"decoding is {self}, expected at least one picture")
        if self.moved_frames < 0 or self.saved_pictures < 0:
            raise PlanError(
                "plan.invalid",
                f"decoding is {self}, expected moved frames and savings of 0 or above",
            )


EventOutcome = Literal["legible", "largest", "shown", "shared", "limit", "budget", "rate"]
"""What became of a found event: its frame is at a legible size, at the largest one although that is
not legible, or was bought at the lowest one; the frame of another event shows it; or it has none,
because of the limit for events of its kind, because other frames use up the budget or
``max_frames``, or because of ``max_fps``."""


@dataclass(frozen=True)
class EventReport:
    """Report of one found event, in the order in which events are bought.

    Args:
        time: time of the first frame that shows it.
        strength: prominence in robust deviations.
        probability: probability that it is an event and not noise.
        in_busy_time: whether it lies in busy time.
        frame: time of the frame that shows it; None if none was bought.
        tokens: tokens of that frame with text, at the size at which it was bought; 0 if it is
            shared or there is none.
        total_tokens: tokens of its frame at the lowest size, and of all purchases before it for
            events of its kind, credible or doubtful.
        share: maximum fraction of the budget for these.
        outcome: what became of it.

    Raises:
        PlanError: ``plan.invalid`` if a value is out of range.
    """

    time: Fraction
    strength: float
    probability: float
    in_busy_time: bool
    frame: Fraction | None
    tokens: int
    total_tokens: int
    share: float
    outcome: EventOutcome

    def __post_init__(self) -> None:
        if self.outcome not in get_args(EventOutcome):
            raise PlanError(
                "plan.invalid",
                f"an event's outcome is {self.outcome!r},"
                f" expected one of {', '.join(get_args(EventOutcome))}",
            )
        if not (0 <= self.probability <= 1 and 0 <= self.share <= 1):
            raise PlanError(
                "plan.invalid",
                f"an event has probability {self.probability} and share {self.share},"
                " expected 0 to 1",
            )


@dataclass(frozen=True)
class AllocationReport:
    """Report of an adaptive plan: its inputs, and its quality under the utility model.

    Utilities are in seconds of ordinary content that is seen and read in full
    (`seedvideo.sampler.utility`).

    Args:
        analysis: name of the analysis method.
        notes: notes of the analysis: what it inspected and skipped.
        busy_share: fraction of the time that counts as busy.
        coverage_share: maximum fraction for the coverage grid of what events leave of the budget.
        coverage_frames: number of frames of that grid, all of them in the plan.
        coverage_level_tokens: level of these frames.
        is_even: whether the plan is the best uniform one besides the frames of events, because no
            other was better.
        worth_s: utility of the plan.
        bound_s: upper bound for the utility of any plan over the same grid.
        even_worth_s: utility of the best uniform plan with at least as many frames as the grid, and
            of the frames of events.
        is_exact: whether the plan is known to be optimal over the grid.
        decoding: decoding cost, if known.
        inspected_share: fraction of the time that the analysis inspected, or whose packets show
            that nothing happens; the rest is unknown and counts as busy.
        event_frames: number of frames that were bought for found events before all others.
        event_tokens: tokens of these frames with text, at the size at which they were bought.
        events: found events of the window, in the order in which they are bought.
        last_thousand_s: utility that the last 1,000 tokens added.
        full_worth_s: utility of the complete budget, if the plan may spend less (``min_utility``).

    Raises:
        PlanError: ``plan.invalid`` if a value is out of range.
    """

    analysis: str
    notes: tuple[str, ...]
    busy_share: float
    coverage_share: float
    coverage_frames: int
    coverage_level_tokens: int
    is_even: bool
    worth_s: float
    bound_s: float
    even_worth_s: float
    is_exact: bool
    decoding: DecodeEstimate | None = None
    inspected_share: float = 1.0
    event_frames: int = 0
    event_tokens: int = 0
    events: tuple[EventReport, ...] = ()
    last_thousand_s: float = 0.0
    full_worth_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("busy_share", "coverage_share", "inspected_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise PlanError("plan.invalid", f"{name} is {getattr(self, name)}, expected 0 to 1")
        for name in ("worth_s", "bound_s", "even_worth_s", "last_thousand_s", "full_worth_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise PlanError("plan.invalid", f"{name} is {value}, expected 0 or above")

    @property
    def optimality_gap(self) -> float:
        """Return the fraction of the bound by which the plan may miss the optimum; 0 if exact."""
        return (
            0.0 if self.is_exact or not self.bound_s else max(0.0, 1 - self.worth_s / self.bound_s)
        )

    @property
    def even_reason(self) -> str:
        """Return why an even plan is even, for people."""
        what = "uniform besides the frames of events" if self.event_frames else "uniform"
        return f"{what}: no other plan has more utility"


@dataclass(frozen=True)
class Segment:
    """A half-open span of the video with one frame rate and one cap of visual tokens.

    Args:
        start: start of the span.
        end: end of the span, exclusive.
        fps: frames per second that were selected.
        level_tokens: maximum visual tokens per frame.
        needs: findings of the analysis, if the policy used one.

    Raises:
        PlanError: ``plan.invalid`` if the span is empty or a value is out of range.
    """

    start: Fraction
    end: Fraction
    fps: float
    level_tokens: int
    needs: SegmentStats | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise PlanError("plan.invalid", f"a segment runs from {self.start} to {self.end} s")
        if not (math.isfinite(self.fps) and self.fps >= 0):
            raise PlanError("plan.invalid", f"a segment's fps is {self.fps}, expected 0 or above")
        if self.level_tokens < 1:
            raise PlanError(
                "plan.invalid", f"a segment's level is {self.level_tokens}, expected at least 1"
            )


@dataclass(frozen=True)
class Totals:
    """Sums over the frames of a plan."""

    frames: int
    visual_tokens: int
    text_tokens: int

    @property
    def tokens(self) -> int:
        """Return all tokens of the frames in the sequence."""
        return self.visual_tokens + self.text_tokens

    @classmethod
    def of(cls, frames: Sequence[PlannedFrame]) -> "Totals":
        """Sum up these frames."""
        return cls(
            frames=len(frames),
            visual_tokens=sum(frame.tokens for frame in frames),
            text_tokens=sum(frame.text_tokens for frame in frames),
        )
