"""Questions about photos, made by rule from what people wrote of them."""

from collections.abc import Sequence

import numpy as np

from seedvideo.training.answer_data import PhotoAnnotations, make_photo_questions
from seedvideo.training.data import Photo

CAPTIONS = (
    ("A brown dog is running over the grass .", "A dog runs .", "The dog plays .", "a dog", "dog"),
    ("Two men are sitting on a red bench .", "Men on a bench .", "two men", "men sit", "a bench"),
    ("A girl in a blue dress jumps .", "A girl jumps .", "a girl", "the girl", "girl"),
    ("A boat on a lake .", "The boat .", "a boat", "a small boat", "boat on water"),
)
PHOTOS = [Photo(f"photo-{index}", texts) for index, texts in enumerate(CAPTIONS)]
ANNOTATIONS = [PhotoAnnotations.of(photo) for photo in PHOTOS]


def asked_of(slides: Sequence[int]) -> dict[str, str]:
    found: dict[str, str] = {}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        annotations = [ANNOTATIONS[index] for index in slides]
        others = [ANNOTATIONS[index] for index in range(len(ANNOTATIONS)) if index not in slides]
        for question in make_photo_questions(annotations, [False] * len(annotations), others, rng):
            found[question.text] = question.answer
    return found


def test_questions_about_photos_are_answered_by_their_captions() -> None:
    dog = asked_of([0])
    assert dog["What is the dog doing?"] == "running over the grass"
    assert dog["What colour is the dog?"] == "brown"
    assert dog["Is there a dog?"] == "yes"
    assert dog["Is there a boat?"] == "no"
    assert asked_of([1])["How many men are there?"] == "two"


def test_photos_are_asked_about_as_often_in_vain() -> None:
    """Two photos with three things between them, one other with one: one yes and one no."""
    slides, others = ANNOTATIONS[1:3], [ANNOTATIONS[3]]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        asked = make_photo_questions(slides, [False, False], others, rng)
        answers = [question.answer for question in asked if question.kind == "happened"]
        assert sorted(answers) == ["no", "yes"]
