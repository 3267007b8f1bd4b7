from typing import Any

import pytest

from seedvideo.evaluate.metrics.captioning import rouge_l_scores, rouge_l_similarity


def rouge_l(candidates: list[str], references: list[list[str]], **options: Any) -> float:
    scores = rouge_l_scores(candidates, references, **options)
    return sum(scores) / len(scores)


def test_by_hand() -> None:
    # "police kill the gunman" / "police killed the gunman": police, the, gunman: 3 of 4 each way.
    assert rouge_l(["police kill the gunman"], [["police killed the gunman"]]) == pytest.approx(
        0.75
    )
    # Order counts: "the gunman" is the longest common run of "the gunman kill police".
    assert rouge_l(["the gunman kill police"], [["police killed the gunman"]]) == pytest.approx(0.5)


def test_recall_weighs_more_by_hand() -> None:
    # 2 of 2 tokens right, 2 of 4 found: (1 + 1.44) * 1 * .5 / (.5 + 1.44 * 1) = 1.22 / 1.94.
    assert rouge_l(["a dog"], [["a dog runs fast"]]) == pytest.approx(1.22 / 1.94)
    assert rouge_l(["a dog"], [["a dog runs fast"]], beta=1) == pytest.approx(2 / 3)
    assert rouge_l_similarity("a dog", "a dog runs fast") == pytest.approx(2 / 3)
    assert rouge_l_similarity("a dog runs fast", "a dog") == pytest.approx(2 / 3)


def test_several_references_both_ways_by_hand() -> None:
    # "a b": precision 1 with "a b c d" (recall 1/2); recall 1 with "a" (precision 1/2).
    references = [["a b c d", "a"]]
    assert rouge_l(["a b"], references) == pytest.approx(1)  # best of both, from different ones
    apart = 2.44 * 0.5 / (0.5 + 1.44)
    other = 2.44 * 0.5 / (1 + 1.44 * 0.5)
    assert rouge_l(["a b"], references, multi_reference="together") == pytest.approx(
        max(apart, other)
    )


def test_empty_captions_score_nothing() -> None:
    assert rouge_l_scores(["", "!"], [["a dog"], ["a dog"]]) == (0, 0)
    assert rouge_l_similarity("", "") == 0


def test_mean_over_items() -> None:
    assert rouge_l(["a dog", "cat"], [["a dog"], ["bird"]]) == 0.5
