"""Media access: from a file name to exact frame times and sized RGB frames, safely.

``open_video`` returns a `VideoReader`: its ``info``, its ``times``, its ``frames`` at given times.
The calling process never loads FFmpeg.
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
