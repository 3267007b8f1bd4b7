"""What a video shows, decoded in the test's own process: the same code without its processes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedvideo.config import DEFAULT_LIMITS
from seedvideo.media import MediaInfo
from seedvideo.media.demuxer import SourceSpec
from seedvideo.media.file_probe import probe_file
from seedvideo.media.pyav_decoder import PyavDecoder
from seedvideo.media.source import open_source
from seedvideo.media.types import (
    UNBOUNDED,
    DecodeStats,
    FrameRequest,
    ThumbnailSpan,
    ThumbnailSpec,
)
from tests.fixtures import Pixels


@dataclass(frozen=True)
class Shown:
    """One frame of a video, and the facts of the video."""

    info: MediaInfo
    pixels: Pixels
    """At the size at which the video is shown, or another one."""
    luma: Pixels
    """Of the thumbnail, as large as the stored picture; an odd row or column is left out."""
    warnings: dict[str, str]
    """Messages by code, of opening and of decoding."""


def shown(path: Path, frame_index: int = 0, *, size: tuple[int, int] | None = None) -> Shown:
    """Open a video and decode one frame of it, for the model and as a thumbnail.

    Args:
        path: of the file.
        frame_index: place of the frame among those of the video.
        size: width and height of the frame in pixels; ``None`` for those at which it is shown.
    """
    source = open_source(path, limits=DEFAULT_LIMITS, root=None)
    try:
        spec = SourceSpec(
            source.descriptor,
            source.display_name,
            source.kind,
            source.size_bytes,
            DEFAULT_LIMITS,
            None,
        )
        opened = probe_file(spec, lambda: None)
        info, stats = opened.info, DecodeStats()
        width_px, height_px = size or (info.width_px, info.height_px)
        decoder = PyavDecoder(spec, opened.index, opened.table, opened.orientation, opened.crop)
        (picture,) = decoder.pictures(
            [FrameRequest(frame_index, width_px, height_px)],
            strategy="sequential",
            heartbeat=lambda: None,
            stats=stats,
        )
        small = ThumbnailSpec(max(2, info.coded_width_px & ~1), max(2, info.coded_height_px & ~1))
        (thumbnail,) = decoder.thumbnails(
            [ThumbnailSpan(frame_index, frame_index + 1, "all")],
            small,
            strategy="sequential",
            skip_loop_filter=False,
            after_frame=-1,
            end_frame=UNBOUNDED,
            heartbeat=lambda: None,
            stats=stats,
        )
    finally:
        source.close()
    luma = np.frombuffer(thumbnail.planes[: small.width_px * small.height_px], np.uint8)
    return Shown(
        info,
        np.frombuffer(picture.rgb, np.uint8).reshape(height_px, width_px, 3),
        luma.reshape(small.height_px, small.width_px),
        {warning.code: warning.message for warning in (*info.warnings, *stats.warnings)},
    )
