"""Seed-ViT vision encoder: packs frames of any size, each attending to itself only.

As published in Seed1.5-VL (arXiv 2505.07062, section 2.1 and table 1): 14x14 px patches, a linear
patch embedding, 2D RoPE, pre-norm blocks with biases, and NaViT packing (Dehghani et al. 2023,
arXiv 2307.06304), followed by 2x2 average pooling.

The nano model replaces the linear embedding by a convolutional stem with one vector per 32x32 px;
the rest is the same code. A linear embedding needs far more training images than the embedded model
can have. The stem is EfficientNet-Lite2 (Tan and Le 2019, arXiv 1905.11946), whose Lite variant has
ReLU6 and no squeeze-excite, so it is fully convolutional and takes any size in multiples of 32 px.
Batch normalization is folded into the convolutions.

Token thumbnails restore colour and shape that the encoder may have lost. The encoder of the
embedded model is frozen while its answer branch learns, and its features of photos carry little
exact colour. Each token's own square, shrunk to 8x8 px, is therefore an additional input.

Notation used for tensor shapes:
    t: patches of all frames together; g_h, g_w: rows and columns of one frame's patch grid
    n: frames of one size; s: patches of one frame; n_h: heads; h_d: channels of a head
    d: width of the encoder; h, w: height and width in pixels; c: channels
    k: visual tokens of a frame
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.model.layers import MAX_DEPTH, angles_2d, rotate
from seedvideo.sampler.geometry import PATCH_PX, POOL

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
        # With equal padding on both sides the convolution pads itself, which saves a copy.
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
        """Convolve without cuDNN, which spends seconds on each new number or size of frames.

        No two videos have the same numbers, so preparation would dominate.
        """
        if self.kernel_size != (1, 1):
            with torch.backends.cudnn.flags(enabled=False):
                return super().forward(x)
        assert self.bias is not None
        y = torch.matmul(self.weight.flatten(1), x.flatten(2)) + self.bias.unsqueeze(1)
        return y.unflatten(2, x.shape[2:])


class InvertedResidual(nn.Module):
    """Inverted residual block: expand 1x1, depthwise convolution, project 1x1, residual."""

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

    The lower blocks end at 16 px per cell, the upper ones at 32 px.
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
            ValueError: if a side is not a multiple of 32 px.
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
    """Fold batch normalization into the bias-free convolution before it.

    Args:
        convolution: weights, ``(c_out, c_in / groups, k, k)``.
        norm: ``weight``, ``bias``, ``running_mean``, ``running_var``, each ``(c_out,)``.
        eps: epsilon of the normalization.

    Returns:
        Weights and bias of the combined convolution.
    """
    scale = norm["weight"] * torch.rsqrt(norm["running_var"] + eps)
    return convolution * scale[:, None, None, None], norm["bias"] - norm["running_mean"] * scale


THUMBNAIL_PX: Final = 8
"""Side of the thumbnail of one visual token."""

THUMBNAIL_VALUES: Final = THUMBNAIL_PX**2 * 3


def make_thumbnails(frames: Tensor, token_px: int) -> Tensor:
    """Shrink the square of every token to 8x8 px.

    Args:
        frames: ``(n, h, w, 3)`` uint8 RGB, sides multiples of ``token_px``.
        token_px: side of a token's square.

    Returns:
        ``(n, k, 192)`` uint8, tokens row by row, in each all of red, then green, then blue.
    """
    count, height_px, width_px, _ = frames.shape
    rows, columns = height_px // token_px, width_px // token_px
    small = functional.avg_pool2d(frames.permute(0, 3, 1, 2).float(), token_px // THUMBNAIL_PX)
    small = small.round().to(torch.uint8)
    cells = small.view(count, 3, rows, THUMBNAIL_PX, columns, THUMBNAIL_PX)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(count, rows * columns, THUMBNAIL_VALUES)


def scale_thumbnails(thumbs: Tensor) -> Tensor:
    """Scale thumbnails to the projector's input range, -1 to 1."""
    return thumbs.float() / 127.5 - 1.0


