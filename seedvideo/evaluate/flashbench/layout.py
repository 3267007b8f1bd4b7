"""Event layout of one item: backdrops, free spans of time, free boxes in the picture, plates.

Made from a seed; collects events and overlays while a task adds them. Frames count from 0, times
are exact seconds.
"""

from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np

from seedvideo.evaluate.flashbench.codes import TextPlate, draw_text_plate, random_code
from seedvideo.evaluate.flashbench.scenes import (
    Overlay,
    Scene,
    count_loops,
    frame_at,
    frame_times,
    make_loops,
)
from seedvideo.evaluate.flashbench.spec import (
    TASKS,
    DifficultyConfig,
    Event,
    EventKind,
    Style,
    TaskId,
)

VARIANTS: Final = 4
"""Loops of one backdrop."""

_MIN_DISTANCE_S: Final = Fraction(2)
"""Minimum time between two events, and between an event and a cut."""
_MAX_TRIES: Final = 2000
_BUSY_RUN_LOOPS: Final = (3, 10)
"""Minimum and maximum number of consecutive busy loops."""
_NULL_STYLES: Final[dict[str, Style]] = {
    "N1": "noise",
    "N2": "pan",
    "N3": "flicker",
    "N4": "grain",
    "N5": "crowd",
    "N6": "dissolve",
}


def is_null(task: TaskId) -> bool:
    """Return whether no event stands out in a task's videos."""
    return task in _NULL_STYLES


