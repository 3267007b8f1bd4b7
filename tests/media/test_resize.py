"""Scaling to RGB comes as close to scaling full RGB pictures as doing all in one step does."""

from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from seedvideo.media.resize import Orientation, Resizer
from tests.fixtures import Clips, Pixels, coded_video

SIZES = [(96, 56), (150, 90), (300, 7), (1, 1), (33, 71)]


def first_frame(clips: Clips, pixels: str, matrix: str, colours: str) -> VideoFrame:
    options = f"-vf scale=out_color_matrix={matrix}:out_range={colours} -colorspace {matrix}"
    options += f" -color_range {colours} -c:v libx264 -qp 8 -pix_fmt {pixels}"

    def make(path: Path) -> Path:
        return coded_video(path, options, frames=1)

    path = clips.made(f"{pixels}_{matrix}_{colours}.mp4", make)
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def in_one_step(frame: VideoFrame, width_px: int, height_px: int) -> Pixels:
    small = VideoReformatter().reformat(
        frame, width_px, height_px, "rgb24", interpolation=Interpolation.BICUBIC, threads=1
    )
    return small.to_ndarray()  # type: ignore[return-value]


def error(pixels: Pixels, frame: VideoFrame) -> float:
    """Root of the mean squared distance from the full RGB picture, scaled by Pillow."""
    full = VideoReformatter().reformat(
        frame, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1
    )
    size = (pixels.shape[1], pixels.shape[0])
    best = Image.fromarray(full.to_ndarray()).resize(size, Image.Resampling.BICUBIC)
    return float(np.sqrt(np.mean((pixels.astype(float) - np.asarray(best, float)) ** 2)))


@pytest.mark.parametrize(
    ("pixels", "matrix", "colours"),
    [
        *product(("yuv420p", "yuvj420p"), ("smpte170m", "bt709"), ("tv", "pc")),
        ("yuv444p", "bt709", "tv"),
        ("yuv420p10le", "bt709", "tv"),
    ],
)
def test_pictures_are_no_worse_than_scaled_in_one_step(
    clips: Clips, pixels: str, matrix: str, colours: str
) -> None:
    frame = first_frame(clips, pixels, matrix, colours)
    resizer = Resizer(Orientation())
    for width_px, height_px in SIZES:
        data = resizer.resize(frame, width_px, height_px)
        ours = np.frombuffer(data, np.uint8).reshape(height_px, width_px, 3)
        once = in_one_step(frame, width_px, height_px)
        assert error(ours, frame) <= error(once, frame) + 1.0


def test_a_picture_of_its_own_size_is_not_scaled(clips: Clips) -> None:
    frame = first_frame(clips, "yuv420p", "bt709", "tv")
    data = Resizer(Orientation()).resize(frame, frame.width, frame.height)
    assert data == in_one_step(frame, frame.width, frame.height).tobytes()
