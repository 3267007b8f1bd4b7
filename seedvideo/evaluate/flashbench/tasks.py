"""The tasks of flashbench: from a name, a seed and a difficulty to script and ground truth.

The seed decides everything; videos of one seed share their backdrops whatever the task. A task is a
function that adds events to an `EventLayout`. Times are exact seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from seedvideo.evaluate.flashbench.codes import Luma, draw_text_plate, random_code
from seedvideo.evaluate.flashbench.layout import EventLayout, is_null
from seedvideo.evaluate.flashbench.scenes import Overlay, Script
from seedvideo.evaluate.flashbench.spec import TASKS, BenchmarkItem, DifficultyConfig, Event, TaskId

_LARGE: Final = (30,)
_FINE: Final = (10, 11, 12, 13, 14)
_BOARD: Final = (10, 11, 12, 14, 18, 30)
_MOMENTS: Final = 240
_MOMENT_S: Final = tuple(Fraction(2**power, 5) for power in range(1, 6))  # 0.4 to 6.4 s


def make_script(
    task: TaskId, seed: int, difficulty: DifficultyConfig, *, attempt: int = 0
) -> tuple[BenchmarkItem, Script]:
    """Make the ground truth and the script of one item.

    Args:
        task: a name in `TASKS`.
        seed: seed of everything that the difficulty leaves open.
        difficulty: settings of the video.
        attempt: number of the draw; the next one is needed where a code was not legible.

    Raises:
        ValueError: if the task is unknown, or the events do not fit into the video.
    """
    if task not in TASKS:
        raise ValueError(f"task is {task!r}, expected one of {', '.join(TASKS)}")
    layout = EventLayout(task, seed, difficulty, attempt=attempt)
    _TASK_BUILDERS["N" if is_null(task) else task](layout)
    order = sorted(range(len(layout.events)), key=lambda i: layout.events[i].start)
    item = BenchmarkItem(
        task=task,
        seed=seed,
        difficulty=difficulty,
        events=tuple(layout.events[i] for i in order),
        busy=layout.busy,
        cuts=layout.cuts,
        question=layout.question,
        answers=tuple(layout.answers),
        queries=tuple(layout.queries[i] for i in order) if layout.queries else (),
    )
    return item, Script(layout.loops, tuple(layout.overlays), layout.times)


def _add_codes(layout: EventLayout, heights: tuple[int, ...]) -> None:
    """Add the difficulty's number of codes; they take its event lengths in turn."""
    lengths = layout.difficulty.event_s
    for number in range(layout.difficulty.events):
        layout.add_code(lengths[number % len(lengths)], heights, group=number)
    layout.answers += [event.answer for event in sorted(layout.events, key=lambda e: e.start)]
    layout.question = "Which codes are shown on the plates? List them in order."


def _brief_code(layout: EventLayout) -> None:
    _add_codes(layout, _LARGE)


