"""From a file name to exact frame times and sized RGB frames, safely.

``open_video`` gives a `VideoReader`: its ``info``, its ``times``, its ``frames`` at wanted times.
FFmpeg is never loaded into the calling process. Knows nothing of tokens, plans or models.
"""

from seedvideo.media.reader import DecoderName, StrategyName, VideoReader, open_video, probe
from seedvideo.media.types import DecodeReport, Frame, MediaInfo, MediaWarning, Target
from seedvideo.utils.timecode import Span, seconds, strictly_increasing

__all__ = [
    "DecodeReport",
    "DecoderName",
    "Frame",
    "MediaInfo",
    "MediaWarning",
    "Span",
    "StrategyName",
    "Target",
    "VideoReader",
    "open_video",
    "probe",
    "seconds",
    "strictly_increasing",
]
