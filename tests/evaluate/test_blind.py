"""A blind model is asked the same, about grey pictures of the same sizes."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from seedvideo.evaluate.runner import GREY, make_blind
from seedvideo.model.backends.base import ImagePart, Part, interleave
from tests.synthetic_clips import COLOURS, ColourModel


def frame(colour: str, height_px: int) -> np.ndarray[Any, Any]:
    return np.full((height_px, 32, 3), COLOURS[colour], np.uint8)


PARTS = interleave([(Fraction(0), frame("red", 16)), (Fraction(1), frame("blue", 48))], "What?")


def test_pictures_are_grey_and_nothing_else_changes() -> None:
    model = ColourModel()
    seen = make_blind(model)
    answer = seen.generate(PARTS)
    (parts,) = model.seen
    assert [part.text for part in parts if not isinstance(part, ImagePart)] == [
        part.text for part in PARTS if not isinstance(part, ImagePart)
    ]
    pictures = [part.pixels for part in parts if isinstance(part, ImagePart)]
    assert [picture.shape for picture in pictures] == [(16, 32, 3), (48, 32, 3)]
    assert all((picture == GREY).all() for picture in pictures)
    assert answer.usage.visual_tokens == (16 + 48) * 32 // 16**2
    assert (seen.name, seen.sha256, seen.geometry) == (model.name, model.sha256, model.geometry)
    assert seen.count_text_tokens("one two") == model.count_text_tokens("one two")
    assert seen.frame_text_tokens(Fraction(1, 2)) == model.frame_text_tokens(Fraction(1, 2))


def test_a_model_that_chooses_and_points_still_does() -> None:
    class Choosing(ColourModel):
        def choose(self, parts: Sequence[Part], candidates: Sequence[str], **options: Any) -> Any:
            greys = [(p.pixels == GREY).all() for p in parts if isinstance(p, ImagePart)]
            return greys, list(candidates), options

        can_point = True

        def point(self, parts: Sequence[Part], **options: Any) -> Any:
            greys = [(p.pixels == GREY).all() for p in parts if isinstance(p, ImagePart)]
            return greys, options

    seen: Any = make_blind(Choosing())
    assert seen.choose(PARTS, ["a", "b"], task="ask") == (
        [True, True],
        ["a", "b"],
        {"task": "ask"},
    )
    assert seen.can_point
    assert seen.point(PARTS, task="ground") == ([True, True], {"task": "ground"})
    assert not hasattr(make_blind(ColourModel()), "choose")
