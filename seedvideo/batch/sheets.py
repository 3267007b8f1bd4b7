"""A small contact sheet for a report: thumbnails of what the model was shown, with their times.

Unlike `sampler.sheet` it has no header, and is small enough to keep thousands of them. Sizes are
pixels of the sheet.
"""

from io import BytesIO
from typing import Final

from seedvideo.media.timeline import seconds
from seedvideo.prepared import Shown
from seedvideo.sampler.spacing import thin

MAX_THUMBNAILS: Final = 20
_COLUMNS: Final = 5
_THUMBNAIL_PX: Final = 192
_CAPTION_PX: Final = 20
_GAP_PX: Final = 6
_FONT_PX: Final = 13
_QUALITY: Final = 80
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
    columns = min(_COLUMNS, len(shown))
    cell_px = max(width for width, _ in sizes) + _GAP_PX
    row_px = max(height for _, height in sizes) + _CAPTION_PX
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * cell_px + _GAP_PX, rows * row_px + _GAP_PX), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    for place, ((time, pixels), size) in enumerate(zip(shown, sizes, strict=True)):
        left = _GAP_PX + place % columns * cell_px
        top = _GAP_PX + place // columns * row_px
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
        sheet.paste(picture, (left, top))
        draw.text((left, top + size[1] + 2), f"{seconds(time):.2f} s", font=font, fill=_INK)
    data = BytesIO()
    sheet.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()
