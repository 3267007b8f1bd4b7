"""Specification of a flashbench item: its difficulty, its events with exact times, its question.

Value objects. Times are exact seconds, spans half-open ``[start, end)``; boxes are pixels of the
video.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, Literal, get_args

TaskId = Literal[
    "T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "N1", "N2", "N3", "N4", "N5", "N6"
]
"""The tasks; `TASKS` describes each."""

TASKS: Final[Mapping[str, str]] = {
    "T1": "flash: a large code for a short while",
    "T2": "fine print: a small code for 5 to 20 s",
    "T3": "brief and small: a small code for a short while",
    "T4": "ordering: groups of flashes of which every one is needed",
    "T5": "counting: bursts of blinks at a given rate",
    "T6": "state at event: what a running counter shows while a square appears",
    "T7": "slides: a deck that changes rarely, one slide shown briefly",
    "T8": "moving print: a code that crosses the picture",
    "T9": "dense narrative: coloured shapes come and go",
    "T10": "absent event: what is asked for never happens",
    "N1": "null: noise everywhere, ordinary moments are asked for",
    "N2": "null: the camera pans without end",
    "N3": "null: the light flickers",
    "N4": "null: film grain",
    "N5": "null: a busy crowd that is never asked about",
    "N6": "null: slow dissolves",
}

SeedSplit = Literal["dev", "test"]

DEV_SEEDS: Final = range(1000)
TEST_SEEDS: Final = range(1_000_000, 1_001_000)
"""Seeds on which nothing may be tuned."""

Style = Literal["calm", "noise", "pan", "flicker", "grain", "crowd", "dissolve", "deck"]
"""Style of the backdrop behind the events."""

MixedStyle = Literal[
    "calm",
    "crowd",
    "flicker",
    "grain",
    "corner",
    "band",
    "ticker",
    "screen",
    "slow pan",
    "zoom",
    "dusk",
]
"""Style of a backdrop of the mixed settings."""

EventKind = Literal["code", "blink", "shape", "moment"]
"""A code to read; a blink to count; a shape to see; a moment without any change."""


GENERATOR_VERSION: Final = "f8ae8b18ad804207"
"""Version of the generated videos; results of another version are not comparable.

