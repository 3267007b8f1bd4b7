"""Files for the sampling benchmark, with their ground truth.

The ground truth is every painted frame in ``18 x 32`` grey cells, so that a loader's frames can be
compared with the requested ones, whatever the decoder. Long files repeat scenes that are encoded
once. Each scene begins with a keyframe and refers to no other scene, so decoders need no special
treatment.
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
"""Name of the files that differ only in length."""


@dataclass(frozen=True)
class SceneSpec:
    """A scene to paint: its kind, number of frames and seed."""

    maker: Maker
    frames: int
    seed: int


@dataclass(frozen=True)
class VideoSpec:
    """Specification of a file.

    Args:
        name: name of the file, also for ``--only``.
        display_name: name in the tables.
        codec: FFmpeg's name of the encoder.
        width_px: width of the frames.
        height_px: height of the frames.
        keyframe_every: maximum frames from one keyframe to the next.
        kinds: kinds of its scenes.
        scene_s: length of each scene in seconds.
        duration_s: length of the file in seconds.
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
        """Return the path of the file."""
        return folder / f"{self.name}-{self.duration_s}s{'.mkv' if self.is_short else '.mp4'}"

    def truth(self, folder: Path) -> Path:
        """Return the path of its painted frames, ``(N, 18, 32)`` of 8 bits."""
        return self.path(folder).with_suffix(".npy")

    @property
    def is_short(self) -> bool:
        """Whether it is encoded at once, without repeated scenes."""
        return not self.is_h264

    @property
    def is_h264(self) -> bool:
        """Whether its codec is H.264."""
        return self.codec == "libx264"

    @property
    def is_calm(self) -> bool:
        """Whether little moves in all of its scenes."""
        return self.kinds == CALM

    @property
    def title(self) -> str:
        """Description and length, for people."""
        return f"{self.display_name}, {self.duration_s} s"

    @property
    def order(self) -> list[int]:
        """Order of the scenes, as indices of the kinds."""
        kinds = len(self.kinds)
        return (
            list(range(kinds)) if self.is_short else _order(kinds, self.duration_s // self.scene_s)
        )

    @property
    def cuts(self) -> tuple[int, ...]:
        """Indices of the frames after a cut."""
        order, length = self.order, self.scene_s * FPS
        found: list[int] = []
        for i, kind in enumerate(order):
            if i and kind != order[i - 1]:
                found.append(i * length)
            every = CUT_EVERY.get(self.kinds[kind], length)
            found += range(i * length + every, (i + 1) * length, every)
        return tuple(found)

    @property
    def is_growth(self) -> bool:
        """Whether it is one of the files that differ only in length."""
        return self.name == GROWTH

    @property
    def frames(self) -> int:
        """Number of its frames."""
        return self.duration_s * FPS


def files(*, is_quick: bool) -> tuple[VideoSpec, ...]:
    """Return the files of a run; those of a quick run are short."""
    scene_s, minutes10_s, hour_s, short_s = (1, 24, 96, 12) if is_quick else (20, 600, 3600, 60)
    hd, small = (1280, 720), (640, 360)
    cycle_s = len(MIXED) * scene_s
    return (
        VideoSpec(
            "mixed-g60", "720p, mixed, GOP 60", "libx264", *hd, 60, MIXED, scene_s, minutes10_s
        ),
        VideoSpec(
            "mixed-g250", "720p, mixed, GOP 250", "libx264", *hd, 250, MIXED, scene_s, minutes10_s
        ),
        VideoSpec(
            "calm-g250", "720p, calm, GOP 250", "libx264", *hd, 250, CALM, scene_s, minutes10_s
        ),
        VideoSpec(
            "busy-g250", "720p, busy, GOP 250", "libx264", *hd, 250, BUSY, scene_s, minutes10_s
        ),
        VideoSpec("hour", "360p, mixed, GOP 250", "libx264", *small, 250, MIXED, scene_s, hour_s),
        VideoSpec(
            "two-hours", "720p, mixed, GOP 250", "libx264", *hd, 250, MIXED, scene_s, 2 * hour_s
        ),
        VideoSpec("hevc", "720p, HEVC", "libx265", *hd, 250, MIXED, short_s // 12, short_s),
        VideoSpec("vp9", "720p, VP9", "libvpx-vp9", *hd, 250, MIXED, short_s // 12, short_s),
        VideoSpec("av1", "720p, AV1", "libsvtav1", *hd, 250, MIXED, short_s // 12, short_s),
        *(
            # Every kind of scene has the same number of repeats, whatever the length.
            VideoSpec(
                GROWTH, "720p, mixed, GOP 250", "libx264", *hd, 250, MIXED, scene_s, duration_s
            )
            for duration_s in (cycle_s, 2 * cycle_s, 4 * cycle_s)
        ),
    )


def make(spec: VideoSpec, folder: Path) -> Path:
    """Make a file and its ground truth, unless both exist."""
    path, truth = spec.path(folder), spec.truth(folder)
    if path.exists() and truth.exists():
        return path
    partial = path.with_name(f"partial-{path.name}")
    scenes = [SceneSpec(kind, spec.scene_s * FPS, seed=MIXED.index(kind)) for kind in spec.kinds]
    if spec.is_short:
        cells = _encode(spec, scenes, partial)
    else:
        cells = _join(spec, scenes, partial, folder)
    if len(cells) != spec.frames:
        raise RuntimeError(f"{spec.name}: {len(cells)} frames were made, not {spec.frames}")
    np.save(truth, cells)
    partial.rename(path)
    return path


def _join(
    spec: VideoSpec, scenes: Sequence[SceneSpec], path: Path, folder: Path
) -> npt.NDArray[np.uint8]:
    """Encode each scene once, and concatenate them in a shuffled order."""
    parts, cells = [], []
    for each in scenes:
        # The name covers everything that the pixels depend on, so files share scenes.
        stem = f"{each.maker.__name__}-{each.seed}-{spec.height_px}-{spec.keyframe_every}"
        part = folder / f"scene-{stem}-{each.frames}.mp4"
        cells_path = part.with_suffix(".npy")
        if not cells_path.exists():
            np.save(cells_path, _encode(spec, [each], part))
        parts.append(part)
        cells.append(np.load(cells_path))
    order = spec.order
    with av.open(str(path), "w") as target:
        with av.open(str(parts[0])) as source:
            stream = target.add_stream_from_template(source.streams.video[0])
        for i, number in enumerate(order):
            with av.open(str(parts[number])) as source:
                video_stream = source.streams.video[0]
                shift = Fraction(i * scenes[number].frames, FPS) / video_stream.time_base
                for packet in source.demux(video_stream):
                    if packet.pts is None:  # the end of the stream
                        continue
                    packet.pts += int(shift)
                    packet.dts += int(shift)
                    packet.stream = stream
                    target.mux(packet)
    return np.concatenate([cells[number] for number in order])


def _order(kinds: int, count: int) -> list[int]:
    """Return shuffled rounds, each with every kind once."""
    rng = Random(kinds)
    order: list[int] = []
    while len(order) < count:
        order += rng.sample(range(kinds), kinds)
    return order[:count]


def _encode(spec: VideoSpec, scenes: Sequence[SceneSpec], path: Path) -> npt.NDArray[np.uint8]:
    cells = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream(spec.codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = spec.width_px, spec.height_px, "yuv420p"
        stream.options = {**OPTIONS[spec.codec], "g": str(spec.keyframe_every)}
        for picture in _pictures(spec, scenes):
            cells.append(grid(picture).round().astype(np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return np.stack(cells)


def _pictures(spec: VideoSpec, scenes: Sequence[SceneSpec]) -> Iterator[npt.NDArray[np.uint8]]:
    for each in scenes:
        paint = scene(each.maker, width_px=spec.width_px, height_px=spec.height_px, seed=each.seed)
        for number in range(each.frames):
            yield paint(number)
