"""Codes to read: how they are drawn, and template matching that checks their legibility.

A code is six characters that OCR does not confuse. It is drawn with the font inside Pillow, so that
every machine draws the same pixels. Heights are given as cap height in pixels of a picture 1,080 px
high, whatever the real size; positions are pixels of the real picture.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Luma = npt.NDArray[np.uint8]
"""Brightness of a picture: ``(height_px, width_px)``, 16 is black and 235 is white."""

ALPHABET: Final = "ACDEFHJKMNPRTUVWXY3479"
"""Characters of codes, without 0/O, 1/I/L, 5/S, 2/Z, 8/B and 6/G, which OCR confuses (9 stays)."""

CODE_LENGTH: Final = 6
REFERENCE_HEIGHT_PX: Final = 1080
"""Height of the picture to which cap heights refer."""

CONTRASTS: Final = {"high": (40, 230), "low": (90, 150)}
"""Brightness of plate and print."""

_OVERSAMPLING: Final = 8
_MARGIN: Final = 0.7
"""Margin of the plate around the print, in cap heights."""
_TRACKING: Final = 0.12
"""Extra space between characters, in cap heights."""


@dataclass(frozen=True)
class TextPlate:
    """A drawn code.

    Args:
        code: its characters.
        luma: its pixels.
        cap_px: cap height in these pixels.
        contrast: a name in `CONTRASTS`.
    """

    code: str
    luma: Luma
    cap_px: float
    contrast: str


def random_code(rng: np.random.Generator) -> str:
    """Draw six characters of the alphabet, no two neighbours equal."""
    code = ""
    while len(code) < CODE_LENGTH:
        letter = ALPHABET[int(rng.integers(len(ALPHABET)))]
        if not code.endswith(letter):
            code += letter
    return code


def draw_text_plate(
    code: str, *, cap_height_px: float, picture_height_px: int, contrast: str = "high"
) -> TextPlate:
    """Draw a code on a plate of even brightness.

    Args:
        code: the characters.
        cap_height_px: height of a capital letter in a picture 1,080 px high.
        picture_height_px: height of the picture that the plate is for.
        contrast: a name in `CONTRASTS`.
    """
    cap_px = cap_height_px * picture_height_px / REFERENCE_HEIGHT_PX
    ground, ink = CONTRASTS[contrast]
    coverage = _coverage(code, cap_px)
    luma = np.round(ground + (ink - ground) * coverage).astype(np.uint8)
    return TextPlate(code, luma, cap_px, contrast)


def template_match(luma: Luma, *, length: int, cap_px: float) -> str:
    """Read a plate by comparing each character with drawings of every character of the alphabet.

    Font, size and position are given, so this is an upper bound, not a model of a viewer. Items
    whose codes it cannot read at full size are rejected.

    Args:
        luma: the pixels at the plate's position, of the plate's size.
        length: number of characters on it.
        cap_px: cap height in these pixels.
    """
    pixels = luma.astype(np.float64)
    text = ""
    for _ in range(length):
        scores = {letter: _correlation(pixels, text + letter, cap_px) for letter in ALPHABET}
        text += max(scores, key=lambda letter: scores[letter])
    return text


def _correlation(pixels: npt.NDArray[np.float64], text: str, cap_px: float) -> float:
    """Return the correlation of the last character's drawing with the pixels around it."""
    left, right = _columns(text, cap_px)
    template = _coverage(text, cap_px)
    rows = min(template.shape[0], pixels.shape[0])
    stop = min(right, template.shape[1], pixels.shape[1])
    one, other = template[:rows, left:stop].ravel(), pixels[:rows, left:stop].ravel()
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / scale if scale > 0 else -1.0


@lru_cache(maxsize=32)
def _font(cap_px: float) -> ImageFont.FreeTypeFont:
    """Load the font inside Pillow at the size that gives this cap height, oversampled."""
    trial = _truetype(1000)
    cap = -trial.getbbox("H", anchor="ls")[1]
    return _truetype(1000 * cap_px * _OVERSAMPLING / cap)


def _truetype(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, which draws the codes")
    return font


def _columns(text: str, cap_px: float) -> tuple[int, int]:
    """Return the first column of the last character, and the first column of the next one."""
    before = _advance(text[:-1], cap_px) / _OVERSAMPLING
    after = _advance(text, cap_px) / _OVERSAMPLING
    return int(before), int(after)


def _advance(text: str, cap_px: float) -> float:
    """Return the start of the next character, in oversampled pixels."""
    font, unit = _font(cap_px), cap_px * _OVERSAMPLING
    return _MARGIN * unit + sum(font.getlength(letter) + _TRACKING * unit for letter in text)


@lru_cache(maxsize=4096)
def _coverage(text: str, cap_px: float) -> npt.NDArray[np.float64]:
    """Return the fraction of each pixel that print covers: ``(rows, columns)``, 0 to 1."""
    unit = cap_px * _OVERSAMPLING
    columns = int(np.ceil((_advance(text, cap_px) + _MARGIN * unit) / _OVERSAMPLING))
    rows = int(np.ceil((1 + 2 * _MARGIN) * unit / _OVERSAMPLING))
    large = Image.new("L", (columns * _OVERSAMPLING, rows * _OVERSAMPLING), 0)
    pen = ImageDraw.Draw(large)
    for i, letter in enumerate(text):
        position = (_advance(text[:i], cap_px), (1 + _MARGIN) * unit)
        pen.text(position, letter, font=_font(cap_px), fill=255, anchor="ls")
    small = large.resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 255
