"""Pictures as the bytes of files. Imports nothing heavy before a picture is there."""

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def png(pixels: "npt.NDArray[np.uint8]") -> bytes:
    """A picture ``(height_px, width_px, 3)`` as the bytes of a PNG file."""
    from PIL import Image

    data = BytesIO()
    Image.fromarray(pixels).save(data, format="PNG")
    return data.getvalue()
