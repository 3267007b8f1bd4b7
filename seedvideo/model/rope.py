"""Rotary position embedding in one and two dimensions (Su et al. 2021, arXiv 2104.09864).

A query and a key are turned by angles that grow with their positions, so their product depends on
the difference of positions alone. In two dimensions the first half of a head's channels turns with
the row, the second half with the column (Seed1.5-VL, section 2.1: 2D RoPE in the vision encoder).

Notation used for tensor shapes:
    s: positions; h_d: channels of one head
"""

import torch
from torch import Tensor

THETA = 10_000.0
"""Base of the wavelengths, as in the paper."""


def angles_1d(positions: Tensor, head_channels: int, *, theta: float = THETA) -> Tensor:
    """Angles for positions along one axis.

    Args:
        positions: ``(..., s)`` of any real type.
        head_channels: channels that these angles turn; must be even.
        theta: base of the wavelengths.

    Returns:
        ``(..., s, head_channels / 2)`` float32.

    Raises:
        ValueError: if ``head_channels`` is odd.
    """
    if head_channels % 2:
        raise ValueError(f"head_channels is {head_channels}, expected an even number")
    pairs = torch.arange(0, head_channels, 2, device=positions.device, dtype=torch.float32)
    frequencies = theta ** (-pairs / head_channels)
    return positions.to(torch.float32).unsqueeze(-1) * frequencies


def angles_2d(rows: Tensor, columns: Tensor, head_channels: int) -> Tensor:
    """Angles for positions on a grid: half of the channels turn by row, half by column.

    Args:
        rows: ``(s,)`` row of each position.
        columns: ``(s,)`` column of each position.
        head_channels: channels of one head; must be a multiple of four.

    Returns:
        ``(s, head_channels / 2)`` float32.
    """
    half = head_channels // 2
    return torch.cat((angles_1d(rows, half), angles_1d(columns, half)), dim=-1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn each pair of channels ``(i, i + h_d / 2)`` by its angle.

    Args:
        x: ``(..., s, h_d)``.
        angles: broadcastable to ``(..., s, h_d / 2)``.

    Returns:
        The turned ``x``, in its own type.
    """
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)
