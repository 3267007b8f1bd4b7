"""Content of a message for a server with the chat interface of OpenAI: frames and their times.

Separate from the backend, as integrations build messages for clients of their own.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from seedvideo.errors import ConfigError
from seedvideo.model.backends.base import ImagePart, Part, TextPart, TimePart
from seedvideo.model.families import Family
from seedvideo.model.servers import JPEG_QUALITY
from seedvideo.model.time_format import TimeFormat

_MILLISECONDS: Final = 1_000


def picture_content(
    parts: Sequence[Part], time: TimeFormat, family: Family | None
) -> list[dict[str, Any]]:
    """Return pictures with the texts of their times, in the words of a family.

    Args:
        parts: frames and text, as made by `interleave`.
        time: how times are written.
        family: row of the model's family; None if unknown.
    """
    content: list[dict[str, Any]] = []
    text = after = ""
    for part in parts:
        if isinstance(part, TimePart):
            between = family.between if family is not None and content else ""
            text = after + between + time.text_before(part.pts)
            after = time.text_after(part.pts)
        elif isinstance(part, ImagePart):
            if text:
                content.append({"type": "text", "text": text})
            content.append({"type": "image_url", "image_url": {"url": _data_url(part.pixels)}})
            text = ""
        else:
            separator = "\n" if family is None else family.separator
            content.append({"type": "text", "text": after + separator + part.text})
            after = ""
    return content


def video_content(parts: Sequence[Part]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return frames as one video with their times in milliseconds, and the fields that state them.

    Raises:
        ConfigError: ``config.invalid`` if the frames have several sizes.
    """
    images = [part.pixels for part in parts if isinstance(part, ImagePart)]
    sizes = sorted({(pixels.shape[1], pixels.shape[0]) for pixels in images})
    if len(sizes) > 1:
        shown = ", ".join(f"{width_px}x{height_px}" for width_px, height_px in sizes[:4])
        raise ConfigError(
            "config.invalid",
            f"frames have {len(sizes)} sizes ({shown} px), expected one to send them as a video",
            hint="allow one level, such as --levels 256; or leave --as-video out",
        )
    times = [round(_MILLISECONDS * part.pts) for part in parts if isinstance(part, TimePart)]
    total = times[-1] + 1
    video = {
        "fps": _MILLISECONDS,
        "frames_indices": times,
        "total_num_frames": total,
        "duration": total / _MILLISECONDS,
        "do_sample_frames": False,
        # All frames; otherwise the server keeps 32.
        "num_frames": -1,
    }
    url = "data:video/jpeg;base64," + ",".join(map(_jpeg_base64, images))
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    content: list[dict[str, Any]] = [
        {"type": "video_url", "video_url": {"url": url}},
        *({"type": "text", "text": text} for text in texts),
    ]
    return content, {"media_io_kwargs": {"video": video}}


def _jpeg_base64(pixels: npt.NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    # subsampling=0 keeps the colours of every pixel (4:4:4).
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _data_url(pixels: npt.NDArray[np.uint8]) -> str:
    return f"data:image/jpeg;base64,{_jpeg_base64(pixels)}"
