import pytest

from seedvideo.evaluate.metrics.captioning import ngrams, tokenize, tokenize_pairs


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
        ("a 3.5-inch disk, a 1,000-pound bear", "a 3.5-inch disk a 1,000-pound bear"),
        # Combining marks: Hindi, Thai, Tamil, Hebrew, Bengali, an accent on its own.
        ("\u0939\u093f\u0928\u094d\u0926\u0940.", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        ("\u0e44\u0e21\u0e48, \u0e44\u0e21\u0e49", "\u0e44\u0e21\u0e48 \u0e44\u0e21\u0e49"),
        ("\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd"),
        ("\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd", "\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd"),
        ("\u0995\u09cd\u200d\u09b7", "\u0995\u09cd\u200d\u09b7"),
        ("re\u0301sume\u0301", "r\u00e9sum\u00e9"),
        ("a \u0301 \u2764\ufe0f b", "a b"),  # marks on no letter
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
    ("candidates", "references", "error", "message"),
    [
        ([], [], ValueError, "no candidates"),
        (["a"], [], ValueError, "1 candidates but references for 0"),
        (["a"], [[]], ValueError, "item 0 has no references"),
        (["a"], ["a dog"], TypeError, "one string"),
    ],
)
def test_pairs_that_cannot_be_scored(
    candidates: list[str], references: list[list[str]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tokenize_pairs(candidates, references)
