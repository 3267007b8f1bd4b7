"""Which clips `--drop-near` leaves out, which copies it finds, and how long the search takes.

    python benchmarks/duplicates.py [--videos FOLDER] [--clip-seconds 2] [--every 3] [--show FOLDER]
    python benchmarks/duplicates.py --search [--clips 100000]

Synthetic scenes are always included: pairs that differ by an event, and copies. With a folder, each
of its videos is split into clips of this length. All clips are compared in their order, and copies
of every n-th clip are made: compressed, resized, at other frame rates, in other containers.

Clips that are left out are judged by a measure that is independent of the rule: all frames of both
clips, 384 px wide. A pair differs by a visible event if a square of 1/24 of the width differs by
more than `EVENT_LEVELS` on average for at least `EVENT_S` without a break. ``--show`` writes the
pairs as pictures (both, and three times their difference) for inspection.

``--search`` measures only the index, on random signatures: seconds, peak memory, and the number of
signatures that are compared in full.
"""

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import numpy.typing as npt
from _common import peak_mib, print_machine, print_table

from seedvideo import api
from seedvideo.batch.duplicates import ComparedClip, DuplicateIndex
from seedvideo.batch.job import Filters
from seedvideo.batch.similarity import (
    NEAR_LEVELS,
    NearIndex,
    Signature,
    compute_signature,
    near_distance,
)
from seedvideo.config import SamplingConfig
from seedvideo.pipeline import clip_window

EVENT_LEVELS = 24.0
"""A tenth of the range of grey levels."""

EVENT_S = 0.2
WIDTH_PX, HEIGHT_PX, FPS, FRAMES = 320, 180, 24, 48
_H264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p"
COPIES = {
    # name: (file name ending, ffmpeg's options)
    "H.264, CRF 32": ("mp4", f"{_H264} -crf 32"),
    "HEVC, CRF 32": ("mp4", "-c:v libx265 -preset ultrafast -crf 32 -x265-params log-level=none"),
    "MPEG-4 in AVI": ("avi", "-c:v mpeg4 -q:v 10"),
    "VP9, 320 px wide": (
        "webm",
        "-vf scale=320:-2 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -crf 40 -b:v 0",
    ),
    "60 frames per second": ("mp4", f"-r 60 {_H264} -crf 26"),
    "24 frames per second": ("mkv", f"-r 24 {_H264} -crf 26"),
    "15 frames per second": ("mp4", f"-r 15 {_H264} -crf 26"),
    "10 frames per second, 320 px wide": ("mp4", f"-r 10 -vf scale=320:-2 {_H264} -crf 28"),
    "half as wide, CRF 36": ("mp4", f"-vf scale=trunc(iw/4)*2:-2 {_H264} -crf 36"),
    "GIF, 240 px wide, 10 frames per second": ("gif", "-r 10 -vf scale=240:-2"),
    "remuxed to Matroska": ("mkv", "-c copy"),
    "remuxed to MPEG-TS": ("ts", "-c copy"),
}

Pixels = npt.NDArray[np.uint8]
Draw = Callable[[int], Pixels]


def main() -> None:
    """Run the selected measurements and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--videos", type=Path, help="a folder of videos of your own")
    parser.add_argument("--clip-seconds", type=float, default=2.0)
    parser.add_argument("--every", type=int, default=3, help="copy only each n-th clip")
    parser.add_argument("--levels", type=float, default=NEAR_LEVELS)
    parser.add_argument(
        "--work", type=Path, help="keep clips and copies in this folder for another run"
    )
    parser.add_argument("--show", type=Path, help="write pairs of duplicates as pictures")
    parser.add_argument("--search", action="store_true", help="measure only the search")
    parser.add_argument("--clips", type=int, default=100_000)
    args = parser.parse_args()
    if args.search:
        search(args.clips)
        print_machine("numpy")
        return
    with TemporaryDirectory() as name:
        work = args.work or Path(name)
        (work / "clips").mkdir(parents=True, exist_ok=True)
        (work / "copies").mkdir(exist_ok=True)
        compare_scenes(work, args.levels)
        if args.videos:
            clips = split_videos(args.videos, work / "clips", args.clip_seconds)
            signatures = {path: signature_of(path) for path in clips}
            print_duplicates(signatures, args.levels, args.show)
            originals = clips[:: args.every]
            found, tried = compare_copies(originals, signatures, work / "copies", args.levels)
            title = f"Copies of every {args.every}. clip that are found at {args.levels:g} levels"
            rows = [[how, f"{found[how]} of {tried[how]}"] for how in COPIES]
            print_table(title, ["copy", "found"], rows)
    print_machine("av", "numpy")


def ffmpeg(*arguments: str | Path, stdin: bytes = b"") -> None:
    """Run the ffmpeg of imageio-ffmpeg; raise an error if it fails."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, input=stdin, check=True)


def signature_of(path: Path) -> Signature:
    """Compute the signature of a complete clip."""
    with api.open(str(path), workers=1) as clip:
        return compute_signature(clip, clip_window(clip, SamplingConfig()))


