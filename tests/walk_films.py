"""Films for the walk of the guide: ten minutes, made, with the faults that curation finds."""

from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from tests.synthetic_clips import COLOURS

_FPS: Final = 10
_SIZE_PX: Final = (320, 192)
_BLOCK_PX: Final = 16

Shot = tuple[str, float, int]
"""Colour, seconds, and pixels that the picture moves per frame."""


def make_films(folder: Path) -> None:
    """Write seven films, in all 600 s.

    ``yard`` has ten moving shots and two that are too short, ``yard-again`` is the same file,
    ``yard-remuxed`` has the same packets, and ``yard-small`` is encoded again. ``night`` begins
    black, ``poster`` does not move, and ``lake`` is unlike the others.
    """
    folder.mkdir()
    yard = [*_shots(5, 7), ("white", 1, 9), *_shots(5, 7), ("white", 1, 9)]
    draw_film(folder / "yard.mp4", yard, seed=1)
    copyfile(folder / "yard.mp4", folder / "yard-again.mp4")
    remux(folder / "yard.mp4", folder / "yard-remuxed.mkv")
    draw_film(folder / "yard-small.mp4", yard, seed=1, crf=32)
    draw_film(folder / "night.mp4", [("black", 40, 0), *_shots(4, 8)], seed=2)
    draw_film(folder / "poster.mp4", [("green", 160, 0)], seed=3)
    draw_film(folder / "lake.mp4", _shots(8, 10), seed=4)


def _shots(count: int, seconds: int) -> list[Shot]:
    """Return moving shots; two that follow one another have different colours."""
    colours = ("red", "green", "white", "blue")
    return [(colours[number % 4], seconds, 7 + number % 5 * 2) for number in range(count)]


def draw_film(path: Path, shots: Sequence[Shot], *, seed: int, crf: int = 20) -> None:
    """Write a film whose shots show moving blocks of one colour."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_FPS)
        stream.width, stream.height, stream.pix_fmt = *_SIZE_PX, "yuv420p"
        stream.options = {"crf": str(crf), "g": "20", "threads": "1"}
        for colour, seconds, speed_px in shots:
            picture = _blocks(random, colour)
            for number in range(round(seconds * _FPS)):
                shown = np.roll(picture, speed_px * number, axis=1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())


def remux(source: Path, target: Path) -> None:
    """Copy the packets of a film to another container."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)


def _blocks(random: np.random.Generator, colour: str) -> npt.NDArray[np.uint8]:
    width_px, height_px = _SIZE_PX
    shape = (height_px // _BLOCK_PX, width_px // _BLOCK_PX, 1)
    light = random.uniform(0.5, 1.0, shape).repeat(_BLOCK_PX, 0).repeat(_BLOCK_PX, 1)
    picture: npt.NDArray[np.uint8] = np.rint(light * np.asarray(COLOURS[colour])).astype(np.uint8)
    return picture
