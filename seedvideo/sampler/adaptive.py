"""The adaptive policy: an even grid that is never given up, and the rest where it shows most.

    coverage   a share of the budget, spent as `uniform` would spend it
    allocate   what is left goes to the segments in which it is worth most
    place      each segment's frames get their moments
    settle     real prices are counted, and what they leave over is shared out again
    snap       where nothing happens, keyframes near by are taken if that saves decoding

A share of 1, asked for or because everything in the video is busy, gives the even plan itself. So
does a video in which nothing stands out and unevenness would gain next to nothing. Knows the
analysis only as its demands. Times are exact seconds; ``_tokens`` are tokens in the sequence.

From places to a plan: every frame with its size, its price, and why it is there and so large.

Knows what was decided, not how. Times are exact seconds; ``_tokens`` are tokens in the sequence.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from seedvideo.config import PRESET_FPS
from seedvideo.errors import PlanError
from seedvideo.sampler.allocation import (
    Allocation,
    Grant,
    Level,
    Lot,
    Sharing,
    coverage_share,
    even_worth,
)
from seedvideo.sampler.geometry import TOKEN_AREA_PX, TOKEN_PX, TokenGeometry, time_text
from seedvideo.sampler.placement import Place, decoding_of, middle_of_core, place, to_keyframes
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.request import Analysis, Request, end_reasons, wanted_frames
from seedvideo.sampler.types import Decision, Needs, PlannedFrame, Segment
from seedvideo.sampler.uniform import even_positions, fill_evenly, remembered
from seedvideo.sampler.utility import EVENT_WORTH_S, Demand, Looks, find_spots, read, within, worth


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


EVEN_WITHIN: Final = 0.05
"""Where nothing stands out, an uneven plan must be worth this share more than the best even one."""

GAPS_AN_EVENT: Final = 2.0
"""Coverage gaps that an event is worth, at least: with few frames each of them stands for much, but
none for more than what is known to be new."""

_MOST_FPS: Final = max(PRESET_FPS.values())
"""Frames a second that no segment exceeds where the caller doesn't say: the published rates end
there."""

_FRAMES_A_CHANGE: Final = 2.0
"""Frames in the time in which the picture changes beyond which more of them show the same."""

_ROUNDS: Final = 4
"""Times that what is left over is shared out again."""


@dataclass(frozen=True)
class _Even:
    """The best plan of one rate and one size."""

    positions: tuple[int, ...]
    level: Level
    worth: float


@dataclass(frozen=True)
class _Draft:
    """Frames with their real price, and what they came from."""

    places: tuple[tuple[Place, ...], ...]
    tokens: int
    allocation: Allocation


def adaptive(request: Request) -> Plan:
    """Frames and sizes that follow the content, over an even grid.

    Raises:
        PlanError: ``plan.over_budget`` if not even one frame fits, or the frames that ``min_fps``
            asks for do not; ``plan.invalid`` if there is no analysis.
    """
    analysis = request.analysis
    if analysis is None:
        raise PlanError("plan.invalid", "policy adaptive needs an analysis of the video")
    return _Planner(replace(request, text_tokens=remembered(request.text_tokens)), analysis).plan()


class _Planner:
    """The steps of one plan."""

    def __init__(self, request: Request, analysis: Analysis) -> None:
        self.request = request
        self.analysis = analysis
        self.share = coverage_share(request.coverage, analysis.busy_share)
        self.levels = _levels(request)
        times = request.times
        self.demands = tuple(
            _in_tokens_of(request.geometry, demand)
            for demand in within(analysis.demands, request.window.start, request.window.end)
        )
        if not self.demands:
            raise PlanError("plan.invalid", f"the analysis of {request.source} leaves out the plan")
        # The first segment takes what comes before it, so that every frame lies in one.
        bounds = [0, *(bisect_left(times, each.start) for each in self.demands[1:]), len(times)]
        self.spans = [range(low, high) for low, high in pairwise(bounds)]
        self.text_prices = self._dearest_texts()

    def plan(self) -> Plan:
        """The plan."""
        request = self.request
        coverage = self._coverage()
        level = next(each for each in self.levels if each.tokens == coverage.frames[0].tokens)
        grid = self._positions(coverage)
        self.event_worth_s = max(
            EVENT_WORTH_S, GAPS_AN_EVENT * float(request.window.duration) / len(grid)
        )
        lots = [
            self._lot(demand, span, inside, level, text)
            for demand, span, inside, text in zip(
                self.demands, self.spans, self._split(grid), self.text_prices, strict=True
            )
        ]
        draft = self._settle(lots, grid)
        even = None
        if self.request.coverage != 1:
            even = self._best_even(lots, least=len(grid))
        if even is None and self.share == 1:
            even = _Even(tuple(grid), level, self._worth_of_even(lots, grid, level))
        is_even = even is not None and (
            self.share == 1 or self._prefers_even(draft.allocation, even)
        )
        if even is not None and is_even:
            draft = self._even_draft(even, draft.allocation)
        places = draft.places
        # Who asks for even frames, or for a rate, gets them exactly.
        if self.share < 1 and request.sampling.min_fps is None:
            places = to_keyframes(request, places, demands=self.demands, spans=self.spans)
        decision = Decision(
            analysis=self.analysis.method,
            notes=self.analysis.notes,
            busy_share=round(self.analysis.busy_share, 6),
            coverage_share=round(self.share, 6),
            coverage_frames=len(grid),
            coverage_level_tokens=level.cap_tokens,
            is_even=is_even,
            worth_s=draft.allocation.worth,
            bound_s=draft.allocation.bound,
            even_worth_s=0.0 if even is None else even.worth,
            is_exact=draft.allocation.is_exact,
            decoding=None if request.costs is None else decoding_of(request.costs, places),
        )
        return assemble_segments(request, self.demands, places, level, decision)

    # --- coverage

    def _coverage(self) -> Plan:
        """The even grid: `uniform` with its share of the budget, though never too few frames.

        It is no denser than the best even plan of the whole budget: where large frames are worth
        more than many, the grid leaves room for them too.
        """
        request = self.request
        wanted, why = wanted_frames(request)
        duration_s = float(request.window.duration)
        if request.sampling.max_fps is not None:
            wanted = min(wanted, max(1, math.floor(duration_s * request.sampling.max_fps)))
        if request.coverage != 1:
            fewest = min(wanted, request.geometry.min_frames)
            wanted = max(fewest, min(wanted, self._frames_of_best_even()))
        needed = 0
        if request.sampling.min_fps is not None:
            needed = min(len(request.times), math.ceil(duration_s * request.sampling.min_fps))
            wanted = max(wanted, needed)
        least = max(needed, min(wanted, request.geometry.min_frames))
        lowest = self.levels[-1].tokens
        reserve = least * (lowest + max(self.text_prices))
        budget = min(request.budget_tokens, max(int(self.share * request.budget_tokens), reserve))
        frames = min(request.max_frames, max(int(self.share * request.max_frames), least, 1))
        part = replace(request, budget_tokens=budget, max_frames=frames)
        coverage = fill_evenly(part, policy="adaptive", wanted=wanted, why=why)
        if needed and len(coverage.frames) < len(even_positions(request, needed)):
            raise PlanError(
                "plan.over_budget",
                f"{request.sampling.min_fps:g} frames a second are {needed:,} frames of at least"
                f" {lowest:,} tokens; {len(coverage.frames):,} fit the budget of"
                f" {request.budget_tokens:,} tokens and {request.max_frames:,} frames",
                hint="ask for fewer frames a second or give a larger budget",
            )
        return coverage

    def _frames_of_best_even(self) -> int:
        """Frames of the even plan in which ordinary content is worth most, all events aside."""
        request = self.request
        most = self._most_frames()
        # The grid is for what the analysis may have missed, in a frozen stretch too.
        ordinary = [replace(demand, still=None) for demand in self.demands]
        best = (-1.0, 1)
        for level in self.levels:
            count = min(most, request.budget_tokens // (level.tokens + max(self.text_prices)))
            inside = self._split(even_positions(request, count)) if count else []
            value = math.fsum(
                float(worth(need, Looks(fine=len(some), fine_tokens=level.tokens), event_worth_s=0))
                for need, some in zip(ordinary, inside, strict=False)
            )
            best = max(best, (value, count))
        return max(1, best[1])

    def _most_frames(self) -> int:
        """Frames that no even plan exceeds."""
        rooms = zip(self.spans, self.demands, strict=True)
        return min(self.request.max_frames, sum(self._room(span, need, 0) for span, need in rooms))

    def _positions(self, plan: Plan) -> list[int]:
        return [bisect_left(self.request.times, frame.pts) for frame in plan.frames]

    def _split(self, positions: Sequence[int]) -> list[list[int]]:
        """Positions by segment."""
        edges = [bisect_left(positions, span.start) for span in self.spans] + [len(positions)]
        return [list(positions[low:high]) for low, high in pairwise(edges)]

    def _dearest_texts(self) -> list[int]:
        """For each segment, what the text of one frame in it costs: the dearer one of its ends."""
        request = self.request
        last = len(request.times) - 1
        prices = []
        for span in self.spans:
            ends = (min(span.start, last), max(span.start, span.stop - 1))
            texts = (time_text(request.times[min(position, last)]) for position in ends)
            prices.append(max(request.text_tokens(text) for text in texts))
        return prices

    def _room(self, span: range, demand: Demand, coverage: int) -> int:
        """Most frames of a segment: those it has, at the rate that the task or its motion asks."""
        request = self.request
        asked_fps = request.sampling.rate_fps
        bound_fps = (
            max(_MOST_FPS, asked_fps)
            if request.sampling.max_fps is None
            else request.sampling.max_fps
        )
        most_fps = min(max(asked_fps, _FRAMES_A_CHANGE / demand.picture_s), bound_fps)
        most_fps = max(most_fps, request.sampling.min_fps or 0.0)
        return min(len(span), max(coverage, 1, math.ceil(demand.length_s * most_fps)))

    def _lot(
        self,
        demand: Demand,
        span: range,
        coverage: Sequence[int],
        level: Level,
        text_tokens: int,
    ) -> Lot:
        """What a segment may get: of one picture, one frame that can be read and small repeats."""
        times = self.request.times
        room = self._room(span, demand, len(coverage))
        liftable = None
        if demand.still is not None:
            level = self.levels[-1]
            liftable = 0 if demand.is_blank else len(middle_of_core(coverage, demand.still, times))
            least = len(coverage)
            if not demand.is_blank and not liftable and demand.still.core is not None:
                least += 1
            # An event in it may still add its frame.
            room = min(room, least + len(demand.peaks))
        spots = find_spots(
            demand,
            times=times,
            span=span,
            coverage=coverage,
            room=room - len(coverage),
            event_worth_s=self.event_worth_s,
        )
        return Lot(
            demand,
            level=level,
            coverage=len(coverage),
            room=room - sum(not spot.is_covered for spot in spots),
            text_tokens=text_tokens,
            spots=spots,
            liftable=liftable,
        )

    # --- allocation and placement

    def _settle(self, lots: Sequence[Lot], grid: Sequence[int]) -> _Draft:
        """Allocate and place until real prices leave nothing to share out."""
        request = self.request
        sharing = Sharing(lots, levels=self.levels, event_worth_s=self.event_worth_s)
        visual_tokens = sum(lot.coverage * lot.level.tokens for lot in lots)
        text_tokens = sum(self._text_price(position) for position in grid)
        pot = request.budget_tokens - visual_tokens - text_tokens
        best: _Draft | None = None
        rounds = 0
        while True:
            allocation = sharing.of(pot, max_added=request.max_frames - len(grid))
            draft = self._drafted(lots, allocation, grid)
            left = request.budget_tokens - draft.tokens
            rounds += 1
            if left >= 0 and (best is None or draft.tokens > best.tokens):
                best = draft
            elif best is not None:
                return best
            if best is not None and (left < self.levels[-1].tokens or rounds >= _ROUNDS):
                return best
            # Prices of texts are guessed, and a frame that serves twice is paid once.
            pot = max(0, pot + left)

    def _drafted(self, lots: Sequence[Lot], allocation: Allocation, grid: Sequence[int]) -> _Draft:
        places = tuple(
            place(
                lot.demand,
                grant,
                times=self.request.times,
                span=span,
                coverage=inside,
                coverage_level=lot.level,
                spots=lot.spots,
            )
            for lot, grant, span, inside in zip(
                lots, allocation.grants, self.spans, self._split(grid), strict=True
            )
        )
        tokens = sum(
            each.level.tokens + self._text_price(each.position) for some in places for each in some
        )
        return _Draft(places=places, tokens=tokens, allocation=allocation)

    def _text_price(self, position: int) -> int:
        return self.request.text_tokens(time_text(self.request.times[position]))

    # --- the even plan

    def _best_even(self, lots: Sequence[Lot], *, least: int) -> _Even | None:
        """The even plan of most worth that has as many frames as the grid, or more."""
        request = self.request
        most = max(self._most_frames(), least)
        dearest = max(lot.text_tokens for lot in lots)
        best = None
        for level in self.levels:
            count = min(most, request.budget_tokens // (level.tokens + dearest))
            if count < least:
                continue
            positions = tuple(even_positions(request, count))
            text = sum(self._text_price(position) for position in positions)
            if len(positions) * level.tokens + text > request.budget_tokens:
                continue
            worth = self._worth_of_even(lots, positions, level)
            if best is None or worth > best.worth:
                best = _Even(positions, level, worth)
        return best

    def _worth_of_even(self, lots: Sequence[Lot], positions: Sequence[int], level: Level) -> float:
        return even_worth(
            lots, self._split(positions), level=level, event_worth_s=self.event_worth_s
        )

    def _prefers_even(self, allocation: Allocation, even: _Even | None) -> bool:
        if even is None:
            return False
        # Uneven sizes are certain to pay where some frames show what another one shows.
        calm = not any(demand.events_per_s or demand.still for demand in self.demands)
        margin = 1 + EVEN_WITHIN if calm else 1.0
        return even.worth * margin >= allocation.worth

    def _even_draft(self, even: _Even, allocation: Allocation) -> _Draft:
        """The even plan, with repeats of one picture at the lowest size unless it was asked for."""
        times = self.request.times
        spacing_s = float(self.request.window.duration) / len(even.positions)
        why = f"even, one every {spacing_s:.3g} s"
        places = []
        for demand, some in zip(self.demands, self._split(even.positions), strict=True):
            levels = dict.fromkeys(some, even.level)
            if demand.still is not None and self.request.coverage != 1:
                levels = dict.fromkeys(some, self.levels[-1])
                large = [] if demand.is_blank else middle_of_core(some, demand.still, times)
                levels |= dict.fromkeys(large, even.level)
            places.append(
                tuple(
                    Place(position, level, why, "coverage", is_coverage=True)
                    for position, level in levels.items()
                )
            )
        nothing = Grant(even.level, lifted=0, added=0, tokens=0, worth=0.0)
        tokens = sum(
            each.level.tokens + self._text_price(each.position) for some in places for each in some
        )
        grants = (nothing,) * len(self.demands)
        bound = max(allocation.bound, even.worth)
        found = Allocation(grants, 0, even.worth, bound, is_exact=even.worth == bound)
        return _Draft(tuple(places), tokens, found)


def _in_tokens_of(geometry: TokenGeometry, demand: Demand) -> Demand:
    """A demand counted in the model's tokens: what can be read is a matter of pixels."""
    if geometry.token_px == TOKEN_PX:
        return demand
    share = TOKEN_AREA_PX / geometry.token_px**2
    return replace(
        demand,
        detail_tokens=demand.detail_tokens * share,
        print_tokens=demand.print_tokens * share,
    )


def _levels(request: Request) -> tuple[Level, ...]:
    """The sizes that this video's frames may have, best first, each once under its lowest cap."""
    found: dict[int, Level] = {}
    for cap in request.levels_tokens:
        tokens = request.frame_tokens(cap)
        found[tokens] = Level(cap_tokens=cap, tokens=tokens)
    return tuple(sorted(found.values(), key=lambda level: -level.tokens))