def split_videos(videos: Path, folder: Path, length_s: float) -> list[Path]:
    """Split all videos into clips of equal length; drop the remainders."""
    clips = []
    for video in sorted(each for each in videos.iterdir() if each.is_file()):
        with api.open(str(video), workers=1) as opened:
            duration_s = float(opened.info.duration or 0)
        for number in range(max(1, int((duration_s + 0.05) // length_s))):
            path = folder / f"{video.stem}-{number:04}.mp4"
            clips.append(path)
            if not path.exists():
                part = ["-ss", f"{number * length_s:g}", "-t", f"{length_s:g}", "-i", video, "-an"]
                even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"]
                ffmpeg(*part, *even, *_H264.split(), "-crf", "16", path)
    return clips


def copy_of(path: Path, how: str, folder: Path) -> Path:
    """Make one copy of a clip."""
    extension, arguments = COPIES[how]
    copy = folder / f"{path.stem}@{how.replace(' ', '-').replace(',', '')}.{extension}"
    if not copy.exists():
        ffmpeg("-i", path, *arguments.split(), copy)
    return copy


def compare_copies(
    originals: list[Path], signatures: dict[Path, Signature], folder: Path, levels: float
) -> tuple[Counter[str], Counter[str]]:
    """Count the copies that are detected, and all copies, by kind of copy."""
    found: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for path in originals:
        for how in COPIES:
            copy = signature_of(copy_of(path, how, folder))
            tried[how] += 1
            found[how] += near_distance(signatures[path], copy, levels) is not None
        print(f"{path.stem}: copies compared", file=sys.stderr)
    return found, tried


def find_duplicates(
    signatures: dict[Path, Signature], levels: float
) -> Iterator[tuple[Path, Path, float]]:
    """Yield the clips that a job would leave out, each with the kept clip and the distance."""
    paths = list(signatures)
    kept = DuplicateIndex(
        Filters(near_duplicates=True, near_distance_levels=levels),
        lambda position: signatures[paths[position]],
    )
    for position, path in enumerate(paths):
        clip = ComparedClip(
            position=position, task_key="", fingerprint="", signature=signatures[path]
        )
        repeat = kept.find_duplicate(clip)
        if repeat is None:
            kept.add(clip)
        else:
            yield path, paths[repeat.position], repeat.distance_levels or 0.0


def print_duplicates(signatures: dict[Path, Signature], levels: float, show: Path | None) -> None:
    """Print the clips that are left out, with the independent measure."""
    rows, events = [], 0
    for path, kept, distance in find_duplicates(signatures, levels):
        one, other = frames(path), frames(kept)
        count = min(len(one), len(other))
        change = np.abs(one[:count].astype(np.int16) - other[:count])
        fps = count / min(signatures[path].duration_s, signatures[kept].duration_s)
        sustained = sustained_levels(change, max(1, round(EVENT_S * fps)))
        events += sustained > EVENT_LEVELS
        rows.append([path.stem, kept.stem, f"{distance:.2f}", f"{sustained:.1f}"])
        if show is not None:
            save_pair(show / f"{path.stem}.png", one, other, change)
    print_table(
        f"Left out at {levels:g} levels: {len(rows)} of {len(signatures)} clips,"
        f" {events} of them with a visible event",
        ["clip", "stays", "distance", "most of a square"],
        rows,
    )


def frames(path: Path) -> Pixels:
    """Decode all frames in grey, 384 px wide."""
    import av

    with av.open(str(path)) as container:
        size = 384, 216
        decoded = [f.reformat(*size, "gray").to_ndarray() for f in container.decode(video=0)]
        return np.stack(decoded)


def sustained_levels(change: npt.NDArray[np.int16], count: int) -> float:
    """Return the maximum over squares and times of the minimum change in ``count`` frames."""
    long, height, width = change.shape
    squares = change[:, : height // 16 * 16].reshape(long, height // 16, 16, width // 16, 16)
    means = squares.mean(axis=(2, 4))
    count = min(count, long)
    runs = np.lib.stride_tricks.sliding_window_view(means, count, axis=0)
    return float(runs.min(axis=-1).max())


def save_pair(path: Path, one: Pixels, other: Pixels, change: npt.NDArray[np.int16]) -> None:
    """Write the frames with the largest difference, and the maximum difference of each pixel."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    at = int(change.sum(axis=(1, 2), dtype=np.int64).argmax())
    largest = np.minimum(3 * change.max(axis=0), 255).astype(np.uint8)
    Image.fromarray(np.hstack([one[at], other[at], largest])).save(path)


def compare_scenes(work: Path, levels: float) -> None:
    """Write the synthetic scenes as videos, compare all of them, and copy each."""
    paths = {name: work / f"made-{name.replace(' ', '-')}.mp4" for name in SCENES}
    for name, path in paths.items():
        raw = b"".join(SCENES[name](number).tobytes() for number in range(FRAMES))
        source = f"-f rawvideo -pix_fmt rgb24 -s {WIDTH_PX}x{HEIGHT_PX} -r {FPS} -i -"
        ffmpeg(*source.split(), *_H264.split(), "-crf", "18", path, stdin=raw)
    signatures = {path: signature_of(path) for path in paths.values()}
    wrong = list(find_duplicates(signatures, levels))
    names = ", ".join(SCENES)
    print(f"\n{len(wrong)} of {len(SCENES)} synthetic scenes are left out: {names}")
    for path, kept, distance in wrong:
        print(f"  WRONG: {path.stem} for {kept.stem}, {distance:.2f} levels")
    found, tried = compare_copies(list(signatures), signatures, work / "copies", levels)
    rows = [[how, f"{found[how]} of {tried[how]}"] for how in COPIES]
    print_table("Copies of synthetic scenes that are found", ["copy", "found"], rows)


def paint_room(_: int) -> Pixels:
    """Paint a wall, a floor and a table."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    picture = np.stack([150 + x // 9, 140 + y // 7, 120 + (x + y) // 14], axis=-1)
    picture[125:] = (90, 70, 50)
    picture[105:115, 75:250] = (120, 90, 60)
    return picture.astype(np.uint8)


def paint_ball(fraction: float) -> Pixels:
    """Paint the room with a ball in flight."""
    picture = paint_room(0)
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    middle_x = (0.1 + 0.8 * fraction) * WIDTH_PX
    middle_y = (0.6 - 1.2 * fraction * (1 - fraction)) * HEIGHT_PX
    picture[(x - middle_x) ** 2 + (y - middle_y) ** 2 < 49] = (230, 230, 60)
    return picture


def paint_hand(number: int) -> Pixels:
    """Paint the room with a hand that enters and leaves."""
    picture = paint_room(number)
    picture[95:107, WIDTH_PX - max(1, 40 - 5 * abs(number - 36)) :] = (130, 90, 70)
    return picture


def paint_text(bits: int) -> Pixels:
    """Paint the room with white blocks like a line of text."""
    picture = paint_room(0)
    for position in range(24):
        if bits >> position & 1:
            picture[160:170, 40 + 10 * position : 46 + 10 * position] = 245
    return picture


SCENES: dict[str, Draw] = {
    "empty room": paint_room,
    "ball thrown": lambda number: paint_ball(number / FRAMES),
    "ball brought back": lambda number: paint_ball(1 - number / FRAMES),
    "hand comes in": paint_hand,
    "subtitle": lambda _: paint_text(0b101101110110101101110101),
    "another subtitle": lambda _: paint_text(0b110110101101011011101101),
    "fade in": lambda number: (paint_room(0) * min(1.0, number / 12)).astype(np.uint8),
    "mirrored": lambda _: paint_room(0)[:, ::-1],
}


def search(count: int) -> None:
    """Measure time and memory of the index on random signatures, and on those of one camera."""
    before_mib = peak_mib()
    rows = []
    for kind, make in (
        ("of many scenes", random_scene_signature),
        ("of one still camera", still_camera_signature),
    ):
        for number in (count // 10, count) if kind == "of many scenes" else (count // 10,):
            rng = np.random.default_rng(7)
            index = NearIndex(NEAR_LEVELS)
            candidates, spent_s = 0, 0.0
            for position in range(number):
                signature = make(rng)
                started = process_time()
                candidates += len(index.candidates("", signature))
                index.add(position, "", signature)
                spent_s += process_time() - started
            memory = f"{peak_mib() - before_mib:,.0f} MiB"
            rows.append(
                [f"{number:,} {kind}", f"{spent_s:.1f} s", f"{candidates / number:.3f}", memory]
            )
    header = ["clips", "processor time", "compared in full a clip", "peak of the process so far"]
    print_table("Search, one thread", header, rows)


def random_scene_signature(rng: np.random.Generator) -> Signature:
    """Make the signature of a clip with soft light and dark regions, of one of several lengths."""
    length_s = float(rng.choice([2.0, 2.0, 4.0, 6.5]))
    coarse = rng.normal(110, 45, (4, 4)).repeat(4, 0).repeat(4, 1)
    cells = (coarse + rng.normal(0, 12, (16, 16))).reshape(-1)
    return repeat_cells(rng, cells, length_s)


def still_camera_signature(rng: np.random.Generator) -> Signature:
    """Make the signature of a clip of one room, through which two cells move."""
    cells = np.linspace(60, 190, 256)
    values = repeat_cells(rng, cells, 2.0).values.copy()
    row, start = rng.integers(0, 15), rng.integers(0, 16)
    for exposure in range(len(values)):
        cell = 16 * row + (start + exposure // 3) % 16
        values[exposure, [cell, cell + 16]] = rng.integers(0, 256)
    return Signature(2.0, values)


def repeat_cells(
    rng: np.random.Generator, cells: npt.NDArray[np.float64], length_s: float
) -> Signature:
    """Repeat cells with a little noise in all exposures."""
    values = np.full(384, 128.0)
    values[:256] = cells + rng.normal(0, 0.5, 256)
    exposures = int(8 * length_s)
    return Signature(length_s, np.tile(values.clip(0, 255).astype(np.uint8), (exposures, 1)))


if __name__ == "__main__":
    main()
