"""Training data of the answer branch: questions from photo captions, and rendered synthetic scenes.

Questions about photos are made by rule from human captions:

    when       a caption of one slide: when is it shown? Or of a photo that is not there
    happened   is there a dog? "no" as often as "yes", with the same nouns
    what       which of these captions describes the photo
    doing      what a person or animal is doing, in the caption's own words
    colour     of a thing that has a colour in a caption
    count      how many of a thing there are, if a caption counts them

An answer is only as good as the caption, and captions are incomplete. So ``no`` is the answer only
for nouns in none of five captions.

`SceneDataset` renders scenes of the synthetic world: one background each, with several events on
it. A scene has the shape of a video and is rendered at the sizes that a plan of the nano model
could use, so no frame size is new to a model trained on scenes.
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
from seedvideo.training.data import Photo, mirror_text, normalize_caption
from seedvideo.training.export import NANO_GEOMETRY
from seedvideo.utils.timecode import Span

_SUBJECTS: Final = (
    "man|woman|boy|girl|dog|child|person|baby|kid|lady|guy|player|cyclist|skier|surfer"
)
_DOING: Final = re.compile(
    rf"\b\w+ (?:\w+ )?({_SUBJECTS})(?: \w+){{0,4}}? (?:is )?"
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
_NOT_VERBS: Final = frozenset(
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
_MAX_OPTIONS: Final = 4
_MAX_ABSENT: Final = 4


@dataclass(frozen=True)
class PhotoAnnotations:
    """Human captions of one photo.

    Args:
        captions: normalized captions.
        main_nouns: nouns of at least two captions.
        all_nouns: nouns of any caption.
    """

    captions: tuple[str, ...]
    main_nouns: frozenset[str]
    all_nouns: frozenset[str]

    @classmethod
    def of(cls, photo: Photo) -> "PhotoAnnotations":
        """Annotate a photo from its captions."""
        captions = tuple(normalize_caption(text) for text in photo.captions)
        all_nouns = frozenset(noun for text in captions for noun in nouns(text))
        return cls(captions, main_nouns(photo.captions), all_nouns)


def make_photo_questions(
    slides: Sequence[PhotoAnnotations],
    mirrored: Sequence[bool],
    distractors: Sequence[PhotoAnnotations],
    rng: np.random.Generator,
) -> list[Question]:
    """Make questions about slides in their order.

    Args:
        slides: annotations of the photos shown.
        mirrored: whether each is shown mirrored.
        distractors: annotations of photos that are not shown.
        rng: source of all randomness.
    """
    asked: list[Question] = []
    for i, slide in enumerate(slides):
        if _is_distinctive(slide, [s for at, s in enumerate(slides) if at != i]):
            asked.append(
                _make_when_question(_draw_caption(slide, rng, is_mirrored=mirrored[i]), (i,))
            )
            asked.append(
                _make_when_question(_draw_caption(slide, rng, is_mirrored=mirrored[i]), (i,))
            )
    # Distractors resemble the slides. If absent questions were only about other things, a model
    # would learn to find whatever is similar.
    for other in distractors[:_MAX_ABSENT]:
        if _is_distinctive(other, slides):
            asked.append(_make_when_question(_draw_caption(other, rng), ()))
    asked += _make_presence_questions(slides, distractors, rng)
    if len(slides) == 1:
        asked += _make_single_photo_questions(slides[0], rng, is_mirrored=mirrored[0])
        answer = _draw_caption(slides[0], rng, is_mirrored=mirrored[0])
        asked.append(_make_which_question(answer, distractors, rng))
    return asked


def _draw_caption(
    photo_annotations: PhotoAnnotations, rng: np.random.Generator, *, is_mirrored: bool = False
) -> str:
    text = photo_annotations.captions[int(rng.integers(len(photo_annotations.captions)))]
    return mirror_text(text) if is_mirrored else text


def _is_distinctive(slide: PhotoAnnotations, others: Sequence[PhotoAnnotations]) -> bool:
    """Return whether a slide's main nouns are not all in another slide."""
    return bool(slide.main_nouns) and all(
        not slide.main_nouns <= other.all_nouns for other in others
    )


def _make_when_question(text: str, spans: tuple[int, ...]) -> Question:
    return Question(kind="when", text=text, answer="", about=spans, spans=spans)


