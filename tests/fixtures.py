"""Small clips made when tests run, with the ffmpeg binary inside the package imageio-ffmpeg.

Each frame of a clip carries its number as big black and white blocks, so a test can read from the
pixels which frame it was given, whatever label came with it. Below the blocks a pattern moves, so
that encoders use B-frames and motion. Sizes are small: a clip takes a tenth of a second to make.
"""

import fcntl
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

WIDTH_PX: Final = 192
HEIGHT_PX: Final = 112
FRAMES: Final = 90
FPS: Final = 30
_BITS: Final = 8
_X264: Final = "-c:v libx264 -pix_fmt yuv420p -preset veryfast"
_GOPS: Final = f"{_X264} -g 30 -bf 2 -sc_threshold 0"
X264_CBR: Final = (
    f"{_X264} -b:v 2M -minrate 2M -maxrate 2M -bufsize 1M -x264-params nal-hrd=cbr:force-cfr=1"
)
_TWO_RATES: Final = "setpts='if(lt(N,30),N,N*4)/30/TB'"


def ffmpeg(*arguments: str | Path, stdin: bytes = b"") -> None:
    """Runs ffmpeg; its complaints become the error's text."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-hide_banner", "-loglevel", "error"]
    run = subprocess.run(
        [*command, *map(str, arguments)], input=stdin, capture_output=True, check=False
    )
    if run.returncode:
        raise RuntimeError(f"ffmpeg {arguments} failed: {run.stderr.decode(errors='replace')}")


def coded_frame(number: int, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> Pixels:
    """Returns the RGB picture of one frame: its number as blocks above, a moving pattern below."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    red = 96 + 60 * np.sin((x + 5 * number) / 17.0)
    green = 96 + 60 * np.sin((y - 3 * number) / 11.0)
    blue = 96 + 60 * np.sin((x + y + 2 * number) / 23.0)
    picture = np.stack([red, green, blue], axis=-1).astype(np.uint8)
    side = width_px // _BITS
    for bit in range(_BITS):
        picture[: height_px // 2, bit * side : (bit + 1) * side] = 255 * (number >> bit & 1)
    return picture


def read_number(pixels: Pixels) -> int:
    """Reads the frame number from a picture of any size."""
    height_px, width_px = pixels.shape[:2]
    side = width_px / _BITS
    number = 0
    for bit in range(_BITS):
        block = pixels[
            height_px // 8 : height_px * 3 // 8, int((bit + 0.3) * side) : int((bit + 0.7) * side)
        ]
        number |= int(block.mean() > 128) << bit
    return number


def coded_video(
    path: Path,
    arguments: str,
    *,
    frames: int = FRAMES,
    fps: int = FPS,
    size: tuple[int, int] = (WIDTH_PX, HEIGHT_PX),
    before: str = "",
) -> Path:
    """Encodes coded frames into a file.

    Args:
        path: of the result.
        arguments: ffmpeg's options for the output, split at blanks.
        frames: how many.
        fps: of the input.
        size: width and height in pixels.
        before: ffmpeg's options for the input, split at blanks.
    """
    raw = b"".join(coded_frame(n, *size).tobytes() for n in range(frames))
    source = f"-f rawvideo -pix_fmt rgb24 -s {size[0]}x{size[1]} -r {fps} {before} -i -"
    ffmpeg(*source.split(), *arguments.split(), path, stdin=raw)
    return path


RECIPES: Final[dict[str, tuple[str, str]]] = {
    # name: (file name, ffmpeg's options)
    "plain": ("plain.mp4", _GOPS),
    "faststart": ("faststart.mp4", f"{_GOPS} -movflags +faststart"),
    "fragmented": ("fragmented.mp4", f"{_GOPS} -movflags frag_keyframe+empty_moov"),
    "no_b_frames": ("no_b_frames.mp4", f"{_X264} -g 20 -bf 0"),
    "short_gops": ("short_gops.mp4", f"{_X264} -g 4 -bf 2 -sc_threshold 0"),
    "one_gop": ("one_gop.mp4", f"{_X264} -g 999 -bf 3"),
    "b_pyramid": ("b_pyramid.mkv", f"{_X264} -g 25 -bf 5 -b_strategy 0 -refs 4"),
    "open_gop": ("open_gop.mp4", f"{_X264} -g 15 -bf 3 -x264-params open-gop=1:scenecut=0"),
    "open_gop_ts": ("open_gop.ts", f"{_X264} -g 15 -bf 3 -x264-params open-gop=1:scenecut=0"),
    "intra_refresh": ("refresh.mp4", f"{_X264} -g 20 -x264-params intra-refresh=1"),
    "hevc": (
        "hevc.mp4",
        "-c:v libx265 -pix_fmt yuv420p -preset ultrafast -tag:v hvc1 -x265-params "
        "log-level=none:keyint=15:min-keyint=15:bframes=3:b-adapt=0:open-gop=1:scenecut=0:pools=1",
    ),
    "hevc_mkv": (
        "hevc.mkv",
        "-c:v libx265 -pix_fmt yuv420p -preset ultrafast -x265-params "
        "log-level=none:keyint=15:min-keyint=15:bframes=3:b-adapt=0:open-gop=1:scenecut=0:pools=1",
    ),
    "mkv": ("plain.mkv", _GOPS),
    "ts": ("plain.ts", _GOPS),
    "ts_late": ("late.ts", f"{_GOPS} -output_ts_offset 3600"),
    "vfr": ("vfr.mp4", f"-vf {_TWO_RATES} -fps_mode vfr {_GOPS}"),
    "vfr_mkv": ("vfr.mkv", f"-vf {_TWO_RATES} -fps_mode vfr {_GOPS}"),
    "vp8": ("vp8.webm", "-c:v libvpx -auto-alt-ref 1 -lag-in-frames 16 -g 30 -deadline realtime"),
    "vp9": (
        "vp9.webm",
        "-c:v libvpx-vp9 -auto-alt-ref 1 -lag-in-frames 16 -g 30 -deadline good -cpu-used 8",
    ),
    "av1": ("av1.mkv", "-c:v libsvtav1 -preset 12 -g 30 -svtav1-params lp=1"),
    "av1_mp4": ("av1.mp4", "-c:v libsvtav1 -preset 12 -g 30 -svtav1-params lp=1"),
    "mpeg2_ts": ("mpeg2.ts", "-c:v mpeg2video -q:v 3 -g 12 -bf 2"),
    "mpeg2_ps": ("mpeg2.mpg", "-c:v mpeg2video -q:v 3 -g 12 -bf 2"),
    "vfr_avi": ("vfr.avi", f"-vf {_TWO_RATES} -fps_mode vfr -c:v mpeg4 -q:v 3 -g 12 -bf 0"),
    "mpeg4_avi": ("mpeg4.avi", "-c:v mpeg4 -q:v 3 -g 12 -bf 0"),
    "mpeg4_b_avi": ("mpeg4_b.avi", "-c:v mpeg4 -q:v 3 -g 12 -bf 2"),
    "h264_avi": ("h264.avi", _GOPS),
    "mjpeg_avi": ("mjpeg.avi", "-c:v mjpeg -q:v 3 -pix_fmt yuvj420p"),
    "flv": ("plain.flv", _GOPS),
    "theora": ("plain.ogv", "-c:v libtheora -q:v 8 -g 20"),
    "prores": ("prores.mov", "-c:v prores_ks -profile:v 0"),
    "ffv1": ("ffv1.mkv", "-c:v ffv1 -g 10"),
    "wmv": ("wmv.wmv", "-c:v wmv2 -q:v 3 -g 12"),
    "gif": ("moving.gif", "-vf split[a][b];[a]palettegen[p];[b][p]paletteuse -r 10"),
}
"""Sound clips: every frame can be decoded and has its own time."""


DERIVED: Final[dict[str, tuple[str, str, str, str]]] = {
    # name: (file name, clip it is made of, ffmpeg's options for the input, for the output)
    "cut": ("cut.mp4", "plain", "-ss 0.5", "-c copy"),
    "cut_open_gop": ("cut_open_gop.mp4", "open_gop", "-ss 0.7", "-c copy"),
    "cut_hevc": ("cut_hevc.mp4", "hevc", "-ss 0.7", "-c copy"),
    "shifted": ("shifted.mp4", "plain", "", "-c copy -output_ts_offset 2.5"),
}
"""Sound clips made of others without encoding."""


KINDS: Final = (
    *("plain", "open_gop", "open_gop_ts", "intra_refresh", "hevc", "vfr", "vfr_mkv", "ts_late"),
    *("vp8", "vp9", "av1", "mpeg2_ps", "mpeg4_b_avi", "h264_avi", "mjpeg_avi", "flv", "theora"),
    *("prores", "ffv1", "wmv", "gif", "cut_hevc", "shifted"),
)
"""Sound clips of each codec, container and structure, for the quick tier."""


class Clips:
    """Makes each clip when it is first asked for, and keeps it for later sessions.

    A kept clip is found by its name and by what it depends on: this module, the module that makes
    it with what that imports of the tests, and the versions of the libraries. Processes of one
    session share the clips. Tests read them and write to copies.

    Args:
        folder: where clips are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Path:
        """Returns the path of a clip of `RECIPES` or `DERIVED`."""
        if name in DERIVED:
            file_name, base, before, after = DERIVED[name]
            source = self[base]
            return self.made(
                file_name, lambda path: ffmpeg(*before.split(), "-i", source, *after.split(), path)
            )
        file_name, arguments = RECIPES[name]
        return self.made(file_name, lambda path: coded_video(path, arguments))

    def made(self, file_name: str, make: Callable[[Path], object]) -> Path:
        """Returns the path of a file that ``make`` writes if it is not there yet."""
        folder = self._folder / _key(make.__module__)
        path = folder / file_name
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / f"{file_name}.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():  # Another process may have made it meanwhile.
                    partial = path.with_name(f"partial-{file_name}")
                    make(partial)
                    partial.rename(path)
        return path


@cache
def _key(module: str) -> str:
    """Returns what the clips of a module depend on, as the name of a folder."""
    digest = hashlib.sha256()
    for name in sorted(_imported(module, {__name__})):
        digest.update(_source(name))
    for library in ("av", "imageio-ffmpeg", "numpy", "pillow"):
        digest.update(f"{library} {version(library)}\n".encode())
    return f"{module.rpartition('.')[2]}-{digest.hexdigest()[:16]}"


def _imported(module: str, found: set[str]) -> set[str]:
    """Adds a module and the modules of the tests that it imports to those found; returns all."""
    if module not in found:
        found.add(module)
        for name in re.findall(rb"^from (tests[.\w]*) import", _source(module), re.MULTILINE):
            _imported(name.decode(), found)
    return found


def _source(module: str) -> bytes:
    return Path(str(sys.modules[module].__file__)).read_bytes()
