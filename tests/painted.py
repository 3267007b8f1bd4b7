"""Clips of plain colours, and a model that names the colours it is shown.

Together they let a test follow a frame from the file to the words without any weights.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np

from seedvideo.model.backends import Generation, Skill, Usage
from seedvideo.model.packing import ImagePart, Part, TextPart
from seedvideo.sampler.geometry import TokenGeometry

COLOURS: Final = {
    "red": (220, 30, 30),
    "green": (30, 200, 30),
    "blue": (30, 30, 220),
    "white": (240, 240, 240),
    "black": (10, 10, 10),
}
FPS: Final = 10


def paint(path: Path, colours: Sequence[str], *, shot_s: float = 1.0) -> Path:
    """Write a clip that shows each colour for so long, with a keyframe at each change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for colour in colours:
            picture = np.full((96, 160, 3), COLOURS[colour], np.uint8)
            for _ in range(round(shot_s * FPS)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


class ColourModel:
    """A backend that needs no weights. Black is unlike anything it was trained on."""

    name = "colours"
    sha256 = "c0" * 32
    geometry = TokenGeometry(
        name="colours",
        token_px=16,
        levels_tokens=(32, 16, 8),
        min_frame_tokens=4,
        default_budget_tokens=512,
    )

    def __init__(self) -> None:
        self.seen: list[list[Part]] = []

    def count_text_tokens(self, text: str) -> int:
        return len(text.split())

    def frame_text_tokens(self, time_text: str) -> int:
        return self.count_text_tokens(time_text) + 2

    def generate(
        self,
        parts: Sequence[Part],
        *,
        skill: Skill = "caption",
        thinking: bool = False,
        max_new_tokens: int = 96,
        beams: int | None = None,
    ) -> Generation:
        self.seen.append(list(parts))
        pictures = [part.pixels for part in parts if isinstance(part, ImagePart)]
        words = [part.text for part in parts if isinstance(part, TextPart)]
        names = list(dict.fromkeys(nearest(picture) for picture in pictures))
        confident = "black" not in names
        visual_tokens = sum(p.shape[0] * p.shape[1] // 16**2 for p in pictures)
        text_tokens = sum(self.count_text_tokens(text) for text in words)
        return Generation(
            text=" then ".join(names),
            confident=confident,
            familiarity=1.0 if confident else 0.0,
            usage=Usage(
                visual_tokens=visual_tokens,
                prompt_tokens=visual_tokens + text_tokens,
                output_tokens=len(names),
            ),
        )


def nearest(picture: np.ndarray) -> str:
    """The name of the colour that a picture has on average."""
    mean = picture.reshape(-1, 3).mean(axis=0)
    return min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))