def _make_presence_questions(
    slides: Sequence[PhotoAnnotations],
    distractors: Sequence[PhotoAnnotations],
    rng: np.random.Generator,
) -> list[Question]:
    there = sorted(set().union(*(slide.main_nouns for slide in slides)))
    mentioned = frozenset().union(*(slide.all_nouns for slide in slides))
    absent = sorted(set().union(*(other.main_nouns for other in distractors)) - mentioned)
    asked = []
    of_each = min(len(there), len(absent), 2)
    for words, answer in ((there, "yes"), (absent, "no")):
        for word in rng.permutation(words)[:of_each]:
            about = tuple(at for at, slide in enumerate(slides) if word in slide.all_nouns)
            text = f"Is there {article(word)} {word}?"
            asked.append(_make_question("happened", text, answer, ("yes", "no"), about))
    return asked


def _make_single_photo_questions(
    photo_annotations: PhotoAnnotations, rng: np.random.Generator, *, is_mirrored: bool
) -> list[Question]:
    asked = []
    for caption in photo_annotations.captions:
        text = mirror_text(caption) if is_mirrored else caption
        doing = _DOING.search(text)
        if doing is not None and doing[2].split()[0] not in _NOT_VERBS:
            action = " ".join(doing[2].split()[:_ACTION_WORDS])
            asked.append(_make_question("what", f"What is the {doing[1]} doing?", action, ()))
        for colour, thing in _COLOURED.findall(text)[:2]:
            name = "grey" if colour == "gray" else colour
            if thing in _COLOUR_WORDS or thing == "and":
                continue
            asked.append(
                _make_question(
                    "colour", f"What colour is the {thing}?", name, _draw_colour_options(name, rng)
                )
            )
        counted = _COUNTED.search(text)
        if counted is not None:
            wrong = [word for word in COUNT_WORDS[1:6] if word != counted[1]]
            options = _shuffle([counted[1], *rng.permutation(wrong)[: _MAX_OPTIONS - 1]], rng)
            asked.append(
                _make_question("count", f"How many {counted[2]} are there?", counted[1], options)
            )
    order = rng.permutation(len(asked))[:4]
    return [asked[int(index)] for index in order]


def _draw_colour_options(answer: str, rng: np.random.Generator) -> tuple[str, ...]:
    wrong = [word for word in _COLOUR_WORDS if word != answer]
    return _shuffle([answer, *rng.permutation(wrong)[: _MAX_OPTIONS - 1]], rng)


def _make_which_question(
    answer: str, distractors: Sequence[PhotoAnnotations], rng: np.random.Generator
) -> Question:
    wrong = dict.fromkeys(_draw_caption(other, rng) for other in distractors)
    options = [text for text in wrong if text != answer][: int(rng.integers(1, _MAX_OPTIONS))]
    return _make_question(
        "what", "What does the video show?", answer, _shuffle([answer, *options], rng)
    )


def _make_question(
    kind: QuestionKind,
    text: str,
    answer: str,
    options: Sequence[str],
    about: tuple[int, ...] = (0,),
) -> Question:
    """Make a question about the only slide, unless ``about`` names others."""
    texts = tuple(str(option) for option in options)
    return Question(kind=kind, text=text, answer=answer, options=texts, about=about)


