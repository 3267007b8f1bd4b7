"""The tasks: from a name, a seed and knobs to the script of a video and the truth about it.

The seed decides everything; videos of one seed share their backdrops whatever the task. A task is a
function that puts events on a `Stage`. Times are exact seconds. Knows no encoder and no sampler.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from seedvideo.evaluate.flashbench.codes import Luma, draw_plate, random_code
from seedvideo.evaluate.flashbench.layout import Stage, is_null
from seedvideo.evaluate.flashbench.scenes import Overlay, Script
from seedvideo.evaluate.flashbench.spec import TASKS, Event, Item, Knobs, TaskId

_LARGE: Final = (30,)
_FINE: Final = (10, 11, 12, 13, 14)
_BOARD: Final = (10, 11, 12, 14, 18, 30)
_MOMENTS: Final = 240
_MOMENT_S: Final = tuple(Fraction(2**power, 5) for power in range(1, 6))  # 0.4 to 6.4 s


def make_script(task: TaskId, seed: int, knobs: Knobs, *, attempt: int = 0) -> tuple[Item, Script]:
    """The truth and the script of one item.

    Args:
        task: a name in `TASKS`.
        seed: decides everything that the knobs leave open.
        knobs: how hard it is.
        attempt: another draw of the events, where one could not be read.

    Raises:
        ValueError: if the task is unknown, or the events do not fit into the video.
    """
    if task not in TASKS:
        raise ValueError(f"task is {task!r}, expected one of {', '.join(TASKS)}")
    stage = Stage(task, seed, knobs, attempt=attempt)
    _FILL["N" if is_null(task) else task](stage)
    order = sorted(range(len(stage.events)), key=lambda place: stage.events[place].start)
    item = Item(
        task=task,
        seed=seed,
        knobs=knobs,
        events=tuple(stage.events[place] for place in order),
        busy=stage.busy,
        cuts=stage.cuts,
        question=stage.question,
        answers=tuple(stage.answers),
        queries=tuple(stage.queries[place] for place in order) if stage.queries else (),
    )
    return item, Script(stage.parts, tuple(stage.overlays), stage.times)


def _flashes(stage: Stage, heights: tuple[int, ...]) -> None:
    """As many codes as the knobs say, each for a length of the knobs' list, in turn."""
    lengths = stage.knobs.event_s
    for number in range(stage.knobs.events):
        stage.add_code(lengths[number % len(lengths)], heights, group=number)
    stage.answers += [event.answer for event in sorted(stage.events, key=lambda e: e.start)]
    stage.question = "Which codes are shown on the plates? List them in order."


def _t1(stage: Stage) -> None:
    _flashes(stage, _LARGE)


