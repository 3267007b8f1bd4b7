"""The script of a video: which backdrop fills which frames, and what lies on top when.

Frames are counted from 0; their times are exact. Knows no tasks and no encoder.
"""

from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import numpy as np

from seedvideo.evaluate.flashbench.codes import Luma
from seedvideo.evaluate.flashbench.scenes import Picture, Scene, chroma
from seedvideo.evaluate.flashbench.truth import Knobs


@dataclass(frozen=True)
class Part:
    """One loop of a backdrop, which is one group of pictures of the file.

    Args:
        scene: the backdrop.
        variant: which of its loops.
        first: its first frame.
        frames: how many.
        step: seconds from frame to frame.
    """

    scene: Scene
    variant: int
    first: int
    frames: int
    step: Fraction


@dataclass(frozen=True, eq=False)
class Overlay:
    """Something on top of the backdrop from frame ``first`` to before ``stop``.

    Args:
        first: first frame that shows it.
        stop: first frame that no longer does.
        left: its left edge in frame ``first``; even.
        top: its top edge in frame ``first``; even.
        luma: its brightness.
        tints: its two colour components; 128 and 128 are grey.
        drift_px: pixels that it moves a frame, right and down; even.
    """

    first: int
    stop: int
    left: int
    top: int
    luma: Luma
    tints: tuple[int, int] = (128, 128)
    drift_px: tuple[int, int] = (0, 0)

    def draw(self, picture: Picture, frame: int) -> None:
        """Draw it where it lies in a frame; what lies outside the picture is cut off."""
        height, width = picture.shape[0] * 2 // 3, picture.shape[1]
        left = self.left + (frame - self.first) * self.drift_px[0]
        top = self.top + (frame - self.first) * self.drift_px[1]
        high, wide = self.luma.shape
        above, beside = max(0, -top), max(0, -left)
        below, beyond = min(high, height - top), min(wide, width - left)
        if above >= below or beside >= beyond:
            return
        rows, columns = slice(top + above, top + below), slice(left + beside, left + beyond)
        picture[rows, columns] = self.luma[above:below, beside:beyond]
        half_rows = slice(rows.start // 2, (rows.stop + 1) // 2)
        half_columns = slice(columns.start // 2, (columns.stop + 1) // 2)
        planes = chroma(picture[: height * 3 // 2])
        planes[:, half_rows, half_columns] = np.array(self.tints, np.uint8)[:, None, None]


@dataclass(frozen=True)
class Script:
    """Everything that is needed to paint a video.

    Args:
        parts: backdrops, one after another.
        overlays: what lies on top, the later ones above the earlier.
        times: time of every frame, and of the end.
    """

    parts: tuple[Part, ...]
    overlays: tuple[Overlay, ...]
    times: tuple[Fraction, ...]

    def over(self, part: Part) -> tuple[tuple[int, Overlay], ...]:
        """The overlays that show in a part, each with its place in the list."""
        stop = part.first + part.frames
        return tuple(
            (place, each)
            for place, each in enumerate(self.overlays)
            if each.first < stop and each.stop > part.first
        )


def lay_out(scenes: list[tuple[Scene, int]], knobs: Knobs) -> tuple[Part, ...]:
    """Parts of these backdrops and variants, one group of pictures each.

    The last is cut where the video ends. With variable rate, every other part has half the frames.
    """
    step = 1 / knobs.fps
    parts: list[Part] = []
    left = round(knobs.duration_s * knobs.fps)  # steps, not frames
    first = 0
    for place, (scene, variant) in enumerate(scenes):
        steps = min(knobs.gop_frames, left)
        pace = 2 if knobs.vfr and place % 2 and steps % 2 == 0 else 1
        parts.append(Part(scene, variant, first, steps // pace, pace * step))
        first, left = first + steps // pace, left - steps
    if left or any(part.frames < 1 for part in parts):
        raise ValueError(f"{len(scenes)} parts do not make {knobs.duration_s} s")
    return tuple(parts)


def part_count(knobs: Knobs) -> int:
    """How many parts a video has."""
    return -(-round(knobs.duration_s * knobs.fps) // knobs.gop_frames)


def frame_times(parts: tuple[Part, ...]) -> tuple[Fraction, ...]:
    """Time of every frame, and of the end after the last."""
    steps = (part.step for part in parts for _ in range(part.frames))
    return (Fraction(0), *accumulate(steps))


def frame_at(times: tuple[Fraction, ...], moment: Fraction) -> int:
    """The first frame at a moment or after it."""
    return bisect_left(times, moment)
