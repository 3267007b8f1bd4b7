"""Scenes of the synthetic world as pictures: one background each, with several events on it.

A scene has the shape of a video and is seen at the sizes that a plan of the nano model could show
it at, so that no size of frame is new to a model that learned from scenes. Knows nothing of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from seedvideo.evaluate.synthetic.picture import background, show
from seedvideo.evaluate.synthetic.story import Event, draw_event, draw_things
from seedvideo.evaluate.synthetic.things import Thing
from seedvideo.media.timeline import Span
from seedvideo.train.export import NANO_GEOMETRY

Pixels = NDArray[np.uint8]
FrameId = tuple[int, int, int]
"""Height and width of a frame in pixels, and its row among the frames of that size."""

PHASES: Final = 5
"""Frames of a thing that moves."""

EVENTS: Final = 8
"""Events of one scene; no story needs as many."""

_SHAPES: Final = {
    (384, 640): 0.35,
    (720, 1280): 0.25,
    (480, 640): 0.12,
    (480, 480): 0.08,
    (1280, 720): 0.08,
    (640, 480): 0.06,
    (800, 1920): 0.06,
}
"""Heights and widths of videos, with the share of scenes."""

_MOMENT: Final = Span(Fraction(0), Fraction(1))
_PHOTO_SHARE: Final = 0.4
_LARGER_SHARE: Final = 0.6
_CODED_SHARE: Final = 0.6
_QUALITIES: Final = (35, 92)


@dataclass(frozen=True)
class SceneEvent:
    """One event of a scene.

    Args:
        event: what; its span means nothing.
        frames: for each size that the scene was seen at, the frames in their order.
    """

    event: Event
    frames: tuple[tuple[FrameId, ...], ...]


@dataclass(frozen=True)
class Scene:
    """One background and what was put on it.

    Args:
        quiet: for each size that the scene was seen at, the frame without an event.
        events: all of different things.
    """

    quiet: tuple[FrameId, ...]
    events: tuple[SceneEvent, ...]

    def moved(self, by: dict[tuple[int, int], int]) -> "Scene":
        """The same with frames that lie so many rows further on, by their size."""

        def on(frame: FrameId) -> FrameId:
            return (frame[0], frame[1], frame[2] + by[frame[:2]])

        events = tuple(
            SceneEvent(each.event, tuple(tuple(map(on, group)) for group in each.frames))
            for each in self.events
        )
        return Scene(tuple(map(on, self.quiet)), events)


@dataclass(frozen=True)
class Drawn:
    """A scene that nobody has seen yet.

    Args:
        scene: its frames count from 0 for each size.
        pictures: for each size ``(n, h, w, 3)`` uint8 RGB.
    """

    scene: Scene
    pictures: dict[tuple[int, int], Tensor]


class Scenes(Dataset[Drawn]):
    """Scenes by their number; each is the same whenever and wherever it is drawn.

    Args:
        photos: pictures; some scenes have one as their background.
        count: how many scenes.
        seed: start of all randomness.
        moves: whether things may move, and scenes be seen at several sizes; without, more events
            are seen in the same time.
        among: things that scenes may hold.
    """

    def __init__(
        self,
        photos: Sequence[Pixels],
        *,
        count: int,
        seed: int,
        moves: bool,
        among: Sequence[Thing],
    ):
        self._photos, self._count, self._seed = photos, count, seed
        self._moves, self._among = moves, among

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Drawn:
        rng = np.random.default_rng([self._seed, number, 5])
        pictures: dict[tuple[int, int], list[Pixels]] = {}

        def keep(pixels: Pixels) -> FrameId:
            size = (pixels.shape[0], pixels.shape[1])
            pictures.setdefault(size, []).append(_worn(rng, pixels))
            return (*size, len(pictures[size]) - 1)

        sizes = _sizes(rng, several=self._moves and rng.random() < _LARGER_SHARE)
        bases = self._bases(rng, sizes)
        events = []
        for thing in draw_things(rng, EVENTS, among=self._among):
            event = draw_event(rng, thing, _MOMENT, may_move=self._moves)
            steps = PHASES if event.motion != "still" else 1
            progress = [(step + rng.uniform(0.2, 0.8)) / steps for step in range(steps)]
            frames = tuple(
                tuple(keep(show(base, event, share)) for share in progress) for base in bases
            )
            events.append(SceneEvent(event, frames))
        scene = Scene(tuple(keep(base) for base in bases), tuple(events))
        stacked = {size: torch.from_numpy(np.stack(each)) for size, each in pictures.items()}
        return Drawn(scene, stacked)

    def _bases(self, rng: np.random.Generator, sizes: Sequence[tuple[int, int]]) -> list[Pixels]:
        """One background at several sizes."""
        height_px, width_px = sizes[-1]
        if self._photos and rng.random() < _PHOTO_SHARE:
            picture = Image.fromarray(self._photos[int(rng.integers(len(self._photos)))])
        else:
            picture = Image.fromarray(background(rng, height_px=height_px, width_px=width_px))
        return [np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC)) for size in sizes]


def _sizes(rng: np.random.Generator, *, several: bool) -> list[tuple[int, int]]:
    """Heights and widths at which one video may be shown, the smallest first; one, or all."""
    shapes = list(_SHAPES)
    height_px, width_px = shapes[int(rng.choice(len(shapes), p=list(_SHAPES.values())))]
    sizes = []
    for level in reversed(NANO_GEOMETRY.levels_tokens):
        wide, high = NANO_GEOMETRY.size(width_px=width_px, height_px=height_px, level_tokens=level)
        sizes.append((high, wide))
    return sizes if several else [sizes[int(rng.choice(len(sizes), p=[0.6, 0.2, 0.2]))]]


def _worn(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """A frame as compression leaves it: some noise or blocks, and brightness not quite right."""
    noise = rng.standard_normal(pixels.shape[:2], dtype=np.float32)[..., None] * rng.uniform(0, 5)
    worn = np.clip(pixels * rng.uniform(0.93, 1.07) + noise, 0, 255).astype(np.uint8)
    if rng.random() >= _CODED_SHARE:
        return worn
    coded = BytesIO()
    Image.fromarray(worn).save(coded, "JPEG", quality=int(rng.integers(*_QUALITIES)))
    return np.asarray(Image.open(coded))
