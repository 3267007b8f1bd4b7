"""Files of still and moving pictures for tests, and their facts without another process."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seedvideo.config import DEFAULT_LIMITS
from seedvideo.media.demuxer import SourceSpec
from seedvideo.media.file_probe import probe_file
from seedvideo.media.pyav_decoder import PyavDecoder
from seedvideo.media.source import open_source
from seedvideo.media.types import DecodeStats, FrameRequest, MediaInfo
from tests.fixtures import coded_frame, read_number

Chunks = list[tuple[bytes, bytes]]


def shown(path: Path, fps: Fraction | None = None) -> tuple[MediaInfo, list[Fraction], list[int]]:
    """Return a file's facts, times and the numbers in its pictures; runs in this process."""
    source = open_source(path, limits=DEFAULT_LIMITS, root=None)
    try:
        spec = SourceSpec(
            source.descriptor, path.name, source.kind, source.size_bytes, DEFAULT_LIMITS, fps
        )
        opened = probe_file(spec, lambda: None)
        index, info = opened.index, opened.info
        decoder = PyavDecoder(spec, index, opened.table, opened.orientation)
        wanted = [FrameRequest(frame_index, 96, 56) for frame_index in range(len(index.times))]
        found = list(
            decoder.pictures(
                wanted, strategy="sequential", heartbeat=lambda: None, stats=DecodeStats()
            )
        )
    finally:
        source.close()
    times = [(time - index.start) * index.time_base for time in index.times]
    pixels = [np.frombuffer(each.rgb, np.uint8).reshape(56, 96, 3) for each in found]
    return info, times, [read_number(each) for each in pixels]


def facts(path: Path, fps: Fraction | None = None) -> MediaInfo:
    """Return what the decode process finds when it opens a file; runs in this process."""
    source = open_source(path, limits=DEFAULT_LIMITS, root=None)
    try:
        spec = SourceSpec(
            source.descriptor, path.name, source.kind, source.size_bytes, DEFAULT_LIMITS, fps
        )
        return probe_file(spec, lambda: None).info
    finally:
        source.close()


def pictures(first: int, count: int) -> list[Image.Image]:
    """Return pictures that carry their numbers."""
    return [Image.fromarray(coded_frame(number)) for number in range(first, first + count)]


def saved(images: Sequence[Image.Image], name: str, **options: Any) -> bytes:
    """Return what Pillow makes of one picture or, with ``save_all``, of several."""
    file = io.BytesIO()
    if len(images) > 1:
        options |= {"save_all": True, "append_images": list(images[1:])}
    images[0].save(file, name, **options)
    return file.getvalue()


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the types and contents of a PNG file's chunks."""
    place = 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


def png(chunks: Chunks) -> bytes:
    """Return a PNG file of these chunks."""
    parts = [
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box of an MP4, AVIF or HEIC file."""
    return struct.pack(">I4s", len(content) + 8, kind) + content
