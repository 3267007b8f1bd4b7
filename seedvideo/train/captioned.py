"""Questions about photos, made by rule from what people wrote of them.

    when       a caption of one slide: when is it shown? Or of a photo that is not there
    happened   is there a dog? As often no as yes, and by the same nouns
    what       which of these captions tells what is shown
    doing      what somebody is doing, in the caption's own words
    colour     of a thing that a caption gives a colour
    count      how many of a thing there are, where a caption counts them

An answer is only as good as the caption: people leave things out. So ``no`` is said only of nouns
that none of five captions has. Knows nothing of pixels.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from seedvideo.evaluate.nouns import main_nouns, nouns
from seedvideo.evaluate.synthetic.questions import Kind, Question
from seedvideo.evaluate.synthetic.story import COUNT_WORDS, article
from seedvideo.train.photos import Photo
from seedvideo.train.samples import clean, mirror

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
    kind: Kind, text: str, answer: str, options: Sequence[str], about: tuple[int, ...] = (0,)
) -> Question:
    """About the only slide, unless said otherwise."""
    texts = tuple(str(option) for option in options)
    return Question(kind=kind, text=text, answer=answer, options=texts, about=about)


def _shuffled(values: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(str(values[int(index)]) for index in rng.permutation(len(values)))
