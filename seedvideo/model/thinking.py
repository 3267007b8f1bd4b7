"""A thought before the answer: written greedily between two marks, and ended where it grows long.

    <think>0.0: a dog. 2.0: a dog, a ball.</think>a ball

The marks are plain text to the vocabulary, of several tokens each. The opening one is put there for
the model, so that it thinks where it is asked to; so is the closing one where the thought ends
without it.

Knows nothing of frames. Shapes are those of ``generate``.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from seedvideo.model.decoder import Decoder, KVCache
from seedvideo.model.generate import log_probabilities
from seedvideo.model.marks import END_ID
from seedvideo.model.tokenizer import Tokenizer

THINK: Final = "<think>"
"""What a thought begins with."""

THINK_END: Final = "</think>"
"""What a thought ends with; the answer follows at once."""

STEP: Final = "; "
"""What parts the steps of a thought, in the order of time."""

MAX_THINKING_TOKENS: Final = 256
"""Most tokens of a thought, its closing mark included where the model writes it."""


@dataclass(frozen=True)
class Thought:
    """What was written before the answer.

    Args:
        ids: of the thought with both marks.
        text: what stands between the marks.
    """

    ids: tuple[int, ...]
    text: str


@torch.inference_mode()
def think(
    decoder: Decoder, prompt: Tensor, tokenizer: Tokenizer, *, max_tokens: int = MAX_THINKING_TOKENS
) -> Thought:
    """Write a thought after a prompt.

    Args:
        decoder: the language model, in evaluation mode.
        prompt: ``(1, s, d)`` vectors.
        tokenizer: its vocabulary.
        max_tokens: most tokens after the opening mark. A thought that is longer is cut off there;
            the closing mark then comes on top, as it does after a model's own end mark.

    Raises:
        ValueError: if ``max_tokens`` is below one.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}, expected 1 or more")
    opening = tokenizer.encode(THINK)
    length = prompt.shape[1] + len(opening) + max_tokens
    cache = KVCache(decoder.config, rows=1, capacity=length, like=prompt)
    x = torch.cat((prompt, vectors(decoder, opening)), dim=1)
    ids: list[int] = []
    text = ""
    while len(ids) < max_tokens and THINK_END not in text:
        token = int(log_probabilities(decoder, decoder(x, cache=cache)[:, -1]).argmax())
        if token == END_ID:
            break
        ids.append(token)
        # Read as text, since a mark may be spelt with several rows of tokens.
        text = tokenizer.decode(ids)
        x = vectors(decoder, [token])
    if THINK_END not in text:
        ids += tokenizer.encode(THINK_END)
    return Thought((*opening, *ids), text.partition(THINK_END)[0].strip())


def vectors(decoder: Decoder, ids: list[int] | tuple[int, ...]) -> Tensor:
    """Ids as ``(1, s, d)`` vectors, to go after a prompt."""
    device = decoder.embedding.weight.device
    found: Tensor = decoder.embedding(torch.tensor([ids], device=device))
    return found
