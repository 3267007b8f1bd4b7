"""Precision and recall of the rule for near-duplicates, by kind of made pair.

    python benchmarks/near_duplicates.py [--scenes 12] [--videos FOLDER]

Each scene is one shot of eight seconds that is drawn from a seed: a texture that the camera pans or
zooms over, or a still view through which objects move. Its first four seconds are compared with
copies of themselves, with its other four seconds, and with the other scenes. With a folder, the
first eight seconds of each of its videos are scenes too.

Copies are what the rule promises to find. Altered copies (cropped, with a logo, mirrored, at
another speed) are duplicates for people, but lie beyond the rule. Recall counts both; precision is
the fraction of found pairs that are copies of either kind. A still view shows nearly the same in
its other seconds: such pairs count as wrong, although they show nothing new.
"""

import argparse
from collections import Counter
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from _common import print_machine, print_table
from duplicates import ffmpeg, signature_of

from seedvideo.batch.similarity import NEAR_LEVELS, Signature, near_distance
from seedvideo.errors import SeedVideoError

WIDTH_PX, HEIGHT_PX, FPS, CLIP_S = 320, 180, 24, 4
H264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p"
LEVELS = (2.0, NEAR_LEVELS, 8.0)

COPIES = {
    # name: (file name ending, ffmpeg's options)
    "re-encoded, H.264 CRF 32": ("mp4", f"{H264} -crf 32"),
    "re-encoded, VP9": ("webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -crf 40 -b:v 0"),
    "scaled to half": ("mp4", f"-vf scale=iw/2:-2 {H264} -crf 23"),
    "15 frames per second": ("mp4", f"-r 15 {H264} -crf 23"),
    "remuxed": ("mkv", "-c copy"),
}
ALTERED = {
    "cropped by 4%": ("mp4", f"-vf crop=trunc(iw*0.48)*2:trunc(ih*0.48)*2 {H264} -crf 23"),
    "cropped by 10%": ("mp4", f"-vf crop=trunc(iw*0.45)*2:trunc(ih*0.45)*2 {H264} -crf 23"),
    "with a logo": (
        "mp4",
        f"-vf drawbox=x=iw*0.8:y=ih*0.06:w=iw*0.15:h=ih*0.08:color=white@0.8:t=fill {H264} -crf 23",
    ),
    "mirrored": ("mp4", f"-vf hflip {H264} -crf 23"),
    "4% faster": ("mp4", f"-vf setpts=PTS/1.04 {H264} -crf 23"),
}
OTHER_SECONDS, OTHER_SCENE = "other seconds of the shot", "another scene"

Pixels = npt.NDArray[np.uint8]


