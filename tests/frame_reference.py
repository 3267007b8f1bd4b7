"""Reference frames: every packet of a file decoded in order, by PyAV alone.

Only the scaler is of the package. Tests compare with these frames, bit for bit.
"""

import random
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Final

import av
import numpy as np

from seedvideo.media import Frame, MediaInfo, Target, VideoReader, open_video
from seedvideo.media.resize import Orientation, Resizer
from tests.fixtures import Pixels
from tests.tiers import quick_first

SIZE: Final = (96, 56)

WORKERS: Final = quick_first((1, 3))
"""Numbers of decode processes that must all give the same frames."""


def opened(path: Path, workers: int | None) -> VideoReader:
    """Opens a file that is decoded by so many processes; None leaves the number to the reader."""
    return open_video(path, workers=workers)


def plain_decode(path: Path, info: MediaInfo) -> tuple[list[Fraction], list[Pixels]]:
    """Returns times and upright pictures, in the order in which the decoder gives them."""
    state = path.stat()
    orientation = Orientation(info.rotation_deg, info.flipped)
    return _decoded(path, (state.st_mtime_ns, state.st_size), info.start, orientation)


@lru_cache(maxsize=4)
def _decoded(
    path: Path, state: tuple[int, int], start: Fraction, orientation: Orientation
) -> tuple[list[Fraction], list[Pixels]]:
    """The same of a file in this state: tests in a row compare with one truth."""
    del state
    times: list[Fraction] = []
    pictures: list[Pixels] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            assert frame.pts is not None and stream.time_base is not None
            times.append(frame.pts * stream.time_base - start)
            # A new scaler for each: nothing that it keeps between frames can make a difference.
            packed = Resizer(orientation).resize(frame, *SIZE)
            pictures.append(np.frombuffer(packed, np.uint8).reshape(SIZE[1], SIZE[0], 3))
    return times, pictures


def targets_of(reader: VideoReader, frame_indices: Sequence[int]) -> list[Target]:
    """Returns targets at the very times of frames."""
    return [Target(reader.times[frame_index], *SIZE) for frame_index in frame_indices]


def is_frame(frame: Frame, time: Fraction, picture: Pixels) -> bool:
    """Return whether a frame is this one, bit for bit."""
    return frame.pts == time and np.array_equal(frame.pixels, picture)


def choices(draw: random.Random, frames: int, *, sets: int) -> list[list[int]]:
    """Returns random choices of frames: single ones, crowds in one place, and some of everywhere.

    A frame may be chosen more than once.
    """
    chosen: list[list[int]] = []
    for number in range(sets):
        count = draw.choice((1, 1, 2, 3, 5, 8, 13, 21, 34))
        first = 0 if number % 2 else draw.randrange(frames)
        end = frames if number % 2 else min(frames, first + draw.choice((3, 10, 40)))
        chosen.append(sorted(draw.choices(range(first, end), k=count)))
    return chosen
