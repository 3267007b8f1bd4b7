"""A contact sheet: the frames of a plan on one picture, with their times, sizes and tokens.

For people, to see at a glance what a model would see. Knows the plan and its frames, no file.
Sizes are pixels of the sheet unless a frame's own size is meant.
"""

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from seedvideo.media.types import Frame
from seedvideo.sampler.plan import Plan
from seedvideo.sampler.plan_text import printable, share
from seedvideo.sampler.uniform import thin
from seedvideo.utils.timecode import seconds

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

MAX_THUMBNAILS: Final = 64
"""Most frames on one sheet; of more, as many are taken evenly."""

# Columns by number of frames: the first row of the table whose count is not exceeded.
_COLUMNS: Final = ((3, 3), (16, 4), (20, 5), (36, 6), (MAX_THUMBNAILS, 8))
_WIDTH_PX: Final = 1800
_MARGIN_PX: Final = 36
_GAP_PX: Final = 18
_HEADER_PX: Final = 96
_CAPTION_PX: Final = 34
_LONGEST_TEXT: Final = 400
_TITLE_FONT_PX: Final = 28
_TEXT_FONT_PX: Final = 16
_CAPTION_FONT_PX: Final = 14
_PAPER: Final = (250, 250, 248)
_INK: Final = (30, 32, 36)
_FAINT: Final = (110, 114, 120)
_RULE: Final = (212, 212, 208)


def contact_sheet(frames: Sequence[Frame], plan: Plan) -> npt.NDArray[np.uint8]:
    """Lay frames out in a grid, in order of time.

    Under each stands a caption such as ``12.500 s   420x224   120 tok``.

    Args:
        frames: the decoded frames of the plan, at their planned sizes; at least one.
        plan: the plan that they belong to, for the header and the price of a size.

    Returns:
        ``(height_px, width_px, 3)``, RGB. At most `MAX_THUMBNAILS` frames are shown, and the header
        says how many of how many.

    Raises:
        ValueError: if there are no frames.
    """
    # Only this function needs Pillow.
    from PIL import Image, ImageDraw, ImageFont

    if not frames:
        raise ValueError("a contact sheet needs at least one frame")
    shown = thin(frames, MAX_THUMBNAILS)
    columns = next(columns for most, columns in _COLUMNS if len(shown) <= most)
    cell_px = (_WIDTH_PX - 2 * _MARGIN_PX - (columns - 1) * _GAP_PX) // columns
    # A picture higher than wide is made narrower instead: no row is higher than a cell is wide.
    sizes = [_fitted(frame, cell_px) for frame in shown]
    picture_px = max(height for _, height in sizes)
    row_px = picture_px + _CAPTION_PX + _GAP_PX
    rows = -(-len(shown) // columns)

    sheet = Image.new("RGB", (_WIDTH_PX, _MARGIN_PX + _HEADER_PX + rows * row_px), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_header(
        draw,
        plan,
        title=ImageFont.load_default(_TITLE_FONT_PX),
        text=ImageFont.load_default(_TEXT_FONT_PX),
        note=f"{len(shown)} of {len(frames):,} frames shown" if len(shown) < len(frames) else "",
    )
    caption = ImageFont.load_default(_CAPTION_FONT_PX)
    for index, (frame, size) in enumerate(zip(shown, sizes, strict=True)):
        left = _MARGIN_PX + index % columns * (cell_px + _GAP_PX)
        top = _MARGIN_PX + _HEADER_PX + index // columns * row_px
        picture = Image.fromarray(frame.pixels).resize(size, Image.Resampling.LANCZOS)
        sheet.paste(picture, (left, top))
        _draw_caption(draw, frame, plan, at=(left, top + picture_px), width=size[0], font=caption)
    return np.asarray(sheet, dtype=np.uint8)


def _fitted(frame: Frame, cell_px: int) -> tuple[int, int]:
    """Width and height of a frame's picture within a square cell."""
    height, width = frame.pixels.shape[:2]
    scale = cell_px / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _draw_header(
    draw: "ImageDraw",
    plan: Plan,
    *,
    title: "FreeTypeFont | ImageFont",
    text: "FreeTypeFont | ImageFont",
    note: str,
) -> None:
    width = _WIDTH_PX - 2 * _MARGIN_PX
    totals = plan.totals
    facts = "      ".join(
        (
            f"{seconds(plan.media.duration):.3f} s",
            f"policy {plan.policy}",
            f"{totals.frames:,} frame{'' if totals.frames == 1 else 's'}",
            f"charged {share(plan.charged_tokens, plan.budget_tokens)}",
            f"{totals.visual_tokens:,} visual + {totals.text_tokens:,} text tokens",
        )
    )
    top = _MARGIN_PX - 8
    name = _shortened(draw, printable(PurePath(plan.source).name or plan.source), title, width)
    draw.text((_MARGIN_PX, top), name, font=title, fill=_INK)
    below = top + _TITLE_FONT_PX + 14
    draw.text((_MARGIN_PX, below), _shortened(draw, facts, text, width), font=text, fill=_FAINT)
    draw.text((_MARGIN_PX + width, below), note, font=text, fill=_INK, anchor="ra")
    rule = below + _TEXT_FONT_PX + 16
    draw.line((_MARGIN_PX, rule, _MARGIN_PX + width, rule), fill=_RULE)


def _draw_caption(
    draw: "ImageDraw",
    frame: Frame,
    plan: Plan,
    *,
    at: tuple[int, int],
    width: int,
    font: "FreeTypeFont | ImageFont",
) -> None:
    """Time at the left, size and tokens at the right; one after the other where it is narrow."""
    height_px, width_px = frame.pixels.shape[:2]
    tokens = plan.geometry.tokens(width_px=width_px, height_px=height_px)
    time, cost = f"{seconds(frame.pts):.3f} s", f"{width_px}x{height_px}   {tokens} tok"
    left, top = at[0], at[1] + 7
    draw.text((left, top), time, font=font, fill=_INK)
    after = left + draw.textlength(f"{time}   ", font=font)
    start = max(after, left + width - draw.textlength(cost, font=font))
    draw.text((start, top), cost, font=font, fill=_FAINT)


def _shortened(draw: "ImageDraw", text: str, font: "FreeTypeFont | ImageFont", width: float) -> str:
    """The text, its end replaced by dots where it is wider than there is room."""
    if len(text) <= _LONGEST_TEXT and draw.textlength(text, font=font) <= width:
        return text
    text = text[:_LONGEST_TEXT]
    fitting = bisect_right(
        range(len(text)), width, key=lambda end: draw.textlength(f"{text[:end]}...", font=font)
    )
    return f"{text[: max(0, fitting - 1)]}..."