Grid = tuple[int, int]
"""Rows and columns of patches in one frame."""


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """Sizes of the vision encoder.

    Args:
        width: channels of a patch vector.
        depth: number of blocks.
        heads: attention heads; each has ``width / heads`` channels, a multiple of four.
        mlp_ratio: hidden channels of a block's MLP divided by ``width``.
        embedding: ``linear`` for 14x14 px patches, ``conv`` for the stem with 32x32 px per cell.
        dropout: fraction of activations dropped in training.

    Raises:
        ValueError: if the depth is out of range, or the heads do not divide the width into
            multiples of four.
    """

    width: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0
    embedding: Literal["linear", "conv"] = "linear"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"depth is {self.depth}, expected 1 to {MAX_DEPTH}")
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise ValueError(
                f"{self.heads} heads do not divide width {self.width} into multiples of four"
            )

    @property
    def patch_px(self) -> int:
        """Side of the square that one patch vector covers, in pixels."""
        return PATCH_PX if self.embedding == "linear" else STEM_STRIDE_PX


class LinearPatches(nn.Module):
    """The published embedding: one linear layer over the pixels of a 14x14 px patch."""

    def __init__(self, width: int):
        super().__init__()
        self.project = nn.Linear(PATCH_PX * PATCH_PX * 3, width)

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``(n, h, w, 3)`` uint8 RGB to ``(n, h / 14 * w / 14, d)``."""
        n, height_px, width_px, _ = frames.shape
        rows, columns = height_px // PATCH_PX, width_px // PATCH_PX
        x = frames.to(self.project.weight.dtype) / 127.5 - 1.0
        x = x.view(n, rows, PATCH_PX, columns, PATCH_PX, 3)
        # (n, g_h, g_w, 14, 14, 3): the pixels of a patch side by side
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(n, rows * columns, -1)
        return self.project(x)


class ConvPatches(nn.Module):
    """The nano model's embedding: a convolutional stem, layer norm and a linear projection."""

    def __init__(self, width: int):
        super().__init__()
        self.stem = ConvStem()
        self.norm = nn.LayerNorm(STEM_CHANNELS)
        self.project = nn.Linear(STEM_CHANNELS, width)

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``(n, h, w, 3)`` uint8 RGB to ``(n, h / 32 * w / 32, d)``."""
        return self.embed(self.stem(frames))

    def embed(self, features: Tensor) -> Tensor:
        """Map the stem's ``(n, h / 32, w / 32, 1280)`` to ``(n, h / 32 * w / 32, d)``."""
        return self.project(self.norm(features.flatten(1, 2)))


