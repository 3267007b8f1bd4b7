"""Decoding of selected frames: one pass or seeks, PyAV or decord, and peak memory.

    python benchmarks/decode.py [CLIP]

Without a clip, one of 10 s, 1280x720, with a keyframe every second is generated. Sparse: one frame
every 2.5 s. Dense: five frames per second. All frames are delivered at 420x224 px. Times cover
decoding without opening. decord always reads in order, as its seeks return wrong frames.
"""

import json
import sys
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from _common import in_child, make_clip, peak_mib, print_machine, print_table

import seedvideo
from seedvideo.errors import SeedVideoError
from seedvideo.media import Target, open_video
from seedvideo.media.reader import DecoderName, StrategyName
from seedvideo.utils import fork_server

WIDTH_PX, HEIGHT_PX = 420, 224
WAYS: tuple[tuple[DecoderName, StrategyName], ...] = (
    ("pyav", "sequential"),
    ("pyav", "seek"),
    ("pyav", "auto"),
    ("decord", "auto"),
)
ROUNDS = 3
SIZES_PX = ((640, 360), (1920, 1080), (3840, 2160))


def main() -> None:
    """Print both tables."""
    with TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            clip = Path(sys.argv[1])
        else:
            clip = make_clip(Path(folder) / "made.mp4", keyframe_every=30)
        for name, every in (("Sparse", Fraction(5, 2)), ("Dense", Fraction(1, 5))):
            compare(clip, name, every=every)
        memory(Path(folder))
    print_machine("av", "decord")


def compare(clip: Path, name: str, *, every: Fraction) -> None:
    """Time every way to the same targets."""
    best_s: dict[str, float] = {}
    decoded: dict[str, str] = {}
    with ExitStack() as stack:
        readers = []
        for decoder, strategy in WAYS:
            way = f"{decoder}, {'in order' if decoder == 'decord' else strategy}"
            try:
                reader = stack.enter_context(open_video(clip, decoder=decoder))
                end = reader.info.duration
            except SeedVideoError as error:
                decoded[way] = error.code
                continue
            readers.append((way, reader, strategy))
        count = int(end / every)
        targets = [Target(every * i, WIDTH_PX, HEIGHT_PX) for i in range(count)]
        # Alternate, so that other work on the machine does not affect one row only.
        for _ in range(ROUNDS):
            for way, reader, strategy in readers:
                started = perf_counter()
                for _frame in reader.frames(targets, strategy=strategy):
                    pass
                best_s[way] = min(best_s.get(way, float("inf")), perf_counter() - started)
                decoded[way] = f"{reader.report.decoded_frames}"
    first_s = next(iter(best_s.values()))
    rows = [
        (way, text, f"{1000 * best_s[way]:.0f} ms", f"{best_s[way] / first_s:.2f}x")
        if way in best_s
        else (way, text, "", "")
        for way, text in decoded.items()
    ]
    print_table(
        f"{name}: {count} frames of {float(end):.1f} s, one every {float(every):g} s,"
        f" best of {ROUNDS}",
        ("way", "frames decoded", "time", "ratio"),
        rows,
    )


def memory(folder: Path) -> None:
    """Peak memory of the decode process for larger and larger native frames."""
    rows = []
    for width_px, height_px in SIZES_PX:
        clip = folder / f"{height_px}.mp4"
        make_clip(clip, fps=10, seconds=1, width_px=width_px, height_px=height_px)
        native_mib = width_px * height_px * 3 / 2 / 2**20
        ours, theirs = (in_child(__file__, "memory", clip, each) for each in ("pyav", "decord"))
        rows.append(
            (
                f"{width_px}x{height_px}",
                f"{native_mib:.1f} MiB",
                f"{ours['peak_mib']:.0f} MiB",
                f"{theirs['peak_mib']:.0f} MiB" if theirs else "absent",
            )
        )
    print_table(
        f"Peak memory of the decode process: 10 frames read, each delivered at"
        f" {WIDTH_PX}x{HEIGHT_PX} px",
        ("video", "one native frame", "PyAV", "decord"),
        rows,
    )


def measure_memory(clip: str, decoder: DecoderName) -> dict[str, float]:
    """Read every frame of a clip, and return the peak memory of the decode worker."""
    try:
        with open_video(clip, decoder=decoder) as reader:
            for _ in reader.frames([Target(time, WIDTH_PX, HEIGHT_PX) for time in reader.times]):
                pass
    except seedvideo.ConfigError:
        return {}  # decord is not installed
    fork_server.end_servers()  # Processes count once they have exited.
    return {"peak_mib": peak_mib(of_children=True)}


if __name__ == "__main__":
    if len(sys.argv) > 3:
        decoder: DecoderName = "decord" if sys.argv[3] == "decord" else "pyav"
        print(json.dumps(measure_memory(sys.argv[2], decoder)))
    else:
        main()
