"""A prepared video in a file without a name, on its way from the process that decoded to the model.

The file is gone when the last process that holds it ends, so a killed job leaves nothing behind,
and nobody copies pictures but the two that must. Layout: length of the header (8 bytes,
big-endian), header (JSON), the contact sheet, the frames' pixels one after another.
"""

import json
import mmap
import os
import struct
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from seedvideo.media.timeline import Span
from seedvideo.prepared import Prepared, Shown, View
from seedvideo.records import MediaRecord, PlanRecord

_LENGTH: Final = struct.Struct(">Q")


def pack(prepared: Prepared, *, sheet: bytes = b"") -> int:
    """Write a prepared video to a new file without a name.

    Returns:
        Its descriptor, the caller's to close.

    Raises:
        OSError: if there is no room for it.
    """
    header = {
        "source": prepared.source,
        "media": prepared.media.model_dump(mode="json"),
        "plan": prepared.plan.model_dump(mode="json"),
        "spent_s": dict(prepared.spent_s),
        "views": [_plain(view) for view in prepared.views],
        "sheet_bytes": len(sheet),
    }
    text = json.dumps(header, ensure_ascii=True, allow_nan=False).encode("ascii")
    descriptor = _nameless()
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            for part in (_LENGTH.pack(len(text)), text, sheet):
                file.write(part)
            for view in prepared.views:
                for _, pixels in view.frames:
                    file.write(np.ascontiguousarray(pixels).data)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@dataclass(frozen=True)
class Parcel:
    """What was packed.

    Args:
        prepared: its pixels are read-only, and lie in the file.
        sheet: the contact sheet; empty where there is none.
    """

    prepared: Prepared
    sheet: bytes


def unpack(descriptor: int) -> Parcel:
    """Read what `pack` wrote; the descriptor may be closed afterwards.

    Raises:
        ValueError: if it is something else.
    """
    data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    header, place = _header(data)
    sheet = bytes(data[place : place + header["sheet_bytes"]])
    place += header["sheet_bytes"]
    views = []
    for plain in header["views"]:
        frames: Shown = []
        for time, height_px, width_px in plain["frames"]:
            count = height_px * width_px * 3
            pixels = np.frombuffer(data, np.uint8, count, place)
            frames.append((Fraction(time), pixels.reshape(height_px, width_px, 3)))
            place += count
        start, end = map(Fraction, plain["window"])
        bounds = tuple(map(Fraction, plain["bounds"]))
        views.append(View(frames, Span(start, end), Fraction(plain["duration"]), bounds))
    prepared = Prepared(
        source=header["source"],
        media=MediaRecord.model_validate(header["media"]),
        plan=PlanRecord.model_validate(header["plan"]),
        views=tuple(views),
        spent_s=header["spent_s"],
    )
    return Parcel(prepared, sheet)


def sheet_of(descriptor: int) -> bytes | None:
    """The contact sheet alone; None where there is none."""
    length = _LENGTH.unpack(os.pread(descriptor, _LENGTH.size, 0))[0]
    header = json.loads(os.pread(descriptor, length, _LENGTH.size))
    return os.pread(descriptor, header["sheet_bytes"], _LENGTH.size + length) or None


def _header(data: mmap.mmap) -> tuple[dict[str, Any], int]:
    start = _LENGTH.size
    length = _LENGTH.unpack(data[:start])[0]
    return json.loads(data[start : start + length]), start + length


def _plain(view: View) -> dict[str, Any]:
    return {
        "window": [str(view.window.start), str(view.window.end)],
        "duration": str(view.duration),
        "bounds": [str(bound) for bound in view.bounds],
        "frames": [[str(time), pixels.shape[0], pixels.shape[1]] for time, pixels in view.frames],
    }


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("seedvideo")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
