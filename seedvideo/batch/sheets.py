"""A small contact sheet for a report: thumbnails of what the model was shown, with their times.

Unlike `sampler.sheet` it has no header, and is small enough to keep thousands of them. The times
can still be read where the report shows a sheet at half of its size. Sizes are pixels of the sheet.
"""

from io import BytesIO
from math import ceil
from typing import Final

from seedvideo.prepared import Shown
from seedvideo.sampler.uniform import thin
from seedvideo.utils.timecode import seconds

MAX_THUMBNAILS: Final = 12
MAX_BYTES: Final = 60_000
"""Of a sheet: what is as busy as noise, all over, may take more."""

_COLUMNS: Final = 4
_THUMBNAIL_PX: Final = 240
_CAPTION_PX: Final = 28
_GAP_PX: Final = 8
_FONT_PX: Final = 18
_QUALITIES: Final = (80, 65, 50, 35)
"""Of the JPEG, the first that stays below `MAX_BYTES`."""

_PAPER: Final = (250, 250, 248)
_INK: Final = (30, 32, 36)


def small_sheet(frames: Shown) -> bytes:
    """Lay frames out in a grid, in order of time, as a JPEG.

    Args:
        frames: at least one; of more than `MAX_THUMBNAILS`, as many are taken evenly.

    Raises:
        ValueError: if there are none.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not frames:
        raise ValueError("a contact sheet needs at least one frame")
    shown = thin(frames, MAX_THUMBNAILS)
    sizes = []
    for _, pixels in shown:
        scale = _THUMBNAIL_PX / max(pixels.shape[:2])
        sizes.append(tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1]))
    font = ImageFont.load_default(_FONT_PX)
    words = [f"{seconds(time):.2f} s" for time, _ in shown]
    columns = min(_COLUMNS, len(shown))
    # A tall, narrow picture has less room than its time.
    widths_px = [*(width for width, _ in sizes), *(ceil(font.getlength(text)) for text in words)]
    cell_px = max(widths_px) + _GAP_PX
    row_px = max(height for _, height in sizes) + _CAPTION_PX
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * cell_px + _GAP_PX, rows * row_px + _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, ((_, pixels), size, text) in enumerate(zip(shown, sizes, words, strict=True)):
        left = _GAP_PX + place % columns * cell_px
        top = _GAP_PX + place // columns * row_px
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
        sheet.paste(picture, (left, top))
        draw.text((left, top + size[1] + 2), text, font=font, fill=_INK)
    made = b""
    for quality in _QUALITIES:
        data = BytesIO()
        sheet.save(data, "JPEG", quality=quality, progressive=True)
        made = data.getvalue()
        if len(made) <= MAX_BYTES:
            break
    return made
