"""Conversion from luma and chroma to RGB: the matrix that a frame states (ITU-T H.273, table 4).

swscale converts with six matrices and refuses every other number. Some of those are computed here,
on the small picture; for the rest the usual matrix of the picture's size is used, with a warning.
Transfer characteristics and primaries are not converted. Runs in the decode process only.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from seedvideo.media.types import MediaWarning

Point = tuple[float, float, float]
Rows = tuple[tuple[float, float, float], ...]
"""Rows for red, green and blue: weights of luma (0 to 1) and two chromas (-0.5 to 0.5)."""

_BY_SWSCALE: Final = (1, 2, 4, 5, 6, 7, 9)
"""Numbers that swscale converts. 2 is unspecified, read as BT.601, as most loaders do."""

_RGB, _YCGCO, _BT2020_CL, _DERIVED, _DERIVED_CL, _YCGCO_RE, _YCGCO_RO = 0, 8, 10, 12, 13, 16, 17

_GREY: Final = ("gray", "ya8", "ya16")
"""Prefixes of the names of formats without chroma, except those of one bit."""

_BLACK_AND_WHITE: Final = "mono"
"""Prefix of the names of one-bit formats, which PNG and BMP files may have."""

_NAMES: Final = {
    0: "RGB",
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "ST 2085",
    12: "derived from the primaries",
    13: "derived from the primaries, with constant luminance",
    14: "ICtCp",
    15: "IPT-PQ-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}

_D65: Final = (0.3127, 0.3290)
_C: Final = (0.310, 0.316)
_PRIMARIES: Final = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
"""Chromaticities of red, green, blue and white by number (ITU-T H.273, table 2)."""


@dataclass(frozen=True)
class Conversion:
    """Conversion of frames of one kind to RGB.

    Args:
        matrix: matrix that swscale uses in place of the stated one; None if it knows that.
        rows: matrix that is applied here; None if swscale applies it.
        warning: warning about the colours.
    """

    matrix: Colorspace | None = None
    rows: Rows | None = None
    warning: MediaWarning | None = None


_AS_STATED: Final = Conversion()


def choose_conversion(frame: VideoFrame) -> Conversion:
    """Choose the conversion of a frame to RGB by its stated matrix and range."""
    number, name = int(frame.colorspace), frame.format.name
    if number in _BY_SWSCALE and not name.startswith(_GREY):
        return _AS_STATED
    is_hd = frame.width >= 1280 or frame.height > 576
    usual = Colorspace.ITU709 if is_hd else Colorspace.ITU601
    full = _is_full_range(frame)
    return _choose(number, int(frame.color_primaries), name, usual, is_full_range=full)


@cache
def _choose(
    number: int, primaries: int, name: str, usual: Colorspace, *, is_full_range: bool
) -> Conversion:
    pixels = VideoFormat(name)
    if name.startswith(_GREY) and not is_full_range:
        # swscale takes every grey picture for full range.
        return Conversion(Colorspace.ITU601, ((1.0, 0.0, 0.0),) * 3)
    if pixels.is_rgb or pixels.has_palette or name.startswith((*_GREY, _BLACK_AND_WHITE)):
        return Conversion(None if number in (_RGB, *_BY_SWSCALE) else Colorspace.ITU601)
    rows = _matrix_rows(number, primaries, pixels)
    if rows is not None and number != _DERIVED_CL:
        return Conversion(Colorspace.ITU601, rows)
    if rows is not None:
        matrix, used = Colorspace.ITU601, "the same without constant luminance"
    elif number == _BT2020_CL:
        matrix, used = Colorspace.BT2020, "BT.2020 without constant luminance"
    else:
        matrix, used = usual, "BT.709" if usual == Colorspace.ITU709 else "BT.601"
    stated = f"{number} ({_NAMES.get(number, 'reserved')})"
    message = (
        f"the stated colour matrix, {stated}, cannot be applied to {name}; "
        f"{used} is used, and colours may be wrong"
    )
    return Conversion(matrix, rows, MediaWarning("media.colour_matrix", message))


def _matrix_rows(number: int, primaries: int, pixels: VideoFormat) -> Rows | None:
    """Return a matrix that swscale does not support (ITU-T H.273, section 8.3)."""
    if number in (_DERIVED, _DERIVED_CL) and primaries in _PRIMARIES:
        return _rows_of_weights(*_weights(primaries))
    # Subsampled chroma is never YCgCo in practice: the number is an error of the
    # writer (mpv-player/mpv#4340, #13521), and any usual matrix comes closer.
    if (pixels.chroma_width(2), pixels.chroma_height(2)) != (2, 2):
        return None
    if number == _YCGCO:
        return ((1, -1, 1), (1, 1, 0), (1, -1, -1))
    if number in (_YCGCO_RE, _YCGCO_RO):
        bits = pixels.components[0].bits
        fewer = 2 if number == _YCGCO_RE else 1
        if bits <= 8:
            return None
        one = ((1 << bits) - 1) / ((1 << (bits - fewer)) - 1)
        half = one / 2
        return ((one, -half, half), (one, half, 0), (one, -half, -half))
    return None


def _rows_of_weights(red: float, blue: float) -> Rows:
    """Return the matrix whose luma has these weights of red and blue."""
    green = 1 - red - blue
    from_cr, from_cb = 2 * (1 - red), 2 * (1 - blue)
    return (
        (1, 0, from_cr),
        (1, -from_cb * blue / green, -from_cr * red / green),
        (1, from_cb, 0),
    )


def _weights(primaries: int) -> tuple[float, float]:
    """Return the weights of red and blue in the luma of primaries (ITU-T H.273, 8.3)."""
    red, green, blue, white = ((x, y, 1 - x - y) for x, y in _PRIMARIES[primaries])
    whole = white[1] * _determinant(red, green, blue)
    return (
        red[1] * _determinant(white, green, blue) / whole,
        blue[1] * _determinant(red, green, white) / whole,
    )


def _determinant(a: Point, b: Point, c: Point) -> float:
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - b[0] * (a[1] * c[2] - a[2] * c[1])
        + c[0] * (a[1] * b[2] - a[2] * b[1])
    )


def convert_to_rgb(
    frame: VideoFrame, width_px: int, height_px: int, rows: Rows, reformatter: VideoReformatter
) -> bytes:
    """Convert a frame to rows of RGB bytes with a matrix that swscale does not support.

    Args:
        frame: frame that is not RGB.
        width_px: width of the result.
        height_px: height of the result.
        rows: matrix.
        reformatter: scaler, reused for later frames.
    """
    import numpy as np  # Few videos need it here, and it slows the start of the process.

    pixels = frame.format
    bits, is_grey = pixels.components[0].bits, pixels.name.startswith(_GREY)
    levels = ColorRange.JPEG if _is_full_range(frame) else ColorRange.MPEG
    deep = reformatter.reformat(
        frame,
        width_px,
        height_px,
        "gray16le" if is_grey else "yuv444p16le",
        src_colorspace=Colorspace.ITU601,
        dst_colorspace=Colorspace.ITU601,
        src_color_range=levels,
        dst_color_range=levels,
        interpolation=Interpolation.BICUBIC,
        threads=1,
    )
    codes = np.zeros((3, height_px, width_px), np.float32)
    for into, plane in zip(codes, deep.planes, strict=False):
        samples = np.frombuffer(bytes(plane), "<u2").reshape(-1, plane.line_size // 2)
        into[:] = samples[:height_px, :width_px] / (1 << (16 - bits))
    if (frame.width, frame.height) == (width_px, height_px):
        # Without scaling, swscale may fill the lowest bits with a copy of the highest.
        np.floor(codes, out=codes)
    depth = 1 << (bits - 8)
    if levels == ColorRange.JPEG:
        luma, chroma = codes[0] / (256 * depth - 1), (codes[1:] - 128 * depth) / (256 * depth - 1)
    else:
        luma, chroma = (codes[0] / depth - 16) / 219, (codes[1:] / depth - 128) / 224
    rgb = np.tensordot(np.stack([luma, *chroma], axis=-1), np.array(rows, np.float32).T, axes=1)
    return bytes(np.clip(np.rint(255 * rgb), 0, 255).astype(np.uint8))


def _is_full_range(frame: VideoFrame) -> bool:
    """Return whether black and white are the lowest and highest levels."""
    name = frame.format.name
    if name.startswith(_GREY):
        return frame.color_range != ColorRange.MPEG
    return frame.color_range == ColorRange.JPEG or name.startswith("yuvj")
