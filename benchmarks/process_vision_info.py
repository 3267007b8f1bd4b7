"""`process_vision_info` of seedvideo beside that of qwen-vl-utils: time, memory, error of times.

    python benchmarks/process_vision_info.py [--seconds 180]

Four generated clips: even, variable rate, edit list, long. Pictures show their frame numbers, so
the true time of what is shown is known. The prompt of Qwen3-VL states one time per two frames: the
mean of the times of the metadata, with one decimal. Its error is the distance to the true mean. The
last column has the distance to each of the two frames, which a merged pair cannot avoid.

Each reading is a process of its own; its memory is sampled with that of its decode processes
(`_sampling_memory`; Linux only). The original reads with decord.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Any

from _common import print_machine, print_table
from _sampling_memory import watch

WIDTH_PX, HEIGHT_PX, FPS = 1280, 720, 30
BITS = 16
SHORT_S = 20
TIMEOUT_S = 600
ORIGINAL = "qwen-vl-utils"
READERS = {
    ORIGINAL: {},
    "ours": {},
    "ours, tokens of the original": {},
    "ours, uniform, merged": {"policy": "uniform", "repeat": False},
}


def main() -> None:
    """Read each clip with each reader, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=180, help="length of the long clip")
    parser.add_argument("--read", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(*options.read)))
        return
    with TemporaryDirectory() as folder:
        clips = make_clips(Path(folder), options.seconds)
        rows = []
        for clip, (path, kind) in clips.items():
            original = measure(path, kind, ORIGINAL, 0)
            rows.append(row(clip, ORIGINAL, original, original))
            for reader in [*READERS][1:]:
                budget = original["tokens"] if "tokens" in reader else 0
                found = measure(path, kind, reader, round(budget))
                rows.append(row(clip, reader, found, original))
    print_table(
        f"process_vision_info, {WIDTH_PX}x{HEIGHT_PX} px, long: {options.seconds} s",
        (
            "clip, reader",
            "seconds",
            "peak MiB",
            "of it",
            "over imports",
            "of it",
            "frames",
            "tokens",
            "error of a time",
            "to a frame",
        ),
        rows,
    )
    print_machine("qwen-vl-utils", "decord", "torch", "torchvision", "av")


def measure(*arguments: object) -> dict[str, float]:
    """Read a clip in a fresh process, and sample its memory meanwhile."""
    notices, child_notices = os.pipe()
    child_answers, answers = os.pipe()
    command = [sys.executable, __file__, "--read", *arguments, child_notices, child_answers]
    kept = (child_notices, child_answers)
    with subprocess.Popen(
        [str(each) for each in command], stdout=subprocess.PIPE, text=True, pass_fds=kept
    ) as process:
        for end in kept:
            os.close(end)
        idle, peak = watch(process.pid, notices, answers, end_s=monotonic() + TIMEOUT_S)
        output, _ = process.communicate()
    for end in (notices, answers):
        os.close(end)
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return {**found, "imports_mib": idle / 2**20, "peak_mib": peak / 2**20}


def row(
    clip: str, reader: str, found: dict[str, float], original: dict[str, float]
) -> tuple[str, ...]:
    """Return the row of one reading; memory is also shown as a part of the original's."""
    own_mib, original_mib = (each["peak_mib"] - each["imports_mib"] for each in (found, original))
    return (
        f"{clip}, {reader}",
        f"{found['seconds']:.2f}",
        f"{found['peak_mib']:,.0f}",
        f"{found['peak_mib'] / original['peak_mib']:.0%}",
        f"{own_mib:,.0f}",
        f"{own_mib / original_mib:.0%}",
        f"{found['frames']:.0f}",
        f"{found['tokens']:,.0f}",
        f"{found['error_s']:.3f} s",
        f"{found['frame_error_s']:.3f} s",
    )


def make_clips(folder: Path, long_s: int) -> dict[str, tuple[Path, str]]:
    """Write the clips; each has a kind, which decides the true time of a frame."""
    half = SHORT_S * FPS // 2
    even = encode(folder / "even.mp4", SHORT_S * FPS)
    variable = encode(
        folder / "variable.mp4",
        SHORT_S * FPS,
        *(
            "-vf",
            f"setpts='if(lt(N,{half}),N,4*N-{3 * half})/({FPS}*TB)'",
        ),
        *("-fps_mode", "vfr"),
    )
    cut = folder / "edit_list.mp4"
    ffmpeg("-ss", "3.5", "-i", str(even), "-c", "copy", str(cut))
    long = encode(folder / "long.mp4", long_s * FPS)
    return {
        "even": (even, "even"),
        "variable rate": (variable, "variable"),
        "edit list": (cut, "cut"),
        "long": (long, "even"),
    }


