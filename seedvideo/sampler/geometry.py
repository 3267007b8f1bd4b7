"""Token geometry: which frame sizes a model accepts, and their visual tokens.

One visual token covers a square of ``token_px`` pixels per side. So the sides of a frame are
multiples of ``token_px``, and its cost is the number of squares. ``_px`` are pixels, ``_tokens``
are visual tokens.

Constants are from the Seed1.5-VL technical report (arXiv 2505.07062), sections 2.1 and 2.2, and the
sampler of its official cookbook.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

from seedvideo.arguments import check_int, check_kind, check_text
from seedvideo.errors import PlanError

PATCH_PX: Final = 14
"""Side of one Seed-ViT patch, in pixels."""

POOL: Final = 2
"""Patches per side that 2x2 average pooling merges into one visual token."""

TOKEN_PX: Final = PATCH_PX * POOL
"""Side of the square that one visual token covers: 28 px."""

TOKEN_AREA_PX: Final = TOKEN_PX * TOKEN_PX
"""Pixels that one visual token covers: 784."""

LEVELS_TOKENS: Final = (640, 512, 384, 256, 160, 128)
"""Caps of visual tokens per frame, best first (report, section 2.2)."""

MIN_FRAME_TOKENS: Final = 4
"""Minimum visual tokens of a frame in the official code."""

BUDGET_TOKENS: Final = 81_920
"""Default token budget of a video (report, section 2.2)."""

MIN_FRAMES: Final = 16
"""Minimum frames that the official code samples, if the video has them."""

MAX_ASPECT: Final = 200
"""Maximum ratio of sides that the official resize accepts."""

FRAME_TEXT_TOKENS: Final = 8
"""Assumed text tokens of a frame's timestamp and its two markers, without a tokenizer."""


