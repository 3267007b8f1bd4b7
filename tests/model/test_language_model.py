"""The language model: cache, mask, grouped heads, and answers written from it."""

import pytest
import torch

from seedvideo.model.generation import generate
from seedvideo.model.language_model import Decoder, DecoderConfig, KVCache
from seedvideo.model.metadata import ANSWER_ID, END_ID, FRAME_END_ID, FRAME_ID, IMAGE_ID, PAD_ID
from tests.tiers import quick_first

CONFIG = DecoderConfig(vocabulary=40, width=32, depth=3, heads=4, kv_heads=2, hidden=48)

# The same sums in another order: the last bits of float32.
TOLERANCE = 1e-5

NO_TEXT = [PAD_ID, FRAME_ID, FRAME_END_ID, IMAGE_ID, ANSWER_ID]


def tiny_decoder(seed: int = 0, **changes: bool) -> Decoder:
    torch.manual_seed(seed)
    config = DecoderConfig(**{**vars(CONFIG), **changes})
    return Decoder(config).eval()


def test_cached_decoding_equals_uncached() -> None:
    decoder = tiny_decoder()
    x = torch.randn(2, 11, CONFIG.width)
    with torch.inference_mode():
        whole = decoder(x)
        cache = KVCache(CONFIG, rows=2, capacity=11, like=x)
        # A prompt, one token, several tokens, one token: every shape that a cache meets.
        steps = [x[:, :5], x[:, 5:6], x[:, 6:10], x[:, 10:]]
        pieces = torch.cat([decoder(piece, cache=cache) for piece in steps], dim=1)
    torch.testing.assert_close(pieces, whole, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_token_does_not_see_what_follows() -> None:
    decoder = tiny_decoder()
    x = torch.randn(1, 6, CONFIG.width)
    changed = x.clone()
    changed[:, 4:] += 1.0
    with torch.inference_mode():
        before, after = decoder(x), decoder(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4], atol=TOLERANCE, rtol=TOLERANCE)
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-2


def test_a_mask_hides_the_masked_positions() -> None:
    decoder = tiny_decoder()
    x = torch.randn(1, 6, CONFIG.width)
    mask = torch.ones(1, 6, 6, dtype=torch.bool).tril()
    with torch.inference_mode():
        causal = decoder(x)
        torch.testing.assert_close(decoder(x, mask=mask), causal, atol=TOLERANCE, rtol=TOLERANCE)
        # From everyone, or it would be seen through those who saw it.
        mask[:, 2:, 1] = False
        changed = x.clone()
        changed[:, 1] += 1.0
        hidden = decoder(x, mask=mask)[:, 3:]
        torch.testing.assert_close(
            decoder(changed, mask=mask)[:, 3:], hidden, atol=TOLERANCE, rtol=TOLERANCE
        )


def test_positions_are_relative() -> None:
    decoder = tiny_decoder()
    x = torch.randn(1, 5, CONFIG.width)
    with torch.inference_mode():
        near = decoder(x, positions=torch.arange(5).unsqueeze(0))
        far = decoder(x, positions=torch.arange(100, 105).unsqueeze(0))
    # Larger angles lose bits in float32's sine.
    torch.testing.assert_close(near, far, atol=1e-4, rtol=1e-4)


