"""What a visual token covers, as a tiny picture: colour and shape that the encoder may have lost.

The embedded model's encoder is frozen while its answer branch learns, and its features of photos
say little about exact colours. So each token's own square, shrunk to 8x8 px, is read beside them.

Notation used for tensor shapes:
    n: frames of one size; h, w: height and width in pixels; k: visual tokens of a frame
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

THUMBNAIL_PX: Final = 8
"""Side of the thumbnail of one visual token."""

THUMBNAIL_VALUES: Final = THUMBNAIL_PX**2 * 3


def thumbnails(frames: Tensor, token_px: int) -> Tensor:
    """Shrink the square of every token.

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


def scaled(thumbs: Tensor) -> Tensor:
    """Thumbnails as the adapter reads them: from -1 to 1."""
    return thumbs.float() / 127.5 - 1.0