def true_s(kind: str, number: int) -> float:
    """Return the presentation time of a frame of a clip."""
    half = SHORT_S * FPS // 2
    if kind == "variable" and number >= half:
        return (4 * number - 3 * half) / FPS
    return number / FPS - (3.5 if kind == "cut" else 0)


def encode(path: Path, frames: int, *arguments: str) -> Path:
    """Write a clip whose pictures show their numbers as blocks, above a pattern that moves."""
    import numpy as np

    command = (
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH_PX}x{HEIGHT_PX}"),
        *("-r", str(FPS), "-i", "-", *arguments, "-c:v", "libx264", "-pix_fmt", "yuv420p"),
        *("-preset", "ultrafast", "-g", "60", "-bf", "2", str(path)),
    )
    y, x = np.mgrid[0:HEIGHT_PX, 0 : WIDTH_PX + 256]
    wide = (np.stack([x + y, 2 * x, 255 - x + 3 * y], axis=-1) % 256).astype(np.uint8)
    with subprocess.Popen(ffmpeg_command(*command), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for number in range(frames):
            left = 4 * number % 256
            picture = wide[:, left : left + WIDTH_PX].copy()
            for bit in range(BITS):
                side = WIDTH_PX // BITS
                picture[: HEIGHT_PX // 4, bit * side : (bit + 1) * side] = 255 * (number >> bit & 1)
            process.stdin.write(picture.tobytes())
        process.stdin.close()
    if process.returncode:
        raise RuntimeError(f"ffmpeg failed for {path.name}")
    return path


def ffmpeg_command(*arguments: str) -> list[str]:
    """Return a command of the ffmpeg in imageio-ffmpeg."""
    import imageio_ffmpeg

    return [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *arguments]


def ffmpeg(*arguments: str) -> None:
    """Run ffmpeg."""
    subprocess.run(ffmpeg_command(*arguments), check=True)


def read(
    path: str, kind: str, reader: str, budget: str, notices: str, answers: str
) -> dict[str, float]:
    """Read a clip in this process, and measure.

    Args:
        path: the clip.
        kind: kind of the clip.
        reader: name of the reader.
        budget: tokens; 0 for the default.
        notices: descriptor to which a byte is written before and after the work.
        answers: descriptor from which each is answered.
    """
    import torch
    import torchvision  # both need it, so it is no part of what a reading takes

    assert torchvision is not None
    options: dict[str, Any] = {**READERS[reader]}
    if int(budget):
        options["budget_tokens"] = int(budget)
    if reader == ORIGINAL:
        from qwen_vl_utils import process_vision_info, vision_process

        vision_process.get_video_reader_backend = lambda: "decord"
    else:
        from seedvideo.integrations.qwen import process_vision_info
    messages = [{"role": "user", "content": [{"type": "video", "video": path}]}]
    notify(int(notices), int(answers))
    started = perf_counter()
    _, ((pixels, metadata),) = process_vision_info(messages, False, True, 16, **options)
    seconds = perf_counter() - started
    notify(int(notices), int(answers))
    stated = [index / metadata["fps"] for index in metadata["frames_indices"]]
    merged = [round((a + b) / 2, 1) for a, b in zip(stated[::2], stated[1::2], strict=True)]
    true = [true_s(kind, number_of(each)) for each in pixels.to(torch.uint8).numpy()]
    pairs = list(zip(true[::2], true[1::2], strict=True))
    height_px, width_px = pixels.shape[2:]
    return {
        "seconds": seconds,
        "frames": len(set(true)),
        "tokens": len(merged) * height_px * width_px / 32**2,
        "error_s": max(abs(t - sum(pair) / 2) for t, pair in zip(merged, pairs, strict=True)),
        "frame_error_s": max(
            abs(t - each) for t, pair in zip(merged, pairs, strict=True) for each in pair
        ),
    }


def notify(notices: int, answers: int) -> None:
    """Notify the parent process that the work begins or ends, and wait until it has sampled."""
    os.write(notices, b".")
    os.read(answers, 1)


def number_of(picture: Any) -> int:
    """Read the number of a picture ``(3, height, width)`` of any size."""
    height_px, width_px = picture.shape[1:]
    side = width_px / BITS
    rows = slice(height_px // 16, height_px * 3 // 16)
    return sum(
        int(picture[:, rows, round((bit + 0.3) * side) : round((bit + 0.7) * side)].mean() > 128)
        << bit
        for bit in range(BITS)
    )


if __name__ == "__main__":
    main()