Change it to any new text when a task, a seed or a backdrop gives another video or another ground
truth. Leave it for changes of names, comments or speed. ``tests/evaluate/flashbench/
test_version.py`` fails when the videos change and the version does not. The first value is the
source hash that named the generator before versions were declared.
"""


MIXTURE_VERSION: Final = "mixtures 1"
"""Version of the videos of the mixed settings; the rules of `GENERATOR_VERSION` apply."""


def seeds(split: SeedSplit, count: int) -> range:
    """Return the first ``count`` seeds of a split.

    Raises:
        ValueError: if the split is unknown or has fewer seeds.
    """
    if split not in get_args(SeedSplit):
        raise ValueError(f"split is {split!r}, expected one of {', '.join(get_args(SeedSplit))}")
    among = DEV_SEEDS if split == "dev" else TEST_SEEDS
    if not 1 <= count <= len(among):
        raise ValueError(f"count is {count}, expected 1 to {len(among)}")
    return among[:count]


@dataclass(frozen=True, kw_only=True)
class DifficultyConfig:
    """Settings that make an item easy or hard; the seed decides everything else.

    Args:
        duration_s: length of the video.
        event_s: lengths of brief events, used in turn.
        events: number of events.
        cap_heights_px: cap heights to draw from, at 1,080 px; empty for the task's own.
        contrast: of print on its plate, ``high`` or ``low``.
        backdrop: style of the backdrop; the null tasks and the slides have their own.
        distractor_fraction: fraction of the time that is busy and never asked about.
        shots: camera positions in the calm part.
        fps: frames per second of the file.
        vfr: whether every second loop of the video has half the frames.
        width_px: of the video. Models get at most 924x504 px, so a larger video would cost time
            and show no sampler more.
        height_px: of the video.
        crf: quality of x264; lower is better.
        gop_frames: frames from one keyframe to the next.
        b_frames: maximum number of consecutive B-frames.
    """

    duration_s: int = 1200
    event_s: tuple[Fraction, ...] = (Fraction(2, 5),)
    events: int = 12
    cap_heights_px: tuple[int, ...] = ()
    contrast: Literal["high", "low"] = "high"
    backdrop: Style = "calm"
    distractor_fraction: Fraction = Fraction(0)
    shots: int = 3
    fps: Fraction = Fraction(25)
    vfr: bool = False
    width_px: int = 960
    height_px: int = 540
    crf: int = 23
    gop_frames: int = 125
    b_frames: int = 2

    def __post_init__(self) -> None:
        if self.duration_s < 1 or self.events < 0 or self.shots < 1:
            raise ValueError(
                f"duration_s is {self.duration_s}, shots {self.shots}, events {self.events};"
                " expected at least 1, 1 and 0"
            )
        if not self.event_s or min(self.event_s) <= 0:
            raise ValueError("event_s must hold at least one length, each above 0")
        if not 0 <= self.distractor_fraction < 1:
            raise ValueError(
                f"distractor_share is {self.distractor_fraction}, expected 0 to below 1"
            )
        if self.width_px % 2 or self.height_px % 2:
            raise ValueError(
                f"the video has {self.width_px}x{self.height_px} px, expected even sides:"
                " colour is stored for 2x2 px"
            )
        if self.gop_frames < 2:
            raise ValueError(f"gop_frames is {self.gop_frames}, expected at least 2")
        if self.contrast not in ("high", "low"):
            raise ValueError(f"contrast is {self.contrast!r}, expected high or low")
        if self.backdrop not in get_args(Style):
            allowed = ", ".join(get_args(Style))
            raise ValueError(f"backdrop is {self.backdrop!r}, expected one of {allowed}")


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event that a question can be about.

    Args:
        kind: code, blink, shape or moment.
        start: time of the first frame that shows it, in seconds.
        end: time of the first frame that no longer shows it, in seconds.
        answer: the code, the sentence about the shape, or an empty text.
        box: left, top, width and height in pixels; None for an event without a position.
        cap_height_px: cap height at 1,080 px; None where nothing is to be read.
        contrast: of the print.
        group: number of the question; events of one group belong to one question.
        drift_px: pixels per frame by which the box moves, right and down.
    """

    kind: EventKind
    start: Fraction
    end: Fraction
    answer: str = ""
    box: tuple[int, int, int, int] | None = None
    cap_height_px: int | None = None
    contrast: str = "high"
    group: int = 0
    drift_px: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(
                f"an event lasts from {self.start} to {self.end} s, expected 0 <= start < end"
            )

    @property
    def duration(self) -> Fraction:
        """Time on screen, in seconds."""
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class BenchmarkItem:
    """One video of the benchmark, its question and its ground truth.

    Args:
        task: a name in `TASKS`.
        seed: seed of everything that the difficulty leaves open.
        difficulty: settings of the video.
        events: events in order of time.
        busy: spans of the distractors.
        cuts: times of the first frames of new shots.
        question: question for a model.
        answers: the right answers, one per event or group that is asked about.
        queries: descriptions for grounding, one per event; or empty.
    """

    task: TaskId
    seed: int
    difficulty: DifficultyConfig
    events: tuple[Event, ...]
    busy: tuple[tuple[Fraction, Fraction], ...] = ()
    cuts: tuple[Fraction, ...] = ()
    question: str = ""
    answers: tuple[str, ...] = ()
    queries: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Short name: task, fraction of distractors unless it is 0, and seed."""
        fraction = self.difficulty.distractor_fraction
        return f"{self.task}{f'-s{float(fraction):g}' if fraction else ''}-{self.seed}"

    def to_json(self) -> dict[str, Any]:
        """Return the ground truth as JSON values; times are exact fractions in text."""
        return {
            "task": self.task,
            "seed": self.seed,
            "duration_s": self.difficulty.duration_s,
            "distractor_share": str(self.difficulty.distractor_fraction),
            "question": self.question,
            "answers": list(self.answers),
            "queries": list(self.queries),
            "busy": [[str(start), str(end)] for start, end in self.busy],
            "cuts": [str(cut) for cut in self.cuts],
            "events": [
                {
                    "kind": event.kind,
                    "start": str(event.start),
                    "end": str(event.end),
                    "answer": event.answer,
                    "box": event.box,
                    "cap_height_px": event.cap_height_px,
                    "contrast": event.contrast,
                    "group": event.group,
                }
                for event in self.events
            ],
        }