class EventLayout:
    """Events, overlays and backdrops of one item.

    Args:
        task: a name in `TASKS`.
        seed: seed of backdrops and events.
        difficulty: settings of the video.
        attempt: number of the draw; another one gives other events on the same backdrops.
    """

    def __init__(
        self, task: TaskId, seed: int, difficulty: DifficultyConfig, *, attempt: int
    ) -> None:
        self.difficulty = difficulty
        self.rng = np.random.default_rng([seed, list(TASKS).index(task), attempt])
        scenes, is_busy = _backdrops(task, seed, difficulty)
        self.loops = make_loops(scenes, difficulty)
        self.times = frame_times(self.loops)
        self.duration = self.times[-1]
        self.events: list[Event] = []
        self.overlays: list[Overlay] = []
        self.queries: list[str] = []
        self.answers: list[str] = []
        self.question = ""
        self.last_height_px = 0
        changes = [i for i in range(1, len(scenes)) if scenes[i][0] != scenes[i - 1][0]]
        self.cuts = tuple(self.times[self.loops[i].first] for i in changes)
        runs = [0, *changes, len(scenes)]
        spans = [(start, stop, is_busy[start]) for start, stop in pairwise(runs)]
        self.busy = tuple(self._span(start, stop) for start, stop, busy in spans if busy)
        self._calm = tuple(self._span(start, stop) for start, stop, busy in spans if not busy)
        self._used: list[tuple[Fraction, Fraction]] = []

    def _span(self, first_part: int, stop_part: int) -> tuple[Fraction, Fraction]:
        last = self.loops[stop_part - 1]
        return self.times[self.loops[first_part].first], self.times[last.first + last.frames]

    def find_free_span(self, length: Fraction) -> int:
        """Reserve a span in the calm, away from cuts and other events; return its first frame.

        Raises:
            ValueError: if no free span is left.
        """
        spare = min(_MIN_DISTANCE_S, self.duration / 60)
        last = len(self.times) - 1
        for _ in range(_MAX_TRIES):
            first = int(self.rng.integers(0, last))
            start = self.times[first]
            end = start + length
            if not any(low + spare <= start and end <= high - spare for low, high in self._calm):
                continue
            if all(end + spare <= begin or stop + spare <= start for begin, stop in self._used):
                self._used.append((start, end))
                return first
        raise ValueError(
            f"no room for {len(self._used) + 1} events of about {float(length):g} s"
            f" in {float(self.duration):g} s of video"
        )

    def frames(self, start: Fraction, length: Fraction) -> tuple[int, int]:
        """Return the frames from a time on, for a length: first and stop; at least one."""
        first = frame_at(self.times, start)
        return first, max(first + 1, frame_at(self.times, start + length))

    def find_free_box(self, width_px: int, height_px: int) -> tuple[int, int, int, int]:
        """Draw a box of this size in the picture: left, top, width, height in pixels.

        Raises:
            ValueError: if the picture is too small.
        """
        rooms = self.difficulty.width_px - width_px, self.difficulty.height_px - height_px
        if min(rooms) < 4:
            raise ValueError(f"{width_px}x{height_px} px do not fit into the picture")
        left, top = (int(self.rng.integers(1, room // 2)) * 2 for room in rooms)
        return left, top, width_px, height_px

    def draw_plate(self, code: str, heights: tuple[int, ...]) -> TextPlate:
        """Draw a code in one of these cap heights; the item's difficulty may override them."""
        heights = self.difficulty.cap_heights_px or heights
        self.last_height_px = heights[int(self.rng.integers(len(heights)))]
        return draw_text_plate(
            code,
            cap_height_px=self.last_height_px,
            picture_height_px=self.difficulty.height_px,
            contrast=self.difficulty.contrast,
        )

    def overlay_plate(
        self, plate: TextPlate, first: int, stop: int, left_top: tuple[int, int]
    ) -> None:
        """Show a plate from frame ``first`` to before frame ``stop``."""
        self.overlays.append(Overlay(first, stop, left_top[0], left_top[1], plate.luma))

    def add_event(
        self,
        first: int,
        stop: int,
        *,
        kind: EventKind,
        box: tuple[int, int, int, int],
        answer: str = "",
        cap_height_px: int | None = None,
        contrast: str = "high",
        group: int = 0,
        drift_px: tuple[int, int] = (0, 0),
    ) -> None:
        """Add an event by the frames that show it."""
        self.events.append(
            Event(
                kind=kind,
                start=self.times[first],
                end=self.times[stop],
                answer=answer,
                box=box,
                cap_height_px=cap_height_px,
                contrast=contrast,
                group=group,
                drift_px=drift_px,
            )
        )

    def add_plate_event(
        self, plate: TextPlate, first: int, stop: int, left_top: tuple[int, int], *, group: int
    ) -> None:
        """Add the event of reading a plate; `overlay_plate` draws it."""
        self.add_event(
            first,
            stop,
            kind="code",
            answer=plate.code,
            box=(*left_top, plate.luma.shape[1], plate.luma.shape[0]),
            cap_height_px=self.last_height_px,
            contrast=plate.contrast,
            group=group,
        )

    def add_code(self, length: Fraction, heights: tuple[int, ...], *, group: int) -> None:
        """Show a code for a length at a random time in the calm, and add its event."""
        first = self.find_free_span(length)
        _, stop = self.frames(self.times[first], length)
        plate = self.draw_plate(random_code(self.rng), heights)
        left, top, _, _ = self.find_free_box(plate.luma.shape[1], plate.luma.shape[0])
        self.overlay_plate(plate, first, stop, (left, top))
        self.add_plate_event(plate, first, stop, (left, top), group=group)

    def add_slide(self, first: int, stop: int, *, group: int) -> None:
        """Fill most of the picture with a slide: bars that stand for words, and a code to read."""
        height, width = (
            side * 9 // 10 // 2 * 2
            for side in (self.difficulty.height_px, self.difficulty.width_px)
        )
        slide = np.full((height, width), 215, np.uint8)
        for row in range(height // 5, height * 4 // 5, height // 12):
            stop_px = int(self.rng.integers(width // 3, width * 9 // 10))
            slide[row : row + height // 40, width // 16 : stop_px] = 150
        slide[
            height // 14 : height // 8,
            width // 16 : int(self.rng.integers(width // 4, width * 3 // 4)),
        ] = 70
        left, top = (
            (self.difficulty.width_px - width) // 4 * 2,
            (self.difficulty.height_px - height) // 4 * 2,
        )
        self.overlays.append(Overlay(first, stop, left, top, slide))
        plate = self.draw_plate(random_code(self.rng), (11, 12, 14))
        left_top = (left + width // 16 // 2 * 2, top + height * 9 // 10 // 2 * 2)
        self.overlay_plate(plate, first, stop, left_top)
        self.add_plate_event(plate, first, stop, left_top, group=group)

    def draw_lengths(self, min_s: int, max_s: int) -> tuple[Fraction, ...]:
        """Draw a length for each event, between these seconds, in tenths of a second."""
        tenths = self.rng.integers(10 * min_s, 10 * max_s + 1, max(1, self.difficulty.events))
        return tuple(Fraction(int(tenth), 10) for tenth in tenths)


def _backdrops(
    task: TaskId, seed: int, difficulty: DifficultyConfig
) -> tuple[list[tuple[Scene, int]], list[bool]]:
    """Draw the backdrop and the variant of every loop, and which loops are busy.

    Videos of one seed share them: tasks with the same fraction of distractors have the same
    backdrops.
    """
    count = count_loops(difficulty)
    rng = np.random.default_rng([seed, int(1000 * difficulty.distractor_fraction)])
    is_busy = [False] * count
    wanted = round(count * difficulty.distractor_fraction)
    while (missing := wanted - sum(is_busy)) > 0:
        low, high = _BUSY_RUN_LOOPS
        length = min(int(rng.integers(low, high + 1)), missing)
        start = int(rng.integers(0, max(1, count - length + 1)))
        is_busy[start : start + length] = [True] * len(is_busy[start : start + length])
    style, shots = difficulty.backdrop, difficulty.shots
    if task == "T7":
        style, shots = "deck", 1
    elif is_null(task):
        style, shots = _NULL_STYLES[task], 1
    scenes: list[tuple[Scene, int]] = []
    variant = 0
    for i in range(count):
        # Never the same loop twice in a row, and no loop is much rarer than another.
        variant = (variant + int(rng.integers(1, VARIANTS))) % VARIANTS
        if is_busy[i]:
            scene = Scene("crowd", 100 * seed + 99)
        else:
            scene = Scene(style, 100 * seed + i * shots // count)
        scenes.append((scene, variant))
    return scenes, is_busy
