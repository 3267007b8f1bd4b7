"""Questions about photos, made by rule from what people wrote of them.

    when       a caption of one slide: when is it shown? Or of a photo that is not there
    happened   is there a dog? As often no as yes, and by the same nouns
    what       which of these captions tells what is shown
    doing      what somebody is doing, in the caption's own words
    colour     of a thing that a caption gives a colour
    count      how many of a thing there are, where a caption counts them

An answer is only as good as the caption: people leave things out. So ``no`` is said only of nouns
that none of five captions has. Knows nothing of pixels.

Scenes of the synthetic world as pictures: one background each, with several events on it.

A scene has the shape of a video and is seen at the sizes that a plan of the nano model could show
it at, so that no size of frame is new to a model that learned from scenes. Knows nothing of models.
"""

import re
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

from seedvideo.evaluate.metrics.nouns import main_nouns, nouns
from seedvideo.evaluate.synthetic.dataset import Question, QuestionKind
from seedvideo.evaluate.synthetic.world import (
    COUNT_WORDS,
    ColouredShape,
    Event,
    article,
    background,
    draw_coloured_shapes,
    draw_event,
    render_event,
)
from seedvideo.training.data import Photo, clean, mirror
from seedvideo.training.export import NANO_GEOMETRY
from seedvideo.utils.timecode import Span

_WHO: Final = "man|woman|boy|girl|dog|child|person|baby|kid|lady|guy|player|cyclist|skier|surfer"
_DOING: Final = re.compile(
    rf"\b\w+ (?:\w+ )?({_WHO})(?: \w+){{0,4}}? (?:is )?"
    r"((?:\w{2,}ing)\b(?: \w+){0,6})"
)
_COLOUR_WORDS: Final = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "white",
    "black",
    "brown",
    "pink",
    "grey",
)
_COLOURED: Final = re.compile(rf"\b({'|'.join(_COLOUR_WORDS)}|gray) (\w+)\b")
_COUNTED: Final = re.compile(r"\b(two|three|four|five) (?:\w+ )?(\w+s|men|women|children|people)\b")
_NO_VERBS: Final = frozenset(
    {
        "clothing",
        "building",
        "something",
        "string",
        "king",
        "ring",
        "railing",
        "morning",
        "evening",
        "during",
        "spring",
        "wing",
        "wedding",
        "sling",
        "swing",
        "crossing",
        "swimming",
    }
)
_ACTION_WORDS: Final = 5
_OPTIONS: Final = 4
_ABSENT: Final = 4


@dataclass(frozen=True)
class Told:
    """What people wrote of one photo.

    Args:
        captions: cleaned.
        main: nouns that at least two captions have.
        every: nouns that any caption has.
    """

    captions: tuple[str, ...]
    main: frozenset[str]
    every: frozenset[str]

    @classmethod
    def of(cls, photo: Photo) -> "Told":
        """Read a photo's captions."""
        captions = tuple(clean(text) for text in photo.captions)
        every = frozenset(noun for text in captions for noun in nouns(text))
        return cls(captions, main_nouns(photo.captions), every)


def ask_photos(
    slides: Sequence[Told],
    mirrored: Sequence[bool],
    elsewhere: Sequence[Told],
    rng: np.random.Generator,
) -> list[Question]:
    """Questions about slides in their order.

    Args:
        slides: what is shown.
        mirrored: whether each is shown left to right.
        elsewhere: photos that are not shown.
        rng: the source of all randomness.
    """
    asked: list[Question] = []
    for place, slide in enumerate(slides):
        if _tells_apart(slide, [s for at, s in enumerate(slides) if at != place]):
            asked.append(_when(_caption(slide, rng, is_mirrored=mirrored[place]), (place,)))
            asked.append(_when(_caption(slide, rng, is_mirrored=mirrored[place]), (place,)))
    # Photos that are elsewhere are much like those that are here; if only other things were asked
    # for in vain, a model would find whatever is alike.
    for other in elsewhere[:_ABSENT]:
        if _tells_apart(other, slides):
            asked.append(_when(_caption(other, rng), ()))
    asked += _is_there(slides, elsewhere, rng)
    if len(slides) == 1:
        asked += _about(slides[0], rng, is_mirrored=mirrored[0])
        answer = _caption(slides[0], rng, is_mirrored=mirrored[0])
        asked.append(_which(answer, elsewhere, rng))
    return asked