def _small_print(layout: EventLayout) -> None:
    longest_s = min(20, layout.difficulty.duration_s // 12)
    layout.difficulty = replace(
        layout.difficulty, event_s=layout.draw_lengths(min(5, longest_s), longest_s)
    )
    _add_codes(layout, _FINE)


def _brief_small_print(layout: EventLayout) -> None:
    _add_codes(layout, _FINE)


def _ordered_codes(layout: EventLayout) -> None:
    """Add groups of 3, 4, 5 and 6 codes; a group counts only if every code of it is seen."""
    left, group = layout.difficulty.events, 0
    while left >= 3:
        size = min(3 + group % 4, left)
        for _ in range(size):
            layout.add_code(layout.difficulty.event_s[0], _LARGE, group=group)
        left, group = left - size, group + 1
    layout.answers += [event.answer for event in sorted(layout.events, key=lambda e: e.start)]
    layout.question = "In which order do the codes appear?"


def _blink_bursts(layout: EventLayout) -> None:
    """Add bursts of blinks, one or two per second; half of each period is bright."""
    for group in range(max(1, layout.difficulty.events // 3)):
        rate = Fraction(int(layout.rng.choice([1, 2])))
        blinks = int(layout.rng.integers(4, 9))
        start = layout.find_free_span(blinks / rate)
        radius = layout.difficulty.height_px // 16
        box = layout.find_free_box(2 * radius, 2 * radius)
        rows, columns = np.mgrid[-radius:radius, -radius:radius]
        bright: Luma = np.where(np.hypot(rows, columns) < radius, 230, 40).astype(np.uint8)
        for number in range(blinks):
            begin = layout.times[start] + number / rate
            first, stop = layout.frames(begin, 1 / rate / 2)
            layout.overlays.append(Overlay(first, stop, box[0], box[1], bright))
            layout.add_event(first, stop, kind="blink", box=box, group=group)
        layout.answers.append(str(blinks))
    layout.question = "How often does the lamp blink in each burst?"


def _counter_state(layout: EventLayout) -> None:
    """Add counters with nine values each; a red square appears during one of them."""
    tick = 2 * layout.difficulty.event_s[0]
    for group in range(layout.difficulty.events):
        start = layout.find_free_span(9 * tick)
        asked = int(layout.rng.integers(2, 7))
        side = layout.difficulty.height_px // 12 // 2 * 2
        square = np.full((side, side), 90, np.uint8)
        corner: tuple[int, int] | None = None
        for number in range(9):
            first, stop = layout.frames(layout.times[start] + number * tick, tick)
            plate = layout.draw_plate(random_code(layout.rng), (18, 22))
            if corner is None:
                # Room for plates of both heights, and for the square above them.
                corner = layout.find_free_box(
                    plate.luma.shape[1] * 2, plate.luma.shape[0] * 2 + side
                )[:2]
            left_top = (corner[0], corner[1] + side + 8)
            layout.overlay_plate(plate, first, stop, left_top)
            if number == asked:
                layout.overlays.append(Overlay(first, stop, *corner, square, tints=(90, 220)))
                layout.add_plate_event(plate, first, stop, left_top, group=group)
                layout.answers.append(plate.code)
    layout.question = "What does the counter show whenever a red square appears?"


def _slides(layout: EventLayout) -> None:
    """Add slides of 30 to 90 s; every fourth one is brief."""
    now, number = Fraction(0), 0
    brief_every = 4
    while now < layout.duration:
        brief = number % brief_every == brief_every - 1
        length = (
            2 * layout.difficulty.event_s[0]
            if brief
            else Fraction(int(layout.rng.integers(30, 90)))
        )
        first, stop = layout.frames(now, length)
        if first >= stop or stop > len(layout.times) - 1:
            stop = len(layout.times) - 1
        if first >= stop:
            break
        layout.add_slide(first, stop, group=int(brief))
        now, number = layout.times[stop], number + 1
    layout.answers += [event.answer for event in layout.events]
    layout.question = "Which code is printed on each slide?"


def _moving_print(layout: EventLayout) -> None:
    """Add codes that cross the picture from left to right."""
    pace = 10 * 25 / layout.difficulty.fps * Fraction(layout.difficulty.width_px, 1280)
    drift = (max(2, round(pace / 2) * 2), 0)
    for number in range(layout.difficulty.events):
        plate = layout.draw_plate(random_code(layout.rng), (26, 30))
        high, wide = plate.luma.shape
        crossing = (layout.difficulty.width_px + wide) // drift[0]
        start = layout.find_free_span(Fraction(crossing) / layout.difficulty.fps)
        top = layout.find_free_box(wide, high)[1]
        hidden = wide // 2 * 2
        left = -hidden
        layout.overlays.append(
            Overlay(start, start + crossing, left, top, plate.luma, drift_px=drift)
        )
        inside = -(-hidden // drift[0])
        stop = start + (layout.difficulty.width_px - wide - left) // drift[0] + 1
        layout.add_event(
            start + inside,
            stop,
            kind="code",
            answer=plate.code,
            box=(left + inside * drift[0], top, wide, high),
            cap_height_px=layout.last_height_px,
            contrast=plate.contrast,
            group=number,
            drift_px=drift,
        )
        layout.answers.append(plate.code)
    layout.question = "Which codes cross the picture?"


_COLOURS: Final = {"red": (90, 220), "blue": (220, 90), "green": (70, 70), "grey": (128, 128)}


def _dense_narrative(layout: EventLayout) -> None:
    """Add twice the difficulty's number of events: squares for 0.4 to 6.4 s, a sentence each."""
    for number in range(2 * layout.difficulty.events):
        length = _MOMENT_S[number % len(_MOMENT_S)]
        first = layout.find_free_span(length)
        _, stop = layout.frames(layout.times[first], length)
        radius = int(
            layout.rng.integers(
                layout.difficulty.height_px // 40, layout.difficulty.height_px // 10
            )
        )
        box = layout.find_free_box(2 * radius, 2 * radius)
        colour = list(_COLOURS)[int(layout.rng.integers(len(_COLOURS)))]
        luma = np.full((2 * radius, 2 * radius), 170, np.uint8)
        layout.overlays.append(Overlay(first, stop, *box[:2], luma, tints=_COLOURS[colour]))
        side = "left" if box[0] + radius < layout.difficulty.width_px // 2 else "right"
        sentence = f"A {colour} square appears on the {side}."
        layout.add_event(first, stop, kind="shape", answer=sentence, box=box, group=number)
        layout.queries.append(sentence)
        layout.answers.append(sentence)
    layout.question = "What happens, and when?"


def _absent_event(layout: EventLayout) -> None:
    """Add squares, none of which is the shape in the question: there is nothing to find."""
    for _ in range(layout.difficulty.events):
        first = layout.find_free_span(layout.difficulty.event_s[0])
        _, stop = layout.frames(layout.times[first], layout.difficulty.event_s[0])
        side = layout.difficulty.height_px // 12 // 2 * 2
        box = layout.find_free_box(side, side)
        luma = np.full((side, side), 170, np.uint8)
        layout.overlays.append(Overlay(first, stop, *box[:2], luma, tints=_COLOURS["blue"]))
    layout.question = "When does a yellow triangle appear?"
    layout.answers.append("never")


def _null_moments(layout: EventLayout) -> None:
    """Add ordinary moments: a board of fine print is visible all the time, nothing happens.

    A moment counts as read if a frame lies in it that is large enough for its line of the board.
    """
    last = len(layout.times) - 1
    top = layout.difficulty.height_px // 12 // 2 * 2
    boxes = []
    for height in _BOARD:
        plate = draw_text_plate(
            random_code(layout.rng),
            cap_height_px=height,
            picture_height_px=layout.difficulty.height_px,
            contrast=layout.difficulty.contrast,
        )
        left_top = (layout.difficulty.width_px // 16 // 2 * 2, top)
        layout.overlay_plate(plate, 0, last, left_top)
        boxes.append((height, plate, (*left_top, plate.luma.shape[1], plate.luma.shape[0])))
        top += (plate.luma.shape[0] + 9) // 2 * 2
    for number in range(_MOMENTS):
        length = min(_MOMENT_S[number % len(_MOMENT_S)], layout.duration / 4)
        height, plate, box = boxes[int(layout.rng.integers(len(boxes)))]
        # In microseconds: moments begin anywhere, not at frames.
        most = int((layout.duration - length) * 1_000_000)
        start = Fraction(int(layout.rng.integers(0, most)), 1_000_000)
        layout.events.append(
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
    layout.question = "What does the board say at the given moments?"


_TASK_BUILDERS: Final[Mapping[str, Callable[[EventLayout], None]]] = {
    "T1": _brief_code,
    "T2": _small_print,
    "T3": _brief_small_print,
    "T4": _ordered_codes,
    "T5": _blink_bursts,
    "T6": _counter_state,
    "T7": _slides,
    "T8": _moving_print,
    "T9": _dense_narrative,
    "T10": _absent_event,
    "N": _null_moments,
}
