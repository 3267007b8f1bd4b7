"""Small contact sheets, as in a report: few bytes, with times that can be read."""

from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from seedvideo.media.types import Frame
from seedvideo.sampler.contact_sheet import MAX_SMALL_THUMBNAILS, small_contact_sheet

MAX_BYTES = 60_000


def frames(count: int, *, height_px: int = 90, width_px: int = 160) -> list[Frame]:
    """Pictures that are gradients with a bar that moves."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    shown: list[Frame] = []
    for number in range(count):
        picture = np.stack([x + y, 2 * y, np.where(x // 8 == number, 255, 0)], axis=-1)
        shown.append(Frame(Fraction(number, 3), picture.astype(np.uint8)))
    return shown


def sheet(shown: list[Frame]) -> bytes:
    return small_contact_sheet(shown, max_bytes=MAX_BYTES)


def opened(data: bytes) -> Image.Image:
    """The picture, as someone else's program reads it."""
    return Image.open(BytesIO(data), formats=["JPEG"]).convert("RGB")


@pytest.mark.parametrize(
    ("count", "size"),
    [
        # Cells of 240 + 8 by 135 + 28 px, and 8 px more on the right and below.
        (1, (256, 171)),
        (4, (1000, 171)),
        (5, (1000, 334)),
        (MAX_SMALL_THUMBNAILS + 30, (1000, 497)),
    ],
)
def test_thumbnails_stand_in_four_columns(count: int, size: tuple[int, int]) -> None:
    data = sheet(frames(count))
    assert opened(data).size == size
    assert len(data) <= MAX_BYTES


def test_a_time_stands_below_its_thumbnail_and_inside_its_cell() -> None:
    for height_px, width_px in ((90, 160), (160, 90), (640, 10)):
        picture = opened(
            small_contact_sheet(
                frames(2, height_px=height_px, width_px=width_px), max_bytes=MAX_BYTES
            )
        )
        ink = np.asarray(picture.convert("L")) < 110
        words = ink[-26:]
        middle = picture.width // 2
        assert words[:, :middle].any()
        assert words[:, middle:].any()
        # Between two times there is paper, however narrow the pictures are.
        assert not words[:, middle - 2 : middle + 2].any()
        rows = np.flatnonzero(words.any(axis=1))
        assert rows[-1] - rows[0] + 1 >= 12, "digits of 18-px type"


def test_busy_pictures_are_kept_small() -> None:
    chance = np.random.default_rng(1)
    shown: list[Frame] = []
    for number in range(MAX_SMALL_THUMBNAILS):
        noise = 128 + chance.normal(0, 10, (135, 240, 3))
        shown.append(Frame(Fraction(number), noise.clip(0, 255).astype(np.uint8)))
    assert len(sheet(shown)) <= MAX_BYTES


def test_without_frames_there_is_no_sheet() -> None:
    with pytest.raises(ValueError, match="at least one"):
        sheet([])
