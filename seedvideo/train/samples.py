"""What the embedded model is shown: photos as stills, clips and slideshows, and what to answer.

    still       one view of one photo; all its captions are answers
    clip        several views of one photo, as a camera that moves a little; the same answers
    slideshow   several photos one after the other; the answer tells them in order
    name        one photo of one ImageNet class; asked for its name, not for a description

Times are made up as a sampler would report them. Knows nothing of tensors.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from seedvideo.tasks.caption import CAPTION_PROMPT, THEN
from seedvideo.train.photos import Photo
from seedvideo.train.views import View

NAME_PROMPT = "Name the main object."
"""Asked of photos of which only a name is known, so that captions stay what people write."""

_STILLS, _CLIPS = 0.76, 0.09
_NAMED = 0.05
_USUAL_AREA_PX = 256 * 256

_SIDES = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Row:
    """One sequence to learn.

    Args:
        frames: pairs of photo index and view index, in time order.
        times: presentation time of each frame.
        answers: texts, any of which is right.
        prompt: what is asked.
    """

    frames: tuple[tuple[int, int], ...]
    times: tuple[Fraction, ...]
    answers: tuple[str, ...]
    prompt: str = CAPTION_PROMPT


def clean(caption: str) -> str:
    """A caption as the model should write it: lower case, no full stop, usual spacing."""
    text = caption.lower().replace('"', " ")
    text = re.sub(r"\s+([,.;:!?'])", r"\1", text)
    text = re.sub(r"\s+", " ", text).strip()
    return text.rstrip(" .!;:,")


def mirror(text: str) -> str:
    """Swap left and right, for a photo that is mirrored."""
    return re.sub(r"\b(left|right)\b", lambda match: _SIDES[match.group()], text)


def speaks_of_sides(text: str) -> bool:
    """Whether a mirrored photo would make the text wrong."""
    return re.search(r"\b(left|right)\b", text) is not None


class Sampler:
    """Draws rows at random.

    Args:
        photos: captioned photos first, named ones after them, in the order of the views' rows.
        views: views of one or several sizes.
        seed: start of all randomness; together with the step it fixes the rows.
    """

    def __init__(self, photos: Sequence[Photo], views: Sequence[View], *, seed: int):
        self._answers = [tuple(clean(text) for text in photo.captions) for photo in photos]
        self._captioned = [index for index, photo in enumerate(photos) if not photo.is_name]
        self._named = [index for index, photo in enumerate(photos) if photo.is_name]
        self._names = frozenset(self._named)
        self._views = views
        self._by_size: dict[tuple[int, int], list[int]] = {}
        for index, view in enumerate(views):
            self._by_size.setdefault(view.size_px, []).append(index)
        self._seed = seed

    def draw(self, step: int, *, stills: int, least: int = 1) -> list[Row]:
        """Rows for one step, all frames of one size.

        Args:
            step: decides the kind and the content, together with the seed.
            stills: photos in a step of stills at 256x256 px; larger views and other kinds get as
                many rows as cost about the same.
            least: rows of a step of any kind; there must be one for each process of a team.

        Returns:
            Rows of one kind (names go with stills).
        """
        rng = np.random.default_rng([self._seed, step])
        # By the number of views, so that all views are seen equally often.
        seed_view = int(rng.integers(len(self._views)))
        pool = self._by_size[self._views[seed_view].size_px]
        kind = rng.random()
        height_px, width_px = self._views[seed_view].size_px
        affordable = max(least, round(stills * min(1.0, _USUAL_AREA_PX / (height_px * width_px))))
        if kind < _STILLS:
            return self._stills(rng, seed_view, self._turn(step, stills)[:affordable])
        frames = affordable * 3 // 2
        if kind < _STILLS + _CLIPS:
            return _until_enough(lambda: self._clip(rng, pool), frames, least)
        return _until_enough(lambda: self._slideshow(rng, pool), frames, least)

    def _turn(self, step: int, count: int) -> list[int]:
        """The captioned photos whose turn it is: an epoch of stills alone goes through all."""
        steps_an_epoch = max(1, len(self._captioned) // count)
        epoch, turn = divmod(step, steps_an_epoch)
        order = np.random.default_rng([self._seed, epoch, 2]).permutation(self._captioned)
        return [int(photo) for photo in order[turn * count : (turn + 1) * count]]

    def _stills(self, rng: np.random.Generator, view: int, photos: list[int]) -> list[Row]:
        if self._named:
            names = int(rng.binomial(len(photos), _NAMED))
            photos = [*photos[names:], *rng.choice(self._named, names).tolist()]
        rows = []
        for photo in photos:
            is_flipped = bool(self._views[view].flips[photo])
            answers = self._answers[photo]
            if is_flipped:
                answers = tuple(mirror(text) for text in answers)
            start = Fraction(0) if rng.random() < 0.5 else _random_time(rng)
            prompt = NAME_PROMPT if photo in self._names else CAPTION_PROMPT
            rows.append(Row(((photo, view),), (start,), answers, prompt))
        return rows

    def _clip(self, rng: np.random.Generator, pool: list[int]) -> Row:
        count = int(rng.choice([2, 3, 4, 6, 8, 12, 16], p=[0.2, 0.2, 0.2, 0.15, 0.1, 0.1, 0.05]))
        photo = int(rng.choice(self._captioned))
        frames = tuple((photo, int(rng.choice(pool))) for _ in range(count))
        answers = self._without_sides(photo)
        return Row(frames, _times(rng, count), answers)

    def _slideshow(self, rng: np.random.Generator, pool: list[int]) -> Row:
        shots = int(rng.choice([2, 3, 4], p=[0.35, 0.45, 0.2]))
        longest = int(rng.choice([1, 2, 4], p=[0.3, 0.5, 0.2]))
        photos = rng.choice(self._captioned, shots, replace=False).tolist()
        frames: list[tuple[int, int]] = []
        for photo in photos:
            for _ in range(int(rng.integers(1, longest + 1))):
                frames.append((photo, int(rng.choice(pool))))
        told = [self._without_sides(photo) for photo in photos]
        answers = tuple(
            THEN.join(captions[int(rng.integers(len(captions)))] for captions in told)
            for _ in range(2)
        )
        return Row(tuple(frames), _times(rng, len(frames)), answers)

    def _without_sides(self, photo: int) -> tuple[str, ...]:
        """Answers that hold for mirrored views too; all of them if none does."""
        answers = self._answers[photo]
        return tuple(text for text in answers if not speaks_of_sides(text)) or answers


def _until_enough(draw: Callable[[], Row], frames: int, least: int) -> list[Row]:
    """Draw rows until they hold ``frames`` frames and are ``least`` rows, one at least."""
    rows = [draw()]
    while sum(len(row.frames) for row in rows) < frames or len(rows) < least:
        rows.append(draw())
    return rows


def _random_time(rng: np.random.Generator) -> Fraction:
    return Fraction(int(10 ** rng.uniform(1, 3.5)), 10)


def _times(rng: np.random.Generator, count: int) -> tuple[Fraction, ...]:
    """Rising times with a spacing of 0.2 to 12 s, most from the start of a video."""
    spacing = Fraction(int(10 ** rng.uniform(0.3, 2.1)), 10)
    start = Fraction(0) if rng.random() < 0.8 else _random_time(rng)
    return tuple(start + spacing * index for index in range(count))
