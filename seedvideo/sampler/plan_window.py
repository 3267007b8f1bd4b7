"""Segments of a planned window with their sizes and text costs, and the coverage grid over them.

Times are exact seconds; ``_tokens`` are tokens in the sequence.

Separate from `seedvideo.sampler.adaptive`, which would exceed 500 lines with it.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from seedvideo.config import PRESET_FPS
from seedvideo.errors import PlanError
from seedvideo.sampler.allocation import Level
from seedvideo.sampler.geometry import TOKEN_AREA_PX, Geometry
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import Request, target_frame_count
from seedvideo.sampler.uniform import fill_uniformly, uniform_indices
from seedvideo.sampler.utility import (
    FrameCounts,
    SegmentDemand,
    clip_demands,
    expected_utility,
)

_MAX_FPS: Final = max(PRESET_FPS.values())
"""Maximum frames per second of a segment without ``max_fps``: the highest published rate."""

_FRAMES_PER_SCENE_CHANGE: Final = 2.0
"""Maximum frames per change of the picture: further ones would show the same content."""


class PlanWindow:
    """Segments of the window of a request.

    Args:
        request: the request.
        demands: demands of the segments of the video.

    Raises:
        PlanError: ``plan.invalid`` if the demands do not cover the window.
    """

    def __init__(self, request: Request, demands: Sequence[SegmentDemand]) -> None:
        self.request = request
        self.levels = _levels(request)
        self.demands = tuple(
            _rescale_to_model_tokens(request.geometry, demand)
            for demand in clip_demands(demands, request.window.start, request.window.end)
        )
        if not self.demands:
            raise PlanError(
                "plan.invalid",
                f"the analysis of {request.source} does not cover the planned window",
            )
        times = request.times
        # Frames before the first segment belong to it, so that every frame lies in a segment.
        bounds = [0, *(bisect_left(times, each.start) for each in self.demands[1:]), len(times)]
        self.spans = [range(low, high) for low, high in pairwise(bounds)]
        self.text_costs = self._max_text_cost()
        self.needed, self.least = self._min_grid_frames()

    def split(self, positions: Sequence[int]) -> list[list[int]]:
        """Group positions by segment."""
        edges = [bisect_left(positions, span.start) for span in self.spans] + [len(positions)]
        return [list(positions[low:high]) for low, high in pairwise(edges)]

    def text_cost(self, position: int) -> int:
        """Return the text tokens of one frame."""
        return self.request.text_tokens(self.request.times[position])

    def max_frames(self, span: range, demand: SegmentDemand, coverage: int) -> int:
        """Return the maximum frames of a segment, at the requested rate or that of its motion."""
        request = self.request
        asked_fps = request.sampling.rate_fps
        bound_fps = (
            max(_MAX_FPS, asked_fps)
            if request.sampling.max_fps is None
            else request.sampling.max_fps
        )
        most_fps = min(max(asked_fps, _FRAMES_PER_SCENE_CHANGE / demand.picture_s), bound_fps)
        most_fps = max(most_fps, request.sampling.min_fps or 0.0)
        return min(len(span), max(coverage, 1, math.ceil(demand.length_s * most_fps)))

    def max_uniform_frames(self, rest: Request) -> int:
        """Return the maximum number of frames of a uniform plan."""
        pairs = zip(self.spans, self.demands, strict=True)
        most = sum(self.max_frames(span, need, 0) for span, need in pairs)
        most = min(most, self._max_rate_frames(most))  # Each segment rounds up.
        return min(rest.max_frames, max(self.least, most - self._frames_within_rate(rest)))

    def _frames_within_rate(self, rest: Request) -> int:
        """Return the frames of events, which count towards a maximum rate if there is one."""
        has_max_rate = self.request.sampling.max_fps is not None
        return self.request.max_frames - rest.max_frames if has_max_rate else 0

    def coverage_grid(self, rest: Request, *, share: float) -> Plan:
        """Return the coverage grid: a uniform plan of its fraction of what events leave.

        The grid is never denser than the best uniform plan of all that they leave. If large frames
        have more utility than many, it leaves budget for them.

        Args:
            rest: the request with the budget that the frames of events leave.
            share: fraction of that budget for the grid.

        Raises:
            PlanError: ``plan.over_budget`` if the frames that ``min_fps`` requires do not fit.
        """
        wanted, why = self._wanted()
        wanted = max(self.least, wanted - self._frames_within_rate(rest))
        if rest.coverage != 1:
            fewest = min(wanted, rest.geometry.min_frames)
            wanted = max(fewest, min(wanted, self._best_uniform_count(rest)))
        wanted = max(wanted, self.needed)
        lowest = self.levels[-1].tokens
        reserve = self.least * (lowest + max(self.text_costs))
        budget = min(rest.budget_tokens, max(int(share * rest.budget_tokens), reserve))
        frames = min(rest.max_frames, max(int(share * rest.max_frames), self.least, 1))
        part = replace(rest, budget_tokens=budget, max_frames=frames)
        coverage = fill_uniformly(part, policy="adaptive", wanted=wanted, why=why)
        if self.needed and len(coverage.frames) < len(uniform_indices(rest, self.needed)):
            raise PlanError(
                "plan.over_budget",
                f"min_fps {rest.sampling.min_fps:g} needs {self.needed:,} frames of at least"
                f" {lowest:,} tokens; the budget of {self.request.budget_tokens:,} tokens and"
                f" {self.request.max_frames:,} frames fits {len(coverage.frames):,}",
                hint="lower min_fps or raise the budget",
            )
        return coverage

    def _best_uniform_count(self, rest: Request) -> int:
        """Return the frame count of the uniform plan that shows most of the ordinary content."""
        most = self.max_uniform_frames(rest)
        # The grid covers what the analysis may have missed, in a frozen stretch too.
        ordinary = [replace(demand, still=None) for demand in self.demands]
        best = (-1.0, 1)
        for level in self.levels:
            count = min(most, rest.budget_tokens // (level.tokens + max(self.text_costs)))
            inside = self.split(uniform_indices(rest, count)) if count else []
            value = math.fsum(
                float(
                    expected_utility(
                        need, FrameCounts(fine=len(some), fine_tokens=level.tokens), event_value_s=0
                    )
                )
                for need, some in zip(ordinary, inside, strict=False)
            )
            best = max(best, (value, count))
        return max(1, best[1])

    def _min_grid_frames(self) -> tuple[int, int]:
        """Return the frames that ``min_fps`` requires, and the minimum of the grid."""
        request = self.request
        wanted = self._wanted()[0]
        needed = 0
        if request.sampling.min_fps is not None:
            needed = math.ceil(float(request.window.duration) * request.sampling.min_fps)
            needed = min(len(request.times), needed)
        return needed, max(needed, min(wanted, request.geometry.min_frames))

    def _wanted(self) -> tuple[int, str]:
        """Return the number of frames of the requested rate before any budget, and its name."""
        request = self.request
        wanted, why = target_frame_count(request)
        return min(wanted, self._max_rate_frames(wanted)), why

    def _max_rate_frames(self, otherwise: int) -> int:
        """Return the maximum frames of the window at a maximum rate, if there is one."""
        max_fps = self.request.sampling.max_fps
        if max_fps is None:
            return otherwise
        return max(1, math.floor(float(self.request.window.duration) * max_fps))

    def _max_text_cost(self) -> list[int]:
        """Return the text tokens of one frame in each segment: the larger value of its ends."""
        request = self.request
        last = len(request.times) - 1
        tokens = []
        for span in self.spans:
            ends = (min(span.start, last), max(span.start, span.stop - 1))
            times = (request.times[min(position, last)] for position in ends)
            tokens.append(max(request.text_tokens(time) for time in times))
        return tokens


def _rescale_to_model_tokens(geometry: Geometry, demand: SegmentDemand) -> SegmentDemand:
    """Convert a demand to tokens of this model: legibility depends on pixels, not on tokens."""
    if geometry.token_area_px == TOKEN_AREA_PX:
        return demand
    scale = TOKEN_AREA_PX / geometry.token_area_px
    return replace(
        demand,
        detail_tokens=demand.detail_tokens * scale,
        print_tokens=demand.print_tokens * scale,
    )


def _levels(request: Request) -> tuple[Level, ...]:
    """Return the sizes of this video's frames, largest first, each under its lowest cap."""
    found: dict[int, Level] = {}
    for cap in request.levels_tokens:
        tokens = request.frame_tokens(cap)
        found[tokens] = Level(cap_tokens=cap, tokens=tokens)
    return tuple(sorted(found.values(), key=lambda level: -level.tokens))