def _caption(told: Told, rng: np.random.Generator, *, is_mirrored: bool = False) -> str:
    text = told.captions[int(rng.integers(len(told.captions)))]
    return mirror(text) if is_mirrored else text


def _tells_apart(slide: Told, others: Sequence[Told]) -> bool:
    """Whether its main nouns are not all in another slide."""
    return bool(slide.main) and all(not slide.main <= other.every for other in others)


def _when(text: str, spans: tuple[int, ...]) -> Question:
    return Question(kind="when", text=text, answer="", about=spans, spans=spans)


def _is_there(
    slides: Sequence[Told], elsewhere: Sequence[Told], rng: np.random.Generator
) -> list[Question]:
    there = sorted(set().union(*(slide.main for slide in slides)))
    mentioned = frozenset().union(*(slide.every for slide in slides))
    absent = sorted(set().union(*(other.main for other in elsewhere)) - mentioned)
    asked = []
    of_each = min(len(there), len(absent), 2)
    for words, answer in ((there, "yes"), (absent, "no")):
        for word in rng.permutation(words)[:of_each]:
            about = tuple(at for at, slide in enumerate(slides) if word in slide.every)
            text = f"Is there {article(word)} {word}?"
            asked.append(_plain("happened", text, answer, ("yes", "no"), about))
    return asked


def _about(told: Told, rng: np.random.Generator, *, is_mirrored: bool) -> list[Question]:
    asked = []
    for caption in told.captions:
        text = mirror(caption) if is_mirrored else caption
        doing = _DOING.search(text)
        if doing is not None and doing[2].split()[0] not in _NO_VERBS:
            action = " ".join(doing[2].split()[:_ACTION_WORDS])
            asked.append(_plain("what", f"What is the {doing[1]} doing?", action, ()))
        for colour, thing in _COLOURED.findall(text)[:2]:
            name = "grey" if colour == "gray" else colour
            if thing in _COLOUR_WORDS or thing == "and":
                continue
            asked.append(
                _plain("colour", f"What colour is the {thing}?", name, _colours(name, rng))
            )
        counted = _COUNTED.search(text)
        if counted is not None:
            wrong = [word for word in COUNT_WORDS[1:6] if word != counted[1]]
            options = _shuffled([counted[1], *rng.permutation(wrong)[: _OPTIONS - 1]], rng)
            asked.append(_plain("count", f"How many {counted[2]} are there?", counted[1], options))
    order = rng.permutation(len(asked))[:4]
    return [asked[int(index)] for index in order]


def _colours(answer: str, rng: np.random.Generator) -> tuple[str, ...]:
    wrong = [word for word in _COLOUR_WORDS if word != answer]
    return _shuffled([answer, *rng.permutation(wrong)[: _OPTIONS - 1]], rng)


def _which(answer: str, elsewhere: Sequence[Told], rng: np.random.Generator) -> Question:
    wrong = dict.fromkeys(_caption(other, rng) for other in elsewhere)
    options = [text for text in wrong if text != answer][: int(rng.integers(1, _OPTIONS))]
    return _plain("what", "What does the video show?", answer, _shuffled([answer, *options], rng))


def _plain(
    kind: QuestionKind,
    text: str,
    answer: str,
    options: Sequence[str],
    about: tuple[int, ...] = (0,),
) -> Question:
    """About the only slide, unless said otherwise."""
    texts = tuple(str(option) for option in options)
    return Question(kind=kind, text=text, answer=answer, options=texts, about=about)


def _shuffled(values: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(str(values[int(index)]) for index in rng.permutation(len(values)))


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
        among: Sequence[ColouredShape],
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
        for thing in draw_coloured_shapes(rng, EVENTS, among=self._among):
            event = draw_event(rng, thing, _MOMENT, may_move=self._moves)
            steps = PHASES if event.motion != "still" else 1
            progress = [(step + rng.uniform(0.2, 0.8)) / steps for step in range(steps)]
            frames = tuple(
                tuple(keep(render_event(base, event, share)) for share in progress)
                for base in bases
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
