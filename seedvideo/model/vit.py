"""Seed-ViT: frames of any size, packed into one sequence, each attending to itself alone.

As published in Seed1.5-VL (arXiv 2505.07062, section 2.1 and table 1): 14x14 patches, a linear
patch embedding, 2D RoPE, pre-norm blocks with biases, and the NaViT way of packing (Dehghani et
al. 2023, arXiv 2307.06304). 2x2 average pooling follows. The nano model puts a convolutional stem
in the place of the linear embedding and is otherwise the same code.

Knows nothing of time, text or files.

Notation used for tensor shapes:
    t: patches of all frames together; g_h, g_w: rows and columns of one frame's patch grid
    n: frames in a run of one size; s: patches of one frame; n_h: heads; h_d: channels of a head
    d: width of the encoder
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.model.rope import angles_2d, rotate
from seedvideo.model.stem import STEM_CHANNELS, STEM_STRIDE_PX, ConvStem
from seedvideo.units import PATCH_PX, POOL

MAX_DEPTH = 1_000
"""Blocks that a configuration may ask for: a file must not make a model without end."""

Grid = tuple[int, int]
"""Rows and columns of patches in one frame."""


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """Sizes of the vision encoder.

    Args:
        width: channels of a patch vector.
        depth: blocks.
        heads: attention heads; each has ``width / heads`` channels, a multiple of four.
        mlp_ratio: hidden channels of a block's MLP over ``width``.
        embedding: ``linear`` for 14x14 patches, ``conv`` for the stem with 32x32 px a cell.
        dropout: share of activations dropped in training.

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
    """The published embedding: one linear layer over the pixels of a 14x14 patch."""

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
    """The nano model's embedding: a convolutional stem, normalised and projected."""

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
    """Attention in which every frame sees itself alone.

    Frames of one size that follow each other are attended to in one call, with the frame as the
    batch dimension. No mask is ever built, so memory grows linearly with the number of frames.
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
        for first, last, frames in runs(grids):
            # (n, n_h, s, h_d)
            q_run, k_run, v_run = (
                part[first:last].view(frames, -1, self.heads, part.shape[-1]).transpose(1, 2)
                for part in (q, k, v)
            )
            attended = functional.scaled_dot_product_attention(q_run, k_run, v_run)
            parts.append(attended.transpose(1, 2).reshape(last - first, width))
        return self.out(torch.cat(parts))


class VitBlock(nn.Module):
    """Pre-norm attention and MLP, each added to its input."""

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
        """Rows and columns of patches of one frame.

        Raises:
            ValueError: if a side is no multiple of the side of a visual token.
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
            frames: one ``(h, w, 3)`` uint8 RGB tensor a frame, sides multiples of two patches.

        Returns:
            ``(sum of g_h * g_w / 4, d)``: the visual tokens of all frames, in order, row by row.

        Raises:
            ValueError: if there is no frame or a side is no multiple of the side of a token.
        """
        if not frames:
            raise ValueError("there are no frames to encode")
        grids = [self.grid(frame.shape[0], frame.shape[1]) for frame in frames]
        parts = []
        for _, same in groupby(frames, key=lambda frame: frame.shape):
            parts.append(self.patches(torch.stack(list(same))).flatten(0, 1))
        return self.encode(torch.cat(parts), grids)

    def encode(self, patches: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Run the blocks over embedded patches and pool 2x2.

        Args:
            patches: ``(t, d)`` patch vectors of all frames, row by row.
            grids: the frames in their order.

        Returns:
            ``(t / 4, d)``.
        """
        angles = grid_angles(grids, self.config.width // self.config.heads, patches.device)
        x = patches
        for block in self.blocks:
            x = block(x, angles, grids)
        return pool(self.norm(x), grids)


def runs(grids: Sequence[Grid]) -> Iterator[tuple[int, int, int]]:
    """Split packed patches where the size of the frames changes.

    Yields:
        First patch, last patch (exclusive) and number of frames of each run.
    """
    start = 0
    for (rows, columns), same in groupby(grids):
        frames = len(list(same))
        end = start + frames * rows * columns
        yield start, end, frames
        start = end


def grid_angles(grids: Sequence[Grid], head_channels: int, device: torch.device) -> Tensor:
    """2D RoPE angles of packed patches: positions start anew in every frame.

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
    """Average each 2x2 square of patches (report, section 2.1).

    Args:
        x: ``(t, d)`` packed patches.
        grids: the frames; rows and columns must be even.

    Returns:
        ``(t / 4, d)``.
    """
    parts = []
    for (first, last, frames), ((rows, columns), _) in zip(
        runs(grids), groupby(grids), strict=True
    ):
        squares = x[first:last].view(frames, rows // POOL, POOL, columns // POOL, POOL, -1)
        parts.append(squares.mean(dim=(2, 4)).flatten(0, 2))
    return torch.cat(parts)
