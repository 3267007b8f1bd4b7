"""Reasoning before the answer: greedy, between its tags, and within its limit."""

import pytest
import torch

from seedvideo.model.generation import THINK, THINK_END, generate_reasoning
from seedvideo.model.language_model import Decoder, DecoderConfig
from seedvideo.model.metadata import END_ID, Tokenizer
from seedvideo.training.export import learn_vocabulary

WIDTH = 32


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    learn_vocabulary(["a red ball", "a dog runs"], path, size=280)
    return Tokenizer.from_file(path)


class Recites(Decoder):
    """Writes one text after the opening mark, whatever it is shown; then the end mark for ever."""

    def __init__(self, ids: list[int], vocabulary: int):
        super().__init__(
            DecoderConfig(
                vocabulary=vocabulary, width=WIDTH, depth=1, heads=2, kv_heads=1, hidden=8
            )
        )
        self.script, self.place = ids, 0
        self.lengths: list[int] = []

    def forward(self, x: torch.Tensor, **options: object) -> torch.Tensor:
        self.lengths.append(x.shape[1])
        return super().forward(x, **options)  # type: ignore[arg-type]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = super().logits(hidden)
        token = self.script[self.place] if self.place < len(self.script) else END_ID
        self.place += 1
        logits[..., token] = 100.0
        return logits


def recite(text: str, tokenizer: Tokenizer) -> Recites:
    return Recites(tokenizer.encode(text), tokenizer.size).eval()


PROMPT = torch.zeros(1, 3, WIDTH)


def test_the_closing_tag_ends_the_reasoning(tokenizer: Tokenizer) -> None:
    decoder = recite(f"a dog, a ball.{THINK_END}a ball", tokenizer)
    thought = generate_reasoning(decoder, PROMPT, tokenizer)
    assert thought.text == "a dog, a ball."
    assert tokenizer.decode(thought.ids) == f"{THINK}a dog, a ball.{THINK_END}"
    # What the model read: the prompt and the opening mark, then one token at a time.
    written = len(thought.ids) - len(tokenizer.encode(THINK))
    assert decoder.lengths == [3 + len(tokenizer.encode(THINK)), *[1] * (written - 1)]


def test_a_long_thought_is_cut_off_and_closed(tokenizer: Tokenizer) -> None:
    thought = generate_reasoning(
        recite("a dog runs " * 20, tokenizer), PROMPT, tokenizer, max_tokens=5
    )
    marks = len(tokenizer.encode(THINK)) + len(tokenizer.encode(THINK_END))
    assert len(thought.ids) == 5 + marks
    assert thought.text and "a dog runs a dog runs".startswith(thought.text)
    assert tokenizer.decode(thought.ids).endswith(THINK_END)


def test_a_thought_that_just_ends_is_closed(tokenizer: Tokenizer) -> None:
    thought = generate_reasoning(recite("a dog", tokenizer), PROMPT, tokenizer)
    assert END_ID not in thought.ids
    assert tokenizer.decode(thought.ids) == f"{THINK}a dog{THINK_END}"
    assert generate_reasoning(recite("", tokenizer), PROMPT, tokenizer).text == ""


def test_a_limit_of_nothing_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="expected 1 or more"):
        generate_reasoning(recite("a", tokenizer), PROMPT, tokenizer, max_tokens=0)
