import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedvideo.evaluate.metrics.captioning import Bleu, bleu
from tests.evaluate.corpus import CANDIDATES, REFERENCES

CAPTIONS = st.lists(st.sampled_from(["a", "dog", "runs", "on", "grass"]), max_size=8).map(" ".join)


def test_counts_are_clipped_and_equally_close_references_give_the_shorter_length() -> None:
    # 4 words. "the" counts once (a reference has it once), "cat" once: 2 of 4 words.
    # Of the pairs (the the, the the, the cat) one is in a reference; no triple is.
    # References have 3 and 5 words, both 1 away: 3 counts, the candidate is not too short.
    score = bleu(["the the the cat"], [["the cat sat", "a cat sat down here"]])
    assert score.bleu1 == pytest.approx(2 / 4)
    assert score.bleu2 == pytest.approx(math.sqrt(2 / 4 * 1 / 3))
    assert score.bleu3 == 0.0
    assert score.bleu4 == 0.0


def test_short_candidates_pay() -> None:
    # All 2 words and the 1 pair match; 2 words against 4: exp(1 - 4/2).
    score = bleu(["a dog"], [["a dog runs fast"]])
    assert score.bleu1 == pytest.approx(math.exp(-1))
    assert score.bleu2 == pytest.approx(math.exp(-1))


def test_the_closest_reference_sets_the_length() -> None:
    assert bleu(["a dog"], [["a dog runs fast", "a dog"]]).bleu2 == pytest.approx(1.0)


def test_counts_are_summed_over_the_corpus() -> None:
    # 2 of 2 words and 0 of 3 words: 2 of 5 together, not the mean of 1 and 0.
    assert bleu(["a dog", "x y z"], [["a dog"], ["u v w"]]).bleu1 == pytest.approx(2 / 5)


def test_a_caption_without_words_scores_zero() -> None:
    assert bleu(["..."], [["a dog"]]) == Bleu(0.0, 0.0, 0.0, 0.0)


def test_agrees_with_the_reference_implementation() -> None:
    score = bleu(CANDIDATES, REFERENCES)
    # The reference adds up to 1e-9 to its counts.
    assert (score.bleu1, score.bleu2, score.bleu3, score.bleu4) == pytest.approx(
        (0.8666666666377778, 0.7958224257256534, 0.6816071175834056, 0.5699939866339766), abs=1e-8
    )


@given(st.lists(st.tuples(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=3)), min_size=1))
def test_scores_are_fractions(items: list[tuple[str, list[str]]]) -> None:
    score = bleu([own for own, _ in items], [references for _, references in items])
    for share in (score.bleu1, score.bleu2, score.bleu3, score.bleu4):
        assert 0.0 <= share <= 1.0 + 1e-12


@given(st.lists(CAPTIONS.filter(lambda caption: len(caption.split()) >= 4), min_size=1))
def test_a_copy_of_a_reference_scores_one(captions: list[str]) -> None:
    score = bleu(captions, [[caption, "something else"] for caption in captions])
    assert score.bleu4 == pytest.approx(1.0)
