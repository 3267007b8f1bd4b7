"""Choosing among given answers, against the plainest scoring there is: each one on its own."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seedvideo.model.generation import (
    MAX_TRIE_WIDTH,
    CandidateScore,
    Trie,
    generate,
    log_probabilities,
    score_candidates,
)
from seedvideo.model.language_model import Decoder, DecoderConfig, KVCache
from seedvideo.model.metadata import ANSWER_ID, END_ID, IMAGE_ID
from tests.tiers import examples

CONFIG = DecoderConfig(vocabulary=40, width=32, depth=3, heads=4, kv_heads=2, hidden=48)

# The same sums in another order, over some tokens.
TOLERANCE = 1e-4

TEXT_IDS = st.integers(6, CONFIG.vocabulary - 1)


def tiny_decoder(seed: int = 0, *, peaked: float = 1.0) -> Decoder:
    """A random model; where ``peaked`` is large it is sure of what it would write."""
    torch.manual_seed(seed)
    decoder = Decoder(CONFIG).eval()
    with torch.no_grad():
        decoder.embedding.weight *= peaked
    return decoder


def tiny_prompt(seed: int = 0, length: int = 5) -> Tensor:
    return torch.randn(1, length, CONFIG.width, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def one_by_one(
    decoder: Decoder, prompt: Tensor, candidates: Sequence[Sequence[int]]
) -> list[float]:
    """Log-probability of each candidate and its end mark, without trie, mask or cache."""
    scores = []
    for ids in candidates:
        x = torch.cat((prompt, decoder.embedding(torch.tensor([ids]))), dim=1)
        tail = log_probabilities(decoder, decoder(x)[0, prompt.shape[1] - 1 :])
        scores.append(float(sum(tail[place, token] for place, token in enumerate([*ids, END_ID]))))
    return scores


def assert_is_exact(found: Sequence[CandidateScore], expected: Sequence[float]) -> None:
    assert sorted(each.index for each in found) == list(range(len(expected)))
    probabilities = torch.tensor(expected, dtype=torch.float64).log_softmax(0)
    for each in found:
        assert each.log_probability == pytest.approx(expected[each.index], abs=TOLERANCE)
        assert each.normalized_log_probability == pytest.approx(
            float(probabilities[each.index]), abs=TOLERANCE
        )
    scores = [each.log_probability for each in found]
    assert scores == sorted(scores, reverse=True)


@examples(60)
@given(
    candidates=st.lists(
        st.lists(TEXT_IDS, min_size=1, max_size=6),
        min_size=1,
        max_size=MAX_TRIE_WIDTH,
        unique_by=tuple,
    ),
    seed=st.integers(0, 3),
)
def test_candidates_up_to_the_width_are_scored_exactly(
    candidates: list[list[int]], seed: int
) -> None:
    decoder, prompt = tiny_decoder(seed), tiny_prompt(seed)
    found = score_candidates(decoder, prompt, candidates)
    assert_is_exact(found, one_by_one(decoder, prompt, candidates))


@examples(40)
@given(
    candidates=st.lists(
        # Three tokens alone: most candidates begin alike, and many are another's beginning.
        st.lists(st.integers(6, 8), min_size=1, max_size=5),
        min_size=2,
        max_size=60,
        unique_by=tuple,
    )
)
def test_common_beginnings_change_no_score(candidates: list[list[int]]) -> None:
    decoder, prompt = tiny_decoder(1), tiny_prompt(1)
    found = score_candidates(decoder, prompt, candidates)
    assert_is_exact(found, one_by_one(decoder, prompt, candidates))


def test_candidates_that_begin_one_another() -> None:
    chain = [[10, 11, 12, 13][: length + 1] for length in range(4)]
    decoder, prompt = tiny_decoder(2), tiny_prompt(2)
    assert_is_exact(score_candidates(decoder, prompt, chain), one_by_one(decoder, prompt, chain))


def test_probabilities_sum_to_one() -> None:
    decoder, prompt = tiny_decoder(), tiny_prompt()
    letters = [[6 + place] for place in range(26)]
    found = score_candidates(decoder, prompt, letters)
    assert len(found) == 26
    assert math.fsum(math.exp(each.normalized_log_probability) for each in found) == pytest.approx(
        1.0
    )
    (only,) = score_candidates(decoder, prompt, [[7, 8]])
    assert (only.index, only.normalized_log_probability) == (0, 0.0)
    assert only.log_probability < 0


def test_candidates_of_zero_probability_share_it_equally() -> None:
    # Probabilities that no float holds as such: the shares are made from their logarithms.
    decoder, prompt = tiny_decoder(4, peaked=40.0), tiny_prompt(4)
    long = [[6 + (place * step) % 30 for place in range(20)] for step in (1, 7)]
    found = score_candidates(decoder, prompt, long)
    assert found[0].log_probability < -750
    assert math.fsum(math.exp(each.normalized_log_probability) for each in found) == pytest.approx(
        1.0
    )


def test_what_would_be_written_freely_is_chosen() -> None:
    compared = 0
    for seed in range(8):
        decoder, prompt = tiny_decoder(seed), tiny_prompt(seed)
        with torch.no_grad():  # answers that end
            decoder.embedding.weight[END_ID] *= 3
        (written,) = generate(decoder, prompt, max_new_tokens=4, beams=16, length_penalty=0.0)
        answers = [answer for answer in written if answer.ids]
        if len(answers) < 2:
            continue
        compared += 1
        found = score_candidates(decoder, prompt, [answer.ids for answer in answers])
        assert [each.index for each in found] == list(range(len(answers)))
        for each, answer in zip(found, answers, strict=True):
            assert each.log_probability == pytest.approx(answer.log_probability, abs=TOLERANCE)
    assert compared > 2


def test_equal_candidates_keep_their_order() -> None:
    decoder, prompt = tiny_decoder(), tiny_prompt()
    with torch.no_grad():  # twins: the model cannot distinguish them
        decoder.embedding.weight[10:14] = decoder.embedding.weight[10]
    found = score_candidates(decoder, prompt, [[13], [11], [10], [12]])
    assert [each.index for each in found] == [0, 1, 2, 3]


# Spans between the times of 77 frames, spelt as the model's vocabulary does: a token a character.
CHARACTERS = "0123456789. -"


def spell(text: str) -> list[int]:
    return [6 + CHARACTERS.index(character) for character in text]


def span_candidates(times: int) -> list[list[int]]:
    stamps = [f"{place * 1.3:.1f}" for place in range(times)]
    return [
        spell(f"{start} - {end}") for place, start in enumerate(stamps) for end in stamps[place:]
    ]


class Counted(Decoder):
    """Counts the positions that it reads."""

    read = 0

    def forward(self, x: Tensor, **options: Tensor | KVCache | None) -> Tensor:
        self.read += x.shape[1]
        return super().forward(x, **options)  # type: ignore[arg-type]


class Sure(Counted):
    """Writes one answer with a high probability at every token, and noise elsewhere."""

    def __init__(self, ids: list[int]):
        torch.manual_seed(0)
        super().__init__(CONFIG)
        self.eval()
        self.wanted = [*ids, END_ID]
        self.depth = 0

    def logits(self, hidden: Tensor) -> Tensor:
        logits = super().logits(hidden)
        logits[:, self.wanted[min(self.depth, len(self.wanted) - 1)]] += 6.0
        self.depth += 1
        return logits


def test_thousands_of_spans_cost_a_bounded_search() -> None:
    spans = span_candidates(77)
    assert len(spans) == 3003
    torch.manual_seed(0)
    decoder = Counted(CONFIG).eval()
    prompt = tiny_prompt()
    found = score_candidates(decoder, prompt, spans)
    longest = max(len(ids) for ids in spans)
    assert decoder.read <= prompt.shape[1] + MAX_TRIE_WIDTH * longest
    # Of those found, every score is the exact one; their shares are among themselves.
    assert MAX_TRIE_WIDTH / 2 < len(found) < len(spans)
    chosen = [spans[each.index] for each in found]
    expected = one_by_one(decoder, prompt, chosen)
    for each, score in zip(found, expected, strict=True):
        assert each.log_probability == pytest.approx(score, abs=TOLERANCE)
    assert math.fsum(math.exp(each.normalized_log_probability) for each in found) == pytest.approx(
        1.0
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_search_finds_the_span_that_a_model_is_sure_of(seed: int) -> None:
    spans = span_candidates(77)
    wanted = torch.Generator().manual_seed(seed)
    best = int(torch.randint(len(spans), (1,), generator=wanted))
    (found, *_) = score_candidates(Sure(spans[best]), tiny_prompt(), spans)
    assert found.index == best
    assert found.normalized_log_probability > math.log(0.5)


def test_not_found_is_scored_however_sure_the_model_is_of_a_span() -> None:
    not_found = [30, 31, 32, 33]
    spans = span_candidates(77)
    found = score_candidates(Sure(spans[1000]), tiny_prompt(), [*spans, not_found])
    probabilities = {each.index: each.normalized_log_probability for each in found}
    assert probabilities[len(spans)] < math.log(1e-6)


def test_a_width_of_all_candidates_is_exact() -> None:
    spans = span_candidates(16)
    decoder, prompt = tiny_decoder(3), tiny_prompt(3)
    found = score_candidates(decoder, prompt, spans, width=len(spans))
    assert_is_exact(found, one_by_one(decoder, prompt, spans))


def test_common_beginnings_are_read_once() -> None:
    torch.manual_seed(0)
    decoder, prompt = Counted(CONFIG).eval(), tiny_prompt()
    score_candidates(decoder, prompt, [[6, 7, 8, 9], [6, 7, 8, 10], [6, 7, 8]])
    assert decoder.read == prompt.shape[1] + 5


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([], "no candidates"),
        ([[6], [7], [6]], "candidates 0 and 2 are the same"),
        ([[6], []], "candidate 1 is empty"),
        ([[6, END_ID]], "contains a special token"),
        ([[IMAGE_ID]], "contains a special token"),
        ([[ANSWER_ID, 6]], "contains a special token"),
    ],
)
def test_unfit_candidates_are_refused(candidates: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trie(candidates)
    with pytest.raises(ValueError, match=message):
        score_candidates(tiny_decoder(), tiny_prompt(), candidates)


def test_a_senseless_width_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 or more"):
        score_candidates(tiny_decoder(), tiny_prompt(), [[6]], width=0)
