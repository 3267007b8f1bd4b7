import pytest

from seedvideo.evaluate.tokens import ngrams, tokenize, tokenize_pairs


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A dog runs .", "a dog runs"),
        ("Two dogs, one ball; (again)!", "two dogs one ball again"),
        ('A " stop " sign', "a stop sign"),
        ("A tri-colored T-shirt -- upside-down", "a tri-colored t-shirt upside-down"),
        ("A dog's ball", "a dog 's ball"),
        ("A dog 's ball", "a dog 's ball"),
        ("They don\u2019t, he isn't", "they do n't he is n't"),
        ("at 10:30, 3.5 m, 1,000 people", "at 10:30 3.5 m 1,000 people"),
        ("black/white & #7", "black white 7"),
        ("under_score caf\u00e9", "under score caf\u00e9"),
        ("...", ""),
        ("", ""),
    ],
)
def test_tokenize(text: str, tokens: str) -> None:
    assert tokenize(text) == tuple(tokens.split())


def test_ngrams_keep_order_and_repeats() -> None:
    assert ngrams(("a", "b", "a", "b"), 2) == [("a", "b"), ("b", "a"), ("a", "b")]
    assert ngrams(("a",), 2) == []


@pytest.mark.parametrize(
    ("candidates", "references", "error", "says"),
    [
        ([], [], ValueError, "no candidates"),
        (["a"], [], ValueError, "1 candidates but references for 0"),
        (["a"], [[]], ValueError, "item 0 has no references"),
        (["a"], ["a dog"], TypeError, "one string"),
    ],
)
def test_pairs_that_cannot_be_scored(
    candidates: list[str], references: list[list[str]], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        tokenize_pairs(candidates, references)
