"""The parts of a plan: one frame, one segment, and the sums over frames.

Value objects that check themselves. Knows no policy and no geometry: whether a size fits a model is
the plan's question. Times are exact seconds from the video's own first frame; spans are half-open
``[start, end)``; ``_tokens`` are tokens in the model's sequence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from seedvideo.errors import PlanError


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

    Raises:
        PlanError: ``plan.invalid`` if a value is out of range.
    """

    pts: Fraction
    width_px: int
    height_px: int
    tokens: int
    text_tokens: int
    reason: str

    def __post_init__(self) -> None:
        if self.pts < 0:
            raise PlanError("plan.invalid", f"a frame's time is {self.pts} s, expected 0 or later")
        if self.tokens < 1 or self.text_tokens < 0:
            raise PlanError(
                "plan.invalid",
                f"a frame costs {self.tokens} visual and {self.text_tokens} text tokens,"
                " expected at least 1 and at least 0",
            )


@dataclass(frozen=True)
class Segment:
    """A half-open span of the video with one frame rate and one cap.

    Args:
        start: first moment of the span.
        end: first moment after the span.
        fps: frames a second that were really taken.
        level_tokens: cap of visual tokens a frame.

    Raises:
        PlanError: ``plan.invalid`` if the span is empty or a value is out of range.
    """

    start: Fraction
    end: Fraction
    fps: float
    level_tokens: int

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
