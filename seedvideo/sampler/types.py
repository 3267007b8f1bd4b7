"""The parts of a plan: one frame, one segment, and the sums over frames.

Value objects that check themselves. Knows no policy and no geometry: whether a size fits a model is
the plan's question. Times are exact seconds from the video's own first frame; spans are half-open
``[start, end)``; ``_tokens`` are tokens in the model's sequence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from seedvideo.errors import PlanError

Role = Literal["coverage", "event", "shot", "spread"]
"""What a frame is for: even coverage, something new, the start of a shot, or more of a segment."""


@dataclass(frozen=True)
class PlannedFrame:
    """One frame that will be shown.

    Args:
        pts: its presentation time.
        width_px: width at which it is shown.
        height_px: height at which it is shown.
        tokens: visual tokens of that size.
        text_tokens: tokens of its time text and marks.
        reason: why it was taken, in a few words.
        role: what it is for, where the policy follows the content.

    Raises:
        PlanError: ``plan.invalid`` if a value is out of range.
    """

    pts: Fraction
    width_px: int
    height_px: int
    tokens: int
    text_tokens: int
    reason: str
    role: Role | None = None

    def __post_init__(self) -> None:
        if self.role is not None and self.role not in get_args(Role):
            raise PlanError(
                "plan.invalid",
                f"a frame's role is {self.role!r}, expected one of {', '.join(get_args(Role))}",
            )
        if self.pts < 0:
            raise PlanError("plan.invalid", f"a frame's time is {self.pts} s, expected 0 or later")
        if self.tokens < 1 or self.text_tokens < 0:
            raise PlanError(
                "plan.invalid",
                f"a frame costs {self.tokens} visual and {self.text_tokens} text tokens,"
                " expected at least 1 and at least 0",
            )


@dataclass(frozen=True)
class Needs:
    """What the analysis found in a segment, as `seedvideo.sampler.utility.Demand` explains it.

    Args:
        events_per_s: rate of brief events.
        event_s: how long they last, or the time in which the picture changes.
        change_s: time in which the ordinary picture changes.
        detail_tokens: visual tokens a frame at which 63 % of the detail can be read.
        peaks: moments that deserve a frame.
        starts_shot: whether it begins with a cut.

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
            raise PlanError("plan.invalid", f"needs must be above 0: {self}")
        if not (math.isfinite(self.events_per_s) and self.events_per_s >= 0 and self.peaks >= 0):
            raise PlanError("plan.invalid", f"rates and counts must be 0 or above: {self}")


@dataclass(frozen=True)
class Decoding:
    """What a plan costs to decode: packets from each keyframe to the last frame that is wanted.

    Decoders that leave out what no other picture refers to need fewer.

    Args:
        pictures: to be decoded for the plan.
        video_pictures: in the whole video.
        moved_frames: frames that were moved to a keyframe near by.
        saved_pictures: that would be decoded as well had no frame been moved.

    Raises:
        PlanError: ``plan.invalid`` if a value is out of range.
    """

    pictures: int
    video_pictures: int
    moved_frames: int
    saved_pictures: int

    def __post_init__(self) -> None:
        if self.pictures < 1 or self.video_pictures < 1:
            raise PlanError("plan.invalid", f"decoding takes at least one picture: {self}")
        if self.moved_frames < 0 or self.saved_pictures < 0:
            raise PlanError("plan.invalid", f"what moving saves must be 0 or above: {self}")


@dataclass(frozen=True)
class Decision:
    """How an adaptive plan came about, and how good it is under its own model.

    Worths are in seconds of ordinary content seen and read in full (`seedvideo.sampler.utility`).

    Args:
        analysis: name of the analysis.
        notes: what it looked at and what it skipped.
        busy_share: share of the time that counts as busy.
        coverage_share: share of the budget that the coverage grid could take.
        coverage_frames: frames of that grid, all of them in the plan.
        coverage_level_tokens: their level.
        is_even: whether the best even plan was taken, for want of anything better.
        worth_s: worth of the plan.
        bound_s: no plan over the same grid is worth more.
        even_worth_s: worth of the best even plan with at least as many frames as the grid.
        is_exact: whether the plan is known to be the best one over the grid.
        decoding: what it costs to decode, where that is known.

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
    decoding: Decoding | None = None

    def __post_init__(self) -> None:
        for name in ("busy_share", "coverage_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise PlanError("plan.invalid", f"{name} is {getattr(self, name)}, expected 0 to 1")
        for name in ("worth_s", "bound_s", "even_worth_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PlanError("plan.invalid", f"{name} is {value}, expected 0 or above")

    @property
    def within(self) -> float:
        """Share of the bound that the plan may fall short of the best: 0 where it is the best."""
        return (
            0.0 if self.is_exact or not self.bound_s else max(0.0, 1 - self.worth_s / self.bound_s)
        )


@dataclass(frozen=True)
class Segment:
    """A half-open span of the video with one frame rate and one cap.

    Args:
        start: first moment of the span.
        end: first moment after the span.
        fps: frames a second that were really taken.
        level_tokens: cap of visual tokens a frame.
        needs: what the analysis found in it, where the policy asked.

    Raises:
        PlanError: ``plan.invalid`` if the span is empty or a value is out of range.
    """

    start: Fraction
    end: Fraction
    fps: float
    level_tokens: int
    needs: Needs | None = None

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
    """Sums over a plan's frames."""

    frames: int
    visual_tokens: int
    text_tokens: int

    @property
    def tokens(self) -> int:
        """Everything that the frames cost in the sequence."""
        return self.visual_tokens + self.text_tokens

    @classmethod
    def of(cls, frames: Sequence[PlannedFrame]) -> "Totals":
        """The sums over these frames."""
        return cls(
            frames=len(frames),
            visual_tokens=sum(frame.tokens for frame in frames),
            text_tokens=sum(frame.text_tokens for frame in frames),
        )
