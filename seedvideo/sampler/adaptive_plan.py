"""Assembly of an adaptive plan: placed frames with their sizes, token costs and reasons.

Separate from `seedvideo.sampler.adaptive` to keep that module under 500 lines.
"""

from collections.abc import Sequence

from seedvideo.sampler.allocation import Level
from seedvideo.sampler.placement import PlacedFrame
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import Request, endpoint_reasons
from seedvideo.sampler.types import AllocationReport, PlannedFrame, Segment, SegmentStats
from seedvideo.sampler.utility import SegmentDemand, legible_fraction


def build_adaptive_plan(
    request: Request,
    demands: Sequence[SegmentDemand],
    placed: Sequence[Sequence[PlacedFrame]],
    coverage: Level,
    decision: AllocationReport,
) -> Plan:
    """Build the plan of frames that were placed segment by segment, with sizes, costs and reasons.

    Args:
        request: the request.
        demands: demands of the segments.
        placed: frames of each segment.
        coverage: size of the coverage frames.
        decision: report of the allocation.
    """
    spacing_s = float(request.window.duration) / decision.coverage_frames
    grid = f"coverage, one every {spacing_s:.3g} s"
    ends = endpoint_reasons(len(request.times) - 1)
    frames: list[PlannedFrame] = []
    segments: list[Segment] = []
    for demand, inside in zip(demands, placed, strict=True):
        spread = sum(each.reason == "spread" for each in inside)
        words = {"spread": _spread_reason(demand, spread), "coverage": grid}
        largest = max(inside, key=lambda each: each.level.tokens, default=None)
        for each in inside:
            why = words.get(each.reason, each.reason)
            if each.role == "coverage":
                why = ends.get(each.position, why)
            if each.moved_from is not None:
                shift_s = float(request.times[each.position] - request.times[each.moved_from])
                side = "earlier" if shift_s < 0 else "later"
                why += f", keyframe {abs(shift_s):.2g} s {side}, cheaper to decode"
            repeats = demand.still is not None and each is not largest
            size = _size_reason(each, demand, repeats=repeats)
            frames.append(_frame(request, each, f"{why}; {size}"))
        top = max((each.level.cap_tokens for each in inside), default=coverage.cap_tokens)
        segments.append(_segment(demand, frames=len(inside), level_tokens=top))
    return Plan(
        source=request.source,
        policy="adaptive",
        geometry=request.geometry,
        budget_tokens=request.budget_tokens,
        charged_tokens=sum(frame.tokens + frame.text_tokens for frame in frames),
        media=request.info,
        segments=tuple(segments),
        frames=tuple(frames),
        decision=decision,
    )


def _frame(request: Request, frame: PlacedFrame, reason: str) -> PlannedFrame:
    width_px, height_px = request.size(frame.level.cap_tokens)
    pts = request.times[frame.position]
    return PlannedFrame(
        pts=pts,
        width_px=width_px,
        height_px=height_px,
        tokens=frame.level.tokens,
        text_tokens=request.text_tokens(pts),
        reason=reason,
        role=frame.role,
    )


def _segment(demand: SegmentDemand, *, frames: int, level_tokens: int) -> Segment:
    return Segment(
        start=demand.start,
        end=demand.end,
        fps=round(frames / demand.length_s, 6),
        level_tokens=level_tokens,
        needs=SegmentStats(
            events_per_s=demand.events_per_s,
            event_s=demand.event_s,
            change_s=demand.picture_s,
            detail_tokens=demand.detail_tokens,
            peaks=len(demand.peaks),
            starts_shot=demand.starts_shot,
        ),
    )


def _spread_reason(demand: SegmentDemand, count: int) -> str:
    """Return the reason for the number of frames in a segment."""
    if not count:
        return ""
    span = f"1 of {count} spread over {float(demand.start):.1f} to {float(demand.end):.1f} s"
    if demand.length_s / count < demand.picture_s:
        return f"{span}, with budget to spare"
    return f"{span}, where the picture changes in {demand.picture_s:.2g} s"


def _size_reason(frame: PlacedFrame, demand: SegmentDemand, *, repeats: bool) -> str:
    if demand.is_blank:
        return f"level {frame.level.cap_tokens}, blank picture"
    if repeats:
        return f"level {frame.level.cap_tokens}, repeats a frozen picture"
    legible = float(legible_fraction(frame.level.tokens, detail_tokens=demand.detail_tokens))
    return f"level {frame.level.cap_tokens} reads {100 * legible:.0f}% of the detail"
