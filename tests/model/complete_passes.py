"""Probabilities of answers by complete passes over the prompt and each answer."""

from collections.abc import Sequence

import torch

from seedvideo.model.backends.base import Part
from seedvideo.model.backends.transformers import TransformersBackend


def complete_passes(
    model: TransformersBackend, parts: Sequence[Part], options: Sequence[str]
) -> list[float]:
    """Return the probability of each option among them; no cache is used."""
    processor, net = model._processor, model._model
    ends = torch.tensor(model._end_ids)
    closing = processor.answer_end_ids
    scores = []
    for option in options:
        inputs = dict(processor.encode([parts], thought="").inputs)
        plain = processor.tokenizer.encode(option, add_special_tokens=False)
        ids = torch.tensor([[*plain, *closing]])
        count = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat((inputs["input_ids"], ids), dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        for name in ("mm_token_type_ids", "token_type_ids"):
            if name in inputs:
                inputs[name] = torch.cat((inputs[name], torch.zeros_like(ids)), dim=1)
        with torch.inference_mode():
            rows = net(**inputs).logits[0, count - 1 :].log_softmax(dim=-1)
        ending = rows[-1, ends].logsumexp(dim=0)
        scores.append((rows[:-1].gather(1, ids.T).sum() + ending).item())
    return torch.tensor(scores).softmax(dim=0).tolist()
