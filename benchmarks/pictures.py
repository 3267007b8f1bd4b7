"""Time to write pictures of frames, compared with decoding them.

    python benchmarks/pictures.py [CLIP]

`seedvideo frames` writes PNG at level 1, where Pillow's default is 6. Decoding takes other
processes, so all times are those of the clock: run it on a machine at rest.
"""

import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from _common import make_clip, print_machine, print_table
from PIL import Image

import seedvideo
from seedvideo.cli.output import ImageEncoding, encode_image

FRAMES = 19
Made = TypeVar("Made")


def main() -> None:
    """Encode the frames of the clip that is named, or of one that is made."""
    with TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            show(Path(sys.argv[1]))
        else:
            clip = Path(folder) / "clip.mp4"
            make_clip(clip, width_px=924, height_px=504)
            show(clip)
    print_machine("pillow")


def show(clip: Path) -> None:
    """Print the table of one clip."""
    with seedvideo.open(clip) as video:
        plan = seedvideo.plan(video, policy="uniform", max_frames=FRAMES, fps=5)
        frames, decode_s = timed(lambda: [frame.pixels for _, frame in video.frames(plan)])
    files = {
        "png, Pillow's default": lambda: [default_png(pixels) for pixels in frames],
        **{
            f"{name}, as written": lambda encoding=encoding: [
                encode_image(pixels, encoding) for pixels in frames
            ]
            for name, encoding in (
                ("png", ImageEncoding("png")),
                ("jpeg 90", ImageEncoding("jpeg")),
                ("webp 90", ImageEncoding("webp")),
            )
        },
    }
    rows = []
    slowest_s = 0.0
    for name, make in files.items():
        made, spent_s = timed(make)
        slowest_s = slowest_s or spent_s
        size_kib = sum(map(len, made)) / len(made) / 1024
        faster = f"{slowest_s / spent_s:.1f}x"
        rows.append((name, f"{spent_s:.2f} s", faster, f"{size_kib:.0f} KiB"))
    height_px, width_px = frames[0].shape[:2]
    print_table(
        f"{len(frames)} pictures of {width_px}x{height_px}, decoded in {decode_s:.2f} s",
        ("format", "time", "faster", "a picture"),
        rows,
    )


def default_png(pixels: object) -> bytes:
    """A PNG file as Pillow writes it by default."""
    data = BytesIO()
    Image.fromarray(pixels).save(data, format="PNG")
    return data.getvalue()


def timed(work: Callable[[], Made]) -> tuple[Made, float]:
    """What the work returns, and the wall seconds that it took."""
    start_s = time.perf_counter()
    return work(), time.perf_counter() - start_s


if __name__ == "__main__":
    main()
