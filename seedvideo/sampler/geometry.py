"""Token geometry: which frame sizes a model accepts, and their visual tokens.

There are three kinds. In `TokenGeometry`, a grid, one visual token covers a square of ``token_px``
pixels per side. In `TileGeometry` a frame is cut into square tiles that cost the same each. A
`ProbedGeometry` asks the processor of an unknown model what a size costs. ``_px`` are pixels,
``_tokens`` are visual tokens.

Constants are from the Seed1.5-VL technical report (arXiv 2505.07062), sections 2.1 and 2.2, and the
sampler of its official cookbook.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Final, Protocol, runtime_checkable

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


@runtime_checkable
class Geometry(Protocol):
    """Rules of a model family for turning a frame size into visual tokens."""

    @property
    def name(self) -> str:
        """Short name."""
        ...

    @property
    def levels_tokens(self) -> tuple[int, ...]:
        """Caps of visual tokens per frame, best first, strictly falling."""
        ...

    @property
    def default_budget_tokens(self) -> int:
        """Token budget of a video without an explicit one."""
        ...

    @property
    def min_frames(self) -> int:
        """Minimum frames of a plan, if the video has them."""
        ...

    @property
    def token_area_px(self) -> float:
        """Pixels of a frame that one visual token covers."""
        ...

    def size(self, *, width_px: int, height_px: int, level_tokens: int) -> tuple[int, int]:
        """Return the size of a frame under a cap of visual tokens.

        Args:
            width_px: displayed width of the frame.
            height_px: displayed height of the frame.
            level_tokens: maximum visual tokens of the frame.

        Raises:
            PlanError: ``plan.invalid`` if the frame has no such size.
        """
        ...

    def tokens(self, *, width_px: int, height_px: int) -> int:
        """Return the visual tokens of a frame of this size.

        Raises:
            PlanError: ``plan.invalid`` if no frame of the family has this size.
        """
        ...


@dataclass(frozen=True)
class TokenGeometry:
    """Geometry of a family whose visual tokens form a grid, such as Seed, Qwen and GLM.

    Args:
        name: short name.
        token_px: side of the square that one visual token covers, in pixels.
        levels_tokens: caps of visual tokens per frame, best first, strictly falling.
        min_frame_tokens: minimum tokens of a frame; a smaller one is scaled up to about this size.
        default_budget_tokens: token budget of a video without an explicit one.
        min_frames: minimum frames of a plan, if the video has them.
        row_tokens: tokens that end each row of the grid, such as the one of Mistral 3.
        max_side_px: maximum side of a frame; None for none.

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
    row_tokens: int = 0
    max_side_px: int | None = None

    def __post_init__(self) -> None:
        _check_common(self)
        for name in ("token_px", "min_frame_tokens"):
            check_int(name, getattr(self, name))
        if self.token_px < 1:
            raise ValueError(f"token_px is {self.token_px}, expected at least 1")
        if self.min_frame_tokens < 1:
            raise ValueError(f"min_frame_tokens is {self.min_frame_tokens}, expected at least 1")
        if self.levels_tokens[-1] < self.min_frame_tokens:
            raise ValueError(
                f"the lowest level is {self.levels_tokens[-1]},"
                f" below min_frame_tokens {self.min_frame_tokens}"
            )
        if self.row_tokens < 0:
            raise ValueError(f"row_tokens is {self.row_tokens}, expected at least 0")
        if self.max_side_px is not None and self.max_side_px < self.token_px:
            raise ValueError(f"max_side_px is {self.max_side_px}, below token_px {self.token_px}")

    @property
    def token_area_px(self) -> float:
        """Pixels that one visual token covers."""
        return float(self.token_px**2)

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
        _check_frame(self.name, width_px, height_px, level_tokens, self.min_frame_tokens)
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
        if self.max_side_px is not None:
            most = self.max_side_px // unit
            if max(columns, rows) > most:
                shrink = most / max(columns, rows)
                columns = max(1, math.floor(columns * shrink))
                rows = max(1, math.floor(rows * shrink))
        while rows * (columns + self.row_tokens) > level_tokens and (columns > 1 or rows > 1):
            # The ends of the rows cost too: give up squares of the longer side.
            columns, rows = (columns - 1, rows) if columns >= rows else (columns, rows - 1)
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
        return (height_px // unit) * (width_px // unit + self.row_tokens)


@dataclass(frozen=True)
class TileGeometry:
    """Geometry of a family that cuts a frame into square tiles, such as InternVL.

    A frame of more than one tile costs one tile more: the complete frame in small. A family that
    squeezes every frame into one square has ``max_tiles`` 1, hence one level.

    Args:
        name: short name.
        tile_px: side of a tile, in pixels.
        tile_tokens: visual tokens of a tile.
        default_budget_tokens: token budget of a video without an explicit one.
        max_tiles: maximum tiles of a frame, without the small one.
        min_frames: minimum frames of a plan, if the video has them.

    Raises:
        ValueError: if a value is below 1.
        OptionTypeError: ``config.type`` if a value has a wrong type.
    """

    name: str
    tile_px: int
    tile_tokens: int
    default_budget_tokens: int
    max_tiles: int = 1
    min_frames: int = MIN_FRAMES

    def __post_init__(self) -> None:
        for name in ("tile_px", "tile_tokens", "max_tiles"):
            check_int(name, getattr(self, name))
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        _check_common(self)

    @property
    def levels_tokens(self) -> tuple[int, ...]:
        """Tokens of each number of tiles, best first."""
        return tuple(self._cost(count) for count in range(self.max_tiles, 0, -1))

    @property
    def token_area_px(self) -> float:
        """Pixels that one visual token of a tile covers."""
        return self.tile_px**2 / self.tile_tokens

    def size(self, *, width_px: int, height_px: int, level_tokens: int) -> tuple[int, int]:
        """Return the grid of tiles whose shape is nearest to that of the frame; see `Geometry`.

        Of two grids of the same shape the larger is taken.
        """
        _check_frame(self.name, width_px, height_px, level_tokens, self.tile_tokens)
        most = max(n for n in range(1, self.max_tiles + 1) if self._cost(n) <= level_tokens)
        shape = math.log(width_px / height_px)
        _, _, columns, rows = min(
            (round(abs(math.log(columns / rows) - shape), 9), -columns * rows, columns, rows)
            for columns in range(1, most + 1)
            for rows in range(1, most // columns + 1)
        )
        return columns * self.tile_px, rows * self.tile_px

    def tokens(self, *, width_px: int, height_px: int) -> int:
        """Return the visual tokens of a grid of tiles; see `Geometry`."""
        columns, rest = divmod(width_px, self.tile_px)
        rows, other_rest = divmod(height_px, self.tile_px)
        if rest or other_rest or not 1 <= columns * rows <= self.max_tiles:
            raise PlanError(
                "plan.invalid",
                f"a size of {width_px}x{height_px} px does not fit the {self.name} geometry:"
                f" it takes 1 to {self.max_tiles} tiles of {self.tile_px} px",
            )
        return self._cost(columns * rows)

    def _cost(self, tiles: int) -> int:
        return self.tile_tokens * (tiles + (tiles > 1))


PROBED_SIDES_PX: Final = (896, 672, 448, 336, 224)
"""Sides of the squares that a probed geometry tries, largest first."""

_PROBED_UNIT_PX: Final = 28
"""Sides of a probed frame are multiples of 28 px, which most patches divide."""


@dataclass(frozen=True)
class ProbedGeometry:
    """Geometry of an unknown model: its processor is asked what a size costs.

    Args:
        name: short name.
        levels_tokens: tokens of a square frame of some sides, best first, without repeats.
        sides_px: the side of the square of each level.
        default_budget_tokens: token budget of a video without an explicit one.
        measured: width, height and tokens of sizes that were measured; a plan that was read has
            only these.
        measure: measures a size (width, height) with the processor; None in a plan that was read.
        min_frames: minimum frames of a plan, if the video has them.

    Raises:
        ValueError: if a value is out of range or the levels do not fall.
    """

    name: str
    levels_tokens: tuple[int, ...]
    sides_px: tuple[int, ...]
    default_budget_tokens: int
    measured: tuple[tuple[int, int, int], ...] = ()
    measure: Callable[[int, int], int] | None = field(default=None, compare=False, repr=False)
    min_frames: int = MIN_FRAMES

    def __post_init__(self) -> None:
        _check_common(self)
        if len(self.sides_px) != len(self.levels_tokens):
            raise ValueError(
                f"sides_px has {len(self.sides_px)} values, expected {len(self.levels_tokens)}"
            )

    @classmethod
    def probe(
        cls, name: str, measure: Callable[[int, int], int], *, default_budget_tokens: int
    ) -> "ProbedGeometry":
        """Measure the squares of `PROBED_SIDES_PX`; of equal costs the largest square counts."""
        levels: dict[int, int] = {}
        for side_px in PROBED_SIDES_PX:
            levels.setdefault(measure(side_px, side_px), side_px)
        ordered = sorted(levels, reverse=True)
        return cls(
            name,
            tuple(ordered),
            tuple(levels[tokens] for tokens in ordered),
            default_budget_tokens,
            measure=measure,
        )

    @property
    def token_area_px(self) -> float:
        """Pixels that one visual token covers, at the best level."""
        return self.sides_px[0] ** 2 / self.levels_tokens[0]

    def size(self, *, width_px: int, height_px: int, level_tokens: int) -> tuple[int, int]:
        """Return a size of the frame's shape and about the area of the level; see `Geometry`.

        If it costs more than the level, as tiles can, smaller areas are tried and at last the
        square of the level.
        """
        _check_frame(self.name, width_px, height_px, level_tokens, self.levels_tokens[-1])
        level = next(index for index, n in enumerate(self.levels_tokens) if n <= level_tokens)
        for side_px in self.sides_px[level:]:
            scale = side_px / math.sqrt(width_px * height_px)
            columns = max(1, math.floor(width_px * scale / _PROBED_UNIT_PX))
            rows = max(1, math.floor(height_px * scale / _PROBED_UNIT_PX))
            size = (columns * _PROBED_UNIT_PX, rows * _PROBED_UNIT_PX)
            if self.tokens(width_px=size[0], height_px=size[1]) <= level_tokens:
                return size
        return self.sides_px[level], self.sides_px[level]

    def tokens(self, *, width_px: int, height_px: int) -> int:
        """Return the measured tokens of a size; see `Geometry`."""
        if self.measure is not None:
            return self.measure(width_px, height_px)
        for known_width_px, known_height_px, tokens in self.measured:
            if (known_width_px, known_height_px) == (width_px, height_px):
                return tokens
        raise PlanError(
            "plan.invalid",
            f"a size of {width_px}x{height_px} px was not measured for the {self.name} geometry",
        )


def _check_common(geometry: Geometry) -> None:
    """Check what all kinds of geometry have."""
    check_text("name", geometry.name)
    if not geometry.name:
        raise ValueError("name is empty")
    levels = geometry.levels_tokens
    check_kind("levels_tokens", levels, Sequence, "a tuple of whole numbers")
    for level in levels:
        check_int("levels_tokens", level)
    if not levels or levels[-1] < 1 or any(low >= high for high, low in pairwise(levels)):
        raise ValueError(f"levels_tokens is {levels}, expected falling values, best first")
    for name in ("default_budget_tokens", "min_frames"):
        check_int(name, getattr(geometry, name))
        if getattr(geometry, name) < 1:
            raise ValueError(f"{name} is {getattr(geometry, name)}, expected at least 1")


def _check_frame(
    name: str, width_px: int, height_px: int, level_tokens: int, least_tokens: int
) -> None:
    """Refuse a frame that no geometry can resize, and a level below the least of this one."""
    if width_px < 1 or height_px < 1:
        raise PlanError("plan.invalid", f"a frame cannot be {width_px}x{height_px} px")
    if level_tokens < least_tokens:
        raise PlanError(
            "plan.invalid",
            f"a frame of the {name} geometry needs {least_tokens} tokens"
            f" or more, not {level_tokens}",
        )
    if max(width_px, height_px) / min(width_px, height_px) > MAX_ASPECT:
        raise PlanError(
            "plan.invalid",
            f"a frame of {width_px}x{height_px} px is too narrow:"
            f" one side is more than {MAX_ASPECT} times the other",
        )


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
