"""Which clips `--drop-near` leaves out, which copies it finds, and how long the search takes.

    python benchmarks/duplicates.py [--videos FOLDER] [--clip-seconds 2] [--every 3] [--show FOLDER]
    python benchmarks/duplicates.py --search [--clips 100000]

Made scenes are always tried: pairs that differ by an event, and copies. With a folder of videos
each of them is cut into clips of so many seconds; all clips are compared in their order, and of
every n-th clip ten copies are made: compressed, resized, at other frame rates, in other containers.

What is left out is judged by another measure than the rule's own: all frames of both clips, 384 px
wide, side by side. A pair differs by a visible event where a square of 1/24 of the width
differs by more than `EVENT_LEVELS` on average for at least `EVENT_S` without a break. ``--show``
writes the pairs as pictures (both, and their difference times three), to be judged by eye.

``--search`` measures the index alone, on random signatures: seconds, peak memory, and how many
signatures are compared in full.
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
    "60 frames a second": ("mp4", f"-r 60 {_H264} -crf 26"),
    "24 frames a second": ("mkv", f"-r 24 {_H264} -crf 26"),
    "15 frames a second": ("mp4", f"-r 15 {_H264} -crf 26"),
    "10 frames a second, 320 px wide": ("mp4", f"-r 10 -vf scale=320:-2 {_H264} -crf 28"),
    "half as wide, CRF 36": ("mp4", f"-vf scale=trunc(iw/4)*2:-2 {_H264} -crf 36"),
    "GIF, 240 px wide, 10 frames a second": ("gif", "-r 10 -vf scale=240:-2"),
    "remuxed to Matroska": ("mkv", "-c copy"),
    "remuxed to MPEG-TS": ("ts", "-c copy"),
}

Pixels = npt.NDArray[np.uint8]
Draw = Callable[[int], Pixels]


def main() -> None:
    """Measure what is asked for, and print tables."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--videos", type=Path, help="a folder of videos of your own")
    words.add_argument("--clip-seconds", type=float, default=2.0)
    words.add_argument("--every", type=int, default=3, help="copy each n-th clip only")
    words.add_argument("--levels", type=float, default=NEAR_LEVELS)
    words.add_argument("--work", type=Path, help="keep clips and copies here for another run")
    words.add_argument("--show", type=Path, help="write the pairs of what is left out as pictures")
    words.add_argument("--search", action="store_true", help="measure the search alone")
    words.add_argument("--clips", type=int, default=100_000)
    given = words.parse_args()
    if given.search:
        search(given.clips)
        print_machine("numpy")
        return
    with TemporaryDirectory() as name:
        work = given.work or Path(name)
        (work / "clips").mkdir(parents=True, exist_ok=True)
        (work / "copies").mkdir(exist_ok=True)
        try_made(work, given.levels)
        if given.videos:
            clips = cut(given.videos, work / "clips", given.clip_seconds)
            signatures = {path: signed(path) for path in clips}
            print_left_out(signatures, given.levels, given.show)
            originals = clips[:: given.every]
            found, tried = copied(originals, signatures, work / "copies", given.levels)
            title = f"Copies of every {given.every}. clip that are found at {given.levels:g} levels"
            rows = [[how, f"{found[how]} of {tried[how]}"] for how in COPIES]
            print_table(title, ["copy", "found"], rows)
    print_machine("av", "numpy")


