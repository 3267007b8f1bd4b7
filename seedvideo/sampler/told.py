"""From places to a plan: every frame with its size, its price, and why it is there and so large.

Knows what was decided, not how. Times are exact seconds; ``_tokens`` are tokens in the sequence.
"""

from collections.abc import Sequence

from seedvideo.sampler.demand import Demand
from seedvideo.sampler.offers import Level
from seedvideo.sampler.parts import Decision, Needs, PlannedFrame, Segment
from seedvideo.sampler.place import Place
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import Request, end_reasons
from seedvideo.sampler.stamps import time_text
from seedvideo.sampler.utility import read


def assemble_segments(
    request: Request,
    demands: Sequence[Demand],
    places: Sequence[Sequence[Place]],
    coverage: Level,
    decision: Decision,
) -> Plan:
    """The plan of frames that were placed segment by segment.

    Args:
        request: what was asked.
        demands: the segments.
        places: the frames of each.
        coverage: size of the coverage frames.
        decision: how it came about.
    """
    spacing_s = float(request.window.duration) / decision.coverage_frames
    grid = f"coverage, one every {spacing_s:.3g} s"
    ends = end_reasons(len(request.times) - 1)
    frames: list[PlannedFrame] = []
    segments: list[Segment] = []
    for demand, inside in zip(demands, places, strict=True):
        spread = sum(each.why == "spread" for each in inside)
        words = {"spread": _spread_words(demand, spread), "coverage": grid}
        largest = max(inside, key=lambda each: each.level.tokens, default=None)
        for each in inside:
            why = words.get(each.why, each.why)
            if each.role == "coverage":
                why = ends.get(each.position, why)
            if each.moved_from is not None:
                shift_s = float(request.times[each.position] - request.times[each.moved_from])
                side = "earlier" if shift_s < 0 else "later"
                why += f", keyframe {abs(shift_s):.2g} s {side}, cheaper to decode"
            repeats = demand.still is not None and each is not largest
            size = _size_words(each, demand, repeats=repeats)
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


def _frame(request: Request, place: Place, reason: str) -> PlannedFrame:
    width_px, height_px = request.size(place.level.cap_tokens)
    pts = request.times[place.position]
    return PlannedFrame(
        pts=pts,
        width_px=width_px,
        height_px=height_px,
        tokens=place.level.tokens,
        text_tokens=request.text_tokens(time_text(pts)),
        reason=reason,
        role=place.role,
    )


def _segment(demand: Demand, *, frames: int, level_tokens: int) -> Segment:
    return Segment(
        start=demand.start,
        end=demand.end,
        fps=round(frames / demand.length_s, 6),
        level_tokens=level_tokens,
        needs=Needs(
            events_per_s=demand.events_per_s,
            event_s=demand.event_s,
            change_s=demand.picture_s,
            detail_tokens=demand.detail_tokens,
            peaks=len(demand.peaks),
            starts_shot=demand.starts_shot,
        ),
    )


def _spread_words(demand: Demand, count: int) -> str:
    """Why there are so many frames in a segment."""
    if not count:
        return ""
    span = f"1 of {count} spread over {float(demand.start):.1f} to {float(demand.end):.1f} s"
    if demand.length_s / count < demand.picture_s:
        return f"{span}, with budget to spare"
    return f"{span}, where the picture changes in {demand.picture_s:.2g} s"


def _size_words(place: Place, demand: Demand, *, repeats: bool) -> str:
    if demand.is_blank:
        return f"level {place.level.cap_tokens}, the picture is blank"
    if repeats:
        return f"level {place.level.cap_tokens}, it repeats a frozen picture"
    legible = float(read(place.level.tokens, detail_tokens=demand.detail_tokens))
    return f"level {place.level.cap_tokens} reads {100 * legible:.0f} % of the detail"