def main() -> None:
    """Make the pairs, compare them at each threshold, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--videos", type=Path, help="a folder of videos of your own")
    args = parser.parse_args()
    found: dict[float, Counter[str]] = {levels: Counter() for levels in LEVELS}
    tried: Counter[str] = Counter()
    with TemporaryDirectory() as name:
        folder = Path(name)
        scenes = [write_scene(folder, seed) for seed in range(args.scenes)]
        videos = [] if args.videos is None else sorted(args.videos.iterdir())
        scenes += [half for path in videos if (half := split_video(folder, path)) is not None]
        firsts = []
        for first, second in scenes:
            signature = signature_of(first)
            firsts.append(signature)
            others = {OTHER_SECONDS: second}
            for kind, (extension, options) in (COPIES | ALTERED).items():
                others[kind] = first.with_name(f"copy.{extension}")
                ffmpeg("-i", first, *options.split(), others[kind])
                compare(kind, signature, signature_of(others[kind]), found, tried)
            compare(OTHER_SECONDS, signature, signature_of(second), found, tried)
        for one, other in combinations(firsts, 2):
            compare(OTHER_SCENE, one, other, found, tried)
    print_results(found, tried, len(scenes))
    print_machine("av", "numpy")


def compare(
    kind: str,
    one: Signature,
    other: Signature,
    found: dict[float, Counter[str]],
    tried: Counter[str],
) -> None:
    """Count a pair, and whether it is found at each threshold."""
    tried[kind] += 1
    for levels, counts in found.items():
        counts[kind] += near_distance(one, other, levels) is not None


def print_results(found: dict[float, Counter[str]], tried: Counter[str], scenes: int) -> None:
    """Print the found pairs by kind, and precision and recall."""
    groups = {"copy": COPIES, "altered copy": ALTERED, "different": (OTHER_SECONDS, OTHER_SCENE)}
    rows = [
        [kind, group, str(tried[kind]), *(str(found[levels][kind]) for levels in LEVELS)]
        for group, kinds in groups.items()
        for kind in kinds
    ]
    header = ["pair", "is", "pairs", *(f"found at {levels:g}" for levels in LEVELS)]
    print_table(f"Near-duplicates, {scenes} scenes of {CLIP_S} s", header, rows)
    summary = []
    for levels in LEVELS:
        hits = {
            group: sum(found[levels][kind] for kind in kinds) for group, kinds in groups.items()
        }
        right = hits["copy"] + hits["altered copy"]
        wholes = {group: sum(tried[kind] for kind in kinds) for group, kinds in groups.items()}
        summary.append(
            [
                f"{levels:g} levels",
                f"{right / max(1, right + hits['different']):.3f}",
                f"{hits['copy'] / wholes['copy']:.3f}",
                f"{right / (wholes['copy'] + wholes['altered copy']):.3f}",
            ]
        )
    header = ["threshold", "precision", "recall of copies", "recall of all copies"]
    print_table("Over all kinds", header, summary)


def write_scene(folder: Path, seed: int) -> tuple[Path, Path]:
    """Write the two halves of a scene."""
    paths = folder / f"scene{seed}-a.mp4", folder / f"scene{seed}-b.mp4"
    frames = draw_scene(seed, 2 * CLIP_S * FPS)
    source = f"-f rawvideo -pix_fmt rgb24 -s {WIDTH_PX}x{HEIGHT_PX} -r {FPS} -i -"
    for number, path in enumerate(paths):
        part = frames[number * CLIP_S * FPS : (number + 1) * CLIP_S * FPS]
        ffmpeg(*source.split(), *H264.split(), "-crf", "18", path, stdin=part.tobytes())
    return paths


def split_video(folder: Path, video: Path) -> tuple[Path, Path] | None:
    """Write the first two clips of a video; None if it is shorter."""
    paths = folder / f"{video.stem}-a.mp4", folder / f"{video.stem}-b.mp4"
    for number, path in enumerate(paths):
        span = ["-ss", str(number * CLIP_S), "-t", str(CLIP_S), "-i", video, "-an"]
        ffmpeg(*span, "-vf", "scale=480:-2", *H264.split(), "-crf", "18", path)
        try:
            if signature_of(path).duration_s < 0.95 * CLIP_S:
                return None
        except SeedVideoError as error:
            print(f"{video.name}: left out ({error})")
            return None
    return paths


def draw_scene(seed: int, count: int) -> Pixels:
    """Draw a scene: ``(count, HEIGHT_PX, WIDTH_PX, 3)``."""
    rng = np.random.default_rng(seed)
    wide = draw_texture(rng, 3 * HEIGHT_PX, 3 * WIDTH_PX)
    kind = ("pan", "zoom", "objects")[seed % 3]
    angle = rng.uniform(0, 2 * np.pi)
    objects = rng.uniform(0, 1, (4, 6))
    frames = np.empty((count, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    for number in range(count):
        progress = number / count - 0.5
        scale = 1.0 + (0.8 * progress if kind == "zoom" else 0)
        shift = (120 if kind == "pan" else 0) * progress
        rows = 1.5 * HEIGHT_PX + (y - HEIGHT_PX / 2) * scale + shift * np.sin(angle)
        columns = 1.5 * WIDTH_PX + (x - WIDTH_PX / 2) * scale + shift * np.cos(angle)
        frames[number] = wide[rows.astype(int), columns.astype(int)]
        if kind == "objects":
            for left, top, speed, size, phase, grey in objects:
                middle_x = WIDTH_PX * ((left + (0.4 + speed) * number / FPS / 6) % 1)
                middle_y = HEIGHT_PX * (0.2 + 0.6 * top + 0.1 * np.sin(number / 9 + 7 * phase))
                inside = (x - middle_x) ** 2 + (y - middle_y) ** 2 < (8 + 14 * size) ** 2
                frames[number][inside] = (255 * grey, 255 * phase, 255 * (1 - grey))
    return frames


def draw_texture(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw soft shapes of several sizes with hard edges among them."""
    picture = np.zeros((height, width, 3))
    for cells, weight in ((6, 60.0), (15, 35.0), (45, 20.0)):
        coarse = rng.normal(0, weight, (cells + 2, cells + 2, 3))
        rows = np.linspace(0, cells, height)
        columns = np.linspace(0, cells, width)
        whole_r, whole_c = rows.astype(int), columns.astype(int)
        part_r, part_c = (rows - whole_r)[:, None, None], (columns - whole_c)[None, :, None]
        top = coarse[whole_r][:, whole_c] * (1 - part_c) + coarse[whole_r][:, whole_c + 1] * part_c
        low = coarse[whole_r + 1][:, whole_c] * (1 - part_c)
        low = low + coarse[whole_r + 1][:, whole_c + 1] * part_c
        picture += top * (1 - part_r) + low * part_r
    edges = np.where(picture[..., :1] > 40, 35, 0)
    return (picture + 110 + edges).clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