def ffmpeg(*words: str | Path, stdin: bytes = b"") -> None:
    """Run the ffmpeg of imageio-ffmpeg; it must succeed."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, words)]
    subprocess.run(command, input=stdin, check=True)


def signed(path: Path) -> Signature:
    """The signature of a whole clip."""
    with api.open(str(path), workers=1) as clip:
        return compute_signature(clip, clip_window(clip, SamplingConfig()))


def cut(videos: Path, folder: Path, long_s: float) -> list[Path]:
    """Cut all videos into clips; what is left at their ends is left out."""
    clips = []
    for video in sorted(each for each in videos.iterdir() if each.is_file()):
        with api.open(str(video), workers=1) as opened:
            duration_s = float(opened.info.duration or 0)
        for number in range(max(1, int((duration_s + 0.05) // long_s))):
            path = folder / f"{video.stem}-{number:04}.mp4"
            clips.append(path)
            if not path.exists():
                part = ["-ss", f"{number * long_s:g}", "-t", f"{long_s:g}", "-i", video, "-an"]
                even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"]
                ffmpeg(*part, *even, *_H264.split(), "-crf", "16", path)
    return clips


def copy_of(path: Path, how: str, folder: Path) -> Path:
    """Make one copy of a clip."""
    ending, arguments = COPIES[how]
    copy = folder / f"{path.stem}@{how.replace(' ', '-').replace(',', '')}.{ending}"
    if not copy.exists():
        ffmpeg("-i", path, *arguments.split(), copy)
    return copy


def copied(
    originals: list[Path], signatures: dict[Path, Signature], folder: Path, levels: float
) -> tuple[Counter[str], Counter[str]]:
    """How many copies are found, and how many were tried, by what was done to them."""
    found: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for path in originals:
        for how in COPIES:
            copy = signed(copy_of(path, how, folder))
            tried[how] += 1
            found[how] += near_distance(signatures[path], copy, levels) is not None
        print(f"{path.stem}: copies compared", file=sys.stderr)
    return found, tried


def left_out(
    signatures: dict[Path, Signature], levels: float
) -> Iterator[tuple[Path, Path, float]]:
    """Clips that a job would leave out, each with the one that stays and their distance."""
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


def print_left_out(signatures: dict[Path, Signature], levels: float, show: Path | None) -> None:
    """Print what is left out, and judge it by another measure."""
    rows, events = [], 0
    for path, kept, distance in left_out(signatures, levels):
        one, other = frames(path), frames(kept)
        count = min(len(one), len(other))
        change = np.abs(one[:count].astype(np.int16) - other[:count])
        fps = count / min(signatures[path].duration_s, signatures[kept].duration_s)
        lasting = lasting_levels(change, max(1, round(EVENT_S * fps)))
        events += lasting > EVENT_LEVELS
        rows.append([path.stem, kept.stem, f"{distance:.2f}", f"{lasting:.1f}"])
        if show is not None:
            save_pair(show / f"{path.stem}.png", one, other, change)
    print_table(
        f"Left out at {levels:g} levels: {len(rows)} of {len(signatures)} clips,"
        f" {events} of them with a visible event",
        ["clip", "stays", "distance", "most of a square"],
        rows,
    )


def frames(path: Path) -> Pixels:
    """All frames in grey, 384 px wide."""
    import av

    with av.open(str(path)) as container:
        size = 384, 216
        decoded = [f.reformat(*size, "gray").to_ndarray() for f in container.decode(video=0)]
        return np.stack(decoded)


def lasting_levels(change: npt.NDArray[np.int16], count: int) -> float:
    """What a square of 16 px differs by at least in so many frames one after another, at most."""
    long, height, width = change.shape
    squares = change[:, : height // 16 * 16].reshape(long, height // 16, 16, width // 16, 16)
    means = squares.mean(axis=(2, 4))
    count = min(count, long)
    runs = np.lib.stride_tricks.sliding_window_view(means, count, axis=0)
    return float(runs.min(axis=-1).max())


def save_pair(path: Path, one: Pixels, other: Pixels, change: npt.NDArray[np.int16]) -> None:
    """Write the moment of the largest difference, and the largest difference of each pixel."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    at = int(change.sum(axis=(1, 2), dtype=np.int64).argmax())
    most = np.minimum(3 * change.max(axis=0), 255).astype(np.uint8)
    Image.fromarray(np.hstack([one[at], other[at], most])).save(path)


def try_made(work: Path, levels: float) -> None:
    """Film the made scenes, compare all of them, and copy each."""
    paths = {name: work / f"made-{name.replace(' ', '-')}.mp4" for name in SCENES}
    for name, path in paths.items():
        raw = b"".join(SCENES[name](number).tobytes() for number in range(FRAMES))
        given = f"-f rawvideo -pix_fmt rgb24 -s {WIDTH_PX}x{HEIGHT_PX} -r {FPS} -i -"
        ffmpeg(*given.split(), *_H264.split(), "-crf", "18", path, stdin=raw)
    signatures = {path: signed(path) for path in paths.values()}
    wrong = list(left_out(signatures, levels))
    names = ", ".join(SCENES)
    print(f"\n{len(wrong)} of {len(SCENES)} made scenes are left out: {names}")
    for path, kept, distance in wrong:
        print(f"  WRONG: {path.stem} for {kept.stem}, {distance:.2f} levels")
    found, tried = copied(list(signatures), signatures, work / "copies", levels)
    rows = [[how, f"{found[how]} of {tried[how]}"] for how in COPIES]
    print_table("Copies of made scenes that are found", ["copy", "found"], rows)


