"""Pictures as the bytes of files. Imports nothing heavy before a picture is there."""

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ImageFormat: TypeAlias = Literal["png", "jpeg", "webp"]

DEFAULT_QUALITY: Final = 90
"""Of JPEG and WebP, from 1 to 100: text in frames stays free of visible blocks."""

SUFFIXES: Final[dict[ImageFormat, str]] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True)
class Encoding:
    """How a picture becomes a file.

    Args:
        form: the format.
        quality: of JPEG and WebP, from 1 to 100; PNG is exact and has none.
    """

    form: ImageFormat = "png"
    quality: int = DEFAULT_QUALITY

    @property
    def suffix(self) -> str:
        """Of a file name, with the dot."""
        return SUFFIXES[self.form]

    @property
    def options(self) -> dict[str, Any]:
        """What Pillow's ``save`` takes."""
        if self.form == "png":
            # A third of the default's time, files up to a fourth larger: benchmarks/pictures.py.
            # Looking for runs only is as fast, but makes drawn pictures 15 times as large.
            return {"compress_level": 1}
        return {"quality": self.quality}


PNG: Final = Encoding()


def encoded(pixels: "npt.NDArray[np.uint8]", encoding: Encoding) -> bytes:
    """A picture ``(height_px, width_px, 3)`` as the bytes of a file."""
    from PIL import Image

    data = BytesIO()
    Image.fromarray(pixels).save(data, format=encoding.form.upper(), **encoding.options)
    return data.getvalue()
