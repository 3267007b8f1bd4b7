"""``seedvideo doctor``: is everything here that is needed? Ready to paste into a bug report.

Each check returns a line of facts or raises; nothing is guessed from version numbers alone.
"""

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import Annotated, Final

import typer

from seedvideo import __version__
from seedvideo.cli.talk import SOME_FAILED, write_out
from seedvideo.errors import SeedVideoError
from seedvideo.writers.inert import printable


def doctor(
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Also list where packages lie.")
    ] = False,
) -> None:
    """Check this installation. Exit code 1 if something that is needed is broken."""
    broken = 0
    for name, check in CHECKS.items():
        try:
            state, fact = "ok", check()
        except Absent as error:
            state, fact = "absent", str(error)
        except Exception as error:  # noqa: BLE001
            # Whatever is wrong with one part, the others still get their line.
            broken += 1
            code = f" [{error.code}]" if isinstance(error, SeedVideoError) else ""
            state, fact = "broken", f"{type(error).__name__}: {error}{code}"
        write_out(f"{state:<7} {name:<12} {printable(fact)}\n")
    if verbose:
        write_out(f"        {'executable':<12} {printable(sys.executable)}\n")
        write_out(f"        {'package':<12} {printable(os.path.dirname(__file__))}\n")
    if broken:
        raise typer.Exit(SOME_FAILED)


class Absent(Exception):
    """An optional part is not installed: worth a line, not an alarm."""


def _python() -> str:
    return f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs"


def _seedvideo() -> str:
    return __version__


def _torch() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only"
    return f"{torch.__version__}, {torch.get_num_threads()} threads, {device}"


def _av() -> str:
    import av

    return f"{av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def _decoding() -> str:
    """Write a small clip and read it back through the decoding process."""
    import av
    import numpy as np

    from seedvideo import pipeline
    from seedvideo.media.frames import Target

    started = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "check.mp4")
        with av.open(path, "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            grey = np.full((64, 64, 3), 128, np.uint8)
            for _ in range(5):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())
        with pipeline.open(path) as video:
            targets = [Target(pts=time, width_px=28, height_px=28) for time in video.times]
            decoded = sum(1 for _ in video.reader.frames(targets))
    if decoded != 5:
        raise RuntimeError(f"{decoded} of 5 frames of a clip came back")
    return f"a clip of 5 frames was read in {perf_counter() - started:.1f} s"


def _scenedetect() -> str:
    import scenedetect

    return str(scenedetect.__version__)


def _decord() -> str:
    try:
        return version("decord")
    except PackageNotFoundError:
        raise Absent("optional second decoder (--decoder decord)") from None


def _weights() -> str:
    from seedvideo import pipeline

    started = perf_counter()
    backend = pipeline.load("nano")
    return f"{backend.name} {backend.sha256[:12]}, loaded in {perf_counter() - started:.1f} s"


CHECKS: Final[dict[str, Callable[[], str]]] = {
    "python": _python,
    "seedvideo": _seedvideo,
    "torch": _torch,
    "av": _av,
    "scenedetect": _scenedetect,
    "decord": _decord,
    "decoding": _decoding,
    "weights": _weights,
}
"""What is looked at, in order."""
