"""Weights in one byte a number, with one scale a row: half of what half precision takes.

A row is what belongs to one index of a tensor's first dimension: the weights of one output. Its
scale is its largest magnitude over 127, in half precision; each number is stored as the nearest
whole multiple of the scale. On disk the tensor ``name`` becomes two:

    name.q8       int8, of the tensor's shape
    name.scale    float16, one a row

A number is off by at most half of its row's scale. Scales below 2^-17 have few bits left in half
precision; there, where no number exceeds 0.001, it is at most 4e-6. Knows nothing of files.

Notation used for tensor shapes:
    r: rows; ...: the other dimensions, one or more
"""

from collections.abc import Mapping, Set
from typing import Final

import torch
from torch import Tensor

_LARGEST: Final = 127
_NUMBERS, _SCALE = ".q8", ".scale"


def quantise(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``(r, ...)`` numbers into whole multiples of a scale, and the scales.

    Returns:
        ``(r, ...)`` int8 and ``(r,)`` float16. A row of zeros has the scale zero.

    Raises:
        ValueError: if there are no rows of several numbers, or a number is not finite or too large
            for a scale in half precision.
    """
    if tensor.ndim < 2:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has no rows to scale")
    rows = tensor.to(torch.float32).flatten(1)
    scale = (rows.abs().amax(dim=1) / _LARGEST).to(torch.float16)
    if not bool(scale.isfinite().all()):
        raise ValueError("a number is not finite, or too large for a scale in half precision")
    # By the scale as it is stored, so that its own rounding costs nothing more.
    divisor = scale.to(torch.float32).masked_fill(scale == 0, torch.inf).unsqueeze(1)
    multiples = (rows / divisor).round().clamp(-_LARGEST, _LARGEST)
    return multiples.to(torch.int8).view(tensor.shape), scale


def dequantise(numbers: Tensor, scale: Tensor) -> Tensor:
    """Inverse of ``quantise`` but for the rounding: ``(r, ...)`` float32."""
    per_row = scale.to(torch.float32).view(-1, *[1] * (numbers.ndim - 1))
    return numbers.to(torch.float32) * per_row


def to_disk(weights: Mapping[str, Tensor], int8: Set[str], dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors as they are stored, in the order of ``weights``.

    Args:
        weights: by name.
        int8: names of those to store in one byte a number.
        dtype: of all others.

    Raises:
        ValueError: if a name in ``int8`` is none of ``weights``, or its tensor cannot be scaled.
    """
    unknown = sorted(int8 - weights.keys())
    if unknown:
        raise ValueError(f"there are no weights {unknown[0]} to store as int8")
    stored = {}
    for name, tensor in weights.items():
        if name in int8:
            numbers, scale = quantise(tensor)
            stored[name + _NUMBERS], stored[name + _SCALE] = numbers.contiguous(), scale
        else:
            stored[name] = tensor.to(dtype).contiguous()
    return stored


def from_disk(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put stored tensors together again; those that were not split are left as they are.

    Raises:
        ValueError: if a split tensor lacks its scale, is there a second time, or its two halves are
            not of the types, shapes and values that ``quantise`` gives.
    """
    weights = dict(stored)
    for name in stored:
        if not name.endswith(_NUMBERS):
            continue
        base = name.removesuffix(_NUMBERS)
        if base in stored:
            raise ValueError(f"{base} is there twice, whole and as int8")
        if base + _SCALE not in stored:
            raise ValueError(f"{name} has no {base}{_SCALE}")
        numbers, scale = weights.pop(name), weights.pop(base + _SCALE)
        _check_halves(base, numbers, scale)
        weights[base] = dequantise(numbers, scale)
    return weights


def _check_halves(base: str, numbers: Tensor, scale: Tensor) -> None:
    if numbers.dtype != torch.int8 or scale.dtype != torch.float16:
        raise ValueError(
            f"{base} is stored as {numbers.dtype} and {scale.dtype}, expected int8 and float16"
        )
    if numbers.ndim < 2 or scale.shape != numbers.shape[:1]:
        raise ValueError(
            f"{base}{_SCALE} has shape {tuple(scale.shape)}, which does not fit "
            f"{tuple(numbers.shape)}: expected one a row"
        )
    if not bool((scale.isfinite() & (scale >= 0)).all()):
        raise ValueError(f"{base}{_SCALE} holds values that are negative or not finite")
