"""Demands and analyses made by hand or drawn by hypothesis, so that no file is needed."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from seedvideo.media.types import MediaWarning
from seedvideo.sampler.allocation import Level
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.utility import Peak, SegmentDemand, StillPicture
from seedvideo.utils.timecode import Span
from tests.sampler.plans import make_plan
from tests.sampler.videos import video

TICK = Fraction(1, 30)

# Real tokens of a 1280x720 frame.
LEVELS = tuple(
    Level(*pair)
    for pair in ((640, 594), (512, 480), (384, 364), (256, 252), (160, 144), (128, 120))
)


@dataclass(frozen=True)
class Found:
    """An analysis by hand."""

    demands: tuple[SegmentDemand, ...]
    busy_fraction: float = 0.0
    inspected_fraction: float = 1.0
    method: str = "by hand"
    notes: tuple[str, ...] = ()
    warnings: tuple[MediaWarning, ...] = ()


def demand(
    start: Fraction | int,
    end: Fraction | int,
    *,
    events_per_s: float = 0.0,
    event_s: float = 0.4,
    change_s: float = 5.0,
    detail_tokens: float = 150.0,
    peaks: tuple[Peak, ...] = (),
    density: tuple[tuple[Fraction, float], ...] = (),
    starts_shot: bool = False,
) -> SegmentDemand:
    return SegmentDemand(
        start=Fraction(start),
        end=Fraction(end),
        base=1.0,
        events_per_s=events_per_s,
        event_s=event_s,
        detail_tokens=detail_tokens,
        peaks=peaks,
        density=density,
        starts_shot=starts_shot,
        change_s=change_s,
    )


def flash(
    time: Fraction | int | str,
    *,
    lasts: Fraction | int | str = Fraction(2, 5),
    certain_s: Fraction | int | str | None = None,
) -> Peak:
    """An event that stands out."""
    start = Fraction(time)
    last = None if certain_s is None else start + Fraction(certain_s)
    return Peak(start, strength=30.0, end=start + Fraction(lasts), last=last)


@st.composite
def stills(draw: st.DrawFn, *, first: int, after: int) -> StillPicture:
    """A blank or frozen picture in the frames ``[first, after)`` at 30 a second."""
    core = sorted(draw(st.tuples(*[st.integers(first, after)] * 2)))
    span = Span(core[0] * TICK, core[1] * TICK) if core[0] < core[1] else None
    return StillPicture(is_blank=draw(st.booleans()), core=span)


@st.composite
def segments(draw: st.DrawFn, *, first: int, after: int) -> SegmentDemand:
    """What a segment of the frames ``[first, after)`` at 30 a second may ask for."""
    ticks = st.integers(first, after - 1)
    peaks = sorted(
        draw(
            st.dictionaries(
                ticks,
                st.tuples(
                    st.floats(0.1, 100),
                    st.none() | st.integers(1, 60),
                    st.none() | st.floats(0, 0.99),
                    st.booleans(),
                ),
                max_size=6,
            )
        ).items()
    )
    inner = sorted(draw(st.sets(ticks, max_size=5)) - {first})
    weights = st.just(0.0) | st.floats(1e-3, 1e3)
    return SegmentDemand(
        start=first * TICK,
        end=after * TICK,
        base=draw(st.floats(0.1, 10)),
        events_per_s=draw(st.just(0.0) | st.floats(1e-4, 5)),
        event_s=draw(st.floats(0.05, 60)),
        detail_tokens=draw(st.floats(10, 2000)),
        peaks=tuple(
            Peak(
                tick * TICK,
                strength,
                end=None if lasts is None else (tick + lasts) * TICK,
                last=(
                    None
                    if lasts is None or certain is None
                    else (tick + int(certain * lasts)) * TICK
                ),
                in_busy_time=is_busy,
            )
            for tick, (strength, lasts, certain, is_busy) in peaks
        ),
        density=tuple((tick * TICK, draw(weights)) for tick in [first, *inner]),
        starts_shot=draw(st.booleans()),
        change_s=draw(st.none() | st.floats(0.05, 600)),
        still=draw(st.none() | st.none() | stills(first=first, after=after)),
        rest_fraction=draw(st.just(0.0) | st.floats(0, 1)),
        rests=draw(st.floats(1, 20)),
        texture=draw(st.just(1.0) | st.floats(0.05, 1)),
    )


@st.composite
def founds(draw: st.DrawFn, frames: int) -> Found:
    """An analysis of a clip of so many frames at 30 a second."""
    cuts = sorted(draw(st.sets(st.integers(1, frames), max_size=5)) - {frames})
    bounds = [0, *cuts, frames]
    demands = tuple(draw(segments(first=first, after=after)) for first, after in pairwise(bounds))
    return Found(demands, busy_fraction=draw(st.sampled_from([0.0, 0.0, 0.2, 0.5, 1.0])))


def adaptive(found: Found, count: int, **options: Any) -> Plan:
    """An adaptive plan of a made video of ``count`` frames."""
    facts, times = video(count, width_px=options.pop("width_px", 1280))
    return make_plan(facts, times, source="x.mp4", policy="adaptive", analysis=found, **options)


def structured(seconds: int = 600) -> Found:
    """Two calm flashes, then a shot of much detail."""
    half = Fraction(seconds, 2)
    return Found(
        (
            demand(0, half, change_s=20, events_per_s=3 / seconds, peaks=(flash(5), flash(17))),
            demand(half, seconds, change_s=2, detail_tokens=400, starts_shot=True),
        )
    )
