"""The header of uncompressed YUV4MPEG2 files, as far as FFmpeg does not report it."""

import os
import re
from typing import Final

_HEADER_BYTES: Final = 256
_RATE: Final = re.compile(rb" F([1-9]\d*):([1-9]\d*)(?= |$)")


def states_rate(descriptor: int) -> bool:
    """Tell whether the header states a frame rate; FFmpeg assumes 25 where it does not."""
    header, _, _ = os.pread(descriptor, _HEADER_BYTES, 0).partition(b"\n")
    return _RATE.search(header) is not None
