"""Frames of found events: bought before all others, in an order that no budget changes.

Each event of the window has one frame of its own, the middle of the time in which it is certainly
visible, wherever the coverage grid lies. Credible events come first. Each of them gets its frame
at the lowest size; then, in the same order, frames grow to a size at which the event is legible.
Then doubtful events and those in busy time follow, with a smaller fraction of the budget of their
own.

Neither the order nor a price depends on the budget, and purchases end before the first one that its
fraction of the budget does not pay for. So a larger budget buys everything that a smaller one does:
an event that has its frame keeps it, at the same size or a larger one.

Separate from `seedvideo.sampler.adaptive`, which would exceed 500 lines with it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from seedvideo.sampler.allocation import Level
from seedvideo.sampler.request import TextTokenCounter
from seedvideo.sampler.types import EventOutcome, EventReport
from seedvideo.sampler.utility import (
    MIN_LEGIBLE,
    Peak,
    SegmentDemand,
    legible_fraction,
    middle_frame,
    peak_probability,
    visible_frames,
)

CREDIBLE_PROBABILITY: Final = 0.5
"""Minimum probability of an event outside busy time that may use the full fraction for events."""

DOUBTFUL_FRACTION: Final = 0.5
"""Part of that fraction for a doubtful event, times its probability."""

BUSY_FRACTION: Final = 0.25
"""The same for an event in busy time, where most found events are false."""


@dataclass(frozen=True)
class FoundEvent:
    """One event of the window and the frame that shows it; nothing in it depends on a budget.

    Args:
        segment: index of its segment.
        peak: the peak that the analysis found.
        probability: probability that it is an event and not noise.
        position: position of the frame that shows it: its own, or that of an event before it in the
            order that shows it too.
        is_shared: whether the frame is that of another event.
        is_beyond_rate: whether it gets no frame of its own because of a maximum rate.
        share: maximum fraction of the budget for its frame and those of its kind, credible or
            doubtful, before it.
        detail_tokens: visual tokens at which 63% of it is legible; 0 if it has no detail.
    """

    segment: int
    peak: Peak
    probability: float
    position: int
    is_shared: bool
    is_beyond_rate: bool
    share: float
    detail_tokens: float

    @property
    def is_credible(self) -> bool:
        """Return whether the event may use the full fraction for events."""
        return _is_credible(self.peak, self.probability)


@dataclass(frozen=True)
class EventPurchases:
    """Frames that were bought for events.

    Args:
        frames: size of each frame, by position.
        tokens: total cost with text.
        steps: purchases in order, bought or not.
        bought: number of steps that were bought.
    """

    frames: Mapping[int, Level]
    tokens: int
    steps: tuple["PurchaseStep", ...]
    bought: int


@dataclass(frozen=True)
class PurchaseStep:
    """One purchase: a frame at the lowest size, or a larger size for a frame.

    Args:
        event: index of the event that it serves.
        position: position of the frame.
        level: size of the frame after it.
        tokens: its cost.
        kind_tokens: its cost and that of the steps before it for events of its kind, credible or
            doubtful.
        total_tokens: its cost and that of all steps before it.
        total_frames: number of frames after it.
    """

    event: int
    position: int
    level: Level
    tokens: int
    kind_tokens: int
    total_tokens: int
    total_frames: int


def order_events(
    demands: Sequence[SegmentDemand],
    *,
    times: Sequence[Fraction],
    spans: Sequence[range],
    event_share: float,
    max_fps: float | None = None,
) -> tuple[FoundEvent, ...]:
    """Return the events of a window in the order in which their frames are bought.

    Args:
        demands: demands of the segments.
        times: times of all frames.
        spans: positions of the frames that lie in each segment.
        event_share: maximum fraction of the budget for frames of events, 0 to 1.
        max_fps: maximum rate of a segment; events beyond it get no frame, except for one.
    """
    found = [
        (index, peak, probability)
        for index, (demand, span) in enumerate(zip(demands, spans, strict=True))
        for peak in demand.peaks
        if span and (probability := peak_probability(demand, peak)) > 0
    ]
    found.sort(
        key=lambda each: (
            not _is_credible(*each[1:]),
            -_weight(*each[1:]),
            -each[2],
            each[1].time,
        )
    )
    ordered: list[FoundEvent] = []
    taken: set[int] = set()
    counts: Counter[int] = Counter()
    for index, peak, probability in found:
        demand = demands[index]
        visible = visible_frames(peak, times, spans[index], lasting_s=demand.event_s)
        position = middle_frame(peak, times, visible)
        shown = [each for each in visible if each in taken]
        if shown:
            position = min(shown, key=lambda each: (abs(each - position), each))
        is_beyond_rate = (
            not shown
            and max_fps is not None
            and counts[index] >= max(1, int(demand.length_s * max_fps))
        )
        if not shown and not is_beyond_rate:
            counts[index] += 1
            taken.add(position)
        ordered.append(
            FoundEvent(
                segment=index,
                peak=peak,
                probability=probability,
                position=position,
                is_shared=bool(shown),
                is_beyond_rate=is_beyond_rate,
                share=event_share * _weight(peak, probability),
                detail_tokens=0.0 if demand.is_blank else demand.detail_tokens,
            )
        )
    return tuple(ordered)


def buy_event_frames(
    events: Sequence[FoundEvent],
    *,
    event_share: float,
    levels: Sequence[Level],
    times: Sequence[Fraction],
    text_tokens: TextTokenCounter,
    budget_tokens: int,
    max_frames: int,
    reserved: tuple[int, int],
) -> EventPurchases:
    """Buy frames of events while the budget pays for them.

    Args:
        events: events in order.
        event_share: maximum fraction of the budget and of the frames for all of them, 0 to 1.
        levels: sizes that frames may have, largest first.
        times: times of all frames.
        text_tokens: counts the text tokens of a frame by its time.
        budget_tokens: maximum tokens of the plan.
        max_frames: maximum frames of the plan.
        reserved: tokens and frames that the coverage grid needs at least.
    """
    steps = tuple(_steps(events, levels, times, text_tokens))
    frames: dict[int, Level] = {}
    bought = 0
    for step in steps:
        event = events[step.event]
        most_tokens = min(event_share * budget_tokens, budget_tokens - reserved[0])
        most_frames = min(event_share * max_frames, max_frames - reserved[1])
        if (
            step.kind_tokens > event.share * budget_tokens
            or step.total_tokens > most_tokens
            or step.total_frames > most_frames
        ):
            break
        frames[step.position] = step.level
        bought += 1
    tokens = steps[bought - 1].total_tokens if bought else 0
    return EventPurchases(frames, tokens, steps, bought)


def report_events(
    events: Sequence[FoundEvent],
    made: EventPurchases,
    *,
    times: Sequence[Fraction],
    text_tokens: TextTokenCounter,
    budget_tokens: int,
) -> tuple[EventReport, ...]:
    """Report what became of each event.

    Args:
        events: events in order.
        made: what was bought for them.
        times: times of all frames.
        text_tokens: counts the text tokens of a frame by its time.
        budget_tokens: maximum tokens of the plan.
    """
    first_steps: dict[int, int] = {}
    for number, step in enumerate(made.steps):
        first_steps.setdefault(step.position, number)
    reports = []
    for event in events:
        level = None if event.is_beyond_rate else made.frames.get(event.position)
        index = first_steps.get(event.position)
        total = 0 if index is None else made.steps[index].kind_tokens
        tokens = 0
        if level is not None and not event.is_shared:
            tokens = level.tokens + text_tokens(times[event.position])
        outcome: EventOutcome
        if event.is_beyond_rate:
            outcome = "rate"
        elif level is not None:
            may_grow = any(step.position == event.position for step in made.steps[made.bought :])
            if event.is_shared:
                outcome = "shared"
            elif _is_legible(event, level):
                outcome = "legible"
            else:
                outcome = "shown" if may_grow else "largest"
        else:
            outcome = "limit" if total > event.share * budget_tokens else "budget"
        reports.append(
            EventReport(
                time=event.peak.time,
                strength=event.peak.strength,
                probability=round(event.probability, 6),
                in_busy_time=event.peak.in_busy_time,
                frame=None if level is None else times[event.position],
                tokens=tokens,
                total_tokens=total,
                share=round(event.share, 6),
                outcome=outcome,
            )
        )
    return tuple(reports)


def _steps(
    events: Sequence[FoundEvent],
    levels: Sequence[Level],
    times: Sequence[Fraction],
    text_tokens: TextTokenCounter,
) -> Iterator[PurchaseStep]:
    """Yield all purchases in order: show, then enlarge the credible events; then the others."""
    total = 0
    sizes: dict[int, Level] = {}
    for is_credible in (True, False):
        before = total
        group = [
            i
            for i, event in enumerate(events)
            if event.is_credible == is_credible and not event.is_beyond_rate
        ]
        for enlarges in (False, True):
            for i in group:
                position = events[i].position
                level = _legible_level(events[i], levels) if enlarges else levels[-1]
                now = sizes.get(position)
                if now is None:
                    tokens = level.tokens + text_tokens(times[position])
                elif now.tokens < level.tokens:
                    tokens = level.tokens - now.tokens
                else:
                    continue
                sizes[position] = level
                total += tokens
                yield PurchaseStep(
                    event=i,
                    position=position,
                    level=level,
                    tokens=tokens,
                    kind_tokens=total - before,
                    total_tokens=total,
                    total_frames=len(sizes),
                )


def _legible_level(event: FoundEvent, levels: Sequence[Level]) -> Level:
    """Return the lowest size at which an event is legible, or the highest of all."""
    return next((level for level in reversed(levels) if _is_legible(event, level)), levels[0])


def _is_legible(event: FoundEvent, level: Level) -> bool:
    if not event.detail_tokens:
        return True
    legible = legible_fraction(level.tokens, detail_tokens=event.detail_tokens)
    return bool(legible >= MIN_LEGIBLE)


def _is_credible(peak: Peak, probability: float) -> bool:
    return not peak.in_busy_time and probability >= CREDIBLE_PROBABILITY


def _weight(peak: Peak, probability: float) -> float:
    """Return the part of the fraction for events that may be spent up to this one, 0 to 1."""
    if _is_credible(peak, probability):
        return 1.0
    return probability * (BUSY_FRACTION if peak.in_busy_time else DOUBTFUL_FRACTION)
