"""What is asked of a reader and what it gives: targets, frames and the report of a pass.

Times are exact seconds from the video stream's own start. Knows nothing of how frames are decoded.
"""

from array import array
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from seedvideo.media.info import MediaWarning

if TYPE_CHECKING:  # The decoding process imports this package too, and starts quicker without.
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Target:
    """A wanted picture: the one presented at ``pts``, in display orientation and square pixels.

    Raises:
        ValueError: if a side is not at least one pixel.
    """

    pts: Fraction
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        if self.width_px < 1 or self.height_px < 1:
            size = f"{self.width_px}x{self.height_px}"
            raise ValueError(f"target size is {size}, expected at least 1x1")


@dataclass(frozen=True, repr=False, eq=False)
class Frame:
    """A decoded picture and the time at which the video really presents it.

    ``pixels`` is ``(H, W, 3)``, RGB, 8 bits a channel.
    """

    pts: Fraction
    pixels: "npt.NDArray[np.uint8]"

    def __repr__(self) -> str:
        return f"Frame(pts={self.pts!s}, pixels={self.pixels.shape} {self.pixels.dtype})"


@dataclass(frozen=True, repr=False, eq=False)
class Looks:
    """Small frames as they are stored: not turned, pixels not made square.

    ``planes`` is ``(N, H * 3 // 2, W)``, 8-bit I420: ``H`` rows of luma above the chroma, which has
    half of both sides.

    Args:
        ranks: place of each among the presented frames, rising.
        planes: their pixels.
    """

    ranks: tuple[int, ...]
    planes: "npt.NDArray[np.uint8]"

    def __repr__(self) -> str:
        return f"Looks({len(self.ranks)} frames, {self.planes.shape} {self.planes.dtype})"


@dataclass(frozen=True, repr=False, eq=False)
class Packets:
    """What the container says of the packets that hold the frames, in order of time.

    Args:
        sizes_bytes: of each frame's packet, padding left out.
        places: of each frame's packet among those of the stream: they are stored in this order.
    """

    sizes_bytes: "array[int]"
    places: "array[int]"

    def __repr__(self) -> str:
        return f"Packets({len(self.sizes_bytes)} frames)"


@dataclass(frozen=True)
class DecodeReport:
    """What one pass over a file met.

    Args:
        decoded_frames: pictures that the decoder gave, wanted or not.
        damaged_packets: packets that it could not decode.
        warnings: what the pass found out beyond the probe.
    """

    decoded_frames: int = 0
    damaged_packets: int = 0
    warnings: tuple[MediaWarning, ...] = ()
