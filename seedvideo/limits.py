"""Every ceiling in one place, all finite, checked before the work that they bound.

An operator may set them; nothing that a file or a request says can raise them. There is no spelling
for "unlimited". Units are in the names.
"""

import math
from dataclasses import dataclass, fields
from typing import Final

from seedvideo.arguments import check_amount


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Ceilings for one video. Every value must be finite and above zero.

    Raises:
        OptionTypeError: ``config.type`` if a value is no number.
        ValueError: if a value is not finite or not above zero.
    """

    max_input_bytes: int = 8 * 1024**3
    """Size of the file."""
    max_duration_s: float = 6 * 3600.0
    """Duration, as the header says and as the decoded times show."""
    max_frame_pixels: int = 40_000_000
    """Pixels of one native frame: just over 8K UHD."""
    max_side_px: int = 16_384
    """Either side of one native frame."""
    max_aspect: float = 64.0
    """Longer side over shorter side."""
    max_streams: int = 64
    """Streams of all kinds in the container."""
    max_packets: int = 3_000_000
    """Packets read from one file: six hours at 120 frames a second need 2.6 million."""
    max_error_share: float = 0.05
    """Share of packets that may fail to decode before the file counts as corrupt.

    Counts from 100 packets on, so that one bad packet can't condemn a short clip.
    """
    max_errors_in_a_row: int = 200
    """Packets in a row that may fail to decode."""
    max_sampled_frames: int = 4_096
    """Frames that one plan may hold."""
    open_timeout_s: float = 30.0
    """Time to open a file and read its header."""
    stall_timeout_s: float = 60.0
    """Time between two signs of life from the decoder."""
    item_timeout_s: float = 900.0
    """Time for all the decoding of one video."""
    worker_memory_bytes: int = 4 * 1024**3
    """Address space that the decoding process may add to what it starts with."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            check_amount(field.name, value)
            if not math.isfinite(value) or value <= 0:
                raise ValueError(f"{field.name} is {value!r}, expected a finite value above 0")


DEFAULT_LIMITS: Final = Limits()
