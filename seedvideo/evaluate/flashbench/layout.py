"""The stage on which a task puts its events: backdrops, free room in time and picture, plates.

Made from a seed; keeps the growing lists of events and overlays. Frames count from 0, times are
exact seconds. Knows no encoder.
"""

from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np

from seedvideo.evaluate.flashbench.codes import Plate, draw_plate, random_code
from seedvideo.evaluate.flashbench.scenes import (
    Overlay,
    Scene,
    frame_at,
    frame_times,
    lay_out,
    part_count,
)
from seedvideo.evaluate.flashbench.spec import TASKS, Event, EventKind, Knobs, Style, TaskId

VARIANTS: Final = 4
"""Loops of one backdrop."""

_APART_S: Final = Fraction(2)
"""Least time between two events, and between an event and a cut."""
_TRIES: Final = 2000
_BUSY_RUN_PARTS: Final = (3, 10)
_NULL_STYLES: Final[dict[str, Style]] = {
    "N1": "noise",
    "N2": "pan",
    "N3": "flicker",
    "N4": "grain",
    "N5": "crowd",
    "N6": "dissolve",
}


def is_null(task: TaskId) -> bool:
    """Whether nothing stands out in a task's videos."""
    return task in _NULL_STYLES


class Stage:
    """Where the events of one item are laid out.

    Args:
        task: which task.
        seed: decides backdrops and events.
        knobs: how hard the item is.
        attempt: another draw of the events.
    """

    def __init__(self, task: TaskId, seed: int, knobs: Knobs, *, attempt: int) -> None:
        self.knobs = knobs
        self.chance = np.random.default_rng([seed, list(TASKS).index(task), attempt])
        scenes, is_busy = _backdrops(task, seed, knobs)
        self.parts = lay_out(scenes, knobs)
        self.times = frame_times(self.parts)
        self.duration = self.times[-1]
        self.events: list[Event] = []
        self.overlays: list[Overlay] = []
        self.queries: list[str] = []
        self.answers: list[str] = []
        self.question = ""
        self.last_height_px = 0
        changes = [
            place for place in range(1, len(scenes)) if scenes[place][0] != scenes[place - 1][0]
        ]
        self.cuts = tuple(self.times[self.parts[place].first] for place in changes)
        runs = [0, *changes, len(scenes)]
        spans = [(start, stop, is_busy[start]) for start, stop in pairwise(runs)]
        self.busy = tuple(self._span(start, stop) for start, stop, busy in spans if busy)
        self._calm = tuple(self._span(start, stop) for start, stop, busy in spans if not busy)
        self._taken: list[tuple[Fraction, Fraction]] = []

    def _span(self, first_part: int, stop_part: int) -> tuple[Fraction, Fraction]:
        last = self.parts[stop_part - 1]
        return self.times[self.parts[first_part].first], self.times[last.first + last.frames]

    def find_room(self, length: Fraction) -> int:
        """First frame of a stretch in the calm, away from cuts and other events; now taken.

        Raises:
            ValueError: if there is no room left.
        """
        spare = min(_APART_S, self.duration / 60)
        last = len(self.times) - 1
        for _ in range(_TRIES):
            first = int(self.chance.integers(0, last))
            start = self.times[first]
            end = start + length
            if not any(low + spare <= start and end <= high - spare for low, high in self._calm):
                continue
            if all(end + spare <= begin or stop + spare <= start for begin, stop in self._taken):
                self._taken.append((start, end))
                return first
        raise ValueError(
            f"no room for {len(self._taken) + 1} events of about {float(length):g} s"
            f" in {float(self.duration):g} s of video"
        )

    def frames(self, start: Fraction, length: Fraction) -> tuple[int, int]:
        """The frames from a time on, for a length; at least one."""
        first = frame_at(self.times, start)
        return first, max(first + 1, frame_at(self.times, start + length))

    def find_spot(self, width_px: int, height_px: int) -> tuple[int, int, int, int]:
        """A place in the picture for something of this size: left, top, width, height."""
        rooms = self.knobs.width_px - width_px, self.knobs.height_px - height_px
        if min(rooms) < 4:
            raise ValueError(f"{width_px}x{height_px} px do not fit into the picture")
        left, top = (int(self.chance.integers(1, room // 2)) * 2 for room in rooms)
        return left, top, width_px, height_px

    def plate(self, code: str, heights: tuple[int, ...]) -> Plate:
        """Draw a code in one of these cap heights, or of the knobs' where they name some."""
        heights = self.knobs.cap_heights_px or heights
        self.last_height_px = heights[int(self.chance.integers(len(heights)))]
        return draw_plate(
            code,
            cap_height_px=self.last_height_px,
            picture_height_px=self.knobs.height_px,
            contrast=self.knobs.contrast,
        )

    def put_plate(self, plate: Plate, first: int, stop: int, place: tuple[int, int]) -> None:
        """Show a plate from one frame to before another."""
        self.overlays.append(Overlay(first, stop, place[0], place[1], plate.luma))

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
        """Note that something can be asked about, by the frames that show it."""
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
        self, plate: Plate, first: int, stop: int, place: tuple[int, int], *, group: int
    ) -> None:
        """Note that a plate that was put there is to be read."""
        self.add_event(
            first,
            stop,
            kind="code",
            answer=plate.code,
            box=(*place, plate.luma.shape[1], plate.luma.shape[0]),
            cap_height_px=self.last_height_px,
            contrast=plate.contrast,
            group=group,
        )

    def add_code(self, length: Fraction, heights: tuple[int, ...], *, group: int) -> None:
        """Show a code for a length, somewhere in the calm, and note it."""
        first = self.find_room(length)
        _, stop = self.frames(self.times[first], length)
        plate = self.plate(random_code(self.chance), heights)
        left, top, _, _ = self.find_spot(plate.luma.shape[1], plate.luma.shape[0])
        self.put_plate(plate, first, stop, (left, top))
        self.add_plate_event(plate, first, stop, (left, top), group=group)

    def add_slide(self, first: int, stop: int, *, group: int) -> None:
        """Fill most of the picture with a slide: some bars for words, and a code to read."""
        height, width = (
            side * 9 // 10 // 2 * 2 for side in (self.knobs.height_px, self.knobs.width_px)
        )
        sheet = np.full((height, width), 215, np.uint8)
        for row in range(height // 5, height * 4 // 5, height // 12):
            stop_px = int(self.chance.integers(width // 3, width * 9 // 10))
            sheet[row : row + height // 40, width // 16 : stop_px] = 150
        sheet[
            height // 14 : height // 8,
            width // 16 : int(self.chance.integers(width // 4, width * 3 // 4)),
        ] = 70
        left, top = (self.knobs.width_px - width) // 4 * 2, (self.knobs.height_px - height) // 4 * 2
        self.overlays.append(Overlay(first, stop, left, top, sheet))
        plate = self.plate(random_code(self.chance), (11, 12, 14))
        place = (left + width // 16 // 2 * 2, top + height * 9 // 10 // 2 * 2)
        self.put_plate(plate, first, stop, place)
        self.add_plate_event(plate, first, stop, place, group=group)

    def draw_lengths(self, least_s: int, most_s: int) -> tuple[Fraction, ...]:
        """A length for each event of the knobs, between these seconds."""
        tenths = self.chance.integers(10 * least_s, 10 * most_s + 1, max(1, self.knobs.events))
        return tuple(Fraction(int(tenth), 10) for tenth in tenths)


def _backdrops(task: TaskId, seed: int, knobs: Knobs) -> tuple[list[tuple[Scene, int]], list[bool]]:
    """Backdrop and variant of every part, and which are busy.

    Videos of one seed share them: tasks with the same share of distractors show the same places.
    """
    count = part_count(knobs)
    chance = np.random.default_rng([seed, int(1000 * knobs.distractor_share)])
    is_busy = [False] * count
    wanted = round(count * knobs.distractor_share)
    while (missing := wanted - sum(is_busy)) > 0:
        low, high = _BUSY_RUN_PARTS
        length = min(int(chance.integers(low, high + 1)), missing)
        start = int(chance.integers(0, max(1, count - length + 1)))
        is_busy[start : start + length] = [True] * len(is_busy[start : start + length])
    style, shots = knobs.backdrop, knobs.shots
    if task == "T7":
        style, shots = "deck", 1
    elif is_null(task):
        style, shots = _NULL_STYLES[task], 1
    scenes: list[tuple[Scene, int]] = []
    variant = 0
    for place in range(count):
        # Never the same loop twice in a row, and no loop is much rarer than another.
        variant = (variant + int(chance.integers(1, VARIANTS))) % VARIANTS
        if is_busy[place]:
            scene = Scene("crowd", 100 * seed + 99)
        else:
            scene = Scene(style, 100 * seed + place * shots // count)
        scenes.append((scene, variant))
    return scenes, is_busy