def test_a_full_cache_is_refused() -> None:
    cache = KVCache(CONFIG, rows=1, capacity=3, like=torch.zeros(1))
    with pytest.raises(ValueError, match="exceed the cache capacity of 3"):
        tiny_decoder()(torch.zeros(1, 4, CONFIG.width), cache=cache)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "message"), [(5, 1, "do not divide width"), (4, 3, "kv_heads")]
)
def test_heads_must_divide(heads: int, kv_heads: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecoderConfig(vocabulary=8, width=32, depth=1, heads=heads, kv_heads=kv_heads, hidden=8)


def test_untied_output_has_weights_of_its_own() -> None:
    tied, untied = tiny_decoder(), tiny_decoder(tied=False)
    assert untied.output is not None and tied.output is None
    assert untied.logits(torch.zeros(2, 32)).shape == (2, CONFIG.vocabulary)


def greedy_without_cache(decoder: Decoder, prompt: torch.Tensor, steps: int) -> list[int]:
    """The plainest decoding there is, as the oracle."""
    x, ids = prompt, []
    for _ in range(steps):
        best = int(_log_probabilities(decoder, x).argmax())
        if best == END_ID:
            break
        ids.append(best)
        x = torch.cat((x, decoder.embedding(torch.tensor([[best]]))), dim=1)
    return ids


@pytest.mark.parametrize("seed", range(4))
def test_one_beam_is_greedy(seed: int) -> None:
    decoder = tiny_decoder(seed)
    prompt = torch.randn(1, 4, CONFIG.width)
    with torch.inference_mode():
        expected = greedy_without_cache(decoder, prompt, 12)
    assert list(generate(decoder, prompt, max_new_tokens=12, beams=1)[0][0].ids) == expected


@pytest.mark.parametrize("seed", quick_first(range(12), 4))
def test_rows_do_not_disturb_each_other(seed: int) -> None:
    # Some of these rows are settled long before others.
    decoder = tiny_decoder(seed)
    prompts = torch.randn(10, 4, CONFIG.width)
    together = generate(decoder, prompts, max_new_tokens=8, beams=3)
    alone = [generate(decoder, row.unsqueeze(0), max_new_tokens=8, beams=3)[0] for row in prompts]
    assert [[answer.ids for answer in row] for row in together] == [
        [answer.ids for answer in row] for row in alone
    ]


def test_answers_come_best_first_and_none_twice() -> None:
    most = 0
    for seed in range(6):
        decoder = tiny_decoder(seed)
        with torch.no_grad():  # answers of all lengths
            decoder.embedding.weight[END_ID] *= 3
        (answers,) = generate(decoder, torch.randn(1, 4, CONFIG.width), max_new_tokens=6, beams=8)
        scores = [answer.score for answer in answers]
        assert scores == sorted(scores, reverse=True)
        assert len({answer.ids for answer in answers}) == len(answers)
        most = max(most, len(answers))
    assert most > 1


def test_an_answer_that_is_cut_off_is_given_if_none_ended() -> None:
    prompt = torch.randn(1, 4, CONFIG.width)
    for seed in range(20):
        (answers,) = generate(tiny_decoder(seed), prompt, max_new_tokens=1, beams=1)
        (answer,) = answers
        # One token: either the end mark alone, which leaves nothing, or a token that was cut off.
        assert len(answer.ids) <= 1
        if answer.ids:
            return
    pytest.fail("the end mark came first every time")


def test_enough_beams_find_the_best_ended_answer() -> None:
    decoder = tiny_decoder(3)
    prompt = torch.randn(1, 4, CONFIG.width)
    with torch.inference_mode():
        first = _log_probabilities(decoder, prompt)
        ended: dict[tuple[int, ...], float] = {(): float(first[END_ID])}
        for token in range(CONFIG.vocabulary):
            if token != END_ID and token not in NO_TEXT:
                vector = decoder.embedding(torch.tensor([[token]]))
                second = _log_probabilities(decoder, torch.cat((prompt, vector), dim=1))
                ended[(token,)] = float(first[token] + second[END_ID])
    best = max(ended, key=lambda ids: ended[ids])
    answer = generate(decoder, prompt, max_new_tokens=2, beams=35, length_penalty=0.0)[0][0]
    assert answer.ids == best
    assert answer.log_probability == pytest.approx(ended[best], abs=1e-4)


def _log_probabilities(decoder: Decoder, x: torch.Tensor) -> torch.Tensor:
    logits = decoder.logits(decoder(x)[:, -1])[0]
    logits[NO_TEXT] = -torch.inf
    return logits.log_softmax(-1)


@pytest.mark.parametrize(("beams", "tokens"), [(0, 5), (3, 0)])
def test_senseless_search_is_refused(beams: int, tokens: int) -> None:
    with pytest.raises(ValueError, match="expected 1 or more"):
        generate(tiny_decoder(), torch.zeros(1, 1, 32), max_new_tokens=tokens, beams=beams)
