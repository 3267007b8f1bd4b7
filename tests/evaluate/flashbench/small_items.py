"""Small items that are made in a second: large print in small pictures."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from seedvideo.evaluate.flashbench import BenchmarkItem, DifficultyConfig, Event

SMALL = DifficultyConfig(
    duration_s=12,
    events=2,
    cap_heights_px=(90,),
    shots=1,
    width_px=320,
    height_px=180,
    gop_frames=25,
)


def difficulty(**changes: Any) -> DifficultyConfig:
    return replace(SMALL, **changes)


def code(
    start: Fraction | int,
    end: Fraction | int,
    *,
    answer: str = "ACDEFH",
    cap_height_px: int = 30,
    group: int = 0,
) -> Event:
    return Event(
        kind="code",
        start=Fraction(start),
        end=Fraction(end),
        answer=answer,
        box=(0, 0, 40, 20),
        cap_height_px=cap_height_px,
        group=group,
    )


def item(*events: Event, task: Any = "T1", duration_s: int = 100) -> BenchmarkItem:
    return BenchmarkItem(
        task=task, seed=0, difficulty=difficulty(duration_s=duration_s), events=events
    )
