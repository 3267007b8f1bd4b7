"""Contact sheets: frames in a grid with their times, for people.

A large sheet shows the frames of a plan with a header, sizes and tokens. A small one has only
times, and is small enough to keep for thousands of clips. Sizes are pixels of the sheet, unless the
size of a frame is meant.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from seedvideo.media.types import Frame
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.uniform import subsample
from seedvideo.utils.text import format_fraction, printable
from seedvideo.utils.timecode import seconds

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

MAX_LARGE_THUMBNAILS: Final = 64
"""Maximum frames on a large sheet; more are subsampled evenly."""

MAX_SMALL_THUMBNAILS: Final = 12
"""Maximum frames on a small sheet."""

# Columns by number of frames: the first row of the table whose count is not exceeded.
_LARGE_COLUMNS: Final = ((3, 3), (16, 4), (20, 5), (36, 6), (MAX_LARGE_THUMBNAILS, 8))
_WIDTH_PX: Final = 1800
_MARGIN_PX: Final = 36
_GAP_PX: Final = 18
_HEADER_PX: Final = 96
_CAPTION_PX: Final = 34
_TITLE_FONT_PX: Final = 28
_TEXT_FONT_PX: Final = 16
_CAPTION_FONT_PX: Final = 14
_MAX_TITLE_CHARACTERS: Final = 400

_SMALL_COLUMNS: Final = 4
_SMALL_THUMBNAIL_PX: Final = 240
_SMALL_CAPTION_PX: Final = 28
_SMALL_GAP_PX: Final = 8
_SMALL_FONT_PX: Final = 18
_JPEG_QUALITIES: Final = (80, 65, 50, 35)
"""Tried in this order until a small sheet fits its maximum size."""

_BACKGROUND: Final = (250, 250, 248)
_TEXT_COLOR: Final = (30, 32, 36)
_MUTED_COLOR: Final = (110, 114, 120)
_RULE: Final = (212, 212, 208)


@dataclass(frozen=True)
class _Grid:
    """Where the thumbnails of a sheet go, in pixels."""

    size: tuple[int, int]
    origin: tuple[int, int]
    step: tuple[int, int]
    columns: int
    thumbnails: Sequence[tuple[int, int]]

    def corner(self, index: int) -> tuple[int, int]:
        """Return the top left corner of a thumbnail."""
        row, column = divmod(index, self.columns)
        return self.origin[0] + column * self.step[0], self.origin[1] + row * self.step[1]


def contact_sheet(frames: Sequence[Frame], plan: Plan | None = None) -> npt.NDArray[np.uint8]:
    """Lay frames out in a grid, in order of time.

    With a plan, the sheet is large: it has a header, and a caption such as
    ``12.500 s   420x224   120 tok`` below each frame. Without one it is small and has times only,
    which are still readable at half of its size.

    Args:
        frames: decoded frames, at their planned sizes; at least one.
        plan: the plan of the frames, for the header and the token counts.

    Returns:
        ``(height_px, width_px, 3)``, RGB. More frames than `MAX_LARGE_THUMBNAILS`, or
        `MAX_SMALL_THUMBNAILS` without a plan, are subsampled evenly.

    Raises:
        ValueError: if there are no frames.
    """
    # Pillow is imported only where a picture is drawn.
    from PIL import Image, ImageDraw, ImageFont

    if not frames:
        raise ValueError("a contact sheet needs at least one frame")
    if plan is None:
        shown = subsample(frames, MAX_SMALL_THUMBNAILS)
        font = ImageFont.load_default(_SMALL_FONT_PX)
        grid, resampling = _small_grid(shown, font), Image.Resampling.BILINEAR
    else:
        shown = subsample(frames, MAX_LARGE_THUMBNAILS)
        font = ImageFont.load_default(_CAPTION_FONT_PX)
        grid, resampling = _large_grid(shown), Image.Resampling.LANCZOS
    sheet = Image.new("RGB", grid.size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    if plan is not None:
        some = f"{len(shown)} of {len(frames):,} frames shown" if len(shown) < len(frames) else ""
        _draw_header(draw, plan, note=some)
    for index, (frame, size) in enumerate(zip(shown, grid.thumbnails, strict=True)):
        left, top = grid.corner(index)
        sheet.paste(Image.fromarray(frame.pixels).resize(size, resampling), (left, top))
        if plan is None:
            draw.text((left, top + size[1] + 2), _small_time(frame), font=font, fill=_TEXT_COLOR)
        else:
            below = top + grid.step[1] - _CAPTION_PX - _GAP_PX + 7
            _draw_caption(draw, frame, plan, at=(left, below), width=size[0], font=font)
    return np.asarray(sheet, dtype=np.uint8)


def small_contact_sheet(frames: Sequence[Frame], *, max_bytes: int) -> bytes:
    """Return a contact sheet without a plan as a JPEG of at most ``max_bytes``, if possible.

    Pictures of noise may take more.
    """
    from PIL import Image

    sheet = Image.fromarray(contact_sheet(frames))
    encoded = b""
    for quality in _JPEG_QUALITIES:
        data = BytesIO()
        sheet.save(data, "JPEG", quality=quality, progressive=True)
        encoded = data.getvalue()
        if len(encoded) <= max_bytes:
            break
    return encoded


def _large_grid(frames: Sequence[Frame]) -> _Grid:
    columns = next(columns for most, columns in _LARGE_COLUMNS if len(frames) <= most)
    cell = (_WIDTH_PX - 2 * _MARGIN_PX - (columns - 1) * _GAP_PX) // columns
    # A tall picture is made narrower, so that no row is higher than a cell is wide.
    thumbnails = [_fit(frame, cell) for frame in frames]
    step = (cell + _GAP_PX, max(height for _, height in thumbnails) + _CAPTION_PX + _GAP_PX)
    origin = (_MARGIN_PX, _MARGIN_PX + _HEADER_PX)
    rows = ceil(len(frames) / columns)
    return _Grid((_WIDTH_PX, origin[1] + rows * step[1]), origin, step, columns, thumbnails)


def _small_grid(frames: Sequence[Frame], font: "Font") -> _Grid:
    columns = min(_SMALL_COLUMNS, len(frames))
    thumbnails = [_fit(frame, _SMALL_THUMBNAIL_PX) for frame in frames]
    # The text of the time may be wider than a tall, narrow picture.
    captions = [ceil(font.getlength(_small_time(frame))) for frame in frames]
    step = (
        max(*captions, *(width for width, _ in thumbnails)) + _SMALL_GAP_PX,
        max(height for _, height in thumbnails) + _SMALL_CAPTION_PX,
    )
    rows = ceil(len(frames) / columns)
    size = (columns * step[0] + _SMALL_GAP_PX, rows * step[1] + _SMALL_GAP_PX)
    return _Grid(size, (_SMALL_GAP_PX, _SMALL_GAP_PX), step, columns, thumbnails)


def _small_time(frame: Frame) -> str:
    return f"{seconds(frame.pts):.2f} s"


def _fit(frame: Frame, cell: int) -> tuple[int, int]:
    """Return width and height of a frame's thumbnail within a square cell."""
    height, width = frame.pixels.shape[:2]
    scale = cell / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _draw_header(draw: "ImageDraw", plan: Plan, *, note: str) -> None:
    from PIL import ImageFont

    title, text = ImageFont.load_default(_TITLE_FONT_PX), ImageFont.load_default(_TEXT_FONT_PX)
    width = _WIDTH_PX - 2 * _MARGIN_PX
    totals = plan.totals
    facts = "      ".join(
        (
            f"{seconds(plan.media.duration):.3f} s",
            f"policy {plan.policy}",
            f"{totals.frames:,} frame{'' if totals.frames == 1 else 's'}",
            f"charged {format_fraction(plan.charged_tokens, plan.budget_tokens)}",
            f"{totals.visual_tokens:,} visual + {totals.text_tokens:,} text tokens",
        )
    )
    top = _MARGIN_PX - 8
    name = _shorten(draw, printable(PurePath(plan.source).name or plan.source), title, width)
    draw.text((_MARGIN_PX, top), name, font=title, fill=_TEXT_COLOR)
    below = top + _TITLE_FONT_PX + 14
    draw.text((_MARGIN_PX, below), _shorten(draw, facts, text, width), font=text, fill=_MUTED_COLOR)
    draw.text((_MARGIN_PX + width, below), note, font=text, fill=_TEXT_COLOR, anchor="ra")
    rule = below + _TEXT_FONT_PX + 16
    draw.line((_MARGIN_PX, rule, _MARGIN_PX + width, rule), fill=_RULE)


