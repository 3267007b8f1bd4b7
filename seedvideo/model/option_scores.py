"""Log-likelihood of given answers after a prompt, by an open-weight model.

The prompt is read once, and each answer continues its cache. An answer counts with the tokens that
end it, so that "red" and "red car" compete as complete answers.

Notation used for tensor shapes:
    n: tokens of an answer; v: size of the vocabulary

Separate from the backend, which would exceed 500 lines with it.
"""

import copy
from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor


def score_options(
    model: Any, inputs: Any, options: Sequence[Sequence[int]], *, end_ids: Sequence[int]
) -> list[float]:
    """Return the log-likelihood of each answer.

    Args:
        model: a model of transformers for images and text.
        inputs: its inputs for one prompt, on its device.
        options: token ids of each answer, at least one.
        end_ids: ids of which any ends an answer.
    """
    length = int(inputs["input_ids"].shape[1])
    # The argument was renamed in transformers 5.
    is_new = "cache" in signature(model.forward).parameters
    cache_name = "cache" if is_new else "past_key_values"
    out = model(**inputs, use_cache=True, logits_to_keep=1)
    first = out.logits[0, -1].float().log_softmax(dim=-1)
    cache = out[cache_name]
    can_crop = _can_crop(cache)
    ends = torch.tensor(list(end_ids), dtype=torch.long, device=first.device)
    scores = []
    for index, ids in enumerate(options):
        is_last = index == len(options) - 1
        # A long prompt has gigabytes of cache: it is copied only if it cannot be cropped.
        own = cache if can_crop or is_last else copy.deepcopy(cache)
        rows = _continue(model, {cache_name: own}, ids, length).float().log_softmax(dim=-1)
        if can_crop and not is_last:
            for layer in own.layers:
                layer.crop(-len(ids))
        following = torch.tensor(ids[1:], dtype=torch.long, device=rows.device)
        score = first[ids[0]] + rows[:-1].gather(1, following[:, None]).sum()
        if len(ends):
            score = score + rows[-1, ends].logsumexp(dim=0)
        scores.append(score.item())
    return scores


def _continue(model: Any, cache: dict[str, Any], ids: Sequence[int], length: int) -> Tensor:
    """Return the ``(n, v)`` logits after each id of an answer that follows a read prompt.

    Positions are explicit: after a prompt with images, models with positions in three dimensions
    continue where the images end, not at the number of tokens.
    """
    device, count = model.device, len(ids)
    positions = torch.arange(length, length + count, device=device)[None]
    deltas = getattr(getattr(model, "model", None), "rope_deltas", None)
    if deltas is not None:
        positions = (positions + deltas.to(device)).expand(3, 1, -1)
    more = dict(cache)
    if "token_type_ids" in signature(model.forward).parameters:
        more["token_type_ids"] = torch.zeros((1, count), dtype=torch.long, device=device)
    out = model(
        input_ids=torch.tensor([list(ids)], device=device),
        position_ids=positions,
        attention_mask=torch.ones((1, length + count), dtype=torch.long, device=device),
        use_cache=True,
        **more,
    )
    return out.logits[0]


def _can_crop(cache: Any) -> bool:
    """Return whether tokens can be removed from a cache: not from windows and recurrent states."""
    layers = list(getattr(cache, "layers", ()))
    return bool(layers) and all(type(layer).__name__ == "DynamicLayer" for layer in layers)
