"""Files for the sampling benchmark, with their ground truth.

The ground truth is every frame as it was painted, in ``18 x 32`` grey cells, so that a loader's
frames can be compared with the requested ones, whatever the decoder. Long files are
made of scenes that are encoded once and follow one another several times: each begins with a
keyframe and refers to nothing outside, so that a decoder sees no seam.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from _sampling_scenes import BUSY, CALM, CUT_EVERY, FPS, MIXED, Maker, scene
from _sampling_truth import grid

OPTIONS: Final = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libx265": {"preset": "veryfast", "x265-params": "log-level=error"},  # open groups of pictures
    "libvpx-vp9": {"deadline": "good", "cpu-used": "5", "crf": "33", "b": "0"},
    "libsvtav1": {"preset": "10", "crf": "35"},
}
GROWTH: Final = "growth"
"""The name of the files that differ in length alone."""


@dataclass(frozen=True)
class Piece:
    """A scene to paint: what, for how many frames."""

    maker: Maker
    frames: int
    seed: int


@dataclass(frozen=True)
class Made:
    """A file to make.

    Args:
        name: of the file, and by which it is asked for.
        display_name: name in the tables.
        codec: of FFmpeg, that encodes it.
        width_px: of its frames.
        height_px: of its frames.
        keyframe_every: frames from one keyframe to the next, at most.
        kinds: of its scenes.
        scene_s: seconds of each scene.
        duration_s: of the file.
    """

    name: str
    display_name: str
    codec: str
    width_px: int
    height_px: int
    keyframe_every: int
    kinds: tuple[Maker, ...]
    scene_s: int
    duration_s: int

    def path(self, folder: Path) -> Path:
        """Where the file lies."""
        return folder / f"{self.name}-{self.duration_s}s{'.mkv' if self.is_short else '.mp4'}"

    def truth(self, folder: Path) -> Path:
        """Where its frames lie as they were painted, ``(N, 18, 32)`` of 8 bits."""
        return self.path(folder).with_suffix(".npy")

    @property
    def is_short(self) -> bool:
        """Whether it is encoded in one go."""
        return not self.is_h264

    @property
    def is_h264(self) -> bool:
        """Whether it is of the codec that most videos are of."""
        return self.codec == "libx264"

    @property
    def is_calm(self) -> bool:
        """Whether little moves in all of it."""
        return self.kinds == CALM

    @property
    def title(self) -> str:
        """What it is and how long, for people."""
        return f"{self.display_name}, {self.duration_s} s"

    @property
    def order(self) -> list[int]:
        """Which of its kinds follow one another."""
        kinds = len(self.kinds)
        return (
            list(range(kinds)) if self.is_short else _order(kinds, self.duration_s // self.scene_s)
        )

    @property
    def cuts(self) -> tuple[int, ...]:
        """Numbers of the frames at which the whole picture is replaced."""
        order, length = self.order, self.scene_s * FPS
        found: list[int] = []
        for place, kind in enumerate(order):
            if place and kind != order[place - 1]:
                found.append(place * length)
            every = CUT_EVERY.get(self.kinds[kind], length)
            found += range(place * length + every, (place + 1) * length, every)
        return tuple(found)

    @property
    def is_growth(self) -> bool:
        """Whether it is one of those that differ in length alone."""
        return self.name == GROWTH

    @property
    def frames(self) -> int:
        """Number of its frames."""
        return self.duration_s * FPS


def files(*, is_quick: bool) -> tuple[Made, ...]:
    """The files of a run; the quick ones are of the same kinds, and short."""
    scene_s, minutes10_s, hour_s, short_s = (1, 24, 96, 12) if is_quick else (20, 600, 3600, 60)
    hd, small = (1280, 720), (640, 360)
    cycle_s = len(MIXED) * scene_s
    return (
        Made("mixed-g60", "720p, mixed, GOP 60", "libx264", *hd, 60, MIXED, scene_s, minutes10_s),
        Made(
            "mixed-g250", "720p, mixed, GOP 250", "libx264", *hd, 250, MIXED, scene_s, minutes10_s
        ),
        Made("calm-g250", "720p, calm, GOP 250", "libx264", *hd, 250, CALM, scene_s, minutes10_s),
        Made("busy-g250", "720p, busy, GOP 250", "libx264", *hd, 250, BUSY, scene_s, minutes10_s),
        Made("hour", "360p, mixed, GOP 250", "libx264", *small, 250, MIXED, scene_s, hour_s),
        Made("hevc", "720p, HEVC", "libx265", *hd, 250, MIXED, short_s // 12, short_s),
        Made("vp9", "720p, VP9", "libvpx-vp9", *hd, 250, MIXED, short_s // 12, short_s),
        Made("av1", "720p, AV1", "libsvtav1", *hd, 250, MIXED, short_s // 12, short_s),
        *(
            # Every kind of scene as often as every other, whatever the length.
            Made(GROWTH, "720p, mixed, GOP 250", "libx264", *hd, 250, MIXED, scene_s, duration_s)
            for duration_s in (cycle_s, 2 * cycle_s, 4 * cycle_s)
        ),
    )


def make(made: Made, folder: Path) -> Path:
    """Make a file and its truth, unless both are there."""
    path, truth = made.path(folder), made.truth(folder)
    if path.exists() and truth.exists():
        return path
    partial = path.with_name(f"partial-{path.name}")
    pieces = [Piece(kind, made.scene_s * FPS, seed=MIXED.index(kind)) for kind in made.kinds]
    if made.is_short:
        cells = _encode(made, pieces, partial)
    else:
        cells = _join(made, pieces, partial, folder)
    if len(cells) != made.frames:
        raise RuntimeError(f"{made.name}: {len(cells)} frames were made, not {made.frames}")
    np.save(truth, cells)
    partial.rename(path)
    return path


def _join(made: Made, pieces: Sequence[Piece], path: Path, folder: Path) -> npt.NDArray[np.uint8]:
    """Encode each scene once, and put them behind one another in a shuffled order."""
    parts, cells = [], []
    for piece in pieces:
        # The name says all that the pixels depend on: files share scenes.
        stem = f"{piece.maker.__name__}-{piece.seed}-{made.height_px}-{made.keyframe_every}"
        part = folder / f"scene-{stem}-{piece.frames}.mp4"
        kept = part.with_suffix(".npy")
        if not kept.exists():
            np.save(kept, _encode(made, [piece], part))
        parts.append(part)
        cells.append(np.load(kept))
    order = made.order
    with av.open(str(path), "w") as target:
        with av.open(str(parts[0])) as source:
            stream = target.add_stream_from_template(source.streams.video[0])
        for place, number in enumerate(order):
            with av.open(str(parts[number])) as source:
                taken = source.streams.video[0]
                shift = Fraction(place * pieces[number].frames, FPS) / taken.time_base
                for packet in source.demux(taken):
                    if packet.pts is None:  # the end of the stream
                        continue
                    packet.pts += int(shift)
                    packet.dts += int(shift)
                    packet.stream = stream
                    target.mux(packet)
    return np.concatenate([cells[number] for number in order])


def _order(kinds: int, wanted: int) -> list[int]:
    """Every kind as often as every other, in rounds that are shuffled."""
    dice = Random(kinds)
    order: list[int] = []
    while len(order) < wanted:
        order += dice.sample(range(kinds), kinds)
    return order[:wanted]


def _encode(made: Made, pieces: Sequence[Piece], path: Path) -> npt.NDArray[np.uint8]:
    cells = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream(made.codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = made.width_px, made.height_px, "yuv420p"
        stream.options = {**OPTIONS[made.codec], "g": str(made.keyframe_every)}
        for picture in _pictures(made, pieces):
            cells.append(grid(picture).round().astype(np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return np.stack(cells)


def _pictures(made: Made, pieces: Sequence[Piece]) -> Iterator[npt.NDArray[np.uint8]]:
    for piece in pieces:
        paint = scene(
            piece.maker, width_px=made.width_px, height_px=made.height_px, seed=piece.seed
        )
        for number in range(piece.frames):
            yield paint(number)
