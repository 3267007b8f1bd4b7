"""Made films with known cuts, dissolves, fades, flashes and camera motion, for `shots.py`.

A film is a row of scenes: textures with moving things in them, filmed by a moving camera with a
little grain. Between two scenes lies a transition of a known kind and span. Some scenes hold
something that is not a transition: a flash, a change of the light, a whip pan, a zoom, a shake, or
something that passes close to the camera. Everything follows from the seed.

Does nothing as a script.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

import av
import cv2
import numpy as np
import numpy.typing as npt

FPS: Final = 25
WIDTH_PX, HEIGHT_PX = 320, 180
_WORLD_PX: Final = (900, 540)
"""Width and height of the picture that the camera of a scene moves over."""

_SCENE_S: Final = (2.2, 5.5)
"""Range of the length of a scene, without transitions."""

_FAST_SCENE_S: Final = (0.2, 2.0)
"""The same in a film that is cut fast."""

_Value = TypeVar("_Value")

Kind: TypeAlias = Literal["cut", "dissolve", "fade"]
Distractor: TypeAlias = Literal["flash", "light", "pan", "zoom", "shake", "passer"]
Picture: TypeAlias = npt.NDArray[np.float32]

KINDS: Final[tuple[Kind, ...]] = ("cut", "dissolve", "fade")
DISTRACTORS: Final[tuple[Distractor, ...]] = ("flash", "light", "pan", "zoom", "shake", "passer")


@dataclass(frozen=True)
class Transition:
    """One transition: frames ``[first, end)`` that mix two scenes; none for a cut at ``first``."""

    kind: Kind
    first: int
    end: int

    @property
    def start_s(self) -> float:
        """Time of its first frame; of a cut, of the first frame of the new scene."""
        return self.first / FPS

    @property
    def end_s(self) -> float:
        """Time after its last frame."""
        return self.end / FPS


@dataclass(frozen=True)
class Film:
    """One made film.

    Args:
        path: the file.
        transitions: its transitions, in order.
        distractors: kind, first frame and end of what is not a transition.
        frames: number of frames.
    """

    path: Path
    transitions: tuple[Transition, ...]
    distractors: tuple[tuple[Distractor, int, int], ...]
    frames: int


class _Scene:
    """One scene: a world, a camera and things that move."""

    def __init__(self, dice: np.random.Generator, frames: int, distractor: Distractor | None):
        self._dice = dice
        self._world = _paint_world(dice)
        self._things = [
            (
                _colour(dice),
                dice.uniform(0.2, 0.8, 2),
                dice.normal(0, 0.06, 2),
                dice.uniform(0.04, 0.12),
            )
            for _ in range(int(dice.integers(1, 4)))
        ]
        self._drift = dice.normal(0, 6, 2) * (dice.random() < 0.7)
        self._zoom = dice.uniform(1.1, 1.6)
        self.distractor = distractor
        middle = frames // 2
        length = {"flash": dice.integers(1, 6), "light": dice.integers(2, 20), "passer": 14}.get(
            str(distractor), dice.integers(10, 24)
        )
        self.first = middle - int(length) // 2
        self.end = self.first + int(length)
        self._sign = dice.choice([-1, 1])

    def picture(self, number: int) -> Picture:
        """Return frame ``number`` of the scene, ``(H, W, 3)``, 0 to 255."""
        seconds = number / FPS
        inside = self.distractor is not None and self.first <= number < self.end
        progress = np.clip((number - self.first) / max(1, self.end - self.first), 0, 1)
        zoom = self._zoom
        shift = self._drift * seconds
        smooth = progress * progress * (3 - 2 * progress)
        if self.distractor == "pan":
            shift = shift + np.array([self._sign * 330.0, 0]) * (smooth - 0.5)
        if self.distractor == "zoom":
            zoom = zoom * (1 + 0.9 * smooth)
        if self.distractor == "shake" and inside:
            shift = shift + self._dice.normal(0, 9, 2)
        centre = np.array(_WORLD_PX) / 2 + shift
        matrix = np.array(
            [[1 / zoom, 0, centre[0] - WIDTH_PX / 2 / zoom],
             [0, 1 / zoom, centre[1] - HEIGHT_PX / 2 / zoom]]
        )  # fmt: skip
        picture = cv2.warpAffine(
            self._world,
            matrix,
            (WIDTH_PX, HEIGHT_PX),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        for colour, place, speed, size in self._things:
            x, y = (place + speed * seconds) % 1.2 - 0.1
            cv2.circle(
                picture,
                (int(x * WIDTH_PX), int(y * HEIGHT_PX)),
                int(size * HEIGHT_PX),
                colour,
                -1,
                cv2.LINE_AA,
            )
        if self.distractor == "passer" and inside:
            left = int((progress * 1.9 - 0.7) * WIDTH_PX)
            cv2.rectangle(
                picture, (left, 0), (left + int(0.6 * WIDTH_PX), HEIGHT_PX), (40, 35, 30), -1
            )
        if self.distractor == "flash" and inside:
            picture = picture * 0.25 + 190
        if self.distractor == "light":
            picture = picture * (1 - 0.55 * smooth)
        return picture


def make_film(path: Path, seed: int, *, scenes: int = 28, is_fast: bool = False) -> Film:
    """Write a film, or read what it holds if the file is there.

    Args:
        path: the file.
        seed: number of the film.
        scenes: number of scenes.
        is_fast: whether it has cuts only, between short scenes.
    """
    dice = np.random.default_rng([7, seed])
    kinds = _shuffled(dice, ("cut",) if is_fast else KINDS, scenes - 1)
    distractors = _shuffled(dice, (*DISTRACTORS, *DISTRACTORS, None, None, None), scenes)
    if is_fast:
        distractors = [None] * scenes
    plan: list[tuple[int, Kind | None, int]] = []
    for number in range(scenes):
        frames = int(dice.uniform(*(_FAST_SCENE_S if is_fast else _SCENE_S)) * FPS)
        kind = kinds[number] if number < scenes - 1 else None
        length = {
            "dissolve": int(dice.choice([8, 12, 25, 38, 50])),
            "fade": 2 * int(dice.choice([6, 10, 16, 25])) + int(dice.choice([0, 3, 12])),
        }.get(str(kind), 0)
        plan.append((frames, kind, length))
    transitions, marks, total = [], [], 0
    pictures: list[tuple[Picture, ...]] = []
    before = 0
    made: list[_Scene] = []
    for number, (frames, kind, length) in enumerate(plan):
        scene = _Scene(dice, before + frames, distractors[number])
        made.append(scene)
        start = total - before
        if scene.distractor is not None:
            marks.append((scene.distractor, start + scene.first, start + scene.end))
        total += frames
        if kind is not None:
            transitions.append(Transition(kind, total, total + length))
        total += length
        before = length
    film = Film(path, tuple(transitions), tuple(marks), total)
    del pictures
    if not path.exists():
        _write(film, made, plan, np.random.default_rng([8, seed]))
    return film


def _write(
    film: Film,
    scenes: list[_Scene],
    plan: list[tuple[int, Kind | None, int]],
    dice: np.random.Generator,
) -> None:
    with av.open(str(film.path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "24", "g": "125"}
        stream.time_base = Fraction(1, FPS)
        grain = [dice.normal(0, 2, (HEIGHT_PX, WIDTH_PX, 1)).astype(np.float32) for _ in range(8)]
        for number, picture in enumerate(_pictures(scenes, plan)):
            grey = np.clip(picture + grain[number % 8], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())


def _pictures(scenes: list[_Scene], plan: list[tuple[int, Kind | None, int]]) -> Iterator[Picture]:
    """Yield all frames of a film."""
    offset = 0
    for number, (frames, kind, length) in enumerate(plan):
        scene = scenes[number]
        for i in range(frames):
            yield scene.picture(offset + i)
        for i in range(length):
            mixed = (i + 1) / (length + 1)
            old = scene.picture(offset + frames + i)
            new = scenes[number + 1].picture(i)
            if kind == "dissolve":
                yield old * np.float32(1 - mixed) + new * np.float32(mixed)
            else:
                # Out, a dark moment in some, and in.
                bright = max(0.0, abs(2 * mixed - 1) * 1.1 - 0.1)
                yield (old if mixed < 0.5 else new) * np.float32(bright)
        offset = length


def _paint_world(dice: np.random.Generator) -> Picture:
    width_px, height_px = _WORLD_PX
    world = np.zeros((height_px, width_px, 3), np.float32) + dice.uniform(60, 170, 3)
    for across, strength in ((4, 45), (14, 30), (60, 18), (200, 10)):
        rows = max(2, across * height_px // width_px)
        noise = dice.normal(0, strength, (rows, across, 3)).astype(np.float32)
        world += cv2.resize(noise, _WORLD_PX, interpolation=cv2.INTER_CUBIC)
    for _ in range(int(dice.integers(8, 30))):
        x, y = (int(dice.uniform(0, side)) for side in _WORLD_PX)
        w, h = (int(dice.uniform(15, 120)) for _ in range(2))
        colour = _colour(dice)
        if dice.random() < 0.5:
            cv2.rectangle(world, (x, y), (x + w, y + h), colour, -1)
        else:
            cv2.ellipse(world, (x, y), (w, h), 0, 0, 360, colour, -1, cv2.LINE_AA)
    return np.clip(world, 0, 255).astype(np.float32)


def _colour(dice: np.random.Generator) -> tuple[float, ...]:
    return tuple(float(value) for value in dice.uniform(10, 245, 3))


def _shuffled(dice: np.random.Generator, values: Sequence[_Value], count: int) -> list[_Value]:
    """Return so many of the values, each about equally often, in random order."""
    repeated = [values[i % len(values)] for i in range(count)]
    return [repeated[i] for i in dice.permutation(count)]