def _t2(stage: Stage) -> None:
    longest_s = min(20, stage.knobs.duration_s // 12)
    stage.knobs = replace(stage.knobs, event_s=stage.draw_lengths(min(5, longest_s), longest_s))
    _flashes(stage, _FINE)


def _t3(stage: Stage) -> None:
    _flashes(stage, _FINE)


def _t4(stage: Stage) -> None:
    """Groups of 3, 4, 5 and 6 codes; a group counts when all of it is seen."""
    left, group = stage.knobs.events, 0
    while left >= 3:
        size = min(3 + group % 4, left)
        for _ in range(size):
            stage.add_code(stage.knobs.event_s[0], _LARGE, group=group)
        left, group = left - size, group + 1
    stage.answers += [event.answer for event in sorted(stage.events, key=lambda e: e.start)]
    stage.question = "In which order do the codes appear?"


def _t5(stage: Stage) -> None:
    """Bursts of blinks, one or two a second; half of each period is bright."""
    for group in range(max(1, stage.knobs.events // 3)):
        rate = Fraction(int(stage.chance.choice([1, 2])))
        blinks = int(stage.chance.integers(4, 9))
        start = stage.find_room(blinks / rate)
        radius = stage.knobs.height_px // 16
        box = stage.find_spot(2 * radius, 2 * radius)
        rows, columns = np.mgrid[-radius:radius, -radius:radius]
        bright: Luma = np.where(np.hypot(rows, columns) < radius, 230, 40).astype(np.uint8)
        for number in range(blinks):
            begin = stage.times[start] + number / rate
            first, stop = stage.frames(begin, 1 / rate / 2)
            stage.overlays.append(Overlay(first, stop, box[0], box[1], bright))
            stage.add_event(first, stop, kind="blink", box=box, group=group)
        stage.answers.append(str(blinks))
    stage.question = "How often does the lamp blink in each burst?"


def _t6(stage: Stage) -> None:
    """A counter runs for a while; a red square appears during one of its values."""
    tick = 2 * stage.knobs.event_s[0]
    for group in range(stage.knobs.events):
        start = stage.find_room(9 * tick)
        asked = int(stage.chance.integers(2, 7))
        side = stage.knobs.height_px // 12 // 2 * 2
        square = np.full((side, side), 90, np.uint8)
        spot: tuple[int, int] | None = None
        for number in range(9):
            first, stop = stage.frames(stage.times[start] + number * tick, tick)
            plate = stage.plate(random_code(stage.chance), (18, 22))
            if spot is None:
                # Room for plates of both heights, and for the square above them.
                spot = stage.find_spot(plate.luma.shape[1] * 2, plate.luma.shape[0] * 2 + side)[:2]
            place = (spot[0], spot[1] + side + 8)
            stage.put_plate(plate, first, stop, place)
            if number == asked:
                stage.overlays.append(Overlay(first, stop, *spot, square, tints=(90, 220)))
                stage.add_plate_event(plate, first, stop, place, group=group)
                stage.answers.append(plate.code)
    stage.question = "What does the counter show whenever a red square appears?"


def _t7(stage: Stage) -> None:
    """Slides of half a minute to two minutes; now and then one for a moment only."""
    now, number = Fraction(0), 0
    brief_every = 4
    while now < stage.duration:
        brief = number % brief_every == brief_every - 1
        length = (
            2 * stage.knobs.event_s[0] if brief else Fraction(int(stage.chance.integers(30, 90)))
        )
        first, stop = stage.frames(now, length)
        if first >= stop or stop > len(stage.times) - 1:
            stop = len(stage.times) - 1
        if first >= stop:
            break
        stage.add_slide(first, stop, group=int(brief))
        now, number = stage.times[stop], number + 1
    stage.answers += [event.answer for event in stage.events]
    stage.question = "Which code is printed on each slide?"


def _t8(stage: Stage) -> None:
    """Codes that cross the picture from left to right while a few blank plates do so too."""
    pace = 10 * 25 / stage.knobs.fps * Fraction(stage.knobs.width_px, 1280)
    drift = (max(2, round(pace / 2) * 2), 0)
    for number in range(stage.knobs.events):
        plate = stage.plate(random_code(stage.chance), (26, 30))
        high, wide = plate.luma.shape
        crossing = (stage.knobs.width_px + wide) // drift[0]
        start = stage.find_room(Fraction(crossing) / stage.knobs.fps)
        top = stage.find_spot(wide, high)[1]
        hidden = wide // 2 * 2
        left = -hidden
        stage.overlays.append(
            Overlay(start, start + crossing, left, top, plate.luma, drift_px=drift)
        )
        inside = -(-hidden // drift[0])
        stop = start + (stage.knobs.width_px - wide - left) // drift[0] + 1
        stage.add_event(
            start + inside,
            stop,
            kind="code",
            answer=plate.code,
            box=(left + inside * drift[0], top, wide, high),
            cap_height_px=stage.last_height_px,
            contrast=plate.contrast,
            group=number,
            drift_px=drift,
        )
        stage.answers.append(plate.code)
    stage.question = "Which codes cross the picture?"


_COLOURS: Final = {"red": (90, 220), "blue": (220, 90), "green": (70, 70), "grey": (128, 128)}


def _t9(stage: Stage) -> None:
    """Twice as many shapes as the knobs' events, for 0.4 to 6.4 s, with a sentence each."""
    for number in range(2 * stage.knobs.events):
        length = _MOMENT_S[number % len(_MOMENT_S)]
        first = stage.find_room(length)
        _, stop = stage.frames(stage.times[first], length)
        radius = int(
            stage.chance.integers(stage.knobs.height_px // 40, stage.knobs.height_px // 10)
        )
        box = stage.find_spot(2 * radius, 2 * radius)
        colour = list(_COLOURS)[int(stage.chance.integers(len(_COLOURS)))]
        luma = np.full((2 * radius, 2 * radius), 170, np.uint8)
        stage.overlays.append(Overlay(first, stop, *box[:2], luma, tints=_COLOURS[colour]))
        side = "left" if box[0] + radius < stage.knobs.width_px // 2 else "right"
        sentence = f"A {colour} square appears on the {side}."
        stage.add_event(first, stop, kind="shape", answer=sentence, box=box, group=number)
        stage.queries.append(sentence)
        stage.answers.append(sentence)
    stage.question = "What happens, and when?"


def _t10(stage: Stage) -> None:
    """Squares appear, but never the one that is asked for: nothing is to be found."""
    for _ in range(stage.knobs.events):
        first = stage.find_room(stage.knobs.event_s[0])
        _, stop = stage.frames(stage.times[first], stage.knobs.event_s[0])
        side = stage.knobs.height_px // 12 // 2 * 2
        box = stage.find_spot(side, side)
        luma = np.full((side, side), 170, np.uint8)
        stage.overlays.append(Overlay(first, stop, *box[:2], luma, tints=_COLOURS["blue"]))
    stage.question = "When does a yellow triangle appear?"
    stage.answers.append("never")


def _null(stage: Stage) -> None:
    """Ordinary moments: a board of fine print hangs there all the time, and nothing happens.

    A moment is read if a frame lies in it at which the asked line of the board can be read.
    """
    last = len(stage.times) - 1
    top = stage.knobs.height_px // 12 // 2 * 2
    boxes = []
    for height in _BOARD:
        plate = draw_plate(
            random_code(stage.chance),
            cap_height_px=height,
            picture_height_px=stage.knobs.height_px,
            contrast=stage.knobs.contrast,
        )
        place = (stage.knobs.width_px // 16 // 2 * 2, top)
        stage.put_plate(plate, 0, last, place)
        boxes.append((height, plate, (*place, plate.luma.shape[1], plate.luma.shape[0])))
        top += (plate.luma.shape[0] + 9) // 2 * 2
    for number in range(_MOMENTS):
        length = min(_MOMENT_S[number % len(_MOMENT_S)], stage.duration / 4)
        height, plate, box = boxes[int(stage.chance.integers(len(boxes)))]
        # In microseconds: moments begin anywhere, not at frames.
        most = int((stage.duration - length) * 1_000_000)
        start = Fraction(int(stage.chance.integers(0, most)), 1_000_000)
        stage.events.append(
            Event(
                kind="moment",
                start=start,
                end=start + length,
                answer=plate.code,
                box=box,
                cap_height_px=height,
                contrast=plate.contrast,
                group=number,
            )
        )
    stage.question = "What does the board say at the given moments?"


_FILL: Final[Mapping[str, Callable[[Stage], None]]] = {
    "T1": _t1,
    "T2": _t2,
    "T3": _t3,
    "T4": _t4,
    "T5": _t5,
    "T6": _t6,
    "T7": _t7,
    "T8": _t8,
    "T9": _t9,
    "T10": _t10,
    "N": _null,
}