def _shuffle(values: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(str(values[int(index)]) for index in rng.permutation(len(values)))


Pixels = NDArray[np.uint8]
FrameId = tuple[int, int, int]
"""Height and width of a frame in pixels, and its index among the frames of that size."""

PHASES: Final = 5
"""Frames of a moving thing."""

EVENTS: Final = 8
"""Events of one scene; no story needs more."""

_VIDEO_SIZES: Final = {
    (384, 640): 0.35,
    (720, 1280): 0.25,
    (480, 640): 0.12,
    (480, 480): 0.08,
    (1280, 720): 0.08,
    (640, 480): 0.06,
    (800, 1920): 0.06,
}
"""Heights and widths of videos in pixels, with the fraction of scenes."""

_ANY_SPAN: Final = Span(Fraction(0), Fraction(1))
_PHOTO_FRACTION: Final = 0.4
_SEVERAL_SIZES_FRACTION: Final = 0.6
_JPEG_FRACTION: Final = 0.6
_JPEG_QUALITIES: Final = (35, 92)


@dataclass(frozen=True)
class SceneEvent:
    """One event of a scene.

    Args:
        event: the event; its span is unused.
        frames: for each size of the scene, the frames in order.
    """

    event: Event
    frames: tuple[tuple[FrameId, ...], ...]


@dataclass(frozen=True)
class Scene:
    """One background and the events on it.

    Args:
        quiet: for each size of the scene, the frame without an event.
        events: events of different things.
    """

    quiet: tuple[FrameId, ...]
    events: tuple[SceneEvent, ...]

    def shifted(self, by: dict[tuple[int, int], int]) -> "Scene":
        """Return the scene with frame indices increased by an offset per size."""

        def on(frame: FrameId) -> FrameId:
            return (frame[0], frame[1], frame[2] + by[frame[:2]])

        events = tuple(
            SceneEvent(each.event, tuple(tuple(map(on, group)) for group in each.frames))
            for each in self.events
        )
        return Scene(tuple(map(on, self.quiet)), events)


@dataclass(frozen=True)
class RenderedScene:
    """A rendered scene that was not encoded yet.

    Args:
        scene: the scene; its frame indices start at 0 for each size.
        pictures: for each size ``(n, h, w, 3)`` uint8 RGB.
    """

    scene: Scene
    pictures: dict[tuple[int, int], Tensor]


class SceneDataset(Dataset[RenderedScene]):
    """Scenes by index; each depends only on the seed and its index.

    Args:
        photos: images; some scenes have one as their background.
        count: number of scenes.
        seed: seed of all randomness.
        moves: whether things may move, and scenes have several sizes; without, more events are
            encoded in the same time.
        things: things that scenes may contain.
    """

    def __init__(
        self,
        photos: Sequence[Pixels],
        *,
        count: int,
        seed: int,
        moves: bool,
        things: Sequence[ColouredShape],
    ):
        self._photos, self._count, self._seed = photos, count, seed
        self._moves, self._things = moves, things

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> RenderedScene:
        rng = np.random.default_rng([self._seed, number, 5])
        pictures: dict[tuple[int, int], list[Pixels]] = {}

        def keep(pixels: Pixels) -> FrameId:
            size = (pixels.shape[0], pixels.shape[1])
            pictures.setdefault(size, []).append(_degrade(rng, pixels))
            return (*size, len(pictures[size]) - 1)

        sizes = _draw_sizes(rng, several=self._moves and rng.random() < _SEVERAL_SIZES_FRACTION)
        bases = self._bases(rng, sizes)
        events = []
        for thing in draw_coloured_shapes(rng, EVENTS, among=self._things):
            event = draw_event(rng, thing, _ANY_SPAN, may_move=self._moves)
            steps = PHASES if event.motion != "still" else 1
            progress = [(step + rng.uniform(0.2, 0.8)) / steps for step in range(steps)]
            frames = tuple(
                tuple(keep(render_event(base, event, fraction)) for fraction in progress)
                for base in bases
            )
            events.append(SceneEvent(event, frames))
        scene = Scene(tuple(keep(base) for base in bases), tuple(events))
        stacked = {size: torch.from_numpy(np.stack(each)) for size, each in pictures.items()}
        return RenderedScene(scene, stacked)

    def _bases(self, rng: np.random.Generator, sizes: Sequence[tuple[int, int]]) -> list[Pixels]:
        """Draw one background, at several sizes."""
        height_px, width_px = sizes[-1]
        if self._photos and rng.random() < _PHOTO_FRACTION:
            picture = Image.fromarray(self._photos[int(rng.integers(len(self._photos)))])
        else:
            picture = Image.fromarray(background(rng, height_px=height_px, width_px=width_px))
        return [np.asarray(picture.resize(size[::-1], Image.Resampling.BICUBIC)) for size in sizes]


def _draw_sizes(rng: np.random.Generator, *, several: bool) -> list[tuple[int, int]]:
    """Draw the heights and widths at which one video may be shown, smallest first; one, or all."""
    shapes = list(_VIDEO_SIZES)
    height_px, width_px = shapes[int(rng.choice(len(shapes), p=list(_VIDEO_SIZES.values())))]
    sizes = []
    for level in reversed(NANO_GEOMETRY.levels_tokens):
        wide, high = NANO_GEOMETRY.size(width_px=width_px, height_px=height_px, level_tokens=level)
        sizes.append((high, wide))
    return sizes if several else [sizes[int(rng.choice(len(sizes), p=[0.6, 0.2, 0.2]))]]


def _degrade(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Degrade a frame as compression does: noise or blocks, and a brightness error."""
    noise = rng.standard_normal(pixels.shape[:2], dtype=np.float32)[..., None] * rng.uniform(0, 5)
    worn = np.clip(pixels * rng.uniform(0.93, 1.07) + noise, 0, 255).astype(np.uint8)
    if rng.random() >= _JPEG_FRACTION:
        return worn
    coded = BytesIO()
    Image.fromarray(worn).save(coded, "JPEG", quality=int(rng.integers(*_JPEG_QUALITIES)))
    return np.asarray(Image.open(coded))
