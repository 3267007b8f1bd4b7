"""Time to encode frames as pictures, compared with decoding them.

    python benchmarks/pictures.py [CLIP]

`seedvideo frames` writes PNG at level 1; Pillow's default is 6. Decoding runs in other processes,
so all times are wall times: run it on an idle machine.
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
Result = TypeVar("Made")


def main() -> None:
    """Encode the frames of the given clip, or of a generated one."""
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
        encoded, spent_s = timed(make)
        slowest_s = slowest_s or spent_s
        size_kib = sum(map(len, encoded)) / len(encoded) / 1024
        faster = f"{slowest_s / spent_s:.1f}x"
        rows.append((name, f"{spent_s:.2f} s", faster, f"{size_kib:.0f} KiB"))
    height_px, width_px = frames[0].shape[:2]
    print_table(
        f"{len(frames)} pictures of {width_px}x{height_px}, decoded in {decode_s:.2f} s",
        ("format", "time", "faster", "a picture"),
        rows,
    )


def default_png(pixels: object) -> bytes:
    """Encode a PNG file with Pillow's defaults."""
    data = BytesIO()
    Image.fromarray(pixels).save(data, format="PNG")
    return data.getvalue()


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result of the work, and its wall seconds."""
    start_s = time.perf_counter()
    return work(), time.perf_counter() - start_s


if __name__ == "__main__":
    main()
