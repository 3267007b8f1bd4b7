"""The knobs: what a user may ask of a plan beyond a budget, checked once and in one place.

Knows no video and no policy but by name. Times are exact seconds; ``_fps`` are frames a second;
``_tokens`` are visual tokens a frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from seedvideo.arguments import check_int, check_kind, check_number
from seedvideo.errors import PlanError

COVERAGE: Final = 0.5
"""Share of the budget that is spread evenly: what a wrong estimate cannot lose."""


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """What a plan must keep to, beside the budget. None leaves the choice to the policy.

    Args:
        levels_tokens: the levels that may be used, of those of the model.
        max_frames: most frames of the plan.
        start: only frames from here on.
        end: only frames before this.
        coverage: share of the budget that is spread evenly whatever the analysis says, from 0 to 1,
            at which the plan is the even one; `COVERAGE` where None. Only ``adaptive`` takes it.
        min_fps: frames a second everywhere. Only ``adaptive`` takes it.
        max_fps: most frames a second anywhere. Only ``adaptive`` takes it.

    Raises:
        PlanError: ``plan.invalid`` if a value is out of range, or two contradict each other.
        OptionTypeError: ``config.type`` if one has a wrong type.
    """

    levels_tokens: tuple[int, ...] | None = None
    max_frames: int | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    coverage: float | None = None
    min_fps: float | None = None
    max_fps: float | None = None

    def __post_init__(self) -> None:
        check_int("max_frames", self.max_frames)
        for name in ("start", "end", "coverage", "min_fps", "max_fps"):
            check_number(name, getattr(self, name))
        if self.levels_tokens is not None:
            check_kind("levels_tokens", self.levels_tokens, Sequence, "a tuple of whole numbers")
            for level in self.levels_tokens:
                check_int("levels_tokens", level)
        if self.levels_tokens is not None and not self.levels_tokens:
            raise PlanError("plan.invalid", "levels_tokens is empty, expected at least one level")
        if self.max_frames is not None and self.max_frames < 1:
            raise PlanError("plan.invalid", f"max_frames is {self.max_frames}, expected at least 1")
        if self.coverage is not None and not 0 <= self.coverage <= 1:
            raise PlanError("plan.invalid", f"coverage is {self.coverage}, expected 0 to 1")
        for name in ("min_fps", "max_fps"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise PlanError("plan.invalid", f"{name} is {value}, expected a value above 0")
        if self.min_fps is not None and self.max_fps is not None and self.min_fps > self.max_fps:
            raise PlanError(
                "plan.invalid", f"min_fps is {self.min_fps:g}, above max_fps {self.max_fps:g}"
            )
        if self.start is not None and self.start < 0:
            raise PlanError("plan.invalid", f"start is {self.start} s, expected 0 or later")
        if self.end is not None and self.end <= (self.start or 0):
            raise PlanError(
                "plan.invalid",
                f"the window ends at {float(self.end):g} s,"
                f" expected a time after its start at {float(self.start or 0):g} s",
            )

    def only_adaptive(self) -> tuple[str, ...]:
        """Names of the knobs that are set and that no other policy takes."""
        names = ("coverage", "min_fps", "max_fps")
        return tuple(name for name in names if getattr(self, name) is not None)


NO_KNOBS: Final = Knobs()
"""Nothing asked beyond the budget."""
