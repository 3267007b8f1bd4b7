"""Decoder-only language model with a key-value cache.

RMSNorm before each part, RoPE, grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245),
SwiGLU (Shazeer 2020, arXiv 2002.05202), and optionally output weights tied to the embedding. The
report (Seed1.5-VL, section 2) only states that its language model is a mixture of experts with
about 20 B active parameters; all other choices are ours. A mixture of experts would replace
``DecoderBlock.feed_forward``.

The decoder receives vectors and positions; frames are encoded elsewhere.

Notation used for tensor shapes:
    b: rows of a batch; s: new positions; c: positions in the cache and new ones together
    d: width; n_h: query heads; n_kv: key and value heads; h_d: channels of a head; v: vocabulary
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from seedvideo.model.layers import MAX_DEPTH, angles_1d, rotate


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Sizes of the language model.

    Args:
        vocabulary: number of tokens, including special ones.
        width: channels of a token's vector.
        depth: number of blocks.
        heads: number of query heads.
        kv_heads: number of key and value heads; divides ``heads``.
        hidden: channels inside the feed-forward part.
        rope_theta: base of RoPE's wavelengths.
        dropout: fraction of activations dropped in training.
        tied: whether the output weights are the embedding's.

    Raises:
        ValueError: if the depth is out of range, or the heads do not divide the width or each
            other.
    """

    vocabulary: int
    width: int
    depth: int
    heads: int
    kv_heads: int
    hidden: int
    rope_theta: float = 10_000.0
    dropout: float = 0.0
    tied: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"depth is {self.depth}, expected 1 to {MAX_DEPTH}")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"{self.heads} heads do not divide width {self.width} evenly")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.kv_heads} kv_heads do not divide {self.heads} heads")

    @property
    def head_channels(self) -> int:
        """Channels of one head."""
        return self.width // self.heads


class KVCache:
    """Keys and values of all previous positions, one pair per block.

    Memory for ``capacity`` positions is allocated once. ``length`` grows when the last block
    appends.
    """

    def __init__(self, config: DecoderConfig, *, rows: int, capacity: int, like: Tensor):
        shape = (config.depth, rows, config.kv_heads, capacity, config.head_channels)
        self.keys = like.new_zeros(shape)
        self.values = like.new_zeros(shape)
        self.length = 0

    def append(self, block: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append ``(b, n_kv, s, h_d)`` keys and values.

        Returns:
            All keys and values of this block, ``(b, n_kv, c, h_d)``.

        Raises:
            ValueError: if they exceed the capacity.
        """
        end = self.length + keys.shape[2]
        if end > self.keys.shape[3]:
            raise ValueError(f"{end} positions exceed the cache capacity of {self.keys.shape[3]}")
        self.keys[block, :, :, self.length : end] = keys
        self.values[block, :, :, self.length : end] = values
        if block == self.keys.shape[0] - 1:
            self.length = end
        return self.keys[block, :, :, :end], self.values[block, :, :, :end]

    def select(self, rows: Tensor) -> None:
        """Keep the given rows, in the given order; a row may occur several times."""
        self.keys = self.keys.index_select(1, rows)
        self.values = self.values.index_select(1, rows)


class CausalAttention(nn.Module):
    """Grouped-query attention, causal unless a mask is given."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        kv_width = config.kv_heads * config.head_channels
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, kv_width, bias=False)
        self.value = nn.Linear(config.width, kv_width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, x: Tensor, angles: Tensor, mask: Tensor | None, cache: KVCache | None, block: int
    ) -> Tensor:
        """Map ``(b, s, d)`` to ``(b, s, d)``; see ``Decoder.forward`` for the arguments."""
        rows, length, width = x.shape
        config = self.config
        q = self.query(x).view(rows, length, config.heads, -1).transpose(1, 2)
        k = self.key(x).view(rows, length, config.kv_heads, -1).transpose(1, 2)
        v = self.value(x).view(rows, length, config.kv_heads, -1).transpose(1, 2)
        q, k = rotate(q, angles.unsqueeze(1)), rotate(k, angles.unsqueeze(1))
        if cache is not None:
            k, v = cache.append(block, k, v)
        if config.kv_heads != config.heads:
            group = config.heads // config.kv_heads
            k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        cached = k.shape[2] - length
        if mask is not None:
            y = _masked_attention(q, k, v, mask)
        elif cached and length > 1:
            visible = torch.ones(length, cached + length, dtype=torch.bool, device=x.device)
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible.tril(cached))
        else:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        return self.out(y.transpose(1, 2).reshape(rows, length, width))


def _masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Compute attention under a mask ``(b, s, c)``, without the fused kernel on a CPU.

    Training passes a mask with short bfloat16 sequences, for which the fused kernel's backward pass
    took three times as long on a CPU. Constrained scoring passes one too, with few queries.
    """
    if q.is_cuda:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask.unsqueeze(-3))
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~mask.unsqueeze(-3), -torch.inf)
    return scores.softmax(dim=-1).to(v.dtype) @ v


class SwiGLU(nn.Module):
    """Gated feed-forward part."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, s, d)`` to ``(b, s, d)``."""
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class DecoderBlock(nn.Module):
    """Attention and feed-forward part, each with pre-normalization and a residual connection."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.attention = CausalAttention(config)
        self.feed_forward_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.feed_forward = SwiGLU(config.width, config.hidden)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, angles: Tensor, mask: Tensor | None, cache: KVCache | None, block: int
    ) -> Tensor:
        """Map ``(b, s, d)`` to ``(b, s, d)``; see ``Decoder.forward`` for the arguments."""
        attended = self.attention(self.attention_norm(x), angles, mask, cache, block)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Decoder(nn.Module):
    """Decoder stack: token vectors to hidden states, and hidden states to logits."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        # nn.Embedding's own initialization imports torch's compiler when a checkpoint is loaded
        # (on the meta device), which takes longer than the rest of loading.
        vectors = torch.empty(config.vocabulary, config.width).uniform_(-0.1, 0.1)
        self.embedding = nn.Embedding.from_pretrained(vectors, freeze=False)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.width, eps=1e-6)
        self.output = (
            None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)
        )

    def forward(
        self,
        x: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Run the blocks.

        Args:
            x: ``(b, s, d)`` vectors of the new positions.
            positions: ``(b, s)`` or ``(1, s)``; by default they continue the cache.
            mask: ``(b, s, c)`` bool, true where a query may attend; by default causal.
            cache: keys and values of earlier positions; the new ones are appended.

        Returns:
            ``(b, s, d)`` normalized hidden states.
        """
        if positions is None:
            start = cache.length if cache is not None else 0
            positions = torch.arange(start, start + x.shape[1], device=x.device).unsqueeze(0)
        angles = angles_1d(positions, self.config.head_channels, theta=self.config.rope_theta)
        x = self.dropout(x)
        for index, block in enumerate(self.blocks):
            x = block(x, angles, mask, cache, index)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Map ``(..., d)`` hidden states to ``(..., v)`` logits."""
        weight = self.embedding.weight if self.output is None else self.output.weight
        return functional.linear(hidden, weight)
