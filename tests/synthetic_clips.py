"""Clips of plain colours, and a model that names the colours it is shown.

Together they let a test follow a frame from the file to the words without any weights. Two more
models answer questions: one chooses among answers, one returns a given text.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np

from seedvideo.model.backends.base import (
    Choice,
    ChoiceResult,
    Generation,
    ImagePart,
    ModelDetails,
    OnText,
    Part,
    PointingResult,
    TaskName,
    TextPart,
    Usage,
)
from seedvideo.model_options import DEFAULT_GENERATION, GenerationOptions
from seedvideo.sampler.geometry import TokenGeometry
from seedvideo.utils.timecode import timestamp_text

COLOURS: Final = {
    "red": (220, 30, 30),
    "green": (30, 200, 30),
    "blue": (30, 30, 220),
    "white": (240, 240, 240),
    "black": (10, 10, 10),
}
FPS: Final = 10


def paint(path: Path, colours: Sequence[str], *, shot_s: float = 1.0, fps: int = FPS) -> Path:
    """Write a clip that shows each colour for so long, with a keyframe at each change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.time_base = Fraction(1, fps)
        for colour in colours:
            picture = np.full((96, 160, 3), COLOURS[colour], np.uint8)
            for _ in range(round(shot_s * fps)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


class ColourModel:
    """A backend that needs no weights. Black is unlike anything it was trained on."""

    name = "colours"
    sha256 = "c0" * 32
    details = ModelDetails(source="folder")
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

    def frame_text_tokens(self, pts: Fraction) -> int:
        return self.count_text_tokens(timestamp_text(pts)) + 2

    def generate(
        self,
        parts: Sequence[Part],
        *,
        task: TaskName = "caption",
        thinking: bool = False,
        max_new_tokens: int = 96,
        beams: int | None = None,
        options: GenerationOptions = DEFAULT_GENERATION,
        on_text: OnText | None = None,
    ) -> Generation:
        self.seen.append(list(parts))
        pictures = [part.pixels for part in parts if isinstance(part, ImagePart)]
        words = [part.text for part in parts if not isinstance(part, ImagePart)]
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


class ColourChooser(ColourModel):
    """A colour model that chooses the colour seen most, and points at frames of a colour.

    Its choice has three quarters of the probability; the other candidates share the rest. A frame
    of the colour is pointed at with 0.9, any other with 0.01.
    """

    can_point = True

    def choose(
        self,
        parts: Sequence[Part],
        candidates: Sequence[str],
        *,
        task: TaskName,
        thinking: bool = False,
        top: int = 8,
        max_thinking_tokens: int = 256,
        options: GenerationOptions = DEFAULT_GENERATION,
    ) -> ChoiceResult:
        made = self.generate(parts, task=task)
        names = [nearest(part.pixels) for part in parts if isinstance(part, ImagePart)]
        counts = Counter(names)
        first = candidates.index(max(candidates, key=lambda text: counts[text]))
        rest = 0.25 / max(len(candidates) - 1, 1)
        order = [first, *(place for place in range(len(candidates)) if place != first)]
        return ChoiceResult(
            ranked=tuple(Choice(place, 0.75 if place == first else rest) for place in order[:top]),
            confident=made.confident,
            familiarity=made.familiarity,
            thinking=f"I see {made.text}." if thinking else None,
            usage=made.usage,
        )

    def point(
        self,
        parts: Sequence[Part],
        *,
        task: TaskName,
        thinking: bool = False,
        max_thinking_tokens: int = 256,
    ) -> PointingResult:
        made = self.generate(parts, task=task)
        wanted = asked_colour(parts)
        names = [nearest(part.pixels) for part in parts if isinstance(part, ImagePart)]
        return PointingResult(
            probabilities=tuple(0.9 if name == wanted else 0.01 for name in names),
            confident=made.confident,
            familiarity=made.familiarity,
            thinking=f"I see {made.text}." if thinking else None,
            usage=made.usage,
        )


def asked_colour(parts: Sequence[Part]) -> str:
    """The colour that the words of a packed sequence name; none where they name none."""
    words = re.findall(r"\w+", parts[-1].text) if isinstance(parts[-1], TextPart) else []
    return next((word for word in words if word in COLOURS), "")


class FixedAnswerModel(ColourModel):
    """A backend that writes the same words whatever it is shown."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        self.texts = list(texts)

    def generate(
        self,
        parts: Sequence[Part],
        *,
        task: TaskName = "caption",
        thinking: bool = False,
        max_new_tokens: int = 96,
        beams: int | None = None,
        options: GenerationOptions = DEFAULT_GENERATION,
        on_text: OnText | None = None,
    ) -> Generation:
        made = super().generate(parts)
        return replace(made, text=self.texts.pop(0) if self.texts[1:] else self.texts[0])


def nearest(picture: np.ndarray) -> str:
    """The name of the colour that a picture has on average."""
    mean = picture.reshape(-1, 3).mean(axis=0)
    return min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))
