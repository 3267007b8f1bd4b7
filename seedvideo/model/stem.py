"""The convolutional patch stem of the nano model: pixels to one vector for every 32x32 px.

Seed-ViT embeds 14x14 patches with one linear layer, which needs far more training images than the
embedded model can have. The nano model puts EfficientNet-Lite2 in that place (Tan and Le 2019,
arXiv 1905.11946; the Lite variant has ReLU6 and no squeeze-excite, so it is fully convolutional and
takes any size). Batch normalisation is folded into the convolutions.

Knows nothing of tokens, time or text. Sizes are in pixels and must be multiples of 32.

Notation used for tensor shapes:
    n: images of one size; h, w: height and width in pixels; c: channels
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STEM_STRIDE_PX = 32
STEM_CHANNELS = 1280

_LOWER_CHANNELS = 120
_ENTRY_CHANNELS = 32
_EXPANSION = 6


@dataclass(frozen=True)
class _Stage:
    """One run of inverted-residual blocks: EfficientNet's table, scaled as in Lite2."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_LOWER_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(3, 3, 2, _EXPANSION, 24),
    _Stage(3, 5, 2, _EXPANSION, 48),
    _Stage(4, 3, 2, _EXPANSION, 88),
    _Stage(4, 5, 1, _EXPANSION, _LOWER_CHANNELS),
)
_UPPER_STAGES = (
    _Stage(5, 5, 2, _EXPANSION, 208),
    _Stage(1, 3, 1, _EXPANSION, 352),
)


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME does: the odd pixel goes right and below.

    The released weights were trained that way; symmetric padding shifts every feature by half a
    cell. Exact for sizes that the stride divides, which multiples of 32 px always are.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1):
        total = max(0, kernel - stride)
        before, after = total // 2, total - total // 2
        # Where both sides get the same, the convolution pads on its own and saves a copy.
        super().__init__(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=before if before == after else 0,
            groups=groups,
            bias=True,
        )
        self._pads = (before, after) * 2 if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(n, c_in, h, w)`` to ``(n, c_out, h / stride, w / stride)``."""
        if self._pads is not None:
            x = functional.pad(x, self._pads)
        if x.is_cuda and not torch.is_grad_enabled():
            return self._at_once(x)
        return super().forward(x)

    def _at_once(self, x: Tensor) -> Tensor:
        """Convolve without cuDNN, which prepares for seconds for each new number or size of frames.

        No two videos have the same numbers, so in use it would do little else.
        """
        if self.kernel_size != (1, 1):
            with torch.backends.cudnn.flags(enabled=False):
                return super().forward(x)
        assert self.bias is not None
        y = torch.matmul(self.weight.flatten(1), x.flatten(2)) + self.bias.unsqueeze(1)
        return y.unflatten(2, x.shape[2:])


class InvertedResidual(nn.Module):
    """Expand 1x1, filter by depth, project 1x1; the input is added where the shapes agree."""

    def __init__(self, inputs: int, stage: _Stage, *, stride: int):
        super().__init__()
        hidden = inputs * stage.expansion
        self.expand = SameConv(inputs, hidden, 1) if stage.expansion != 1 else None
        self.depthwise = SameConv(hidden, hidden, stage.kernel, stride=stride, groups=hidden)
        self.project = SameConv(hidden, stage.channels, 1)
        self.adds_input = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, c_in, h, w)`` to ``(n, c_out, h / stride, w / stride)``."""
        y = x if self.expand is None else functional.relu6(self.expand(x))
        y = self.project(functional.relu6(self.depthwise(y)))
        return x + y if self.adds_input else y


def _blocks(inputs: int, stages: tuple[_Stage, ...]) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for stage in stages:
        for index in range(stage.blocks):
            stride = stage.stride if index == 0 else 1
            blocks.append(InvertedResidual(inputs, stage, stride=stride))
            inputs = stage.channels
    return nn.Sequential(*blocks)


class ConvStem(nn.Module):
    """EfficientNet-Lite2 without its classifier.

    The lower blocks end at 16 px a cell, the upper ones at 32 px.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entry = SameConv(3, _ENTRY_CHANNELS, 3, stride=2)
        self.lower_blocks = _blocks(_ENTRY_CHANNELS, _LOWER_STAGES)
        self.upper_blocks = _blocks(_LOWER_CHANNELS, _UPPER_STAGES)
        self.head = SameConv(_UPPER_STAGES[-1].channels, STEM_CHANNELS, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``(n, h, w, 3)`` uint8 RGB to ``(n, h / 32, w / 32, 1280)``.

        Raises:
            ValueError: if a side is no multiple of 32 px.
        """
        height_px, width_px = frames.shape[1:3]
        if height_px % STEM_STRIDE_PX or width_px % STEM_STRIDE_PX:
            raise ValueError(
                f"frames are {width_px}x{height_px} px, expected multiples of {STEM_STRIDE_PX} px"
            )
        x = frames.permute(0, 3, 1, 2).to(self.entry.weight.dtype)
        x = functional.relu6(self.entry((x - 127.0) / 128.0))
        x = self.upper_blocks(self.lower_blocks(x))
        return functional.relu6(self.head(x)).permute(0, 2, 3, 1)


def fold_batch_norm(
    convolution: Tensor, norm: dict[str, Tensor], *, eps: float
) -> tuple[Tensor, Tensor]:
    """Join a bias-free convolution and the batch normalisation after it.

    Args:
        convolution: weights, ``(c_out, c_in / groups, k, k)``.
        norm: ``weight``, ``bias``, ``running_mean``, ``running_var``, each ``(c_out,)``.
        eps: the normalisation's epsilon.

    Returns:
        Weights and bias of the one convolution that does both.
    """
    scale = norm["weight"] * torch.rsqrt(norm["running_var"] + eps)
    return convolution * scale[:, None, None, None], norm["bias"] - norm["running_mean"] * scale
