import pytest

from seedvideo.evaluate.metrics.nouns import main_nouns, mentions, nouns, slideshow_score

DOG = [
    "A brown dog runs on the beach .",
    "A puppy is running in the sand .",
    "A dog plays near the ocean .",
    "The animal runs across sand .",
    "A wet dog .",
]
BIKES = ["Two men on bicycles .", "Men ride bikes .", "Two cyclists on a road ."]
CHAIR = ["A chair by the window .", "A wooden stool ."]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Two puppies and a woman's ball", {"dog", "woman", "ball"}),
        ("Children on bicycles", {"child", "bike"}),
        ("People, benches, leaves, geese", {"person", "bench", "leaf", "bird"}),
        ("Firemen and policemen; ladies on couches", {"officer", "woman", "couch"}),
        ("a merry-go-round", {"merry-go-round"}),
        ("a red shirt in the background", set()),
        ("", set()),
    ],
)
def test_nouns(caption: str, expected: set[str]) -> None:
    assert nouns(caption) == expected


def test_main_nouns_are_used_by_two_references() -> None:
    # dog: 4 references (one has puppy); sand: 2; beach, ocean and animal: 1 each.
    assert main_nouns(DOG) == {"dog", "sand"}
    # man: 2, bike: 2; cyclist and street: 1 each.
    assert main_nouns(BIKES) == {"man", "bike"}


def test_repeats_within_one_reference_count_once() -> None:
    assert main_nouns(["a dog chases a dog", "a cat"]) == frozenset()


def test_mentions_needs_one_main_noun() -> None:
    assert mentions("a dog on the grass", main_nouns(DOG))
    assert mentions("waves on the sand", main_nouns(DOG))
    assert not mentions("a cat on the beach", main_nouns(DOG))
    assert not mentions("a dog", frozenset())


def test_slideshow_score_by_hand() -> None:
    # Slideshow 1 (dog, bikes): the caption has dog, grass, man. Dog photo: 1 of 2 main nouns; bike
    # photo: 1 of 2. Slideshow 2 (chair): the caption has cat; chair is not mentioned.
    # Of the 4 nouns dog, grass, man, cat the references have dog and man.
    score = slideshow_score(["A dog on grass, then a man.", "A cat."], [[DOG, BIKES], [CHAIR]])
    assert score.photos == 3
    assert score.mentioned == pytest.approx(2 / 3)
    assert score.recall == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert score.precision == pytest.approx(2 / 4)


def test_photos_without_main_nouns_do_not_count() -> None:
    score = slideshow_score(["a dog"], [[DOG, ["nothing", "here"]]])
    assert score.photos == 1
    assert score.mentioned == 1.0


def test_a_caption_without_nouns_has_no_precision() -> None:
    assert slideshow_score(["..."], [[DOG]]).precision == 0.0


def test_slideshows_that_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="no photo has a main noun"):
        slideshow_score(["a dog"], [[["nothing"]]])
    with pytest.raises(ValueError, match="longer"):
        slideshow_score(["a dog"], [[DOG], [DOG]])