def room(_: int) -> Pixels:
    """A wall, a floor and a table."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    picture = np.stack([150 + x // 9, 140 + y // 7, 120 + (x + y) // 14], axis=-1)
    picture[125:] = (90, 70, 50)
    picture[105:115, 75:250] = (120, 90, 60)
    return picture.astype(np.uint8)


def ball(fraction: float) -> Pixels:
    """The room with a ball on its way."""
    picture = room(0)
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    middle_x = (0.1 + 0.8 * fraction) * WIDTH_PX
    middle_y = (0.6 - 1.2 * fraction * (1 - fraction)) * HEIGHT_PX
    picture[(x - middle_x) ** 2 + (y - middle_y) ** 2 < 49] = (230, 230, 60)
    return picture


def hand(number: int) -> Pixels:
    """A hand comes in and goes."""
    picture = room(number)
    picture[95:107, WIDTH_PX - max(1, 40 - 5 * abs(number - 36)) :] = (130, 90, 70)
    return picture


def words(bits: int) -> Pixels:
    """The room with white blocks as in a line of text."""
    picture = room(0)
    for position in range(24):
        if bits >> position & 1:
            picture[160:170, 40 + 10 * position : 46 + 10 * position] = 245
    return picture


SCENES: dict[str, Draw] = {
    "empty room": room,
    "ball thrown": lambda number: ball(number / FRAMES),
    "ball brought back": lambda number: ball(1 - number / FRAMES),
    "hand comes in": hand,
    "subtitle": lambda _: words(0b101101110110101101110101),
    "another subtitle": lambda _: words(0b110110101101011011101101),
    "fade in": lambda number: (room(0) * min(1.0, number / 12)).astype(np.uint8),
    "mirrored": lambda _: room(0)[:, ::-1],
}


def search(count: int) -> None:
    """Seconds and memory of the index on random signatures, and on those of one still camera."""
    before_mib = peak_mib()
    rows = []
    for kind, make in (("of many scenes", scenery), ("of one still camera", still_camera)):
        for number in (count // 10, count) if kind == "of many scenes" else (count // 10,):
            chance = np.random.default_rng(7)
            index = NearIndex(NEAR_LEVELS)
            candidates, spent_s = 0, 0.0
            for position in range(number):
                signature = make(chance)
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


def scenery(chance: np.random.Generator) -> Signature:
    """A clip with soft light and dark regions, of one of several lengths."""
    long_s = float(chance.choice([2.0, 2.0, 4.0, 6.5]))
    coarse = chance.normal(110, 45, (4, 4)).repeat(4, 0).repeat(4, 1)
    cells = (coarse + chance.normal(0, 12, (16, 16))).reshape(-1)
    return moving(chance, cells, long_s)


def still_camera(chance: np.random.Generator) -> Signature:
    """The same room in each clip, and something of a few cells that moves through it."""
    cells = np.linspace(60, 190, 256)
    values = moving(chance, cells, 2.0).values.copy()
    row, start = chance.integers(0, 15), chance.integers(0, 16)
    for exposure in range(len(values)):
        cell = 16 * row + (start + exposure // 3) % 16
        values[exposure, [cell, cell + 16]] = chance.integers(0, 256)
    return Signature(2.0, values)


def moving(chance: np.random.Generator, cells: npt.NDArray[np.float64], long_s: float) -> Signature:
    """Cells with a little noise, the same in all exposures."""
    values = np.full(384, 128.0)
    values[:256] = cells + chance.normal(0, 0.5, 256)
    exposures = int(8 * long_s)
    return Signature(long_s, np.tile(values.clip(0, 255).astype(np.uint8), (exposures, 1)))


if __name__ == "__main__":
    main()