class FrameAttention(nn.Module):
    """Self-attention within each frame.

    Consecutive frames of one size are processed in one call, with the frame as the batch dimension.
    No mask is built, so memory grows linearly with the number of frames.
    """

    def __init__(self, config: VitConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, angles: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Attend within each frame.

        Args:
            x: ``(t, d)`` packed patches.
            angles: ``(t, h_d / 2)`` position angles.
            grids: the frames in their order.

        Returns:
            ``(t, d)``.
        """
        width = x.shape[-1]
        # (t, 3, n_h, h_d)
        q, k, v = self.qkv(x).view(-1, 3, self.heads, width // self.heads).unbind(1)
        # the heads share their angles: (t, 1, h_d / 2)
        q, k = rotate(q, angles.unsqueeze(1)), rotate(k, angles.unsqueeze(1))
        parts = []
        for first, last, frames in group_by_size(grids):
            # (n, n_h, s, h_d)
            q_run, k_run, v_run = (
                part[first:last].view(frames, -1, self.heads, part.shape[-1]).transpose(1, 2)
                for part in (q, k, v)
            )
            attended = functional.scaled_dot_product_attention(q_run, k_run, v_run)
            parts.append(attended.transpose(1, 2).reshape(last - first, width))
        return self.out(torch.cat(parts))


class VitBlock(nn.Module):
    """Pre-norm attention and MLP, each with a residual connection."""

    def __init__(self, config: VitConfig):
        super().__init__()
        hidden = int(config.width * config.mlp_ratio)
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = FrameAttention(config)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, hidden), nn.GELU(), nn.Linear(hidden, config.width)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, angles: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Map ``(t, d)`` to ``(t, d)``."""
        x = x + self.dropout(self.attention(self.attention_norm(x), angles, grids))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class SeedViT(nn.Module):
    """The encoder: frames to pooled visual tokens."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.config = config
        embeddings = {"linear": LinearPatches, "conv": ConvPatches}
        self.patches = embeddings[config.embedding](config.width)
        self.blocks = nn.ModuleList(VitBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    def grid(self, height_px: int, width_px: int) -> Grid:
        """Return the rows and columns of patches of one frame.

        Raises:
            ValueError: if a side is not a multiple of the side of a visual token.
        """
        token_px = self.config.patch_px * POOL
        if height_px % token_px or width_px % token_px or not (height_px and width_px):
            raise ValueError(
                f"a frame is {width_px}x{height_px} px, expected multiples of {token_px} px"
            )
        return height_px // self.config.patch_px, width_px // self.config.patch_px

    def forward(self, frames: Sequence[Tensor]) -> Tensor:
        """Encode frames of any sizes.

        Args:
            frames: one ``(h, w, 3)`` uint8 RGB tensor per frame, sides multiples of two patches.

        Returns:
            ``(sum of g_h * g_w / 4, d)``: the visual tokens of all frames, in order, row by row.

        Raises:
            ValueError: if there is no frame, or a side is not a multiple of the side of a token.
        """
        if not frames:
            raise ValueError("no frames to encode")
        grids = [self.grid(frame.shape[0], frame.shape[1]) for frame in frames]
        parts = []
        for _, same in groupby(frames, key=lambda frame: frame.shape):
            parts.append(self.patches(torch.stack(list(same))).flatten(0, 1))
        return self.encode(torch.cat(parts), grids)

    def encode(self, patches: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Run the blocks over embedded patches and pool 2x2.

        Args:
            patches: ``(t, d)`` patch vectors of all frames, row by row.
            grids: patch grids of the frames, in order.

        Returns:
            ``(t / 4, d)``.
        """
        angles = grid_angles(grids, self.config.width // self.config.heads, patches.device)
        x = patches
        for block in self.blocks:
            x = block(x, angles, grids)
        return pool(self.norm(x), grids)


def group_by_size(grids: Sequence[Grid]) -> Iterator[tuple[int, int, int]]:
    """Group packed patches by consecutive frames of one size.

    Yields:
        First patch, last patch (exclusive) and number of frames of each group.
    """
    start = 0
    for (rows, columns), same in groupby(grids):
        frames = len(list(same))
        end = start + frames * rows * columns
        yield start, end, frames
        start = end


def grid_angles(grids: Sequence[Grid], head_channels: int, device: torch.device) -> Tensor:
    """Return the 2D RoPE angles of packed patches; positions restart in every frame.

    Returns:
        ``(t, head_channels / 2)`` float32.
    """
    parts = []
    for (row_count, column_count), same in groupby(grids):
        rows = torch.arange(row_count, device=device).repeat_interleave(column_count)
        columns = torch.arange(column_count, device=device).repeat(row_count)
        angles = angles_2d(rows, columns, head_channels)
        parts.append(angles.repeat(len(list(same)), 1))
    return torch.cat(parts)


def pool(x: Tensor, grids: Sequence[Grid]) -> Tensor:
    """Average each 2x2 square of patches (Seed1.5-VL, section 2.1).

    Args:
        x: ``(t, d)`` packed patches.
        grids: patch grids of the frames; rows and columns must be even.

    Returns:
        ``(t / 4, d)``.
    """
    parts = []
    for (first, last, frames), ((rows, columns), _) in zip(
        group_by_size(grids), groupby(grids), strict=True
    ):
        squares = x[first:last].view(frames, rows // POOL, POOL, columns // POOL, POOL, -1)
        parts.append(squares.mean(dim=(2, 4)).flatten(0, 2))
    return torch.cat(parts)
