"""What a video shows, decoded in the test's own process: the same code without its processes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedvideo.config import DEFAULT_LIMITS
from seedvideo.media import MediaInfo
from seedvideo.media.decoder import NO_END, LookSize, LookSpan, Tally, Wanted
from seedvideo.media.demuxer import Origin
from seedvideo.media.file_probe import describe
from seedvideo.media.pyav_decoder import PyavDecoder
from seedvideo.media.source import open_source
from tests.fixtures import Pixels


@dataclass(frozen=True)
class Shown:
    """One frame of a video, and what the video is said to be."""

    info: MediaInfo
    pixels: Pixels
    """At the size at which the video is shown, or another one."""
    luma: Pixels
    """Of the thumbnail, as large as the stored picture; an odd row or column is left out."""
    warnings: dict[str, str]
    """Messages by code, of opening and of decoding."""


def shown(path: Path, rank: int = 0, *, size: tuple[int, int] | None = None) -> Shown:
    """Open a video and decode one frame of it, for the model and as a thumbnail.

    Args:
        path: of the file.
        rank: place of the frame among those of the video.
        size: width and height of the frame in pixels; ``None`` for those at which it is shown.
    """
    source = open_source(path, limits=DEFAULT_LIMITS, root=None)
    try:
        origin = Origin(
            source.descriptor, source.shown, source.kind, source.size_bytes, DEFAULT_LIMITS, None
        )
        opened = describe(origin, lambda: None)
        info, tally = opened.info, Tally()
        width_px, height_px = size or (info.width_px, info.height_px)
        decoder = PyavDecoder(origin, opened.index, opened.table, opened.orientation, opened.crop)
        (picture,) = decoder.pictures(
            [Wanted(rank, width_px, height_px)],
            strategy="sequential",
            alive=lambda: None,
            tally=tally,
        )
        small = LookSize(max(2, info.coded_width_px & ~1), max(2, info.coded_height_px & ~1))
        (thumbnail,) = decoder.looks(
            [LookSpan(rank, rank + 1, "all")],
            small,
            strategy="sequential",
            is_rough=False,
            after=-1,
            until=NO_END,
            alive=lambda: None,
            tally=tally,
        )
    finally:
        source.close()
    luma = np.frombuffer(thumbnail.planes[: small.width_px * small.height_px], np.uint8)
    return Shown(
        info,
        np.frombuffer(picture.rgb, np.uint8).reshape(height_px, width_px, 3),
        luma.reshape(small.height_px, small.width_px),
        {warning.code: warning.message for warning in (*info.warnings, *tally.warnings)},
    )