def _draw_caption(
    draw: "ImageDraw",
    frame: Frame,
    plan: Plan,
    *,
    at: tuple[int, int],
    width: int,
    font: "Font",
) -> None:
    """Draw the time at the left, and size and tokens at the right or directly after it."""
    height_px, width_px = frame.pixels.shape[:2]
    tokens = plan.geometry.tokens(width_px=width_px, height_px=height_px)
    time, cost = f"{seconds(frame.pts):.3f} s", f"{width_px}x{height_px}   {tokens} tok"
    left, top = at
    draw.text((left, top), time, font=font, fill=_TEXT_COLOR)
    after = left + draw.textlength(f"{time}   ", font=font)
    start = max(after, left + width - draw.textlength(cost, font=font))
    draw.text((start, top), cost, font=font, fill=_MUTED_COLOR)


def _shorten(draw: "ImageDraw", text: str, font: "Font", width: float) -> str:
    """Return the text, shortened with dots at its end if it exceeds the width."""
    if len(text) <= _MAX_TITLE_CHARACTERS and draw.textlength(text, font=font) <= width:
        return text
    text = text[:_MAX_TITLE_CHARACTERS]
    fitting = bisect_right(
        range(len(text)), width, key=lambda end: draw.textlength(f"{text[:end]}...", font=font)
    )
    return f"{text[: max(0, fitting - 1)]}..."
