"""How large a picture must be shown for its detail to be read, from one larger luma picture.

Detail is local contrast that grain does not reach: what a picture loses when it is scaled down and
up again, beyond `_GRAIN_LEVELS`. Soft pictures lose nothing at the lowest level; dense small print
loses most. Knows pixels and token areas, no video and no plan.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

TOKEN_AREA_PX: Final = 28 * 28
"""Pixels that a visual token covers in the published model."""

DETAIL_PX: Final = 640 * TOKEN_AREA_PX
"""Pixels of the picture that is judged: the highest published level."""

LEAST_TOKENS: Final = 32.0
MOST_TOKENS: Final = 800.0
UNKNOWN_TOKENS: Final = 160.0
"""What is taken for a picture that nobody has seen: photographs need about this."""

_LEVELS: Final = (128, 256, 384, 512)
_GRAIN_LEVELS: Final = 12.0
_LEAST_CONTRAST: Final = 0.05
"""Mean contrast, in levels, below which a picture is plain."""

_READ: Final = 1 - math.exp(-1)


def detail_tokens(picture: npt.NDArray[np.uint8]) -> float:
    """Visual tokens a frame at which about 63 % of a picture's detail survives.

    Args:
        picture: luma ``(H, W)``, about `DETAIL_PX` pixels, or all that the video has.
    """
    import cv2  # Heavy, and only those who look at pictures need it.

    height_px, width_px = picture.shape
    full = picture.astype(np.float32)
    contrast = np.abs(full - cv2.boxFilter(full, -1, (15, 15)))
    counts = contrast > _GRAIN_LEVELS
    total = float(contrast[counts].sum())
    if total < _LEAST_CONTRAST * contrast.size:
        return LEAST_TOKENS
    needs = LEAST_TOKENS
    before = (0.0, 0.0)
    for level in _LEVELS:
        scale = math.sqrt(level * TOKEN_AREA_PX / (height_px * width_px))
        if scale >= 1:
            kept = 1.0
        else:
            size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
            small = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
            back = cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
            kept = 1 - min(1.0, float(np.abs(full - back)[counts].sum()) / total)
        if kept >= _READ:
            if before[0]:
                share = (_READ - before[1]) / (kept - before[1])
                return before[0] + share * (level - before[0])
            needs = level / -math.log(max(1 - kept, 1e-3))
            return min(max(needs, LEAST_TOKENS), MOST_TOKENS)
        before = (float(level), kept)
    return MOST_TOKENS
