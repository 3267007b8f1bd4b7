"""Cost of analysing a video compared with decoding all of it, and accuracy of its cuts.

    python benchmarks/analysis.py [--long]

Videos are those of flashbench, and a still 1080p picture. Times are processor seconds of this
process and the decode process, so that other work on the machine does not count. The cuts are
compared with the ground truth.
"""

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import av
import numpy as np
from _common import print_machine, print_table, processor_s

import seedvideo
from seedvideo.evaluate.flashbench import (
    DifficultyConfig,
    GeneratedVideo,
    GopCache,
    TaskId,
    generate,
    seeds,
)

METHODS: Final = ("packets", "auto", "fast", "full")
CONTENT: Final[dict[str, tuple[TaskId, DifficultyConfig]]] = {
    "calm": ("T1", DifficultyConfig(events=3)),
    "half busy": ("T1", DifficultyConfig(events=3, distractor_fraction=Fraction(1, 2))),
    "film grain": ("N4", DifficultyConfig()),
    "pan": ("N2", DifficultyConfig()),
}
NEAR_S: Final = Fraction(1, 5)
"""Maximum distance of a detected cut from a true one, in seconds."""


def main() -> None:
    """Print both tables."""
    lengths = (300, 1200) if "--long" in sys.argv else (60, 240)
    rows, cuts = [], []
    with TemporaryDirectory() as folder:
        for name, (task, difficulty) in CONTENT.items():
            gop_cache = GopCache()
            for length in lengths:
                setup = difficulty.__class__(**{**vars(difficulty), "duration_s": length})
                made = generate(
                    task, seeds("dev", 1)[0], Path(folder), difficulty=setup, gop_cache=gop_cache
                )
                rows.append((f"{name}, {length} s", *_costs(made.path)))
                made.path.unlink()
                print(*rows[-1], file=sys.stderr, flush=True)
        still = Path(folder) / "still.mp4"
        _stand_still(still, seconds=lengths[0])
        rows.append((f"still 1080p, {lengths[0]} s", *_costs(still)))
        busy = DifficultyConfig(
            duration_s=lengths[-1], events=3, shots=12, distractor_fraction=Fraction(1, 5)
        )
        made = generate("T1", seeds("dev", 2)[1], Path(folder), difficulty=busy)
        cuts = [_cuts(made, method) for method in METHODS]
    print_table(
        "Seconds of processor time, and fraction of a full decode",
        ("video", "open", "full decode", *METHODS),
        rows,
    )
    print_table(
        f"Cuts found within {float(NEAR_S):g} s, {len(made.item.cuts)} in {lengths[-1]} s",
        ("analysis", "precision", "recall"),
        cuts,
    )
    print_machine("av", "numpy", "scenedetect-headless")


def _stand_still(path: Path, *, seconds: int) -> None:
    """Write one picture of soft light as a video of 1920x1080 px."""
    rows, columns = np.mgrid[0:1080, 0:1920] / 1080
    light = 120 + 60 * np.sin(3 * columns + 2 * rows) + 30 * np.cos(5 * rows)
    picture = np.repeat(light.astype(np.uint8)[..., None], 3, axis=2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        for i in range(25 * seconds):
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _costs(path: Path) -> list[str]:
    opened = _spent(path, lambda video: None)
    before = processor_s()
    with av.open(str(path)) as container:
        for _ in container.decode(video=0):
            pass
    decoded = processor_s() - before
    cells = [f"{opened:.1f}", f"{decoded:.1f}"]
    for method in METHODS:
        spent = _spent(path, lambda video, method=method: video.analysis(method)) - opened
        cells.append(f"{spent:.1f} = {spent / decoded:.0%}")
    return cells


def _spent(path: Path, work: Callable[[seedvideo.Video], object]) -> float:
    """Return processor seconds of opening a file and working on it, with its decode process."""
    before = processor_s()
    with seedvideo.open(path) as video:
        work(video)
    return processor_s() - before


def _cuts(made: GeneratedVideo, method: str) -> tuple[str, str, str]:
    with seedvideo.open(made.path) as video:
        detected = video.analysis(method).cuts
    true = made.item.cuts
    right = sum(any(abs(cut - each) <= NEAR_S for each in true) for cut in detected)
    found = sum(any(abs(cut - each) <= NEAR_S for each in detected) for cut in true)
    precision = f"{right / len(detected):.2f}" if detected else "-"
    return method, precision, f"{found / len(true):.2f}"


if __name__ == "__main__":
    main()