@dataclass(frozen=True)
class TokenGeometry:
    """Rules of a model family for turning a frame size into visual tokens.

    Args:
        name: short name.
        token_px: side of the square that one visual token covers, in pixels.
        levels_tokens: caps of visual tokens per frame, best first, strictly falling.
        min_frame_tokens: minimum tokens of a frame; a smaller one is scaled up to about this size.
        default_budget_tokens: token budget of a video without an explicit one.
        min_frames: minimum frames of a plan, if the video has them.

    Raises:
        ValueError: if a value is out of range or the levels do not fall.
        OptionTypeError: ``config.type`` if a value has a wrong type.
    """

    name: str
    token_px: int
    levels_tokens: tuple[int, ...]
    min_frame_tokens: int
    default_budget_tokens: int
    min_frames: int = MIN_FRAMES

    def __post_init__(self) -> None:
        check_text("name", self.name)
        check_kind("levels_tokens", self.levels_tokens, Sequence, "a tuple of whole numbers")
        for level in self.levels_tokens:
            check_int("levels_tokens", level)
        for name in ("token_px", "min_frame_tokens", "default_budget_tokens", "min_frames"):
            check_int(name, getattr(self, name))
        if not self.name:
            raise ValueError("name is empty")
        if self.token_px < 1:
            raise ValueError(f"token_px is {self.token_px}, expected at least 1")
        if self.min_frame_tokens < 1:
            raise ValueError(f"min_frame_tokens is {self.min_frame_tokens}, expected at least 1")
        levels = self.levels_tokens
        if not levels or any(low >= high for high, low in pairwise(levels)):
            raise ValueError(f"levels_tokens is {levels}, expected falling values, best first")
        if levels[-1] < self.min_frame_tokens:
            raise ValueError(
                f"the lowest level is {levels[-1]}, below min_frame_tokens {self.min_frame_tokens}"
            )
        if self.default_budget_tokens < 1:
            raise ValueError(
                f"default_budget_tokens is {self.default_budget_tokens}, expected at least 1"
            )
        if self.min_frames < 1:
            raise ValueError(f"min_frames is {self.min_frames}, expected at least 1")

    def size(self, *, width_px: int, height_px: int, level_tokens: int) -> tuple[int, int]:
        """Return the size of a frame under a cap of visual tokens.

        This is the resize of the official Seed1.5-VL code (``get_resized_hw_for_Navit``) with
        ``token_px`` in place of 28. Each side is rounded to the nearest multiple. Above the cap,
        the original sides are scaled to the area of the cap and rounded down; below the minimum,
        they are scaled to the area of the minimum and rounded up. Float operations keep their
        order, so that sizes at the edge of a multiple agree too. The official code can reduce the
        short side of a sliver to 0, or exceed a tiny cap with a tiny frame; here the sides are
        clamped to at least one square and at most the cap.

        Args:
            width_px: displayed width of the frame.
            height_px: displayed height of the frame.
            level_tokens: maximum visual tokens of the frame.

        Returns:
            ``(width_px, height_px)``, both multiples of ``token_px``.

        Raises:
            PlanError: ``plan.invalid`` if a side is below 1, the level is below
                ``min_frame_tokens``, or one side is more than 200 times the other.
        """
        if width_px < 1 or height_px < 1:
            raise PlanError("plan.invalid", f"a frame cannot be {width_px}x{height_px} px")
        if level_tokens < self.min_frame_tokens:
            raise PlanError(
                "plan.invalid",
                f"a frame of the {self.name} geometry needs {self.min_frame_tokens} tokens"
                f" or more, not {level_tokens}",
            )
        if max(width_px, height_px) / min(width_px, height_px) > MAX_ASPECT:
            raise PlanError(
                "plan.invalid",
                f"a frame of {width_px}x{height_px} px is too narrow:"
                f" one side is more than {MAX_ASPECT} times the other",
            )
        unit = self.token_px
        # Python's round, like the official code's, takes halves to the even neighbour.
        columns = max(1, round(width_px / unit))
        rows = max(1, round(height_px / unit))
        if columns * rows > level_tokens:
            shrink = math.sqrt((height_px * width_px) / (level_tokens * unit * unit))
            columns = math.floor(width_px / shrink / unit)
            rows = math.floor(height_px / shrink / unit)
        elif columns * rows < self.min_frame_tokens:
            grow = math.sqrt(self.min_frame_tokens * unit * unit / (height_px * width_px))
            columns = math.ceil(width_px * grow / unit)
            rows = math.ceil(height_px * grow / unit)
        columns, rows = _clamp(columns, rows, level_tokens)
        return columns * unit, rows * unit

    def tokens(self, *, width_px: int, height_px: int) -> int:
        """Return the visual tokens of a frame of this size.

        Raises:
            PlanError: ``plan.invalid`` if a side is not a positive multiple of ``token_px``.
        """
        unit = self.token_px
        if width_px < unit or height_px < unit or width_px % unit or height_px % unit:
            raise PlanError(
                "plan.invalid",
                f"a size of {width_px}x{height_px} px does not fit the {self.name} geometry:"
                f" both sides must be multiples of {unit} px",
            )
        return (width_px // unit) * (height_px // unit)


def _clamp(columns: int, rows: int, level_tokens: int) -> tuple[int, int]:
    """Clamp to at least one square per side and at most the cap, by shortening the longer side."""
    columns, rows = max(1, columns), max(1, rows)
    if columns * rows <= level_tokens:
        return columns, rows
    if columns >= rows:
        return max(1, level_tokens // rows), rows
    return columns, max(1, level_tokens // columns)


SEED: Final = TokenGeometry(
    name="seed",
    token_px=TOKEN_PX,
    levels_tokens=LEVELS_TOKENS,
    min_frame_tokens=MIN_FRAME_TOKENS,
    default_budget_tokens=BUDGET_TOKENS,
)
"""Published geometry of Seed1.5-VL (report, section 2.2): 28 px per token, six levels."""


def default_text_tokens(pts: Fraction) -> int:
    """Return the assumed tokens of a frame's timestamp text and its two markers: 8."""
    del pts
    return FRAME_TEXT_TOKENS
