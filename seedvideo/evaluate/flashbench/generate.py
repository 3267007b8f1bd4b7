"""One item as a file: painted, encoded, and checked to be legible before it counts.

Every code must be readable at full size in the decoded file, else the events are drawn anew: a
benchmark whose truth can't be seen measures nothing. Times are exact seconds.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from seedvideo.evaluate.flashbench.codes import REFERENCE_HEIGHT_PX, Luma, ideal_reading
from seedvideo.evaluate.flashbench.encode import Groups, write_video
from seedvideo.evaluate.flashbench.tasks import make_script
from seedvideo.evaluate.flashbench.truth import Event, Item, Knobs, TaskId
from seedvideo.media.frames import Target
from seedvideo.media.reader import open_video

_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class Made:
    """An item and its file.

    Args:
        item: the truth.
        path: the video.
        attempts: draws that it took until everything could be read.
    """

    item: Item
    path: Path
    attempts: int


def generate(
    task: TaskId,
    seed: int,
    folder: Path,
    *,
    knobs: Knobs,
    groups: Groups | None = None,
) -> Made:
    """Make the video of one item in a folder.

    Args:
        task: which task.
        seed: decides everything that the knobs leave open.
        folder: where the file goes, as ``NAME.mp4``.
        knobs: how hard it is.
        groups: coded groups to share with videos of the same seed.

    Raises:
        RuntimeError: if after several draws there still are codes that can't be read at full size.
    """
    for attempt in range(_ATTEMPTS):
        item, script = make_script(task, seed, knobs, attempt=attempt)
        path = folder / f"{item.name}.mp4"
        write_video(path, script, knobs, groups=groups)
        if not unreadable(item, path):
            return Made(item, path, attempt + 1)
    raise RuntimeError(f"{item.name}: codes can't be read at full size after {_ATTEMPTS} draws")


def unreadable(item: Item, path: Path) -> tuple[Event, ...]:
    """The events whose code the ideal reader can't read in the decoded frames of full size."""
    asked = _one_a_board([event for event in item.events if event.kind in ("code", "moment")])
    if not asked:
        return ()
    knobs = item.knobs
    moments = sorted(((middle(event), event) for event in asked), key=lambda pair: pair[0])
    failed = []
    with open_video(path) as reader:
        targets = [
            Target(pts=moment, width_px=knobs.width_px, height_px=knobs.height_px)
            for moment, _ in moments
        ]
        for frame, (_, event) in zip(reader.frames(targets), moments, strict=True):
            luma = _luma(frame.pixels)
            left, top, wide, high = box_at(event, frame.pts, item.knobs.fps)
            cap_px = (event.cap_height_px or 0) * knobs.height_px / REFERENCE_HEIGHT_PX
            seen = ideal_reading(
                luma[top : top + high, left : left + wide],
                length=len(event.answer),
                cap_px=cap_px,
            )
            if seen != event.answer:
                failed.append(event)
    return tuple(failed)


def middle(event: Event) -> Fraction:
    """A time halfway through an event; a frame's own time is the last at or before it."""
    return (event.start + event.end) / 2


def box_at(event: Event, pts: Fraction, fps: Fraction) -> tuple[int, int, int, int]:
    """Where an event lies in the frame of this time, which must be one of its own.

    Raises:
        ValueError: if the event has no place in the picture.
    """
    if event.box is None:
        raise ValueError("an event without a box lies nowhere")
    left, top, wide, high = event.box
    frames = round((pts - event.start) * fps) if any(event.drift_px) else 0
    return left + frames * event.drift_px[0], top + frames * event.drift_px[1], wide, high


def _one_a_board(events: list[Event]) -> list[Event]:
    """Events with the same code in the same place need one look only."""
    kept: dict[tuple[str, tuple[int, int, int, int] | None, bool], Event] = {}
    for event in events:
        kept.setdefault((event.answer, event.box, event.kind == "moment"), event)
    return list(kept.values())


def _luma(pixels: npt.NDArray[np.uint8]) -> Luma:
    """Brightness of an RGB picture."""
    weights = np.array([0.299, 0.587, 0.114])
    luma: Luma = np.rint(pixels @ weights).astype(np.uint8)
    return luma
